//! Forests: ensembles of decision trees.
//!
//! Shallow trees are padded to perfect ones, other trees of few leaves become masks of leaves, and the rest are walked.
//! All go high on `x > threshold`; every comparison of ONNX is brought to that form when a model is read.

mod keys;
mod masks;
mod payload;
mod perfect;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

use std::borrow::Cow;

use gristmill::traits::{Digest, LoadError, Model, Port, ScoreError};
use gristmill::words::{ColumnMut, ColumnRef};

pub(crate) use payload::{Leaves, Payload, Rule};
pub(crate) use tree::{Node, Tree};

use super::block::{self, LANES, Lanes};
use super::digest::Content;
use super::kernels::Kernels;
use keys::{COLUMNS_MAX, Columns};
use masks::Masks;
use perfect::Perfect;
use walk::Walk;

/// The most input columns of a forest.
pub const INPUTS_MAX: usize = 0x7fff;

/// Trees laid out for scoring, from registers to registers.
#[derive(Debug)]
pub(crate) struct Ensemble {
    layout: Layout,
    payload: Payload,
}

#[derive(Debug)]
enum Layout {
    Perfect(Perfect),
    Masks(Masks),
    Walk(Walk),
}

impl Ensemble {
    /// Lays out trees over `inputs` columns.
    pub(crate) fn new(trees: &[Tree], payload: Payload, inputs: usize) -> Result<Self, LoadError> {
        if inputs == 0 || inputs > INPUTS_MAX {
            return Err(LoadError { reason: format!("a forest of {inputs} columns; 1 to {INPUTS_MAX} are allowed") });
        }
        let depths = trees.iter().map(Tree::depth).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { layout: Layout::new(trees, &depths)?, payload })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.payload.bytes()
            + match &self.layout {
                Layout::Perfect(perfect) => perfect.bytes(),
                Layout::Masks(masks) => masks.bytes(),
                Layout::Walk(walk) => walk.bytes(),
            }
    }

    pub(crate) fn prefetch(&self) {
        match &self.layout {
            Layout::Perfect(perfect) => perfect.prefetch(),
            Layout::Masks(masks) => masks.prefetch(),
            Layout::Walk(walk) => walk.prefetch(),
        }
    }

    /// Scores the first `rows` lanes of `x`, a column each, into `sums`, a target each.
    pub(crate) fn run(&self, rows: usize, x: &[Lanes], sums: &mut [Lanes]) {
        sums.fill([self.payload.start(); LANES]);
        let scalar = Kernels::current() == Kernels::Scalar;
        match &self.layout {
            Layout::Perfect(perfect) => perfect.run(&self.payload, x, rows, scalar, sums),
            Layout::Masks(masks) => masks.run(&self.payload, x, rows, scalar, sums),
            Layout::Walk(walk) => walk.run(&self.payload, x, rows, sums),
        }
    }
}

impl Layout {
    fn new(trees: &[Tree], depths: &[usize]) -> Result<Self, LoadError> {
        let columns = Columns::of(trees);
        if columns.len() <= COLUMNS_MAX {
            if perfect::fits(trees, depths) {
                return Ok(Self::Perfect(Perfect::new(trees, depths, columns)));
            }
            if let Some(masks) = Masks::new(trees, &columns) {
                return Ok(Self::Masks(masks));
            }
        }
        Ok(Self::Walk(Walk::new(trees, columns)?))
    }
}

/// A model that is one forest with one output: the sum of its trees.
#[derive(Debug)]
pub struct Forest {
    ensemble: Ensemble,
    inputs: Cow<'static, [Port]>,
    outputs: Cow<'static, [Port]>,
    digest: Digest,
}

