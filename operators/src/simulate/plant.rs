//! The source: rows of all machines, in order of event time, over some partitions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gristmill::clock::SystemClock;
use gristmill::traits::source::{PollLimits, Polled};
use gristmill::traits::{Axes, Batch, Clock, Records, RowsRecord, Source, SourceError};
use gristmill::words::{Column, ElementType, Key, Offset, Span, StreamName, Time};

use super::machine::{Machine, SENSORS};

/// 2026-01-01T00:00:00Z.
const START: Time = Time::from_secs(1_767_225_600);
const ROWS_PER_RECORD_MAX: u32 = 10_000;

/// A simulated plant; made by [`plant`]. It is a source of the streams temperature (°C), vibration (mm/s), pressure (bar)
/// and current (A), all `f32` on one axis.
pub struct Plant {
    class: String,
    machines: u32,
    seed: u64,
    rate: f64,
    partitions: u32,
    rows_per_record: u32,
    rows: Option<u64>,
    speed: Option<f64>,
    start: Time,
    failing: f64,
    life: Span,
    clock: Arc<dyn Clock>,
    /// Partitions that are gone on with, and where.
    from: BTreeMap<u32, Offset>,
    running: Option<Running>,
}

/// What a plant remembers between polls.
struct Running {
    machines: Vec<(Key, Machine)>,
    /// Every machine has spoken this often, in records.
    round: u64,
    /// The machine that speaks next.
    next: u32,
    began: Duration,
    /// Event time that had passed before it began.
    passed: f64,
    paused: bool,
}

/// Begins a plant of so many machines: one row a second of each, endless, as fast as it is taken.
pub fn plant(machines: u32) -> Plant {
    Plant {
        class: "machine".to_owned(),
        machines,
        seed: 0,
        rate: 1.0,
        partitions: 1,
        rows_per_record: 1,
        rows: None,
        speed: None,
        start: START,
        failing: 10.0,
        life: Span::from_secs(86_400),
        clock: Arc::new(SystemClock::default()),
        from: BTreeMap::new(),
        running: None,
    }
}

impl Plant {
    /// The keys are `class-0`, `class-1` …; `machine` unless said.
    #[must_use]
    pub fn class(mut self, class: &str) -> Self {
        class.clone_into(&mut self.class);
        self
    }

    /// The seed: the same gives the same rows.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Rows of a machine in a second of event time.
    #[must_use]
    pub fn rate(mut self, rows_per_second: f64) -> Self {
        self.rate = rows_per_second;
        self
    }

