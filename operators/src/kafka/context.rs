//! What the consumer's callbacks and the source share: which partitions are owned, and what is done in each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gristmill::clock::SystemClock;
use gristmill::traits::Clock;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};

/// How long a partition that is to go to another member may take until what was read of it is done. What is not done
/// by then is done by both.
const HANDOVER_MAX: Duration = Duration::from_secs(10);
/// How long a new partition waits to hear what its group has committed, and how often it asks.
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(5);
const COMMITTED_ATTEMPTS: u32 = 3;

pub(super) type TopicPartition = (String, i32);

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

/// The context of a source's consumer.
pub(super) struct Context {
    group: String,
    /// Whether a partition without a committed position starts at its beginning; else `auto.offset.reset` decides.
    beginning: bool,
    owned: Mutex<HashMap<TopicPartition, Owned>>,
    /// Rises with every rebalance.
    rebalances: AtomicU64,
    paused: AtomicBool,
    leaving: Mutex<Vec<Leaving>>,
    /// The consumer is about to go: nothing is waited for any more.
    closing: AtomicBool,
    clock: SystemClock,
    commit_error: Mutex<Option<KafkaError>>,
    assign_error: Mutex<Option<KafkaError>>,
}

impl Context {
    pub(super) fn new(group: &str, beginning: bool) -> Self {
        Self {
            group: group.to_owned(),
            beginning,
            owned: Mutex::default(),
            rebalances: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            leaving: Mutex::default(),
            closing: AtomicBool::new(false),
            clock: SystemClock::default(),
            commit_error: Mutex::default(),
            assign_error: Mutex::default(),
        }
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

    /// Everything before `next` is done. A partition that is not owned any more is left to its new owner.
    pub(super) fn done(&self, partition: &TopicPartition, next: i64) {
        if let Some(owned) = self.owned().get_mut(partition)
            && owned.first.is_some_and(|first| next > first)
        {
            owned.done = owned.done.max(Some(next));
        }
    }

    /// What is done and not sent yet; it counts as sent from now on.
    pub(super) fn take_done(&self, only: Option<&TopicPartitionList>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), owned) in self.owned().iter_mut() {
            let asked = only.is_none_or(|only| only.find_partition(topic, *partition).is_some());
            if let (true, Some(done)) = (asked && owned.done > owned.sent, owned.done)
                && list.add_partition_offset(topic, *partition, Offset::Offset(done)).is_ok()
            {
                owned.sent = Some(done);
            }
        }
        list
    }

    /// The error of the last commit or assignment that nobody was told of.
    pub(super) fn take_commit_error(&self) -> Option<KafkaError> {
        self.commit_error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn take_assign_error(&self) -> Option<KafkaError> {
        self.assign_error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn assign(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let mut list = list.clone();
        let mut begins = HashMap::new();
        if self.beginning {
            match self.committed(consumer, &list) {
                Ok(committed) => (list, begins) = committed,
                Err(error) => {
                    // Assigned all the same, else the group would wait; the source asks to begin anew.
                    tracing::warn!(group = self.group, %error, "what the group has committed cannot be asked");
                    *self.assign_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
            }
        }
        for element in list.elements() {
            let (topic, partition) = (element.topic(), element.partition());
            tracing::info!(group = self.group, topic, partition, offset = ?element.offset(), "partition assigned");
            let partition = (topic.to_owned(), partition);
            // Where the group has never committed, its beginning is: tools leave out partitions without a position,
            // and would call a group that has not come to them nearer to the end than it is.
            let begin = if let Offset::Offset(begin) = element.offset() { Some(begin) } else { None };
            let owned = Owned { begin, done: begins.remove(&partition), ..Owned::default() };
            self.owned().insert(partition, owned);
        }
        if let Err(error) = consumer.incremental_assign(&list) {
            *self.assign_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            return;
        }
        // Said either way: the client remembers of a partition that comes back that it was paused when it went.
        let paused = self.paused.load(Ordering::Acquire);
        if let Err(error) = if paused { consumer.pause(&list) } else { consumer.resume(&list) } {
            tracing::warn!(group = self.group, %error, paused, "whether new partitions are read cannot be told to the client");
            *self.assign_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    }

    /// Where each partition goes on; at its beginning when the group has never committed there. Which those are, and
    /// where they begin.
    fn committed(
        &self,
        consumer: &BaseConsumer<Self>,
        list: &TopicPartitionList,
    ) -> KafkaResult<(TopicPartitionList, HashMap<TopicPartition, i64>)> {
        let mut attempt = 1;
        let mut committed = loop {
            match consumer.committed_offsets(list.clone(), COMMITTED_TIMEOUT) {
                Err(_) if attempt < COMMITTED_ATTEMPTS => attempt += 1,
                other => break other?,
            }
        };
        let mut new = Vec::new();
        for element in committed.elements() {
            element.error()?;
            if !matches!(element.offset(), Offset::Offset(_)) {
                new.push((element.topic().to_owned(), element.partition()));
            }
        }
        let mut begins = HashMap::new();
        for (topic, partition) in new {
            tracing::info!(group = self.group, topic, partition, "nothing committed yet: reading from the beginning");
            let (begin, _) = consumer.fetch_watermarks(&topic, partition, COMMITTED_TIMEOUT)?;
            committed.set_partition_offset(&topic, partition, Offset::Offset(begin))?;
            begins.insert((topic, partition), begin);
        }
        Ok((committed, begins))
    }

    /// Another member is to have these partitions. What was read of them is done first, so that the other begins
    /// where this one ended; no more of them is read.
    fn revoke(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        if self.closing.load(Ordering::Acquire) || consumer.assignment_lost() || self.is_done(list) {
            self.give_away(consumer, list);
            return;
        }
        if let Err(error) = consumer.pause(list) {
            tracing::warn!(group = self.group, %error, "partitions that are to go cannot be paused; what comes is left to their next owner");
        }
        let until = self.clock.monotonic() + HANDOVER_MAX;
        self.leaving().push(Leaving { list: list.clone(), until });
    }

    /// Whether everything is done that was read of these partitions.
    fn is_done(&self, list: &TopicPartitionList) -> bool {
        let owned = self.owned();
        let done = |owned: &Owned| owned.next.is_none_or(|next| owned.done.is_some_and(|done| done >= next));
        list.elements()
            .iter()
            .all(|element| owned.get(&(element.topic().to_owned(), element.partition())).is_none_or(done))
    }

    /// Gives away the partitions that are done, or have had their time.
    pub(super) fn hand_over(&self, consumer: &BaseConsumer<Self>) {
        if !self.is_leaving() {
            return;
        }
        let now = self.clock.monotonic();
        let lost = self.closing.load(Ordering::Acquire) || consumer.assignment_lost();
        let due = |leaving: &mut Leaving| lost || now >= leaving.until || self.is_done(&leaving.list);
        let due: Vec<Leaving> = self.leaving().extract_if(.., due).collect();
        for leaving in due {
            if !self.is_done(&leaving.list) {
                tracing::warn!(group = self.group, partitions = ?leaving.list, "partitions go to another member before all that was read of them is done; it is done again there");
            }
            self.give_away(consumer, &leaving.list);
        }
    }

    /// The consumer is about to go.
    pub(super) fn close(&self, consumer: &BaseConsumer<Self>) {
        self.closing.store(true, Ordering::Release);
        self.hand_over(consumer);
    }

    fn give_away(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
        let done = self.take_done(Some(list));
        if done.count() > 0 && !consumer.assignment_lost() {
            // Not waited for: the client gives the partitions away only after its commits were answered.
            if let Err(error) = consumer.commit(&done, CommitMode::Async) {
                tracing::warn!(group = self.group, %error, "what is done was not committed at the revocation; it is read again");
            }
        }
        for element in list.elements() {
            let (topic, partition) = (element.topic(), element.partition());
            tracing::info!(group = self.group, topic, partition, "partition revoked");
            self.owned().remove(&(topic.to_owned(), partition));
        }
        if let Err(error) = consumer.incremental_unassign(list) {
            *self.assign_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
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
        let Err(error) = result else { return };
        tracing::warn!(group = self.group, %error, "a commit was refused; it is tried again with the next");
        for element in offsets.elements() {
            if let Some(owned) = self.owned().get_mut(&(element.topic().to_owned(), element.partition())) {
                owned.sent = None;
            }
        }
        *self.commit_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// The client's own log lines as events.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::error!(target: "librdkafka", facility, message);
        }
        RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, message),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(target: "librdkafka", facility, message),
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owning(first: Option<i64>) -> (Context, TopicPartition) {
        let (context, partition) = (Context::new("g", true), ("t".to_owned(), 0));
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
        assert!(context.owns("t", 0) && !context.owns("t", 1));
    }
}
