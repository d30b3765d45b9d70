//! Trees of any shape: several of them are walked side by side for a row, one comparison at a time, until all are at a
//! leaf. All rows of a block walk those trees before the next ones, so that the nodes they share stay near.

use std::cell::RefCell;

use gristmill::prefetch::prefetch;
use gristmill::traits::LoadError;

use super::keys::{Columns, key, limit};
use super::payload::Payload;
use super::tree::{Node, Tree};
use crate::model::block::{LANES, Lanes};

/// Trees that are walked side by side: enough to hide the loads of one behind those of the others.
const ABREAST: usize = 8;

/// Keys of a row, that of the column below all others among them, up to which a column's number is a byte.
const NARROW: usize = 256;

thread_local! {
    // Kept by the thread, so that scoring allocates only until it has met its widest forest.
    static KEYS: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
}

/// The nodes of all trees. Children of a comparison stand side by side, the low one first.
#[derive(Debug)]
pub(crate) struct Walk {
    columns: Columns,
    nodes: Box<[Packed]>,
    /// A full number of [`ABREAST`]; those of no tree are roots of others.
    roots: Box<[[u32; ABREAST]]>,
    trees: usize,
    /// Bits of a packed word below the offset: the column.
    shift: u32,
}

/// Eight bytes a node.
#[derive(Clone, Copy, Debug)]
struct Packed {
    /// From the lowest bit: the column; the signed way to the low child, which stands before the high one. At a leaf, a
    /// column after all others whose key is the least, and no way: a row that has its leaf stays there.
    word: u32,
    /// The largest key that goes low, or the bits of the leaf.
    bound: u32,
}

impl Walk {
    /// Lays trees out, breadth first.
    pub(crate) fn new(trees: &[Tree], columns: Columns) -> Result<Self, LoadError> {
        let shift = (usize::BITS - columns.len().leading_zeros()).max(8);
        let (mut nodes, mut roots) = (Vec::new(), Vec::with_capacity(trees.len().next_multiple_of(ABREAST)));
        for tree in trees {
            roots.push(nodes.len() as u32);
            lay_out(tree, &columns, shift, &mut nodes)?;
        }
        roots.resize(roots.len().next_multiple_of(ABREAST), 0);
        let roots = roots.as_chunks().0.into();
        Ok(Self { columns, nodes: nodes.into(), roots, trees: trees.len(), shift })
    }

    pub(crate) fn prefetch(&self) {
        self.columns.prefetch();
        prefetch(&*self.roots);
        prefetch(&*self.nodes);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.columns.bytes() + size_of_val(&*self.nodes) + size_of_val(&*self.roots)
    }

    /// Scores the first `rows` lanes.
    pub(crate) fn run(&self, payload: &Payload, x: &[Lanes], rows: usize, sums: &mut [Lanes]) {
        KEYS.with_borrow_mut(|keys| {
            let below_all = self.columns.len();
            let narrow = below_all < NARROW;
            let width = if narrow { NARROW } else { below_all + 1 };
            if keys.len() < LANES * width {
                keys.resize(LANES * width, 0);
            }
            self.columns.each_column(x, |place, from, nan_high| {
                let to = keys[place..].iter_mut().step_by(width);
                to.zip(&from[..rows]).for_each(|(to, x)| *to = unsigned(key(*x, nan_high)));
            });
            keys[below_all..].iter_mut().step_by(width).take(rows).for_each(|to| *to = 0);
            if narrow {
                // A byte is an index that needs no check.
                let rows = keys.as_chunks::<NARROW>().0.iter().take(rows);
                self.rows(payload, &rows, sums, |keys, word| (keys[usize::from(word as u8)], (word as i32) >> 8));
            } else {
                let (rows, shift) = (keys.chunks_exact(width).take(rows), self.shift);
                let mask = (1 << shift) - 1;
                self.rows(payload, &rows, sums, |keys, word| (keys[(word & mask) as usize], (word as i32) >> shift));
            }
        });
    }

    /// Scores rows of keys; `read` gives the key that a packed word asks for and its offset.
    #[inline(always)]
    fn rows<'k, K: ?Sized + 'k>(
        &self,
        payload: &Payload,
        rows: &(impl Iterator<Item = &'k K> + Clone),
        sums: &mut [Lanes],
        read: impl Fn(&K, u32) -> (u32, i32),
    ) {
        for (group, roots) in self.roots.iter().enumerate() {
            let first = group * ABREAST;
            let trees = ABREAST.min(self.trees - first);
            for (row, keys) in rows.clone().enumerate() {
                let leaves = down(&self.nodes, *roots, |word| read(keys, word));
                payload.add_trees(first, &leaves[..trees], row, sums);
            }
        }
    }
}

/// The leaves that a row reaches in as many trees.
#[inline(always)]
fn down(nodes: &[Packed], roots: [u32; ABREAST], read: impl Fn(u32) -> (u32, i32)) -> [f32; ABREAST] {
    let mut at = roots;
    loop {
        let mut open = 0;
        for at in &mut at {
            let node = nodes[*at as usize];
            let (key, offset) = read(node.word);
            // The borrow is the comparison: it is added without a branch, nor a number made of it first.
            let (_, is_high) = node.bound.overflowing_sub(key);
            *at = at.wrapping_add_signed(offset).wrapping_add(u32::from(is_high));
            open |= offset;
        }
        if open == 0 {
            break;
        }
    }
    let mut leaves = [0.0; ABREAST];
    for (leaf, at) in leaves.iter_mut().zip(at) {
        *leaf = f32::from_bits(nodes[at as usize].bound);
    }
    leaves
}

/// A key as a number without a sign, in the same order.
fn unsigned(key: i32) -> u32 {
    key as u32 ^ (1 << 31)
}

fn lay_out(tree: &Tree, columns: &Columns, shift: u32, nodes: &mut Vec<Packed>) -> Result<(), LoadError> {
    const NOWHERE: u32 = u32::MAX;
    let reach = 1_i64 << (31 - shift);
    let open = Packed { word: columns.len() as u32, bound: 0 };
    let mut children = vec![NOWHERE; tree.nodes.len()];
    let mut queue = std::collections::VecDeque::from([(nodes.len(), tree.root)]);
    nodes.push(open);
    while let Some((place, index)) = queue.pop_front() {
        match tree.nodes[index as usize] {
            Node::Leaf(bits) => nodes[place].bound = bits,
            Node::Split { feature, threshold, nan_high, low, high } => {
                let at = &mut children[index as usize];
                if *at == NOWHERE {
                    *at = nodes.len() as u32;
                    queue.extend([(nodes.len(), low), (nodes.len() + 1, high)]);
                    nodes.extend([open; 2]);
                }
                let offset = i64::from(*at) - place as i64;
                if offset.abs() >= reach || nodes.len() >= NOWHERE as usize {
                    let reason = format!(
                        "a tree is too large: a child is {offset} nodes from its parent; with {} compared columns fewer \
                         than {reach} are allowed, in a forest of fewer than {NOWHERE} nodes",
                        columns.len()
                    );
                    return Err(LoadError { reason });
                }
                let column = columns.place(feature, nan_high) as u32;
                nodes[place] =
                    Packed { word: ((offset as u32) << shift) | column, bound: unsigned(limit(threshold) - 1) };
            }
        }
    }
    Ok(())
}
