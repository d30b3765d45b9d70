//! Windows of the last so much event time.

use std::collections::VecDeque;
use std::ops::Range;

use gristmill::traits::{Outputs, RowError, Rows};
use gristmill::words::{ColumnRef, Span, Time};
use serde::{Deserialize, Serialize};

use super::kernel::LANES;
use super::stat::{Axis, Summary};
use super::values::{Values, with_buffer};

/// Rows that are computed over one copy of the remembered ones.
const CHUNK: usize = 8 * LANES;
/// Places of an [`Axis`] of time in a second.
pub(crate) const MICROS: f64 = 1e6;

/// The rows within the span before the newest row; missing ones are not kept.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Recent {
    times: VecDeque<Time>,
    values: Values,
}

/// Writes the statistics of the rows less than `span` older than each row, and of itself.
pub(super) fn run(
    summary: &Summary,
    (span, max_rows): (Span, usize),
    recent: &mut Recent,
    rows: &Rows<'_>,
    out: &mut Outputs<'_>,
) -> Result<(), RowError> {
    for first in (0..rows.len()).step_by(CHUNK) {
        let chunk = first..rows.len().min(first + CHUNK);
        let times = &rows.times()[chunk.clone()];
        let (windows, over) = recent.take(span, max_rows, times, rows.column(0).rows(chunk.clone()))?;
        with_buffer(recent.values.len(), |values| {
            recent.values.copy_to(values);
            let axis = Axis { place: |value: usize| recent.times[value].0, unit: MICROS };
            summary.ragged(values, |row| windows[row].clone(), &axis, chunk, out);
        });
        recent.forget(over);
    }
    Ok(())
}

impl Recent {
    /// Appends rows and says which of the rows that are then here make up the window of each, and how many of the first
    /// are in none that comes later. Times may go back where the provider began anew: a row then stays as long as one before it.
    fn take(
        &mut self,
        span: Span,
        max_rows: usize,
        times: &[Time],
        column: ColumnRef<'_>,
    ) -> Result<(Vec<Range<usize>>, usize), RowError> {
        let mut start = 0;
        let mut windows = Vec::with_capacity(times.len());
        for (row, time) in times.iter().enumerate() {
            if !column.is_missing(row) {
                self.times.push_back(*time);
                self.values.push_one(column, row);
            }
            while self.times.get(start).is_some_and(|old| *old <= time.minus(span)) {
                start += 1;
            }
            let rows = self.times.len() - start;
            if rows > max_rows {
                return Err(RowError::new(format!("more than `max_rows` {max_rows} rows lie within {span}")));
            }
            windows.push(start..self.times.len());
        }
        Ok((windows, start))
    }

    /// Drops the first `old` rows.
    fn forget(&mut self, old: usize) {
        drop(self.times.drain(..old));
        self.values.drop_front(old);
    }
}
