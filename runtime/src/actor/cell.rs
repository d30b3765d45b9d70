//! What a node keeps on a shard: the state of its keys, and its counters.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::ailing::AilingSender;
use super::explain::Watches;
use super::guard::{Health, Quarantine};
use super::lanes::Busy;
use super::pool::Pools;
use super::run_queue::Queue;
use super::tally::{Count, Tally};
use crate::clock::{Stopwatch, SystemClock};
use crate::prefetch::{prefetch, prefetch_at};
use crate::state::KeyAlign;
use crate::topology::plan::PlanNode;
use crate::traits::{AnyTable, BadReadings, Clock, Model};
use crate::words::{Column, Key, KeyIndex, Revision};

/// How many frames stand for one whose time is measured: reading the clock costs as much as a small node.
const MEASURED_EVERY: u32 = 8;

/// Everything of one node on one shard. In a loop it is the leader's actor that touches it. What every node looks at for
/// every frame comes first, and is all that [`Cell::prefetch_hot`] asks for.
#[repr(C)]
pub(crate) struct Cell {
    /// The operator's states; `None` for sinks and families.
    pub(crate) table: Option<Box<dyn AnyTable>>,
    pub(crate) health: Health,
    pub(crate) counts: Counts,
    /// Frames that the node is through with; in a loop its leader counts them.
    pub(crate) frames: u64,
    /// About how long it has computed: one frame in [`MEASURED_EVERY`] is measured.
    pub(crate) busy: Duration,
    /// For nodes whose needs are on several axes, or whose rows are gated or thinned.
    pub(crate) align: FxHashMap<KeyIndex, KeyAlign>,
    /// For nodes that need `previous` or hold the last value: a column of one row for each need.
    pub(crate) last: FxHashMap<KeyIndex, Vec<Option<Column>>>,
    /// What a sensor could not use.
    pub(crate) bad: BadReadings,
    /// Values that rows did not find, as they are no longer among the last `as_of_rows`.
    pub(crate) forgotten: u64,
    /// How often a call, or a row of a slow node, took longer than its budget.
    pub(crate) overruns: u64,
    /// For families: each key's artifacts, by the revision from which they are in force.
    pub(crate) members: Vec<Artifacts>,
}

/// The artifacts of a key, by the revision from which they are in force; nearly always one.
pub(crate) type Artifacts = SmallVec<[(Revision, Option<Arc<dyn Model>>); 1]>;

/// What became of a node's rows; they add up: `rows` is the sum of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Rows that came: those of its axis, or that its rule, gate and thinning let be rows of it.
    pub rows: u64,
    /// Rows that were computed.
    pub computed: u64,
    /// Rows that lacked a needed value, whether the node stood still or not; or an artifact.
    pub skipped: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Rows that came while the node was quarantined for their key.
    pub quarantined: u64,
    /// Rows that came while the node was paused.
    pub paused: u64,
}

impl Counts {
    /// Adds those of another shard.
    pub fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.computed += other.computed;
        self.skipped += other.skipped;
        self.failed += other.failed;
        self.quarantined += other.quarantined;
        self.paused += other.paused;
    }
}

impl Cell {
    /// Nothing yet.
    pub(crate) fn new(plan: &PlanNode, quarantine: Option<Quarantine>) -> Self {
        let mut cell = Self {
            table: None,
            align: FxHashMap::default(),
            last: FxHashMap::default(),
            health: Health::new(quarantine),
            counts: Counts::default(),
            bad: BadReadings::default(),
            forgotten: 0,
            frames: 0,
            busy: Duration::ZERO,
            overruns: 0,
            members: Vec::new(),
        };
        cell.give_table(plan);
        cell
    }

    /// The table of the node's operator, if it has one and there is none yet.
    pub(crate) fn give_table(&mut self, plan: &PlanNode) {
        let many = plan.node.only_key().is_none();
        if self.table.is_none() {
            self.table = plan.operator.as_ref().map(|operator| operator.table(many));
        }
    }

    /// Forgets the values of needs that were on the node's own axis since they came: a key may have had no rows then, or the
    /// node may have looked at none but those.
    pub(super) fn forget_moved(&mut self, plan: &PlanNode, key: KeyIndex) {
        let Some(moved) = &plan.moved else { return };
        let align = self.align.entry(key).or_default();
        let known = align.moved.replace(moved.last);
        if known < Some(moved.last) {
            let known = known.unwrap_or(plan.born);
            let stale = align.histories.iter_mut().zip(moved.needs.iter()).filter(|(_, since)| **since > known);
            stale.for_each(|(history, _)| *history = None);
        }
    }

