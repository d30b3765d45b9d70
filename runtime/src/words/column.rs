//! Columns of values. Missing is a value of its own in each type (NaN, `i64::MIN`, `None`), so that a column is one
//! plain vector and a kernel can run over it: see docs/adr/0001-missing-in-the-column.md.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::column_mut::ColumnMut;
use super::element::{ElementType, Value};
use crate::prefetch::prefetch;

/// The values of one stream, a row each.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Column {
    /// Of `f32`.
    F32(Vec<f32>),
    /// Of `f64`.
    F64(Vec<f64>),
    /// Of `i64`.
    I64(Vec<i64>),
    /// Of `bool`.
    Bool(Vec<Option<bool>>),
    /// Of strings.
    Str(Vec<Option<SmolStr>>),
    /// Of vectors, one after the other.
    Vector {
        /// `f32` in a row.
        width: usize,
        /// `width` values a row.
        values: Vec<f32>,
    },
}

/// Some rows of a column, to read.
#[derive(Clone, Copy, Debug)]
pub enum ColumnRef<'a> {
    /// Of `f32`.
    F32(&'a [f32]),
    /// Of `f64`.
    F64(&'a [f64]),
    /// Of `i64`.
    I64(&'a [i64]),
    /// Of `bool`.
    Bool(&'a [Option<bool>]),
    /// Of strings.
    Str(&'a [Option<SmolStr>]),
    /// Of vectors.
    Vector {
        /// `f32` in a row.
        width: usize,
        /// `width` values a row.
        values: &'a [f32],
    },
}

impl Column {
    /// A column of `rows` missing values.
    pub fn missing(element: ElementType, rows: usize) -> Self {
        match element {
            ElementType::F32 => Self::F32(vec![f32::NAN; rows]),
            ElementType::F64 => Self::F64(vec![f64::NAN; rows]),
            ElementType::I64 => Self::I64(vec![i64::MIN; rows]),
            ElementType::Bool => Self::Bool(vec![None; rows]),
            ElementType::Str => Self::Str(vec![None; rows]),
            ElementType::Vector(width) => {
                let width = usize::from(width);
                Self::Vector { width, values: vec![f32::NAN; rows * width] }
            }
        }
    }

    /// An empty column with room for `rows`.
    pub fn with_capacity(element: ElementType, rows: usize) -> Self {
        match element {
            ElementType::F32 => Self::F32(Vec::with_capacity(rows)),
            ElementType::F64 => Self::F64(Vec::with_capacity(rows)),
            ElementType::I64 => Self::I64(Vec::with_capacity(rows)),
            ElementType::Bool => Self::Bool(Vec::with_capacity(rows)),
            ElementType::Str => Self::Str(Vec::with_capacity(rows)),
            ElementType::Vector(width) => {
                let width = usize::from(width);
                Self::Vector { width, values: Vec::with_capacity(rows * width) }
            }
        }
    }

    /// The type of its values.
    pub fn element_type(&self) -> ElementType {
        self.as_ref().element_type()
    }

    /// Rows in it.
    pub fn len(&self) -> usize {
        self.as_ref().len()
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All rows, to read.
    pub fn as_ref(&self) -> ColumnRef<'_> {
        match self {
            Self::F32(values) => ColumnRef::F32(values),
            Self::F64(values) => ColumnRef::F64(values),
            Self::I64(values) => ColumnRef::I64(values),
            Self::Bool(values) => ColumnRef::Bool(values),
            Self::Str(values) => ColumnRef::Str(values),
            Self::Vector { width, values } => ColumnRef::Vector { width: *width, values },
        }
    }

    /// All rows, to write.
    pub fn as_mut(&mut self) -> ColumnMut<'_> {
        match self {
            Self::F32(values) => ColumnMut::F32(values),
            Self::F64(values) => ColumnMut::F64(values),
            Self::I64(values) => ColumnMut::I64(values),
            Self::Bool(values) => ColumnMut::Bool(values),
            Self::Str(values) => ColumnMut::Str(values),
            Self::Vector { width, values } => ColumnMut::Vector { width: *width, values },
        }
    }

    /// Some rows, to read.
    #[inline(always)]
    pub fn rows(&self, rows: Range<usize>) -> ColumnRef<'_> {
        // Most columns: a branch that is foreseen, where a table of jumps may not be.
        if let Self::F32(values) = self {
            return ColumnRef::F32(&values[rows]);
        }
        self.as_ref().rows(rows)
    }

    /// Some rows, to write.
    #[inline]
    pub fn rows_mut(&mut self, rows: Range<usize>) -> ColumnMut<'_> {
        match self {
            Self::F32(values) => ColumnMut::F32(&mut values[rows]),
            Self::F64(values) => ColumnMut::F64(&mut values[rows]),
            Self::I64(values) => ColumnMut::I64(&mut values[rows]),
            Self::Bool(values) => ColumnMut::Bool(&mut values[rows]),
            Self::Str(values) => ColumnMut::Str(&mut values[rows]),
            Self::Vector { width, values } => {
                ColumnMut::Vector { width: *width, values: &mut values[rows.start * *width..rows.end * *width] }
            }
        }
    }

    /// Asks for its values to be brought near: see [`prefetch`].
    pub fn prefetch(&self) {
        match self {
            Self::F32(values) | Self::Vector { values, .. } => prefetch(&values[..]),
            Self::F64(values) => prefetch(&values[..]),
            Self::I64(values) => prefetch(&values[..]),
            Self::Bool(values) => prefetch(&values[..]),
            Self::Str(values) => prefetch(&values[..]),
        }
    }

    /// Appends the rows of `other`, which is of the same type.
    ///
    /// # Panics
    /// When the types differ.
    pub fn extend(&mut self, other: ColumnRef<'_>) {
        match (self, other) {
            (Self::F32(to), ColumnRef::F32(from)) => to.extend_from_slice(from),
            (Self::F64(to), ColumnRef::F64(from)) => to.extend_from_slice(from),
            (Self::I64(to), ColumnRef::I64(from)) => to.extend_from_slice(from),
            (Self::Bool(to), ColumnRef::Bool(from)) => to.extend_from_slice(from),
            (Self::Str(to), ColumnRef::Str(from)) => to.extend_from_slice(from),
            (Self::Vector { width, values }, ColumnRef::Vector { width: from_width, values: from })
                if *width == from_width =>
            {
                values.extend_from_slice(from);
            }
            (to, from) => panic!("rows of {} were appended to a column of {}", from.element_type(), to.element_type()),
        }
    }

    /// Appends one value; `None` is missing.
    ///
    /// # Panics
    /// When the value is of another type.
    pub fn push(&mut self, value: Option<&Value>) {
        match (self, value) {
            (Self::F32(to), None) => to.push(f32::NAN),
            (Self::F32(to), Some(Value::F32(value))) => to.push(*value),
            (Self::F64(to), None) => to.push(f64::NAN),
            (Self::F64(to), Some(Value::F64(value))) => to.push(*value),
            (Self::I64(to), None) => to.push(i64::MIN),
            (Self::I64(to), Some(Value::I64(value))) => to.push(*value),
            (Self::Bool(to), None) => to.push(None),
            (Self::Bool(to), Some(Value::Bool(value))) => to.push(Some(*value)),
            (Self::Str(to), None) => to.push(None),
            (Self::Str(to), Some(Value::Str(value))) => to.push(Some(value.clone())),
            (Self::Vector { width, values }, None) => values.resize(values.len() + *width, f32::NAN),
            (Self::Vector { width, values }, Some(Value::Vector(value))) if value.len() == *width => {
                values.extend_from_slice(value);
            }
            (to, Some(value)) => {
                panic!("a value of {} was appended to a column of {}", value.element_type(), to.element_type())
            }
        }
    }

    /// Appends row `row` of `from`, which is of the same type.
    ///
    /// # Panics
    /// When the types differ.
    pub fn push_row(&mut self, from: ColumnRef<'_>, row: usize) {
        self.extend(from.rows(row..row + 1));
    }

    /// Appends rows of missing values.
    pub fn extend_missing(&mut self, rows: usize) {
        match self {
            Self::F32(values) => values.resize(values.len() + rows, f32::NAN),
            Self::F64(values) => values.resize(values.len() + rows, f64::NAN),
            Self::I64(values) => values.resize(values.len() + rows, i64::MIN),
            Self::Bool(values) => values.resize(values.len() + rows, None),
            Self::Str(values) => values.resize(values.len() + rows, None),
            Self::Vector { width, values } => values.resize(values.len() + rows * *width, f32::NAN),
        }
    }

    /// Drops all rows and keeps the memory.
    pub fn clear(&mut self) {
        match self {
            Self::F32(values) => values.clear(),
            Self::F64(values) => values.clear(),
            Self::I64(values) => values.clear(),
            Self::Bool(values) => values.clear(),
            Self::Str(values) => values.clear(),
            Self::Vector { values, .. } => values.clear(),
        }
    }

    /// Keeps the first `rows` rows.
    pub fn truncate(&mut self, rows: usize) {
        match self {
            Self::F32(values) => values.truncate(rows),
            Self::F64(values) => values.truncate(rows),
            Self::I64(values) => values.truncate(rows),
            Self::Bool(values) => values.truncate(rows),
            Self::Str(values) => values.truncate(rows),
            Self::Vector { width, values } => values.truncate(rows * *width),
        }
    }

    /// Drops the first `rows` rows.
    pub fn drop_front(&mut self, rows: usize) {
        match self {
            Self::F32(values) => drop(values.drain(..rows)),
            Self::F64(values) => drop(values.drain(..rows)),
            Self::I64(values) => drop(values.drain(..rows)),
            Self::Bool(values) => drop(values.drain(..rows)),
            Self::Str(values) => drop(values.drain(..rows)),
            Self::Vector { width, values } => drop(values.drain(..rows * *width)),
        }
    }
}

impl<'a> ColumnRef<'a> {
    /// The type of its values.
    pub fn element_type(&self) -> ElementType {
        match self {
            Self::F32(_) => ElementType::F32,
            Self::F64(_) => ElementType::F64,
            Self::I64(_) => ElementType::I64,
            Self::Bool(_) => ElementType::Bool,
            Self::Str(_) => ElementType::Str,
            Self::Vector { width, .. } => ElementType::Vector(u16::try_from(*width).unwrap_or(u16::MAX)),
        }
    }

    /// Rows in it.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::Bool(values) => values.len(),
            Self::Str(values) => values.len(),
            Self::Vector { width, values } => values.len() / width,
        }
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some of its rows.
    #[inline(always)]
    pub fn rows(self, rows: Range<usize>) -> Self {
        // As for a column.
        if let Self::F32(values) = self {
            return Self::F32(&values[rows]);
        }
        match self {
            Self::F32(values) => Self::F32(&values[rows]),
            Self::F64(values) => Self::F64(&values[rows]),
            Self::I64(values) => Self::I64(&values[rows]),
            Self::Bool(values) => Self::Bool(&values[rows]),
            Self::Str(values) => Self::Str(&values[rows]),
            Self::Vector { width, values } => {
                Self::Vector { width, values: &values[rows.start * width..rows.end * width] }
            }
        }
    }

    /// Whether the value in `row` is missing.
    #[inline]
    pub fn is_missing(&self, row: usize) -> bool {
        match self {
            Self::F32(values) => values[row].is_nan(),
            Self::F64(values) => values[row].is_nan(),
            Self::I64(values) => values[row] == i64::MIN,
            Self::Bool(values) => values[row].is_none(),
            Self::Str(values) => values[row].is_none(),
            Self::Vector { width, values } => values[row * width].is_nan(),
        }
    }

    /// Whether no value is missing.
    pub fn is_complete(&self) -> bool {
        match self {
            // Counted rather than searched, so that the loop has no early exit and runs in lanes.
            Self::F32(values) => values.iter().map(|value| u32::from(value.is_nan())).sum::<u32>() == 0,
            Self::F64(values) => values.iter().map(|value| u32::from(value.is_nan())).sum::<u32>() == 0,
            _ => (0..self.len()).all(|row| !self.is_missing(row)),
        }
    }

    /// The value in `row`, `None` when it is missing.
    pub fn value(&self, row: usize) -> Option<Value> {
        if self.is_missing(row) {
            return None;
        }
        Some(match self {
            Self::F32(values) => Value::F32(values[row]),
            Self::F64(values) => Value::F64(values[row]),
            Self::I64(values) => Value::I64(values[row]),
            Self::Bool(values) => Value::Bool(values[row]?),
            Self::Str(values) => Value::Str(values[row].clone()?),
            Self::Vector { width, values } => Value::Vector(values[row * width..(row + 1) * width].into()),
        })
    }

    /// The value in `row` as a number: a bool is 0 or 1; NaN when it is missing, a string or a vector.
    #[inline]
    pub fn number(&self, row: usize) -> f64 {
        match self {
            Self::F32(values) => f64::from(values[row]),
            Self::F64(values) => values[row],
            Self::I64(values) if values[row] != i64::MIN => values[row] as f64,
            Self::Bool(values) => values[row].map_or(f64::NAN, |value| f64::from(u8::from(value))),
            _ => f64::NAN,
        }
    }

    /// Whether both hold the same values, floats compared by their bits, all missing ones alike.
    pub fn same(&self, other: &ColumnRef<'_>) -> bool {
        let f32_same = |a: &f32, b: &f32| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        match (self, other) {
            (Self::F32(a), ColumnRef::F32(b)) => a.len() == b.len() && a.iter().zip(*b).all(|(a, b)| f32_same(a, b)),
            (Self::F64(a), ColumnRef::F64(b)) => {
                a.len() == b.len()
                    && a.iter().zip(*b).all(|(a, b)| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()))
            }
            (Self::I64(a), ColumnRef::I64(b)) => a == b,
            (Self::Bool(a), ColumnRef::Bool(b)) => a == b,
            (Self::Str(a), ColumnRef::Str(b)) => a == b,
            (Self::Vector { width, values }, ColumnRef::Vector { width: other_width, values: other }) => {
                width == other_width
                    && values.len() == other.len()
                    && values.iter().zip(*other).all(|(a, b)| f32_same(a, b))
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: [ElementType; 6] = [
        ElementType::F32,
        ElementType::F64,
        ElementType::I64,
        ElementType::Bool,
        ElementType::Str,
        ElementType::Vector(3),
    ];

    fn sample(element: ElementType) -> Value {
        match element {
            ElementType::F32 => Value::F32(1.5),
            ElementType::F64 => Value::F64(2.5),
            ElementType::I64 => Value::I64(-3),
            ElementType::Bool => Value::Bool(true),
            ElementType::Str => Value::Str("worn".into()),
            ElementType::Vector(width) => Value::Vector(vec![0.5; usize::from(width)].into()),
        }
    }

    #[test]
    fn what_goes_in_comes_out_and_the_rest_is_missing() {
        for element in TYPES {
            let mut column = Column::missing(element, 2);
            column.push(Some(&sample(element)));
            column.push(None);
            assert_eq!(column.len(), 4);
            assert_eq!(column.as_ref().value(2), Some(sample(element)));
            assert!(!column.as_ref().is_complete());
            assert!(column.rows(2..3).is_complete());
            assert!([0, 1, 3].into_iter().all(|row| column.as_ref().is_missing(row)));
            let copy = column.clone();
            column.as_mut().copy_row(0, copy.as_ref(), 2);
            column.as_mut().set_missing(2);
            assert_eq!(column.as_ref().value(0), Some(sample(element)));
            assert!(column.as_ref().is_missing(2));

            column.drop_front(1);
            assert_eq!(column.len(), 3);
            column.extend(copy.rows(1..3));
            assert_eq!(column.as_ref().value(4), Some(sample(element)));
            assert!(column.rows(0..3).same(&Column::missing(element, 3).as_ref()));
            assert!(!column.as_ref().same(&copy.as_ref()));
        }
    }
}
