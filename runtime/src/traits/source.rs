//! Sources: where records come from. A source runs on a thread of its own that does nothing but poll; bytes are
//! decoded on the shards.

use std::sync::Arc;
use std::time::Duration;

use crate::words::{Column, ElementType, Key, Offset, StreamName, Time, Traces};

/// Which streams a source brings, and which of them share their rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Axes {
    /// These shapes of record, and no others: the streams of a shape share one axis. Records name their shape by its
    /// place in this list.
    Declared(Vec<Vec<(StreamName, ElementType)>>),
    /// What the topology's sensors ask for: the streams of a listed group share one axis; the others all share one
    /// (`wide`), or have one each.
    Open {
        /// Groups that share an axis.
        groups: Vec<Vec<StreamName>>,
        /// Whether the streams that no group lists share one axis.
        wide: bool,
    },
}

impl Default for Axes {
    fn default() -> Self {
        Self::Open { groups: Vec::new(), wide: true }
    }
}

/// The streams on one axis of a source, in the order of [`RowsRecord::columns`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AxisStreams {
    /// Name and type of each.
    pub streams: Vec<(StreamName, ElementType)>,
}

/// A record as it came from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawRecord {
    /// Its place in the partition.
    pub offset: Offset,
    /// When the log got it; `None` where the log does not say.
    pub log_time: Option<Time>,
    /// The record's key in the log.
    pub key: Option<Box<[u8]>>,
    /// Its bytes.
    pub payload: Box<[u8]>,
}

/// A decoded record: one or many rows of one key on one axis.
#[derive(Clone, Debug)]
pub struct RowsRecord {
    /// Its place in the partition.
    pub offset: Offset,
    /// When the log got it; `None` where the log does not say.
    pub log_time: Option<Time>,
    /// Whose rows they are.
    pub key: Key,
    /// Which axis of the source.
    pub axis: u16,
    /// Event time of each row.
    pub times: Vec<Time>,
    /// A column for each stream of the axis, as long as `times`. NaN in a float column is a reading that is not a
    /// number; a reading that is not there is [`ABSENT_F32`] or [`ABSENT_F64`].
    pub columns: Vec<Column>,
}

/// A reading that was not in the record, told apart from one that was NaN until its sensor has counted both.
pub const ABSENT_F32: f32 = f32::from_bits(0x7fc0_0a0a);
/// As [`ABSENT_F32`].
pub const ABSENT_F64: f64 = f64::from_bits(0x7ff8_0000_0000_0a0a);

/// Readings that were not in their records.
pub fn absent(element: ElementType, rows: usize) -> Column {
    match element {
        ElementType::F32 => Column::F32(vec![ABSENT_F32; rows]),
        ElementType::F64 => Column::F64(vec![ABSENT_F64; rows]),
        element => Column::missing(element, rows),
    }
}

/// Records of one partition, in order.
#[derive(Clone, Debug)]
pub enum Records {
    /// Not decoded yet.
    Raw(Vec<RawRecord>),
    /// Decoded.
    Rows(Vec<RowsRecord>),
    /// No records: event time has reached this for every key of the partition that the class has.
    Tick(Time),
}

/// A micro-batch as a source hands it over.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The source's own number of the partition.
    pub partition: u32,
    /// What is in it.
    pub records: Records,
    /// Which of its records are part of a trace.
    pub traces: Traces,
}

impl Batch {
    /// Records that are part of no trace.
    pub fn new(partition: u32, records: Records) -> Self {
        Self { partition, records, traces: Traces::default() }
    }
}

/// What a poll brought.
#[derive(Debug)]
pub enum Polled {
    /// Micro-batches; none when the wait ended without records.
    Batches(Vec<Batch>),
    /// There will never be more.
    End,
}

/// How much one poll may bring.
#[derive(Clone, Copy, Debug)]
pub struct PollLimits {
    /// Most records over all micro-batches.
    pub records: usize,
    /// Most bytes; one record may exceed it.
    pub bytes: usize,
    /// Longest time to wait for the first record and to gather more.
    pub wait: Duration,
}

/// Where records come from.
pub trait Source: Send + 'static {
    /// Which streams it brings.
    fn axes(&self) -> Axes;

    /// What turns its bytes into rows; a source that hands over [`Records::Raw`] must have one.
    fn decoder(&self) -> Option<Arc<dyn Decode>> {
        None
    }

    /// Waits for records.
    ///
    /// # Errors
    /// [`SourceError`] says whether to try again.
    fn poll(&mut self, limits: PollLimits) -> Result<Polled, SourceError>;

    /// Why a poll brought nothing, where that is not for want of records: what is read from cannot be reached, and a poll
    /// does not fail each time. Asked after each poll that brought nothing.
    fn failing(&mut self) -> Option<SourceError> {
        None
    }

    /// Whether its end is the end of all that there is, as that of a file. Rows that wait for later ones are let go then, as
    /// by a tick at the newest time of their partition and as much further as they wait; not where states are kept, as the
    /// next start goes on with what waits.
    fn is_bounded(&self) -> bool {
        false
    }

    /// Every effect of the records of `partition` before `next` is durable.
    ///
    /// # Errors
    /// [`SourceError`] says whether to try again.
    fn commit(&mut self, partition: u32, next: Offset) -> Result<(), SourceError>;

    /// The state of a partition's keys has everything before `next`: the source begins there, if it can choose; said
    /// before the first poll. Whether it will.
    ///
    /// # Errors
    /// When that place cannot be.
    fn go_on_at(&mut self, _partition: u32, _next: Offset) -> Result<bool, SourceError> {
        Ok(false)
    }

    /// Where it began to read a partition, as soon as that is known. A source that does not say begins at the first record
    /// that it brings.
    fn began_at(&self, _partition: u32) -> Option<Offset> {
        None
    }

    /// Whether a partition that it has read is still its own, so that nobody else has read on since.
    fn holds(&self, _partition: u32) -> bool {
        true
    }

    /// Stops or goes on reading. A source that is paused is not polled.
    fn pause(&mut self, _paused: bool) {}

    /// Called every few milliseconds while the source is paused, in the place of a poll, and until all is done when the
    /// runtime ends: a member of a group keeps its place by it. It does not block, and brings nothing.
    ///
    /// # Errors
    /// [`SourceError`] says whether to try again.
    fn idle(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    /// Called once after the last commit.
    ///
    /// # Errors
    /// [`SourceError`]: what could not be said to the other side.
    fn close(&mut self) -> Result<(), SourceError> {
        Ok(())
    }
}

/// Turns bytes into rows, on the shard of the record's partition.
pub trait Decode: Send + Sync + 'static {
    /// The key of a raw record where it can be told without decoding: such a record is decoded on its key's shard.
    fn key<'r>(&self, _record: &'r RawRecord) -> Option<&'r str> {
        None
    }

    /// Decodes one record; a record of many rows may be cut into several [`RowsRecord`]s of one key and offset.
    ///
    /// # Errors
    /// A text that says what is wrong with the record and where; it goes to the dead letters.
    fn decode(&self, record: &RawRecord, axes: &[AxisStreams], rows: &mut Vec<RowsRecord>) -> Result<(), String>;
}

/// Reading or committing did not work.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct SourceError {
    /// What happened, where, and what to do.
    pub reason: String,
    /// Whether trying again may help; if not, the runtime stops.
    pub retry: bool,
}
