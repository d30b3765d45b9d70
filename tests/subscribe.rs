//! Subscriptions of a host: typed, whole, with an end; while nobody reads, the source waits; when nobody asks any more,
//! nothing is left of them.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use gristmill::deployer::Terms;
use gristmill::in_process::{Collected, Feeder, Output, feed};
use gristmill::registry::Verdict;
use gristmill::topology::diff::identities;
use gristmill::topology::{Node, Topology, provide, sensor, sink};
use gristmill::traits::source::{Axes, RowsRecord};
use gristmill::words::{Column, Element, ElementType, NodeId, Offset, Revision, Time, Value};
use gristmill::{Builder, Deployment, Handle, Runtime, Stream, Subscription};
use gristmill_tests::support::constants::{self, put};

const X: Stream<f32> = Stream::new("x");
const SCORE: Stream<f32> = Stream::new("score");
const ALARM: Stream<bool> = Stream::new("alarm");
const SPARE: Stream<f32> = Stream::new("spare");

/// How long anything may take that does not wait for what never comes.
const SOON: Duration = Duration::from_secs(60);
/// How long is waited for what must not come.
const A_WHILE: Duration = Duration::from_millis(300);

fn score(version: u32) -> Node {
    // Every fifth row has none.
    let node = provide(SCORE).needs(X).by(|x: f32| (x as i64 % 5 != 0).then_some(2.0 * x));
    node.version(version)
}

/// `score` and `alarm` go to a sink, `spare` to nobody.
fn pump() -> Topology {
    Topology::new("pump")
        .with(sensor(X))
        .with(score(1))
        .with(provide(ALARM).needs(SCORE).by(|score: f32| score > 10.0))
        .with(provide(SPARE).needs(X).by(|x: f32| -x))
        .with(sink("out").needs(SCORE).and(ALARM))
}

fn builder(topology: Topology) -> (Feeder, Collected, Builder) {
    let (feeder, source) = feed(Axes::Declared(vec![vec![("x".into(), ElementType::F32)]]));
    let out = Collected::default();
    (feeder, out.clone(), Runtime::builder().topology(topology).source(source).sink("out", out).shards(2))
}

async fn start() -> (Feeder, Collected, Handle) {
    let (feeder, out, builder) = builder(pump());
    (feeder, out, builder.start().await.expect("nothing is wrong with it"))
}

