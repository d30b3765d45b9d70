//! The driver of a source: the thread that polls it and does nothing else. It cuts what comes into micro-batches, puts
//! the running plan on them, hands them to the shards as far as credits go, and commits what is done.

mod drained;
mod ending;
mod hand_over;
mod keeping;
mod newest;
mod replay;
mod sinks;
mod split;
mod waiting;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::time::Duration;

use actix::Addr;
use tokio::sync::oneshot;

pub(crate) use self::drained::Until;
use self::drained::Waiting;
pub(crate) use self::ending::Ended;
pub(crate) use self::replay::Replay;
pub(crate) use self::sinks::BoundSinks;
pub(crate) use self::split::shard_of;
use self::waiting::Failing;
use super::frame::Flush;
use super::keeper::Keeper;
use super::ledger::InFlight;
use super::pace::{LOOK, Pace};
use super::shard::{Delivered, Shard};
use super::tally::TallyReader;
use crate::defect::{self, Defect};
use crate::metrics::ClassMetrics;
use crate::topology::plan::ClassPlan;
use crate::traits::sink::{Abandoned, DeadLetters};
use crate::traits::source::{PollLimits, Polled, Source, SourceError};
use crate::traits::{Clock, Decode};
use crate::words::{Cause, Offset, PartitionIndex};

/// How a source is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DriveOptions {
    /// Most records of a micro-batch.
    pub batch_records: usize,
    /// Most bytes of a micro-batch; one record may exceed it.
    pub batch_bytes: usize,
    /// How long a poll waits, and how long records gather at the source while shards are behind.
    pub batch_age: Duration,
    /// Most records in flight; the source pauses there.
    pub in_flight_records: usize,
    /// Most bytes in flight: of records as they came, or of the frames that were made of them, whichever is more.
    pub in_flight_bytes: usize,
    /// How often positions are committed.
    pub commit_interval: Duration,
    /// How long a source may fail without a break before the runtime gives up with its last error; `None`: it is tried
    /// without an end.
    pub source_patience: Option<Duration>,
}

impl Default for DriveOptions {
    fn default() -> Self {
        Self {
            batch_records: 4_096,
            batch_bytes: 4 * 1024 * 1024,
            batch_age: Duration::from_millis(5),
            in_flight_records: 65_536,
            in_flight_bytes: 256 * 1024 * 1024,
            commit_interval: Duration::from_millis(200),
            source_patience: None,
        }
    }
}

impl DriveOptions {
    /// Messages that can be in flight to anybody: each micro-batch has at least one record, or is a mark.
    pub(crate) fn messages_max(&self) -> usize {
        self.in_flight_records + self.batch_records + MARKS_MAX
    }
}

/// Ticks and switches that can be in flight beside records.
const MARKS_MAX: usize = 1_024;

/// Orders to a driver that it has not taken up; who gives one waits for the answer, so there are as many as callers.
pub(crate) const CONTROLS_MAX: usize = 64;

/// A position at which a plan took over.
pub type SwitchPosition = (u32, Offset);

/// What a driver is told.
pub(crate) enum Control {
    /// From the next record on, this plan. Answers with each partition's next offset.
    Switch { plan: Arc<ClassPlan>, departing: Arc<Flush>, switched: oneshot::Sender<Vec<SwitchPosition>> },
    /// Answers when so much of what is in flight is done.
    Drained { until: Until, drained: oneshot::Sender<()> },
    /// A record that was read before is decoded again, as if it came now; the position stays.
    Replay(Replay),
}

/// See the module.
pub(crate) struct Driver {
    pub(crate) name: Arc<str>,
    pub(crate) source: Box<dyn Source>,
    pub(crate) decoder: Option<Arc<dyn Decode>>,
    pub(crate) shards: Vec<Addr<Shard>>,
    pub(crate) plan: Arc<ClassPlan>,
    pub(crate) options: DriveOptions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) dead_letters: Arc<dyn DeadLetters>,
    pub(crate) control: Receiver<Control>,
    /// Set when it shall poll no more, wait for what is in flight, commit and close.
    pub(crate) halt: Arc<AtomicBool>,
    /// Set when it ends without waiting for what is in flight.
    pub(crate) abandoned: Abandoned,
    /// Numbers of partitions over all sources.
    pub(crate) partition_numbers: Arc<AtomicU32>,
    pub(crate) sinks: BoundSinks,
    pub(crate) metrics: Arc<ClassMetrics>,
    /// What the shards count.
    pub(crate) tallies: TallyReader,
    /// Keeps states from one process to the next.
    pub(crate) keeper: Option<Keeper>,
}

