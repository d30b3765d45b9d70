//! The plain loop: polls, decodes, scores, produces, record by record, as a team would write it by hand; positions are
//! committed every 200 ms as far as predictions are delivered, and all of them at the end.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use super::rows::{Prediction, Row};
use super::{Options, Run, processor_seconds};

const COMMIT_INTERVAL: Duration = Duration::from_millis(200);
/// As long as the engine's artifact.
const ARTIFACT: &str = "123660d7e1fb24c9190eea2dbf83f29cba033e88f1c6ab47c2cc0e8b3a486f94";

/// What is delivered: how many, and in each partition up to where. One producer keeps the order of a partition, as rows
/// and predictions of a key lie in partitions of the same number.
#[derive(Default)]
struct Delivered {
    count: AtomicU64,
    next: Mutex<HashMap<i32, i64>>,
}

#[derive(Clone)]
struct Reports(Arc<Delivered>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<(i32, i64)>;

    fn delivery(&self, result: &DeliveryResult<'_>, place: Box<(i32, i64)>) {
        assert!(result.is_ok(), "a prediction was not delivered");
        let mut next = self.0.next.lock().unwrap_or_else(PoisonError::into_inner);
        let next = next.entry(place.0).or_default();
        *next = (*next).max(place.1 + 1);
        self.0.count.fetch_add(1, Ordering::AcqRel);
    }
}

/// The settings that the engine's source and sink have.
fn clients(
    brokers: &str,
    group: &str,
) -> Result<(BaseConsumer, ThreadedProducer<Reports>, Arc<Delivered>), KafkaError> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .create()?;
    let delivered = Arc::new(Delivered::default());
    let producer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("linger.ms", "5")
        .set("compression.type", "lz4")
        .set("message.timeout.ms", "0")
        .set("queue.buffering.max.messages", "200000")
        .set("queue.buffering.max.kbytes", "131072")
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .create_with_context(Reports(delivered.clone()))?;
    Ok((consumer, producer, delivered))
}

fn commit(consumer: &BaseConsumer, delivered: &Delivered, mode: CommitMode) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    for (partition, next) in delivered.next.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        list.add_partition_offset("rows", *partition, Offset::Offset(*next))?;
    }
    if list.count() == 0 { Ok(()) } else { consumer.commit(&list, mode) }
}

pub(super) fn run(brokers: &str, options: &Options, round: usize) -> Result<Run, Box<dyn std::error::Error>> {
    let (consumer, producer, delivered) = clients(brokers, &format!("plain-{round}"))?;
    consumer.subscribe(&["rows"])?;
    let (mut line, mut count, mut began) = (Vec::new(), 0, None);
    let mut committed = Instant::now();
    while count < options.rows {
        let Some(message) = consumer.poll(Duration::from_millis(5)) else { continue };
        let message = message?;
        let (started, _) = *began.get_or_insert_with(|| (Instant::now(), processor_seconds()));
        let row: Row<'_> = serde_json::from_slice(message.payload().unwrap_or_default())?;
        let prediction = Prediction {
            key: row.device,
            time: row.ts,
            stream: "score",
            value: row.score(),
            node: "score",
            artifact: ARTIFACT,
            revision: 1,
            source: "device",
            partition: message.partition(),
            offset: message.offset(),
            row: 0,
        };
        line.clear();
        serde_json::to_writer(&mut line, &prediction)?;
        let place = Box::new((message.partition(), message.offset()));
        let mut record = BaseRecord::with_opaque_to("by-plain-loop", place).key(row.device).payload(&line);
        while let Err((error, back)) = producer.send(record) {
            if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                return Err(error.into());
            }
            std::thread::sleep(Duration::from_millis(1));
            record = back;
        }
        count += 1;
        if count % 256 == 0 && committed.max(started).elapsed() > COMMIT_INTERVAL {
            commit(&consumer, &delivered, CommitMode::Async)?;
            committed = Instant::now();
        }
    }
    while delivered.count.load(Ordering::Acquire) < options.rows as u64 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let (began, processor) = began.ok_or("no row came")?;
    let run = Run { seconds: began.elapsed().as_secs_f64(), processor_seconds: processor_seconds() - processor };
    commit(&consumer, &delivered, CommitMode::Sync)?;
    Ok(run)
}
