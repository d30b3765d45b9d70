//! Records of topics, read as a member of a consumer group.

mod away;
mod connect;
mod faults;
mod idle;
mod leave;

use self::away::Away;
pub(super) use self::connect::not_there;
use self::leave::leave;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use gristmill::clock::SystemClock;
use gristmill::traits::source::{PollLimits, Polled};
use gristmill::traits::{Axes, Batch, Clock, Decode, RawRecord, Records, Source, SourceError};
use gristmill::words::{Offset, Time};
use rdkafka::Timestamp;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{BorrowedMessage, Message};

use super::context::{Context, TopicPartition};
use super::limits;
use super::properties::Properties;
use super::trace;
use crate::codec::json::{Json, JsonRecord, json};

const OWNED: [(&str, &str); 10] = [
    ("bootstrap.servers", "say `brokers`"),
    ("metadata.broker.list", "say `brokers`"),
    ("group.id", "say `group`"),
    ("enable.auto.commit", "positions are committed when everything before them is done"),
    ("enable.auto.offset.store", "positions are committed when everything before them is done"),
    ("auto.offset.reset", "say `start_at`"),
    ("partition.assignment.strategy", "rebalances are cooperative"),
    ("group.protocol", "rebalances are cooperative-sticky"),
    ("enable.partition.eof", "a topic has no end"),
    ("allow.auto.create.topics", "a misspelt topic must fail"),
];

/// Where reading starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StartAt {
    /// At the group's committed position. A group that has no position in any partition of a topic is new to it, and
    /// begins at the beginning of each; so does it in a partition that was added since. The log says so, and the
    /// beginning is committed at once.
    ///
    /// A partition that had a position and has none is an error (`position-missing`), not a silent beginning: each
    /// commit says beside the position how many partitions of the topic, from 0 on, have had one, and a partition below
    /// that number had one. Where no version of gristmill has committed, the highest partition with a position counts.
    /// So does what this process has read, and a saved state. A group that has lost all its positions (they expire
    /// after `offsets.retention.minutes` without members) looks like a new one.
    ///
    /// A position that the log has dropped already, or has not got to, is an error (`position-out-of-range`), not a
    /// silent jump.
    #[default]
    Committed,
    /// At the group's committed position; where there is none, or the log has dropped it, at the oldest record.
    Earliest,
    /// At the group's committed position; where there is none, or the log has dropped it, after the newest record. A
    /// partition that was added to a topic that the group reads begins at its beginning all the same.
    Latest,
}

/// A source of Kafka records; made by [`source`]. It connects with the first poll. After an error that does not pass the
/// next poll begins anew.
pub struct KafkaSource {
    topics: Vec<String>,
    properties: Properties,
    group: String,
    start_at: StartAt,
    axes: Axes,
    decoder: Option<Arc<dyn Decode>>,
    decoder_problem: Option<String>,
    consumer: Option<BaseConsumer<Context>>,
    /// After an error that does not pass: polled no more, and told what is done until the source is closed.
    ended: Option<BaseConsumer<Context>>,
    away: Option<Away>,
    pause: Pause,
    /// What came nevertheless, for the next poll.
    held: Vec<Batch>,
    /// What ends the source, and came behind records that went on first.
    unsaid: Option<SourceError>,
    /// Where saved states end.
    expected: HashMap<TopicPartition, i64>,
    /// The brokers have been spoken to.
    met: bool,
    clock: SystemClock,
}

/// Whether records are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    No,
    /// Not polled since then; the client fetches what it has room for.
    Unsaid(Duration),
    /// The client has been told to fetch nothing, and is polled for the sake of the group.
    Said,
}

/// Topics that a source reads: one, or several.
pub trait Topics {
    /// Their names, in the order that numbers their partitions.
    fn names(self) -> Vec<String>;
}

impl Topics for &str {
    fn names(self) -> Vec<String> {
        vec![self.to_owned()]
    }
}

impl<const N: usize> Topics for [&str; N] {
    fn names(self) -> Vec<String> {
        self.iter().map(|&name| name.to_owned()).collect()
    }
}

impl Topics for Vec<String> {
    fn names(self) -> Vec<String> {
        self
    }
}

