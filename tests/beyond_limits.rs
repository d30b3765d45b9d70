//! What is more than shards have room for waits or is refused, and what fails half way leaves nothing behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gristmill::in_process::{Collected, CollectedLetters, Feeder, Output, feed};
use gristmill::topology::{Accepts, Node, Topology, provide, sensor, sink};
use gristmill::traits::source::{Axes, RowsRecord};
use gristmill::traits::{Operator, Outputs, RowError, Rows, Sink, SinkError, SinkWriter};
use gristmill::words::{Column, ElementType, Offset, ShardIndex, Span, Time};
use gristmill::{Deployment, Runtime, Stream};
use gristmill_operators::rolling::Stat;
use gristmill_operators::window;

const X: Stream<f64> = Stream::new("x");
const Y: Stream<f64> = Stream::new("y");

fn axes() -> Axes {
    Axes::Declared(vec![vec![("x".into(), ElementType::F64)]])
}

/// A row of each key, with their offsets and times from `from` on.
async fn send(feeder: &Feeder, keys: &[String], from: i64) {
    let record = |(offset, key): (i64, &String)| RowsRecord {
        offset: Offset(offset),
        log_time: None,
        key: key.as_str().into(),
        axis: 0,
        times: vec![Time(offset)],
        columns: vec![Column::F64(vec![offset as f64])],
    };
    let records: Vec<RowsRecord> = (from..).zip(keys).map(record).collect();
    for some in records.chunks(64) {
        feeder.send(0, some.to_vec()).await.expect("the runtime runs");
    }
}

fn of<'o>(outputs: &'o [Output], stream: &str) -> Vec<&'o Output> {
    outputs.iter().filter(|output| output.stream.as_str() == stream).collect()
}

/// Each key has a frame of its own, as it has a slow node; the keys are more than the window's mailbox takes frames.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_passes_for_more_keys_than_a_mailbox_has_places() {
    let keys: Vec<String> = (0..4_000).map(|key| format!("P{key}")).collect();
    let (feeder, source) = feed(axes());
    let mean = Stream::<f64>::new("mean");
    let plant = Topology::new("plant")
        .with(sensor(X))
        .with(provide(Y).needs(X).by(|x: f64| x + 1.0).slow(Span::from_secs(10)))
        .with(provide(mean.clone()).needs(X).by(window::tumbling(Duration::from_secs(10), [Stat::Mean])))
        .with(sink("out").needs(Y).and(mean));
    let out = Collected::default();
    let mut builder = Runtime::builder().topology(plant).source(source).sink("out", out.clone()).shards(1);
    let drive = &mut builder.options_mut().drive;
    (drive.in_flight_records, drive.batch_records) = (64, 64);
    let handle = builder.start().await.expect("nothing is wrong with it");
    send(&feeder, &keys, 0).await;
    for second in [20, 40] {
        feeder.tick(0, Time::from_secs(second)).await.expect("the runtime runs");
    }
    send(&feeder, &keys, 50_000_000).await;
    drop(feeder);
    handle.finished().await.expect("it ends in order");
    let outputs = out.take();
    assert_eq!((of(&outputs, "y").len(), of(&outputs, "mean").len()), (8_000, 4_000));
}

/// 13 nodes, each for the keys that have a 1 at its place: 8,192 sets; and one of two more, at the last place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_set_of_nodes_too_many_is_refused_and_the_others_go_on() {
    const SETS_MAX: usize = 10_000;
    let keys: Vec<String> = (0..1_usize << 14).map(|key| format!("{key:014b}")).collect();
    let streams: Vec<Stream<f64>> = (0..14).map(|place| Stream::named(format!("s{place}"))).collect();
    let (feeder, source) = feed(axes());
    let mut plant = Topology::new("plant").with(sensor(X)).with(sink("all").needs(X));
    for (place, stream) in streams.iter().enumerate() {
        let pattern = format!("{}1{}", "?".repeat(place), "?".repeat(13 - place));
        plant = plant.with(provide(stream.clone()).needs(X).by(|x: f64| x).for_keys(&pattern));
        plant = plant.with(sink(format!("out{place}").as_str()).needs(stream.clone()));
    }
    let (out, letters) = (Collected::default(), CollectedLetters::default());
    let mut builder = Runtime::builder().topology(plant).source(source).sink("all", out.clone());
    for place in 0..14 {
        builder = builder.sink(format!("out{place}").as_str(), out.clone());
    }
    let handle = builder.dead_letters(letters.clone()).shards(1).start().await.expect("nothing is wrong with it");
    send(&feeder, &keys, 0).await;
    send(&feeder, &keys, 50_000_000).await;
    drop(feeder);
    handle.finished().await.expect("it ends in order");
    let (outputs, letters) = (out.take(), letters.take());
    assert_eq!(of(&outputs, "x").len(), 2 * SETS_MAX);
    // Keys come in the order of their numbers, and so do the sets: those of the first keys are known at the second time.
    assert!(outputs.iter().all(|output| usize::from_str_radix(&output.key, 2).is_ok_and(|key| key < SETS_MAX)));
    assert_eq!(letters.len(), 2 * (keys.len() - SETS_MAX));
    let reason = &letters[0].reason;
    assert!(reason.contains("10000 sets") && reason.contains(&keys[SETS_MAX]), "{reason}");
}

