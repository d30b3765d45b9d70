//! How long a row takes from a client that produces it to one that consumes its prediction, and where that time goes.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use gristmill_tests::support::kafka::Broker;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::plain::Plain;
use super::rows::{json, key};
use super::stages::{Age, Place, Stages, micros, produced_at};
use super::{Options, engine};

/// Before this, caches and connections are cold.
const WARM_UP: Duration = Duration::from_secs(2);
/// The engine or the loop, and the consumer, join first.
const JOIN: Duration = Duration::from_secs(4);
const TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// Whose rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    Engine,
    Plain,
}

type Failure = Box<dyn std::error::Error>;

/// Rows at a rate, on topics of their own: how old they are at each place.
pub(super) fn run(broker: &Broker, options: &Options, by: By, round: usize, rate: f64) -> Result<Vec<Age>, Failure> {
    let brokers = broker.bootstrap();
    let topics = [format!("live-{by:?}-{round}"), format!("live-predictions-{by:?}-{round}")];
    for topic in &topics {
        broker.create_topic_with(topic, options.partitions, &["message.timestamp.type=LogAppendTime"]);
    }
    let stages = Arc::new(Stages::new());
    let rows = ((WARM_UP + options.latency).as_secs_f64() * rate) as usize;
    let [from, to] = [topics[0].as_str(), topics[1].as_str()];
    std::thread::scope(|scope| {
        let said = |error: Failure| error.to_string();
        let (brokers, stages) = (&brokers, &stages);
        let consuming = scope.spawn(move || consume(brokers, to, options.partitions, rows, stages).map_err(said));
        let producing = scope.spawn(move || produce(brokers, from, rows, options, rate, stages).map_err(said));
        let result = match by {
            By::Engine => {
                let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
                let started = engine::start(brokers, (from, to), from, options, Some(stages.clone()));
                let (handle, _) = tokio.block_on(started)?;
                producing.join().map_err(|_| "the producer failed")??;
                let consumed = consuming.join().map_err(|_| "the consumer failed")?;
                let intake = tokio.block_on(handle.report(None))?.intake;
                tokio.block_on(handle.stop())?;
                consumed.map_err(|error| format!("{error}; the engine's intake: {intake:?}"))
            }
            By::Plain => {
                Plain::new(brokers, (from, to), from, options, Some(stages.clone()))?.pump(rows)?;
                producing.join().map_err(|_| "the producer failed")??;
                consuming.join().map_err(|_| "the consumer failed")?
            }
        };
        Ok(result.map(|()| stages.ages())?)
    })
}

/// Sends each row when it is due; its event time is when it is handed to the client.
fn produce(brokers: &str, to: &str, rows: usize, options: &Options, rate: f64, stages: &Stages) -> Result<(), Failure> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("partitioner", "murmur2_random")
        .set("linger.ms", options.rows_linger_ms.to_string())
        // Five requests in flight: when the broker is slow, batches grow instead of requests piling up before it.
        .set("enable.idempotence", "true")
        .create()?;
    std::thread::sleep(JOIN);
    let (began, mut last) = (Instant::now(), 0);
    stages.begin(micros() + WARM_UP.as_micros() as i64);
    let mut sent = 0;
    while sent < rows {
        let due = ((began.elapsed().as_secs_f64() * rate) as usize).min(rows);
        for number in sent..due {
            // Times of a device rise.
            last = micros().max(last + 1);
            let (key, value) = (key(number % options.devices), json(number, options.devices, last));
            let mut record = BaseRecord::to(to).key(&key).payload(&value);
            while let Err((error, back)) = producer.send(record) {
                if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                    return Err(error.into());
                }
                producer.poll(Duration::from_millis(1));
                record = back;
            }
        }
        sent = due;
        producer.poll(Duration::ZERO);
        std::thread::sleep(Duration::from_micros(500));
    }
    Ok(producer.flush(TIMEOUT)?)
}

/// Takes a prediction for each row.
fn consume(brokers: &str, from: &str, partitions: u32, rows: usize, stages: &Stages) -> Result<(), Failure> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "nobody")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut all = TopicPartitionList::new();
    for partition in 0..i32::try_from(partitions)? {
        all.add_partition_offset(from, partition, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    for came in 0..rows {
        let late = || format!("{came} of {rows} predictions came, and no other within {TIMEOUT:?}");
        // A poll may end early without a record.
        let deadline = Instant::now() + TIMEOUT;
        let message = loop {
            match consumer.poll(POLL) {
                Some(message) => break message?,
                None if Instant::now() > deadline => return Err(late().into()),
                None => {}
            }
        };
        let time =
            produced_at(message.payload().unwrap_or_default(), b"\"time\":").ok_or("a prediction without a time")?;
        stages.now(Place::Received, [time]);
        stages.at(Place::AppendedOut, message.timestamp().to_millis().map(|millis| (time, millis * 1000)));
    }
    Ok(())
}
