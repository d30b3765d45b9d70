//! Lanes: a key that has a node that may block is in frames of its own, on a chain of its own, so that no other key waits
//! for it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use rustc_hash::FxHashMap;

use super::shard::{Delivery, Shard};
use crate::defect::{self, Defect};
use crate::topology::bits::Bits;
use crate::topology::plan::{BasePlan, ClassPlan};
use crate::words::{KeyIndex, Revision};

/// Frames that are worked on in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ChainNumber {
    /// Those of a partition, by its number on all shards.
    Partition(u32),
    /// Those of a key with a slow node, by the number of its lane on this shard.
    Lane(u32),
}

/// Something for each chain.
#[derive(Debug, Default)]
pub(crate) struct ByChain<T> {
    partitions: smallvec::SmallVec<[T; 1]>,
    lanes: Vec<T>,
}

impl<T: Default> ByChain<T> {
    /// That of a chain.
    #[inline]
    pub(crate) fn at(&mut self, chain: ChainNumber) -> &mut T {
        match chain {
            ChainNumber::Partition(number) => {
                let number = number as usize;
                if number >= self.partitions.len() {
                    self.partitions.resize_with(number + 1, T::default);
                }
                &mut self.partitions[number]
            }
            ChainNumber::Lane(number) => {
                let number = number as usize;
                if number >= self.lanes.len() {
                    self.lanes.resize_with(number + 1, T::default);
                }
                &mut self.lanes[number]
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.partitions.clear();
        self.lanes.clear();
    }
}

impl ByChain<u64> {
    pub(crate) fn sum(&self) -> u64 {
        self.partitions.iter().chain(&self.lanes).sum()
    }
}

/// Nodes that have not computed what frames in flight have for them, by what the frames are on.
#[derive(Default)]
pub(crate) struct Busy {
    partitions: Cell<usize>,
    lanes: RefCell<Vec<usize>>,
    /// Told when no frame of a partition is left.
    free: tokio::sync::Notify,
}

impl Busy {
    /// A frame begins that wakes so many nodes.
    pub(crate) fn begin(&self, chain: ChainNumber, nodes: usize) {
        match chain {
            ChainNumber::Partition(_) => self.partitions.set(self.partitions.get() + nodes),
            ChainNumber::Lane(lane) => {
                let (mut lanes, lane) = (self.lanes.borrow_mut(), lane as usize);
                if lane >= lanes.len() {
                    lanes.resize(lane + 1, 0);
                }
                lanes[lane] += nodes;
            }
        }
    }

    /// A node has computed its part of a frame.
    #[inline]
    pub(crate) fn computed(&self, chain: ChainNumber) {
        match chain {
            ChainNumber::Partition(_) => {
                self.partitions.set(self.partitions.get() - 1);
                if self.partitions.get() == 0 {
                    self.free.notify_waiters();
                }
            }
            ChainNumber::Lane(lane) => self.lanes.borrow_mut()[lane as usize] -= 1,
        }
    }

    fn lane(&self, lane: u32) -> bool {
        self.lanes.borrow().get(lane as usize).is_some_and(|nodes| *nodes > 0)
    }
}

/// What a shard knows of lanes.
#[derive(Default)]
pub(crate) struct Lanes {
    /// The slow class nodes of a base plan.
    base: Option<(Revision, Bits)>,
    /// Whether a key of this shard has had a slow node of its own.
    own: bool,
    /// How many lanes there are.
    count: u32,
    /// The plan that each partition came with last.
    plans: FxHashMap<u32, Revision>,
}

impl Lanes {
    /// A key's own node is slow.
    pub(crate) fn own_is_slow(&mut self) {
        self.own = true;
    }

    fn slow_nodes(&mut self, base: &BasePlan) -> &Bits {
        if self.base.as_ref().is_none_or(|(of, _)| *of != base.revision) {
            let mut slow = Bits::below(base.nodes.len());
            let places = base.nodes.iter().enumerate().filter(|(_, node)| node.node.slow.is_some());
            places.for_each(|(place, _)| slow.insert(place));
            self.base = Some((base.revision, slow));
        }
        &self.base.as_ref().expect("it was just put there").1
    }
}

impl Shard {
    /// The lane of a key that has a slow node under a plan, or that has had one and rows are still on their way.
    pub(super) fn lane(&mut self, plan: &ClassPlan, key: KeyIndex, mask: &Bits) -> Option<u32> {
        let known = self.keys[key.0 as usize].lane;
        if let Some(lane) = known.filter(|lane| self.shared.busy.lane(*lane)) {
            return Some(lane);
        }
        let slow = self.lanes.slow_nodes(&plan.base);
        let slow = !slow.is_empty() && slow.common(mask) > 0;
        let own = || self.own_at(key, plan.revision).is_some_and(|own| own.slow);
        if !(slow || self.lanes.own && own()) {
            return None;
        }
        let entry = &mut self.keys[key.0 as usize];
        Some(*entry.lane.get_or_insert_with(|| {
            self.lanes.count += 1;
            self.lanes.count - 1
        }))
    }

    /// Under another plan a key may come to a lane. Its rows stay in their order all the same: before the first that
    /// may be on one, all that came before on partitions is computed. What to wait for, if so.
    pub(super) fn wait_for(&mut self, delivery: &Delivery) -> Option<impl Future<Output = ()> + use<>> {
        let before = self.lanes.plans.insert(delivery.chain, delivery.plan.revision);
        if before.is_none_or(|before| before == delivery.plan.revision) {
            return None;
        }
        let slow = self.lanes.own || !self.lanes.slow_nodes(&delivery.plan.base).is_empty();
        if !slow || defect::is_chosen(Defect::LaneEntry) || self.shared.busy.partitions.get() == 0 {
            return None;
        }
        let shared = Rc::clone(&self.shared);
        Some(async move {
            while shared.busy.partitions.get() > 0 {
                shared.busy.free.notified().await;
            }
        })
    }
}
