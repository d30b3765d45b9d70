//! Memory is bounded: while a sink stalls, what is in flight stays below what `limits` says, the source pauses and drops
//! nothing, and all that waited is delivered after, in order, at twice the pace that it comes at or more. A source that is
//! paused is called all the while, so that it can keep its place.
//!
//! `GRISTMILL_STALL_SECONDS` says how long the sink stalls (5).

#![expect(clippy::disallowed_methods, reason = "paces are measured on the machine's clock")]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gristmill::defect::Defect;
use gristmill::topology::{Topology, provide, sensor, sink};
use gristmill::traits::source::{Axes, Batch, PollLimits, Polled, RawRecord, Records, Source, SourceError};
use gristmill::traits::{Decode, Done, Sink, SinkError, SinkFrame, SinkWriter};
use gristmill::words::{Offset, ShardIndex, Value};
use gristmill::{Options, Runtime, Stream};
use gristmill_operators::codec::json::json;
use gristmill_operators::rolling::{mean, rows};
use gristmill_tests::support::constants::resident_bytes;
use gristmill_tests::support::setting::number;

const X: Stream<f64> = Stream::new("x");
const MEAN: Stream<f64> = Stream::new("mean");
const PREDICTED: Stream<f64> = Stream::new("predicted");

const KEYS: u64 = 50;
/// How often it may try to catch up fast enough.
const TRIES: usize = 3;
/// The longest that a source may not be called: a member of a Kafka group is asked for a sign of life every few seconds.
const SILENCE_MAX: Duration = Duration::from_secs(1);
/// Held by the test that runs: it measures the memory of the process.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Records that come at a pace, whether they are read or not.
struct Paced {
    shape: Shape,
    /// Records a second; as fast as they are read where it is none.
    rate: Option<f64>,
    begun: Option<Instant>,
    next: u64,
    watched: Arc<Watched>,
}

/// What is seen of the source and the sink.
#[derive(Default)]
struct Watched {
    polled: AtomicU64,
    paused: AtomicU64,
    ended: AtomicBool,
    stalled: AtomicBool,
    held: Mutex<Vec<Done>>,
    /// The next row of each key, and how many came.
    seen: Mutex<(Vec<u64>, u64)>,
    /// When the source was called last, and the longest time between two calls.
    called: Mutex<(Option<Instant>, Duration)>,
}

#[derive(Clone, Copy)]
enum Shape {
    /// One row in about a hundred bytes.
    Small,
    /// As many rows as make about a megabyte.
    Large,
}

impl Shape {
    fn rows(self) -> u64 {
        match self {
            Self::Small => 1,
            Self::Large => 50_000,
        }
    }

    /// A record of the key whose turn it is; its values are the numbers of the key's rows.
    fn record(self, number: u64) -> RawRecord {
        let (key, of_key) = (number % KEYS, number / KEYS);
        let (first, rows) = (of_key * self.rows(), self.rows());
        let values: Vec<String> = (first..first + rows).map(|row| format!("{row:.12}")).collect();
        let text = format!(
            r#"{{"machine": "machine-{key:03}", "start": {}, "step": 1, "x": [{}], "note": "as it comes from a gateway"}}"#,
            1_700_000_000_000u64 + first,
            values.join(",")
        );
        let offset = Offset(i64::try_from(number).expect("it is small"));
        RawRecord { offset, log_time: None, key: None, payload: text.into_bytes().into_boxed_slice() }
    }
}

impl Source for Paced {
    fn axes(&self) -> Axes {
        Axes::default()
    }

