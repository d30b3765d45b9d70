//! Trees of few leaves and any shape: each comparison strikes out the leaves that it rules out, and the first leaf that
//! is left is the tree's. Nothing waits for anything, whatever the shape: no child is looked up, no branch is guessed.
//!
//! After QuickScorer (Lucchese et al., "QuickScorer: a fast algorithm to rank documents with additive ensembles of
//! regression trees", SIGIR 2015) and its form for blocks of rows (Lucchese et al., "Exploiting CPU SIMD extensions to
//! speed-up document scoring with tree ensembles", SIGIR 2016). There the comparisons of all trees are sorted by
//! threshold, to stop early; here those of a tree stand together, so that what is left of it stays in a register.

use gristmill::prefetch::prefetch;
use multiversion::multiversion;

use super::keys::{BlockKeys, Columns, RowKeys, limit, with_block};
use super::payload::Payload;
use super::tree::{Node, Tree};
use crate::model::block::{LANES, Lanes};

/// The most leaves of a tree: a bit each.
pub(crate) const LEAVES_MAX: usize = 32;

/// Comparisons between two checks for a tree's end; the last ones of a tree are filled up.
const CHUNK: usize = 4;

/// Up to so many rows, one row after the other is faster than a block with empty lanes.
const ROWS_MAX: usize = 2;

/// The trees, in order; their comparisons and leaves from the low side to the high side.
#[derive(Debug)]
pub(crate) struct Masks {
    columns: Columns,
    trees: Box<[Size]>,
    features: Box<[u8]>,
    limits: Box<[i32]>,
    /// The leaves below a comparison on its low side: ruled out when the row goes high.
    low: Box<[u32]>,
    leaves: Box<[f32]>,
}

/// How much of the lists is one tree's.
#[derive(Clone, Copy, Debug)]
struct Size {
    chunks: u8,
    leaves: u8,
}

impl Masks {
    /// Lays trees out; `None` when one has too many leaves, those that have several parents counted for each.
    pub(crate) fn new(trees: &[Tree], columns: &Columns) -> Option<Self> {
        let mut sizes = Vec::with_capacity(trees.len());
        let mut lists = Lists::default();
        for tree in trees {
            let (comparisons, leaves) = (lists.features.len(), lists.leaves.len());
            lists.add(tree, tree.root, (comparisons, leaves), columns)?;
            while !(lists.features.len() - comparisons).is_multiple_of(CHUNK) {
                lists.features.push(0);
                lists.limits.push(i32::MAX);
                lists.low.push(0);
            }
            let chunks = ((lists.features.len() - comparisons) / CHUNK) as u8;
            sizes.push(Size { chunks, leaves: (lists.leaves.len() - leaves) as u8 });
        }
        let Lists { features, limits, low, leaves } = lists;
        Some(Self {
            columns: columns.clone(),
            trees: sizes.into(),
            features: features.into(),
            limits: limits.into(),
            low: low.into(),
            leaves: leaves.into(),
        })
    }

    pub(crate) fn prefetch(&self) {
        self.columns.prefetch();
        prefetch(&*self.trees);
        prefetch(&*self.features);
        prefetch(&*self.limits);
        prefetch(&*self.low);
        prefetch(&*self.leaves);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.columns.bytes()
            + size_of_val(&*self.trees)
            + size_of_val(&*self.features)
            + size_of_val(&*self.limits)
            + size_of_val(&*self.low)
            + size_of_val(&*self.leaves)
    }

    /// Scores the first `rows` lanes.
    pub(crate) fn run(&self, payload: &Payload, x: &[Lanes], rows: usize, scalar: bool, sums: &mut [Lanes]) {
        if scalar || rows <= ROWS_MAX {
            self.columns.with_rows(x, rows, |rows| {
                rows.iter().enumerate().for_each(|(row, keys)| self.row(payload, keys, row, sums));
            });
        } else {
            with_block(|keys| block(self, payload, x, rows, keys, sums));
        }
    }

    fn row(&self, payload: &Payload, keys: &RowKeys, lane: usize, sums: &mut [Lanes]) {
        if payload.is_plain() {
            let mut sum = sums[0][lane];
            self.each_tree(|_, features, limits, low, leaves| sum += leaves[left(features, limits, low, keys)]);
            sums[0][lane] = sum;
        } else {
            self.each_tree(|tree, features, limits, low, leaves| {
                payload.add_row(tree, leaves[left(features, limits, low, keys)], lane, sums);
            });
        }
    }

