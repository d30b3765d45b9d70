//! The consumer of a topic of attributes: all partitions from their beginnings, without a group.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gristmill::clock::SystemClock;
use gristmill::traits::{Clock, SourceError};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;
use rdkafka::{Offset, TopicPartitionList};

use super::super::errors::Trouble;
use super::super::source::not_there;
use super::super::words::{DEBUG_AREA, Words, changed_id};
use super::KafkaAttributesOptions;
use super::facts::Facts;

/// How long brokers may take to say which topics there are.
const METADATA_TIMEOUT: Duration = Duration::from_secs(10);
/// How long nothing may come before the end of the topic is reached.
const STALL_MAX: Duration = Duration::from_secs(30);
/// How long a poll waits: that long a stop takes at most.
const STEP: Duration = Duration::from_millis(100);
/// Refused records that get a warning each, of those that come one after the other.
const REFUSALS_TOLD: u64 = 20;

/// What the client says of itself.
struct Listener {
    topic: String,
    words: Words,
    /// The topic has another id than before.
    remade: AtomicBool,
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if changed_id(message).is_some_and(|(topic, _, again)| again && topic == self.topic) {
            self.remade.store(true, Ordering::Release);
        }
        self.words.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let reason = self.words.error(&error, reason);
        tracing::warn!(target: "librdkafka", topic = self.topic, %error, reason);
    }
}

impl ConsumerContext for Listener {}

/// A consumer that has all partitions of the topic.
pub(super) struct Reading {
    consumer: BaseConsumer<Listener>,
    partitions: usize,
    /// Refused records since the last that was not.
    refusals: u64,
}

/// What a poll brought.
pub(super) enum Came {
    Nothing,
    /// A record, and whether anything else is known since.
    Record(bool),
    /// There was nothing more in this partition at that moment.
    End(i32),
}

impl Reading {
    /// Connects, and reads up to where the topic ends now. Ends early when `stopped` says so.
    pub(super) fn from_beginning(
        options: &KafkaAttributesOptions,
        facts: &mut Facts,
        stopped: &dyn Fn() -> bool,
    ) -> Result<Self, SourceError> {
        let mut reading = Self::connect(options)?;
        let topic = &options.topic;
        let mut open = BTreeSet::new();
        for partition in 0..i32::try_from(reading.partitions).unwrap_or(i32::MAX) {
            let ends = reading.consumer.fetch_watermarks(topic, partition, METADATA_TIMEOUT);
            let (low, high) = ends.map_err(|error| error_of(options, &reading.consumer, &error))?;
            if low < high {
                open.insert(partition);
            }
        }
        let clock = SystemClock::default();
        let (mut last, mut why) = (clock.monotonic(), String::from("look at the brokers"));
        while !open.is_empty() && !stopped() {
            match reading.poll(options, facts) {
                // The end that a partition is said to have is at or after the one it had.
                Ok(Came::End(partition)) => _ = open.remove(&partition),
                Ok(Came::Record(_)) => {}
                Ok(Came::Nothing) => {
                    stalled(options, &open, clock.monotonic() - last, &why)?;
                    continue;
                }
                Err(error) if error.retry => {
                    why = error.reason;
                    continue;
                }
                Err(error) => return Err(error),
            }
            last = clock.monotonic();
        }
        Ok(reading)
    }

    fn connect(options: &KafkaAttributesOptions) -> Result<Self, SourceError> {
        let defaults = [
            ("client.id", "gristmill"),
            ("isolation.level", "read_committed"),
            ("socket.keepalive.enable", "true"),
            ("topic.metadata.refresh.interval.ms", "60000"),
        ];
        let properties = &options.properties;
        let debug = properties.get("debug").map_or(DEBUG_AREA.to_owned(), |said| format!("{said},{DEBUG_AREA}"));
        // The client wants a name for a group, which nobody joins.
        let owned = [
            ("group.id", "gristmill-attributes"),
            ("enable.auto.commit", "false"),
            ("enable.auto.offset.store", "false"),
            ("auto.offset.reset", "error"),
            ("enable.partition.eof", "true"),
            ("allow.auto.create.topics", "false"),
            ("debug", &debug),
        ];
        let (topic, words) = (options.topic.clone(), Words::new(properties));
        let mut config = properties.config(&defaults, &owned);
        // What is said at the level of debugging is read here, and shown only where it was asked for.
        config.set_log_level(RDKafkaLogLevel::Debug);
        let consumer: BaseConsumer<Listener> = config
            .create_with_context(Listener { topic, words, remade: AtomicBool::new(false) })
            .map_err(|error| of_trouble(options, &properties.creation(&error)))?;
        let partitions = partitions(options, &consumer)?;
        let mut all = TopicPartitionList::new();
        for partition in 0..i32::try_from(partitions).unwrap_or(i32::MAX) {
            let added = all.add_partition_offset(&options.topic, partition, Offset::Beginning);
            added.map_err(|error| error_of(options, &consumer, &error))?;
        }
        consumer.assign(&all).map_err(|error| error_of(options, &consumer, &error))?;
        Ok(Self { consumer, partitions, refusals: 0 })
    }

