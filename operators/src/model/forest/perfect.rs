//! Shallow trees, padded to perfect ones. For few rows, several trees are walked side by side, without a branch, row by row;
//! for a block of rows, every comparison of a tree is made, and the leaf found by selection.

use gristmill::prefetch::prefetch;
use multiversion::multiversion;

use super::keys::{BlockKeys, Columns, RowKeys, limit, with_block};
use super::payload::Payload;
use super::tree::{Node, Tree};
use crate::model::block::{LANES, Lanes};

/// The deepest trees that are padded: all 63 comparisons still cost less than six dependent loads.
pub(crate) const DEPTH_MAX: usize = 6;

/// Trees that are padded to more than so many times their comparisons are not worth it.
const PADDING_MAX: usize = 4;

/// Trees that are walked side by side: one waits for its loads while the others compare.
const ABREAST: usize = 8;

/// The trees, in order. Tree by tree, level by level: a feature and a limit for each comparison, then the leaves.
#[derive(Debug)]
pub(crate) struct Perfect {
    columns: Columns,
    groups: Box<[Group]>,
    features: Box<[u8]>,
    limits: Box<[i32]>,
    leaves: Box<[f32]>,
}

/// Trees of one depth that follow one another.
#[derive(Clone, Copy, Debug)]
struct Group {
    depth: u8,
    trees: u32,
}

/// The lists of a group.
#[derive(Clone, Copy)]
struct Part<'a> {
    /// The number of its first tree.
    first: usize,
    depth: u8,
    features: &'a [u8],
    limits: &'a [i32],
    leaves: &'a [f32],
}

/// Whether trees of these depths are better padded.
pub(crate) fn fits(trees: &[Tree], depths: &[usize]) -> bool {
    let splits = |tree: &Tree| tree.nodes.iter().filter(|node| matches!(node, Node::Split { .. })).count();
    let padded = |depth: &usize| (1 << depth) - 1;
    depths.iter().all(|depth| *depth <= DEPTH_MAX)
        && depths.iter().map(padded).sum::<usize>() <= PADDING_MAX * trees.iter().map(splits).sum::<usize>().max(1)
}

impl Perfect {
    /// Pads trees; `depths[i]` is the depth of `trees[i]`, at most [`DEPTH_MAX`].
    pub(crate) fn new(trees: &[Tree], depths: &[usize], columns: Columns) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        let (mut features, mut limits, mut leaves) = (Vec::new(), Vec::new(), Vec::new());
        for (tree, depth) in trees.iter().zip(depths) {
            let depth = (*depth).max(1) as u8;
            match groups.last_mut() {
                Some(group) if group.depth == depth => group.trees += 1,
                _ => groups.push(Group { depth, trees: 1 }),
            }
            let mut level = vec![tree.root];
            for _ in 0..depth {
                level = pad(tree, &level, &columns, &mut features, &mut limits);
            }
            leaves.extend(level.into_iter().map(|index| match tree.nodes[index as usize] {
                Node::Leaf(bits) => f32::from_bits(bits),
                Node::Split { .. } => f32::NAN, // the depth is that of the tree: not reached
            }));
        }
        let (features, limits, leaves) = (features.into(), limits.into(), leaves.into());
        Self { columns, groups: groups.into(), features, limits, leaves }
    }

    pub(crate) fn prefetch(&self) {
        self.columns.prefetch();
        prefetch(&*self.groups);
        prefetch(&*self.features);
        prefetch(&*self.limits);
        prefetch(&*self.leaves);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.columns.bytes()
            + size_of_val(&*self.groups)
            + size_of_val(&*self.features)
            + size_of_val(&*self.limits)
            + size_of_val(&*self.leaves)
    }

    /// Scores the first `rows` lanes.
    pub(crate) fn run(&self, payload: &Payload, x: &[Lanes], rows: usize, scalar: bool, sums: &mut [Lanes]) {
        if scalar || rows <= self.rows_max() {
            self.columns.with_rows(x, rows, |keys| self.parts().for_each(|part| walk(part, payload, keys, sums)));
        } else {
            with_block(|keys| block(self, payload, x, rows <= LANES / 2, keys, sums));
        }
    }

    /// Up to so many rows, one row after the other is faster than a block: a walk grows with the depth of the trees, a
    /// block with the number of their comparisons.
    fn rows_max(&self) -> usize {
        match self.groups.iter().map(|group| group.depth).max() {
            Some(6) => 12,
            Some(5) => 5,
            Some(4) => 2,
            _ => 1,
        }
    }

    fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        let (mut features, mut limits, mut leaves, mut tree) = (&*self.features, &*self.limits, &*self.leaves, 0);
        self.groups.iter().map(move |group| {
            let count = group.trees as usize;
            let (own_features, own_limits, own_leaves);
            (own_features, features) = features.split_at(count * ((1 << group.depth) - 1));
            (own_limits, limits) = limits.split_at(own_features.len());
            (own_leaves, leaves) = leaves.split_at(count << group.depth);
            let first = tree;
            tree += count;
            Part { first, depth: group.depth, features: own_features, limits: own_limits, leaves: own_leaves }
        })
    }
}

