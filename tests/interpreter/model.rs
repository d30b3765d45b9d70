//! A small model for cases.

use std::sync::Arc;

use gristmill::topology::{Family, Need, Node, NodeKind, Work};
use gristmill::traits::{Digest, Model, Port, ScoreError};
use gristmill::words::{ColumnMut, ColumnRef, ElementType, Key, StreamName};

/// A weighted sum of its inputs for each output; a missing input counts as a quarter. It refuses rows whose first sum
/// is too large.
#[derive(Debug)]
pub struct Linear {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    number: u8,
    refuses_above: f32,
}

impl Linear {
    /// With so many inputs and outputs. `number` makes the weights and the digest.
    pub fn new(inputs: usize, outputs: usize, number: u8) -> Self {
        let port = || Port { name: None, element: ElementType::F32 };
        Self {
            inputs: (0..inputs).map(|_| port()).collect(),
            outputs: (0..outputs).map(|_| port()).collect(),
            number,
            refuses_above: f32::INFINITY,
        }
    }

    /// Rows whose first sum is above `limit` are refused.
    #[must_use]
    pub fn refuses_above(mut self, limit: f32) -> Self {
        self.refuses_above = limit;
        self
    }

    /// As nodes take it.
    pub fn shared(self) -> Arc<dyn Model> {
        Arc::new(self)
    }
}

impl Model for Linear {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn score(&self, inputs: &[ColumnRef<'_>], outputs: &mut [ColumnMut<'_>]) -> Result<(), ScoreError> {
        let rows = inputs.first().map_or(0, ColumnRef::len);
        for row in 0..rows {
            let mut sum = f32::from(self.number);
            for (number, input) in inputs.iter().enumerate() {
                let value = if input.is_missing(row) { 0.25 } else { input.number(row) as f32 };
                sum += value * (number + 1) as f32;
            }
            // A row of zeros is what a new artifact is tried out with.
            let tried = inputs.iter().all(|input| input.number(row) == 0.0);
            if sum > self.refuses_above && !tried {
                return Err(ScoreError(format!("model {} refuses {sum}", self.number)));
            }
            for (number, output) in outputs.iter_mut().enumerate() {
                if let ColumnMut::F32(values) = output {
                    values[row] = sum + number as f32;
                }
            }
        }
        Ok(())
    }

    fn bytes(&self) -> usize {
        4 * self.inputs.len()
    }

    fn digest(&self) -> Digest {
        let mut digest = [self.number; 32];
        digest[1..5].copy_from_slice(&self.refuses_above.to_bits().to_le_bytes());
        Digest(digest)
    }
}

/// A node with one model for all its keys.
pub fn model_node(id: &str, needs: Vec<Need>, provides: Vec<(StreamName, ElementType)>, model: Linear) -> Node {
    Node::new(id, NodeKind::Model, needs, provides, Work::Model(model.shared()))
}

/// A node with a model for some keys, and one for the others or none.
pub fn family_node(
    id: &str,
    needs: Vec<Need>,
    provides: Vec<(StreamName, ElementType)>,
    members: Vec<(Key, Linear)>,
    default: Option<Linear>,
) -> Node {
    let mut family: Family = members.into_iter().map(|(key, model)| (key, model.shared())).collect();
    family.default = default.map(Linear::shared);
    Node::new(id, NodeKind::Model, needs, provides, Work::Family(family))
}
