//! The trace that a record is part of comes out with what it let be computed: W3C Trace Context in Kafka's headers, read
//! and written by plain clients.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use gristmill::topology::{Topology, provide, sensor, sink};
use gristmill::traits::source::{PollLimits, Polled};
use gristmill::traits::{Axes, Decode, Source, SourceError};
use gristmill::words::{Offset, Span, TraceParent, Traces};
use gristmill::{Runtime, Stream};
use gristmill_operators::codec::row::TimeStyle;
use gristmill_operators::kafka;
use gristmill_tests::support::kafka::Broker;
use gristmill_tests::support::kafka_clients::{Reader, produce_with_headers};

const PARTITIONS: u32 = 2;
const DEVICES: usize = 9;
const RECORDS: usize = 900;
const START_MILLIS: i64 = 1_767_225_600_000;
const TIMEOUT: Duration = Duration::from_secs(60);

const LEVEL: Stream<f64> = Stream::new("level");
const TWICE: Stream<f64> = Stream::new("twice");
const MORE: Stream<f64> = Stream::new("more");

type Headers = Vec<(&'static str, Vec<u8>)>;

fn parent(record: usize) -> String {
    format!("00-{:032x}-{:016x}-0{}", record + 1, record + 7, record % 2)
}

/// The headers of a record, and the one that is to come out.
fn headers(record: usize) -> (Headers, Option<String>) {
    let good = parent(record);
    let bad = |text: String| (vec![("traceparent", text.into_bytes())], None);
    // Devices take turns, so that each has records of all kinds.
    match record % 10 {
        0..4 => (vec![("traceparent", good.clone().into_bytes())], Some(good)),
        4 => (vec![("tenant", b"a".to_vec()), ("traceparent", good.clone().into_bytes())], Some(good)),
        5 => bad(good.replace("00-", "01-")),
        6 => bad(good + "-"),
        7 => bad(format!("00-{}-{:016X}-01", "A".repeat(32), 11)),
        8 => (vec![("traceparent", good.clone().into_bytes()), ("traceparent", good.into_bytes())], None),
        _ => (Vec::new(), None),
    }
}

/// A source that says of each trace that it is the next record's.
struct Shifted(kafka::KafkaSource);

impl Source for Shifted {
    fn axes(&self) -> Axes {
        self.0.axes()
    }

    fn decoder(&self) -> Option<Arc<dyn Decode>> {
        self.0.decoder()
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Polled, SourceError> {
        let Polled::Batches(mut batches) = self.0.poll(limits)? else { return Ok(Polled::End) };
        for batch in &mut batches {
            let mut shifted = Traces::default();
            for offset in 0..RECORDS as i64 {
                batch.traces.of(Offset(offset)).into_iter().for_each(|parent| shifted.push(Offset(offset + 1), parent));
            }
            batch.traces = shifted;
        }
        Ok(Polled::Batches(batches))
    }

    fn commit(&mut self, partition: u32, next: Offset) -> Result<(), SourceError> {
        self.0.commit(partition, next)
    }

    fn close(&mut self) -> Result<(), SourceError> {
        self.0.close()
    }
}

/// Reads the topic to its end, and writes two streams of predictions to `out`.
async fn run(broker: &Broker, out: &str, reorder: Span, shifted: bool) {
    broker.create_topic(out, PARTITIONS);
    let tank = Topology::new("tank")
        .with(sensor(LEVEL))
        .with(provide(TWICE).needs(LEVEL).by(|level: f64| level * 2.0))
        .with(provide(MORE).needs(TWICE).by(|twice: f64| twice + 1.0))
        .with(sink("out").needs(TWICE).and(MORE));
    let source = kafka::source("levels").brokers(&broker.bootstrap()).group(out).start_at(kafka::StartAt::Earliest);
    let source = source.json(|r| r.key("tank").time("ts"));
    let sink = kafka::sink(out).brokers(&broker.bootstrap()).times(TimeStyle::Micros);
    let builder = Runtime::builder().topology(tank).sink("out", sink).shards(2);
    let mut builder = if shifted { builder.source(Shifted(source)) } else { builder.source(source) };
    builder.options_mut().intake.reorder = reorder;
    let handle = builder.start().await.expect("the runtime starts");
    let waiting = if reorder == Span::ZERO { 0 } else { DEVICES };
    let expected = 2 * (RECORDS - waiting) as u64;
    Reader::new(&broker.bootstrap(), out, PARTITIONS).wait_for(expected, TIMEOUT);
    handle.stop().await.expect("a stop in order");
}

/// How many predictions have the trace of the record that caused them, and how many have not what they should.
fn look(broker: &Broker, out: &str, expected: &HashMap<(u64, i64), Option<String>>) -> (usize, usize) {
    let (mut traced, mut wrong) = (0, 0);
    Reader::new(&broker.bootstrap(), out, PARTITIONS).read_with_headers(|_, headers, line| {
        let said: serde_json::Value = serde_json::from_slice(line).expect("predictions are JSON");
        let at = (said["partition"].as_u64().expect("a partition"), said["offset"].as_i64().expect("an offset"));
        let found: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value))).collect();
        let should: Vec<String> = expected[&at].iter().map(|parent| format!("traceparent: {parent}")).collect();
        traced += found.len();
        wrong += usize::from(found != should);
    });
    (traced, wrong)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prediction_is_part_of_the_trace_of_the_record_that_caused_it() {
    let broker = Broker::start();
    broker.create_topic("levels", PARTITIONS);
    let record = |number: usize| {
        let tank = format!("T{}", number % DEVICES);
        let value = format!(r#"{{"tank":"{tank}","ts":{},"level":{number}}}"#, START_MILLIS + 1_000 * number as i64);
        (tank, value, headers(number).0)
    };
    produce_with_headers(&broker.bootstrap(), "levels", (0..RECORDS).map(record));

    // Where each record came to lie.
    let mut expected = HashMap::new();
    Reader::new(&broker.bootstrap(), "levels", PARTITIONS).read(|partition, offset, _, line| {
        let said: serde_json::Value = serde_json::from_slice(line).expect("records are JSON");
        let number = usize::try_from(said["level"].as_u64().expect("a number")).expect("small");
        expected.insert((u64::from(partition.unsigned_abs()), offset), headers(number).1);
    });
    let good = expected.values().flatten().count();
    assert_eq!((expected.len(), good), (RECORDS, RECORDS / 2));
    assert!(expected.values().flatten().all(|parent| TraceParent::parse(parent.as_bytes()).is_some()));

    run(&broker, "plain", Span::ZERO, false).await;
    assert_eq!(look(&broker, "plain", &expected), (2 * good, 0));

    // A row that waits until it is in order is caused by the record that lets it go: the next of its tank, which comes
    // nine seconds later. The first record of a tank causes nothing.
    run(&broker, "in-order", Span::from_secs(5), false).await;
    let first = (0..DEVICES).filter(|record| headers(*record).1.is_some()).count();
    assert_eq!(look(&broker, "in-order", &expected), (2 * (good - first), 0));

    // With a source that mixes them up the same look finds it out.
    run(&broker, "shifted", Span::ZERO, true).await;
    let (_, wrong) = look(&broker, "shifted", &expected);
    assert!(wrong > RECORDS / 2, "{wrong} predictions with another trace");
}
