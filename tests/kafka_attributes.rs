//! Attributes of keys from a compacted topic of a real broker: known from the first row on, changed at recorded positions.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gristmill::clock::SystemClock;
use gristmill::deployer::Deployer;
use gristmill::in_process::{Collected, Feeder, Output, feed};
use gristmill::registry::{Record, RegistryFolder, Verdict};
use gristmill::topology::{Attributes, Topology, provide, sensor, sink};
use gristmill::traits::Clock;
use gristmill::traits::source::{Axes, RowsRecord};
use gristmill::words::{Column, ElementType, Key, Offset, Revision, Time, Value};
use gristmill::{Attribute, Builder, Runtime, Stream};
use gristmill_operators::kafka::{self, AttributeCounts, Following, KafkaAttributes, KafkaAttributesOptions};
use gristmill_operators::registry::registry;
use gristmill_tests::support::kafka::Broker;
use gristmill_tests::support::kafka_clients::{Reader, produce, produce_to, tombstone};
use gristmill_tests::support::kafka_proxy::{Api, Fault, Proxy};
use tokio::task::JoinHandle;

const LEVEL: Stream<f64> = Stream::new("level");
const RATED: Stream<f64> = Stream::new("rated");
const RATING: Attribute<f64> = Attribute::new("rating");

const KEYS: usize = 6;
/// Partitions of the rows' source, and of the topic of facts.
const PARTITIONS: u32 = 2;
/// So often each key has a row.
const TURN: Duration = Duration::from_millis(4);
const TIMEOUT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(20);

fn key(number: usize) -> String {
    format!("P{number}")
}

fn facts(rating: f64) -> String {
    format!(r#"{{"rating": {rating}, "site": "north"}}"#)
}

/// What was meant to be known of keys: for each key what its records say one after the other; the inner `None` is a
/// tombstone, the outer one a record that is refused.
type Meant = BTreeMap<String, Vec<Option<Option<f64>>>>;

fn create(broker: &Broker, topic: &str) {
    broker.create_topic_with(topic, PARTITIONS, &["cleanup.policy=compact"]);
}

fn tank(known: Attributes) -> Topology {
    // The level is a row's offset.
    Topology::new("tank")
        .attributes(known)
        .with(sensor(LEVEL))
        .with(provide(RATED).needs((LEVEL, RATING)).by(|_level: f64, rating: f64| rating))
        .with(sink("out").needs(RATED))
}

fn types() -> Attributes {
    Attributes::new().declare("rating", ElementType::F64)
}

/// Reads the topic, as a host does before it starts.
async fn read(options: KafkaAttributesOptions, topology: Topology) -> (Topology, KafkaAttributes) {
    let read = tokio::task::spawn_blocking(move || options.read(topology)).await.expect("it does not panic");
    read.expect("the topic can be read")
}

fn options(broker: &Broker, topic: &str) -> KafkaAttributesOptions {
    kafka::attributes(topic).brokers(&broker.bootstrap()).declare("site", ElementType::Str)
}

fn builder(topology: Topology) -> (Builder, Feeder, Collected) {
    let (feeder, source) = feed(Axes::Declared(vec![vec![("level".into(), ElementType::F64)]]));
    let values = Collected::default();
    let builder = Runtime::builder().topology(topology).source(source).sink("out", values.clone()).shards(2);
    (builder, feeder, values)
}

/// Sends a row for each key; returns the next offset.
async fn rows(feeder: &Feeder, offset: i64) -> i64 {
    for partition in 0..PARTITIONS {
        let of_partition = (0..KEYS).filter(|number| *number as u32 % PARTITIONS == partition);
        let rows = of_partition.enumerate().map(|(place, number)| RowsRecord {
            offset: Offset(offset + place as i64),
            log_time: None,
            key: key(number).into(),
            axis: 0,
            times: vec![Time::from_millis(offset)],
            columns: vec![Column::F64(vec![0.0])],
        });
        feeder.send(partition, rows.collect()).await.expect("it runs");
    }
    offset + (KEYS / PARTITIONS as usize) as i64
}

/// Rows that flow until this is ended.
struct Flow {
    ended: Arc<AtomicBool>,
    task: JoinHandle<i64>,
}

impl Flow {
    fn start(feeder: Feeder) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        let task = tokio::spawn(async move {
            let mut offset = 0;
            while !end.load(Ordering::Acquire) {
                offset = rows(&feeder, offset).await;
                tokio::time::sleep(TURN).await;
            }
            feeder.taken().await.expect("it runs");
            offset
        });
        Self { ended, task }
    }

    /// How many rows each partition had.
    async fn end(self) -> i64 {
        self.ended.store(true, Ordering::Release);
        self.task.await.expect("rows flow")
    }
}

