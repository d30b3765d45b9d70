//! Partitions that this member is given: where each begins.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{IsError, KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::{AssignError, Context, Owned, TopicPartition};
use crate::kafka::StartAt;
use crate::kafka::errors::Trouble;
use crate::kafka::fault::Fault;
use crate::kafka::positions::{Absent, Known, Mark};

/// How long a new partition waits to hear what its group has committed, and how often it asks.
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(5);
const COMMITTED_ATTEMPTS: u32 = 3;
/// A coordinator that has just started may say that nothing is committed: a position that must be there is asked again.
const LOST_PAUSE: Duration = Duration::from_millis(500);

/// Where partitions are to begin.
#[derive(Default)]
struct Places {
    /// Those that are not in it begin as `auto.offset.reset` says.
    offsets: HashMap<TopicPartition, i64>,
    /// Those whose position is to be committed, as it is new or less stands beside it than is known.
    to_commit: HashMap<TopicPartition, i64>,
    lost: Vec<String>,
}

impl Context {
    pub(super) fn assign(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let places = self.places(consumer, list).unwrap_or_else(|error| {
            // Assigned all the same, else the group would wait; the source begins anew, or ends.
            tracing::warn!(group = self.group, %error, "where partitions begin is not known");
            self.fail(error);
            Places::default()
        });
        let mut begun = TopicPartitionList::new();
        for element in list.elements() {
            let partition = (element.topic().to_owned(), element.partition());
            let begin = places.offsets.get(&partition).copied();
            let (topic, number) = (element.topic(), element.partition());
            tracing::info!(group = self.group, topic, partition = number, begin, "partition assigned");
            let mut begun = begun.add_partition(topic, number);
            // The whole range of an offset is allowed.
            let set = begin.map_or(Ok(()), |begin| begun.set_offset(Offset::Offset(begin)));
            if let Err(error) = set {
                self.fail(AssignError::Client(error));
            }
            // Where the group has never committed, its beginning is: tools leave out partitions without a position,
            // and would call a group that has not come to them nearer to the end than it is.
            let done = places.to_commit.get(&partition).copied();
            self.owned().insert(partition, Owned { begin, done, ..Owned::default() });
        }
        if let Err(error) = consumer.incremental_assign(&begun) {
            self.fail(AssignError::Client(error));
            return;
        }
        // Said either way: the client remembers of a partition that comes back that it was paused when it went.
        let paused = self.paused.load(Ordering::Acquire);
        if let Err(error) = if paused { consumer.pause(&begun) } else { consumer.resume(&begun) } {
            tracing::warn!(group = self.group, %error, paused, "whether new partitions are read cannot be told to the client");
            self.fail(AssignError::Client(error));
        }
    }

    fn places(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) -> Result<Places, AssignError> {
        let mut topics: Vec<String> = list.elements().iter().map(|element| element.topic().to_owned()).collect();
        topics.sort_unstable();
        topics.dedup();
        let mut attempt = 1;
        loop {
            let mut places = Places::default();
            for topic in &topics {
                let partitions = list.elements_for_topic(topic).iter().map(|element| element.partition()).collect();
                self.places_in(consumer, topic, partitions, &mut places)?;
            }
            if places.lost.is_empty() {
                return Ok(places);
            } else if attempt == COMMITTED_ATTEMPTS {
                return Err(AssignError::Named(Trouble::new(Fault::PositionMissing, places.lost.join("; "))));
            }
            attempt += 1;
            std::thread::sleep(LOST_PAUSE);
        }
    }

    fn places_in(
        &self,
        consumer: &BaseConsumer<Self>,
        topic: &str,
        partitions: Vec<i32>,
        places: &mut Places,
    ) -> Result<(), AssignError> {
        let mut known = asked(consumer, topic).map_err(AssignError::Client)?;
        let before = self.known().get(topic).cloned().unwrap_or_default();
        if let Some(other) = before.id().and_then(|id| known.identify(id)) {
            return Err(AssignError::Named(remade(topic, other)));
        }
        known.after(&before);
        let mut first = Vec::new();
        for number in partitions {
            let partition = (topic.to_owned(), number);
            if let Some(position) = known.position(number) {
                if known.is_stale(number) {
                    places.to_commit.insert(partition.clone(), position);
                }
                places.offsets.insert(partition, position);
                continue;
            }
            let had = before.position(number).map(|at| format!("this process has read to {at}"));
            let saved = self.expected.get(&partition).map(|at| format!("the saved state goes to {at}"));
            let proof = had.or(saved).or_else(|| (known.absent(number) == Absent::Lost).then(|| known.said()));
            let begins = match (self.start_at, proof) {
                (StartAt::Committed, Some(proof)) => {
                    let group = &self.group;
                    places.lost.push(format!("`{topic}` partition {number}: group `{group}` has none, but {proof}"));
                    continue;
                }
                (StartAt::Committed, None) => true,
                (StartAt::Earliest, _) | (StartAt::Latest, Some(_)) => false,
                // Records that came before it was noticed are not passed over.
                (StartAt::Latest, None) => known.absent(number) == Absent::NewPartition,
            };
            if begins {
                let why = match known.absent(number) {
                    Absent::NewPartition => "the partition was added",
                    Absent::NewGroup | Absent::Lost => "nothing committed yet",
                };
                tracing::info!(group = self.group, topic, partition = number, why, "reading from the beginning");
                let low = consumer.fetch_watermarks(topic, number, COMMITTED_TIMEOUT).map_err(AssignError::Client)?.0;
                places.offsets.insert(partition.clone(), low);
                places.to_commit.insert(partition, low);
                first.push(number);
            }
        }
        known.begin(&first);
        self.known().insert(topic.to_owned(), known);
        Ok(())
    }
}

/// A topic that was made again, as the position of one of its partitions tells.
pub(super) fn remade(topic: &str, partition: i32) -> Trouble {
    let detail = format!("`{topic}` partition {partition}: the group's position is of the topic before");
    Trouble::new(Fault::TopicRemade, detail)
}

/// All partitions of a topic, with the group's positions in them.
fn asked(consumer: &BaseConsumer<Context>, topic: &str) -> KafkaResult<Known> {
    let mut attempt = 1;
    loop {
        match asked_once(consumer, topic) {
            Err(_) if attempt < COMMITTED_ATTEMPTS => attempt += 1,
            other => return other,
        }
    }
}

fn asked_once(consumer: &BaseConsumer<Context>, topic: &str) -> KafkaResult<Known> {
    let metadata = consumer.fetch_metadata(Some(topic), COMMITTED_TIMEOUT)?;
    let described = metadata.topics().iter().find(|described| described.name() == topic);
    let error = described.map_or(Some(RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART), |it| it.error());
    if let Some(error) = error.filter(IsError::is_error) {
        return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::from(error)));
    }
    let count = described.map_or(0, |described| described.partitions().len());
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    let mut all = TopicPartitionList::new();
    all.add_partition_range(topic, 0, count - 1);
    let committed = consumer.committed_offsets(all, COMMITTED_TIMEOUT)?;
    let mut positions = Vec::new();
    for element in committed.elements() {
        element.error()?;
        if let Offset::Offset(position) = element.offset() {
            positions.push((element.partition(), position, Mark::parse(element.metadata())));
        }
    }
    Ok(Known::new(count, positions))
}
