//! Shallow trees, padded to perfect ones: every comparison of a tree for a block of rows, then the leaf by selection.

use gristmill::prefetch::prefetch;
use multiversion::multiversion;

use super::payload::{Payload, Rule};
use super::tree::{Node, Tree};
use crate::model::block::{LANES, Lanes};

/// The deepest trees that are padded: all 63 comparisons still cost less than six dependent loads.
pub(crate) const DEPTH_MAX: usize = 6;

/// Up to so many columns, a row is copied to a place of its own.
const NARROW: usize = 16;

/// Set in a feature when NaN goes high.
pub(crate) const NAN_HIGH: u16 = 1 << NAN_HIGH_BIT;
const NAN_HIGH_BIT: u32 = 15;

/// The trees, in order. Tree by tree, level by level: a feature for each comparison; its thresholds, then its leaves.
#[derive(Debug)]
pub(crate) struct Perfect {
    pub(crate) groups: Box<[Group]>,
    pub(crate) features: Box<[u16]>,
    pub(crate) values: Box<[f32]>,
}

/// Trees of one depth that follow one another.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group {
    pub(crate) depth: u8,
    pub(crate) trees: u32,
}

impl Perfect {
    /// Pads trees; `depths[i]` is the depth of `trees[i]`, at most [`DEPTH_MAX`].
    pub(crate) fn new(trees: &[Tree], depths: &[usize]) -> Self {
        let mut groups: Vec<Group> = Vec::new();
        let (mut features, mut values) = (Vec::new(), Vec::new());
        for (tree, depth) in trees.iter().zip(depths) {
            let depth = (*depth).max(1) as u8;
            match groups.last_mut() {
                Some(group) if group.depth == depth => group.trees += 1,
                _ => groups.push(Group { depth, trees: 1 }),
            }
            pad(tree, usize::from(depth), &mut features, &mut values);
        }
        Self { groups: groups.into(), features: features.into(), values: values.into() }
    }

    pub(crate) fn prefetch(&self) {
        prefetch(&*self.groups);
        prefetch(&*self.features);
        prefetch(&*self.values);
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.groups) + size_of_val(&*self.features) + size_of_val(&*self.values)
    }

    /// Scores one row, comparison by comparison, without a branch; `nan` when a value may be NaN that goes high.
    pub(crate) fn row(&self, payload: &Payload, x: &[Lanes], lane: usize, sums: &mut [Lanes], nan: bool) {
        if payload.is_plain() && !nan && x.len() <= NARROW {
            sums[0][lane] = self.narrow_row(x, lane, sums[0][lane]);
        } else {
            self.any_row(payload, x, lane, sums);
        }
    }

    /// A row of few columns, for one target that is a sum: nothing is checked between two comparisons.
    fn narrow_row(&self, x: &[Lanes], lane: usize, mut sum: f32) -> f32 {
        let mut row = [0.0; NARROW];
        row.iter_mut().zip(x).for_each(|(to, column)| *to = column[lane]);
        let (mut features, mut values) = (&*self.features, &*self.values);
        for group in &self.groups {
            let count = group.trees as usize;
            let inner = (1_usize << group.depth) - 1;
            let (own_features, rest) = features.split_at(count * inner);
            let (own_values, rest_values) = values.split_at(count * (2 * inner + 1));
            (features, values) = (rest, rest_values);
            sum = match group.depth {
                1 => narrow::<1, 1, 3>(own_features, own_values, &row, sum),
                2 => narrow::<2, 3, 7>(own_features, own_values, &row, sum),
                3 => narrow::<3, 7, 15>(own_features, own_values, &row, sum),
                4 => narrow::<4, 15, 31>(own_features, own_values, &row, sum),
                5 => narrow::<5, 31, 63>(own_features, own_values, &row, sum),
                _ => narrow::<6, 63, 127>(own_features, own_values, &row, sum),
            };
        }
        sum
    }

    fn any_row(&self, payload: &Payload, x: &[Lanes], lane: usize, sums: &mut [Lanes]) {
        let (mut features, mut values, mut tree) = (&*self.features, &*self.values, 0);
        for group in &self.groups {
            let count = group.trees as usize;
            let inner = (1_usize << group.depth) - 1;
            let (own_features, rest) = features.split_at(count * inner);
            let (own_values, rest_values) = values.split_at(count * (2 * inner + 1));
            (features, values) = (rest, rest_values);
            let mut add = |index: usize, leaf: f32| payload.add_row(tree + index, leaf, lane, sums);
            match group.depth {
                1 => rows::<1, 1, 3>(own_features, own_values, x, lane, &mut add),
                2 => rows::<2, 3, 7>(own_features, own_values, x, lane, &mut add),
                3 => rows::<3, 7, 15>(own_features, own_values, x, lane, &mut add),
                4 => rows::<4, 15, 31>(own_features, own_values, x, lane, &mut add),
                5 => rows::<5, 31, 63>(own_features, own_values, x, lane, &mut add),
                _ => rows::<6, 63, 127>(own_features, own_values, x, lane, &mut add),
            }
            tree += count;
        }
    }
}