/// Begins a source that reads `topics` as a member of a consumer group. The group's committed positions are true: lag
/// tools can be believed.
///
/// With one topic the source's partitions have Kafka's numbers. With several they take turns: partition p of the i-th
/// of n topics is number p·n + i, whatever is added later; [`KafkaSource::partition_name`] tells them apart.
pub fn source(topics: impl Topics) -> KafkaSource {
    KafkaSource {
        topics: topics.names(),
        properties: Properties::default(),
        group: "gristmill".to_owned(),
        start_at: StartAt::default(),
        axes: Axes::default(),
        decoder: None,
        decoder_problem: None,
        consumer: None,
        ended: None,
        away: None,
        pause: Pause::No,
        held: Vec::new(),
        unsaid: None,
        expected: HashMap::new(),
        met: false,
        clock: SystemClock::default(),
    }
}

impl KafkaSource {
    /// The addresses to connect to first: `"host:9092,other:9092"`.
    #[must_use]
    pub fn brokers(mut self, brokers: &str) -> Self {
        brokers.clone_into(&mut self.properties.brokers);
        self
    }

    /// The consumer group; `gristmill` unless said.
    #[must_use]
    pub fn group(mut self, group: &str) -> Self {
        group.clone_into(&mut self.group);
        self
    }

    /// Where reading starts.
    #[must_use]
    pub fn start_at(mut self, start_at: StartAt) -> Self {
        self.start_at = start_at;
        self
    }

