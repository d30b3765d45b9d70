//! Operators, models, sources and sinks for gristmill.
