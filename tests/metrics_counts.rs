//! Series of what seldom happens: each is made to count a number that is known, and the others beside it count nothing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gristmill::in_process::{Collected, CollectedLetters, FeedSource, Feeder, feed};
use gristmill::topology::{Topology, provide, sensor, sink};
use gristmill::traits::source::{Axes, PollLimits, Polled, RowsRecord};
use gristmill::traits::{Done, Sink, SinkError, SinkFrame, SinkWriter, Source, SourceError};
use gristmill::words::{Column, ElementType, Offset, ShardIndex, Span, Time};
use gristmill::{Builder, Handle, Report, Runtime, Stream};
use gristmill_tests::support::recorder::Recorded;

const X: Stream<f64> = Stream::new("x");
const SLOW: Stream<f64> = Stream::new("slow");
const HELD: Stream<f64> = Stream::new("held");

/// What is looked at, in the order of [`counts`].
const SERIES: [&str; 6] =
    ["rows_released_early", "records_refused", "overruns", "threads_lost", "commit_errors", "sink_errors"];

fn counts(recorded: &Recorded) -> [u64; 6] {
    SERIES.map(|name| recorded.counter(&format!("gristmill_{name}_total{{class=machine}}")))
}

fn source() -> (Feeder, FeedSource) {
    feed(Axes::Declared(vec![vec![("x".into(), ElementType::F64)]]))
}

fn topology() -> Topology {
    Topology::new("machine").with(sensor(X)).with(sink("out").needs(X))
}

/// Starts it with a recorder of its own.
async fn start(builder: Builder) -> (Handle, Recorded) {
    let recorded = Recorded::default();
    let local = metrics::set_default_local_recorder(&recorded);
    let handle = builder.shards(1).start().await.expect("nothing is wrong with it");
    drop(local);
    (handle, recorded)
}

async fn send(feeder: &Feeder, partition: u32, key: &str, second: i64, x: f64) {
    let (offset, times, columns) = (Offset(second), vec![Time::from_secs(second)], vec![Column::F64(vec![x])]);
    let record = RowsRecord { offset, log_time: None, key: key.into(), axis: 0, times, columns };
    feeder.send(partition, vec![record]).await.expect("it runs");
}

/// Until it has ended in order, and what it reports then.
async fn ended(handle: &Handle) -> Report {
    handle.finished().await.expect("it ends in order");
    handle.report(None).await.expect("it has run")
}

#[tokio::test]
async fn rows_that_go_early_and_records_that_are_refused() {
    let ((feeder, source), letters) = (source(), CollectedLetters::default());
    let mut builder = Runtime::builder().topology(topology()).source(source).sink("out", Collected::default());
    let intake = &mut builder.options_mut().intake;
    (intake.reorder, intake.waiting_rows_max) = (Span::from_secs(1_000), 2);
    let (handle, recorded) = start(builder.dead_letters(letters.clone())).await;
    // Two of five may wait.
    for second in 1..=5 {
        send(&feeder, 0, "p", second, 1.0).await;
    }
    // All rows of a key come from one partition.
    for second in 6..=7 {
        send(&feeder, 1, "p", second, 1.0).await;
    }
    drop(feeder);
    let report = ended(&handle).await;
    assert_eq!(counts(&recorded), [3, 2, 0, 0, 0, 0]);
    assert_eq!((report.intake.refused, report.intake.rows), (2, 5));
    assert_eq!(letters.take().len(), 2);
}

/// Ends the calls that hang, so that their threads can be joined.
static OVER: AtomicBool = AtomicBool::new(false);

