//! A plan: what runs. An immutable value; a new revision shares with the old one what did not change.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use immutable_chunkmap::map::MapM;

use super::attributes::Attributes;
use super::held::Held;
use super::need::NeedKind;
use super::node::{Missing, Node, RowRule};
use crate::traits::source::AxisStreams;
use crate::traits::{AnyOperator, Digest, Model};
use crate::words::{Class, ElementType, Key, NodeId, Revision, StreamName, Value};

/// The number of a stream in its class; it keeps it over revisions. Names that only nodes of single keys provide have
/// numbers from [`OWN_NAMES`] on and no slot in the frame.
pub type SlotNumber = u32;

/// See [`SlotNumber`].
pub const OWN_NAMES: SlotNumber = 1 << 31;

/// A sink by its place among all running sinks of the class, whichever of them take a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkPlace(pub u16);

/// Whose rows a stream has.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AxisLabel {
    /// Of an axis of the source.
    Source(u16),
    /// Of the node that provides this stream first.
    Own(StreamName),
}

impl fmt::Display for AxisLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Source(axis) => write!(f, "source {axis}"),
            Self::Own(name) => write!(f, "rows of {name}"),
        }
    }
}

/// All that runs for one class of keys.
#[derive(Clone)]
pub struct ClassPlan {
    /// The class.
    pub class: Class,
    /// Its number.
    pub revision: Revision,
    /// The nodes that are not limited to one key.
    pub base: Arc<BasePlan>,
    /// The nodes of single keys.
    pub keys: MapM<Key, Arc<KeyPlan>>,
    /// How many those are.
    pub own_nodes: usize,
    /// The streams that nodes of single keys provide.
    pub own_names: MapM<StreamName, OwnName>,
    /// How many nodes of single keys need a stream.
    pub own_needs: MapM<StreamName, usize>,
    /// The keys whose nodes alone may differ from those in the plan of that revision, from which this one was made;
    /// `None` where that is not known.
    pub touched: Option<(Revision, Arc<BTreeSet<Key>>)>,
}

/// A stream that nodes of single keys provide.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnName {
    /// Its number.
    pub slot: SlotNumber,
    /// Its type.
    pub element: ElementType,
    /// Whose rows it has.
    pub axis: AxisLabel,
    /// How many nodes provide it.
    pub providers: usize,
}

/// The nodes of a class that are not limited to one key, resolved.
#[derive(Clone)]
pub struct BasePlan {
    /// The revision in which it was resolved; plans that only differ in nodes of single keys share it.
    pub revision: Revision,
    /// The running nodes; a node's providers stand before it, unless in a loop.
    pub nodes: Vec<Arc<PlanNode>>,
    /// Every stream that base nodes provide or sensors bring in.
    pub names: BTreeMap<StreamName, NameInfo>,
    /// The slot of every stream, and of every column that a sensor reads.
    pub numbers: BTreeMap<StreamName, SlotNumber>,
    /// How many slots a frame has.
    pub slots: usize,
    /// The axes of the source, and where their columns go.
    pub axes: Vec<AxisStreams>,
    /// For each axis and stream of the source: the slot, if a running sensor reads it.
    pub raw_slots: Vec<Vec<Option<SlotNumber>>>,
    /// Names that somebody needs: running base nodes and sinks.
    pub demanded: BTreeSet<StreamName>,
    /// What is known of keys.
    pub attributes: Arc<Attributes>,
    /// Nodes that wait for a provider, with what they lack.
    pub pending: BTreeMap<NodeId, Vec<StreamName>>,
    /// Nodes that nobody asks for.
    pub unused: Vec<NodeId>,
}

/// What is known of a stream of a class.
#[derive(Clone, Debug, PartialEq)]
pub struct NameInfo {
    /// Its number.
    pub slot: SlotNumber,
    /// Its type.
    pub element: ElementType,
    /// Whose rows it has.
    pub axis: AxisLabel,
}

