//! Frames: the rows of a micro-batch on one shard, in columns, grouped by key, with a write-once slot for every stream
//! of the plan it carries.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use actix::Addr;
use smallvec::SmallVec;

use super::alone::AloneOfNodes;
use super::lanes::ChainNumber;
use super::ledger::Part;
use super::node::NodeActor;
use super::run_queue::Address;
use super::tally::Tally;
use crate::topology::KeyAttributes;
use crate::topology::bits::Bits;
use crate::topology::plan::{ClassPlan, KeyPlan, PlanNeed, PlanNode, SlotNumber, To, Wiring};
use crate::topology::variant::Variant;
use crate::traits::Done;
use crate::traits::key_runs::run_of;
use crate::traits::sink::DeadLetter;
use crate::words::{Cause, Column, ColumnRef, Key, KeyIndex, Time};

/// The rows of a frame on one axis: their times and causes, those of a key together.
#[derive(Debug, Default)]
pub(crate) struct Axis {
    pub(crate) times: Vec<Time>,
    pub(crate) causes: Vec<Cause>,
    /// Where the rows of each key end.
    pub(crate) ends: Vec<u32>,
}

impl Axis {
    /// The rows of the key at place `run`.
    #[inline]
    pub(crate) fn run(&self, run: usize) -> Range<usize> {
        run_of(&self.ends, run)
    }

    /// Ends the rows of the current key.
    pub(crate) fn end_run(&mut self) {
        self.ends.push(u32::try_from(self.times.len()).expect("a frame has fewer than 2^32 rows"));
    }
}

/// A stream's values in a frame, for all its keys.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) axis: Arc<Axis>,
    pub(crate) column: Column,
    /// Whether no value is missing.
    pub(crate) complete: bool,
}

/// A stream's values of one key, written by a node of that key.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) axis: Arc<Axis>,
    /// Which run of the axis.
    pub(crate) run: usize,
    pub(crate) column: Column,
    pub(crate) complete: bool,
}

/// A stream's rows of one key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View<'a> {
    pub(crate) times: &'a [Time],
    pub(crate) causes: &'a [Cause],
    pub(crate) column: ColumnRef<'a>,
    pub(crate) complete: bool,
}

/// How many writes a node still waits for. A frame is worked on by one thread, its shard's, so that plain loads and
/// stores do; it is an atomic only because messages have to be `Send`.
#[derive(Debug, Default)]
pub(crate) struct Waits(AtomicU32);

impl Waits {
    pub(crate) fn new(count: u32) -> Self {
        Self(AtomicU32::new(count))
    }

    /// One write less; whether it was the last.
    #[inline]
    pub(crate) fn one_less(&self) -> bool {
        let left = self.0.load(Ordering::Relaxed) - 1;
        self.0.store(left, Ordering::Relaxed);
        left == 0
    }

    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The class nodes of a variant as actors of one shard.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) variant: Variant,
    /// The actor of each node.
    pub(crate) actors: Vec<Option<Addr<NodeActor>>>,
    /// The place of each node's state on the shard.
    pub(crate) cells: Vec<u32>,
    /// Bytes that all nodes write for a row.
    pub(crate) row_bytes: usize,
}

/// The nodes of one key as actors of its shard.
pub(crate) struct InstalledKey {
    pub(crate) plan: Arc<KeyPlan>,
    /// That of the plan, at hand.
    pub(crate) wiring: Arc<Wiring>,
    /// In the order of the plan.
    pub(crate) nodes: Box<[InstalledNode]>,
    /// Whether one of them may block.
    pub(crate) slow: bool,
}

/// A node of a key as an actor of its shard.
pub(crate) struct InstalledNode {
    pub(crate) plan: Arc<PlanNode>,
    pub(crate) address: Address,
    /// The place of its state on the shard.
    pub(crate) cell: u32,
}

/// What holds in a frame for all keys whose nodes hang together in the same way.
pub(crate) struct Kind {
    pub(crate) wiring: Arc<Wiring>,
    /// What each node waits for; `u32::MAX` marks one that is not woken by this frame.
    pub(crate) waits: SmallVec<[u32; 8]>,
    /// Where in the frame's gates each node is, if it waits for one.
    pub(crate) gates: SmallVec<[Option<usize>; 8]>,
    /// The class nodes, by leader, that wait for each node.
    pub(crate) feeds: SmallVec<[SmallVec<[u32; 4]>; 8]>,
    /// What is found out about each node when it first runs.
    pub(crate) alone: AloneOfNodes,
}

