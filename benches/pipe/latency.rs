//! How long a row takes from a client that produces it to one that consumes its prediction.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::Serialize;

use super::rows::{Prediction, json, key};
use super::{Options, engine};

/// Before this, caches and connections are cold.
const WARM_UP: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(100);

/// Milliseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Latency {
    /// Half of all rows take less.
    pub p50: f64,
    /// 90 of 100 rows take less.
    pub p90: f64,
    /// 99 of 100 rows take less.
    pub p99: f64,
    /// 999 of 1,000 rows take less.
    pub p999: f64,
    /// The slowest row.
    pub(crate) max: f64,
    /// Rows measured.
    pub(crate) rows: usize,
}

fn micros() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

pub(super) async fn run(brokers: &str, options: &Options, rate: f64) -> Result<Latency, Box<dyn std::error::Error>> {
    let (handle, _) = engine::start(brokers, ("live", "live-predictions"), "live", options.shards).await?;
    let rows = ((WARM_UP + options.latency).as_secs_f64() * rate) as usize;
    let (there, devices, partitions) = (brokers.to_owned(), options.devices, options.partitions);
    let consuming = std::thread::spawn(move || consume(&there, partitions, rows).map_err(|error| error.to_string()));
    let there = brokers.to_owned();
    let producing = std::thread::spawn(move || produce(&there, rows, devices, rate).map_err(|error| error.to_string()));
    let produced = tokio::task::spawn_blocking(move || producing.join()).await?;
    produced.map_err(|_| "the producer failed")??;
    let consumed = tokio::task::spawn_blocking(move || consuming.join()).await?;
    let intake = handle.report(None).await?.intake;
    let consumed = consumed.map_err(|_| "the consumer failed")?;
    let mut took: Vec<i64> = consumed.map_err(|error| format!("{error}; the engine's intake: {intake:?}"))?;
    handle.stop().await?;
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize] as f64 / 1e3;
    Ok(Latency { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1.0), rows: took.len() })
}

/// Sends each row when it is due; its event time is when it is handed to the client.
fn produce(brokers: &str, rows: usize, devices: usize, rate: f64) -> Result<(), Box<dyn std::error::Error>> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("partitioner", "murmur2_random")
        .set("linger.ms", "1")
        // Five requests in flight: when the broker is slow, batches grow instead of requests piling up before it.
        .set("enable.idempotence", "true")
        .create()?;
    // The engine and the consumer join first.
    std::thread::sleep(Duration::from_secs(4));
    let (began, mut last) = (Instant::now(), 0);
    let mut sent = 0;
    while sent < rows {
        let due = ((began.elapsed().as_secs_f64() * rate) as usize).min(rows);
        for number in sent..due {
            // Times of a device rise.
            last = micros().max(last + 1);
            let (key, value) = (key(number % devices), json(number, devices, last));
            producer.send(BaseRecord::to("live").key(&key).payload(&value)).map_err(|(error, _)| error)?;
        }
        sent = due;
        producer.poll(Duration::ZERO);
        std::thread::sleep(Duration::from_micros(500));
    }
    Ok(producer.flush(TIMEOUT)?)
}

/// How long each row took that came after the warm-up, in microseconds.
fn consume(brokers: &str, partitions: u32, rows: usize) -> Result<Vec<i64>, Box<dyn std::error::Error>> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "nobody")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut all = TopicPartitionList::new();
    for partition in 0..i32::try_from(partitions)? {
        all.add_partition_offset("live-predictions", partition, Offset::Beginning)?;
    }
    consumer.assign(&all)?;
    let (mut took, mut first) = (Vec::with_capacity(rows), None);
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
        let now = micros();
        let said: Prediction<'_> = serde_json::from_slice(message.payload().unwrap_or_default())?;
        if said.time - *first.get_or_insert(said.time) >= WARM_UP.as_micros() as i64 {
            took.push(now - said.time);
        }
    }
    if took.is_empty() { Err("no row came after the warm-up".into()) } else { Ok(took) }
}
