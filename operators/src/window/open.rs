//! The rows of a window that has not closed yet.
//!
//! A row too many fails, and before each call the engine copies the state of an operator that can fail. A window may
//! have many rows that come one at a time, so a copy must cost less than the window: rows lie in chunks that never
//! change once they are full, and copies share those.

use std::sync::Arc;

use gristmill::words::{ColumnRef, Time};
use serde::{Deserialize, Serialize};

use crate::rolling::Values;

/// Rows of a chunk. A copy of a window has at most so many rows of its own; each time that so many have come, the list of
/// the full chunks is copied too.
const CHUNK_ROWS: usize = 256;

/// What is remembered of a key: the rows of its open window. No window is open while there are none.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Open {
    /// Where the window starts of the newest row or tick: rows before it come too late.
    pub(super) start: Time,
    /// Full, oldest first.
    full: Arc<Vec<Arc<Chunk>>>,
    newest: Chunk,
}

/// Rows that follow one another.
#[derive(Clone, Debug, Default)]
struct Chunk {
    times: Vec<Time>,
    values: Values,
}

/// How a window is written down: without its chunks.
#[derive(Serialize, Deserialize)]
struct Written {
    start: Time,
    times: Vec<Time>,
    values: Values,
}

impl Open {
    /// Before the first row.
    pub(super) fn new() -> Self {
        Self { start: Time::MIN, full: Arc::default(), newest: Chunk::default() }
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.full.len() * CHUNK_ROWS + self.newest.times.len()
    }

    /// The time of a row.
    pub(super) fn time(&self, row: usize) -> Time {
        self.full.get(row / CHUNK_ROWS).map_or(&self.newest, Arc::as_ref).times[row % CHUNK_ROWS]
    }

    /// Appends row `row` of a column.
    pub(super) fn push(&mut self, time: Time, column: ColumnRef<'_>, row: usize) {
        if self.newest.times.len() == CHUNK_ROWS {
            let next = Chunk { times: Vec::with_capacity(CHUNK_ROWS), values: self.newest.values.alike(CHUNK_ROWS) };
            let full = std::mem::replace(&mut self.newest, next);
            Arc::make_mut(&mut self.full).push(Arc::new(full));
        }
        self.newest.times.push(time);
        self.newest.values.push_one(column, row);
    }

    /// Copies the values of all rows into `to`, which is as long.
    pub(super) fn copy_to(&self, to: &mut [f64]) {
        for (chunk, to) in self.chunks().zip(to.chunks_mut(CHUNK_ROWS)) {
            chunk.values.copy_to(to);
        }
    }

    /// Drops all rows.
    pub(super) fn clear(&mut self) {
        if !self.full.is_empty() {
            self.full = Arc::default();
        }
        self.newest.times.clear();
        self.newest.values.clear();
    }

    fn chunks(&self) -> impl Iterator<Item = &Chunk> {
        self.full.iter().map(Arc::as_ref).chain([&self.newest])
    }
}

impl From<Open> for Written {
    fn from(open: Open) -> Self {
        let rows = open.rows();
        let mut written =
            Self { start: open.start, times: Vec::with_capacity(rows), values: open.newest.values.alike(rows) };
        for chunk in open.chunks() {
            written.times.extend_from_slice(&chunk.times);
            written.values.append(&chunk.values);
        }
        written
    }
}

impl TryFrom<Written> for Open {
    type Error = String;

    fn try_from(mut written: Written) -> Result<Self, String> {
        let (times, values) = (written.times.len(), written.values.len());
        if times != values {
            return Err(format!("the window has {times} times and {values} values"));
        }
        let newest = Chunk { times: Vec::new(), values: written.values.alike(0) };
        let mut open = Self { start: written.start, full: Arc::default(), newest };
        let column = written.values.column();
        written.times.iter().enumerate().for_each(|(row, time)| open.push(*time, column, row));
        Ok(open)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(rows: i64) -> Open {
        let mut open = Open::new();
        (0..rows).for_each(|row| open.push(Time(row), ColumnRef::F64(&[row as f64]), 0));
        open
    }

    fn values(open: &Open) -> Vec<f64> {
        let mut values = vec![0.0; open.rows()];
        open.copy_to(&mut values);
        values
    }

    /// Bug: every call copied the whole open window, so that a window cost the square of its rows. Cause: an operator that can
    /// fail has its state copied before. Fix: copies share the full chunks.
    #[test]
    fn a_copy_shares_all_but_the_newest_rows() {
        let mut open = filled(10 * CHUNK_ROWS as i64 + 3);
        let copy = open.clone();
        assert!(Arc::ptr_eq(&copy.full, &open.full));
        assert_eq!((copy.full.len(), copy.newest.times.len()), (10, 3));
        // What becomes of one is not seen in the other.
        let before = values(&open);
        (0..2 * CHUNK_ROWS).for_each(|_| open.push(Time(0), ColumnRef::F64(&[7.0]), 0));
        assert!(copy.full.iter().zip(open.full.iter()).all(|(one, other)| Arc::ptr_eq(one, other)));
        assert_eq!((values(&copy), open.rows()), (before, copy.rows() + 2 * CHUNK_ROWS));
        open.clear();
        assert_eq!((open.rows(), copy.rows(), copy.time(CHUNK_ROWS)), (0, 10 * CHUNK_ROWS + 3, Time(256)));
    }

    #[test]
    fn the_bytes_of_a_window_are_those_of_its_times_and_values() {
        let config = bincode::config::standard();
        for rows in [0, 1, CHUNK_ROWS, CHUNK_ROWS + 1, 3 * CHUNK_ROWS] {
            for narrow in [true, false] {
                let mut open = Open { start: Time(5), ..Open::new() };
                let (wide, short): (Vec<f64>, Vec<f32>) = (0..rows).map(|row| (row as f64, row as f32)).unzip();
                let column = if narrow { ColumnRef::F32(&short) } else { ColumnRef::F64(&wide) };
                (0..rows).for_each(|row| open.push(Time(row as i64), column, row));
                let held = match narrow || rows == 0 {
                    true => Values::F32(short.iter().copied().collect()),
                    false => Values::F64(wide.iter().copied().collect()),
                };
                let times: Vec<Time> = (0..rows as i64).map(Time).collect();
                let flat = bincode::serde::encode_to_vec((Time(5), &times, &held), config).expect("it can be written");
                assert_eq!(bincode::serde::encode_to_vec(&open, config).expect("it can be written"), flat);
                let (read, _): (Open, usize) =
                    bincode::serde::decode_from_slice(&flat, config).expect("it can be read");
                assert_eq!((read.start, values(&read)), (Time(5), wide));
                assert_eq!(bincode::serde::encode_to_vec(&read, config).expect("it can be written"), flat);
            }
        }
        let torn = bincode::serde::encode_to_vec((Time(0), vec![Time(1)], Values::default()), config).expect("written");
        let read: Result<(Open, usize), _> = bincode::serde::decode_from_slice(&torn, config);
        assert!(read.is_err_and(|error| error.to_string().contains("1 times and 0 values")));
    }
}
