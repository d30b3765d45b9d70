//! The rows of several keys, to run an operator on all of them in one call.

use std::ops::Range;

use super::operator::Rows;
use crate::words::{ColumnRef, KeyIndex, Time};

/// The rows at place `run`, where the rows of each key end at `ends`.
#[inline]
pub(crate) fn run_of(ends: &[u32], run: usize) -> Range<usize> {
    let start = if run == 0 { 0 } else { ends[run - 1] };
    start as usize..ends[run] as usize
}

/// Rows of several keys: those of a key stand together, and are its run.
#[derive(Clone, Copy, Debug)]
pub struct KeyRuns<'a> {
    keys: &'a [KeyIndex],
    /// Where the rows of each key end.
    ends: &'a [u32],
    times: &'a [Time],
    needs: &'a [ColumnRef<'a>],
}

impl<'a> KeyRuns<'a> {
    /// The runs of `keys`, which end at `ends`; `needs` have a value for each of `times`.
    pub(crate) fn new(keys: &'a [KeyIndex], ends: &'a [u32], times: &'a [Time], needs: &'a [ColumnRef<'a>]) -> Self {
        debug_assert!(keys.len() == ends.len() && needs.iter().all(|need| need.len() == times.len()));
        Self { keys, ends, times, needs }
    }

    /// How many keys.
    #[inline]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key at place `run`, if there are so many.
    #[inline]
    pub fn key(&self, run: usize) -> Option<KeyIndex> {
        self.keys.get(run).copied()
    }

    /// The rows of the key at place `run` among those of all keys.
    ///
    /// # Panics
    /// When there are fewer keys.
    #[inline]
    pub fn range(&self, run: usize) -> Range<usize> {
        run_of(self.ends, run)
    }

    /// The rows of the key at place `run`.
    ///
    /// # Panics
    /// When there are fewer keys.
    #[inline]
    pub fn rows(&self, run: usize) -> Rows<'a> {
        Rows::part_of(self.times, self.needs, self.range(run))
    }

    /// All rows, as if they were of one key.
    pub fn all(&self) -> Rows<'a> {
        Rows::new(self.times, self.needs)
    }
}
