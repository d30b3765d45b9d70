//! What the consumer's callbacks and the source share: which partitions are owned, and what is done in each.

mod assign;
mod handover;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gristmill::clock::SystemClock;
use gristmill::traits::Clock;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

use super::StartAt;
use super::errors::Trouble;
use super::fault::Fault;
use super::positions::Known;
use super::words::{Words, changed_id};

pub(super) type TopicPartition = (String, i32);

/// So often all positions are sent again.
const REPEATED_EVERY: Duration = Duration::from_secs(30);

/// A partition that this consumer owns.
#[derive(Clone, Copy, Debug, Default)]
struct Owned {
    /// Where it was begun to be read, where that is asked.
    begin: Option<i64>,
    /// The first offset that came since it is owned; commits below it are somebody else's past.
    first: Option<i64>,
    /// Everything before this is done.
    done: Option<i64>,
    /// This was sent to the broker.
    sent: Option<i64>,
    /// After the last record that was handed to the runtime.
    next: Option<i64>,
}

/// Partitions that another member of the group waits for.
struct Leaving {
    list: TopicPartitionList,
    /// When this member gives up finishing what it has of them.
    until: Duration,
}

/// Why partitions could not be begun, or may not be gone on with.
#[derive(Debug, thiserror::Error)]
pub(super) enum AssignError {
    #[error("{0}")]
    Client(KafkaError),
    #[error("{}: {}", .0.fault.name(), .0.detail)]
    Named(Trouble),
}

/// The context of a source's consumer.
pub(super) struct Context {
    group: String,
    start_at: StartAt,
    /// Where saved states end: there must be positions.
    expected: HashMap<TopicPartition, i64>,
    pub(super) words: Words,
    /// What is known of topics in the group.
    known: Mutex<HashMap<String, Known>>,
    owned: Mutex<HashMap<TopicPartition, Owned>>,
    /// Rises with every rebalance.
    rebalances: AtomicU64,
    paused: AtomicBool,
    leaving: Mutex<Vec<Leaving>>,
    /// The consumer is about to go: nothing is waited for any more.
    closing: AtomicBool,
    clock: SystemClock,
    /// When all positions were sent again last.
    repeated: Mutex<Duration>,
    commit_error: Mutex<Option<KafkaError>>,
    assign_error: Mutex<Option<AssignError>>,
}

impl Context {
    pub(super) fn new(group: &str, start_at: StartAt, words: Words, expected: HashMap<TopicPartition, i64>) -> Self {
        Self {
            group: group.to_owned(),
            start_at,
            expected,
            words,
            known: Mutex::default(),
            owned: Mutex::default(),
            rebalances: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            leaving: Mutex::default(),
            closing: AtomicBool::new(false),
            clock: SystemClock::default(),
            repeated: Mutex::default(),
            commit_error: Mutex::default(),
            assign_error: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn owned(&self) -> MutexGuard<'_, HashMap<TopicPartition, Owned>> {
        self.owned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn rebalances(&self) -> u64 {
        self.rebalances.load(Ordering::Acquire)
    }

    pub(super) fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Release);
    }

