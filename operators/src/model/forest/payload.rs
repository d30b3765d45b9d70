//! What leaves hold, and how the trees' leaves become targets.

use crate::model::block::{LANES, Lanes};

/// How a target is made of the leaves that the trees choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Their sum. In `f32`, in the order of the trees, as onnxruntime sums: a sum in `f64` would be closer to the
    /// training library and further from the reference.
    Sum,
    /// The smallest; infinity where no leaf has a weight for the target.
    Min,
    /// The largest; minus infinity where no leaf has a weight for the target.
    Max,
}

/// Where leaves put their weights.
#[derive(Debug)]
pub(crate) enum Leaves {
    /// A leaf is a weight of the only target.
    Single,
    /// A leaf is a weight of its tree's target.
    ByTree(Box<[u16]>),
    /// A leaf is the number of a row of weights, one for each target.
    Rows(Box<[f32]>),
}

/// Leaves and rule.
#[derive(Debug)]
pub(crate) struct Payload {
    pub(crate) leaves: Leaves,
    pub(crate) rule: Rule,
    pub(crate) targets: usize,
}

impl Payload {
    /// Whether leaves are summed up for one target.
    #[inline(always)]
    pub(crate) fn is_plain(&self) -> bool {
        self.rule == Rule::Sum && matches!(self.leaves, Leaves::Single)
    }

    /// What a target starts from.
    pub(crate) fn start(&self) -> f32 {
        match self.rule {
            Rule::Sum => 0.0,
            Rule::Min => f32::INFINITY,
            Rule::Max => f32::NEG_INFINITY,
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        match &self.leaves {
            Leaves::Single => 0,
            Leaves::ByTree(targets) => size_of_val(&**targets),
            Leaves::Rows(weights) => size_of_val(&**weights),
        }
    }

    #[inline(always)]
    fn join(&self, sum: &mut f32, weight: f32) {
        match self.rule {
            Rule::Sum => *sum += weight,
            Rule::Min => *sum = if weight < *sum { weight } else { *sum },
            Rule::Max => *sum = if weight > *sum { weight } else { *sum },
        }
    }

    /// Adds the leaves that a tree chose for the first `L` rows.
    #[inline(always)]
    pub(crate) fn add<const L: usize>(&self, tree: usize, leaves: &[f32; L], sums: &mut [Lanes]) {
        match &self.leaves {
            Leaves::Single => self.add_lanes(leaves, &mut sums[0]),
            Leaves::ByTree(targets) => self.add_lanes(leaves, &mut sums[usize::from(targets[tree])]),
            Leaves::Rows(_) => {
                for (lane, leaf) in leaves.iter().enumerate() {
                    self.add_row(tree, *leaf, lane, sums);
                }
            }
        }
    }

    #[inline(always)]
    fn add_lanes<const L: usize>(&self, leaves: &[f32; L], sums: &mut Lanes) {
        for lane in 0..L.min(LANES) {
            self.join(&mut sums[lane], leaves[lane]);
        }
    }

    /// Adds the leaves that the trees from `first` on chose for one row.
    #[inline(always)]
    pub(crate) fn add_trees(&self, first: usize, leaves: &[f32], lane: usize, sums: &mut [Lanes]) {
        match &self.leaves {
            Leaves::Single => self.join_all(&mut sums[0][lane], leaves.iter().copied()),
            Leaves::ByTree(_) => {
                leaves.iter().zip(first..).for_each(|(leaf, tree)| self.add_row(tree, *leaf, lane, sums));
            }
            Leaves::Rows(weights) => {
                for (target, sum) in sums.iter_mut().enumerate().take(self.targets) {
                    let weight = |leaf: &f32| weights[leaf.to_bits() as usize * self.targets + target];
                    self.join_all(&mut sum[lane], leaves.iter().map(weight));
                }
            }
        }
    }

    #[inline(always)]
    fn join_all(&self, sum: &mut f32, weights: impl Iterator<Item = f32>) {
        // Kept in a register from tree to tree.
        *sum = weights.fold(*sum, |mut sum, weight| {
            self.join(&mut sum, weight);
            sum
        });
    }

    /// Adds the leaf that a tree chose for one row.
    #[inline(always)]
    pub(crate) fn add_row(&self, tree: usize, leaf: f32, lane: usize, sums: &mut [Lanes]) {
        match &self.leaves {
            Leaves::Single => self.join(&mut sums[0][lane], leaf),
            Leaves::ByTree(targets) => self.join(&mut sums[usize::from(targets[tree])][lane], leaf),
            Leaves::Rows(weights) => {
                let start = leaf.to_bits() as usize * self.targets;
                for (sum, weight) in sums.iter_mut().zip(&weights[start..start + self.targets]) {
                    self.join(&mut sum[lane], *weight);
                }
            }
        }
    }
}
