//! What a shard has counted, where the source's driver can read it without asking: each sum has one writer, the shard's
//! thread, so that counting is a load and a store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::cell::Counts;
use super::intake::IntakeCounts;
use crate::metrics::{COUNTS, ClassMetrics};

/// The sums that are series, in the order of [`ClassMetrics::counts`].
#[derive(Clone, Copy)]
pub(crate) enum Count {
    Rows,
    Late,
    Duplicate,
    Ahead,
    Refused,
    Computed,
    Skipped,
    Failed,
    Quarantined,
    Paused,
    Quarantines,
    Frames,
    ReleasedEarly,
    Overruns,
    ThreadsLost,
    NotANumber,
    OutOfRange,
    Forgotten,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    sums: [AtomicU64; COUNTS],
    keys: AtomicU64,
    /// Of all frames that were begun.
    frame_bytes: AtomicU64,
    /// Frames end on any thread.
    frames_done: AtomicU64,
    frame_bytes_done: AtomicU64,
    /// Parts of micro-batches of which the shard has made frames.
    taken: AtomicU64,
}

impl Tally {
    /// Adds; only the shard's thread may.
    #[inline]
    pub(crate) fn add(&self, count: Count, more: u64) {
        let sum = &self.sums[count as usize];
        sum.store(sum.load(Ordering::Relaxed) + more, Ordering::Relaxed);
    }

    /// What a node has counted over a frame.
    #[inline]
    pub(crate) fn node(&self, before: &Counts, after: &Counts) {
        self.add(Count::Computed, after.computed - before.computed);
        self.add(Count::Skipped, after.skipped - before.skipped);
        self.add(Count::Failed, after.failed - before.failed);
        self.add(Count::Quarantined, after.quarantined - before.quarantined);
        self.add(Count::Paused, after.paused - before.paused);
    }

    /// What the intake has counted so far.
    pub(crate) fn intake(&self, counts: &IntakeCounts, keys: usize) {
        let set = |count: Count, sum| self.sums[count as usize].store(sum, Ordering::Relaxed);
        set(Count::Rows, counts.rows);
        set(Count::Late, counts.late);
        set(Count::Duplicate, counts.duplicate);
        set(Count::Ahead, counts.ahead);
        set(Count::Refused, counts.refused);
        self.keys.store(keys as u64, Ordering::Relaxed);
    }

    /// With what sensors have counted so far.
    pub(crate) fn with_readings(&self, counts: IntakeCounts) -> IntakeCounts {
        let sum = |count: Count| self.sums[count as usize].load(Ordering::Relaxed);
        IntakeCounts { nan: sum(Count::NotANumber), out_of_range: sum(Count::OutOfRange), ..counts }
    }

    /// Another part of a micro-batch has become frames; only the shard's thread says so.
    pub(crate) fn taken_one(&self) {
        self.taken.store(self.taken.load(Ordering::Relaxed) + 1, Ordering::Release);
    }

    /// A frame begins that takes so much memory; only the shard's thread says so.
    pub(crate) fn frame_begun(&self, bytes: u64) {
        self.add(Count::Frames, 1);
        self.frame_bytes.store(self.frame_bytes.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
    }

    /// Frames that were begun and are not done.
    pub(crate) fn frames_in_flight(&self) -> u64 {
        // Done before begun, so that there are never fewer than none.
        let done = self.frames_done.load(Ordering::Relaxed);
        self.sums[Count::Frames as usize].load(Ordering::Relaxed).saturating_sub(done)
    }

    pub(crate) fn frame_done(&self, bytes: u64) {
        self.frames_done.fetch_add(1, Ordering::Relaxed);
        self.frame_bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Turns what the shards of a class have counted into series.
pub(crate) struct TallyReader {
    tallies: Vec<Arc<Tally>>,
    told: [u64; COUNTS],
}

impl TallyReader {
    pub(crate) fn new(tallies: Vec<Arc<Tally>>) -> Self {
        Self { tallies, told: [0; COUNTS] }
    }

    /// Parts of micro-batches of which a shard has made frames.
    pub(crate) fn taken(&self, shard: usize) -> u64 {
        self.tallies[shard].taken.load(Ordering::Acquire)
    }

    /// About how much memory the frames in flight take.
    pub(crate) fn frame_bytes(&self) -> usize {
        let of = |tally: &Arc<Tally>| {
            // Done before begun, so that there are never fewer than none.
            let done = tally.frame_bytes_done.load(Ordering::Relaxed);
            tally.frame_bytes.load(Ordering::Relaxed).saturating_sub(done)
        };
        usize::try_from(self.tallies.iter().map(of).sum::<u64>()).unwrap_or(usize::MAX)
    }

    /// Tells the recorder what came since the last time.
    pub(crate) fn record(&mut self, metrics: &ClassMetrics) {
        let sum = |of: &dyn Fn(&Tally) -> u64| self.tallies.iter().map(|tally| of(tally)).sum::<u64>();
        metrics.keys.set(sum(&|tally| tally.keys.load(Ordering::Relaxed)) as f64);
        for (number, counter) in metrics.counts.iter().enumerate() {
            let now = sum(&|tally| tally.sums[number].load(Ordering::Relaxed));
            counter.increment(now - self.told[number]);
            self.told[number] = now;
        }
        metrics.frames_in_flight.set(sum(&Tally::frames_in_flight) as f64);
    }
}
