//! Operators, models, sources and sinks for gristmill.

pub mod codec;
pub mod console;
pub mod ewma;
pub mod expr;
mod failure;
pub mod file;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod lag;
mod limits;
pub mod model;
mod parameters;
pub mod registry;
pub mod rolling;
pub mod simulate;
pub mod span_text;
#[cfg(test)]
mod testing;
pub mod threshold;
pub mod types;
pub mod window;

pub use limits::limits;