/// Waits until something is so, and then until some rows more have come.
async fn until(following: &Following, done: impl Fn(AttributeCounts) -> bool) {
    let waited = async {
        while !done(following.counts()) {
            tokio::time::sleep(STEP).await;
        }
        tokio::time::sleep(TURN * 20).await;
    };
    let waited = tokio::time::timeout(TIMEOUT, waited).await;
    assert!(waited.is_ok(), "after {TIMEOUT:?} there are {:?}", following.counts());
}

/// What the topic was when a revision began: `topic `facts` up to 0:17 1:4`.
fn position(record: &Record) -> Option<Vec<(i32, i64)>> {
    let Verdict::Applied { changes } = &record.verdict else { panic!("{record:?}") };
    let (_, list) = changes.split_once(" up to ")?;
    let pair = |text: &str| {
        let (partition, next) = text.split_once(':').expect("partition:offset");
        (partition.parse().expect("a number"), next.parse().expect("a number"))
    };
    Some(list.trim_end_matches(')').split(' ').map(pair).collect())
}

/// What was known of each key in each revision, by what was meant and where its records came to lie.
fn known(records: &[Record], meant: &Meant, broker: &Broker, topic: &str) -> BTreeMap<Revision, BTreeMap<String, f64>> {
    let mut lies: BTreeMap<String, Vec<(i32, i64)>> = BTreeMap::new();
    Reader::new(&broker.bootstrap(), topic, PARTITIONS).read(|partition, offset, key, _| {
        lies.entry(key.to_owned()).or_default().push((partition, offset));
    });
    let at = |record: &Record| {
        let position = position(record);
        let mut known = BTreeMap::new();
        for (key, said) in meant {
            assert_eq!(said.len(), lies[key].len(), "all records of `{key}` are there");
            let is_read = |(partition, offset): &(i32, i64)| match &position {
                // The start has what was there before anything else was said; P5 came later.
                None => key != "P5" && lies[key][0] == (*partition, *offset),
                Some(read) => read.iter().any(|(of, next)| of == partition && offset < next),
            };
            let read = said.iter().zip(&lies[key]).filter(|(_, lies)| is_read(lies));
            if let Some(rating) = read.filter_map(|(said, _)| *said).next_back().flatten() {
                known.insert(key.clone(), rating);
            }
        }
        (record.revision, known)
    };
    records.iter().map(at).collect()
}

/// How many rows were not computed by what was known at their positions; lost and repeated ones too.
fn wrong(
    outputs: &[Output],
    rows: i64,
    records: &[Record],
    known: &BTreeMap<Revision, BTreeMap<String, f64>>,
) -> usize {
    let mut came: BTreeMap<(u32, i64), Vec<&Output>> = BTreeMap::new();
    for output in outputs {
        came.entry((output.partition, output.cause.offset.0)).or_default().push(output);
    }
    let mut wrong = 0;
    for partition in 0..PARTITIONS {
        for offset in 0..rows {
            let begun = |record: &&Record| record.positions.get(&partition).is_none_or(|from| from.0 <= offset);
            let revision = records.iter().rfind(begun).expect("the start").revision;
            let number = (offset as usize % (KEYS / PARTITIONS as usize)) * PARTITIONS as usize + partition as usize;
            let rating = known[&revision].get(&key(number));
            let is_right = match (came.get(&(partition, offset)).map(Vec::as_slice), rating) {
                (None, None) => true,
                (Some([output]), Some(rating)) => {
                    output.revision == revision
                        && output.key == Key::from(key(number))
                        && output.value == Value::F64(*rating)
                }
                _ => false,
            };
            wrong += usize::from(!is_right);
        }
    }
    wrong
}