struct Partition {
    local: u32,
    index: PartitionIndex,
    in_flight: InFlight,
    /// The last position that was handed over.
    last: Option<Offset>,
    next: Option<Offset>,
    committed: Option<Offset>,
    /// Whether its keys live on its own shard, as their records do not tell them.
    home: bool,
    /// Whether records have told their keys, so that those live on shards of their own.
    told: bool,
}

/// A micro-batch that is done: its partition, and its number there.
type Finished = (PartitionIndex, u64);

struct Running {
    driver: Driver,
    partitions: Vec<Partition>,
    by_local: HashMap<u32, usize>,
    by_index: HashMap<PartitionIndex, usize>,
    records: usize,
    bytes: usize,
    done: (SyncSender<Finished>, Receiver<Finished>),
    waiting: Vec<Waiting>,
    /// Records that are taken again, with the micro-batch that each is.
    replaying: Vec<(Finished, oneshot::Sender<Result<(), String>>)>,
    committed_at: Duration,
    paused: bool,
    pace: Pace,
    /// A plan that takes over one record too late, by a defect.
    late: Option<Arc<ClassPlan>>,
}

impl Driver {
    /// Drives the source to its end.
    pub(crate) fn run(mut self) -> Ended {
        self.sinks.uses(&self.plan);
        let done = std::sync::mpsc::sync_channel(self.options.messages_max());
        let pace = Pace::new(self.shards.len());
        let running = Running {
            driver: self,
            pace,
            partitions: Vec::new(),
            by_local: HashMap::new(),
            by_index: HashMap::new(),
            records: 0,
            bytes: 0,
            done,
            waiting: Vec::new(),
            replaying: Vec::new(),
            committed_at: Duration::ZERO,
            paused: false,
            late: None,
        };
        running.run()
    }
}

impl Running {
    fn run(mut self) -> Ended {
        let mut failing = Failing::default();
        if let Err(error) = self.go_on() {
            return self.fail(error);
        }
        loop {
            if self.take_control() {
                break;
            }
            self.take_done(Duration::ZERO);
            if self.is_to_commit() {
                if let Some(error) = self.driver.sinks.failure() {
                    return self.finish(Some(error));
                }
                if let Err(error) = self.commit() {
                    self.driver.metrics.commit_errors.increment(1);
                    tracing::warn!(source = %self.driver.name, %error, "positions were not committed; trying again");
                }
            }
            let options = self.driver.options;
            let full = self.records >= options.in_flight_records || self.held() >= options.in_flight_bytes;
            if full != self.paused {
                self.paused = full;
                self.driver.source.pause(full);
            }
            match self.poll(full) {
                Ok(Polled::Batches(batches)) => {
                    let fails = if batches.is_empty() { self.driver.source.failing() } else { None };
                    let patient = self.bears(&mut failing, fails.as_ref());
                    if let Err(error) = patient.and_then(|()| self.hand_over_all(batches)) {
                        return self.fail(error);
                    }
                }
                Ok(Polled::End) => {
                    self.let_go();
                    break;
                }
                Err(error) if error.retry => {
                    self.driver.metrics.poll_errors.increment(1);
                    if let Err(error) = self.bears(&mut failing, Some(&error)) {
                        return self.fail(error);
                    }
                    let pause = failing.pause();
                    tracing::warn!(source = %self.driver.name, %error, ?pause, "the source failed; trying again");
                    if self.waits(pause) {
                        break;
                    }
                }
                Err(error) => {
                    self.driver.metrics.poll_errors.increment(1);
                    return self.fail(error);
                }
            }
        }
        self.finish(None)
    }

    /// Polls the source; when too much is in flight, lets it keep its place instead, and waits for what is.
    fn poll(&mut self, full: bool) -> Result<Polled, SourceError> {
        let options = self.driver.options;
        if full {
            self.take_done(options.batch_age);
            self.idle()?;
            return Ok(Polled::Batches(Vec::new()));
        }
        while self.pace.is_behind(&self.driver.tallies, self.driver.clock.monotonic(), options.batch_age) {
            self.take_done(LOOK);
        }
        let room = options.in_flight_records - self.records;
        let polled = self.driver.source.poll(PollLimits {
            records: options.batch_records.min(room),
            bytes: options.batch_bytes.min(options.in_flight_bytes.saturating_sub(self.held())).max(1),
            wait: options.batch_age,
        });
        self.pace.polled(self.driver.clock.monotonic());
        polled
    }

    /// Bytes in flight: of records as they came, or of the frames that were made of them, whichever is more.
    fn held(&self) -> usize {
        self.bytes.max(self.driver.tallies.frame_bytes())
    }

    fn idle(&mut self) -> Result<(), SourceError> {
        if defect::is_chosen(Defect::Idle) { Ok(()) } else { self.driver.source.idle() }
    }