    /// Whether the topic has other partitions than those that are read.
    pub(super) fn has_changed(&self, options: &KafkaAttributesOptions) -> Result<bool, SourceError> {
        partitions(options, &self.consumer).map(|partitions| partitions != self.partitions)
    }

    /// Takes in a record, if one comes soon.
    ///
    /// # Errors
    /// Without `retry` the topic has to be read anew.
    pub(super) fn poll(&mut self, options: &KafkaAttributesOptions, facts: &mut Facts) -> Result<Came, SourceError> {
        if self.consumer.context().remade.swap(false, Ordering::AcqRel) {
            return Err(options.stop("the topic was made again; it is read from its beginning"));
        }
        let message = match self.consumer.poll(STEP) {
            None => return Ok(Came::Nothing),
            Some(Err(KafkaError::PartitionEOF(partition))) => return Ok(Came::End(partition)),
            Some(Err(error)) => return passed_over(options, &self.consumer, &error),
            Some(Ok(message)) => message,
        };
        let (partition, offset) = (message.partition(), message.offset());
        match facts.take(partition, offset, message.key(), message.payload()) {
            Ok(is_news) => {
                self.refusals = 0;
                Ok(Came::Record(is_news))
            }
            Err(reason) => {
                self.refusals += 1;
                let topic = &options.topic;
                if self.refusals <= REFUSALS_TOLD {
                    tracing::warn!(topic, partition, offset, reason, "a record of attributes is refused");
                } else if self.refusals == REFUSALS_TOLD + 1 {
                    tracing::warn!(topic, "further records of attributes are refused; they are only counted");
                }
                Ok(Came::Record(false))
            }
        }
    }
}

/// An error when nothing has come for too long.
fn stalled(
    options: &KafkaAttributesOptions,
    open: &BTreeSet<i32>,
    waited: Duration,
    why: &str,
) -> Result<(), SourceError> {
    if waited <= STALL_MAX {
        return Ok(());
    }
    let (what, limit) = (options.what(), STALL_MAX.as_secs());
    let reason = format!("{what}: nothing came for {limit} s, and partitions {open:?} have more; {why}");
    Err(SourceError { reason, retry: true })
}

/// An error that has no meaning where there is no group, or one that has.
fn passed_over(
    options: &KafkaAttributesOptions,
    consumer: &BaseConsumer<Listener>,
    error: &KafkaError,
) -> Result<Came, SourceError> {
    match error.rdkafka_error_code() {
        Some(Code::GroupAuthorizationFailed | Code::CoordinatorNotAvailable | Code::NotCoordinator) => {
            Ok(Came::Nothing)
        }
        Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
            Err(options.stop("the topic was made anew or cut off; it is read again from its beginning"))
        }
        _ => Err(error_of(options, consumer, error)),
    }
}

fn error_of(options: &KafkaAttributesOptions, consumer: &BaseConsumer<Listener>, error: &KafkaError) -> SourceError {
    of_trouble(options, &consumer.context().words.trouble(error))
}

fn of_trouble(options: &KafkaAttributesOptions, trouble: &Trouble) -> SourceError {
    trouble.source(&options.what(), &options.properties.brokers, true)
}

/// How many partitions the topic has.
fn partitions(options: &KafkaAttributesOptions, consumer: &BaseConsumer<Listener>) -> Result<usize, SourceError> {
    // All topics, not the one by name: a broker may create one that it is asked for.
    let metadata = consumer.fetch_metadata(None, METADATA_TIMEOUT);
    let metadata = metadata.map_err(|error| error_of(options, consumer, &error))?;
    consumer.context().words.over();
    match metadata.topics().iter().find(|found| found.name() == options.topic) {
        Some(found) if !found.partitions().is_empty() => Ok(found.partitions().len()),
        _ => Err(of_trouble(options, &not_there(consumer, &options.topic))),
    }
}