/// Where a need is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// A slot of the frame; for some keys another node of theirs may stand in.
    Slot(SlotNumber),
    /// What another node of the same key provides, by its place among them.
    Local(u16),
    /// An attribute of the key.
    Attribute(StreamName),
}

/// A need of a running node.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanNeed {
    /// Where it is read.
    pub from: From,
    /// Its type.
    pub element: ElementType,
    /// How it is read.
    pub kind: NeedKind,
    /// Whether it is on the node's own axis, so that it is read in the same row.
    pub in_row: bool,
}

impl PlanNeed {
    /// Whether it is read as of the row's time, so that its values are remembered.
    #[inline]
    pub(crate) fn is_as_of(&self) -> bool {
        self.kind.is_direct() && !self.in_row
    }

    /// Whether a column of rows on its axis, in which no value is missing or some are, is all that it asks for.
    #[inline]
    pub(crate) fn is_met(&self, complete: bool) -> bool {
        match self.kind {
            NeedKind::Optional => true,
            NeedKind::Required => complete,
            NeedKind::Previous { .. } | NeedKind::Attribute => false,
        }
    }
}

/// Where a node writes a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// A slot of the frame.
    Slot(SlotNumber),
    /// A place among what the nodes of the key provide.
    Local(u16),
}

/// A running node.
#[derive(Clone)]
pub struct PlanNode {
    /// As it was declared.
    pub node: Arc<Node>,
    /// Its name in the plan.
    pub name: NodeId,
    /// The revision in which it began to run; with the name it is the node's identity.
    pub born: Revision,
    /// What it runs; `None` for models and sinks.
    pub operator: Option<Arc<dyn AnyOperator>>,
    /// What it scores with, if that is the same for all its keys; `None` for a family of many keys.
    pub model: Option<Arc<dyn Model>>,
    /// Whether its needs are cast for that model.
    pub casts: bool,
    /// The digest of that model.
    pub artifact: Option<Digest>,
    /// What was decided about it, if anything was.
    pub held: Option<Arc<Held>>,
    /// Which of its needs came to be on other axes than its own since it began to run; `None` for most.
    pub moved: Option<Box<Moved>>,
    /// The rest, one value for nodes that differ only in key and artifact: a shard that runs a node for each of many
    /// keys reads it from the cache.
    pub shape: Arc<Shape>,
}

/// Since when needs of a running node are on other axes than its own: what is remembered of a need begins then.
#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    /// The last revision in which one did.
    pub last: Revision,
    /// For each need, and for the gate behind them, that revision; 0 for those on the node's own axis, and those that were
    /// on another when the node began to run.
    pub needs: Box<[Revision]>,
}

/// What a running node reads and writes, and on which rows. A [`PlanNode`] gives its fields as its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Its needs, resolved, in order.
    pub needs: Vec<PlanNeed>,
    /// Its gate.
    pub when: Option<PlanNeed>,
    /// Where it writes, in order.
    pub provides: Vec<To>,
    /// What it writes, in the same order.
    pub streams: Vec<(StreamName, ElementType)>,
    /// Which rows it has when its needs are on different axes.
    pub rule: RowRule,
    /// What a missing value does.
    pub missing: Missing,
    /// Whether its operator makes rows of its own.
    pub emits: bool,
    /// Whether it has rows of its own, by its operator or its rule.
    pub own_rows: bool,
    /// Whose rows it runs on: the axis of its first need that is read as a stream, or else of its first `previous`.
    pub input_axis: AxisLabel,
    /// Where the rows of that axis are, when another node makes them.
    pub axis_slot: Option<SlotNumber>,
    /// Whose rows it provides.
    pub axis: AxisLabel,
    /// Whether its rows are those of its needs: one axis, nothing gated or thinned.
    pub aligned: bool,
    /// Which loop it belongs to.
    pub in_loop: Option<u16>,
    /// For sinks: the slots it takes.
    pub takes: Vec<(StreamName, SlotNumber)>,
}