    /// Machine m speaks in partition m modulo this.
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = partitions;
        self
    }

    /// A record carries so many successive rows of a machine, as gateways that buffer do; 1 unless said.
    #[must_use]
    pub fn rows_per_record(mut self, rows: u32) -> Self {
        self.rows_per_record = rows;
        self
    }

    /// Every machine ends after so many rows.
    #[must_use]
    pub fn rows(mut self, rows: u64) -> Self {
        self.rows = Some(rows);
        self
    }

    /// Event time passes `speed` times as fast as real time, instead of as fast as rows are taken.
    #[must_use]
    pub fn realtime(mut self, speed: f64) -> Self {
        self.speed = Some(speed);
        self
    }

    /// The event time of the first row; the beginning of 2026 unless said.
    #[must_use]
    pub fn start(mut self, start: Time) -> Self {
        self.start = start;
        self
    }

    /// So many machines of a hundred wear out, each after about `life`; 10 and a day unless said.
    #[must_use]
    pub fn failing(mut self, percent: f64, life: Span) -> Self {
        (self.failing, self.life) = (percent, life);
        self
    }

    /// The clock that [`Plant::realtime`] follows; the system's unless said.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// The event time of the first row.
    pub fn start_time(&self) -> Time {
        self.start
    }

    /// Machine `number`, with the truth about its wear.
    pub fn machine(&self, number: u32) -> Machine {
        Machine::new(self.seed, number, self.failing, self.life)
    }

    /// The key of machine `number`.
    pub fn key(&self, number: u32) -> Key {
        Key::from(format!("{}-{number}", self.class))
    }

    /// Whether the description makes sense.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn check(&self) -> Result<(), SourceError> {
        let fine = |value: f64| value.is_finite() && value > 0.0;
        let mut problems = Vec::new();
        if self.machines == 0 || self.partitions == 0 {
            problems.push("there is no machine or no partition".to_owned());
        }
        if !fine(self.rate) || self.rate > 1e6 {
            problems.push(format!("a rate of {} rows a second", self.rate));
        }
        if self.speed.is_some_and(|speed| !fine(speed)) {
            problems.push(format!("a speed of {:?}", self.speed));
        }
        if !(1..=ROWS_PER_RECORD_MAX).contains(&self.rows_per_record) {
            problems.push(format!("{} rows in a record; 1 to {ROWS_PER_RECORD_MAX}", self.rows_per_record));
        }
        if self.life.0 <= 0 {
            problems.push("a life of no time".to_owned());
        }
        if problems.is_empty() {
            return Ok(());
        }
        Err(SourceError {
            reason: format!("the simulated plant makes no sense: {}", problems.join("; ")),
            retry: false,
        })
    }

    fn begin(&self) -> Result<Running, SourceError> {
        self.check()?;
        let machines = (0..self.machines).map(|number| (self.key(number), self.machine(number))).collect();
        let began = self.clock.monotonic();
        let mut running = Running { machines, round: 0, next: 0, began, passed: 0.0, paused: false };
        // All partitions that have a machine have got about as far; each passes over the rest by itself.
        let rounds: Option<Vec<u64>> = (0..self.partitions.min(self.machines))
            .map(|partition| {
                let from = self.from.get(&partition)?.0.max(0) as u64;
                Some(from / u64::from(self.in_partition(partition)))
            })
            .collect();
        if let Some(round) = rounds.and_then(|rounds| rounds.into_iter().min()) {
            running.round = round;
            running.passed = self.event_seconds(&running);
        }
        Ok(running)
    }

    /// Machines of a partition.
    fn in_partition(&self, partition: u32) -> u32 {
        self.machines.saturating_sub(partition).div_ceil(self.partitions)
    }

    /// How much event time there is before the end of the next record.
    fn event_seconds(&self, running: &Running) -> f64 {
        let last = (running.round + 1) * u64::from(self.rows_per_record) - 1;
        self.time(running.next, last).0.saturating_sub(self.start.0).max(0) as f64 / 1e6
    }

    /// The event time of a row; machines speak one after the other within a period.
    fn time(&self, machine: u32, row: u64) -> Time {
        let period = 1e6 / self.rate;
        let shift = period * f64::from(machine) / f64::from(self.machines);
        Time(self.start.0.saturating_add((row as f64 * period + shift) as i64))
    }

    fn end(&self, round: u64) -> bool {
        self.rows.is_some_and(|rows| round.saturating_mul(u64::from(self.rows_per_record)) >= rows)
    }

    /// How long until the record is due.
    fn due_in(&self, running: &Running) -> Duration {
        let Some(speed) = self.speed else { return Duration::ZERO };
        let event = self.event_seconds(running) - running.passed;
        let due = running.began + Duration::from_secs_f64((event / speed).clamp(0.0, 1e9));
        due.saturating_sub(self.clock.monotonic())
    }

    /// The place of the next record.
    fn offset(&self, running: &Running) -> Offset {
        // Machines of this machine's partition, and its place among them.
        let (partition, place) = (running.next % self.partitions, running.next / self.partitions);
        Offset(running.round as i64 * i64::from(self.in_partition(partition)) + i64::from(place))
    }

    fn record(&self, running: &Running) -> RowsRecord {
        let (key, machine) = &running.machines[running.next as usize];
        let first = running.round * u64::from(self.rows_per_record);
        let end = first + u64::from(self.rows_per_record);
        let rows = first..self.rows.map_or(end, |rows| end.min(rows));
        let count = (rows.end - rows.start) as usize;
        let mut times = Vec::with_capacity(count);
        let mut columns: [Vec<f32>; SENSORS.len()] = std::array::from_fn(|_| Vec::with_capacity(count));
        for row in rows {
            let time = self.time(running.next, row);
            times.push(time);
            for (column, value) in columns.iter_mut().zip(machine.read(row, time)) {
                column.push(value);
            }
        }
        RowsRecord {
            offset: self.offset(running),
            log_time: times.last().copied(),
            key: key.clone(),
            axis: 0,
            times,
            columns: columns.into_iter().map(Column::F32).collect(),
        }
    }

    fn gather(&self, running: &mut Running, limits: PollLimits) -> Vec<Batch> {
        let mut batches: Vec<Option<Vec<RowsRecord>>> = vec![None; self.partitions as usize];
        let bytes_a_record = self.rows_per_record as usize * (SENSORS.len() * 4 + 8);
        let records = limits.records.min(limits.bytes / bytes_a_record).max(1);
        for _ in 0..records {
            if self.end(running.round) || !self.due_in(running).is_zero() {
                break;
            }
            let partition = running.next % self.partitions;
            if self.from.get(&partition).is_none_or(|from| self.offset(running) >= *from) {
                let record = self.record(running);
                batches[partition as usize].get_or_insert_default().push(record);
            }
            running.next += 1;
            if running.next == self.machines {
                (running.next, running.round) = (0, running.round + 1);
            }
        }
        let numbered = (0..self.partitions).zip(batches);
        numbered.filter_map(|(partition, rows)| Some(Batch::new(partition, Records::Rows(rows?)))).collect()
    }
}

