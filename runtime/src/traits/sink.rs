//! Sinks: where predictions go. A sink's writer lives on each shard, encodes there, and says `done` for a frame when
//! what it wrote is durable.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::model::{Digest, Model};
use super::source::RawRecord;
use crate::words::{
    Cause, ColumnRef, Key, NodeId, PartitionIndex, Revision, ShardIndex, StreamName, Time, TraceParent, Traces, Value,
};

/// Where predictions go.
pub trait Sink: Send + Sync + 'static {
    /// A writer for one shard, made on its thread.
    ///
    /// # Errors
    /// When the sink cannot be written to; the runtime does not start then.
    fn open(&self, shard: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError>;

    /// Waits until everything that was written is durable, or gives up; called on a thread that may block, before the
    /// last commit.
    ///
    /// # Errors
    /// When something could not be made durable.
    fn flush(&self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Why nothing that is written becomes durable any more, once that is so; never blocks. Frames that such a sink was
    /// given may never be done ([`Done::never`]): sources end, what was not committed is read again at the next start, and
    /// the runtime ends with this error. A failure that passes is none.
    fn failure(&self) -> Option<SinkError> {
        None
    }
}

impl<S: Sink + ?Sized> Sink for Arc<S> {
    fn open(&self, shard: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        (**self).open(shard)
    }

    fn flush(&self) -> Result<(), SinkError> {
        (**self).flush()
    }

    fn failure(&self) -> Option<SinkError> {
        (**self).failure()
    }
}

/// A sink on one shard.
pub trait SinkWriter: 'static {
    /// Writes a frame's values; never blocks. `done` is said when they are durable, at once or later, on any thread.
    fn write(&mut self, frame: &SinkFrame<'_>, done: Done);
}

/// Writing did not work.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct SinkError {
    /// What happened, where, and what to do.
    pub reason: String,
}

/// A sink's word that it has made a frame durable. Dropping it without saying so is a defect of the engine or the
/// sink: the process aborts, and what was not committed is read again. It is none once the source has ended without it, as
/// after a failure of another sink.
pub struct Done {
    said: Option<Box<dyn FnOnce() + Send>>,
    abandoned: Option<Abandoned>,
}

/// Whether a source has ended without waiting for what it had handed over: it may be dropped unfinished then.
#[derive(Clone, Debug, Default)]
pub(crate) struct Abandoned(Arc<AtomicBool>);

impl Abandoned {
    pub(crate) fn abandon(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Done {
    /// A word that calls `said`, for tests of sinks.
    pub fn new(said: impl FnOnce() + Send + 'static) -> Self {
        Self { said: Some(Box::new(said)), abandoned: None }
    }

    /// The same for a frame of a source that may be abandoned.
    pub(crate) fn unless(abandoned: &Abandoned, said: impl FnOnce() + Send + 'static) -> Self {
        Self { said: Some(Box::new(said)), abandoned: Some(abandoned.clone()) }
    }

    /// What was written is durable.
    pub fn done(mut self) {
        if let Some(said) = self.said.take() {
            said();
        }
    }

    /// What was written never becomes durable, as [`Sink::failure`] says from now on. The frame is kept in memory.
    pub fn never(self) {
        std::mem::forget(self);
    }
}

impl std::fmt::Debug for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Done")
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        let is_abandoned = self.abandoned.as_ref().is_some_and(Abandoned::is_abandoned);
        if self.said.is_some() && !is_abandoned && !std::thread::panicking() {
            tracing::error!("a sink dropped a frame without saying `done`; aborting so that it is read again");
            std::process::abort();
        }
    }
}

/// What computed a column.
#[derive(Clone, Copy, Debug)]
pub enum Artifact<'a> {
    /// An artifact with this digest.
    Digest(&'a Digest),
    /// A model; its digest is read only when it is asked for, as each key's lies in memory of its own.
    Model(&'a dyn Model),
}

impl Artifact<'_> {
    /// SHA-256 of its content.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Digest(digest) => **digest,
            Self::Model(model) => model.digest(),
        }
    }
}

/// The rows of one stream of one key in a frame.
#[derive(Clone, Copy, Debug)]
pub struct SinkColumn<'a> {
    /// The key.
    pub key: &'a Key,
    /// The stream.
    pub stream: &'a StreamName,
    /// The node that provided it.
    pub node: &'a NodeId,
    /// The artifact that computed it.
    pub artifact: Option<Artifact<'a>>,
    /// Event time of each row.
    pub times: &'a [Time],
    /// What let each row be computed.
    pub causes: &'a [Cause],
    /// The values; missing ones are not written.
    pub values: ColumnRef<'a>,
}