    /// Calls `score` with each tree's number, features, limits, masks and leaves.
    #[inline(always)]
    fn each_tree(&self, mut score: impl FnMut(usize, &[[u8; CHUNK]], &[[i32; CHUNK]], &[[u32; CHUNK]], &[f32])) {
        let mut features = self.features.as_chunks().0;
        let mut limits = self.limits.as_chunks().0;
        let mut low = self.low.as_chunks().0;
        let mut leaves = &*self.leaves;
        for (tree, size) in self.trees.iter().enumerate() {
            let chunks = usize::from(size.chunks);
            let (own_features, own_limits, own_low, own_leaves);
            (own_features, features) = features.split_at(chunks);
            (own_limits, limits) = limits.split_at(chunks);
            (own_low, low) = low.split_at(chunks);
            (own_leaves, leaves) = leaves.split_at(usize::from(size.leaves));
            score(tree, own_features, own_limits, own_low, own_leaves);
        }
    }
}

/// The lists of [`Masks`] while they grow.
#[derive(Default)]
struct Lists {
    features: Vec<u8>,
    limits: Vec<i32>,
    low: Vec<u32>,
    leaves: Vec<f32>,
}

impl Lists {
    /// Adds what lies below a node of the tree whose comparisons and leaves start at `first`.
    fn add(&mut self, tree: &Tree, index: u32, first: (usize, usize), columns: &Columns) -> Option<()> {
        let place = self.low.len();
        match tree.nodes[index as usize] {
            Node::Leaf(bits) => self.leaves.push(f32::from_bits(bits)),
            // One leaf more than comparisons.
            Node::Split { .. } if place - first.0 + 1 == LEAVES_MAX => return None,
            Node::Split { feature, threshold, nan_high, low, high } => {
                self.features.push(columns.place(feature, nan_high) as u8);
                self.limits.push(limit(threshold));
                self.low.push(0);
                let start = self.leaves.len() - first.1;
                self.add(tree, low, first, columns)?;
                let end = self.leaves.len() - first.1;
                self.low[place] = (u32::MAX >> (LEAVES_MAX - (end - start))) << start;
                self.add(tree, high, first, columns)?;
            }
        }
        Some(())
    }
}

/// The leaf that is left of a tree for one row.
#[inline(always)]
fn left(features: &[[u8; CHUNK]], limits: &[[i32; CHUNK]], low: &[[u32; CHUNK]], keys: &RowKeys) -> usize {
    let mut out = 0;
    for ((features, limits), low) in features.iter().zip(limits).zip(low) {
        for at in 0..CHUNK {
            let is_low = u32::from(keys[usize::from(features[at])] < limits[at]);
            out |= is_low.wrapping_sub(1) & low[at];
        }
    }
    (!out).trailing_zeros() as usize
}

/// Scores the first `rows` rows of a block.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl+bmi1", "x86_64+avx+avx2+bmi1", "aarch64+neon"))]
fn block(masks: &Masks, payload: &Payload, x: &[Lanes], rows: usize, keys: &mut BlockKeys, sums: &mut [Lanes]) {
    if rows <= LANES / 2 {
        masks.columns.fill::<{ LANES / 2 }>(x, keys);
        lanes::<{ LANES / 2 }>(masks, payload, keys, rows, sums);
    } else {
        masks.columns.fill::<LANES>(x, keys);
        lanes::<LANES>(masks, payload, keys, rows, sums);
    }
}

#[inline(always)]
fn lanes<const L: usize>(masks: &Masks, payload: &Payload, keys: &BlockKeys, rows: usize, sums: &mut [Lanes]) {
    let plain = payload.is_plain();
    masks.each_tree(|tree, features, limits, low, leaves| {
        let mut out = [0_u32; L];
        for ((features, limits), low) in features.iter().zip(limits).zip(low) {
            for at in 0..CHUNK {
                let keys = &keys.0[usize::from(features[at])];
                for lane in 0..L {
                    let is_low = u32::from(keys[lane] < limits[at]).wrapping_neg();
                    out[lane] |= !is_low & low[at];
                }
            }
        }
        for (lane, out) in out.iter().enumerate().take(rows) {
            let leaf = leaves[(!out).trailing_zeros() as usize];
            if plain {
                sums[0][lane] += leaf;
            } else {
                payload.add_row(tree, leaf, lane, sums);
            }
        }
    });
}
