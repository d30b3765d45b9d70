//! What a shard knows of one node and one key, for `explain`. Most is kept anyway: states of alignment, health, drops.
//! The values of streams that are read in their own row are not; a key that somebody asks about is watched from then
//! on: its last frames are kept, for as few keys as [`WATCHED_MAX`].

use std::collections::VecDeque;
use std::sync::Arc;

use actix::{Handler, Message, MessageResult};
use rustc_hash::FxHashMap;

use super::cell::{Cell, Counts};
use super::compute::NodeRun;
use super::frame::Frame;
use super::intake::Refused;
use super::pool::Mark;
use super::shard::Shard;
use crate::topology::need::NeedKind;
use crate::topology::plan::{ClassPlan, From, PlanNeed, PlanNode, To};
use crate::words::{Key, KeyIndex, NodeId, Revision, Time, Value};

/// Keys that are watched on a shard; one more ends the oldest.
pub(crate) const WATCHED_MAX: usize = 16;
/// Frames that are kept of a watched key.
pub(crate) const FRAMES_KEPT: usize = 4;

/// Rows of a key that the intake did not let in, by cause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Drops {
    pub(crate) late: u64,
    pub(crate) duplicate: u64,
    pub(crate) ahead: u64,
}

/// A frame, and the place of the key in it.
type KeptFrame = (Arc<Frame>, usize);

/// What the shard keeps only for `explain`.
#[derive(Default)]
pub(crate) struct Watches {
    drops: FxHashMap<Key, Drops>,
    keys: VecDeque<(Key, VecDeque<KeptFrame>)>,
}

impl Watches {
    pub(crate) fn dropped(&mut self, key: &Key, why: Refused) {
        let drops = self.drops.entry(key.clone()).or_default();
        *match why {
            Refused::Late => &mut drops.late,
            Refused::Duplicate => &mut drops.duplicate,
            Refused::Ahead => &mut drops.ahead,
        } += 1;
    }

    /// Keeps a frame that has rows of a watched key.
    pub(crate) fn launched(&mut self, frame: &Arc<Frame>) {
        for (key, frames) in &mut self.keys {
            let Some(run) = frame.names.iter().position(|of| of == key) else { continue };
            if frame.axes.iter().flatten().any(|axis| !axis.run(run).is_empty()) {
                frames.truncate(FRAMES_KEPT - 1);
                frames.push_front((Arc::clone(frame), run));
            }
        }
    }

    /// Lets go of frames that keep what is over from ending.
    pub(crate) fn retire(&mut self, before: Revision) {
        self.keys.iter_mut().for_each(|(_, frames)| frames.retain(|(frame, _)| frame.plan.revision >= before));
    }

    /// The last frames of a key, the newest first, which is watched from now on.
    fn watch(&mut self, key: &Key) -> Option<Vec<KeptFrame>> {
        if let Some((_, frames)) = self.keys.iter().find(|(of, _)| of == key) {
            return Some(frames.iter().cloned().collect());
        }
        self.keys.truncate(WATCHED_MAX - 1);
        self.keys.push_front((key.clone(), VecDeque::new()));
        None
    }
}

/// Asks what a shard knows of a node and a key.
pub(crate) struct Look {
    pub(crate) plan: Arc<ClassPlan>,
    pub(crate) node: NodeId,
    pub(crate) key: Key,
}

/// What it knows.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    /// Of the node, for all keys of the shard.
    pub(crate) counts: Counts,
    /// If the key lives on the shard.
    pub(crate) key: Option<KeyLook>,
}

/// A row's value, or that there was none.
pub(crate) type LastValue = (Option<Time>, Option<Value>);

/// Of a key.
#[derive(Debug, Default)]
pub(crate) struct KeyLook {
    /// The newest time on any axis of the source.
    pub(crate) newest: Option<Time>,
    /// Rows that wait to be sorted in.
    pub(crate) waiting: usize,
    pub(crate) drops: Drops,
    /// Whether its frames had been kept before.
    pub(crate) watched: bool,
    pub(crate) quarantined: bool,
    pub(crate) last_failure: Option<String>,
    /// For a family: whether the key has an artifact.
    pub(crate) has_artifact: bool,
    /// For each need, then the gate, then what a sink takes, then what the node provides: the last there was.
    pub(crate) last: Vec<Option<LastValue>>,
    pub(crate) aligned: AlignLook,
}

/// What the alignment of a node remembers of a key.
#[derive(Debug, Default)]
pub(crate) struct AlignLook {
    /// For each need that is read as of a time, and the gate: the newest value.
    pub(crate) last: Vec<Option<(Time, Value)>>,
    /// For rows on all needs: how far each has got.
    pub(crate) newest: Vec<Option<Time>>,
    /// Rows that wait for the others.
    pub(crate) waiting: usize,
    pub(crate) first_waiting: Option<Time>,
    /// The node's last row.
    pub(crate) passed: Option<Time>,
}

impl Message for Look {
    type Result = Looked;
}

