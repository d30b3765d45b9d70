//! The end of a source that is bounded: what waits for later rows is let go, as by a tick.

use std::sync::mpsc::sync_channel;

use super::Running;
use crate::actor::newest::Newest;
use crate::actor::shard::Delivered;
use crate::topology::node::RowRule;
use crate::words::{Cause, Offset, Span, Time};

impl Running {
    /// Ticks each partition of a source that is bounded: at its newest time, and as much further as rows wait.
    pub(super) fn let_go(&mut self) {
        // Where it fails, the end says so.
        if !self.driver.source.is_bounded() || self.driver.keeper.is_some() || self.wait_for_sinks().is_err() {
            return;
        }
        for place in 0..self.partitions.len() {
            if let Some((newest, reorder)) = self.newest(place) {
                let now = newest.plus(reorder).plus(self.longest_wait());
                let last = self.partitions[place].last.unwrap_or(Offset(-1));
                let cause = Cause { offset: last, row: u32::MAX };
                self.tell_all_shards(place, |_| Delivered::Tick(now, cause, 0));
            }
        }
    }

    /// The newest time that a key of a partition has got to, and how far back rows are sorted in.
    fn newest(&self, place: usize) -> Option<(Time, Span)> {
        let chain = u32::try_from(place).expect("few partitions");
        let of_shards = self.driver.shards.iter().filter_map(|shard| {
            let (answer, answered) = sync_channel(1);
            // A shard that is gone has nothing that waits.
            shard.try_send(Newest { chain, answer }).ok()?;
            answered.recv().ok()?
        });
        of_shards.max()
    }

    /// The longest that a row of a node waits for its other needs.
    fn longest_wait(&self) -> Span {
        let plan = &self.driver.plan;
        let own = plan.keys.into_iter().flat_map(|(_, key)| &key.nodes);
        let waits = plan.base.nodes.iter().chain(own).filter_map(|node| match node.node.rule {
            RowRule::OnAll { wait } => Some(wait),
            _ => None,
        });
        waits.max().unwrap_or(Span::ZERO)
    }
}