/// Adds a level of a padded tree; returns the nodes of the next one.
fn pad(tree: &Tree, level: &[u32], columns: &Columns, features: &mut Vec<u8>, limits: &mut Vec<i32>) -> Vec<u32> {
    let mut below = Vec::with_capacity(2 * level.len());
    for index in level {
        match tree.nodes[*index as usize] {
            Node::Split { feature, threshold, nan_high, low, high } => {
                features.push(columns.place(feature, nan_high) as u8);
                limits.push(limit(threshold));
                below.extend([low, high]);
            }
            // Both ways lead to the same leaf.
            Node::Leaf(_) => {
                features.push(0);
                limits.push(i32::MAX);
                below.extend([*index, *index]);
            }
        }
    }
    below
}

/// Walks the trees of a part, row by row. All rows walk the trees side by side before the next ones come: those are near
/// by then.
fn walk(part: Part<'_>, payload: &Payload, rows: &[RowKeys], sums: &mut [Lanes]) {
    match part.depth {
        1 => trees_of::<1, 1, 2>(part, payload, rows, sums),
        2 => trees_of::<2, 3, 4>(part, payload, rows, sums),
        3 => trees_of::<3, 7, 8>(part, payload, rows, sums),
        4 => trees_of::<4, 15, 16>(part, payload, rows, sums),
        5 => trees_of::<5, 31, 32>(part, payload, rows, sums),
        _ => trees_of::<6, 63, 64>(part, payload, rows, sums),
    }
}

#[inline(always)]
fn trees_of<const D: usize, const I: usize, const V: usize>(
    part: Part<'_>,
    payload: &Payload,
    rows: &[RowKeys],
    sums: &mut [Lanes],
) {
    let (features, features_rest) = part.features.as_chunks::<I>().0.as_chunks::<ABREAST>();
    let (limits, limits_rest) = part.limits.as_chunks::<I>().0.as_chunks::<ABREAST>();
    let (leaves, leaves_rest) = part.leaves.as_chunks::<V>().0.as_chunks::<ABREAST>();
    let mut tree = part.first;
    for ((features, limits), leaves) in features.iter().zip(limits).zip(leaves) {
        for (row, keys) in rows.iter().enumerate() {
            payload.add_trees(tree, &down::<D, I, V, ABREAST>(features, limits, leaves, keys), row, sums);
        }
        tree += ABREAST;
    }
    let rest = features_rest.as_chunks().0.iter().zip(limits_rest.as_chunks().0).zip(leaves_rest.as_chunks().0);
    for ((features, limits), leaves) in rest {
        for (row, keys) in rows.iter().enumerate() {
            payload.add_trees(tree, &down::<D, I, V, 1>(features, limits, leaves, keys), row, sums);
        }
        tree += 1;
    }
}

/// The leaves that a row reaches in `N` trees.
#[inline(always)]
fn down<const D: usize, const I: usize, const V: usize, const N: usize>(
    features: &[[u8; I]; N],
    limits: &[[i32; I]; N],
    leaves: &[[f32; V]; N],
    keys: &RowKeys,
) -> [f32; N] {
    let mut places = [0; N];
    // Unrolled by hand: the compiler then sees that all indices fit, and neither branches nor checks remain.
    let level = |level: usize, places: &mut [usize; N]| {
        if level >= D {
            return;
        }
        let last = (1 << level) - 1;
        for tree in 0..N {
            let at = last + (places[tree] & last);
            let is_high = keys[usize::from(features[tree][at])] >= limits[tree][at];
            places[tree] = (places[tree] << 1) | usize::from(is_high);
        }
    };
    level(0, &mut places);
    level(1, &mut places);
    level(2, &mut places);
    level(3, &mut places);
    level(4, &mut places);
    level(5, &mut places);
    std::array::from_fn(|tree| leaves[tree][places[tree] & (V - 1)])
}

