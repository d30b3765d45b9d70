//! A sink that can never write again ends the runtime with its own error: what was done before is committed, nothing behind
//! it is, states that go further are not saved, and nobody waits for what never comes.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gristmill::in_process::{Collected, Feeder, feed};
use gristmill::state::{RefusedState, StateFolder};
use gristmill::topology::{Topology, provide, sensor, sink};
use gristmill::traits::source::{Axes, RowsRecord};
use gristmill::traits::{Done, Sink, SinkError, SinkFrame, SinkWriter};
use gristmill::words::{Column, ElementType, Offset, ShardIndex, Time};
use gristmill::{Deployment, Handle, RunError, Runtime, Stream};
use gristmill_operators::file;
use tokio::time::timeout;

const X: Stream<f64> = Stream::new("x");
const Y: Stream<f64> = Stream::new("y");
/// Long enough for everything that ends at all.
const ENDS: Duration = Duration::from_secs(20);

/// Writes so many frames, then none.
#[derive(Clone)]
struct Breaks {
    left: Arc<AtomicUsize>,
    failed: Arc<AtomicBool>,
    /// Whether it says so.
    says: bool,
    out: Collected,
}

impl Breaks {
    fn after(frames: usize, says: bool) -> Self {
        Self { left: Arc::new(frames.into()), failed: Arc::default(), says, out: Collected::default() }
    }
}

impl Sink for Breaks {
    fn open(&self, shard: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(Breaking(self.clone(), self.out.open(shard)?)))
    }

    fn failure(&self) -> Option<SinkError> {
        let failed = self.says && self.failed.load(Ordering::Acquire);
        failed.then(|| SinkError { reason: "the tape is torn".to_owned() })
    }
}

struct Breaking(Breaks, Box<dyn SinkWriter>);

impl SinkWriter for Breaking {
    fn write(&mut self, frame: &SinkFrame<'_>, done: Done) {
        let Self(sink, writer) = self;
        let fine = sink.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| left.checked_sub(1)).is_ok();
        if fine {
            writer.write(frame, done);
        } else {
            sink.failed.store(true, Ordering::Release);
            done.never();
        }
    }
}

fn topology() -> Topology {
    Topology::new("pump").with(sensor(X)).with(sink("out").needs(X)).with(sink("other").needs(X))
}

fn axes() -> Axes {
    Axes::Declared(vec![vec![("x".into(), ElementType::F64)]])
}

async fn row(feeder: &Feeder, offset: i64) {
    let columns = vec![Column::F64(vec![offset as f64])];
    let times = vec![Time::from_secs(offset)];
    let record = RowsRecord { offset: Offset(offset), log_time: None, key: "p".into(), axis: 0, times, columns };
    // A runtime that has ended takes no more.
    let _ = feeder.send(0, vec![record]).await;
}