async fn send(feeder: &Feeder, offsets: std::ops::Range<i64>) {
    for offset in offsets {
        let (key, columns) = (format!("P{}", offset % 7).into(), vec![Column::F32(vec![offset as f32])]);
        let (offset, times) = (Offset(offset), vec![Time(offset)]);
        let row = RowsRecord { offset, log_time: None, key, axis: 0, times, columns };
        feeder.send(0, vec![row]).await.expect("it runs");
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("it does not wait for ever")
}

async fn subscribe<T: Element>(mill: &Handle, stream: &Stream<T>) -> Subscription<T> {
    soon(mill.subscribe(stream)).await.expect("nothing is wrong with it")
}

/// All that comes until the end.
async fn rest<T: Element>(subscription: &mut Subscription<T>) -> Vec<Output<T>> {
    let mut rows = Vec::new();
    while let Some(row) = soon(subscription.next()).await {
        rows.push(row);
    }
    rows
}

fn untyped<T: Element>(row: Output<T>, value: impl Fn(T) -> Value) -> Output {
    let Output { key, time, stream, value: typed, node, revision, partition, cause } = row;
    Output { key, time, stream, value: value(typed), node, revision, partition, cause }
}

fn sorted(mut rows: Vec<Output>) -> Vec<Output> {
    rows.sort_by_key(|row| (row.stream.clone(), row.cause));
    rows
}

async fn runs(mill: &Handle, node: &str) -> bool {
    mill.plan(None).await.expect("there is one").node(&NodeId::from(node)).is_some()
}

/// Waits until a node is out of the plan.
async fn ends(mill: &Handle, node: &str) {
    soon(async {
        while runs(mill, node).await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_gets_what_another_sink_gets_typed_and_ends_with_the_source() {
    let (feeder, out, mill) = start().await;
    let (mut scores, mut alarms) = (subscribe(&mill, &SCORE).await, subscribe(&mill, &ALARM).await);
    let reading = tokio::spawn(async move { rest(&mut scores).await });
    send(&feeder, 0..500).await;
    drop(feeder);
    let scores = soon(reading).await.expect("it does not panic");
    soon(mill.finished()).await.expect("it ends in order");

    assert_eq!(scores.len(), 400, "missing values are left out");
    let keys: BTreeSet<_> = scores.iter().map(|row| row.key.clone()).collect();
    for key in keys {
        let times: Vec<_> = scores.iter().filter(|row| row.key == key).map(|row| row.time).collect();
        assert!(times.is_sorted(), "{key}: {times:?}");
    }
    let mut got: Vec<Output> = scores.into_iter().map(|row| untyped(row, Value::F32)).collect();
    got.extend(rest(&mut alarms).await.into_iter().map(|row| untyped(row, Value::Bool)));
    assert_eq!(sorted(got), sorted(out.take()));
    assert!(alarms.next().await.is_none(), "an end is an end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_nobody_provides_or_as_another_type_is_refused_and_changes_nothing() {
    let (_feeder, _, mill) = start().await;
    let before = mill.plan(None).await.expect("there is one");
    let wrong = mill.subscribe(&Stream::<i64>::new("score")).await.expect_err("it is f32").to_string();
    assert!(wrong.contains("`score` is f32 as `score` provides it, but i64 in `subscription-1`"), "{wrong}");
    let unknown = mill.subscribe(&Stream::<f32>::new("scor")).await.expect_err("there is none").to_string();
    assert!(unknown.contains("asks for `scor`, which nobody provides; did you mean `score`?"), "{unknown}");
    let elsewhere = mill.subscribe_of("fan", &SCORE).await.expect_err("there are only pumps").to_string();
    assert_eq!(elsewhere, "no topology of class `fan` runs; there are `pump`");
    assert_eq!(mill.plan(None).await.expect("there is one").revision, before.revision);

    // Neither does the type change under a subscriber, nor the stream go.
    let spare = soon(mill.subscribe_of("pump", &SPARE)).await.expect("nothing is wrong with it");
    let other = provide(Stream::<bool>::new("spare")).needs(X).by(|x: f32| x > 1.0);
    let refused = mill.apply(other.clone()).await.expect_err("a subscriber reads f32").to_string();
    assert!(refused.contains("`spare` is bool as `spare` provides it, but f32"), "{refused}");
    let refused = mill.remove("spare").await.expect_err("a subscriber reads it").to_string();
    assert!(refused.contains(spare.node().as_str()), "{refused}");
    soon(spare.close()).await.expect("it runs");
    mill.apply(other).await.expect("nobody reads it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_no_reader_and_loses_nothing() {
    let (feeder, _, mill) = start().await;
    let mut scores = subscribe(&mill, &SCORE).await;
    send(&feeder, 1..4).await;
    let first = soon(scores.next()).await.expect("the source has not ended");
    assert_eq!(first.value, 2.0 * first.time.0 as f32);
    send(&feeder, 6..30).await;
    feeder.taken().await.expect("it runs");
    soon(mill.stop()).await.expect("it ends in order");
    assert_eq!(feeder.committed(0), Some(Offset(30)), "what is kept for the reader counts as done");
    assert_eq!(rest(&mut scores).await.len(), 2 + 20);
    // It can be taken out of the plan still, and who comes now has nothing to wait for.
    soon(scores.close()).await.expect("the shards are there");
    assert!(soon(subscribe(&mill, &SCORE).await.next()).await.is_none());
    drop((feeder, mill));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_reads_the_source_waits_and_nothing_is_dropped() {
    const ROWS: i64 = 400;
    const IN_FLIGHT: usize = 32;
    let (feeder, out, mut builder) = builder(pump());
    builder.options_mut().drive.batch_records = 4;
    builder.options_mut().drive.in_flight_records = IN_FLIGHT;
    let mill = builder.start().await.expect("nothing is wrong with it");
    let mut spare = subscribe(&mill, &SPARE).await;
    send(&feeder, 0..ROWS).await;
    tokio::time::sleep(A_WHILE).await;
    assert!(tokio::time::timeout(A_WHILE, feeder.taken()).await.is_err(), "the source is read on");
    let alarms = out.take().into_iter().filter(|row| row.stream.as_str() == "alarm").count();
    assert!(alarms > 0 && alarms <= IN_FLIGHT, "{alarms} rows were computed");
    assert_eq!(feeder.committed(0), None, "nothing is done");
    assert!(tokio::time::timeout(A_WHILE, mill.settled()).await.is_err(), "nobody has read");

    let mut next: Vec<i64> = (0..7).collect(); // of each key
    for _ in 0..ROWS {
        let row = soon(spare.next()).await.expect("it is there");
        let expected = &mut next[row.cause.offset.0 as usize % 7];
        assert_eq!((row.cause.offset.0, row.value), (*expected, -(*expected as f32)), "lost, repeated or out of order");
        *expected += 7;
    }
    // The last row counts as read when the next is asked for.
    assert!(tokio::time::timeout(A_WHILE, spare.next()).await.is_err(), "there is no more");
    soon(mill.settled()).await;
    drop(spare);
    send(&feeder, ROWS..2 * ROWS).await;
    soon(feeder.taken()).await.expect("nobody holds it up");
    soon(mill.stop()).await.expect("it ends in order");
    assert_eq!(feeder.committed(0), Some(Offset(2 * ROWS)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_who_goes_away_without_reading_holds_nothing_up() {
    let (feeder, _, mill) = start().await;
    let mut scores = subscribe(&mill, &SCORE).await;
    send(&feeder, 1..50).await;
    feeder.taken().await.expect("it runs");
    assert!(soon(scores.next()).await.is_some());
    drop(scores);
    soon(mill.settled()).await;
    // Who goes away while it is made leaves nothing either.
    for _ in 0..20 {
        // It may be made in that time, or not.
        let _ = tokio::time::timeout(Duration::from_micros(50), mill.subscribe(&SPARE)).await;
    }
    ends(&mill, "spare").await;
    mill.stop().await.expect("it ends in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_subscribes_to_any_more_runs_no_more() {
    let (feeder, _, mill) = start().await;
    assert!(!runs(&mill, "spare").await, "no sink asks for it");
    let (mut one, other) = (subscribe(&mill, &SPARE).await, subscribe(&mill, &SPARE).await);
    let name = one.node().to_string();
    assert!(runs(&mill, "spare").await && runs(&mill, &name).await);
    soon(other.close()).await.expect("it runs");
    assert!(runs(&mill, "spare").await, "the first asks for it");
    send(&feeder, 3..4).await;
    assert_eq!(soon(one.next()).await.expect("it runs").value, -3.0);
    drop(one);
    ends(&mill, &name).await;
    assert!(!runs(&mill, "spare").await, "no sink asks for it");

    // Also where it is dropped on a thread that no runtime has.
    let again = subscribe(&mill, &SPARE).await;
    std::thread::spawn(move || drop(again)).join().expect("it does not panic");
    ends(&mill, "spare").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_rounds_leave_the_plan_as_it_was() {
    let (feeder, _, mill) = start().await;
    let before = mill.plan(None).await.expect("there is one");
    let actors = mill.report(None).await.expect("it runs").actors;
    for round in 0..200 {
        let subscription = subscribe(&mill, &SPARE).await;
        send(&feeder, round..round + 1).await;
        if round % 2 == 0 {
            drop(subscription);
        } else {
            soon(subscription.close()).await.expect("it runs");
        }
    }
    // And as many at once.
    let mut many = Vec::new();
    for _ in 0..200 {
        many.push(subscribe(&mill, &SPARE).await);
    }
    let most = mill.revision().await;
    drop(many);
    ends(&mill, "spare").await;
    assert!(mill.revision().await.0 < most.0 + 20, "those that end together are removed together");

    let after = mill.plan(None).await.expect("there is one");
    assert_eq!(identities(&after), identities(&before));
    assert_eq!((after.base.slots, &after.base.numbers), (before.base.slots, &before.base.numbers));
    soon(async {
        while mill.report(None).await.expect("it runs").actors != actors {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    // What was deployed before can be gone back to, whatever number it is called by.
    mill.apply(score(2)).await.expect("nothing is wrong with it");
    mill.rollback(None, before.revision).await.expect("it is kept");
    mill.rollback(None, Revision(most.0 - 50)).await.expect("it is the same");
    send(&feeder, 200..210).await;
    soon(mill.stop()).await.expect("it ends in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_misses_no_row_from_its_position_on_and_has_none_before() {
    const ROWS: i64 = 4_000;
    let (feeder, _, mill) = start().await;
    let feeding = tokio::spawn(async move {
        for first in (0..ROWS).step_by(20) {
            send(&feeder, first..first + 20).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let mut readers = Vec::new();
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let mut spare = subscribe(&mill, &SPARE).await;
        let from = spare.applied().positions.first().map_or(0, |(_, offset)| offset.0);
        let revision = spare.applied().revision;
        readers.push((from, revision, tokio::spawn(async move { rest(&mut spare).await })));
    }
    feeding.await.expect("it does not panic");
    assert!(readers.iter().filter(|(from, ..)| (1..ROWS).contains(from)).count() > 3, "rows flowed meanwhile");
    for (from, revision, reader) in readers {
        let rows = soon(reader).await.expect("it does not panic");
        let mut offsets: Vec<i64> = rows.iter().map(|row| row.cause.offset.0).collect();
        offsets.sort_unstable();
        assert!(offsets.iter().copied().eq(from..ROWS), "from {from}: {} rows, {offsets:?}", offsets.len());
        assert!(rows.iter().all(|row| row.revision >= revision));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_leaves_subscriptions_as_they_are() {
    let (feeder, _, mill) = start().await;
    let over = subscribe(&mill, &SPARE).await;
    let name = over.node().to_string();
    mill.apply(score(2)).await.expect("nothing is wrong with it"); // the sink was declared at this revision
    let then = mill.revision().await;
    soon(over.close()).await.expect("it runs");
    let mut scores = subscribe(&mill, &SCORE).await;
    mill.apply(score(3)).await.expect("nothing is wrong with it");
    mill.rollback(None, then).await.expect("it is kept");
    assert!(!runs(&mill, &name).await, "nobody reads it any more");
    send(&feeder, 1..2).await;
    assert_eq!(soon(scores.next()).await.expect("it stays").value, 2.0);
    // A revision without the stream is not gone back to while somebody reads it.
    mill.apply(provide(Stream::<f32>::new("late")).needs(X).by(|x: f32| x)).await.expect("nothing is wrong with it");
    let late = subscribe(&mill, &Stream::<f32>::new("late")).await;
    let refused = mill.rollback(None, then).await.expect_err("it is read").to_string();
    assert!(refused.contains("asks for `late`, which nobody provides"), "{refused}");
    drop(late);
}

/// As an operator of the system would, where a subscriber does not read.
#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_whose_sink_is_removed_gets_what_was_under_way_and_ends() {
    let (feeder, _, mill) = start().await;
    let (mut scores, mut replaced) = (subscribe(&mill, &SCORE).await, subscribe(&mill, &SCORE).await);
    send(&feeder, 1..5).await;
    feeder.taken().await.expect("it runs");
    mill.remove(scores.node().clone()).await.expect("it is a node as others are");
    let name = replaced.node().clone();
    mill.apply(Deployment::new().put(sink("out").needs(SPARE).named(name.clone()))).await.expect("names are free");
    soon(mill.settled()).await;
    send(&feeder, 6..9).await;
    assert_eq!(rest(&mut scores).await.len(), 4);
    assert_eq!(rest(&mut replaced).await.len(), 4);
    drop((scores, replaced));
    tokio::time::sleep(A_WHILE).await;
    assert!(runs(&mill, &name).await, "what took its place is none of its");
    soon(mill.stop()).await.expect("it ends in order");
}

/// Bug: a deployment that is recorded was refused as made for another revision, or recorded as unchanged, when a host
/// deployed between its preview and its switch. Cause: it did not have the turn. Fix: it has, from its number to its record.
#[tokio::test(flavor = "multi_thread")]
async fn deployments_that_are_recorded_do_not_mind_subscribers_who_come_and_go() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("subscribe");
    let _ = std::fs::remove_dir_all(&folder); // what an earlier run left
    let (deployer, feeder, _) = constants::start(&folder, None).await;
    deployer.deploy(put([(0, "0".to_owned())]), &Terms::by("test")).await.expect("nothing is wrong with it");
    let mill = deployer.handle().clone();
    let coming_and_going = tokio::spawn(async move {
        loop {
            drop(subscribe(&mill, &constants::X).await);
        }
    });
    for number in 1..40 {
        let change = put([(0, number.to_string())]);
        let done = soon(deployer.deploy(change, &Terms::by("test"))).await.expect("nothing is wrong with it");
        assert_eq!(done.verdict, "applied");
        let record = deployer.record(done.revision).expect("it is kept");
        assert!(matches!(record.verdict, Verdict::Applied { .. }), "{:?}", record.verdict);
    }
    coming_and_going.abort();
    drop(feeder);
    soon(deployer.handle().finished()).await.expect("it ends in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_not_keep_the_system_alive() {
    let (feeder, _, mill) = start().await;
    let mut scores = subscribe(&mill, &SCORE).await;
    send(&feeder, 1..3).await;
    feeder.taken().await.expect("it runs");
    soon(mill.stop()).await.expect("it ends in order");
    drop(mill);
    assert_eq!(rest(&mut scores).await.len(), 2);
    soon(scores.close()).await.expect("there is nothing to close");
}
