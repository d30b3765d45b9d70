//! Operators, models, sources and sinks for gristmill.

pub mod ewma;
pub mod lag;
mod parameters;
pub mod registry;
pub mod rolling;
pub mod span_text;
#[cfg(test)]
mod testing;
pub mod threshold;
pub mod types;
pub mod window;
pub mod codec;
pub mod console;
pub mod file;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod simulate;

mod failure;
pub mod model;
