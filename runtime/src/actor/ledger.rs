//! What is in flight: a micro-batch is done when every frame made of it is, and a partition's position moves on when
//! all micro-batches before it are done.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::metrics::ClassMetrics;
use crate::traits::Done;
use crate::traits::sink::{Abandoned, DeadLetter, DeadLetters};
use crate::words::{Offset, PartitionIndex, Revision, Time, Traces};

/// A micro-batch in flight. The last of its parts to finish says so to the source's driver.
pub(crate) struct BatchToken {
    pub(crate) source: Arc<str>,
    pub(crate) partition: PartitionIndex,
    pub(crate) source_partition: u32,
    /// Number within the partition.
    pub(crate) number: u64,
    pub(crate) parts: AtomicU32,
    pub(crate) finished: Box<dyn Fn(PartitionIndex, u64) + Send + Sync>,
    pub(crate) abandoned: Abandoned,
    pub(crate) dead_letters: Arc<dyn DeadLetters>,
    pub(crate) metrics: Arc<ClassMetrics>,
    /// Which of its records are part of a trace.
    pub(crate) traces: Traces,
    /// Open until all of it is done.
    pub(crate) span: tracing::Span,
}

impl BatchToken {
    fn one_less(&self) {
        if self.parts.fetch_sub(1, Ordering::AcqRel) == 1 {
            (self.finished)(self.partition, self.number);
        }
    }
}

/// A part of a micro-batch that must be finished. Dropping it otherwise is a defect of the engine, and the process aborts,
/// unless the driver has abandoned it.
pub(crate) struct Part {
    token: Arc<BatchToken>,
    said: AtomicBool,
}

impl Part {
    /// A part that the token already counts.
    pub(crate) fn counted(token: Arc<BatchToken>) -> Self {
        Self { token, said: false.into() }
    }

    /// One more part of the same micro-batch.
    pub(crate) fn another(&self) -> Self {
        self.token.parts.fetch_add(1, Ordering::AcqRel);
        Self::counted(Arc::clone(&self.token))
    }

    pub(crate) fn token(&self) -> &Arc<BatchToken> {
        &self.token
    }

    /// Everything of this part is done, once these letters are written.
    pub(crate) fn finish(&self, letters: Vec<DeadLetter>) {
        self.said.store(true, Ordering::Relaxed);
        if letters.is_empty() {
            self.token.one_less();
        } else {
            self.token.metrics.dead_letters.increment(letters.len() as u64);
            let token = Arc::clone(&self.token);
            self.token.dead_letters.write(letters, Done::unless(&self.token.abandoned, move || token.one_less()));
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !*self.said.get_mut() && !std::thread::panicking() && !self.token.abandoned.is_abandoned() {
            tracing::error!("a part of a micro-batch was dropped unfinished; aborting so that it is read again");
            std::process::abort();
        }
    }
}

/// The micro-batches of one partition that are in flight, in order.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    batches: VecDeque<Flying>,
    next: u64,
}

#[derive(Debug)]
struct Flying {
    number: u64,
    revision: Revision,
    records: usize,
    bytes: usize,
    /// When it was handed over.
    since: Duration,
    /// When the log got its first record, if the log says so.
    logged: Option<Time>,
    /// The position that is reached when this and all before it are done.
    then: Option<Offset>,
    done: bool,
}

/// What became free when a micro-batch was done.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Freed {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
    /// When it had been handed over.
    pub(crate) since: Duration,
    /// When the log had got its first record.
    pub(crate) logged: Option<Time>,
    /// The new position of the partition, if it moved.
    pub(crate) next: Option<Offset>,
}

impl InFlight {
    /// A micro-batch leaves, handed over and got by the log `since` then; its number.
    pub(crate) fn leave(
        &mut self,
        revision: Revision,
        records: usize,
        bytes: usize,
        since: (Duration, Option<Time>),
        then: Option<Offset>,
    ) -> u64 {
        let number = self.next;
        self.next += 1;
        let (since, logged) = since;
        self.batches.push_back(Flying { number, revision, records, bytes, since, logged, then, done: false });
        number
    }

    /// A micro-batch is done.
    pub(crate) fn done(&mut self, number: u64) -> Freed {
        let first = self.batches.front().map_or(number, |batch| batch.number);
        let index = usize::try_from(number - first).expect("fewer in flight than memory holds");
        self.batches[index].done = true;
        let Flying { records, bytes, since, logged, .. } = self.batches[index];
        let mut freed = Freed { records, bytes, since, logged, next: None };
        while self.batches.front().is_some_and(|batch| batch.done) {
            let batch = self.batches.pop_front().expect("there is a front");
            freed.next = batch.then.or(freed.next);
        }
        freed
    }

    /// The number of the next micro-batch.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// All with lower numbers are done.
    pub(crate) fn done_below(&self) -> u64 {
        self.batches.front().map_or(self.next, |batch| batch.number)
    }

    /// The oldest revision in flight.
    pub(crate) fn oldest(&self) -> Option<Revision> {
        self.batches.front().map(|batch| batch.revision)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_moves_only_past_finished_batches() {
        let mut partition = InFlight::default();
        for end in [10, 20, 30] {
            partition.leave(Revision(1), 5, 50, (Duration::ZERO, Some(Time(7))), Some(Offset(end)));
        }
        let freed = |next| Freed { records: 5, bytes: 50, since: Duration::ZERO, logged: Some(Time(7)), next };
        assert_eq!(partition.done(1), freed(None));
        assert_eq!((partition.done_below(), partition.next()), (0, 3));
        assert_eq!(partition.done(0), freed(Some(Offset(20))));
        assert_eq!((partition.done_below(), partition.next()), (2, 3));
        assert_eq!(partition.done(2), freed(Some(Offset(30))));
        assert!(partition.is_empty());
        assert_eq!((partition.done_below(), partition.next()), (3, 3));
    }
}
