//! A source that is looked at while it is read, and dead letters that are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gristmill::traits::sink::{DeadLetter, DeadLetters};
use gristmill::traits::source::{PollLimits, Polled};
use gristmill::traits::{
    Axes, Batch, Decode, Done, Records, Sink, SinkError, SinkFrame, SinkWriter, Source, SourceError,
};
use gristmill::words::{Offset, ShardIndex};

/// What has gone by.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    records: AtomicU64,
    bytes: AtomicU64,
    letters: AtomicU64,
    values: AtomicU64,
}

impl Traffic {
    /// Records that came.
    pub(crate) fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Their bytes, line ends among them.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Dead letters.
    pub(crate) fn letters(&self) -> u64 {
        self.letters.load(Ordering::Relaxed)
    }

    /// Values that went to a [`Counted`] sink.
    pub(crate) fn values(&self) -> u64 {
        self.values.load(Ordering::Relaxed)
    }

    fn saw(&self, batch: &Batch) {
        let (records, bytes) = match &batch.records {
            Records::Raw(records) => (records.len(), records.iter().map(|record| record.payload.len() + 1).sum()),
            Records::Rows(records) => (records.len(), 0),
            Records::Tick(_) => (0, 0),
        };
        self.records.fetch_add(records as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// A source whose records are counted.
pub(crate) struct Observed {
    pub(crate) source: Box<dyn Source>,
    pub(crate) traffic: Arc<Traffic>,
}

impl Source for Observed {
    fn axes(&self) -> Axes {
        self.source.axes()
    }

    fn decoder(&self) -> Option<Arc<dyn Decode>> {
        self.source.decoder()
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Polled, SourceError> {
        let polled = self.source.poll(limits)?;
        if let Polled::Batches(batches) = &polled {
            batches.iter().for_each(|batch| self.traffic.saw(batch));
        }
        Ok(polled)
    }

    fn failing(&mut self) -> Option<SourceError> {
        self.source.failing()
    }

    fn is_bounded(&self) -> bool {
        self.source.is_bounded()
    }

    fn commit(&mut self, partition: u32, next: Offset) -> Result<(), SourceError> {
        self.source.commit(partition, next)
    }

    fn go_on_at(&mut self, partition: u32, next: Offset) -> Result<bool, SourceError> {
        self.source.go_on_at(partition, next)
    }

    fn began_at(&self, partition: u32) -> Option<Offset> {
        self.source.began_at(partition)
    }

    fn holds(&self, partition: u32) -> bool {
        self.source.holds(partition)
    }

    fn pause(&mut self, paused: bool) {
        self.source.pause(paused);
    }

    fn idle(&mut self) -> Result<(), SourceError> {
        self.source.idle()
    }

    fn close(&mut self) -> Result<(), SourceError> {
        self.source.close()
    }
}

/// Dead letters, counted on their way.
pub(crate) struct Letters {
    pub(crate) to: Box<dyn DeadLetters>,
    pub(crate) traffic: Arc<Traffic>,
    /// How many are handed on; the others are only counted.
    pub(crate) most: u64,
}

impl DeadLetters for Letters {
    fn write(&self, letters: Vec<DeadLetter>, done: Done) {
        let more = letters.len() as u64;
        let before = self.traffic.letters.fetch_add(more, Ordering::Relaxed);
        let (room, came) = (self.most.saturating_sub(before), before + more);
        self.to.write(letters.into_iter().take(usize::try_from(room).unwrap_or(usize::MAX)).collect(), done);
        if before <= self.most && came > self.most {
            tracing::warn!("more dead letters are only counted; to keep them: dead_letters = \"FILE\" in [source]");
        }
    }
}

/// A sink whose values are counted.
pub(crate) struct Counted {
    pub(crate) sink: Arc<dyn Sink>,
    pub(crate) traffic: Arc<Traffic>,
}

struct CountedWriter {
    writer: Box<dyn SinkWriter>,
    traffic: Arc<Traffic>,
}

impl Sink for Counted {
    fn open(&self, shard: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(CountedWriter { writer: self.sink.open(shard)?, traffic: Arc::clone(&self.traffic) }))
    }

    fn flush(&self) -> Result<(), SinkError> {
        self.sink.flush()
    }

    fn failure(&self) -> Option<SinkError> {
        self.sink.failure()
    }
}

impl SinkWriter for CountedWriter {
    fn write(&mut self, frame: &SinkFrame<'_>, done: Done) {
        let mut values = 0;
        frame.for_each(|_| values += 1);
        self.traffic.values.fetch_add(values, Ordering::Relaxed);
        self.writer.write(frame, done);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;

    /// A source that notes what it is asked.
    struct Asked(Arc<Mutex<Vec<&'static str>>>);

    impl Asked {
        fn note(&self, what: &'static str) {
            self.0.lock().expect("nobody panics with it").push(what);
        }
    }

    impl Source for Asked {
        fn axes(&self) -> Axes {
            self.note("axes");
            Axes::default()
        }

        fn decoder(&self) -> Option<Arc<dyn Decode>> {
            self.note("decoder");
            None
        }

        fn poll(&mut self, _limits: PollLimits) -> Result<Polled, SourceError> {
            self.note("poll");
            Ok(Polled::End)
        }

        fn failing(&mut self) -> Option<SourceError> {
            self.note("failing");
            Some(SourceError { reason: "no broker answers".to_owned(), retry: true })
        }

        fn is_bounded(&self) -> bool {
            self.note("is_bounded");
            true
        }

        fn commit(&mut self, _partition: u32, _next: Offset) -> Result<(), SourceError> {
            self.note("commit");
            Ok(())
        }

        fn go_on_at(&mut self, _partition: u32, _next: Offset) -> Result<bool, SourceError> {
            self.note("go_on_at");
            Ok(true)
        }

        fn began_at(&self, _partition: u32) -> Option<Offset> {
            self.note("began_at");
            Some(Offset(7))
        }

        fn holds(&self, _partition: u32) -> bool {
            self.note("holds");
            false
        }

        fn pause(&mut self, _paused: bool) {
            self.note("pause");
        }

        fn idle(&mut self) -> Result<(), SourceError> {
            self.note("idle");
            Ok(())
        }

        fn close(&mut self) -> Result<(), SourceError> {
            self.note("close");
            Ok(())
        }
    }

    /// A sink that has failed.
    struct Torn;

    impl Sink for Torn {
        fn open(&self, _shard: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
            Err(SinkError { reason: "open".to_owned() })
        }

        fn flush(&self) -> Result<(), SinkError> {
            Err(SinkError { reason: "flush".to_owned() })
        }

        fn failure(&self) -> Option<SinkError> {
            Some(SinkError { reason: "failure".to_owned() })
        }
    }

    #[test]
    fn whatever_is_asked_is_asked_of_the_sink() {
        let sink = Counted { sink: Arc::new(Torn), traffic: Arc::default() };
        let asked = [sink.open(ShardIndex(0)).err(), sink.flush().err(), sink.failure()];
        assert_eq!(asked.map(|error| error.expect("it answers").reason), ["open", "flush", "failure"]);
    }

    /// What is not handed on would be answered by the trait: a source whose brokers are away would seem to be fine.
    #[test]
    fn whatever_is_asked_is_asked_of_the_source() {
        let asked = Arc::default();
        let mut source = Observed { source: Box::new(Asked(Arc::clone(&asked))), traffic: Arc::default() };
        let failing = source.failing().map(|error| (error.reason, error.retry));
        assert_eq!(failing, Some(("no broker answers".to_owned(), true)));
        assert_eq!(source.axes(), Axes::default());
        assert!(source.decoder().is_none());
        let polled = source.poll(PollLimits { records: 1, bytes: 1, wait: Duration::ZERO });
        assert!(matches!(polled, Ok(Polled::End)));
        assert!(source.is_bounded() && source.commit(0, Offset(1)).is_ok());
        assert!(matches!(source.go_on_at(0, Offset(1)), Ok(true)));
        assert_eq!(source.began_at(0), Some(Offset(7)));
        assert!(!source.holds(0));
        source.pause(true);
        assert!(source.idle().is_ok() && source.close().is_ok());
        let before = ["failing", "axes", "decoder", "poll", "is_bounded", "commit"];
        let all = [&before[..], &["go_on_at", "began_at", "holds", "pause", "idle", "close"]].concat();
        assert_eq!(*asked.lock().expect("nobody panics with it"), all);
    }
}
