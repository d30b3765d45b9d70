//! Plain Kafka clients that share no code with ours: what they see is what is in the topic.
//!
//! All functions block and panic with a text that says what went wrong: they are for tests.
#![expect(clippy::disallowed_methods, reason = "waits for another process, whose time no Clock of ours can drive")]

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const TIMEOUT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(100);

/// Appends `(key, value)` records and waits until all are there; keys lie where Java's clients put them.
pub fn produce(brokers: &str, topic: &str, records: impl IntoIterator<Item = (String, String)>) {
    produce_with_headers(brokers, topic, records.into_iter().map(|(key, value)| (key, value, Vec::new())));
}

/// As `produce`, with headers.
pub fn produce_with_headers(
    brokers: &str,
    topic: &str,
    records: impl IntoIterator<Item = (String, String, Vec<(&'static str, Vec<u8>)>)>,
) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("partitioner", "murmur2_random")
        .set("enable.idempotence", "true")
        .set("linger.ms", "20")
        .set("compression.type", "lz4")
        .create()
        .expect("a producer");
    for (key, value, headers) in records {
        let mut record = BaseRecord::to(topic).key(&key).payload(&value);
        if !headers.is_empty() {
            let all = headers.iter().map(|(key, value)| Header { key, value: Some(value) });
            record.headers = Some(all.fold(OwnedHeaders::new(), OwnedHeaders::insert));
        }
        while let Err((error, back)) = producer.send(record) {
            let full = matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
            assert!(full, "producing to `{topic}`: {error}");
            producer.poll(STEP);
            record = back;
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(TIMEOUT).unwrap_or_else(|error| panic!("producing to `{topic}`: {error}"));
}

/// Appends so many small records to one partition, with keys of no meaning.
pub fn produce_to(brokers: &str, topic: &str, partition: i32, records: usize) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("enable.idempotence", "true")
        .create()
        .expect("a producer");
    // A partition that has just been made takes a moment to be known.
    for number in 0..records {
        let value = number.to_string();
        let record = BaseRecord::to(topic).partition(partition).key("k").payload(&value);
        producer.send(record).unwrap_or_else(|(error, _)| panic!("producing to `{topic}`: {error}"));
    }
    producer.flush(TIMEOUT).unwrap_or_else(|error| panic!("producing to `{topic}`: {error}"));
}

/// Appends records one by one, and waits for brokers that are away.
pub struct Feed {
    producer: BaseProducer,
    topic: String,
}

impl Feed {
    /// To a topic; keys lie where Java's clients put them, and no record is there twice.
    #[must_use]
    pub fn new(brokers: &str, topic: &str) -> Self {
        let producer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("partitioner", "murmur2_random")
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", "0")
            .create()
            .expect("a producer");
        Self { producer, topic: topic.to_owned() }
    }

    /// Appends a record, or lets it wait.
    ///
    /// # Panics
    /// When the producer can not go on.
    pub fn send(&self, (key, value): (String, String)) {
        let mut record = BaseRecord::to(&self.topic).key(&key).payload(&value);
        while let Err((error, back)) = self.producer.send(record) {
            let full = matches!(error, KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull));
            assert!(full, "producing to `{}`: {error}", self.topic);
            self.producer.poll(STEP);
            record = back;
        }
    }

    /// Lets so much time pass.
    pub fn poll(&self, time: Duration) {
        self.producer.poll(time);
    }

    /// Waits until all records are there.
    ///
    /// # Panics
    /// When they are not after a minute.
    pub fn delivered(&self) {
        self.producer.flush(TIMEOUT).unwrap_or_else(|error| panic!("producing to `{}`: {error}", self.topic));
    }
}

/// Appends a record without a value.
pub fn tombstone(brokers: &str, topic: &str, key: &str) {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("partitioner", "murmur2_random")
        .create()
        .expect("a producer");
    let record: BaseRecord<'_, str, str> = BaseRecord::to(topic).key(key);
    producer.send(record).unwrap_or_else(|(error, _)| panic!("producing to `{topic}`: {error}"));
    producer.flush(TIMEOUT).unwrap_or_else(|error| panic!("producing to `{topic}`: {error}"));
}

/// A reader without a group.
pub struct Reader {
    consumer: BaseConsumer,
    topic: String,
    partitions: i32,
}

impl Reader {
    /// Reads a topic of so many partitions.
    #[must_use]
    pub fn new(brokers: &str, topic: &str, partitions: u32) -> Self {
        let consumer = ClientConfig::new()
            .set("bootstrap.servers", brokers)
            .set("group.id", "nobody")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .create()
            .expect("a consumer");
        let partitions = i32::try_from(partitions).expect("few partitions");
        Self { consumer, topic: topic.to_owned(), partitions }
    }

    /// The offset that the next record of each partition will get.
    #[must_use]
    pub fn ends(&self) -> Vec<i64> {
        (0..self.partitions).map(|partition| self.end(partition)).collect()
    }

    fn end(&self, partition: i32) -> i64 {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match self.consumer.fetch_watermarks(&self.topic, partition, TIMEOUT) {
                Ok((_, end)) => return end,
                // A broker that has just come back has its leaders a moment later.
                Err(error) => assert!(Instant::now() < deadline, "where `{}` ends: {error}", self.topic),
            }
            std::thread::sleep(STEP);
        }
    }

    /// Waits until the topic has so many records.
    ///
    /// # Panics
    /// When it does not get them within `timeout`.
    pub fn wait_for(&self, records: u64, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        loop {
            let there = self.ends().iter().sum::<i64>().unsigned_abs();
            if there >= records {
                return;
            }
            assert!(Instant::now() < deadline, "`{}` has {there} of {records} records after {timeout:?}", self.topic);
            std::thread::sleep(STEP);
        }
    }

    /// Hands over every record that is there now: its partition, its offset, its key and its value. Returns how many.
    ///
    /// # Panics
    /// When nothing comes for a minute though there should be more.
    pub fn read(&self, mut take: impl FnMut(i32, i64, &str, &[u8])) -> u64 {
        self.read_messages(|message| {
            let key = std::str::from_utf8(message.key().unwrap_or_default()).expect("keys are text");
            take(message.partition(), message.offset(), key, message.payload().unwrap_or_default());
        })
    }

    /// As `read`: its key, its headers and its value.
    ///
    /// # Panics
    /// As `read`.
    pub fn read_with_headers(&self, mut take: impl FnMut(&str, &[(String, Vec<u8>)], &[u8])) -> u64 {
        self.read_messages(|message| {
            let key = std::str::from_utf8(message.key().unwrap_or_default()).expect("keys are text");
            let headers = message.headers().into_iter().flat_map(Headers::iter);
            let headers: Vec<(String, Vec<u8>)> =
                headers.map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec())).collect();
            take(key, &headers, message.payload().unwrap_or_default());
        })
    }

    fn read_messages(&self, mut take: impl FnMut(&BorrowedMessage<'_>)) -> u64 {
        let ends = self.ends();
        let mut all = TopicPartitionList::new();
        for partition in 0..self.partitions {
            all.add_partition_offset(&self.topic, partition, Offset::Beginning).expect("an offset");
        }
        self.consumer.assign(&all).expect("an assignment");
        let mut left: i64 = ends.iter().sum();
        let mut count = 0;
        while left > 0 {
            let message = self.next().unwrap_or_else(|| panic!("{left} records did not come within {TIMEOUT:?}"));
            let message: BorrowedMessage<'_> = message.unwrap_or_else(|error| panic!("`{}`: {error}", self.topic));
            // Those that came after `ends` was asked are not counted.
            if message.offset() < ends[usize::try_from(message.partition()).expect("a partition")] {
                take(&message);
                (left, count) = (left - 1, count + 1);
            }
        }
        self.consumer.unassign().expect("an assignment");
        count
    }

    /// The next record; a poll may end early without one.
    fn next(&self) -> Option<Result<BorrowedMessage<'_>, KafkaError>> {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            match self.consumer.poll(STEP) {
                None if Instant::now() < deadline => {}
                polled => return polled,
            }
        }
    }
}