#[tokio::test]
async fn calls_that_take_too_long_and_threads_that_are_given_up() {
    let (feeder, source) = source();
    let slow = provide(SLOW).needs(X).by(|x: f64| {
        while x == 7.0 && !OVER.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        x
    });
    let held = provide(HELD).needs(X).by(|x: f64| {
        if x == 9.0 {
            std::thread::sleep(Duration::from_millis(1_500));
        }
        x
    });
    let topology = Topology::new("machine")
        .with(sensor(X))
        .with(slow.slow(Span::from_millis(500)))
        .with(held)
        .with(sink("out").needs(SLOW).and(HELD));
    let mut builder = Runtime::builder().topology(topology).source(source).sink("out", Collected::default());
    builder.options_mut().node_budget = Duration::from_secs(1);
    let (handle, recorded) = start(builder).await;
    // Not every frame of a node is measured, but the first is.
    send(&feeder, 0, "held", 1, 9.0).await;
    feeder.taken().await.expect("it runs");
    handle.settled().await;
    for (second, key) in (2..).zip(["a", "b"]) {
        send(&feeder, 0, key, second, 7.0).await;
    }
    drop(feeder);
    let report = ended(&handle).await;
    assert_eq!(counts(&recorded), [0, 0, 3, 2, 0, 0]);
    assert_eq!(report.nodes.iter().map(|node| node.overruns).sum::<u64>(), 3);
    assert_eq!(report.nodes.iter().map(|node| u64::from(node.lost_threads)).sum::<u64>(), 2);
    OVER.store(true, Ordering::Relaxed);
}

/// Fails to commit so many times; it ends once it has committed.
struct Forgetful {
    inner: FeedSource,
    failures: u64,
    committed: bool,
}

impl Source for Forgetful {
    fn axes(&self) -> Axes {
        self.inner.axes()
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Polled, SourceError> {
        if self.committed { Ok(Polled::End) } else { self.inner.poll(limits) }
    }

    fn commit(&mut self, partition: u32, next: Offset) -> Result<(), SourceError> {
        if self.failures > 0 {
            self.failures -= 1;
            return Err(SourceError { reason: "the coordinator moves".to_owned(), retry: true });
        }
        self.committed = true;
        self.inner.commit(partition, next)
    }
}

#[tokio::test]
async fn commits_that_fail() {
    let (feeder, inner) = source();
    let source = Forgetful { inner, failures: 4, committed: false };
    let mut builder = Runtime::builder().topology(topology()).source(source).sink("out", Collected::default());
    builder.options_mut().drive.commit_interval = Duration::from_millis(10);
    let (handle, recorded) = start(builder).await;
    send(&feeder, 0, "p", 1, 1.0).await;
    ended(&handle).await;
    assert_eq!(counts(&recorded), [0, 0, 0, 0, 4, 0]);
    assert_eq!(feeder.committed(0), Some(Offset(2)));
}

/// Holds back what it is given until it is flushed, which fails so many times.
#[derive(Clone, Default)]
struct Reluctant {
    held: Arc<Mutex<Vec<Done>>>,
    failures: Arc<AtomicU64>,
}

impl Sink for Reluctant {
    fn open(&self, _: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(self.clone()))
    }

    fn flush(&self) -> Result<(), SinkError> {
        let fails = self.failures.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok();
        if fails {
            return Err(SinkError { reason: "the tape is being changed".to_owned() });
        }
        let held = std::mem::take(&mut *self.held.lock().expect("nobody panics with this lock"));
        held.into_iter().for_each(Done::done);
        Ok(())
    }
}

impl SinkWriter for Reluctant {
    fn write(&mut self, _: &SinkFrame<'_>, done: Done) {
        self.held.lock().expect("nobody panics with this lock").push(done);
    }
}

#[tokio::test]
async fn flushes_of_a_sink_that_fail() {
    let ((feeder, source), sink) = (source(), Reluctant::default());
    sink.failures.store(6, Ordering::Release);
    let (handle, recorded) = start(Runtime::builder().topology(topology()).source(source).sink("out", sink)).await;
    send(&feeder, 0, "p", 1, 1.0).await;
    drop(feeder);
    ended(&handle).await;
    assert_eq!(counts(&recorded), [0, 0, 0, 0, 0, 6]);
}