    /// Sets a property of librdkafka, from the operator's own configuration only: properties name files and addresses.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.properties.set(name, value);
        self
    }

    /// Records are JSON.
    #[must_use]
    pub fn json(mut self, describe: impl FnOnce(JsonRecord) -> JsonRecord) -> Self {
        let decoder: Json = json(describe);
        self.decoder_problem = decoder.check().err();
        let axes = decoder.axes();
        self.decoded_by(decoder, axes)
    }

    /// Records are read by `decoder`, and bring the streams of `axes`.
    #[must_use]
    pub fn decoded_by(mut self, decoder: impl Decode, axes: Axes) -> Self {
        self.decoder = Some(Arc::new(decoder));
        self.axes = axes;
        self
    }

    /// The name of the source's partition `number`: `topic/partition`.
    pub fn partition_name(&self, number: u32) -> String {
        let (topic, partition) = self.partition(number);
        format!("{topic}/{partition}")
    }

    fn partition(&self, number: u32) -> TopicPartition {
        let topics = u32::try_from(self.topics.len()).unwrap_or(u32::MAX).max(1);
        let topic = self.topics.get((number % topics) as usize).cloned().unwrap_or_default();
        (topic, i32::try_from(number / topics).unwrap_or(i32::MAX))
    }

    fn number(&self, topic: &str, partition: i32) -> Option<u32> {
        let place = self.topics.iter().position(|name| name == topic)?;
        u32::try_from(partition).ok()?.checked_mul(u32::try_from(self.topics.len()).ok()?)?.checked_add(place as u32)
    }

    /// Whether the description makes sense. Nothing is connected.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn check(&self) -> Result<(), SourceError> {
        let mut problems = self.properties.problems(&OWNED);
        problems.extend(limits::source(&self.properties));
        if self.topics.is_empty() || self.topics.iter().any(String::is_empty) {
            problems.push("no topic".to_owned());
        }
        if self.group.is_empty() {
            problems.push("the group's name is empty".to_owned());
        }
        match (&self.decoder, &self.decoder_problem) {
            (_, Some(problem)) => problems.push(problem.clone()),
            (None, None) => problems.push("no decoder: say `json(|r| ..)` or `decoded_by(..)`".to_owned()),
            _ => {}
        }
        if problems.is_empty() { Ok(()) } else { Err(self.refused(&problems.join("; "))) }
    }

    /// Waits for records on a connected consumer, and gathers what is there already.
    fn gather(&mut self, consumer: &BaseConsumer<Context>, limits: PollLimits) -> Result<Vec<Batch>, SourceError> {
        if let Some(error) = self.unsaid.take() {
            return Err(error);
        }
        let context = consumer.context();
        let rebalances = context.rebalances();
        let was_held = !self.held.is_empty();
        let (mut batches, mut count, mut bytes) = (std::mem::take(&mut self.held), 0, 0);
        let mut wait = if batches.is_empty() { limits.wait } else { Duration::ZERO };
        while count < limits.records && bytes < limits.bytes {
            match consumer.poll(wait) {
                Some(Ok(message)) => {
                    count += 1;
                    bytes += message.payload_len() + message.key_len();
                    self.put(&message, &mut batches);
                }
                // What was gathered goes on. An error that passes comes again; one that ends the source may be told once.
                Some(Err(error)) if !batches.is_empty() => {
                    self.unsaid = Some(self.diagnosed(consumer, &error)).filter(|error| !error.retry);
                    break;
                }
                Some(Err(error)) => return Err(self.diagnosed(consumer, &error)),
                None => break,
            }
            if context.rebalances() != rebalances {
                break;
            }
            wait = Duration::ZERO;
        }
        if count > 0 {
            context.words.over();
            self.away = None;
        }
        if context.rebalances() != rebalances || context.is_leaving() || was_held {
            // Records of a partition that goes away, or went while they were held, are its next owner's.
            batches.retain(|batch| {
                let (topic, partition) = self.partition(batch.partition);
                context.wants(&topic, partition)
            });
        }
        for batch in &batches {
            let (topic, partition) = self.partition(batch.partition);
            if let Records::Raw(records) = &batch.records
                && let (Some(first), Some(last)) = (records.first(), records.last())
            {
                context.came(&topic, partition, (first.offset.0, last.offset.0 + 1));
            }
        }
        Ok(batches)
    }

    fn put(&self, message: &BorrowedMessage<'_>, batches: &mut Vec<Batch>) {
        let Some(number) = self.number(message.topic(), message.partition()) else { return };
        let record = RawRecord {
            offset: Offset(message.offset()),
            log_time: match message.timestamp() {
                Timestamp::CreateTime(millis) | Timestamp::LogAppendTime(millis) => Some(Time::from_millis(millis)),
                Timestamp::NotAvailable => None,
            },
            key: message.key().map(Into::into),
            payload: message.payload().unwrap_or_default().into(),
        };
        // Messages of a partition come in runs: its batch is near the end.
        let traces = match batches.iter_mut().rev().find(|batch| batch.partition == number) {
            Some(Batch { records: Records::Raw(records), traces, .. }) => {
                records.push(record);
                traces
            }
            _ => {
                batches.push(Batch::new(number, Records::Raw(vec![record])));
                &mut batches.last_mut().expect("just pushed").traces
            }
        };
        if let Some((offset, parent)) = trace::read(message) {
            traces.push(offset, parent);
        }
    }

    /// What is to be said to the group with every call: partitions that may go, positions that are done.
    fn settle(&self, consumer: &BaseConsumer<Context>) -> Result<(), SourceError> {
        consumer.context().hand_over(consumer);
        consumer.context().repeat();
        self.send_done(consumer, CommitMode::Async)?;
        if let Some(error) = consumer.context().take_commit_error() {
            let said = self.error(consumer, &error);
            if !said.retry {
                return Err(said);
            }
        }
        Ok(())
    }

    /// Does something with the connected consumer. After an error that does not pass the next call begins anew.
    fn connected<R>(
        &mut self,
        what: impl FnOnce(&mut Self, &BaseConsumer<Context>) -> Result<R, SourceError>,
    ) -> Result<R, SourceError> {
        let consumer = match self.consumer.take() {
            Some(consumer) => consumer,
            None => {
                self.ended.take().into_iter().for_each(leave);
                let consumer = self.connect()?;
                self.away = None;
                consumer
            }
        };
        let done = what(self, &consumer);
        let unassigned = consumer.context().take_assign_error().map(|error| self.unassigned(&consumer, error));
        match (unassigned, done) {
            (Some(error), _) if error.retry => {
                // The group is left at once, and joined again.
                leave(consumer);
                Err(error)
            }
            (Some(error), _) | (None, Err(error)) if !error.retry => {
                self.ended = Some(consumer);
                Err(error)
            }
            (_, done) => {
                self.consumer = Some(consumer);
                done.inspect_err(|error| self.failed(error))
            }
        }
    }

    /// The consumer that knows what is owned, if there is any.
    fn owner(&self) -> Option<&BaseConsumer<Context>> {
        self.consumer.as_ref().or(self.ended.as_ref())
    }

    fn send_done(&self, consumer: &BaseConsumer<Context>, mode: CommitMode) -> Result<(), SourceError> {
        let done = consumer.context().take_done(None);
        if done.count() == 0 {
            return Ok(());
        }
        consumer.commit(&done, mode).map_err(|error| self.error(consumer, &error))
    }
}