    fn decoder(&self) -> Option<Arc<dyn Decode>> {
        Some(Arc::new(json(|r| r.key("machine").series("start", "step"))))
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Polled, SourceError> {
        self.watched.is_called();
        if self.watched.ended.load(Ordering::Relaxed) {
            return Ok(Polled::End);
        }
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let there = self.rate.map_or(u64::MAX, |rate| (begun.elapsed().as_secs_f64() * rate) as u64);
        let (mut records, mut bytes) = (Vec::new(), 0);
        while self.next < there && records.len() < limits.records && (records.is_empty() || bytes < limits.bytes) {
            let record = self.shape.record(self.next);
            bytes += record.payload.len();
            self.next += 1;
            records.push(record);
        }
        self.watched.polled.store(self.next, Ordering::Relaxed);
        if records.is_empty() {
            std::thread::sleep(limits.wait.min(Duration::from_millis(1)));
            return Ok(Polled::Batches(Vec::new()));
        }
        Ok(Polled::Batches(vec![Batch::new(0, Records::Raw(records))]))
    }

    fn pause(&mut self, paused: bool) {
        self.watched.paused.fetch_add(u64::from(paused), Ordering::Relaxed);
    }

    fn idle(&mut self) -> Result<(), SourceError> {
        self.watched.is_called();
        Ok(())
    }

    fn commit(&mut self, _: u32, _: Offset) -> Result<(), SourceError> {
        Ok(())
    }
}

/// Counts what comes, each key's rows in order; while it stalls, nothing that it was given is done.
#[derive(Clone)]
struct Stalling(Arc<Watched>);

impl Sink for Stalling {
    fn open(&self, _: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl SinkWriter for Stalling {
    fn write(&mut self, frame: &SinkFrame<'_>, done: Done) {
        let mut seen = self.0.seen.lock().expect("nobody panics with this lock");
        let (next, count) = &mut *seen;
        next.resize(KEYS as usize, 0);
        frame.for_each(|row| {
            let Value::F64(value) = row.value else { panic!("it is f64") };
            let key: usize = row.key.trim_start_matches("machine-").parse().expect("keys have numbers");
            assert_eq!(value, next[key] as f64, "a row of {} is lost, repeated or out of order", row.key);
            next[key] += 1;
            *count += 1;
        });
        drop(seen);
        if self.0.stalled.load(Ordering::Acquire) {
            self.0.held.lock().expect("nobody panics with this lock").push(done);
        } else {
            done.done();
        }
    }
}

impl Watched {
    fn is_called(&self) {
        let mut called = self.called.lock().expect("nobody panics with this lock");
        let now = Instant::now();
        let silent = called.0.map_or(Duration::ZERO, |before| now - before);
        *called = (Some(now), called.1.max(silent));
    }

    /// The longest time without a call since it was asked last, up to now.
    fn silence(&self) -> Duration {
        self.is_called();
        std::mem::take(&mut self.called.lock().expect("nobody panics with this lock").1)
    }

    fn delivered(&self) -> u64 {
        self.seen.lock().expect("nobody panics with this lock").1
    }

    fn go_on(&self) {
        self.stalled.store(false, Ordering::Release);
        let held = std::mem::take(&mut *self.held.lock().expect("nobody panics with this lock"));
        held.into_iter().for_each(Done::done);
    }
}

#[derive(Debug)]
struct Ran {
    /// How much the process grew while the sink stalled.
    grown: u64,
    paused: u64,
    /// The longest that the source was not called while the sink stalled.
    silent: Duration,
    /// Records a second after the stall, over the pace at which they come.
    catching_up: f64,
}

/// Runs at a pace; the sink stalls, then goes on until all that waited is there.
async fn run(shape: Shape, options: Options, rate: Option<f64>, stall: Duration, defect: Option<Defect>) -> (Ran, f64) {
    let watched = Arc::new(Watched::default());
    let source = Paced { shape, rate, begun: None, next: 0, watched: Arc::clone(&watched) };
    let plant = Topology::new("machine")
        .with(sensor(X))
        .with(provide(MEAN).needs(X).by(mean(rows(20))))
        .with(provide(PREDICTED).needs((X, MEAN)).by(|x: f64, _mean: f64| x))
        .with(sink("out").needs(PREDICTED));
    let builder = Runtime::builder().topology(plant).source(source).sink("out", Stalling(Arc::clone(&watched)));
    let builder = builder.options(options).shards(2).defect(defect);
    let handle = builder.start().await.expect("nothing is wrong with it");
    let sleep = tokio::time::sleep;
    sleep(Duration::from_secs(2)).await;
    let before = resident_bytes();
    watched.stalled.store(true, Ordering::Release);
    watched.silence();
    let (begun, mut most) = (Instant::now(), before);
    while begun.elapsed() < stall {
        sleep(Duration::from_millis(50)).await;
        most = most.max(resident_bytes());
    }
    let silent = watched.silence();
    let (from, begun) = (watched.polled.load(Ordering::Relaxed), Instant::now());
    watched.go_on();
    let waits = |rate: f64| (begun.elapsed() + stall + Duration::from_secs(2)).as_secs_f64() * rate;
    let catching_up = match rate {
        Some(rate) => {
            // Until the source has nothing left but what has just come.
            while (watched.polled.load(Ordering::Relaxed) as f64) < waits(rate) - rate * 0.1 {
                assert!(begun.elapsed() < stall * 4, "it does not catch up");
                sleep(Duration::from_millis(20)).await;
            }
            (watched.polled.load(Ordering::Relaxed) - from) as f64 / begun.elapsed().as_secs_f64() / rate
        }
        None => 1.0,
    };
    watched.ended.store(true, Ordering::Relaxed);
    handle.finished().await.expect("it ends in order");
    let polled = watched.polled.load(Ordering::Relaxed);
    assert_eq!(watched.delivered(), polled * shape.rows(), "all that was polled is delivered");
    let paused = watched.paused.load(Ordering::Relaxed);
    let ran = Ran { grown: most - before, paused, silent, catching_up };
    (ran, polled as f64 / 2.0)
}

fn options(in_flight_bytes: usize) -> Options {
    let mut options = Options::default();
    options.drive.in_flight_bytes = in_flight_bytes;
    options
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_stalls_bounds_memory_and_loses_nothing() {
    let _alone = ALONE.lock().await;
    let stall = Duration::from_secs(number("GRISTMILL_STALL_SECONDS", 5));
    for (name, shape) in [("100 bytes", Shape::Small), ("1 MB", Shape::Large)] {
        let options = options(64 << 20);
        let bound = options.in_flight_memory() as u64;
        // Full load, for two seconds.
        let (_, full) = run(shape, options, None, Duration::ZERO, None).await;
        let mut fastest: f64 = 0.0;
        // Others may take the machine's time away while it catches up.
        for _ in 0..TRIES {
            let (ran, _) = run(shape, options, Some(full / 3.0), stall, None).await;
            eprintln!("{name}: full load {full:.0} records/s, bound {} MiB, {ran:?}", bound >> 20);
            assert!(ran.paused > 0, "{name}: the source pauses");
            assert!(ran.grown < bound, "{name}: it grew by {} bytes, the bound is {bound}", ran.grown);
            fastest = fastest.max(ran.catching_up);
            if fastest >= 2.0 {
                break;
            }
        }
        assert!(fastest >= 2.0, "{name}: it catches up at {fastest} times the pace");
    }
    // The broken twin: with room for all that comes in the stall it grows beyond that bound.
    let mut roomy = options(usize::MAX / 8);
    let bound = options(64 << 20).in_flight_memory() as u64;
    roomy.drive.in_flight_records = 4_000_000;
    let (_, full) = run(Shape::Large, roomy, None, Duration::ZERO, None).await;
    let (ran, _) = run(Shape::Large, roomy, Some(full / 3.0), Duration::from_secs(5), None).await;
    eprintln!("without a bound: {ran:?}");
    assert!(ran.grown > bound, "{ran:?}, and the bound was {bound}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_paused_is_called_all_the_while() {
    let _alone = ALONE.lock().await;
    let stall = Duration::from_secs(4);
    let (ran, _) = run(Shape::Small, options(64 << 20), None, stall, None).await;
    assert!(ran.paused > 0 && ran.silent < SILENCE_MAX, "{ran:?}");
    // The broken twin: it is not called until it may go on.
    let (ran, _) = run(Shape::Small, options(64 << 20), None, stall, Some(Defect::Idle)).await;
    assert!(ran.paused > 0 && ran.silent > stall / 2, "{ran:?}");
}