/// Walks the trees of a group for one row of at most [`NARROW`] columns, none of which is NaN that goes high.
#[inline(always)]
fn narrow<const D: usize, const I: usize, const V: usize>(
    features: &[u16],
    values: &[f32],
    row: &[f32; NARROW],
    mut sum: f32,
) -> f32 {
    for (features, values) in features.as_chunks::<I>().0.iter().zip(values.as_chunks::<V>().0) {
        // The place within its level, below two to the power of the level: the compiler sees that all indices fit.
        let (mut place, mut level) = (0, 0);
        for _ in 0..D {
            let value = row[usize::from(features[level + place]) % NARROW];
            place = (place << 1) | usize::from(value > values[level + place]);
            level = 2 * level + 1;
        }
        sum += values[level + place];
    }
    sum
}

/// Walks the trees of a group for one row. Four trees go side by side: one waits for its loads while the others compare.
#[inline(always)]
fn rows<const D: usize, const I: usize, const V: usize>(
    features: &[u16],
    values: &[f32],
    x: &[Lanes],
    lane: usize,
    add: &mut impl FnMut(usize, f32),
) {
    const ABREAST: usize = 4;
    let (features, values) = (features.as_chunks::<I>().0, values.as_chunks::<V>().0);
    let step = |tree: usize, node: usize| {
        // Bits, not conditions: a branch here would be guessed wrong half of the time.
        let feature = usize::from(features[tree][node]);
        let value = x[feature & usize::from(!NAN_HIGH)][lane];
        let nan_high = usize::from(value.is_nan()) & (feature >> NAN_HIGH_BIT);
        2 * node + 1 + (usize::from(value > values[tree][node]) | nan_high)
    };
    let mut first = 0;
    while first + ABREAST <= features.len() {
        let mut nodes = [0; ABREAST];
        for _ in 0..D {
            for (abreast, node) in nodes.iter_mut().enumerate() {
                *node = step(first + abreast, *node);
            }
        }
        nodes.iter().enumerate().for_each(|(abreast, node)| add(first + abreast, values[first + abreast][*node]));
        first += ABREAST;
    }
    for (tree, values) in values.iter().enumerate().skip(first) {
        add(tree, values[(0..D).fold(0, |node, _| step(tree, node))]);
    }
}

fn pad(tree: &Tree, depth: usize, features: &mut Vec<u16>, values: &mut Vec<f32>) {
    let inner = (1_usize << depth) - 1;
    let mut level = vec![tree.root];
    let mut thresholds = Vec::with_capacity(inner);
    while thresholds.len() < inner {
        let mut below = Vec::with_capacity(2 * level.len());
        for index in level {
            match tree.nodes[index as usize] {
                Node::Split { feature, threshold, nan_high, low, high } => {
                    features.push(feature | if nan_high { NAN_HIGH } else { 0 });
                    thresholds.push(threshold);
                    below.extend([low, high]);
                }
                // Both ways lead to the same leaf.
                Node::Leaf(_) => {
                    features.push(0);
                    thresholds.push(f32::INFINITY);
                    below.extend([index, index]);
                }
            }
        }
        level = below;
    }
    values.append(&mut thresholds);
    values.extend(level.into_iter().map(|index| match tree.nodes[index as usize] {
        Node::Leaf(bits) => f32::from_bits(bits),
        Node::Split { .. } => f32::NAN, // the depth is that of the tree: not reached
    }));
}

/// Scores a block of rows: `half` when there are at most `LANES / 2`, `nan` when a value may be NaN.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512dq+avx512vl", "x86_64+avx+avx2", "aarch64+neon"))]
pub(crate) fn block(perfect: &Perfect, payload: &Payload, x: &[Lanes], sums: &mut [Lanes], half: bool, nan: bool) {
    match (half, nan) {
        (false, false) => trees::<LANES, false>(perfect, payload, x, sums),
        (false, true) => trees::<LANES, true>(perfect, payload, x, sums),
        (true, false) => trees::<{ LANES / 2 }, false>(perfect, payload, x, sums),
        (true, true) => trees::<{ LANES / 2 }, true>(perfect, payload, x, sums),
    }
}