impl Source for KafkaSource {
    fn axes(&self) -> Axes {
        self.axes.clone()
    }

    fn decoder(&self) -> Option<Arc<dyn Decode>> {
        self.decoder.clone()
    }

    fn poll(&mut self, limits: PollLimits) -> Result<Polled, SourceError> {
        self.connected(|source, consumer| {
            source.settle(consumer)?;
            source.gather(consumer, limits).map(Polled::Batches)
        })
    }

    fn go_on_at(&mut self, partition: u32, next: Offset) -> Result<bool, SourceError> {
        // The group's position decides; but there must be one.
        self.expected.insert(self.partition(partition), next.0);
        Ok(false)
    }

    fn commit(&mut self, partition: u32, next: Offset) -> Result<(), SourceError> {
        let Some(consumer) = self.owner() else {
            let reason =
                format!("`{}` is not connected, so offset {} is not committed", self.partition_name(partition), next.0);
            return Err(SourceError { reason, retry: true });
        };
        // Sent with the next poll, all partitions in one request.
        consumer.context().done(&self.partition(partition), next.0);
        Ok(())
    }

    fn failing(&mut self) -> Option<SourceError> {
        self.is_away()
    }

    fn began_at(&self, partition: u32) -> Option<Offset> {
        let began = self.owner()?.context().began_at(&self.partition(partition))?;
        Some(Offset(began))
    }

    fn holds(&self, partition: u32) -> bool {
        let (topic, partition) = self.partition(partition);
        // Without a consumer nothing is known; whether somebody has read on is seen at the next start.
        self.owner().is_none_or(|consumer| consumer.context().owns(&topic, partition))
    }

    fn pause(&mut self, paused: bool) {
        if paused == (self.pause != Pause::No) {
            return;
        }
        let said = self.pause == Pause::Said;
        self.pause = if paused { Pause::Unsaid(self.clock.monotonic()) } else { Pause::No };
        if said && let Some(consumer) = &self.consumer {
            consumer.context().pause(false);
            let resumed = consumer.assignment().and_then(|assigned| consumer.resume(&assigned));
            if let Err(error) = resumed {
                tracing::warn!(%error, "partitions cannot be resumed");
            }
        }
    }

    fn idle(&mut self) -> Result<(), SourceError> {
        // A source that has not been polled is not in the group yet.
        if self.consumer.is_none() { Ok(()) } else { self.connected(Self::idle_connected) }
    }

    fn close(&mut self) -> Result<(), SourceError> {
        let Some(consumer) = self.consumer.take().or_else(|| self.ended.take()) else { return Ok(()) };
        consumer.context().close(&consumer);
        // The last commit may not have been answered yet, and nobody would be told how that ends.
        consumer.context().send_again();
        let sent = self.send_done(&consumer, CommitMode::Sync);
        // Others need not wait for its session to time out.
        leave(consumer);
        sent
    }
}

impl Drop for KafkaSource {
    fn drop(&mut self) {
        self.consumer.take().into_iter().chain(self.ended.take()).for_each(leave);
    }
}

impl fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaSource")
            .field("topics", &self.topics)
            .field("group", &self.group)
            .field("start_at", &self.start_at)
            .field("properties", &self.properties)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_of_several_topics_are_numbered_for_good() {
        let source = source(["a", "b"]);
        assert_eq!(["a", "b"].map(|topic| source.number(topic, 3)), [Some(6), Some(7)]);
        assert_eq!(source.partition_name(7), "b/3");
        assert_eq!(super::source("a").partition_name(7), "a/7");
        assert_eq!(source.number("c", 0), None);
    }

    #[test]
    fn a_description_without_sense_is_refused_with_all_that_is_wrong() {
        let source = source("").group("").set("enable.auto.commit", "true").set("sasl.password", "hush");
        let error = source.check().expect_err("nonsense");
        for said in ["no brokers", "enable.auto.commit", "no topic", "the group's name is empty", "no decoder"] {
            assert!(error.reason.contains(said), "{}", error.reason);
        }
        assert!(!error.retry && !format!("{source:?}{error}").contains("hush"));
        let described = super::source("t").brokers("b").json(|r| r.key("k"));
        assert!(described.check().expect_err("no time").reason.contains("no time"));
    }
}
