//! What the demo measures with: a source that notes when it hands rows over, and a sink that counts what comes out.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gristmill::clock::SystemClock;
use gristmill::traits::source::{PollLimits, Polled};
use gristmill::traits::{
    Axes, Clock, Decode, Done, Records, Sink, SinkError, SinkFrame, SinkWriter, Source, SourceError,
};
use gristmill::words::{ColumnRef, Key, Offset, ShardIndex, StreamName};
use gristmill_operators::simulate::Plant;
use hdrhistogram::Histogram;

use super::models::{ALARM, FAILURE, KINDS};

/// Records of a partition whose stamps are kept; more than can be in flight.
const STAMPS_KEPT: usize = 1 << 17;
/// The longest latency that is told apart, in microseconds.
const LATENCY_MAX: u64 = 600_000_000;

/// Parts of the run that are measured apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Threads, caches and tables warm up.
    Begin,
    /// Until the deployment.
    Before,
    /// From the call that deploys until a second after its last model's first score.
    During,
    /// Until the end.
    After,
}

/// How many [`Phase`]s there are.
pub(crate) const PHASES: usize = 4;

/// Shared by source, sink and the one who looks.
#[derive(Debug)]
pub(crate) struct Probe {
    clock: SystemClock,
    partitions: Vec<Stamps>,
    tally: Mutex<Tally>,
    phase: AtomicUsize,
}

/// When the records of a partition were handed over.
#[derive(Debug)]
struct Stamps {
    /// Microseconds of the clock, by offset modulo [`STAMPS_KEPT`].
    at: Vec<AtomicU64>,
    /// The next offset, which is also how many came.
    next: AtomicI64,
}

/// What came out.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Values by stream.
    pub(crate) values: BTreeMap<StreamName, u64>,
    /// Microseconds from source to sink, of every prediction, by phase.
    pub(crate) latency: [Histogram<u64>; PHASES],
    /// The same since somebody last looked.
    pub(crate) latest: Histogram<u64>,
    /// Machines by key.
    pub(crate) machines: HashMap<Key, Machine>,
    /// The first score of each added model.
    pub(crate) first_scores: HashMap<Key, FirstScore>,
    /// What happened besides rows, with its time.
    pub(crate) events: Vec<(Duration, String)>,
}

/// The first score of a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FirstScore {
    /// When the sink had it.
    pub(crate) at: Duration,
    /// When the source had handed its row over.
    pub(crate) handed_over: Duration,
}

/// What is known of a machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Machine {
    /// The last wear that was predicted.
    pub(crate) wear: f32,
    pub(crate) on: bool,
    /// How often the alarm turned on.
    pub(crate) alarms: u64,
}

impl Probe {
    pub(crate) fn new(partitions: u32) -> Arc<Self> {
        let histogram = || Histogram::new_with_max(LATENCY_MAX, 3).expect("three digits up to ten minutes are allowed");
        let stamps = || Stamps {
            at: std::iter::repeat_with(AtomicU64::default).take(STAMPS_KEPT).collect(),
            next: AtomicI64::new(0),
        };
        Arc::new(Self {
            clock: SystemClock::default(),
            partitions: std::iter::repeat_with(stamps).take(partitions as usize).collect(),
            tally: Mutex::new(Tally {
                values: BTreeMap::new(),
                latency: std::array::from_fn(|_| histogram()),
                latest: histogram(),
                machines: HashMap::new(),
                first_scores: HashMap::new(),
                events: Vec::new(),
            }),
            phase: AtomicUsize::new(Phase::Begin as usize),
        })
    }

    /// Since the probe was made.
    pub(crate) fn now(&self) -> Duration {
        self.clock.monotonic()
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as usize, Ordering::Relaxed);
    }

    /// Something that whoever looks on should see.
    pub(crate) fn event(&self, text: String) {
        let now = self.now();
        self.tally().events.push((now, text));
    }

    pub(crate) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rows that came from the source.
    pub(crate) fn rows(&self) -> u64 {
        (0..self.partitions.len()).map(|partition| self.next(partition as u32).0 as u64).sum()
    }

    /// The offset after the last of a partition.
    pub(crate) fn next(&self, partition: u32) -> Offset {
        Offset(self.partitions[partition as usize].next.load(Ordering::Relaxed))
    }

    fn handed_over(&self, partition: u32, first: Offset, last: Offset) {
        let (stamps, now) = (&self.partitions[partition as usize], self.now().as_micros() as u64);
        for offset in first.0..=last.0 {
            stamps.at[offset as usize % STAMPS_KEPT].store(now, Ordering::Relaxed);
        }
        stamps.next.store(last.0 + 1, Ordering::Relaxed);
    }
}

/// The plant, with a stamp on every record. Each record is one row.
#[derive(Debug)]
pub(crate) struct Stamped {
    pub(crate) plant: Plant,
    pub(crate) probe: Arc<Probe>,
}

impl Source for Stamped {
    fn axes(&self) -> Axes {
        self.plant.axes()
    }