async fn start(sink: impl Sink, other: &Collected, state: Option<&Path>) -> (Feeder, Handle) {
    let (feeder, source) = feed(axes());
    let mut builder = Runtime::builder().topology(topology()).source(source).shards(2);
    builder = builder.sink("out", sink).sink("other", other.clone());
    if let Some(folder) = state {
        let store = StateFolder::open(folder).expect("the folder is free");
        builder = builder.state(store).refused_state(RefusedState::Stop);
    }
    (feeder, builder.start().await.expect("it starts"))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runtime_ends_with_its_error_and_commits_what_was_done() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sink-fails");
    let _ = std::fs::remove_dir_all(&folder);
    let (sink, other) = (Breaks::after(3, true), Collected::default());
    let (feeder, handle) = start(Collected::default(), &Collected::default(), Some(&folder)).await;
    row(&feeder, -1).await;
    feeder.taken().await.expect("it runs");
    handle.stop().await.expect("a state is saved");
    drop(handle);
    let (feeder, handle) = start(sink.clone(), &other, Some(&folder)).await;
    for offset in 0..3 {
        row(&feeder, offset).await;
        feeder.taken().await.expect("it runs");
        handle.settled().await;
    }
    for offset in 3..6 {
        row(&feeder, offset).await;
    }
    let error = timeout(ENDS, handle.finished()).await.expect("it ends by itself").expect_err("it was not written");
    assert!(matches!(&error, RunError::Sink(error) if error.reason == "the tape is torn"), "{error}");
    assert!(error.to_string().contains("what was not committed is read again at the next start"), "{error}");
    assert_eq!(feeder.committed(0), Some(Offset(3)));
    assert_eq!(sink.out.take().len(), 3);
    assert!(other.take().len() >= 3, "the other sink has what it was given");
    let again = timeout(ENDS, handle.stop()).await.expect("there is nothing to stop").expect_err("as before");
    assert_eq!(again.to_string(), error.to_string());
    drop(handle);
    // The states are further than what was committed: a start begins without, as after a kill.
    let (_feeder, handle) = start(Collected::default(), &other, Some(&folder)).await;
    assert!(handle.restored()[0].interrupted, "{}", handle.restored()[0]);
    handle.stop().await.expect("it stops in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_what_never_comes() {
    let other = Collected::default();
    let (feeder, handle) = start(Breaks::after(0, true), &other, None).await;
    row(&feeder, 0).await;
    let twice = Deployment::new().put(provide(Y).needs(X).by(|x: f64| 2.0 * x));
    // It is carried out or refused, by how far the end has got.
    let _ = timeout(ENDS, handle.apply(twice)).await.expect("a deployment is answered");
    timeout(ENDS, handle.settled()).await.expect("who waits for the rows is answered");
    timeout(ENDS, handle.stop()).await.expect("a stop ends").expect_err("it was not written");
    assert_eq!(feeder.committed(0), None);
}

/// What the end hangs on: where no sink says that it has failed, a stop waits for it as for one that is slow.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_does_not_say_so_is_waited_for() {
    let (feeder, handle) = start(Breaks::after(0, false), &Collected::default(), None).await;
    row(&feeder, 0).await;
    feeder.taken().await.expect("it runs");
    assert!(timeout(Duration::from_secs(1), handle.stop()).await.is_err(), "it ended without its rows written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_on_a_full_disk_is_such_a_sink() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let telling = told.clone();
    let full = file::sink("/dev/full").on_failure(move |reason| {
        telling.lock().expect("nobody panics with this lock").push(reason.to_owned());
    });
    let (feeder, handle) = start(full, &Collected::default(), None).await;
    row(&feeder, 0).await;
    let error = timeout(ENDS, handle.finished()).await.expect("it ends by itself").expect_err("it was not written");
    let told = told.lock().expect("nobody panics with this lock").clone();
    assert!(told.len() == 1 && told[0].contains("No space left"), "{told:?}");
    assert!(matches!(&error, RunError::Sink(error) if error.reason == told[0]), "{error}");
}

/// Fails by itself, without a row.
#[derive(Clone, Default)]
struct Fails(Arc<AtomicBool>, Collected);

impl Sink for Fails {
    fn open(&self, shard: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        self.1.open(shard)
    }

    fn failure(&self) -> Option<SinkError> {
        self.0.load(Ordering::Acquire).then(|| SinkError { reason: "the line is cut".to_owned() })
    }
}

/// Bug: the runtime ended by itself and said that all was well. Fix: it ends with the sink's error; states are saved, as all
/// that was read has had its effect.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_while_nothing_is_in_flight_ends_the_runtime_with_its_error_too() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sink-fails-idle");
    let _ = std::fs::remove_dir_all(&folder);
    let sink = Fails::default();
    let (feeder, handle) = start(sink.clone(), &Collected::default(), Some(&folder)).await;
    row(&feeder, 0).await;
    feeder.taken().await.expect("it runs");
    handle.settled().await;
    sink.0.store(true, Ordering::Release);
    let error = timeout(ENDS, handle.finished()).await.expect("it ends by itself").expect_err("it cannot go on");
    assert!(matches!(&error, RunError::Sink(error) if error.reason == "the line is cut"), "{error}");
    assert_eq!(feeder.committed(0), Some(Offset(1)));
    drop(handle);
    let (_feeder, handle) = start(Collected::default(), &Collected::default(), Some(&folder)).await;
    assert_eq!(handle.restored()[0].found, 1, "{}", handle.restored()[0]);
    handle.stop().await.expect("it stops in order");
}

