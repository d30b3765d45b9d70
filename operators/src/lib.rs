//! Operators, models, sources and sinks for gristmill.

pub mod codec;
#[cfg(feature = "kafka")]
pub mod kafka;
