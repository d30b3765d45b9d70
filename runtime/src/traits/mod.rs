//! What implementors write. None of it names an actor.

pub mod model;

pub use model::{Digest, Format, LoadError, Model, Port, ScoreError};
