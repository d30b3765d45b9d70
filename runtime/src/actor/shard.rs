//! A shard: one thread, the keys of a class pinned to it, and the actor through which their rows come in.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use actix::{Actor, AsyncContext, Context, Handler, Message};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::ailing::AilingSender;
use super::cell::{Blocking, Shared};
use super::frame::{Flush, InstalledKey};
use super::gather::Gathering;
use super::guard::Quarantine;
use super::install::Installer;
use super::intake::{IntakeCounts, IntakePolicy};
use super::key_order::KeyOrder;
use super::lanes::{ByChain, Lanes};
use super::ledger::Part;
use super::node::AbortOnPanic;
use super::tally::Tally;
use crate::state::{AxisClock, KeyRecord};
use crate::topology::KeyAttributes;
use crate::topology::bits::Bits;
use crate::topology::plan::ClassPlan;
use crate::topology::variant;
use crate::traits::source::{RawRecord, RowsRecord};
use crate::traits::{Decode, Sink};
use crate::words::{Binding, Cause, Key, KeyIndex, Offset, Revision, ShardIndex, Time};

/// What a shard is started with.
pub(crate) struct ShardOptions {
    pub(crate) shard: ShardIndex,
    pub(crate) sinks: Arc<RwLock<HashMap<Binding, Arc<dyn Sink>>>>,
    pub(crate) decoder: Option<Arc<dyn Decode>>,
    pub(crate) policy: IntakePolicy,
    /// Keys in a frame.
    pub(crate) frame_keys: usize,
    /// Frames that can be in flight on this shard.
    pub(crate) mailbox: usize,
    /// Most keys.
    pub(crate) keys_max: usize,
    /// Where it counts.
    pub(crate) tally: Arc<Tally>,
    /// For nodes that may block.
    pub(crate) blocking: Arc<Blocking>,
    pub(crate) quarantine: Option<Quarantine>,
    pub(crate) ailing: AilingSender,
}

/// See the module.
pub(crate) struct Shard {
    pub(super) options: ShardOptions,
    pub(super) shared: Rc<Shared>,
    pub(super) installer: Installer,
    pub(super) index: FxHashMap<Key, KeyIndex>,
    pub(super) order: KeyOrder,
    pub(super) keys: Vec<KeyEntry>,
    /// Staged plans that are not retired, in order.
    pub(super) plans: Vec<Arc<ClassPlan>>,
    queue: VecDeque<Delivery>,
    /// The next turns of class nodes, by the place of the state and the chain.
    pub(super) tickets: Vec<ByChain<u64>>,
    pub(super) lanes: Lanes,
    pub(super) counts: IntakeCounts,
    /// For each key its place in the frame in the making, if `marks` says so.
    pub(super) run_of: Vec<(u64, u32)>,
    pub(super) mark: u64,
    pub(super) last_offset: FxHashMap<u32, (Offset, u32)>,
    /// The nodes of every key, under a base plan without selectors.
    uniform: Option<(Revision, Arc<Bits>)>,
    working: bool,
}

/// What a shard keeps of a key.
pub(super) struct KeyEntry {
    pub(super) partition: u32,
    pub(super) axes: SmallVec<[AxisClock; 1]>,
    /// The latest tick, for axes that have no rows yet.
    pub(super) ticked: Time,
    /// The key's own nodes, by the revision from which they are in force.
    pub(super) own: SmallVec<[(Revision, Option<Arc<InstalledKey>>); 1]>,
    /// Its chain while it has slow nodes, once it had.
    pub(super) lane: Option<u32>,
    /// Tickets of its own nodes, by the place of their state.
    pub(super) own_tickets: SmallVec<[(u32, u64); 4]>,
    /// What is known of it under a base plan.
    pub(super) attributes: (Revision, Arc<KeyAttributes>),
    /// Its class nodes under a base plan; only kept where selectors differ by key.
    mask: Option<(Revision, Arc<Bits>)>,
    /// Offset and log time of its last record, for what is let go by a tick.
    pub(super) like: Option<(Offset, Option<Time>)>,
}

/// Part of a micro-batch, for one shard.
pub(crate) struct Delivery {
    pub(crate) part: Part,
    pub(crate) plan: Arc<ClassPlan>,
    /// The partition, by its number on all shards.
    pub(crate) chain: u32,
    pub(crate) what: Delivered,
}