/// Cannot be opened by the second shard until it is mended.
#[derive(Clone, Default)]
struct Broken(Arc<AtomicBool>, Collected);

impl Sink for Broken {
    fn open(&self, shard: ShardIndex) -> Result<Box<dyn SinkWriter>, SinkError> {
        if shard.0 == 1 && !self.0.load(Ordering::Relaxed) {
            return Err(SinkError { reason: "the disk is full".to_owned() });
        }
        self.1.open(shard)
    }
}

/// Operators that count rows, each with another type of state.
macro_rules! counts {
    ($name:ident, $number:ty) => {
        #[derive(Debug)]
        struct $name;

        impl Accepts<(f64,), (f64,)> for $name {}

        impl Operator for $name {
            type State = $number;
            fn name(&self) -> &'static str {
                stringify!($name)
            }
            fn parameters(&self) -> String {
                String::new()
            }
            fn check(&self, _needs: &[ElementType], _provides: &[ElementType]) -> Result<(), String> {
                Ok(())
            }
            fn start(&self) -> $number {
                <$number>::default()
            }
            fn run(&self, state: &mut $number, rows: &Rows<'_>, out: &mut Outputs<'_>) -> Result<(), RowError> {
                for row in 0..rows.len() {
                    *state += <$number>::from(1_u8);
                    out.f64(0)[row] = f64::from(*state);
                }
                Ok(())
            }
        }
    };
}

counts!(InWhole, u32);
counts!(InReal, f64);

/// A node for each key that counts its rows, and the sink that cannot be opened.
fn deployment(keys: &[String], count: impl Fn() -> Node) -> Deployment {
    Deployment::new().put_all(keys.iter().map(|key| count().for_key(key.as_str()))).put(sink("broken").needs(Y))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_shard_cannot_start_is_taken_back_by_the_others() {
    let keys: Vec<String> = (0..16).map(|key| format!("P{key}")).collect();
    let (feeder, source) = feed(axes());
    let (out, broken) = (Collected::default(), Broken::default());
    let plant = Topology::new("plant").with(sensor(X)).with(sink("out").needs(X));
    let builder = Runtime::builder().topology(plant).source(source).sink("out", out).sink("broken", broken.clone());
    let handle = builder.shards(2).start().await.expect("nothing is wrong with it");
    send(&feeder, &keys, 0).await;
    feeder.taken().await.expect("the runtime runs");
    handle.settled().await;
    let before = handle.report(None).await.expect("the runtime runs");
    for _ in 0..3 {
        let error = handle
            .apply(deployment(&keys, || provide(Y).needs(X).by(InWhole)))
            .await
            .expect_err("a shard cannot open it");
        assert!(error.to_string().contains("the disk is full"), "{error}");
    }
    let after = handle.report(None).await.expect("the runtime runs");
    assert_eq!((after.actors, after.revision), (before.actors, before.revision));

    broken.0.store(true, Ordering::Relaxed);
    let applied =
        handle.apply(deployment(&keys, || provide(Y).needs(X).by(InReal))).await.expect("nothing is wrong any more");
    assert!(applied.revision.0 > before.revision.0 + 3, "numbers that were tried are not given again");
    send(&feeder, &keys, 100).await;
    send(&feeder, &keys, 200).await;
    drop(feeder);
    handle.finished().await.expect("it ends in order");
    let outputs = broken.1.take();
    for key in &keys {
        let of_key = outputs.iter().filter(|output| output.key.as_str() == key.as_str());
        assert_eq!(of_key.filter_map(|output| output.value.as_f64()).collect::<Vec<_>>(), [1.0, 2.0], "{key}");
    }
}
