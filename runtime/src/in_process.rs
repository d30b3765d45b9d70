//! A source that the host itself feeds, and a sink that it reads: no broker, no files.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::traits::sink::{DeadLetter, DeadLetters};
use crate::traits::source::{Axes, Batch, PollLimits, Polled, Records, RowsRecord, Source, SourceError};
use crate::traits::{Done, Sink, SinkError, SinkFrame, SinkWriter};
use crate::words::{Cause, Key, NodeId, Offset, Revision, ShardIndex, StreamName, Time, Value};

/// Micro-batches that wait between a [`Feeder`] and its source.
pub const FEED_CAPACITY: usize = 1024;

/// Puts records into a [`FeedSource`].
#[derive(Clone, Debug)]
pub struct Feeder {
    sender: mpsc::Sender<Batch>,
    sent: Arc<AtomicU64>,
    taken: watch::Receiver<u64>,
    committed: Arc<Mutex<HashMap<u32, Offset>>>,
}

/// A source whose records come from a [`Feeder`]; it ends when all feeders are dropped.
#[derive(Debug)]
pub struct FeedSource {
    axes: Axes,
    receiver: mpsc::Receiver<Batch>,
    taken: watch::Sender<u64>,
    waiting: Option<tokio::runtime::Runtime>,
    committed: Arc<Mutex<HashMap<u32, Offset>>>,
}

/// The runtime has stopped and takes no more records.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the runtime has stopped and takes no more records")]
pub struct FeedClosed;

/// A source and the way to feed it.
pub fn feed(axes: Axes) -> (Feeder, FeedSource) {
    let (sender, receiver) = mpsc::channel(FEED_CAPACITY);
    let committed = Arc::new(Mutex::new(HashMap::new()));
    let (tell_taken, taken) = watch::channel(0);
    let source = FeedSource { axes, receiver, taken: tell_taken, waiting: None, committed: Arc::clone(&committed) };
    (Feeder { sender, sent: Arc::default(), taken, committed }, source)
}

impl Feeder {
    /// Hands over records of one partition, in the order of their offsets; each becomes part of one micro-batch.
    /// Waits for room.
    ///
    /// # Errors
    /// When the runtime has stopped.
    pub async fn send(&self, partition: u32, records: Vec<RowsRecord>) -> Result<(), FeedClosed> {
        self.send_batch(Batch::new(partition, Records::Rows(records))).await
    }

    /// As [`Feeder::send`], with anything that a source can hand over.
    ///
    /// # Errors
    /// When the runtime has stopped.
    pub async fn send_batch(&self, batch: Batch) -> Result<(), FeedClosed> {
        // What is cancelled while it waits for room is not sent, and not counted.
        let room = self.sender.reserve().await.map_err(|_| FeedClosed)?;
        self.sent.fetch_add(1, Ordering::AcqRel);
        room.send(batch);
        Ok(())
    }

    /// Says that event time has reached `now` for every key of a partition.
    ///
    /// # Errors
    /// When the runtime has stopped.
    pub async fn tick(&self, partition: u32, now: Time) -> Result<(), FeedClosed> {
        self.send_batch(Batch::new(partition, Records::Tick(now))).await
    }

    /// Waits until the runtime has taken everything that was sent; [`Handle::settled`](crate::Handle::settled) then
    /// waits until it has had its effect.
    ///
    /// # Errors
    /// When the runtime has stopped.
    pub async fn taken(&self) -> Result<(), FeedClosed> {
        let sent = self.sent.load(Ordering::Acquire);
        self.taken.clone().wait_for(|taken| *taken >= sent).await.map(|_| ()).map_err(|_| FeedClosed)
    }

    /// The offset before which every record of a partition has had its effect.
    ///
    /// # Panics
    /// Never: nobody panics with the lock.
    pub fn committed(&self, partition: u32) -> Option<Offset> {
        self.committed.lock().expect("nobody panics with this lock").get(&partition).copied()
    }
}

