//! Dataflow runtime that serves thousands of machine-learning models over high-frequency sensor streams.

pub mod traits;
pub mod words;

pub use words::{Attribute, Element, ElementType, Stream, Value};