/// Keeps every word until it is flushed, or goes.
#[derive(Clone, Default)]
struct Keeps(Arc<Mutex<Vec<Done>>>);

impl Sink for Keeps {
    fn open(&self, _shard: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        Ok(Box::new(self.clone()))
    }
}

impl SinkWriter for Keeps {
    fn write(&mut self, _frame: &SinkFrame<'_>, done: Done) {
        self.0.lock().expect("nobody panics with this lock").push(done);
    }
}

/// Bug: another sink that still held frames aborted the process when the host let the system go, and so did whatever the
/// shards had still to do, or a deployment after the end. Fix: a source that ends without what it handed over abandons it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_in_flight_beside_it_may_be_dropped_and_deployments_are_answered() {
    let (feeder, source) = feed(axes());
    let slow = provide(Y).needs(X).by(|x: f64| {
        std::thread::sleep(Duration::from_millis(2));
        x
    });
    let topology = topology().with(slow).with(sink("kept").needs(Y));
    let builder = Runtime::builder().topology(topology).source(source).shards(2).sink("out", Breaks::after(2, true));
    let builder = builder.sink("other", Collected::default()).sink("kept", Keeps::default());
    let handle = builder.start().await.expect("it starts");
    let subscription = handle.subscribe(&X).await.expect("it is provided");
    for offset in 0..500 {
        row(&feeder, offset).await;
    }
    let error = timeout(ENDS, handle.finished()).await.expect("it ends by itself").expect_err("it was not written");
    assert!(matches!(error, RunError::Sink(_)), "{error}");
    drop(subscription);
    let twice = Deployment::new().put(provide(Stream::<f64>::new("z")).needs(X).by(|x: f64| 2.0 * x));
    let _ = timeout(ENDS, handle.apply(twice)).await.expect("a deployment is answered");
    drop(handle);
    // The shards have gone on to their end by now.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
}

/// Bug: the process was aborted. Fix: it is as if the system was killed.
#[tokio::test(flavor = "multi_thread")]
async fn a_system_that_is_dropped_while_rows_flow_is_gone_and_the_process_is_not() {
    for _ in 0..5 {
        let (feeder, handle) = start(Keeps::default(), &Collected::default(), None).await;
        let rows = tokio::spawn(async move {
            for offset in 0..2_000 {
                row(&feeder, offset).await;
            }
            feeder.committed(0)
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(handle);
        assert_eq!(timeout(ENDS, rows).await.expect("nobody waits").expect("nobody panics"), None);
    }
}

/// Bug: its source went on, and nobody was told. Fix: a class that cannot go on ends the run, with all others in order; and a
/// sink that has failed takes no states of classes that have nothing to do with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_class_that_cannot_go_on_ends_the_others_in_order() {
    let class = |name: &str, out: &str| Topology::new(name).with(sensor(X)).with(sink(out).needs(X));
    let (of_pump, pump) = feed(axes());
    let (of_valve, valve) = feed(axes());
    let values = Collected::default();
    let builder = Runtime::builder().topology(class("pump", "out")).topology(class("valve", "values")).shards(2);
    let builder = builder.source_of("pump", pump).source_of("valve", valve);
    let builder = builder.sink("out", Breaks::after(0, true)).sink("values", values.clone());
    let handle = builder.start().await.expect("it starts");
    let flows = tokio::spawn(async move {
        for offset in 0.. {
            let columns = vec![Column::F64(vec![1.0])];
            let times = vec![Time::from_secs(offset)];
            let record =
                RowsRecord { offset: Offset(offset), log_time: None, key: "v".into(), axis: 0, times, columns };
            if of_valve.send(0, vec![record]).await.is_err() {
                return of_valve.committed(0);
            }
        }
        None
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    row(&of_pump, 0).await;
    let error = timeout(ENDS, handle.finished()).await.expect("it ends by itself").expect_err("it was not written");
    assert!(matches!(error, RunError::Sink(_)), "{error}");
    let committed = flows.await.expect("nobody panics").expect("rows came").0;
    assert_eq!(values.take().len() as i64, committed, "all that was read of the other class had its effect");
}
