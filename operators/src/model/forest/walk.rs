//! Trees of any shape: several rows go down a tree side by side, one comparison at a time, until all have their leaf.

use gristmill::prefetch::prefetch;
use gristmill::traits::LoadError;
use multiversion::multiversion;

use super::payload::Payload;
use super::tree::{Node, Tree};
use crate::model::block::Lanes;

/// Rows that go down together: enough to hide the loads of one behind those of the others.
const TOGETHER: usize = 8;

/// The nodes of all trees. Children of a comparison stand side by side, the low one first.
#[derive(Debug)]
pub(crate) struct Walk {
    nodes: Box<[Packed]>,
    roots: Box<[u32]>,
    /// Bits of a packed word below the offset: one for NaN, the rest the feature.
    shift: u32,
}

/// Eight bytes a node.
#[derive(Clone, Copy, Debug)]
struct Packed {
    /// From the lowest bit: whether NaN goes high; the feature; the signed way to the low child, 0 at a leaf.
    word: u32,
    /// The threshold, or the leaf.
    value: f32,
}

impl Walk {
    /// Lays trees out, breadth first.
    pub(crate) fn new(trees: &[Tree], inputs: usize) -> Result<Self, LoadError> {
        let shift = 1 + (usize::BITS - inputs.saturating_sub(1).leading_zeros());
        let reach = 1_i64 << (31 - shift.min(31));
        let (mut nodes, mut roots) = (Vec::new(), Vec::with_capacity(trees.len()));
        for tree in trees {
            roots.push(nodes.len() as u32);
            lay_out(tree, shift, reach, &mut nodes)?;
        }
        Ok(Self { nodes: nodes.into(), roots: roots.into(), shift })
    }

    pub(crate) fn prefetch(&self) {
        prefetch(&*self.roots);
        prefetch(&*self.nodes);
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.nodes) + size_of_val(&*self.roots)
    }

    /// Scores one row.
    pub(crate) fn row(&self, payload: &Payload, x: &[Lanes], lane: usize, sums: &mut [Lanes]) {
        for (tree, root) in self.roots.iter().enumerate() {
            let [leaf] = down::<1>(self, *root, x, lane);
            payload.add_row(tree, leaf, lane, sums);
        }
    }
}

fn lay_out(tree: &Tree, shift: u32, reach: i64, nodes: &mut Vec<Packed>) -> Result<(), LoadError> {
    const NOWHERE: u32 = u32::MAX;
    let mut children = vec![NOWHERE; tree.nodes.len()];
    let mut queue = std::collections::VecDeque::from([(nodes.len(), tree.root)]);
    nodes.push(Packed { word: 0, value: 0.0 });
    while let Some((place, index)) = queue.pop_front() {
        match tree.nodes[index as usize] {
            Node::Leaf(bits) => nodes[place].value = f32::from_bits(bits),
            Node::Split { feature, threshold, nan_high, low, high } => {
                let at = &mut children[index as usize];
                if *at == NOWHERE {
                    *at = nodes.len() as u32;
                    queue.extend([(nodes.len(), low), (nodes.len() + 1, high)]);
                    nodes.extend([Packed { word: 0, value: 0.0 }; 2]);
                }
                let offset = i64::from(*at) - place as i64;
                if offset.abs() >= reach || nodes.len() >= NOWHERE as usize {
                    return Err(LoadError { reason: format!("a tree is too large: its nodes are {offset} apart") });
                }
                let word = ((offset as u32) << shift) | (u32::from(feature) << 1) | u32::from(nan_high);
                nodes[place] = Packed { word, value: threshold };
            }
        }
    }
    Ok(())
}

/// The leaves that `N` rows from `lane` on reach.
#[inline(always)]
fn down<const N: usize>(walk: &Walk, root: u32, x: &[Lanes], lane: usize) -> [f32; N] {
    let feature_mask = (1_u32 << (walk.shift - 1)) - 1;
    let mut at = [root; N];
    let mut values = [0.0; N];
    loop {
        let mut open = 0;
        for row in 0..N {
            let node = walk.nodes[at[row] as usize];
            let offset = (node.word as i32) >> walk.shift;
            let value = x[((node.word >> 1) & feature_mask) as usize][lane + row];
            // Bits, not conditions: a branch here would be guessed wrong half of the time.
            let high = i32::from(value > node.value) | (i32::from(value.is_nan()) & node.word as i32);
            at[row] = at[row].wrapping_add_signed(offset + (high & i32::from(offset != 0)));
            values[row] = node.value;
            open |= offset;
        }
        if open == 0 {
            return values;
        }
    }
}

/// Scores the first `rows` rows of a block.
#[multiversion(targets("x86_64+avx+avx2+bmi1+bmi2", "aarch64+neon"))]
pub(crate) fn block(walk: &Walk, payload: &Payload, x: &[Lanes], rows: usize, sums: &mut [Lanes]) {
    for (tree, root) in walk.roots.iter().enumerate() {
        let mut lane = 0;
        while lane + TOGETHER <= rows {
            let leaves = down::<TOGETHER>(walk, *root, x, lane);
            leaves.iter().enumerate().for_each(|(row, leaf)| payload.add_row(tree, *leaf, lane + row, sums));
            lane += TOGETHER;
        }
        while lane + 2 <= rows {
            let leaves = down::<2>(walk, *root, x, lane);
            leaves.iter().enumerate().for_each(|(row, leaf)| payload.add_row(tree, *leaf, lane + row, sums));
            lane += 2;
        }
        if lane < rows {
            let [leaf] = down::<1>(walk, *root, x, lane);
            payload.add_row(tree, leaf, lane, sums);
        }
    }
}