/// Rows flow while a topic changes what is known of their keys. With `swapped` two changes of one key come to the topic
/// the other way round.
async fn changes_while_rows_flow(broker: &Broker, topic: &str, swapped: bool) -> usize {
    create(broker, topic);
    let mut meant = Meant::new();
    let mut mean = |key: &str, said: Option<Option<f64>>| meant.entry(key.to_owned()).or_default().push(said);
    // P5 has none before the start.
    for number in 0..KEYS - 1 {
        mean(&key(number), Some(Some(number as f64)));
    }
    let before = (0..KEYS - 1).map(|number| (key(number), facts(number as f64)));
    produce(&broker.bootstrap(), topic, before);

    let (topology, attributes) = read(options(broker, topic), tank(types())).await;
    let (builder, feeder, values) = builder(topology);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/tmp/sites").join(topic);
    let _ = std::fs::remove_dir_all(&folder); // what an earlier run left
    let revisions = RegistryFolder::open(&folder, Time::from_secs(1_700_000_000)).expect("the folder opens");
    let deployer = Deployer::start(builder, revisions, registry()).await.expect("it starts");
    let flow = Flow::start(feeder);
    tokio::time::sleep(TURN * 20).await;
    let (following, clock) = (attributes.follow(deployer.clone()).expect("it is followed"), SystemClock::default());

    let send = |key: &str, value: &str| produce(&broker.bootstrap(), topic, [(key.to_owned(), value.to_owned())]);
    mean("P5", Some(Some(50.0)));
    send("P5", &facts(50.0));
    until(&following, |counts| counts.changes >= 1).await;
    // Two of one key at once: the later counts.
    let both = [10.0, 20.0];
    both.iter().for_each(|rating| mean("P0", Some(Some(*rating))));
    let mut sent = both.map(|rating| ("P0".to_owned(), facts(rating)));
    if swapped {
        sent.reverse();
    }
    produce(&broker.bootstrap(), topic, sent);
    until(&following, |counts| counts.changes >= 2 && counts.records >= 8).await;
    // What cannot be read is refused; what the key had before stands, and others are not held up.
    for value in [r#"{"rating": "much"}"#, "{", r#"{"height": 5}"#] {
        mean("P1", None);
        send("P1", value);
    }
    mean("P2", Some(None));
    tombstone(&broker.bootstrap(), topic, "P2");
    until(&following, |counts| counts.changes >= 3 && counts.records >= 12).await;
    // What a record lacks is unknown.
    mean("P3", Some(None));
    send("P3", r#"{"site": "south"}"#);
    until(&following, |counts| counts.changes >= 4 && counts.records >= 13).await;
    for turn in 0..10 {
        let ratings = [0, 1, 2].map(|more| f64::from(turn * 3 + more) + 100.0);
        ratings.iter().for_each(|rating| mean("P4", Some(Some(*rating))));
        produce(&broker.bootstrap(), topic, ratings.map(|rating| ("P4".to_owned(), facts(rating))));
    }
    until(&following, |counts| counts.records == 43).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let offset = flow.end().await;
    deployer.handle().settled().await;
    let counts = following.counts();
    assert_eq!((counts.records, counts.refused, counts.keys), (43, 3, 5), "{counts:?}");
    let most = clock.monotonic().as_secs() + 2;
    assert!((5..=most).contains(&counts.changes), "one a second at most, {most}: {counts:?}");
    let records = deployer.records();
    assert_eq!(records.len() as u64, counts.changes + 1, "nothing else is deployed");
    assert!(records[1..].iter().all(|record| record.who == format!("topic {topic}") && !record.positions.is_empty()));
    let known = known(&records, &meant, broker, topic);
    let last = &known[&records[records.len() - 1].revision];
    let expected = [("P0", 20.0), ("P1", 1.0), ("P4", 129.0), ("P5", 50.0)];
    assert_eq!(*last, expected.map(|(key, rating)| (key.to_owned(), rating)).into());
    let wrong = wrong(&values.take(), offset, &records, &known);
    drop(following);
    deployer.handle().finished().await.expect("it ends in order");
    wrong
}

#[tokio::test(flavor = "multi_thread")]
async fn each_row_is_computed_by_what_was_known_at_its_recorded_position() {
    let broker = Broker::start();
    assert_eq!(changes_while_rows_flow(&broker, "facts", false).await, 0);
    // The same look finds out that two changes of one key came the other way round.
    let wrong = changes_while_rows_flow(&broker, "facts-swapped", true).await;
    assert!(wrong > 20, "{wrong} rows");
}

/// The rating that the next row of each key has; rows without one are not there.
async fn ratings(mill: &gristmill::Handle, feeder: &Feeder, values: &Collected, offset: &mut i64) -> Vec<String> {
    values.take();
    *offset = rows(feeder, *offset).await;
    feeder.taken().await.expect("it runs");
    mill.settled().await;
    let mut ratings: Vec<String> =
        values.take().iter().map(|output| format!("{}={}", output.key, output.value)).collect();
    ratings.sort();
    ratings
}

/// Waits until the rows of each key have these ratings.
async fn until_rated(
    mill: &gristmill::Handle,
    feeder: &Feeder,
    values: &Collected,
    offset: &mut i64,
    expected: &[&str],
) {
    let waited = tokio::time::timeout(TIMEOUT, async {
        while ratings(mill, feeder, values, offset).await != expected {
            tokio::time::sleep(STEP).await;
        }
    });
    if waited.await.is_err() {
        assert_eq!(ratings(mill, feeder, values, offset).await, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_gets_partitions_or_is_made_again_is_read_anew() {
    const MORE: usize = 40;
    let proxy = Proxy::start();
    let broker = Broker::start_behind(&proxy);
    create(&broker, "facts");
    let send = |key: String, rating: f64| produce(&broker.bootstrap(), "facts", [(key, facts(rating))]);
    send(key(0), 1.0);
    send(key(1), 2.0);
    let options =
        options(&broker, "facts").brokers(&proxy.bootstrap()).set("topic.metadata.refresh.interval.ms", "500");
    let (topology, attributes) = read(options, tank(types())).await;
    let (builder, feeder, values) = builder(topology);
    let mill = builder.start().await.expect("it starts");
    let following = attributes.follow(mill.clone()).expect("it is followed");
    let mut offset = 0;
    assert_eq!(ratings(&mill, &feeder, &values, &mut offset).await, ["P0=1", "P1=2"]);

    // Of so many keys some lie in each partition.
    broker.add_partitions("facts", 4);
    produce(&broker.bootstrap(), "facts", (2..MORE).map(|number| (key(number), facts(3.0))));
    let all = ["P0=1", "P1=2", "P2=3", "P3=3", "P4=3", "P5=3"];
    until_rated(&mill, &feeder, &values, &mut offset, &all).await;
    assert_eq!(following.counts().keys, MORE as u64);

    // The client looks when the topic is there again, with as many records as there were in each partition: neither
    // that it was gone nor the offsets tell it from the one before.
    let lies = Reader::new(&broker.bootstrap(), "facts", 4).ends();
    proxy.meet(Api::Metadata, Fault::Hold, 1_000);
    broker.delete_topic("facts");
    broker.create_topic("facts", 4);
    for (partition, records) in (0..).zip(lies) {
        produce_to(&broker.bootstrap(), "facts", partition, records.unsigned_abs() as usize);
    }
    send(key(4), 9.0);
    proxy.clear();
    proxy.release();
    until_rated(&mill, &feeder, &values, &mut offset, &["P4=9"]).await;

    let failures = following.counts().failures;
    broker.delete_topic("facts");
    until(&following, |counts| counts.failures > failures).await;
    assert_eq!(ratings(&mill, &feeder, &values, &mut offset).await, ["P4=9"], "what was known stands");
    create(&broker, "facts");
    send(key(5), 7.0);
    until_rated(&mill, &feeder, &values, &mut offset, &["P5=7"]).await;
    assert_eq!(following.counts().changes_refused, 0);
    drop(feeder);
    mill.finished().await.expect("it ends in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_on_with_what_is_known_while_the_broker_is_away() {
    let mut broker = Broker::start();
    create(&broker, "facts");
    let said = [("P1", facts(2.0)), ("P2", facts(3.0))].map(|(key, value)| (key.to_owned(), value));
    produce(&broker.bootstrap(), "facts", said);
    let mut file = types();
    for name in ["P0", "P1"] {
        file.set(name, "rating", &Value::F64(1.0)).expect("declared");
    }
    let (topology, attributes) = read(options(&broker, "facts"), tank(file)).await;
    let (builder, feeder, values) = builder(topology);
    let mill = builder.start().await.expect("it starts");
    let following = attributes.follow(mill.clone()).expect("it is followed");
    let mut offset = 0;
    assert_eq!(ratings(&mill, &feeder, &values, &mut offset).await, ["P0=1", "P1=2", "P2=3"], "over the file's");

    broker.kill();
    until(&following, |counts| counts.failures > 0).await;
    for _ in 0..10 {
        assert_eq!(ratings(&mill, &feeder, &values, &mut offset).await, ["P0=1", "P1=2", "P2=3"]);
    }
    broker.start_again();
    produce(&broker.bootstrap(), "facts", [("P2".to_owned(), facts(4.0))]);
    until(&following, |counts| counts.changes == 1).await;
    assert_eq!(ratings(&mill, &feeder, &values, &mut offset).await, ["P0=1", "P1=2", "P2=4"]);
    // All that the topic says is taken away: what lies under it is there.
    ["P1", "P2"].iter().for_each(|key| tombstone(&broker.bootstrap(), "facts", key));
    until(&following, |counts| counts.keys == 0 && counts.changes >= 2).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(ratings(&mill, &feeder, &values, &mut offset).await, ["P0=1", "P1=1"]);
    assert_eq!(following.counts().changes_refused, 0);
    drop(feeder);
    mill.finished().await.expect("it ends in order");

    let missing = tokio::task::spawn_blocking({
        let options = options(&broker, "fatcs");
        move || options.read(tank(types())).map(|_| ()).expect_err("there is none")
    });
    let missing = missing.await.expect("it does not panic");
    assert!(!missing.retry && missing.reason.contains(": topic-missing: "), "{missing}");
    assert!(!broker.topics().contains(&"fatcs".to_owned()), "it was not made by asking");
    let nowhere = kafka::attributes("facts").brokers("127.0.0.1:9");
    let nowhere = nowhere.set("security.protocol", "sasl_plaintext").set("sasl.mechanism", "PLAIN");
    let nowhere = nowhere.set("sasl.username", "reader").set("sasl.password", "hush");
    let down =
        tokio::task::spawn_blocking(move || nowhere.read(tank(types())).map(|_| ()).expect_err("nobody is there"));
    let down = down.await.expect("it does not panic");
    assert!(down.retry && down.reason.contains("no broker can be reached") && !down.reason.contains("hush"), "{down}");
}
