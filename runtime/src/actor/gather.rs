//! Gathers the rows of a micro-batch into frames: by variant, grouped by key, in columns.

use std::ops::Deref;
use std::sync::Arc;

use smallvec::SmallVec;

use super::frame::{Axis, Written};
use super::intake::Piece;
use crate::topology::plan::BasePlan;
use crate::traits::source::{RowsRecord, absent};
use crate::words::{Cause, Column, Key, KeyIndex};

/// The rows of each axis of the source that has any.
type Axes = Vec<Option<Arc<Axis>>>;

/// A frame in the making.
pub(crate) struct Gathering {
    pub(crate) keys: Vec<KeyIndex>,
    pub(crate) names: Vec<Key>,
    /// The lane of its only key.
    pub(crate) lane: Option<u32>,
    /// By axis of the source.
    pieces: Vec<Vec<Rows>>,
}

/// Rows of one key on one axis.
struct Rows {
    run: u32,
    first_row: u32,
    /// One cause for all of them, or each its own position.
    cause: Option<Cause>,
    from: usize,
    to: usize,
    record: Record,
}

/// A record in the making of a frame: nearly always nobody else has it.
pub(crate) enum Record {
    Own(RowsRecord),
    Shared(Arc<RowsRecord>),
}

impl Record {
    pub(crate) fn new(record: RowsRecord, shared: bool) -> Self {
        if shared { Self::Shared(Arc::new(record)) } else { Self::Own(record) }
    }
}

impl Deref for Record {
    type Target = RowsRecord;
    #[inline]
    fn deref(&self) -> &RowsRecord {
        match self {
            Self::Own(record) => record,
            Self::Shared(record) => record,
        }
    }
}

impl Gathering {
    pub(crate) fn new(axes: usize, lane: Option<u32>) -> Self {
        Self { keys: Vec::new(), names: Vec::new(), lane, pieces: (0..axes).map(|_| Vec::new()).collect() }
    }

    /// Adds a key; its place.
    pub(crate) fn key(&mut self, key: KeyIndex, name: Key) -> u32 {
        self.keys.push(key);
        self.names.push(name);
        u32::try_from(self.keys.len() - 1).expect("a frame has few keys")
    }

    /// Adds those rows of a record that came in, of the key at place `run`.
    pub(crate) fn record(&mut self, run: u32, record: Record, first_row: u32, pieces: SmallVec<[Piece; 1]>) {
        if let [Piece::InPlace { from, to }] = pieces[..] {
            let axis = usize::from(record.axis);
            self.pieces[axis].push(Rows { run, first_row, cause: None, from, to, record });
            return;
        }
        let record = match record {
            Record::Own(record) => Arc::new(record),
            Record::Shared(record) => record,
        };
        pieces.into_iter().for_each(|piece| self.rows(run, &record, first_row, piece));
    }

    /// Adds rows of the key at place `run`.
    pub(crate) fn rows(&mut self, run: u32, record: &Arc<RowsRecord>, first_row: u32, piece: Piece) {
        let rows = match piece {
            Piece::InPlace { from, to } => {
                Rows { run, first_row, cause: None, from, to, record: Record::Shared(Arc::clone(record)) }
            }
            Piece::Released { cause, rows, .. } => {
                let to = rows.times.len();
                Rows { run, first_row, cause: Some(cause), from: 0, to, record: Record::Own(rows) }
            }
        };
        self.pieces[usize::from(record.axis)].push(rows);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The axes and the columns that sensors read, by slot.
    pub(crate) fn columns(&mut self, base: &BasePlan) -> (Axes, Vec<(u32, Written)>) {
        let mut axes = Vec::with_capacity(self.pieces.len());
        let mut columns = Vec::new();
        for (number, pieces) in self.pieces.iter_mut().enumerate() {
            if pieces.is_empty() {
                axes.push(None);
                continue;
            }
            if !pieces.is_sorted_by_key(|rows| rows.run) {
                pieces.sort_by_key(|rows| rows.run);
            }
            let axis = Arc::new(axis(pieces, self.keys.len()));
            for (place, slot) in base.raw_slots[number].iter().enumerate() {
                let Some(slot) = slot else { continue };
                let element = base.axes[number].streams[place].1;
                let mut column = Column::with_capacity(element, axis.times.len());
                for rows in pieces.iter() {
                    // A row that came in before its sensor was there, or read another type, lacks the value.
                    match rows.record.columns.get(place).filter(|values| values.element_type() == element) {
                        Some(values) => column.extend(values.rows(rows.from..rows.to)),
                        None => column.extend(absent(element, rows.to - rows.from).as_ref()),
                    }
                }
                columns.push((*slot, Written { axis: Arc::clone(&axis), column, complete: false }));
            }
            axes.push(Some(axis));
        }
        (axes, columns)
    }
}

fn axis(pieces: &[Rows], keys: usize) -> Axis {
    let rows = pieces.iter().map(|rows| rows.to - rows.from).sum();
    let mut axis =
        Axis { times: Vec::with_capacity(rows), causes: Vec::with_capacity(rows), ends: Vec::with_capacity(keys) };
    let mut pieces = pieces.iter().peekable();
    for run in 0..keys {
        while let Some(rows) = pieces.next_if(|rows| rows.run as usize == run) {
            axis.times.extend_from_slice(&rows.record.times[rows.from..rows.to]);
            let cause = |row: usize| {
                let number = u32::try_from(row).expect("a record has fewer than 2^32 rows");
                rows.cause.unwrap_or(Cause { offset: rows.record.offset, row: rows.first_row + number })
            };
            axis.causes.extend((rows.from..rows.to).map(cause));
        }
        axis.end_run();
    }
    axis
}
