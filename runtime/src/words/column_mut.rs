//! A column to write.

use std::ops::Range;

use smol_str::SmolStr;

use super::column::ColumnRef;

/// Some rows of a column, to write.
#[derive(Debug)]
pub enum ColumnMut<'a> {
    /// Of `f32`.
    F32(&'a mut [f32]),
    /// Of `f64`.
    F64(&'a mut [f64]),
    /// Of `i64`.
    I64(&'a mut [i64]),
    /// Of `bool`.
    Bool(&'a mut [Option<bool>]),
    /// Of strings.
    Str(&'a mut [Option<SmolStr>]),
    /// Of vectors.
    Vector {
        /// `f32` in a row.
        width: usize,
        /// `width` values a row.
        values: &'a mut [f32],
    },
}

impl ColumnMut<'_> {
    /// The same rows, to read.
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

    /// Some of its rows, to write.
    pub fn rows(&mut self, rows: Range<usize>) -> ColumnMut<'_> {
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

    /// Makes the value in `row` missing.
    pub fn set_missing(&mut self, row: usize) {
        match self {
            Self::F32(values) => values[row] = f32::NAN,
            Self::F64(values) => values[row] = f64::NAN,
            Self::I64(values) => values[row] = i64::MIN,
            Self::Bool(values) => values[row] = None,
            Self::Str(values) => values[row] = None,
            Self::Vector { width, values } => values[row * *width..(row + 1) * *width].fill(f32::NAN),
        }
    }

    /// Copies `from[from_row]`, of the same type, into `row`.
    ///
    /// # Panics
    /// When the types differ.
    pub fn copy_row(&mut self, row: usize, from: ColumnRef<'_>, from_row: usize) {
        match (self, from) {
            (Self::F32(to), ColumnRef::F32(from)) => to[row] = from[from_row],
            (Self::F64(to), ColumnRef::F64(from)) => to[row] = from[from_row],
            (Self::I64(to), ColumnRef::I64(from)) => to[row] = from[from_row],
            (Self::Bool(to), ColumnRef::Bool(from)) => to[row] = from[from_row],
            (Self::Str(to), ColumnRef::Str(from)) => to[row].clone_from(&from[from_row]),
            (Self::Vector { width, values }, ColumnRef::Vector { width: from_width, values: from })
                if *width == from_width =>
            {
                let width = *width;
                values[row * width..(row + 1) * width].copy_from_slice(&from[from_row * width..(from_row + 1) * width]);
            }
            (to, from) => {
                panic!("a row of {} was copied to a column of {}", from.element_type(), to.as_ref().element_type())
            }
        }
    }
}