impl Deref for PlanNode {
    type Target = Shape;
    #[inline]
    fn deref(&self) -> &Shape {
        &self.shape
    }
}

impl PlanNode {
    /// Whether it is a sink.
    pub fn is_sink(&self) -> bool {
        matches!(self.node.work, super::node::Work::Sink(_))
    }

    /// Whether it computes nothing until it is resumed.
    #[inline]
    pub fn paused(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.paused)
    }

    /// Whether it is in quarantine for all keys.
    #[inline]
    pub fn quarantined(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.quarantined)
    }

    /// Whether it computes nothing for any key: it is paused, or in quarantine for all.
    #[inline]
    pub fn stands_still(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.paused || held.quarantined)
    }

    /// The revision that ended its quarantines last; 0 for none.
    #[inline]
    pub fn resumed(&self) -> Revision {
        self.held.as_ref().map_or(Revision(0), |held| held.resumed)
    }

    /// Whether another node in its place would lose what it knows of earlier rows: a state, or values that stand in for
    /// rows to come.
    pub fn remembers(&self) -> bool {
        let in_row = |need: &PlanNeed| need.in_row;
        self.has_state() || self.missing == Missing::Last || !self.needs.iter().chain(&self.when).all(in_row)
    }

    /// Whether what it writes depends on earlier rows beside those that its needs give it.
    pub fn has_state(&self) -> bool {
        self.operator.as_ref().is_some_and(|operator| !operator.table(false).is_stateless())
            || self.needs.iter().any(|need| matches!(need.kind, NeedKind::Previous { .. }))
    }
}

impl fmt::Debug for PlanNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} born in {}", self.name, self.born)
    }
}

impl Shape {
    /// Whether a need's rows are the node's: it is read in the row, or is `previous` where no stream is read otherwise.
    pub fn gives_rows(&self, need: &PlanNeed) -> bool {
        need.in_row
            && match need.kind {
                NeedKind::Required | NeedKind::Optional => true,
                NeedKind::Previous { .. } => !self.needs.iter().any(|need| need.kind.is_direct()),
                NeedKind::Attribute => false,
            }
    }

    /// Whether time that passes without rows can make it write.
    pub fn ticks(&self) -> bool {
        self.emits || matches!(self.rule, RowRule::OnAll { .. })
    }

    /// The slots of the frame that it reads; whoever writes them runs before it, unless in a loop.
    pub fn slots_read(&self) -> impl Iterator<Item = SlotNumber> {
        let needs = self.needs.iter().chain(&self.when).filter_map(|need| match need.from {
            From::Slot(slot) => Some(slot),
            From::Local(_) | From::Attribute(_) => None,
        });
        needs.chain(self.axis_slot).chain(self.takes.iter().map(|(_, slot)| *slot))
    }
}

/// The running nodes of one key, beside those of its class.
pub struct KeyPlan {
    /// In an order in which providers stand first.
    pub nodes: Vec<Arc<PlanNode>>,
    /// How they hang together: one value for keys with the same nodes.
    pub wiring: Arc<Wiring>,
}

/// How the nodes of a key hang together, with each other and with those of the class.
#[derive(Clone, Debug, PartialEq)]
pub struct Wiring {
    /// Of each node, in the order of the plan.
    pub wires: Vec<Wires>,
    /// What each node reads and writes.
    pub shapes: Vec<Arc<Shape>>,
    /// How many streams they provide.
    pub locals: u16,
    /// For streams that class nodes and sinks read: the stream's number, and where it is.
    pub stands_in: Vec<(SlotNumber, u16)>,
    /// Class nodes whose place they take, by name.
    pub overridden: Vec<NodeId>,
}

/// Who wakes a node of a key, and whom it wakes.
#[derive(Clone, Debug, PartialEq)]
pub struct Wires {
    /// The slots of the frame it reads, sorted: nodes with the same list are woken together.
    pub gate: Arc<[SlotNumber]>,
    /// The nodes of the key that it waits for.
    pub providers: Vec<u16>,
    /// The nodes of the key that wait for it.
    pub successors: Vec<u16>,
    /// The numbers of the streams it provides that class nodes read.
    pub read_as: Vec<SlotNumber>,
    /// The sinks that ask for it, and for which of its streams. Not all of them need to take the key.
    pub sinks: Vec<(SinkPlace, u16)>,
}

