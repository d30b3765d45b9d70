//! A source that is looked at while it is read, and dead letters that are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use gristmill::traits::sink::{DeadLetter, DeadLetters};
use gristmill::traits::source::{PollLimits, Polled};
use gristmill::traits::{Axes, Batch, Decode, Done, Records, Source, SourceError};
use gristmill::words::Offset;

/// What has gone by.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    records: AtomicU64,
    bytes: AtomicU64,
    letters: AtomicU64,
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

    fn commit(&mut self, partition: u32, next: Offset) -> Result<(), SourceError> {
        self.source.commit(partition, next)
    }

    fn pause(&mut self, paused: bool) {
        self.source.pause(paused);
    }

    fn close(&mut self) -> Result<(), SourceError> {
        self.source.close()
    }
}

/// Dead letters, counted on their way.
pub(crate) struct Letters {
    pub(crate) to: Box<dyn DeadLetters>,
    pub(crate) traffic: Arc<Traffic>,
}

impl DeadLetters for Letters {
    fn write(&self, letters: Vec<DeadLetter>, done: Done) {
        self.traffic.letters.fetch_add(letters.len() as u64, Ordering::Relaxed);
        self.to.write(letters, done);
    }
}