#[inline(always)]
fn trees<const L: usize, const NAN: bool>(perfect: &Perfect, payload: &Payload, x: &[Lanes], sums: &mut [Lanes]) {
    let (mut features, mut values, mut tree) = (&*perfect.features, &*perfect.values, 0);
    for group in &perfect.groups {
        let count = group.trees as usize;
        let inner = (1_usize << group.depth) - 1;
        let (own_features, rest) = features.split_at(count * inner);
        let (own_values, rest_values) = values.split_at(count * (2 * inner + 1));
        (features, values) = (rest, rest_values);
        match group.depth {
            1 => depth1::<L, NAN>(own_features, own_values, x, payload, tree, sums),
            2 => depth2::<L, NAN>(own_features, own_values, x, payload, tree, sums),
            3 => depth3::<L, NAN>(own_features, own_values, x, payload, tree, sums),
            4 => depth4::<L, NAN>(own_features, own_values, x, payload, tree, sums),
            5 => depth5::<L, NAN>(own_features, own_values, x, payload, tree, sums),
            _ => depth6::<L, NAN>(own_features, own_values, x, payload, tree, sums),
        }
        tree += count;
    }
}

macro_rules! depth {
    ($group:ident, $select:ident, $below:ident, $inner:literal) => {
        #[inline(always)]
        fn $select<const L: usize, const NAN: bool, const I: usize, const V: usize>(
            features: &[u16; I],
            values: &[f32; V],
            x: &[Lanes],
            node: usize,
        ) -> [f32; L] {
            let low = $below::<L, NAN, I, V>(features, values, x, 2 * node + 1);
            let high = $below::<L, NAN, I, V>(features, values, x, 2 * node + 2);
            select::<L, NAN>(features[node], values[node], x, low, high)
        }

        #[inline(always)]
        fn $group<const L: usize, const NAN: bool>(
            features: &[u16],
            values: &[f32],
            x: &[Lanes],
            payload: &Payload,
            first: usize,
            sums: &mut [Lanes],
        ) {
            let features = features.as_chunks::<$inner>().0;
            let values = values.as_chunks::<{ 2 * $inner + 1 }>().0;
            if payload.is_plain() {
                // One target and a sum: kept in registers from tree to tree.
                let mut sum = *sums[0].first_chunk::<L>().unwrap_or(&[0.0; L]);
                for (features, values) in features.iter().zip(values) {
                    let leaves = $select::<L, NAN, $inner, { 2 * $inner + 1 }>(features, values, x, 0);
                    for lane in 0..L {
                        sum[lane] += leaves[lane];
                    }
                }
                sums[0][..L].copy_from_slice(&sum);
            } else {
                for (tree, (features, values)) in features.iter().zip(values).enumerate() {
                    let leaves = $select::<L, NAN, $inner, { 2 * $inner + 1 }>(features, values, x, 0);
                    payload.add(first + tree, &leaves, sums);
                }
            }
        }
    };
}

#[inline(always)]
fn leaf<const L: usize, const NAN: bool, const I: usize, const V: usize>(
    _features: &[u16; I],
    values: &[f32; V],
    _x: &[Lanes],
    node: usize,
) -> [f32; L] {
    [values[node]; L]
}

depth!(depth1, select1, leaf, 1);
depth!(depth2, select2, select1, 3);
depth!(depth3, select3, select2, 7);
depth!(depth4, select4, select3, 15);
depth!(depth5, select5, select4, 31);
depth!(depth6, select6, select5, 63);

#[inline(always)]
fn select<const L: usize, const NAN: bool>(
    feature: u16,
    threshold: f32,
    x: &[Lanes],
    low: [f32; L],
    high: [f32; L],
) -> [f32; L] {
    let value = &x[usize::from(feature & !NAN_HIGH)];
    let nan_high = NAN && feature & NAN_HIGH != 0;
    let mut chosen = low;
    for lane in 0..L {
        let up = (value[lane] > threshold) | (nan_high & value[lane].is_nan());
        chosen[lane] = if up { high[lane] } else { low[lane] };
    }
    chosen
}

impl Payload {
    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.rule == Rule::Sum && self.is_single()
    }
}
