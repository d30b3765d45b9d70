//! The intake of a key: which of its rows come in, in which order, and by which cause.

use smallvec::SmallVec;

use crate::state::{AxisClock, Waiting};
use crate::traits::source::{RowsRecord, absent};
use crate::words::{Cause, Column, Span, Time};

/// What happens to a row that came too late, or twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BadRow {
    /// It is dropped, and counted.
    #[default]
    Drop,
    /// It goes to the dead letters.
    DeadLetter,
}

/// How the rows of a source come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntakePolicy {
    /// How far back in time rows are sorted in; a row is let go once time has got so much further.
    pub reorder: Span,
    /// Rows that came later than that.
    pub late: BadRow,
    /// Rows at a time that was there already.
    pub duplicate: BadRow,
    /// How far a row may be ahead of its record's log time; beyond it goes to the dead letters.
    pub max_ahead: Span,
    /// Most rows of a key that wait, to be sorted in on an axis or for the other needs of a node with rows on all of
    /// them; beyond it the oldest is let go early, and counted.
    pub waiting_rows_max: usize,
}

impl Default for IntakePolicy {
    fn default() -> Self {
        Self {
            reorder: Span::ZERO,
            late: BadRow::Drop,
            duplicate: BadRow::Drop,
            max_ahead: Span::from_secs(60),
            waiting_rows_max: 10_000,
        }
    }
}

/// What the intake has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntakeCounts {
    /// Rows that came.
    pub rows: u64,
    /// Rows that were dropped or sent off because they came too late.
    pub late: u64,
    /// The same for rows at a time that was there already.
    pub duplicate: u64,
    /// Rows too far ahead of their record.
    pub ahead: u64,
    /// Records that could not be decoded, or came from a second partition.
    pub refused: u64,
    /// Readings that are not numbers, of all sensors: they are missing, the last good one stands in, or they were sent
    /// off. One that was not in its row is none of them.
    pub nan: u64,
    /// The same for readings outside their sensor's range.
    pub out_of_range: u64,
}

impl IntakeCounts {
    /// Adds those of another shard.
    pub fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.late += other.late;
        self.duplicate += other.duplicate;
        self.ahead += other.ahead;
        self.refused += other.refused;
        self.nan += other.nan;
        self.out_of_range += other.out_of_range;
    }
}

/// Rows that come in: of a record as they stand, or put together.
pub(crate) enum Piece {
    /// Rows `from..to` of the record; row `n` is number `first_row + n` of it.
    InPlace { from: usize, to: usize },
    /// Rows that were let go together, by one cause.
    Released {
        cause: Cause,
        rows: RowsRecord,
        /// So many of them could have waited longer: there was no room.
        early: usize,
    },
}

/// Why a row does not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Late,
    Duplicate,
    Ahead,
}

impl Refused {
    /// For the dead letters.
    pub(crate) fn reason(self, policy: &IntakePolicy) -> String {
        match self {
            Self::Late => format!("the row is late: later rows of its key came first, by more than {}", policy.reorder),
            Self::Duplicate => "a row of its key at the same time came before".to_owned(),
            Self::Ahead => {
                format!("the row is more than {} ahead of when the log got it; check the clock", policy.max_ahead)
            }
        }
    }
}

impl AxisClock {
    /// The clock of an axis without rows, after ticks up to `newest`.
    pub(crate) fn after(newest: Time) -> Self {
        Self { released: Time::MIN, newest, waiting: None }
    }

    /// The newest time that rows or ticks have brought.
    pub(crate) fn newest(&self) -> Option<Time> {
        (self.newest > Time::MIN).then_some(self.newest)
    }

