//! The values of one row while a record is decoded, and how they become columns.

use gristmill::traits::RowsRecord;
use gristmill::traits::source::{ABSENT_F32, ABSENT_F64, AxisStreams, RawRecord};
use gristmill::words::{Column, ElementType, Key, Time};
use smol_str::SmolStr;

use super::time::Nanos;

/// Longest record that is decoded, and longest line of a file that is one.
pub(crate) const RECORD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most rows in one record: bounds the memory that a record of small rows can claim.
pub(crate) const ROWS_PER_RECORD_MAX: usize = 65_536;
/// Most bytes that the rows of one record take: a row has a place for every stream of its axis, also for those that the
/// record does not name.
pub(crate) const DECODED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// What a column takes beside its values: itself, and what the allocator adds.
const COLUMN_BYTES: usize = size_of::<Column>() + 16;

/// Why a record is refused whose rows take more than [`DECODED_BYTES_MAX`].
#[cold]
pub(crate) fn too_large() -> String {
    const MIB: usize = DECODED_BYTES_MAX >> 20;
    format!(
        "the rows of the record take more than {MIB} MiB, as each has a place for every stream of its axis; send fewer rows in a record"
    )
}

/// One value, or the values of many rows.
#[derive(Clone, Debug)]
pub(crate) enum Cell {
    Absent,
    F32(f32),
    F64(f64),
    I64(i64),
    Bool(bool),
    Str(SmolStr),
    Vector(Vec<f32>),
    Many(Column),
}

impl Cell {
    pub(crate) fn rows(&self) -> usize {
        if let Self::Many(column) = self { column.len() } else { 1 }
    }
}

/// Where a stream's values go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) axis: u16,
    pub(crate) column: u16,
    pub(crate) element: ElementType,
}

/// `number` as an `f32`; a finite number that is too large for it is refused.
pub(crate) fn to_f32(number: f64) -> Result<f32, String> {
    let narrow = number as f32;
    if narrow.is_infinite() && number.is_finite() {
        return Err(format!("{number:e} is out of the range of f32"));
    }
    Ok(narrow)
}

/// The infinite number that a text says, as sinks write it and other programs do.
#[cold]
pub(crate) fn infinite(text: &str) -> Option<f64> {
    match text {
        "inf" | "Infinity" => Some(f64::INFINITY),
        "-inf" | "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// `number` as an `i64`, if it is whole.
pub(crate) fn to_i64(number: f64) -> Result<i64, String> {
    if number.fract() == 0.0 && number.abs() < 9.0e15 {
        Ok(number as i64)
    } else {
        Err(format!("{number} is not a whole number within the range of i64"))
    }
}

/// `i64::MIN` means missing.
pub(crate) fn checked_i64(number: i64) -> Result<i64, String> {
    if number == i64::MIN { Err(format!("{number} is out of the range of i64 streams")) } else { Ok(number) }
}

/// Appends a cell of the column's type.
pub(crate) fn push(column: &mut Column, cell: Cell) {
    match (column, cell) {
        (Column::F32(to), Cell::F32(value)) => to.push(value),
        (Column::F64(to), Cell::F64(value)) => to.push(value),
        (Column::I64(to), Cell::I64(value)) => to.push(value),
        (Column::Bool(to), Cell::Bool(value)) => to.push(Some(value)),
        (Column::Str(to), Cell::Str(value)) => to.push(Some(value)),
        (Column::Vector { values, .. }, Cell::Vector(value)) => values.extend_from_slice(&value),
        (to, Cell::Many(values)) => to.extend(values.as_ref()),
        (to, _) => push_absent(to),
    }
}

/// Appends a reading that is not there.
pub(crate) fn push_absent(column: &mut Column) {
    match column {
        Column::F32(to) => to.push(ABSENT_F32),
        Column::F64(to) => to.push(ABSENT_F64),
        Column::Vector { width, values } => values.resize(values.len() + *width, ABSENT_F32),
        other => other.push(None),
    }
}

/// When the rows of one object or line were.
#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    At(Time),
    Series { start: Nanos, step: Nanos },
}

/// Rows of one record on their way out. What was begun is taken back when the record turns out to be bad.
pub(crate) struct RowsOut<'a> {
    axes: &'a [AxisStreams],
    record: &'a RawRecord,
    out: &'a mut Vec<RowsRecord>,
    begin: usize,
    rows: usize,
    /// Bytes of all rows so far, and of a row of the axis of the last ones.
    bytes: usize,
    row_bytes: usize,
}

