//! Floats as whole numbers of the same order, so that a comparison is one instruction and NaN needs no other kernel.
//!
//! The bits of an IEEE float, those below the sign flipped when it is negative, are a signed number that orders as the
//! float does. NaN is made the smallest number where it goes low and the largest where it goes high: a column whose NaN
//! goes both ways is two columns here. A row goes low when its key is *below the limit*, the key after the threshold's.

use std::cell::RefCell;

use gristmill::prefetch::prefetch;

use super::tree::{Node, Tree};
use crate::model::block::{LANES, Lanes};

/// The most columns of keys: their numbers are bytes.
pub(crate) const COLUMNS_MAX: usize = 256;

/// Set in a column's number when NaN goes high.
const NAN_HIGH: u16 = 1 << 15;

/// The keys of one row.
pub(crate) type RowKeys = [i32; COLUMNS_MAX];

/// The keys of a block of rows; those of a column fill a line of the cache.
#[repr(align(64))]
pub(crate) struct BlockKeys(pub(crate) [[i32; LANES]; COLUMNS_MAX]);

thread_local! {
    // Kept by the thread: a byte is an index into them that needs no check, and clearing them would cost more than a
    // small forest. What a model does not set, it does not read.
    static ROWS: RefCell<[RowKeys; LANES]> = const { RefCell::new([[0; COLUMNS_MAX]; LANES]) };
    static BLOCK: RefCell<BlockKeys> = const { RefCell::new(BlockKeys([[0; LANES]; COLUMNS_MAX])) };
}

/// The columns that a forest compares, in order.
#[derive(Clone, Debug)]
pub(crate) struct Columns(Box<[u16]>);

impl Columns {
    pub(crate) fn of(trees: &[Tree]) -> Self {
        let splits = trees.iter().flat_map(|tree| &tree.nodes);
        let mut columns: Vec<u16> = splits
            .filter_map(|node| match node {
                Node::Split { feature, nan_high, .. } => Some(number(*feature, *nan_high)),
                Node::Leaf(_) => None,
            })
            .collect();
        columns.sort_unstable();
        columns.dedup();
        Self(columns.into())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The place of a column that is among them.
    pub(crate) fn place(&self, feature: u16, nan_high: bool) -> usize {
        self.0.binary_search(&number(feature, nan_high)).unwrap_or_else(|place| place)
    }

    pub(crate) fn prefetch(&self) {
        prefetch(&*self.0);
    }

    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// Calls `score` with the keys of the first `rows` rows.
    #[inline(always)]
    pub(crate) fn with_rows(&self, x: &[Lanes], rows: usize, score: impl FnOnce(&[RowKeys])) {
        ROWS.with_borrow_mut(|keys| {
            let rows = &mut keys[..rows.min(LANES)];
            // The mask says that no check is needed: a forest of more columns takes its own keys.
            self.each_column(x, |place, from, nan_high| {
                rows.iter_mut().zip(from).for_each(|(keys, x)| keys[place & (COLUMNS_MAX - 1)] = key(*x, nan_high));
            });
            score(rows);
        });
    }

    /// Calls `take` with each column's place, values, and whether NaN goes high.
    #[inline(always)]
    pub(crate) fn each_column(&self, x: &[Lanes], mut take: impl FnMut(usize, &Lanes, bool)) {
        for (place, column) in self.0.iter().enumerate() {
            take(place, &x[usize::from(column & !NAN_HIGH)], column & NAN_HIGH != 0);
        }
    }

    /// Makes the keys of the first `L` rows of a block. Inlined, so that the caller's instruction set is used.
    #[inline(always)]
    pub(crate) fn fill<const L: usize>(&self, x: &[Lanes], keys: &mut BlockKeys) {
        self.each_column(x, |place, from, nan_high| {
            let to = &mut keys.0[place & (COLUMNS_MAX - 1)];
            for lane in 0..L {
                to[lane] = key(from[lane], nan_high);
            }
        });
    }
}

/// Calls `score` with a place for the keys of a block.
pub(crate) fn with_block(score: impl FnOnce(&mut BlockKeys)) {
    BLOCK.with_borrow_mut(score);
}

fn number(feature: u16, nan_high: bool) -> u16 {
    feature | if nan_high { NAN_HIGH } else { 0 }
}

/// The key of a value.
#[inline(always)]
pub(crate) fn key(x: f32, nan_high: bool) -> i32 {
    let nan = if nan_high { i32::MAX } else { i32::MIN };
    if x.is_nan() { nan } else { ordered(x) }
}

#[inline(always)]
fn ordered(x: f32) -> i32 {
    let bits = x.to_bits() as i32;
    bits ^ ((bits >> 31) & i32::MAX)
}

/// What the keys of all values that go low are below: those at or below `threshold`, or all but a NaN that goes high
/// when it is NaN.
pub(crate) fn limit(threshold: f32) -> i32 {
    // Adding 0 makes 0 of -0, which has a key of its own below that of 0.
    if threshold.is_nan() { i32::MAX } else { ordered(threshold + 0.0) + 1 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn float() -> impl Strategy<Value = f32> {
        let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN, f32::MAX, f32::MIN];
        let tiny = [f32::from_bits(1), -f32::from_bits(1), f32::MIN_POSITIVE, -f32::MIN_POSITIVE];
        prop_oneof![any::<u32>().prop_map(f32::from_bits), prop::sample::select([&special[..], &tiny].concat())]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn keys_compare_as_floats_do(x in float(), threshold in float(), nan_high in any::<bool>()) {
            let high = x > threshold || (x.is_nan() && nan_high);
            prop_assert_eq!(key(x, nan_high) >= limit(threshold), high);
        }
    }
}