    fn leaving(&self) -> MutexGuard<'_, Vec<Leaving>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn owns(&self, topic: &str, partition: i32) -> bool {
        self.owned().keys().any(|(name, number)| name == topic && *number == partition)
    }

    /// Where reading of a partition that is owned began, as far as it was asked.
    pub(super) fn began_at(&self, partition: &TopicPartition) -> Option<i64> {
        self.owned().get(partition)?.begin
    }

    /// Whether records of the partition are wanted: it is owned, and no other member waits for it.
    pub(super) fn wants(&self, topic: &str, partition: i32) -> bool {
        let leaves = self.leaving().iter().any(|leaving| leaving.list.find_partition(topic, partition).is_some());
        !leaves && self.owns(topic, partition)
    }

    pub(super) fn is_leaving(&self) -> bool {
        !self.leaving().is_empty()
    }

    /// Records of a partition are handed to the runtime, from the first of these offsets to before the second.
    pub(super) fn came(&self, topic: &str, partition: i32, (first, next): (i64, i64)) {
        if let Some(owned) = self.owned().get_mut(&(topic.to_owned(), partition)) {
            owned.first.get_or_insert(first);
            owned.next = Some(next);
        }
    }

    /// Everything before `next` is done. A partition that is not owned any more is left to its new owner. Before its first
    /// record came, where a saved state ends may be said.
    pub(super) fn done(&self, partition: &TopicPartition, next: i64) {
        if let Some(owned) = self.owned().get_mut(partition)
            && owned.first.or(owned.begin).is_some_and(|first| next > first)
        {
            owned.done = owned.done.max(Some(next));
        }
    }

    /// What the broker has not said that it has counts as not sent: a request may be on its way, or be lost.
    pub(super) fn send_again(&self) {
        let known = self.known();
        for ((topic, partition), owned) in self.owned().iter_mut() {
            let stands = known.get(topic).and_then(|known| known.position(*partition));
            if stands < owned.done {
                owned.sent = None;
            }
        }
    }

    /// Now and then all positions count as not sent, also those that were answered. A client that is cut off from its
    /// coordinator tries commits again, and an older one may be the last that the broker takes, though not the last that it
    /// answers: while no other row is done the group would lag for ever.
    pub(super) fn repeat(&self) {
        self.repeat_at(self.clock.monotonic());
    }

    fn repeat_at(&self, now: Duration) {
        let mut repeated = self.repeated.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(*repeated) >= REPEATED_EVERY {
            *repeated = now;
            self.owned().values_mut().for_each(|owned| owned.sent = None);
        }
    }

    /// What is done and not sent yet; it counts as sent from now on.
    pub(super) fn take_done(&self, only: Option<&TopicPartitionList>) -> TopicPartitionList {
        let known = self.known();
        let mut list = TopicPartitionList::new();
        for ((topic, partition), owned) in self.owned().iter_mut() {
            let asked = only.is_none_or(|only| only.find_partition(topic, *partition).is_some());
            let (true, Some(done)) = (asked && owned.done > owned.sent, owned.done) else { continue };
            let mut element = list.add_partition(topic, *partition);
            if element.set_offset(Offset::Offset(done)).is_ok() {
                element.set_metadata(known.get(topic).map(|known| known.mark().to_string()).unwrap_or_default());
                owned.sent = Some(done);
            }
        }
        list
    }

    /// The error of the last commit or assignment that nobody was told of.
    pub(super) fn take_commit_error(&self) -> Option<KafkaError> {
        self.commit_error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn take_assign_error(&self) -> Option<AssignError> {
        self.assign_error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The first error stands: what comes after it follows from it.
    fn fail(&self, error: AssignError) {
        self.assign_error.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    /// What is done of a topic is not committed any more: it is another topic now, or none.
    pub(super) fn forget(&self, topic: &str) {
        self.owned().retain(|(name, _), _| name != topic);
    }

    /// Which of the topics that are read the client's words are about.
    pub(super) fn topic_in(&self, words: &str) -> Option<String> {
        let known = self.known();
        let said = known.keys().filter(|topic| words.split([' ', ':']).any(|word| word == topic.as_str()));
        said.max_by_key(|topic| topic.len()).cloned()
    }

    /// The client has learnt which topic of a name it reads.
    fn identified(&self, topic: &str, id: &str, again: bool) {
        let mut known = self.known();
        let Some(of_topic) = known.get_mut(topic) else { return };
        let other = of_topic.identify(id);
        drop(known);
        let remade = if again {
            Some(Trouble::new(Fault::TopicRemade, format!("`{topic}`: while it was read")))
        } else {
            other.map(|partition| assign::remade(topic, partition))
        };
        if let Some(trouble) = remade {
            self.forget(topic);
            self.fail(AssignError::Named(trouble));
        }
    }

    /// Positions stand at the broker.
    fn committed(&self, offsets: &TopicPartitionList) {
        let mut known = self.known();
        for element in offsets.elements() {
            let (topic, partition) = (element.topic(), element.partition());
            let Offset::Offset(position) = element.offset() else { continue };
            let (true, Some(of_topic)) = (element.error().is_ok(), known.get_mut(topic)) else { continue };
            let went_back = of_topic.position(partition).is_some_and(|before| position < before);
            let is_whole = of_topic.committed(partition, position);
            let mut owned = self.owned();
            // Every partition has a position now, which is to stand beside each of them. Or the client has tried an older
            // commit again after a later one, and the broker has taken it.
            let again = owned
                .iter_mut()
                .filter(|((name, number), _)| name == topic && (is_whole || (went_back && *number == partition)));
            again.for_each(|(_, owned)| owned.sent = None);
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if let Some((topic, id, again)) = changed_id(message) {
            self.identified(topic, id, again);
        }
        self.words.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let reason = self.words.error(&error, reason);
        tracing::warn!(target: "librdkafka", group = self.group, %error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, list: &mut TopicPartitionList) {
        match error {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assign(consumer, list),
            _ => self.revoke(consumer, list),
        }
        self.rebalances.fetch_add(1, Ordering::AcqRel);
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let Err(error) = result else { return self.committed(offsets) };
        tracing::warn!(group = self.group, %error, "a commit was refused; it is tried again with the next");
        for element in offsets.elements() {
            if let Some(owned) = self.owned().get_mut(&(element.topic().to_owned(), element.partition())) {
                owned.sent = None;
            }
        }
        *self.commit_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owning(first: Option<i64>) -> (Context, TopicPartition) {
        let (context, partition) =
            (Context::new("g", StartAt::Committed, Words::default(), HashMap::new()), ("t".to_owned(), 0));
        context.owned().insert(partition.clone(), Owned { first, ..Owned::default() });
        (context, partition)
    }

    fn taken(context: &Context) -> Vec<Offset> {
        context.take_done(None).elements().iter().map(|element| element.offset()).collect()
    }

    #[test]
    fn what_is_done_is_sent_once_and_never_goes_back() {
        let (context, partition) = owning(Some(10));
        context.done(&partition, 12);
        context.done(&partition, 11);
        assert_eq!(taken(&context), [Offset::Offset(12)]);
        assert_eq!(taken(&context), []);
        let mut refused = TopicPartitionList::new();
        refused.add_partition_offset("t", 0, Offset::Offset(12)).expect("an offset");
        context.commit_callback(Err(KafkaError::Canceled), &refused);
        assert!(context.take_commit_error().is_some());
        assert_eq!(taken(&context), [Offset::Offset(12)]);
    }

    #[test]
    fn at_the_end_what_was_not_answered_is_sent_again() {
        let (context, partition) = owning(Some(10));
        context.known().insert("t".to_owned(), Known::new(1, [(0, 10, None)]));
        context.done(&partition, 12);
        assert_eq!(taken(&context), [Offset::Offset(12)]);
        context.send_again();
        assert_eq!(taken(&context), [Offset::Offset(12)]);
        let mut answered = TopicPartitionList::new();
        answered.add_partition_offset("t", 0, Offset::Offset(12)).expect("an offset");
        context.commit_callback(Ok(()), &answered);
        context.send_again();
        assert_eq!(taken(&context), []);
    }

    #[test]
    fn positions_are_sent_again_now_and_then_whatever_was_answered() {
        let (context, partition) = owning(Some(0));
        context.known().insert(partition.0.clone(), Known::new(1, []));
        context.done(&partition, 7);
        let sent = context.take_done(None);
        context.commit_callback(Ok(()), &sent);
        context.take_done(None);
        for (seconds, again) in [(29, 0), (30, 1), (45, 0), (60, 1)] {
            context.repeat_at(Duration::from_secs(seconds));
            assert_eq!(context.take_done(None).count(), again, "after {seconds} s");
        }
    }

    /// Requests that failed are tried again by the client, behind those that were sent after them: positions went back,
    /// and stayed there until there were more rows.
    #[test]
    fn an_older_commit_that_is_taken_after_a_later_one_is_made_good() {
        let (context, partition) = owning(Some(10));
        context.known().insert("t".to_owned(), Known::new(1, [(0, 10, None)]));
        let answer = |position| {
            let mut answered = TopicPartitionList::new();
            answered.add_partition_offset("t", 0, Offset::Offset(position)).expect("an offset");
            context.commit_callback(Ok(()), &answered);
        };
        for position in [12, 15] {
            context.done(&partition, position);
            assert_eq!(taken(&context), [Offset::Offset(position)]);
        }
        answer(15);
        assert_eq!(taken(&context), []);
        answer(12);
        assert_eq!(taken(&context), [Offset::Offset(15)]);
        answer(15);
        assert_eq!(taken(&context), []);
    }

    #[test]
    fn the_beginning_of_a_new_partition_is_committed_and_then_what_is_done() {
        let (context, partition) = owning(None);
        context.owned().insert(partition.clone(), Owned { done: Some(40), ..Owned::default() });
        assert_eq!(taken(&context), [Offset::Offset(40)]);
        assert_eq!(taken(&context), []);
        context.came("t", 0, (40, 43));
        context.done(&partition, 43);
        assert_eq!(taken(&context), [Offset::Offset(43)]);
    }

    #[test]
    fn a_partition_may_go_when_all_that_came_is_done() {
        let (context, partition) = owning(None);
        let mut list = TopicPartitionList::new();
        list.add_partition("t", 0);
        assert!(context.is_done(&list));
        context.came("t", 0, (10, 13));
        context.came("t", 0, (13, 15));
        context.done(&partition, 13);
        assert!(!context.is_done(&list) && context.wants("t", 0));
        context.leaving().push(Leaving { list: list.clone(), until: Duration::MAX });
        assert!(context.owns("t", 0) && !context.wants("t", 0));
        context.done(&partition, 15);
        assert!(context.is_done(&list));
    }

    #[test]
    fn what_was_done_under_an_earlier_ownership_is_not_committed() {
        let (context, partition) = owning(Some(500));
        context.done(&partition, 120);
        assert_eq!(taken(&context), []);
        let (context, partition) = owning(None);
        context.done(&partition, 120);
        context.done(&("other".to_owned(), 3), 7);
        assert_eq!(taken(&context), []);
        let begin = Some(500);
        context.owned().insert(partition.clone(), Owned { begin, ..Owned::default() });
        context.done(&partition, 120);
        assert_eq!(taken(&context), []);
        assert!(context.owns("t", 0) && !context.owns("t", 1));
    }
}