    /// Rows that wait to be sorted in.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.times.len())
    }

    /// Takes the rows of a record; `first_row` is the number of the first within its record in the log.
    pub(crate) fn take(
        &mut self,
        record: &RowsRecord,
        first_row: u32,
        policy: &IntakePolicy,
        pieces: &mut SmallVec<[Piece; 1]>,
        refused: &mut Vec<(usize, Refused)>,
    ) {
        let limit = record.log_time.map(|time| time.plus(policy.max_ahead));
        // Rows may wait from a time when they were to be sorted.
        if policy.reorder == Span::ZERO && self.waiting.is_none() {
            self.take_in_order(record, limit, pieces, refused);
            return;
        }
        for row in 0..record.times.len() {
            let time = record.times[row];
            let known = self.waiting.as_ref().is_some_and(|waiting| waiting.times.binary_search(&time).is_ok());
            if limit.is_some_and(|limit| time > limit) {
                refused.push((row, Refused::Ahead));
            } else if known || (time == self.released && time != Time::MIN) {
                refused.push((row, Refused::Duplicate));
            } else if time < self.released {
                refused.push((row, Refused::Late));
            } else {
                self.wait(record, row);
                self.newest = self.newest.max(time);
                let number = u32::try_from(row).expect("a record has fewer than 2^32 rows");
                let cause = Cause { offset: record.offset, row: first_row + number };
                pieces.extend(self.release(record, cause, policy));
            }
        }
    }

    /// Nothing waits: rows come in as they are, in as few pieces as there are gaps.
    fn take_in_order(
        &mut self,
        record: &RowsRecord,
        limit: Option<Time>,
        pieces: &mut SmallVec<[Piece; 1]>,
        refused: &mut Vec<(usize, Refused)>,
    ) {
        let mut from = 0;
        for (row, time) in record.times.iter().enumerate() {
            let why = if limit.is_some_and(|limit| *time > limit) {
                Refused::Ahead
            } else if *time > self.released {
                self.released = *time;
                continue;
            } else if *time == self.released {
                Refused::Duplicate
            } else {
                Refused::Late
            };
            refused.push((row, why));
            if from < row {
                pieces.push(Piece::InPlace { from, to: row });
            }
            from = row + 1;
        }
        if from < record.times.len() {
            pieces.push(Piece::InPlace { from, to: record.times.len() });
        }
        self.newest = self.newest.max(self.released);
    }

    /// Event time has got to `now` without a row; what is let go is as if it had come with a record like that.
    pub(crate) fn tick(
        &mut self,
        now: Time,
        like: impl FnOnce() -> RowsRecord,
        cause: Cause,
        policy: &IntakePolicy,
    ) -> Option<Piece> {
        self.newest = self.newest.max(now);
        if self.waiting.is_some() { self.release(&like(), cause, policy) } else { None }
    }

    fn wait(&mut self, record: &RowsRecord, row: usize) {
        let waiting = self.waiting.get_or_insert_with(|| Box::new(Waiting { times: Vec::new(), rows: Vec::new() }));
        if waiting.rows.first().is_some_and(|first| !same_columns(first, &record.columns)) {
            waiting.rows.iter_mut().for_each(|waiting| adapt(waiting, &record.columns));
        }
        let time = record.times[row];
        let at = waiting.times.partition_point(|waiting| *waiting < time);
        let values = record.columns.iter().map(|column| {
            let mut value = Column::with_capacity(column.element_type(), 1);
            value.push_row(column.as_ref(), row);
            value
        });
        waiting.times.insert(at, time);
        waiting.rows.insert(at, values.collect());
    }

    /// Lets go the rows that nothing earlier can still come before.
    fn release(&mut self, like: &RowsRecord, cause: Cause, policy: &IntakePolicy) -> Option<Piece> {
        let waiting = self.waiting.as_mut()?;
        let horizon = self.newest.minus(policy.reorder);
        let due = waiting.times.partition_point(|time| *time <= horizon);
        let count = due.max(waiting.times.len().saturating_sub(policy.waiting_rows_max));
        if count == 0 {
            return None;
        }
        let times: Vec<Time> = waiting.times.drain(..count).collect();
        let mut rows = waiting.rows.drain(..count);
        let mut columns = rows.next().expect("there is at least one");
        for row in rows {
            columns.iter_mut().zip(row).for_each(|(column, value)| column.extend(value.as_ref()));
        }
        self.released = *times.last().expect("there is at least one");
        if self.waiting.as_ref().is_some_and(|waiting| waiting.times.is_empty()) {
            self.waiting = None;
        }
        let rows = RowsRecord { times, columns, ..empty_like(like) };
        Some(Piece::Released { cause, rows, early: count - due })
    }
}

fn same_columns(a: &[Column], b: &[Column]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.element_type() == b.element_type())
}

/// Since a deployment that added sensors, records have more columns than a row that waits.
fn adapt(waiting: &mut Vec<Column>, columns: &[Column]) {
    for (place, column) in columns.iter().enumerate() {
        match waiting.get_mut(place) {
            Some(value) if value.element_type() == column.element_type() => {}
            Some(value) => *value = absent(column.element_type(), 1),
            None => waiting.push(absent(column.element_type(), 1)),
        }
    }
}

fn empty_like(record: &RowsRecord) -> RowsRecord {
    RowsRecord {
        offset: record.offset,
        log_time: record.log_time,
        key: record.key.clone(),
        axis: record.axis,
        times: Vec::new(),
        columns: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::Column;

    #[test]
    fn rows_that_wait_come_in_also_when_nothing_is_sorted_any_more() {
        let record = |seconds: &[i64]| RowsRecord {
            offset: crate::words::Offset(seconds[0]),
            log_time: None,
            key: "P1".into(),
            axis: 0,
            times: seconds.iter().map(|second| Time::from_secs(*second)).collect(),
            columns: vec![Column::F32(vec![1.0; seconds.len()])],
        };
        let mut clock = AxisClock::after(Time::MIN);
        let (mut pieces, mut refused) = (SmallVec::new(), Vec::new());
        let sorted = IntakePolicy { reorder: Span::from_secs(10), ..IntakePolicy::default() };
        clock.take(&record(&[1, 3, 2]), 0, &sorted, &mut pieces, &mut refused);
        assert_eq!((pieces.len(), clock.waiting()), (0, 3));
        clock.take(&record(&[20, 21]), 0, &IntakePolicy::default(), &mut pieces, &mut refused);
        let times = pieces.iter().flat_map(|piece| match piece {
            Piece::Released { rows, .. } => rows.times.clone(),
            Piece::InPlace { .. } => Vec::new(),
        });
        let seconds: Vec<i64> = times.map(|time| time.0 / 1_000_000).collect();
        assert_eq!((seconds, refused.len(), clock.waiting()), (vec![1, 2, 3, 20, 21], 0, 0));
    }
}