/// What a sink gets of a frame.
#[derive(Debug)]
pub struct SinkFrame<'a> {
    /// The revision that computed it.
    pub revision: Revision,
    /// The bound source's name.
    pub source: &'a str,
    /// The partition over all sources.
    pub partition: PartitionIndex,
    /// The source's own number of the partition.
    pub source_partition: u32,
    /// All columns of a key together, in the order of their streams' names.
    pub columns: &'a [SinkColumn<'a>],
    /// Which records of its micro-batch are part of a trace.
    pub traces: &'a Traces,
}

/// One value with its provenance.
#[derive(Clone, Debug, PartialEq)]
pub struct SinkRow<'a> {
    /// The key.
    pub key: &'a Key,
    /// Event time.
    pub time: Time,
    /// The stream.
    pub stream: &'a StreamName,
    /// The value.
    pub value: Value,
    /// The node that provided it.
    pub node: &'a NodeId,
    /// The artifact that computed it.
    pub artifact: Option<Digest>,
    /// The record and row that let it be computed.
    pub cause: Cause,
}

impl<'a> SinkFrame<'a> {
    /// The trace of the record that let a row be computed: a row's cause is a record of its micro-batch, or a tick or a
    /// switch, which are in none.
    #[inline]
    pub fn trace(&self, row: &SinkRow<'_>) -> Option<TraceParent> {
        self.traces.of(row.cause.offset)
    }

    /// Calls `row` for every value that is not missing, in the order sinks write: by key, then cause, time and stream.
    pub fn for_each(&self, mut row: impl FnMut(SinkRow<'a>)) {
        let mut rest = self.columns;
        while let Some(first) = rest.first() {
            let of_key = rest.iter().position(|column| column.key != first.key).unwrap_or(rest.len());
            let (columns, after) = rest.split_at(of_key);
            rest = after;
            if columns.iter().all(|column| std::ptr::eq(column.times, first.times)) {
                // One axis: the rows are in order already.
                for index in 0..first.times.len() {
                    columns.iter().filter_map(|column| column.row(index)).for_each(&mut row);
                }
            } else {
                let mut order: Vec<(Cause, Time, usize, usize)> = Vec::new();
                for (number, column) in columns.iter().enumerate() {
                    order.extend(
                        (0..column.times.len()).map(|row| (column.causes[row], column.times[row], number, row)),
                    );
                }
                order.sort_unstable();
                order.iter().filter_map(|&(_, _, number, row)| columns[number].row(row)).for_each(&mut row);
            }
        }
    }
}

impl<'a> SinkColumn<'a> {
    fn row(&self, index: usize) -> Option<SinkRow<'a>> {
        Some(SinkRow {
            key: self.key,
            time: self.times[index],
            stream: self.stream,
            value: self.values.value(index)?,
            node: self.node,
            artifact: self.artifact.map(|artifact| artifact.digest()),
            cause: self.causes[index],
        })
    }
}

/// A record or row that could not be used.
#[derive(Clone, Debug, PartialEq)]
pub struct DeadLetter {
    /// The source's name and its partition.
    pub source: Arc<str>,
    /// The source's own number of the partition.
    pub source_partition: u32,
    /// The record and row.
    pub cause: Cause,
    /// The key, where it is known.
    pub key: Option<Key>,
    /// The node that failed; `None` when the record got to no node.
    pub node: Option<NodeId>,
    /// Event time, where it is known.
    pub time: Option<Time>,
    /// Why.
    pub reason: String,
    /// The record, when it could not be decoded.
    pub record: Option<Box<RawRecord>>,
    /// What the node was given, by how it is read ([`Need::label`](crate::topology::need::Need::label)), then what
    /// else is known of the row, by stream. What is missing is not there.
    pub values: Vec<(String, Value)>,
}

/// Where dead letters go: one writer for all shards.
pub trait DeadLetters: Send + Sync + 'static {
    /// Writes letters; never blocks. `done` is said when they are durable.
    fn write(&self, letters: Vec<DeadLetter>, done: Done);
}

impl<D: DeadLetters + ?Sized> DeadLetters for Arc<D> {
    fn write(&self, letters: Vec<DeadLetter>, done: Done) {
        (**self).write(letters, done);
    }
}