impl Source for Plant {
    fn axes(&self) -> Axes {
        Axes::Declared(vec![SENSORS.iter().map(|name| (StreamName::from(*name), ElementType::F32)).collect()])
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Polled, SourceError> {
        let mut running = match self.running.take() {
            Some(running) => running,
            None => self.begin()?,
        };
        let polled = if self.end(running.round) {
            Polled::End
        } else {
            let wait = if running.paused { limits.wait } else { self.due_in(&running).min(limits.wait) };
            if !wait.is_zero() {
                std::thread::sleep(wait);
            }
            Polled::Batches(if running.paused { Vec::new() } else { self.gather(&mut running, limits) })
        };
        self.running = Some(running);
        Ok(polled)
    }

    fn go_on_at(&mut self, partition: u32, next: Offset) -> Result<bool, SourceError> {
        let goes_on = partition < self.partitions && self.running.is_none();
        if goes_on {
            self.from.insert(partition, next);
        }
        Ok(goes_on)
    }

    fn began_at(&self, partition: u32) -> Option<Offset> {
        Some(self.from.get(&partition).copied().unwrap_or(Offset(0)))
    }

    /// A plant keeps no position: without a saved state it begins anew with the process, with the same rows.
    fn commit(&mut self, _partition: u32, _next: Offset) -> Result<(), SourceError> {
        Ok(())
    }

    fn pause(&mut self, paused: bool) {
        if let Some(running) = &mut self.running {
            running.paused = paused;
        }
    }
}

impl std::fmt::Debug for Plant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plant").field("class", &self.class).field("machines", &self.machines).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    const LIMITS: PollLimits = PollLimits { records: 7, bytes: usize::MAX, wait: Duration::ZERO };

    fn all(mut plant: Plant) -> Vec<(u32, RowsRecord)> {
        let mut all = Vec::new();
        while let Polled::Batches(batches) = plant.poll(LIMITS).expect("a poll") {
            for batch in batches {
                let Records::Rows(rows) = batch.records else { panic!("rows") };
                all.extend(rows.into_iter().map(|record| (batch.partition, record)));
            }
        }
        all
    }

