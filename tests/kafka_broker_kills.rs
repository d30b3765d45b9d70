//! The broker is killed and comes back, again and again, while rows flow through one runtime: source and sink recover by
//! themselves, and nothing is missing at the end. What is read or written twice is counted.
//!
//! 3 kills; as many as `GRISTMILL_BROKER_KILLS` says otherwise.
#![expect(clippy::disallowed_methods, reason = "waits for another process, whose time no Clock of ours can drive")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use gristmill::topology::{Topology, provide, sensor, sink};
use gristmill::{Handle, Runtime, Stream};
use gristmill_operators::codec::row::TimeStyle;
use gristmill_operators::kafka;
use gristmill_tests::support::kafka::{Broker, total_lag};
use gristmill_tests::support::kafka_clients::{Feed, Reader};
use gristmill_tests::support::recorder::Recorded;

const PARTITIONS: u32 = 4;
const DEVICES: usize = 50;
/// Rows a second, as long as the broker is there.
const RATE: u32 = 2_000;
const START_MILLIS: i64 = 1_767_225_600_000;
const TIMEOUT: Duration = Duration::from_secs(120);

const LEVEL: Stream<f64> = Stream::new("level");
const TWICE: Stream<f64> = Stream::new("twice");

fn kills() -> u64 {
    match std::env::var("GRISTMILL_BROKER_KILLS") {
        Ok(said) => said.parse().expect("GRISTMILL_BROKER_KILLS is a number"),
        Err(_) => 3,
    }
}

async fn start(broker: &Broker) -> Handle {
    let tank = Topology::new("tank")
        .with(sensor(LEVEL))
        .with(provide(TWICE).needs(LEVEL).by(|level: f64| level * 2.0))
        .with(sink("out").needs(TWICE));
    let source = kafka::source("levels").brokers(&broker.bootstrap()).group("tanks");
    let source = source.json(|r| r.key("tank").time("ts"));
    let sink = kafka::sink("twice").brokers(&broker.bootstrap()).times(TimeStyle::Micros);
    let builder = Runtime::builder().topology(tank).source(source).sink("out", sink).shards(1);
    builder.start().await.expect("the runtime starts")
}

/// Each row of all devices has a time of its own.
fn row(number: usize) -> (String, String) {
    let tank = format!("T{}", number % DEVICES);
    let value = format!(r#"{{"tank":"{tank}","ts":{},"level":{number}}}"#, START_MILLIS + number as i64);
    (tank, value)
}

/// Feeds rows until it is told to stop; how many there are.
fn feed(brokers: &str, stop: &AtomicBool) -> usize {
    let feed = Feed::new(brokers, "levels");
    let (began, mut number) = (Instant::now(), 0);
    while !stop.load(Ordering::Acquire) {
        while (number as f64) < began.elapsed().as_secs_f64() * f64::from(RATE) {
            feed.send(row(number));
            number += 1;
        }
        feed.poll(Duration::from_millis(5));
    }
    feed.delivered();
    number
}

/// A number from 0 to 1, from a seed.
fn drawn(seed: u64) -> f64 {
    let mixed = (seed.wrapping_add(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 40) as f64 / (1_u64 << 24) as f64
}

/// How often each row has been predicted; each time rightly.
fn predicted(reader: &Reader) -> HashMap<usize, u32> {
    let mut seen = HashMap::new();
    reader.read(|_, _, _, line| {
        let said: serde_json::Value = serde_json::from_slice(line).expect("predictions are JSON");
        let millis = said["time"].as_i64().expect("a time") / 1_000;
        let row = usize::try_from(millis - START_MILLIS).expect("a row");
        assert_eq!(said["value"].as_f64(), Some(row as f64 * 2.0));
        *seen.entry(row).or_default() += 1;
    });
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missing_after_the_broker_was_killed_under_load() {
    let (kills, recorded) = (kills(), Recorded::default());
    let mut broker = Broker::start();
    broker.create_topic("levels", PARTITIONS);
    broker.create_topic("twice", PARTITIONS);
    let local = metrics::set_default_local_recorder(&recorded);
    let handle = start(&broker).await;
    drop(local);
    let (stop, brokers) = (Arc::new(AtomicBool::new(false)), broker.bootstrap());
    let (stopped, to) = (stop.clone(), brokers.clone());
    let feeding = thread::spawn(move || feed(&to, &stopped));
    let reader = Reader::new(&brokers, "twice", PARTITIONS);
    reader.wait_for(1_000, TIMEOUT);
    let mut slowest = Duration::ZERO;
    for kill in 0..kills {
        tokio::time::sleep(Duration::from_millis(500 + (drawn(kill) * 2_500.0) as u64)).await;
        let before: i64 = reader.ends().iter().sum();
        broker.kill();
        tokio::time::sleep(Duration::from_millis((drawn(kill + 1_000) * 1_500.0) as u64)).await;
        broker.start_again();
        let back = Instant::now();
        reader.wait_for(before.unsigned_abs() + 1_000, TIMEOUT);
        slowest = slowest.max(back.elapsed());
    }
    stop.store(true, Ordering::Release);
    let rows = feeding.join().expect("all rows are fed");
    reader.wait_for(rows as u64, TIMEOUT);
    let deadline = Instant::now() + TIMEOUT;
    while total_lag(&broker.consumer_group_lag("tanks")) > 0 {
        assert!(Instant::now() < deadline, "the group lags: {:?}", broker.consumer_group_lag("tanks"));
    }
    let intake = handle.report(None).await.expect("the runtime runs").intake;
    handle.stop().await.expect("a stop in order");

    // A client of its own: the other has seen the broker die.
    let seen = predicted(&Reader::new(&brokers, "twice", PARTITIONS));
    let missing = (0..rows).filter(|row| !seen.contains_key(row)).count();
    let repeated: u32 = seen.values().map(|count| count - 1).sum();
    let read_again = intake.late + intake.duplicate;
    let poll_errors = recorded.counter("gristmill_poll_errors_total{class=tank}");
    eprintln!(
        "{kills} kills, {rows} rows: {missing} missing, {repeated} predictions repeated, {read_again} rows read again and \
         dropped, {poll_errors} poll errors; the slowest recovery took {:.1} s from the broker's return",
        slowest.as_secs_f64()
    );
    assert_eq!((missing, seen.len()), (0, rows));
    assert!(poll_errors >= kills, "{poll_errors} poll errors of {kills} kills");
}
