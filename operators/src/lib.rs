//! Operators, models, sources and sinks for gristmill.

pub mod model;