impl Forest {
    /// A forest of `trees` perfect trees of one `depth` (1 to 6), the sum of which is the output.
    ///
    /// Tree by tree and level by level: `features` and `thresholds` have `2^depth - 1` entries a tree, `leaves` has
    /// `2^depth`, from all low to all high. A row goes high when its feature is above the threshold; NaN goes low. The
    /// forest has as many input columns as the largest feature asks for; see [`Forest::with_inputs`].
    ///
    /// # Errors
    /// When the lengths do not fit, the depth is out of range, or a feature is 32,767 or above.
    pub fn perfect(
        trees: usize,
        depth: usize,
        features: &[u16],
        thresholds: &[f32],
        leaves: &[f32],
    ) -> Result<Self, LoadError> {
        let refused = |reason: String| Err(LoadError { reason });
        if !(1..=perfect::DEPTH_MAX).contains(&depth) {
            return refused(format!("trees of depth {depth}; 1 to {} are allowed", perfect::DEPTH_MAX));
        }
        let inner = (1 << depth) - 1;
        let wanted = (trees.checked_mul(inner), trees.checked_mul(inner + 1));
        if wanted != (Some(features.len()), Some(leaves.len())) || thresholds.len() != features.len() {
            return refused(format!(
                "{trees} trees of depth {depth} have {inner} comparisons and {} leaves each; {} features, {} thresholds \
                 and {} leaves were given",
                inner + 1,
                features.len(),
                thresholds.len(),
                leaves.len()
            ));
        }
        let built: Vec<Tree> = (0..trees)
            .map(|tree| {
                let splits = (0..inner).map(|node| Node::Split {
                    feature: features[tree * inner + node],
                    threshold: thresholds[tree * inner + node],
                    nan_high: false,
                    low: 2 * node as u32 + 1,
                    high: 2 * node as u32 + 2,
                });
                let leaves = leaves[tree * (inner + 1)..(tree + 1) * (inner + 1)].iter();
                Tree { nodes: splits.chain(leaves.map(|leaf| Node::Leaf(leaf.to_bits()))).collect(), root: 0 }
            })
            .collect();
        let inputs = features.iter().max().map_or(1, |largest| usize::from(*largest) + 1);
        let mut content = Content::new("forest");
        content.number(trees);
        content.number(depth);
        features.iter().for_each(|feature| content.number(usize::from(*feature)));
        content.floats(thresholds);
        content.floats(leaves);
        let payload = Payload { leaves: Leaves::Single, rule: Rule::Sum, targets: 1 };
        Ok(Self {
            ensemble: Ensemble::new(&built, payload, inputs)?,
            inputs: block::ports(inputs),
            outputs: block::ports(1),
            digest: content.finish(),
        })
    }

    /// The same forest over `inputs` columns, of which the last ones may be unused.
    ///
    /// # Errors
    /// When it compares more columns than that.
    pub fn with_inputs(mut self, inputs: usize) -> Result<Self, LoadError> {
        if inputs < self.inputs.len() || inputs > INPUTS_MAX {
            return Err(LoadError {
                reason: format!("a forest that compares {} columns was given {inputs}", self.inputs.len()),
            });
        }
        self.inputs = block::ports(inputs);
        let mut content = Content::new("forest with inputs");
        content.bytes(&self.digest.0);
        content.number(inputs);
        self.digest = content.finish();
        Ok(self)
    }
}

impl Model for Forest {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn score(&self, inputs: &[ColumnRef<'_>], outputs: &mut [ColumnMut<'_>]) -> Result<(), ScoreError> {
        block::check(inputs, outputs, (self.inputs.len(), 1))?;
        block::each_block(inputs, inputs.len(), |start, rows, x| {
            let mut sums = [[0.0; LANES]];
            self.ensemble.run(rows, x, &mut sums);
            block::scatter(&sums[0], start, rows, &mut outputs[0]);
        })
    }

    fn prefetch(&self) {
        self.ensemble.prefetch();
    }

    fn bytes(&self) -> usize {
        self.ensemble.bytes()
    }

    fn digest(&self) -> Digest {
        self.digest
    }
}
