//! Models: artifacts read and scored by kernels of this crate.
//!
//! A model scores columns in blocks of `block::LANES` rows. Vector lanes go across rows, never across the terms of a
//! sum, and nothing is fused, so a row has the same bits in every block and on every instruction set.

pub(crate) mod block;
pub mod dense;
pub mod digest;
pub mod forest;
pub mod kernels;
pub mod linear;
pub(crate) mod math;
pub mod onnx;
pub(crate) mod program;
mod selected;
pub(crate) mod transform;

pub use dense::{Activation, Layer, Mlp};
pub use forest::Forest;
pub use kernels::Kernels;
pub use linear::Linear;
pub use onnx::Onnx;
pub use selected::{Ordered, Selected};