/// Scores a block of rows: `half` when there are at most `LANES / 2`.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx+avx2", "aarch64+neon"))]
fn block(perfect: &Perfect, payload: &Payload, x: &[Lanes], half: bool, keys: &mut BlockKeys, sums: &mut [Lanes]) {
    if half {
        perfect.columns.fill::<{ LANES / 2 }>(x, keys);
        parts::<{ LANES / 2 }>(perfect, payload, keys, sums);
    } else {
        perfect.columns.fill::<LANES>(x, keys);
        parts::<LANES>(perfect, payload, keys, sums);
    }
}

#[inline(always)]
fn parts<const L: usize>(perfect: &Perfect, payload: &Payload, keys: &BlockKeys, sums: &mut [Lanes]) {
    for part in perfect.parts() {
        match part.depth {
            1 => depth1::<L>(part, keys, payload, sums),
            2 => depth2::<L>(part, keys, payload, sums),
            3 => depth3::<L>(part, keys, payload, sums),
            4 => depth4::<L>(part, keys, payload, sums),
            5 => depth5::<L>(part, keys, payload, sums),
            _ => depth6::<L>(part, keys, payload, sums),
        }
    }
}

macro_rules! depth {
    ($group:ident, $select:ident, $below:ident, $inner:literal) => {
        #[inline(always)]
        fn $select<const L: usize, const I: usize, const V: usize>(
            features: &[u8; I],
            limits: &[i32; I],
            leaves: &[f32; V],
            keys: &BlockKeys,
            node: usize,
        ) -> [f32; L] {
            let low = $below::<L, I, V>(features, limits, leaves, keys, 2 * node + 1);
            let high = $below::<L, I, V>(features, limits, leaves, keys, 2 * node + 2);
            let keys = &keys.0[usize::from(features[node])];
            let mut chosen = low;
            for lane in 0..L {
                chosen[lane] = if keys[lane] < limits[node] { low[lane] } else { high[lane] };
            }
            chosen
        }

        #[inline(always)]
        fn $group<const L: usize>(part: Part<'_>, keys: &BlockKeys, payload: &Payload, sums: &mut [Lanes]) {
            let features = part.features.as_chunks::<$inner>().0.iter();
            let limits = part.limits.as_chunks::<$inner>().0.iter();
            let leaves = part.leaves.as_chunks::<{ $inner + 1 }>().0.iter();
            let trees = features.zip(limits).zip(leaves);
            if payload.is_plain() {
                // One target and a sum: kept in registers from tree to tree.
                let mut sum = *sums[0].first_chunk::<L>().unwrap_or(&[0.0; L]);
                for ((features, limits), leaves) in trees {
                    let leaves = $select::<L, $inner, { $inner + 1 }>(features, limits, leaves, keys, 0);
                    for lane in 0..L {
                        sum[lane] += leaves[lane];
                    }
                }
                sums[0][..L].copy_from_slice(&sum);
            } else {
                for (tree, ((features, limits), leaves)) in trees.enumerate() {
                    let leaves = $select::<L, $inner, { $inner + 1 }>(features, limits, leaves, keys, 0);
                    payload.add(part.first + tree, &leaves, sums);
                }
            }
        }
    };
}

#[inline(always)]
fn leaf<const L: usize, const I: usize, const V: usize>(
    _features: &[u8; I],
    _limits: &[i32; I],
    leaves: &[f32; V],
    _keys: &BlockKeys,
    node: usize,
) -> [f32; L] {
    [leaves[node - I]; L]
}

depth!(depth1, select1, leaf, 1);
depth!(depth2, select2, select1, 3);
depth!(depth3, select3, select2, 7);
depth!(depth4, select4, select3, 15);
depth!(depth5, select5, select4, 31);
depth!(depth6, select6, select5, 63);
