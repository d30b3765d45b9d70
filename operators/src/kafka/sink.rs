//! Predictions to a topic.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gristmill::traits::{Done, Sink, SinkError, SinkFrame, SinkWriter};
use gristmill::words::ShardIndex;

use super::overflow::Overflow;
use super::producer::{Core, Note, Options};
use crate::codec::row::{TimeStyle, write_row};

/// A sink of Kafka records; made by [`sink`]. It connects when the first writer is opened.
pub struct KafkaSink {
    options: Options,
    times: TimeStyle,
    core: Mutex<Option<Arc<Core>>>,
}

/// Begins a sink that writes every prediction as a record of `topic`: its key is the row's key, its value the JSON of
/// [`write_row`]. A row that a record with a header `traceparent` let be computed has that header too. At least once: a frame is done when all replicas have its rows. Rows of a key keep their order.
///
/// When brokers are away rows wait, without end, and sources pause. A record that can never be delivered (too large, not
/// authorised, topic deleted) is logged and ends the process, so that nothing after it is committed;
/// [`KafkaSink::on_failure`] does something else instead.
pub fn sink(topic: &str) -> KafkaSink {
    KafkaSink { options: Options::new(topic), times: TimeStyle::default(), core: Mutex::default() }
}

impl KafkaSink {
    /// The addresses to connect to first: `"host:9092,other:9092"`.
    #[must_use]
    pub fn brokers(mut self, brokers: &str) -> Self {
        brokers.clone_into(&mut self.options.properties.brokers);
        self
    }

    /// Sets a property of librdkafka, from the operator's own configuration only: properties name files and addresses.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.options.properties.set(name, value);
        self
    }

    /// How times are written; RFC 3339 unless said.
    #[must_use]
    pub fn times(mut self, times: TimeStyle) -> Self {
        self.times = times;
        self
    }

    /// The longest that a flush waits; 30 s unless said.
    #[must_use]
    pub fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.options.flush_timeout = timeout;
        self
    }

    /// What is called, with the reason and once, when a record can never be delivered, instead of aborting the process.
    /// The frame of that record is never done, and neither is anything behind it committed.
    #[must_use]
    pub fn on_failure(mut self, failed: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.options.on_failure = Arc::new(failed);
        self
    }

    /// Whether the description makes sense. Nothing is connected.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn check(&self) -> Result<(), SinkError> {
        self.options.check()
    }
}

impl Sink for KafkaSink {
    fn open(&self, _shard: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        let mut open = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let core = match &*open {
            Some(core) => core.clone(),
            None => open.insert(Core::open(&self.options)?).clone(),
        };
        Ok(Box::new(Writer { queue: core.queue(), core, times: self.times, line: Vec::new() }))
    }

    fn flush(&self) -> Result<(), SinkError> {
        let core = self.core.lock().unwrap_or_else(PoisonError::into_inner).clone();
        core.map_or(Ok(()), |core| core.flush())
    }

    fn failure(&self) -> Option<SinkError> {
        // Who has the lock opens it, which may take a while.
        let core = self.core.try_lock().ok()?.clone();
        core.and_then(|core| core.failure())
    }
}

impl fmt::Debug for KafkaSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSink").field("options", &self.options).finish_non_exhaustive()
    }
}

struct Writer {
    core: Arc<Core>,
    queue: Arc<Overflow<Note>>,
    times: TimeStyle,
    /// Used again for every row.
    line: Vec<u8>,
}

impl SinkWriter for Writer {
    fn write(&mut self, frame: &SinkFrame<'_>, done: Done) {
        let mut left = frame.columns.iter().map(|column| column.times.len()).sum();
        let word = self.core.begin(left, done);
        frame.for_each(|row| {
            left -= 1;
            self.line.clear();
            write_row(frame, &row, self.times, &mut self.line);
            let note = Note { word: word.clone(), trace: frame.trace(&row) };
            self.core.send(&self.queue, row.key.as_bytes(), &self.line, note);
        });
        self.core.end(&word, left);
    }
}