impl Handler<Look> for Shard {
    type Result = MessageResult<Look>;

    fn handle(&mut self, look: Look, _context: &mut Self::Context) -> Self::Result {
        let own = look.plan.keys.get(&look.key);
        let own = own.and_then(|own| own.nodes.iter().find(|node| node.name == look.node));
        let node = own.or_else(|| look.plan.base.node(&look.node));
        let cell = node.and_then(|node| {
            let place = self.installer.running().find(|(name, born, _)| **name == node.name && *born == node.born)?.2;
            Some((node, self.shared.cell(place)))
        });
        let counts = cell.as_ref().map(|(_, cell)| cell.borrow().counts).unwrap_or_default();
        // Also a key that has not spoken yet.
        let frames = self.shared.watches.borrow_mut().watch(&look.key);
        let key = self.index.get(&look.key).copied().map(|key| {
            let mut looked = self.look_at_key(key, &look.key);
            looked.watched = frames.is_some();
            if let Some((node, cell)) = &cell {
                looked.look_at_node(node, &cell.borrow(), key, look.plan.revision, &frames.unwrap_or_default());
                let (mark, lost) = self.shared.blocking.pools.stand(&node.name, node.born).unwrap_or_default();
                if mark.is_some_and(|mark| mark.holds(Mark::of(node))) {
                    looked.quarantined = true;
                    looked.last_failure = Some(format!("a row took longer than its budget ({lost} threads are lost)"));
                }
            }
            looked
        });
        MessageResult(Looked { counts, key })
    }
}

impl Shard {
    fn look_at_key(&self, key: KeyIndex, name: &Key) -> KeyLook {
        let axes = &self.keys[key.0 as usize].axes;
        KeyLook {
            newest: axes.iter().filter_map(|axis| axis.newest()).max(),
            waiting: axes.iter().map(|axis| axis.waiting()).sum(),
            drops: self.shared.watches.borrow().drops.get(name).copied().unwrap_or_default(),
            ..KeyLook::default()
        }
    }
}

impl KeyLook {
    fn look_at_node(&mut self, node: &PlanNode, cell: &Cell, key: KeyIndex, revision: Revision, frames: &[KeptFrame]) {
        self.quarantined = cell.health.quarantined(key);
        self.last_failure = cell.health.last_failure(key).map(str::to_owned);
        self.has_artifact = cell.member(key, revision).is_some();
        self.aligned = cell.align.get(&key).map(crate::state::KeyAlign::look).unwrap_or_default();
        // What the next row would forget is not what it would read.
        let known = cell.align.get(&key).and_then(|align| align.moved).unwrap_or(node.born);
        let since = node.moved.iter().flat_map(|moved| moved.needs.iter());
        self.aligned.last.iter_mut().zip(since).filter(|(_, since)| **since > known).for_each(|(last, _)| *last = None);
        let slot = |from: From, element| PlanNeed { from, element, kind: NeedKind::Optional, in_row: true };
        let element = crate::words::ElementType::F64;
        let taken = node.takes.iter().map(|(_, number)| slot(From::Slot(*number), element));
        let provided = node.provides.iter().map(|to| match to {
            To::Slot(number) => slot(From::Slot(*number), element),
            To::Local(local) => slot(From::Local(*local), element),
        });
        let all: Vec<PlanNeed> = node.needs.iter().chain(&node.when).cloned().chain(taken).chain(provided).collect();
        let remembered = cell.last.get(&key);
        for (number, need) in all.iter().enumerate() {
            let aligned = self.aligned.last.get(number).and_then(Option::as_ref);
            let aligned = aligned.map(|(time, value)| (Some(*time), Some(value.clone())));
            let kept = remembered.and_then(|last| last.get(number)?.as_ref()?.as_ref().value(0));
            let kept = || kept.map(|value| (None, Some(value)));
            let in_frames = || in_frames(node, need, frames);
            // `previous` reads the last value that there was, also when the last row lacked it.
            let previous = matches!(need.kind, NeedKind::Previous { .. });
            self.last.push(if previous { kept() } else { aligned.or_else(in_frames).or_else(kept) });
        }
    }
}

/// The last row of a stream in the frames that are kept. Those of another plan may have other streams in the places that
/// the node knows.
fn in_frames(node: &PlanNode, need: &PlanNeed, frames: &[KeptFrame]) -> Option<LastValue> {
    let has = |nodes: &[Arc<PlanNode>]| nodes.iter().any(|other| std::ptr::eq(other.as_ref(), node));
    let of_plan = |(frame, run): &&KeptFrame| {
        has(&frame.plan.base.nodes) || frame.own(*run).is_some_and(|own| has(&own.installed.plan.nodes))
    };
    frames.iter().filter(of_plan).find_map(|(frame, run)| {
        let view = NodeRun { frame, plan: node, only_run: None }.view(*run, need)?;
        let row = view.times.len().checked_sub(1)?;
        Some((Some(view.times[row]), view.column.value(row)))
    })
}
