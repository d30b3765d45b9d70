//! Linear models.

use gristmill::traits::{Digest, LoadError, Model, Port, ScoreError};
use gristmill::words::{ColumnMut, ColumnRef};

use super::dense::{Activation, Layer, Mlp};

/// A linear model: the sum of its weighted inputs, in their order, and then the bias.
#[derive(Debug)]
pub struct Linear(Mlp);

impl Linear {
    /// One weight for each input column.
    ///
    /// # Errors
    /// When there is no weight.
    pub fn new(weights: &[f32], bias: f32) -> Result<Self, LoadError> {
        Self::targets(weights, &[bias])
    }

    /// Several targets: target by target a weight for each input column; one bias for each target.
    ///
    /// # Errors
    /// When the weights cannot be shared out evenly.
    pub fn targets(weights: &[f32], bias: &[f32]) -> Result<Self, LoadError> {
        let layer = Layer { weights: weights.to_vec(), bias: bias.to_vec(), activation: Activation::Identity };
        Mlp::new(&[layer]).map(Self)
    }
}

impl Model for Linear {
    fn inputs(&self) -> &[Port] {
        self.0.inputs()
    }

    fn outputs(&self) -> &[Port] {
        self.0.outputs()
    }

    fn score(&self, inputs: &[ColumnRef<'_>], outputs: &mut [ColumnMut<'_>]) -> Result<(), ScoreError> {
        self.0.score(inputs, outputs)
    }

    fn prefetch(&self) {
        self.0.prefetch();
    }

    fn bytes(&self) -> usize {
        self.0.bytes()
    }

    fn digest(&self) -> Digest {
        self.0.digest()
    }
}