/// What a frame holds for a key that has nodes of its own: where its parts are in the frame's lists.
pub(crate) struct KeyFrame {
    pub(crate) installed: Arc<InstalledKey>,
    pub(crate) kind: u32,
    pub(crate) first_node: u32,
    pub(crate) first_local: u32,
}

/// A key's own node in a frame.
pub(crate) struct OwnNode {
    /// As in [`Kind::waits`].
    pub(crate) waits: Waits,
    pub(crate) ticket: u64,
}

/// The same, at hand.
#[derive(Clone, Copy)]
pub(crate) struct Own<'f> {
    pub(crate) installed: &'f InstalledKey,
    pub(crate) kind: &'f Kind,
    pub(crate) nodes: &'f [OwnNode],
    pub(crate) locals: &'f [OnceLock<Piece>],
}

/// Nodes of single keys that wait for the same class nodes.
pub(crate) struct Gate {
    pub(crate) slots: Arc<[SlotNumber]>,
    pub(crate) providers: Arc<Bits>,
    pub(crate) waits: Waits,
    /// Key and node.
    pub(crate) members: Vec<(u32, u16)>,
}

/// See the module.
pub(crate) struct Frame {
    pub(crate) plan: Arc<ClassPlan>,
    pub(crate) installed: Arc<Installed>,
    pub(crate) part: Part,
    /// Whose frames are worked on in order.
    pub(crate) chain: ChainNumber,
    /// Whether its only key has nodes that may block.
    pub(crate) slow: bool,
    pub(crate) keys: Vec<KeyIndex>,
    pub(crate) names: Vec<Key>,
    /// What is known of each key under this plan.
    pub(crate) attributes: Vec<Arc<KeyAttributes>>,
    /// The rows of each axis of the source.
    pub(crate) axes: Vec<Option<Arc<Axis>>>,
    pub(crate) slots: Box<[OnceLock<Written>]>,
    pub(crate) waits: Box<[Waits]>,
    pub(crate) tickets: Box<[u64]>,
    /// Which class nodes this frame wakes.
    pub(crate) woken: Bits,
    /// For keys with nodes of their own; empty when the frame has none.
    pub(crate) own: Vec<Option<KeyFrame>>,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) own_nodes: Vec<OwnNode>,
    pub(crate) own_locals: Box<[OnceLock<Piece>]>,
    pub(crate) gates: Vec<Gate>,
    /// Time that passed, after the rows.
    pub(crate) tick: Option<(Time, Cause)>,
    /// Whether rows that wait in nodes that do not continue are let go, and for what reason.
    pub(crate) flush: Option<Arc<Flush>>,
    /// Nodes that have not computed.
    pub(crate) computing: Waits,
    /// Sinks that have not finished; and one more while nodes compute.
    pub(crate) left: AtomicU32,
    /// See [`IntakePolicy::waiting_rows_max`](super::intake::IntakePolicy::waiting_rows_max).
    pub(crate) waiting_rows_max: usize,
    pub(crate) dead: Mutex<Vec<DeadLetter>>,
    /// About how much memory it takes until it is done.
    pub(crate) bytes: u64,
    pub(crate) tally: Arc<Tally>,
    pub(crate) span: tracing::Span,
}

/// At a switch: which states end, and the last position before it.
#[derive(Debug)]
pub(crate) struct Flush {
    pub(crate) cause: Cause,
    /// Names and births of the nodes that do not continue, sorted.
    pub(crate) departing: Vec<(crate::words::NodeId, crate::words::Revision)>,
}

impl Flush {
    pub(crate) fn ends(&self, name: &crate::words::NodeId, born: crate::words::Revision) -> bool {
        self.departing.binary_search_by(|(n, b)| (n, b).cmp(&(name, &born))).is_ok()
    }
}

