//! Operators, models, sources and sinks for gristmill.

mod parameters;
pub mod rolling;
pub mod span_text;
pub mod types;
