//! Law 1: how the rows of one key and source axis come in.

use gristmill::words::{Column, Span, Time};

/// A row that came in: its time, and a column of one value for each stream of the axis.
#[derive(Clone, Debug)]
pub(crate) struct RawRow {
    pub(crate) time: Time,
    pub(crate) values: Vec<Column>,
    /// Which plan was in force when it arrived.
    pub(crate) arrived_under: usize,
}

/// What became of a row that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    Waits,
    Late,
    Duplicate,
}

/// One axis of one key.
#[derive(Clone, Debug, Default)]
pub(crate) struct AxisIntake {
    newest: Option<Time>,
    released: Option<Time>,
    waiting: Vec<RawRow>,
}

impl AxisIntake {
    pub(crate) fn arrive(&mut self, row: RawRow) -> Arrival {
        if self.released == Some(row.time) || self.waiting.iter().any(|waiting| waiting.time == row.time) {
            return Arrival::Duplicate;
        }
        if self.released.is_some_and(|released| row.time < released) {
            return Arrival::Late;
        }
        self.time_has_come(row.time);
        self.waiting.push(row);
        Arrival::Waits
    }

    pub(crate) fn time_has_come(&mut self, time: Time) {
        self.newest = self.newest.max(Some(time));
    }

    /// Whether a row with this time would be sorted in before rows that came earlier.
    pub(crate) fn out_of_order(&self, time: Time) -> bool {
        self.newest.is_some_and(|newest| time < newest)
    }

    /// The waiting rows that are old enough, or for which there is no room, in order of time; and how many of these.
    pub(crate) fn release(&mut self, reorder: Span, room: usize) -> (Vec<RawRow>, usize) {
        let Some(newest) = self.newest else { return (Vec::new(), 0) };
        let (mut old_enough, waiting): (Vec<RawRow>, Vec<RawRow>) =
            self.waiting.drain(..).partition(|row| row.time <= newest.minus(reorder));
        self.waiting = waiting;
        self.waiting.sort_by_key(|row| row.time);
        let early = self.waiting.len().saturating_sub(room);
        old_enough.extend(self.waiting.drain(..early));
        old_enough.sort_by_key(|row| row.time);
        if let Some(last) = old_enough.last() {
            self.released = Some(last.time);
        }
        (old_enough, early)
    }
}