impl Wiring {
    /// Where a stream of the class is, if a node of this key provides it.
    #[inline]
    pub fn local_of(&self, slot: SlotNumber) -> Option<u16> {
        self.stands_in.iter().find(|(number, _)| *number == slot).map(|(_, local)| *local)
    }
}

impl BasePlan {
    /// A plan without nodes.
    pub fn empty() -> Self {
        Self {
            revision: Revision(0),
            nodes: Vec::new(),
            names: BTreeMap::new(),
            numbers: BTreeMap::new(),
            slots: 0,
            axes: Vec::new(),
            raw_slots: Vec::new(),
            demanded: BTreeSet::new(),
            attributes: Arc::default(),
            pending: BTreeMap::new(),
            unused: Vec::new(),
        }
    }

    /// The running sinks, in the order of the nodes.
    pub fn sinks(&self) -> impl Iterator<Item = (SinkPlace, &Arc<PlanNode>)> {
        let sinks = self.nodes.iter().filter(|node| node.is_sink());
        sinks.zip(0..).map(|(node, place)| (SinkPlace(place), node))
    }

    /// A node by name.
    pub fn node(&self, name: &str) -> Option<&Arc<PlanNode>> {
        self.nodes.iter().find(|node| node.name.as_str() == name)
    }
}

impl ClassPlan {
    /// The plan of revision 0: nothing runs.
    pub fn nothing(class: Class) -> Self {
        Self {
            class,
            revision: Revision(0),
            base: Arc::new(BasePlan::empty()),
            keys: MapM::default(),
            own_nodes: 0,
            own_names: MapM::default(),
            own_needs: MapM::default(),
            touched: None,
        }
    }

    /// The keys whose own nodes are not those of an earlier plan. Where it was made from that plan, this takes time in
    /// proportion to what changed.
    pub fn keys_changed_since(&self, old: &Self) -> Vec<Key> {
        let differs = |key: &Key| match (old.keys.get(key), self.keys.get(key)) {
            (Some(before), Some(now)) => !Arc::ptr_eq(before, now),
            (before, now) => before.is_some() || now.is_some(),
        };
        if let Some((revision, touched)) = &self.touched
            && *revision == old.revision
        {
            return touched.iter().filter(|key| differs(key)).cloned().collect();
        }
        let gone = (&old.keys).into_iter().map(|(key, _)| key).filter(|key| self.keys.get(*key).is_none());
        (&self.keys).into_iter().map(|(key, _)| key).filter(|key| differs(key)).chain(gone).cloned().collect()
    }

    /// All running nodes, those of the class first.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<PlanNode>> {
        let own = self.keys.into_iter().flat_map(|(_, key)| &key.nodes);
        self.base.nodes.iter().chain(own)
    }

    /// The running nodes that are limited to this key, in their order.
    pub fn own_nodes_of(&self, key: &Key) -> &[Arc<PlanNode>] {
        self.keys.get(key).map_or(&[], |own| &own.nodes)
    }

    /// A running node by name, of the class or of one key.
    pub fn node(&self, name: &NodeId) -> Option<&Arc<PlanNode>> {
        self.base.node(name).or_else(|| self.own_node(name))
    }

    /// A running node of one key by name.
    pub(crate) fn own_node(&self, name: &NodeId) -> Option<&Arc<PlanNode>> {
        let (_, key) = name.split_once('@')?;
        self.keys.get(key)?.nodes.iter().find(|node| node.name == *name)
    }

    /// The attribute of a key, typed as declared.
    pub fn attribute(&self, key: &Key, name: &StreamName) -> Option<Value> {
        self.base.attributes.of(key).get(name).cloned()
    }
}