    #[test]
    fn every_machine_speaks_in_order_and_every_partition_counts_without_gap() {
        let described = || plant(10).seed(3).rate(10.0).partitions(3).rows(25).rows_per_record(4);
        let records = all(described());
        assert_eq!(format!("{records:?}"), format!("{:?}", all(described())));
        let (mut offsets, mut times) = (HashMap::new(), HashMap::new());
        for (partition, record) in &records {
            let next = offsets.entry(*partition).or_insert(0);
            assert_eq!(record.offset.0, *next);
            *next += 1;
            let of_key: &mut Vec<Time> = times.entry(record.key.clone()).or_default();
            of_key.extend(&record.times);
            assert!(record.columns.iter().all(|column| column.len() == record.times.len()));
        }
        assert!(times.len() == 10 && times.values().all(|times| times.len() == 25 && times.is_sorted_by(|a, b| a < b)));
    }

    struct Hand(AtomicU64);

    impl Clock for Hand {
        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.0.load(Ordering::Acquire))
        }

        fn wall(&self) -> Time {
            Time(0)
        }
    }

    #[test]
    fn it_goes_on_where_each_partition_had_got() {
        let described = || plant(10).seed(3).rate(10.0).partitions(3).rows(25);
        let whole = all(described());
        let mut later = described();
        let from = [31_i64, 40, 22];
        for (partition, next) in (0u32..).zip(from) {
            assert!(later.go_on_at(partition, Offset(next)).expect("it can"));
        }
        let rest: Vec<_> =
            whole.into_iter().filter(|(partition, record)| record.offset.0 >= from[*partition as usize]).collect();
        assert_eq!(format!("{:?}", all(later)), format!("{rest:?}"));
    }

    /// Bug: with more partitions than machines a plant in real time stood still after a restart for as long as it had run
    /// before. Cause: only where every partition had a state did it begin where they end, and one without a machine never has
    /// one. Fix: the others are enough.
    #[test]
    fn it_goes_on_at_once_where_a_partition_has_no_machine() {
        let clock = Arc::new(Hand(AtomicU64::new(5)));
        let mut plant = plant(2).rate(10.0).realtime(1.0).partitions(3).clock(clock);
        for partition in [0, 1] {
            assert!(plant.go_on_at(partition, Offset(50)).expect("it can"));
        }
        let Ok(Polled::Batches(batches)) = plant.poll(LIMITS) else { panic!("it goes on") };
        let Records::Rows(records) = &batches[0].records else { panic!("rows") };
        assert_eq!((batches[0].partition, records[0].offset), (0, Offset(50)));
    }

    #[test]
    fn real_time_lets_come_what_is_due_and_a_pause_lets_it_wait() {
        let clock = Arc::new(Hand(AtomicU64::new(5)));
        let mut plant = plant(1).rate(10.0).realtime(2.0).clock(clock.clone());
        let come = |plant: &mut Plant| match plant.poll(LIMITS) {
            Ok(Polled::Batches(batches)) => {
                batches.iter().map(|batch| if let Records::Rows(rows) = &batch.records { rows.len() } else { 0 }).sum()
            }
            other => panic!("{other:?}"),
        };
        assert_eq!((come(&mut plant), come(&mut plant)), (1, 0));
        clock.0.store(5 + 100, Ordering::Release);
        plant.pause(true);
        assert_eq!(come(&mut plant), 0);
        plant.pause(false);
        assert_eq!((come(&mut plant), come(&mut plant)), (2, 0));
    }

    #[test]
    fn nonsense_is_refused() {
        let error = plant(0).rate(0.0).realtime(f64::NAN).rows_per_record(0).poll(LIMITS).expect_err("nonsense");
        for said in ["no machine", "a rate of 0", "a speed of", "0 rows in a record"] {
            assert!(error.reason.contains(said), "{error}");
        }
    }
}
