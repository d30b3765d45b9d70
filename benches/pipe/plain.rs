//! The plain loop: polls, decodes, scores, produces, record by record, as a team would write it by hand; positions are
//! committed every 200 ms as far as predictions are delivered, and all of them at the end.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

use super::rows::{Prediction, Row};
use super::stages::{Place, Stages};
use super::{Options, Run, processor_seconds};

const COMMIT_INTERVAL: Duration = Duration::from_millis(200);
const TIMEOUT: Duration = Duration::from_secs(30);
/// As long as the engine's artifact.
const ARTIFACT: &str = "123660d7e1fb24c9190eea2dbf83f29cba033e88f1c6ab47c2cc0e8b3a486f94";

/// What is delivered: how many, and in each partition up to where. One producer keeps the order of a partition, as rows
/// and predictions of a key lie in partitions of the same number.
#[derive(Default)]
struct Delivered {
    count: AtomicU64,
    next: Mutex<HashMap<i32, i64>>,
    /// Where ages of rows are counted, if they are.
    stages: Option<Arc<Stages>>,
}

/// Where a row came from, and when it was produced.
struct From {
    partition: i32,
    offset: i64,
    time: i64,
}

#[derive(Clone)]
struct Reports(Arc<Delivered>);

impl ClientContext for Reports {}

impl ProducerContext for Reports {
    type DeliveryOpaque = Box<From>;

    fn delivery(&self, result: &DeliveryResult<'_>, from: Box<From>) {
        assert!(result.is_ok(), "a prediction was not delivered");
        let mut next = self.0.next.lock().unwrap_or_else(PoisonError::into_inner);
        let next = next.entry(from.partition).or_default();
        *next = (*next).max(from.offset + 1);
        self.0.count.fetch_add(1, Ordering::AcqRel);
        if let Some(stages) = &self.0.stages {
            stages.now(Place::Delivered, [from.time]);
        }
    }
}

/// The loop between two topics.
pub(super) struct Plain {
    consumer: BaseConsumer,
    producer: ThreadedProducer<Reports>,
    delivered: Arc<Delivered>,
    from: String,
    to: String,
}

impl Plain {
    /// Connects clients with the settings that the engine's source and sink have.
    pub(super) fn new(
        brokers: &str,
        (from, to): (&str, &str),
        group: &str,
        options: &Options,
        stages: Option<Arc<Stages>>,
    ) -> Result<Self, KafkaError> {
        let mut config = ClientConfig::new();
        options.consumer.iter().for_each(|(name, value)| {
            config.set(name, value);
        });
        let consumer: BaseConsumer = config
            .set("bootstrap.servers", brokers)
            .set("group.id", group)
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("partition.assignment.strategy", "cooperative-sticky")
            .create()?;
        let delivered = Arc::new(Delivered { stages, ..Delivered::default() });
        let mut config = ClientConfig::new();
        config.set("linger.ms", "5");
        options.producer.iter().for_each(|(name, value)| {
            config.set(name, value);
        });
        let producer = config
            .set("bootstrap.servers", brokers)
            .set("compression.type", "lz4")
            .set("message.timeout.ms", "0")
            .set("queue.buffering.max.messages", "200000")
            .set("queue.buffering.max.kbytes", "131072")
            .set("partitioner", "murmur2_random")
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .create_with_context(Reports(delivered.clone()))?;
        consumer.subscribe(&[from])?;
        Ok(Self { consumer, producer, delivered, from: from.to_owned(), to: to.to_owned() })
    }

    fn commit(&self, mode: CommitMode) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for (partition, next) in self.delivered.next.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            list.add_partition_offset(&self.from, *partition, Offset::Offset(*next))?;
        }
        if list.count() == 0 { Ok(()) } else { self.consumer.commit(&list, mode) }
    }

    /// Scores so many rows, and ends when all their predictions are delivered.
    pub(super) fn pump(&self, rows: usize) -> Result<Run, Box<dyn std::error::Error>> {
        let (mut line, mut count, mut began) = (Vec::new(), 0, None);
        let (mut committed, mut came) = (Instant::now(), Instant::now());
        while count < rows {
            let Some(message) = self.consumer.poll(Duration::from_millis(5)) else {
                if came.elapsed() > TIMEOUT {
                    return Err(format!("{count} of {rows} rows came, and no other within {TIMEOUT:?}").into());
                }
                continue;
            };
            let message = message?;
            came = Instant::now();
            let (started, _) = *began.get_or_insert_with(|| (Instant::now(), processor_seconds()));
            self.score(&message, &mut line)?;
            count += 1;
            if count % 256 == 0 && committed.max(started).elapsed() > COMMIT_INTERVAL {
                self.commit(CommitMode::Async)?;
                committed = Instant::now();
            }
        }
        while self.delivered.count.load(Ordering::Acquire) < rows as u64 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let (began, processor) = began.ok_or("no row came")?;
        let run = Run { seconds: began.elapsed().as_secs_f64(), processor_seconds: processor_seconds() - processor };
        self.commit(CommitMode::Sync)?;
        Ok(run)
    }

    fn score(&self, message: &BorrowedMessage<'_>, line: &mut Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
        let row: Row<'_> = serde_json::from_slice(message.payload().unwrap_or_default())?;
        let (partition, offset, time) = (message.partition(), message.offset(), row.ts);
        if let Some(stages) = &self.delivered.stages {
            stages.now(Place::Polled, [time]);
            stages.at(Place::Appended, message.timestamp().to_millis().map(|millis| (time, millis * 1000)));
        }
        let prediction = Prediction {
            key: row.device,
            time,
            stream: "score",
            value: row.score(),
            node: "score",
            artifact: ARTIFACT,
            revision: 1,
            source: "device",
            partition,
            offset,
            row: 0,
        };
        line.clear();
        serde_json::to_writer(&mut *line, &prediction)?;
        let place = Box::new(From { partition, offset, time });
        let mut record = BaseRecord::with_opaque_to(&self.to, place).key(row.device).payload(&line[..]);
        while let Err((error, back)) = self.producer.send(record) {
            if !matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull)) {
                return Err(error.into());
            }
            std::thread::sleep(Duration::from_millis(1));
            record = back;
        }
        if let Some(stages) = &self.delivered.stages {
            stages.now(Place::Written, [time]);
        }
        Ok(())
    }
}

pub(super) fn run(brokers: &str, options: &Options, round: usize) -> Result<Run, Box<dyn std::error::Error>> {
    Plain::new(brokers, ("rows", "by-plain-loop"), &format!("plain-{round}"), options, None)?.pump(options.rows)
}