impl Frame {
    /// What the nodes of the key at `run` have written into their own places.
    #[inline]
    pub(crate) fn own(&self, run: usize) -> Option<Own<'_>> {
        let key = self.own.get(run)?.as_ref()?;
        let kind = &self.kinds[key.kind as usize];
        let (first_node, first_local) = (key.first_node as usize, key.first_local as usize);
        Some(Own {
            installed: &key.installed,
            kind,
            nodes: &self.own_nodes[first_node..first_node + kind.waits.len()],
            locals: &self.own_locals[first_local..first_local + usize::from(kind.wiring.locals)],
        })
    }

    /// What was written for a need, if that is all that it asks for.
    pub(super) fn whole(&self, need: &PlanNeed, slot: SlotNumber) -> Option<&Written> {
        let written = self.slots.get(slot as usize)?.get()?;
        need.is_met(written.complete).then_some(written)
    }

    /// A node of the key at `run`, which has it.
    #[inline]
    pub(crate) fn own_node(&self, run: u32, node: u16) -> &OwnNode {
        let key = self.own[run as usize].as_ref().expect("a key with nodes of its own has them in the frame");
        &self.own_nodes[key.first_node as usize + usize::from(node)]
    }

    /// A stream's rows of the key at `run`; `None` when nobody provides it for the key, or nothing came.
    #[inline]
    pub(crate) fn view(&self, run: usize, slot: SlotNumber) -> Option<View<'_>> {
        if let Some(own) = self.own(run)
            && let Some(local) = own.kind.wiring.local_of(slot)
        {
            return own.view(local);
        }
        let written = self.slots.get(slot as usize)?.get()?;
        let rows = written.axis.run(run);
        if rows.is_empty() {
            return None;
        }
        Some(View {
            times: &written.axis.times[rows.clone()],
            causes: &written.axis.causes[rows.clone()],
            column: written.column.rows(rows),
            complete: written.complete,
        })
    }

    /// A node has computed, on the thread of the shard.
    #[inline]
    pub(crate) fn computed(self: &Arc<Self>) {
        if self.computing.one_less() {
            self.finish();
        }
    }

    /// A sink has finished, or all nodes have computed; the last of these ends the frame.
    fn finish(self: &Arc<Self>) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let mut letters = std::mem::take(&mut *self.dead.lock().expect("nobody panics with this lock"));
            letters.iter_mut().for_each(|letter| self.complete(letter));
            self.tally.frame_done(self.bytes);
            self.part.finish(letters);
        }
    }

    /// Adds what else the frame has of a failed row to its letter.
    fn complete(&self, letter: &mut DeadLetter) {
        let (Some(time), Some(key)) = (letter.time, &letter.key) else { return };
        let Some(run) = self.names.iter().position(|name| name == key) else { return };
        let value = |view: View<'_>| {
            let mut rows = view.causes.iter().zip(view.times);
            let row = rows.position(|at| at == (&letter.cause, &time))?;
            view.column.value(row)
        };
        let given: Vec<String> = letter.values.iter().map(|(name, _)| name.clone()).collect();
        let mut more = Vec::new();
        for (name, info) in &self.plan.base.names {
            more.extend(self.view(run, info.slot).and_then(value).map(|value| (name.to_string(), value)));
        }
        if let Some(own) = self.own(run) {
            let outputs = own.installed.nodes.iter().flat_map(|node| node.plan.provides.iter().zip(&node.plan.streams));
            for (to, (name, _)) in outputs {
                let To::Local(local) = to else { continue };
                more.extend(own.view(*local).and_then(value).map(|value| (name.to_string(), value)));
            }
        }
        more.retain(|(name, _)| !given.contains(name));
        more.sort_by(|one, other| one.0.cmp(&other.0));
        more.dedup_by(|one, other| one.0 == other.0);
        letter.values.extend(more);
    }

    /// The same word, to be said by a sink when what it wrote is durable.
    pub(crate) fn done(self: &Arc<Self>) -> Done {
        let frame = Arc::clone(self);
        Done::unless(&self.part.token().abandoned, move || frame.finish())
    }
}

impl<'f> Own<'f> {
    /// What a node of the key wrote.
    #[inline]
    pub(crate) fn view(&self, local: u16) -> Option<View<'f>> {
        let piece = self.locals[usize::from(local)].get()?;
        let rows = piece.axis.run(piece.run);
        (!rows.is_empty()).then(|| View {
            times: &piece.axis.times[rows.clone()],
            causes: &piece.axis.causes[rows],
            column: piece.column.as_ref(),
            complete: piece.complete,
        })
    }
}