impl Source for FeedSource {
    fn axes(&self) -> Axes {
        self.axes.clone()
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Polled, SourceError> {
        if self.waiting.is_none() {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            self.waiting = Some(runtime.map_err(|error| SourceError { reason: error.to_string(), retry: true })?);
        }
        let runtime = self.waiting.as_ref().expect("it was just made");
        let receiver = &mut self.receiver;
        let first = runtime
            .block_on(async { tokio::time::timeout(limits.wait.max(Duration::from_micros(1)), receiver.recv()).await });
        match first {
            Err(_) => Ok(Polled::Batches(Vec::new())),
            Ok(None) => Ok(Polled::End),
            Ok(Some(batch)) => {
                self.taken.send_modify(|taken| *taken += 1);
                Ok(Polled::Batches(vec![batch]))
            }
        }
    }

    fn commit(&mut self, partition: u32, next: Offset) -> Result<(), SourceError> {
        self.committed.lock().expect("nobody panics with this lock").insert(partition, next);
        Ok(())
    }
}

/// A value that came out, with its provenance. Its type is known at run time, unless a
/// [`Subscription`](crate::Subscription) says it.
#[derive(Clone, Debug, PartialEq)]
pub struct Output<V = Value> {
    /// The key.
    pub key: Key,
    /// Event time.
    pub time: Time,
    /// The stream.
    pub stream: StreamName,
    /// The value.
    pub value: V,
    /// The node that provided it.
    pub node: NodeId,
    /// The revision that computed it.
    pub revision: Revision,
    /// The source's own number of the partition.
    pub partition: u32,
    /// The record and row that let it be computed.
    pub cause: Cause,
}

/// A sink that keeps everything in memory; for tests and small jobs.
#[derive(Clone, Debug, Default)]
pub struct Collected(Arc<Mutex<Vec<Output>>>);

impl Collected {
    /// Takes what has come so far.
    ///
    /// # Panics
    /// Never: nobody panics with the lock.
    pub fn take(&self) -> Vec<Output> {
        std::mem::take(&mut self.0.lock().expect("nobody panics with this lock"))
    }
}

impl Sink for Collected {
    fn open(&self, _shard: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl SinkWriter for Collected {
    fn write(&mut self, frame: &SinkFrame<'_>, done: Done) {
        self.0.lock().expect("nobody panics with this lock").extend(outputs(frame));
        done.done();
    }
}

/// The values of a frame, in the order sinks write.
fn outputs(frame: &SinkFrame<'_>) -> Vec<Output> {
    let mut outputs = Vec::new();
    frame.for_each(|row| {
        outputs.push(Output {
            key: row.key.clone(),
            time: row.time,
            stream: row.stream.clone(),
            value: row.value,
            node: row.node.clone(),
            revision: frame.revision,
            partition: frame.source_partition,
            cause: row.cause,
        });
    });
    outputs
}

/// Dead letters that are kept in memory; for tests.
#[derive(Clone, Debug, Default)]
pub struct CollectedLetters(Arc<Mutex<Vec<DeadLetter>>>);

impl CollectedLetters {
    /// Takes what has come so far.
    ///
    /// # Panics
    /// Never: nobody panics with the lock.
    pub fn take(&self) -> Vec<DeadLetter> {
        std::mem::take(&mut self.0.lock().expect("nobody panics with this lock"))
    }
}

impl DeadLetters for CollectedLetters {
    fn write(&self, letters: Vec<DeadLetter>, done: Done) {
        self.0.lock().expect("nobody panics with this lock").extend(letters);
        done.done();
    }
}

/// Dead letters that are only logged, with their reasons; what a runtime does unless told otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoggedLetters;

impl DeadLetters for LoggedLetters {
    fn write(&self, letters: Vec<DeadLetter>, done: Done) {
        for letter in letters {
            tracing::warn!(
                source = %letter.source,
                partition = letter.source_partition,
                offset = letter.cause.offset.0,
                row = letter.cause.row,
                key = letter.key.as_deref(),
                node = letter.node.as_deref(),
                reason = %letter.reason,
                "dead letter"
            );
        }
        done.done();
    }
}