/// What is delivered.
pub(crate) enum Delivered {
    /// Decoded rows.
    Rows(VecDeque<RowsRecord>),
    /// Records to decode here, and those of them that are decoded.
    Raw(VecDeque<RawRecord>, VecDeque<RowsRecord>),
    /// Time has passed, after a position. Keys from this number on have not been told.
    Tick(Time, Cause, usize),
    /// A plan ends: what waits in nodes that do not continue is let go. Keys from this number on have not been told.
    Flush(Arc<Flush>, usize),
    /// What was saved of keys of the partition; the first that comes of it.
    Restore(Vec<KeyRecord>),
}

impl Message for Delivery {
    type Result = ();
}

/// Most frames of a step that tells all keys something; the rest are for the next.
const ALL_KEYS_FRAMES: usize = 1_024;
/// How long a step waits before it looks again whether there is room for its frames.
const ROOM_LOOK: Duration = Duration::from_millis(1);

/// Takes up the next piece of work.
struct Step;

impl Message for Step {
    type Result = ();
}

impl Shard {
    pub(crate) fn new(options: ShardOptions) -> Self {
        let (tally, blocking) = (Arc::clone(&options.tally), Arc::clone(&options.blocking));
        let ailing = Some(options.ailing.clone());
        let shared = Shared { tally, blocking, quarantine: options.quarantine, ailing, ..Shared::default() };
        let shared = Rc::new(shared);
        let installer = Installer::new(options.shard, Rc::clone(&shared), Arc::clone(&options.sinks), options.mailbox);
        Self {
            options,
            shared,
            installer,
            index: FxHashMap::default(),
            order: KeyOrder::default(),
            keys: Vec::new(),
            plans: Vec::new(),
            queue: VecDeque::new(),
            tickets: Vec::new(),
            lanes: Lanes::default(),
            counts: IntakeCounts::default(),
            run_of: Vec::new(),
            mark: 0,
            last_offset: FxHashMap::default(),
            uniform: None,
            working: false,
        }
    }

    /// Works on the first delivery until a frame is full; whether there is more to do.
    fn step(&mut self) -> bool {
        let Some(mut delivery) = self.queue.pop_front() else { return false };
        let more = match &mut delivery.what {
            Delivered::Rows(records) => {
                let mut records = std::mem::take(records);
                self.take_rows(&delivery, &mut records);
                let more = !records.is_empty();
                delivery.what = Delivered::Rows(records);
                more
            }
            Delivered::Raw(records, decoded) => {
                let (mut records, mut decoded) = (std::mem::take(records), std::mem::take(decoded));
                // A chunk of raw records is gathered to its end before the next is decoded.
                if decoded.is_empty() {
                    self.decode(&delivery, &mut records, &mut decoded);
                }
                self.take_rows(&delivery, &mut decoded);
                let more = !records.is_empty() || !decoded.is_empty();
                delivery.what = Delivered::Raw(records, decoded);
                more
            }
            Delivered::Tick(now, cause, next) => {
                let (now, cause, next) = (*now, *cause, *next);
                let next = self.all_keys(&delivery, next, Some((now, cause)), None);
                delivery.what = Delivered::Tick(now, cause, next);
                next < self.keys.len()
            }
            Delivered::Restore(records) => {
                let records = std::mem::take(records);
                self.restore(&delivery.plan, delivery.chain, records);
                false
            }
            Delivered::Flush(flush, next) => {
                let (flush, next) = (Arc::clone(flush), *next);
                let next = self.all_keys(&delivery, next, None, Some(&flush));
                delivery.what = Delivered::Flush(flush, next);
                next < self.keys.len()
            }
        };
        self.options.tally.intake(&self.counts, self.keys.len());
        if more {
            self.queue.push_front(delivery);
        } else {
            self.options.tally.taken_one();
            delivery.part.finish(Vec::new());
        }
        !self.queue.is_empty()
    }

    /// Whether the frames that the next step can make fit the nodes' mailboxes beside those that are there.
    fn has_room(&self, delivery: &Delivery) -> bool {
        let most = match &delivery.what {
            Delivered::Rows(records) => records.len(),
            // Each record has one key, and so many are decoded at once.
            Delivered::Raw(..) => self.options.frame_keys,
            Delivered::Tick(..) | Delivered::Flush(..) => ALL_KEYS_FRAMES,
            Delivered::Restore(_) => 0,
        };
        let there = self.options.tally.frames_in_flight() as usize;
        there == 0 || there + most <= self.options.mailbox
    }

