//! Partitions that go to another member of the group: what was read of them is done first.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gristmill::traits::Clock;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};

use super::{AssignError, Context, Leaving, Owned};

/// How long a partition that is to go to another member may take until what was read of it is done. What is not done
/// by then is done by both.
const HANDOVER_MAX: Duration = Duration::from_secs(10);

impl Context {
    /// Another member is to have these partitions. What was read of them is done first, so that the other begins
    /// where this one ended; no more of them is read.
    pub(super) fn revoke(&self, consumer: &BaseConsumer<Self>, list: &TopicPartitionList) {
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
    pub(super) fn is_done(&self, list: &TopicPartitionList) -> bool {
        let owned = self.owned();
        let done = |owned: &Owned| owned.next.is_none_or(|next| owned.done.is_some_and(|done| done >= next));
        list.elements()
            .iter()
            .all(|element| owned.get(&(element.topic().to_owned(), element.partition())).is_none_or(done))
    }

    /// Gives away the partitions that are done, or have had their time.
    pub(in crate::kafka) fn hand_over(&self, consumer: &BaseConsumer<Self>) {
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
    pub(in crate::kafka) fn close(&self, consumer: &BaseConsumer<Self>) {
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
            self.fail(AssignError::Client(error));
        }
    }
}