    /// Asks for what every frame looks at to be brought near.
    pub(super) fn prefetch_hot(cell: &RefCell<Self>) {
        // Before the value is the count of borrows; `align` is the first that not every node looks at.
        prefetch_at(std::ptr::from_ref(cell).addr(), size_of::<isize>() + std::mem::offset_of!(Self, align));
    }

    /// A watch, if the time of the next frame is to be measured.
    pub(super) fn watch(&self) -> Option<Stopwatch> {
        self.frames.is_multiple_of(u64::from(MEASURED_EVERY)).then(Stopwatch::start)
    }

    /// The node is through with a frame; whether it was seen to take longer than its budget.
    pub(super) fn frame_done(&mut self, watch: Option<Stopwatch>, budget: Duration) -> bool {
        self.frames += 1;
        let Some(elapsed) = watch.map(|watch| watch.elapsed()) else { return false };
        self.busy += elapsed * MEASURED_EVERY;
        self.overruns += u64::from(elapsed > budget);
        elapsed > budget
    }

    /// About how many bytes the states and artifacts of its keys take; an artifact that keys share counts once.
    pub(crate) fn bytes(&self) -> usize {
        let models = self.members.iter().flatten().filter_map(|(_, model)| model.as_ref());
        let mut counted = FxHashSet::default();
        let models = models.filter(|model| counted.insert(Arc::as_ptr(model).cast::<()>()));
        self.table.as_ref().map_or(0, |table| table.bytes()) + models.map(|model| model.bytes()).sum::<usize>()
    }

    /// Asks for the place of a key's state, or of its artifact, to be brought near.
    pub(super) fn prefetch(&self, key: KeyIndex) {
        match &self.table {
            Some(table) => table.prefetch(key),
            None => self.members.get(key.0 as usize).into_iter().for_each(prefetch),
        }
    }

    /// Asks for a key's artifact itself, which [`Cell::prefetch`] has asked for the place of.
    pub(super) fn prefetch_model(&self, key: KeyIndex, revision: Revision) {
        if let Some(model) = self.member(key, revision) {
            prefetch(model.as_ref());
        }
    }

    /// The artifact of a key in force at a revision: the newest that is not above it.
    pub(crate) fn member(&self, key: KeyIndex, revision: Revision) -> Option<&Arc<dyn Model>> {
        artifact(&self.members, key, revision)
    }
}

/// See [`Cell::member`].
pub(super) fn artifact(members: &[Artifacts], key: KeyIndex, revision: Revision) -> Option<&Arc<dyn Model>> {
    members.get(key.0 as usize)?.iter().rev().find(|(from, _)| *from <= revision)?.1.as_ref()
}

/// What the actors of a shard share: they all run on its thread.
#[derive(Default)]
pub(crate) struct Shared {
    /// The states of all nodes, by place.
    pub(crate) cells: RefCell<Vec<Option<Rc<RefCell<Cell>>>>>,
    /// The actors of keys' own nodes.
    pub(super) queue: Rc<Queue>,
    /// The keys that the shard has met.
    pub(crate) keys: RefCell<Vec<Key>>,
    /// What all of them have counted.
    pub(crate) tally: Arc<Tally>,
    /// What is kept for whoever asks about a key.
    pub(crate) watches: RefCell<Watches>,
    pub(crate) busy: Busy,
    /// For nodes that may block.
    pub(crate) blocking: Arc<Blocking>,
    pub(crate) quarantine: Option<Quarantine>,
    /// Where nodes that fail are named; `None` where nobody looks after them.
    pub(crate) ailing: Option<AilingSender>,
}

/// What nodes that may block have in common over the shards of a class.
pub(crate) struct Blocking {
    pub(crate) clock: Arc<dyn Clock>,
    /// How long a call of any other node may take before it counts as an overrun.
    pub(crate) budget: Duration,
    pub(crate) pools: Pools,
}

impl Default for Blocking {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock::default()), Duration::MAX)
    }
}

impl Blocking {
    pub(crate) fn new(clock: Arc<dyn Clock>, budget: Duration) -> Self {
        Self { clock, budget, pools: Pools::default() }
    }
}

impl Shared {
    pub(crate) fn cell(&self, place: u32) -> Rc<RefCell<Cell>> {
        let cells = self.cells.borrow();
        Rc::clone(cells[place as usize].as_ref().expect("a frame's nodes have states until it is finished"))
    }

    /// A node is through with a frame; the first time that one takes too long is said.
    pub(super) fn frame_done(&self, plan: &PlanNode, cell: &mut Cell, watch: Option<Stopwatch>) {
        let budget = self.blocking.budget;
        if !cell.frame_done(watch, budget) {
            return;
        }
        self.tally.add(Count::Overruns, 1);
        if cell.overruns == 1 {
            let node = &plan.name;
            tracing::warn!(%node, ?budget, "a node held its shard for longer than its budget; declare it slow if it may");
        }
    }
}
