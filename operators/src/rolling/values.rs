//! The values a window remembers, in the type they came in.

use std::collections::VecDeque;

use gristmill::prefetch::prefetch;
use gristmill::words::ColumnRef;
use serde::{Deserialize, Serialize};

/// Up to so many values the memory of a window is taken at once, so that it is not larger than it must be.
const AT_ONCE: usize = 4096;
/// Buffers of up to so many values lie on the stack; two sizes, because every buffer is filled with zeros first.
const SMALL: usize = 32;
const MEDIUM: usize = 96;

/// Values of a key, oldest first: four bytes each for a stream of `f32`, eight for others.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Values {
    /// Of a stream of `f32`, and before the first row.
    F32(VecDeque<f32>),
    /// Of a stream of `f64` or `i64`.
    F64(VecDeque<f64>),
}

impl Default for Values {
    fn default() -> Self {
        Self::F32(VecDeque::new())
    }
}

impl Values {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    /// No values, of the same type, with room for so many.
    pub(crate) fn alike(&self, room: usize) -> Self {
        match self {
            Self::F32(_) => Self::F32(VecDeque::with_capacity(room)),
            Self::F64(_) => Self::F64(VecDeque::with_capacity(room)),
        }
    }

    /// Asks for the values to be brought near.
    pub(crate) fn prefetch(&self) {
        fn both<T>((front, back): (&[T], &[T])) {
            prefetch(front);
            prefetch(back);
        }
        match self {
            Self::F32(values) => both(values.as_slices()),
            Self::F64(values) => both(values.as_slices()),
        }
    }

    /// Appends the rows of `column` and keeps the last `most`.
    pub(crate) fn push(&mut self, column: ColumnRef<'_>, most: usize) {
        match (&mut *self, column) {
            (Self::F32(values), ColumnRef::F32(new)) => push(values, new, most),
            (Self::F64(values), ColumnRef::F64(new)) => push(values, new, most),
            _ => {
                let mut wide = vec![0.0; column.len()];
                copy_numbers(column, &mut wide);
                push(self.wide(), &wide, most);
            }
        }
    }

    /// Appends all of `other`.
    pub(crate) fn append(&mut self, other: &Self) {
        match other {
            Self::F32(values) => {
                let (old, new) = values.as_slices();
                self.push(ColumnRef::F32(old), usize::MAX);
                self.push(ColumnRef::F32(new), usize::MAX);
            }
            Self::F64(values) => {
                let (old, new) = values.as_slices();
                self.push(ColumnRef::F64(old), usize::MAX);
                self.push(ColumnRef::F64(new), usize::MAX);
            }
        }
    }

    /// All of them as a column.
    pub(crate) fn column(&mut self) -> ColumnRef<'_> {
        match self {
            Self::F32(values) => ColumnRef::F32(values.make_contiguous()),
            Self::F64(values) => ColumnRef::F64(values.make_contiguous()),
        }
    }

    /// Appends one value.
    pub(crate) fn push_one(&mut self, column: ColumnRef<'_>, row: usize) {
        match (&mut *self, column) {
            (Self::F32(values), ColumnRef::F32(new)) => values.push_back(new[row]),
            _ => self.wide().push_back(column.number(row)),
        }
    }

    fn wide(&mut self) -> &mut VecDeque<f64> {
        if let Self::F32(values) = self {
            *self = Self::F64(values.iter().map(|value| f64::from(*value)).collect());
        }
        match self {
            Self::F64(values) => values,
            Self::F32(_) => unreachable!("it was just made wide"),
        }
    }

    /// Drops the oldest.
    pub(crate) fn drop_front(&mut self, rows: usize) {
        match self {
            Self::F32(values) => drop(values.drain(..rows)),
            Self::F64(values) => drop(values.drain(..rows)),
        }
    }

    /// Drops all and keeps the memory.
    pub(crate) fn clear(&mut self) {
        match self {
            Self::F32(values) => values.clear(),
            Self::F64(values) => values.clear(),
        }
    }

    /// Copies all into `to`, which is as long.
    pub(crate) fn copy_to(&self, to: &mut [f64]) {
        match self {
            Self::F32(values) => {
                let (old, new) = values.as_slices();
                let (to_old, to_new) = to.split_at_mut(old.len());
                copy_numbers(ColumnRef::F32(old), to_old);
                copy_numbers(ColumnRef::F32(new), to_new);
            }
            Self::F64(values) => {
                let (old, new) = values.as_slices();
                to[..old.len()].copy_from_slice(old);
                to[old.len()..].copy_from_slice(new);
            }
        }
    }
}

fn push<T: Copy>(values: &mut VecDeque<T>, new: &[T], most: usize) {
    let new = &new[new.len() - new.len().min(most)..];
    let over = (values.len() + new.len()).saturating_sub(most);
    drop(values.drain(..over));
    if most <= AT_ONCE && values.capacity() < most {
        values.reserve_exact(most - values.len());
    }
    values.extend(new);
}

/// Copies the rows of a column of numbers into `to`, which is as long; missing ones are NaN.
pub(crate) fn copy_numbers(column: ColumnRef<'_>, to: &mut [f64]) {
    match column {
        ColumnRef::F32(values) => to.iter_mut().zip(values).for_each(|(to, value)| *to = f64::from(*value)),
        ColumnRef::F64(values) => to.copy_from_slice(values),
        other => to.iter_mut().enumerate().for_each(|(row, to)| *to = other.number(row)),
    }
}

/// Whether any value is missing.
pub(crate) fn any_missing(values: &[f64]) -> bool {
    // Counted rather than searched, so that the loop has no early exit and runs in lanes.
    values.iter().map(|value| u64::from(value.is_nan())).sum::<u64>() > 0
}

/// Calls with a buffer of zeros.
#[inline]
pub(crate) fn with_buffer(length: usize, call: impl FnOnce(&mut [f64])) {
    if length <= SMALL {
        call(&mut [0.0; SMALL][..length]);
    } else if length <= MEDIUM {
        call(&mut [0.0; MEDIUM][..length]);
    } else {
        call(&mut vec![0.0; length]);
    }
}
