//! Two runtimes in one consumer group: partitions go from one to the other while rows flow, and come back. Everything is
//! done, and nothing twice: what a member has read of a partition is done before it gives the partition away.
#![expect(clippy::disallowed_methods, reason = "waits for another process, whose time no Clock of ours can drive")]

use std::collections::HashMap;
use std::time::{Duration, Instant};

use gristmill::topology::{Topology, provide, sensor, sink};
use gristmill::{Handle, Runtime, Stream};
use gristmill_operators::codec::row::TimeStyle;
use gristmill_operators::kafka;
use gristmill_tests::support::kafka::{Broker, total_lag};
use gristmill_tests::support::kafka_clients::{Reader, produce};

const PARTITIONS: u32 = 4;
const DEVICES: usize = 40;
const BATCH: usize = 400;
const TIMEOUT: Duration = Duration::from_secs(60);

const LEVEL: Stream<f64> = Stream::new("level");
const TWICE: Stream<f64> = Stream::new("twice");

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

/// The next rows of all devices, beginning with number `first`.
fn more(broker: &Broker, first: usize) -> usize {
    let row = |number: usize| {
        let tank = format!("T{}", number % DEVICES);
        let value = format!(r#"{{"tank":"{tank}","ts":{},"level":{number}}}"#, 1_767_225_600_000 + number as i64);
        (tank, value)
    };
    produce(&broker.bootstrap(), "levels", (first..first + BATCH).map(row));
    first + BATCH
}

async fn rows(handle: &Handle) -> u64 {
    let intake = handle.report(None).await.expect("the runtime runs").intake;
    assert_eq!((intake.late, intake.duplicate, intake.refused), (0, 0, 0), "nothing is read twice");
    intake.rows
}

/// Rows flow until `enough` has been told what each of the members has read.
async fn flow(broker: &Broker, produced: &mut usize, members: [&Handle; 2], enough: impl Fn([u64; 2]) -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        *produced = more(broker, *produced);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let read = [rows(members[0]).await, rows(members[1]).await];
        if enough(read) {
            return;
        }
        assert!(Instant::now() < deadline, "after {TIMEOUT:?} the members have read {read:?} of {produced}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_go_to_another_member_and_come_back() {
    let broker = Broker::start();
    broker.create_topic("levels", PARTITIONS);
    broker.create_topic("twice", PARTITIONS);
    let first = start(&broker).await;
    let mut produced = 0;
    flow(&broker, &mut produced, [&first, &first], |read| read[0] > 2_000).await;
    let second = start(&broker).await;
    flow(&broker, &mut produced, [&first, &second], |read| read[1] > 2_000).await;
    second.stop().await.expect("a stop in order");
    let of_second = rows(&second).await;
    let of_first = rows(&first).await;
    flow(&broker, &mut produced, [&first, &second], |read| read[0] > of_first + 4_000).await;
    Reader::new(&broker.bootstrap(), "twice", PARTITIONS).wait_for(produced as u64, TIMEOUT);
    first.stop().await.expect("a stop in order");
    assert!(of_second > 2_000 && of_second < produced as u64, "{of_second} of {produced} rows were the second's");

    let mut seen: HashMap<usize, u32> = HashMap::new();
    Reader::new(&broker.bootstrap(), "twice", PARTITIONS).read(|_, _, _, line| {
        let said: serde_json::Value = serde_json::from_slice(line).expect("predictions are JSON");
        let time = usize::try_from(said["time"].as_i64().expect("a time") / 1000 - 1_767_225_600_000).expect("a row");
        assert_eq!(said["value"].as_f64(), Some(time as f64 * 2.0));
        *seen.entry(time).or_default() += 1;
    });
    let missing = (0..produced).filter(|row| !seen.contains_key(row)).count();
    let repeated: u32 = seen.values().map(|count| count - 1).sum();
    assert_eq!((missing, repeated), (0, 0));
    assert_eq!(total_lag(&broker.consumer_group_lag("tanks")), 0);
}