    /// Whether to stop.
    fn take_control(&mut self) -> bool {
        loop {
            match self.driver.control.try_recv() {
                Ok(Control::Switch { plan, departing, switched }) => self.switch(plan, &departing, switched),
                Ok(Control::Drained { until, drained }) => self.await_done(until, drained),
                Ok(Control::Replay(replay)) => self.replay(replay),
                Err(TryRecvError::Disconnected) => return true,
                Err(TryRecvError::Empty) => return self.driver.halt.load(Ordering::Acquire),
            }
        }
    }

    fn switch(&mut self, plan: Arc<ClassPlan>, departing: &Arc<Flush>, switched: oneshot::Sender<Vec<SwitchPosition>>) {
        if !departing.departing.is_empty() {
            for number in 0..self.partitions.len() {
                let Some(last) = self.partitions[number].last else { continue };
                let cause = Cause { offset: last, row: u32::MAX };
                let flush = Arc::new(Flush { cause, departing: departing.departing.clone() });
                self.tell_all_shards(number, |_| Delivered::Flush(Arc::clone(&flush), 0));
            }
        }
        self.driver.sinks.uses(&plan);
        if defect::is_chosen(Defect::SwitchPosition) {
            self.late = Some(plan);
        } else {
            self.driver.plan = plan;
        }
        let positions = self.partitions.iter().filter_map(|partition| Some((partition.local, partition.next?)));
        // Nobody waits for the answer when the caller has gone; the switch stands all the same.
        let _ = switched.send(positions.collect());
        self.tell_drained();
    }

    /// Waits at most so long for a micro-batch to be done, then takes all that are.
    fn take_done(&mut self, wait: Duration) {
        let mut next = if wait.is_zero() { self.done.1.try_recv().ok() } else { self.done.1.recv_timeout(wait).ok() };
        let mut some = false;
        while let Some((partition, number)) = next {
            some = true;
            let place = self.by_index[&partition];
            let freed = self.partitions[place].in_flight.done(number);
            self.records -= freed.records;
            self.bytes -= freed.bytes;
            let took = self.driver.clock.monotonic().saturating_sub(freed.since);
            self.driver.metrics.batch_seconds.record(took.as_secs_f64());
            if let Some(logged) = freed.logged {
                let age = (self.driver.clock.wall().0 - logged.0).max(0);
                self.driver.metrics.record_age_seconds.record(age as f64 / 1e6);
            }
            self.driver.metrics.batches.increment(1);
            self.partitions[place].next_committed(freed.next);
            if let Some(at) = self.replaying.iter().position(|(batch, _)| *batch == (partition, number)) {
                // Nobody waits any more when the caller has gone.
                let _ = self.replaying.swap_remove(at).1.send(Ok(()));
            }
            next = self.done.1.try_recv().ok();
        }
        if some {
            self.tell_drained();
        }
    }

    fn is_to_commit(&self) -> bool {
        self.driver.clock.monotonic() >= self.committed_at + self.driver.options.commit_interval
    }

    fn commit(&mut self) -> Result<(), SourceError> {
        self.committed_at = self.driver.clock.monotonic();
        self.record();
        for partition in &mut self.partitions {
            if let Some(next) = partition.committed.take()
                && let Err(error) = self.driver.source.commit(partition.local, next)
            {
                partition.committed = Some(next);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Tells the recorder how things stand.
    fn record(&mut self) {
        let held = self.held();
        let Driver { metrics, tallies, options, .. } = &mut self.driver;
        tallies.record(metrics);
        metrics.records_in_flight.set(self.records as f64);
        metrics.bytes_in_flight.set(held as f64);
        metrics.credits.set(options.in_flight_records.saturating_sub(self.records) as f64);
    }

    fn partition(&mut self, local: u32) -> usize {
        if let Some(place) = self.by_local.get(&local) {
            return *place;
        }
        let number = self.driver.partition_numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let index = PartitionIndex(number);
        let in_flight = InFlight::default();
        self.partitions.push(Partition {
            local,
            index,
            in_flight,
            last: None,
            next: None,
            committed: None,
            home: false,
            told: false,
        });
        let place = self.partitions.len() - 1;
        self.by_local.insert(local, place);
        self.by_index.insert(index, place);
        place
    }
}

/// However it ends, also by a panic of the source.
impl Drop for Running {
    fn drop(&mut self) {
        if self.is_in_flight() {
            self.driver.abandoned.abandon();
        }
    }
}

impl Partition {
    /// Records may be read again, after a partition was lost and came back: how far it is does not go back.
    fn reached(&mut self, last: Offset) {
        self.last = self.last.max(Some(last));
        self.next = self.next.max(Some(Offset(last.0 + 1)));
    }

    fn next_committed(&mut self, next: Option<Offset>) {
        self.committed = self.committed.max(next);
    }
}