    /// The frame in the making that a key's rows go to; `None` when its nodes are one set too many.
    pub(super) fn frame_of(
        &mut self,
        delivery: &Delivery,
        key: KeyIndex,
        axes: usize,
        gathering: &mut Vec<(Arc<Bits>, Gathering)>,
    ) -> Option<usize> {
        let mask = self.mask(&delivery.plan, key);
        let lane = self.lane(&delivery.plan, key, &mask);
        let found = match lane {
            Some(_) => gathering.iter().position(|(_, other)| other.lane == lane),
            None => gathering
                .iter()
                .position(|(other, frame)| frame.lane.is_none() && (Arc::ptr_eq(other, &mask) || *other == mask)),
        };
        if found.is_none() {
            if !self.installer.takes(&delivery.plan, &mask, gathering.len()) {
                return None;
            }
            gathering.push((mask, Gathering::new(axes, lane)));
        }
        found.or(Some(gathering.len() - 1))
    }

    /// The place of a key in the frame in the making that its rows go to.
    pub(super) fn run_in(&mut self, frame: &mut Gathering, key: KeyIndex, name: &Key) -> u32 {
        if self.run_of.len() <= key.0 as usize {
            self.run_of.resize(key.0 as usize + 1, (0, 0));
        }
        let (mark, run) = self.run_of[key.0 as usize];
        let run = if mark == self.mark { run } else { frame.key(key, name.clone()) };
        self.run_of[key.0 as usize] = (self.mark, run);
        run
    }

    /// Which class nodes a key has.
    pub(super) fn mask(&mut self, plan: &ClassPlan, key: KeyIndex) -> Arc<Bits> {
        let base = plan.base.revision;
        if let Some((of, mask)) = &self.uniform
            && *of == base
        {
            return Arc::clone(mask);
        }
        let entry = &mut self.keys[key.0 as usize];
        if let Some((of, mask)) = &entry.mask
            && *of == base
        {
            return Arc::clone(mask);
        }
        let attributes = self.attributes(plan, key);
        let entry = &mut self.keys[key.0 as usize];
        let mask = Arc::new(variant::mask(&plan.base, &self.shared.keys.borrow()[key.0 as usize], &attributes));
        if variant::only_one(&plan.base) {
            self.uniform = Some((base, Arc::clone(&mask)));
        } else {
            entry.mask = Some((base, Arc::clone(&mask)));
        }
        mask
    }

    /// What is known of a key under a plan.
    pub(super) fn attributes(&mut self, plan: &ClassPlan, key: KeyIndex) -> Arc<KeyAttributes> {
        let entry = &mut self.keys[key.0 as usize];
        if entry.attributes.0 != plan.base.revision {
            let name = &self.shared.keys.borrow()[key.0 as usize];
            entry.attributes = (plan.base.revision, plan.base.attributes.of(name));
        }
        Arc::clone(&entry.attributes.1)
    }

    /// A key speaks for the first time.
    pub(super) fn meet(&mut self, plan: &ClassPlan, chain: u32, name: &Key) -> KeyIndex {
        let key = KeyIndex(u32::try_from(self.keys.len()).expect("fewer than 2^32 keys"));
        self.index.insert(name.clone(), key);
        self.shared.keys.borrow_mut().push(name.clone());
        self.keys.push(KeyEntry {
            partition: chain,
            axes: SmallVec::new(),
            ticked: Time::MIN,
            own: SmallVec::new(),
            lane: None,
            own_tickets: SmallVec::new(),
            attributes: (plan.base.revision, plan.base.attributes.of(name)),
            mask: None,
            like: None,
        });
        let plans = self.plans.clone();
        for plan in &plans {
            self.installer.members(plan, key);
            self.install_own(plan, name, key);
        }
        key
    }