    fn decoder(&self) -> Option<Arc<dyn Decode>> {
        self.plant.decoder()
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Polled, SourceError> {
        let polled = self.plant.poll(limits)?;
        if let Polled::Batches(batches) = &polled {
            for batch in batches {
                if let Records::Rows(records) = &batch.records
                    && let (Some(first), Some(last)) = (records.first(), records.last())
                {
                    self.probe.handed_over(batch.partition, first.offset, last.offset);
                }
            }
        }
        Ok(polled)
    }

    fn failing(&mut self) -> Option<SourceError> {
        // Not the plant's own `failing`, which says how many machines fail.
        Source::failing(&mut self.plant)
    }

    fn is_bounded(&self) -> bool {
        self.plant.is_bounded()
    }

    fn commit(&mut self, partition: u32, next: Offset) -> Result<(), SourceError> {
        self.plant.commit(partition, next)
    }

    fn go_on_at(&mut self, partition: u32, next: Offset) -> Result<bool, SourceError> {
        self.plant.go_on_at(partition, next)
    }

    fn began_at(&self, partition: u32) -> Option<Offset> {
        self.plant.began_at(partition)
    }

    fn holds(&self, partition: u32) -> bool {
        self.plant.holds(partition)
    }

    fn pause(&mut self, paused: bool) {
        self.plant.pause(paused);
    }

    fn idle(&mut self) -> Result<(), SourceError> {
        self.plant.idle()
    }

    fn close(&mut self) -> Result<(), SourceError> {
        self.plant.close()
    }
}

/// The sink: it counts, and keeps nothing else.
#[derive(Clone, Debug)]
pub(crate) struct Counter(pub(crate) Arc<Probe>);

impl Sink for Counter {
    fn open(&self, _shard: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl SinkWriter for Counter {
    fn write(&mut self, frame: &SinkFrame<'_>, done: Done) {
        let probe = &*self.0;
        let now = probe.now();
        let micros = now.as_micros() as u64;
        let stamps = &probe.partitions[frame.source_partition as usize].at;
        let phase = probe.phase.load(Ordering::Relaxed);
        let mut tally = probe.tally();
        for column in frame.columns {
            let mut values = 0;
            for (row, cause) in column.causes.iter().enumerate().filter(|(row, _)| is_there(column.values, *row)) {
                values += 1;
                if *column.stream.as_str() != *ALARM.name() {
                    let stamp = stamps[cause.offset.0 as usize % STAMPS_KEPT].load(Ordering::Relaxed);
                    let latency = micros.saturating_sub(stamp);
                    tally.latency[phase].saturating_record(latency);
                    tally.latest.saturating_record(latency);
                }
                tally.machine(column.stream, column.key, column.values, row);
            }
            tally.counted(column.stream, values);
            if values > 0 && **column.stream == *FAILURE.name() && !tally.first_scores.contains_key(column.key) {
                let stamp = |offset: Offset| stamps[offset.0 as usize % STAMPS_KEPT].load(Ordering::Relaxed);
                let handed_over = column.causes.iter().map(|cause| stamp(cause.offset)).min().unwrap_or(micros);
                let first = FirstScore { at: now, handed_over: Duration::from_micros(handed_over) };
                tally.first_scores.insert(column.key.clone(), first);
            }
        }
        drop(tally);
        done.done();
    }
}

fn is_there(values: ColumnRef<'_>, row: usize) -> bool {
    match values {
        ColumnRef::F32(values) => !values[row].is_nan(),
        values => values.value(row).is_some(),
    }
}

impl Tally {
    fn machine(&mut self, stream: &StreamName, key: &Key, values: ColumnRef<'_>, row: usize) {
        match values {
            ColumnRef::F32(values) if **stream == *KINDS[3] => self.of(key).wear = values[row],
            ColumnRef::Bool(values) => {
                let machine = self.of(key);
                let on = values[row].unwrap_or(machine.on);
                machine.alarms += u64::from(on && !machine.on);
                machine.on = on;
            }
            _ => {}
        }
    }

    fn of(&mut self, key: &Key) -> &mut Machine {
        if !self.machines.contains_key(key) {
            self.machines.insert(key.clone(), Machine::default());
        }
        self.machines.get_mut(key).expect("it was just put in")
    }

    fn counted(&mut self, stream: &StreamName, values: u64) {
        match self.values.get_mut(stream) {
            Some(sum) => *sum += values,
            None => _ = self.values.insert(stream.clone(), values),
        }
    }

    /// Predictions so far.
    pub(crate) fn predictions(&self) -> u64 {
        self.values.iter().filter(|(stream, _)| ***stream != *ALARM.name()).map(|(_, values)| values).sum()
    }

    /// Machines whose alarm is on.
    pub(crate) fn alarms_on(&self) -> usize {
        self.machines.values().filter(|machine| machine.on).count()
    }

    /// How often alarms turned on.
    pub(crate) fn alarms(&self) -> u64 {
        self.machines.values().map(|machine| machine.alarms).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamped_plant_begins_where_the_plant_does() {
        let mut source = Stamped { plant: gristmill_operators::simulate::plant(2), probe: Probe::new(1) };
        assert_eq!(source.began_at(0), Some(Offset(0)));
        assert!(matches!(source.go_on_at(0, Offset(5)), Ok(true)));
        assert_eq!(source.began_at(0), Some(Offset(5)));
    }
}