impl<'a> RowsOut<'a> {
    pub(crate) fn new(axes: &'a [AxisStreams], record: &'a RawRecord, out: &'a mut Vec<RowsRecord>) -> Self {
        let begin = out.len();
        Self { axes, record, out, begin, rows: 0, bytes: 0, row_bytes: 0 }
    }

    pub(crate) fn take_back(self) {
        self.out.truncate(self.begin);
    }

    /// Appends what one object said: a row, or a series of them, on each axis it named. `cells` is emptied.
    pub(crate) fn append(&mut self, key: &Key, when: When, cells: &mut Vec<(Place, Cell)>) -> Result<(), String> {
        while let Some((first, cell)) = cells.first() {
            let (axis, rows) = (first.axis, cell.rows());
            if cells.iter().all(|(_, cell)| cell.rows() == 0) {
                cells.clear();
                break;
            }
            self.claim(axis, rows)?;
            let axes = self.axes;
            let target = self.target(key, axis, rows);
            let before = target.times.len();
            match when {
                When::At(time) => target.times.extend(std::iter::repeat_n(time, rows)),
                When::Series { start, step } => {
                    for row in 0..rows {
                        target.times.push(start.step(step, row)?.time());
                    }
                }
            }
            let name = |column: usize| &axes[usize::from(axis)].streams[column].0;
            let mut kept = 0;
            for index in 0..cells.len() {
                let (place, cell) = std::mem::replace(&mut cells[index], (*unplaced(), Cell::Absent));
                if place.axis != axis {
                    cells[kept] = (place, cell);
                    kept += 1;
                    continue;
                }
                let column = usize::from(place.column);
                if target.columns[column].len() != before {
                    return Err(format!("field `{}` is there twice", name(column)));
                }
                if cell.rows() != rows {
                    return Err(format!(
                        "field `{}` has {} values where others have {rows}",
                        name(column),
                        cell.rows()
                    ));
                }
                push(&mut target.columns[column], cell);
            }
            cells.truncate(kept);
            for column in &mut target.columns {
                while column.len() < before + rows {
                    push_absent(column);
                }
            }
        }
        Ok(())
    }

    /// Counts rows that are about to be appended, before there is anything for them.
    fn claim(&mut self, axis: u16, rows: usize) -> Result<(), String> {
        self.rows += rows;
        if self.rows > ROWS_PER_RECORD_MAX {
            return Err(format!("the record has more than {ROWS_PER_RECORD_MAX} rows"));
        }
        if !self.goes_on(axis) {
            let streams = &self.axes[usize::from(axis)].streams;
            let values: usize = streams.iter().map(|(_, element)| element.row_bytes()).sum();
            self.row_bytes = size_of::<Time>() + values;
            self.bytes += size_of::<RowsRecord>() + streams.len() * COLUMN_BYTES;
        }
        self.bytes += rows * self.row_bytes;
        if self.bytes > DECODED_BYTES_MAX { Err(too_large()) } else { Ok(()) }
    }

    /// Whether the last rows are of this axis.
    fn goes_on(&self, axis: u16) -> bool {
        self.out.len() > self.begin && self.out.last().is_some_and(|last| last.axis == axis)
    }

    /// The rows that go on: those of the last axis, if it is this one; so rows keep the order they had in the record.
    fn target(&mut self, key: &Key, axis: u16, rows: usize) -> &mut RowsRecord {
        if !self.goes_on(axis) {
            let streams = &self.axes[usize::from(axis)].streams;
            self.out.push(RowsRecord {
                offset: self.record.offset,
                log_time: self.record.log_time,
                key: key.clone(),
                axis,
                times: Vec::with_capacity(rows),
                columns: streams.iter().map(|(_, element)| Column::with_capacity(*element, rows)).collect(),
            });
        }
        let last = self.out.len() - 1;
        &mut self.out[last]
    }
}

fn unplaced() -> &'static Place {
    &Place { axis: u16::MAX, column: u16::MAX, element: ElementType::F32 }
}