    /// Puts a key's own nodes of a plan in force, if they differ from those before.
    pub(super) fn install_own(&mut self, plan: &ClassPlan, name: &Key, key: KeyIndex) {
        let before = self.keys[key.0 as usize].own.last().and_then(|(_, own)| own.as_ref().map(|own| &own.plan));
        let now = plan.keys.get(name);
        let same = match (before, now) {
            (Some(before), Some(now)) => Arc::ptr_eq(before, now),
            (None, None) => true,
            _ => false,
        };
        if !same {
            let installed = now.map(|now| self.installer.key(now));
            if installed.as_ref().is_some_and(|own| own.slow) {
                self.lanes.own_is_slow();
            }
            self.keys[key.0 as usize].own.push((plan.revision, installed));
        }
    }

    /// Frames for the keys of a partition from a number on: time has passed, or what waits in nodes that do not continue
    /// is let go. The number of the first key that is left.
    fn all_keys(
        &mut self,
        delivery: &Delivery,
        from: usize,
        tick: Option<(Time, Cause)>,
        flush: Option<&Arc<Flush>>,
    ) -> usize {
        let axes = delivery.plan.base.axes.len();
        self.mark += 1;
        // Rows from within `reorder` may still come to the nodes.
        let told = tick.map(|(now, cause)| (now.minus(self.options.policy.reorder), cause));
        let mut gathering: Vec<(Arc<Bits>, Gathering)> = Vec::new();
        let (mut index, mut launched) = (from, 0);
        while index < self.keys.len() && launched + gathering.len() < ALL_KEYS_FRAMES {
            let key = KeyIndex(u32::try_from(index).expect("fewer than 2^32 keys"));
            let of_partition = self.keys[index].partition == delivery.chain;
            index += 1;
            // A key whose rows are refused has nothing to tell the time to.
            let place = if of_partition { self.frame_of(delivery, key, axes, &mut gathering) } else { None };
            let Some(place) = place else { continue };
            let name = self.shared.keys.borrow()[key.0 as usize].clone();
            let run = self.run_in(&mut gathering[place].1, key, &name);
            if let Some((now, cause)) = tick {
                let policy = self.options.policy;
                let entry = &mut self.keys[key.0 as usize];
                entry.ticked = entry.ticked.max(now);
                let (offset, log_time) = entry.like.unwrap_or((cause.offset, None));
                for (axis, clock) in entry.axes.iter_mut().enumerate() {
                    let axis = u16::try_from(axis).expect("a source has few axes");
                    let (times, columns, key) = (Vec::new(), Vec::new(), name.clone());
                    let like = RowsRecord { offset, log_time, key, axis, times, columns };
                    if let Some(piece) = clock.tick(now, || like.clone(), cause, &policy) {
                        gathering[place].1.rows(run, &Arc::new(like), 0, piece);
                    }
                }
            }
            if gathering[place].1.keys.len() >= self.options.frame_keys || gathering[place].1.lane.is_some() {
                let (mask, mut frame) = gathering.swap_remove(place);
                self.launch(delivery, &mask, &mut frame, told, flush);
                launched += 1;
            }
        }
        for (mask, mut frame) in gathering {
            self.launch(delivery, &mask, &mut frame, told, flush);
        }
        index
    }
}

impl Actor for Shard {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.set_mailbox_capacity(self.options.mailbox);
    }
}

impl Handler<Delivery> for Shard {
    type Result = ();

    fn handle(&mut self, delivery: Delivery, context: &mut Self::Context) {
        self.queue.push_back(delivery);
        if !self.working {
            self.working = true;
            context.notify(Step);
        }
    }
}

impl Handler<Step> for Shard {
    type Result = ();

    fn handle(&mut self, _step: Step, context: &mut Self::Context) {
        let _guard = AbortOnPanic;
        let Some(delivery) = self.queue.pop_front() else {
            self.working = false;
            return;
        };
        if !self.has_room(&delivery) {
            self.queue.push_front(delivery);
            context.notify_later(Step, ROOM_LOOK);
            return;
        }
        let waiting = self.wait_for(&delivery);
        self.queue.push_front(delivery);
        if let Some(waiting) = waiting {
            context.wait(actix::fut::wrap_future(waiting));
            context.notify(Step);
            return;
        }
        self.working = self.step();
        if self.working {
            // The nodes work on the frame while it is in the cache, before the next is made.
            context.wait(actix::fut::wrap_future(tokio::task::yield_now()));
            context.notify(Step);
        }
    }
}
