//! Operators, models, sources and sinks for gristmill.

pub mod codec;
pub mod console;
pub mod file;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod simulate;

mod failure;
