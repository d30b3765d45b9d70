//! Dataflow runtime that serves thousands of machine-learning models over high-frequency sensor streams.

pub mod clock;
pub mod topology;
pub mod traits;
pub mod words;

pub use topology::Topology;
pub use words::{Attribute, Element, ElementType, Stream, Value};
