//! What a plan means: which nodes run, on which axis their rows are, who provides a name for a key, and in which order
//! the nodes of a key compute.

use std::collections::{BTreeMap, BTreeSet};

use gristmill::topology::{Ask, Need, NeedKind, Node, NodeKind, SinkNode, Work};
use gristmill::traits::source::AxisStreams;
use gristmill::words::{Key, NodeId, StreamName};

use super::case::PlanVersion;

/// What rows lie on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Axis {
    /// An axis of the source.
    Source(u16),
    /// The axis of a node's own rows, by the node's first provided stream.
    Own(StreamName),
}

/// A plan, looked at as a whole.
pub(crate) struct Plan<'c> {
    pub(crate) number: usize,
    pub(crate) version: &'c PlanVersion,
    /// The axis of every stream whose providers all reach back to sensors.
    pub(crate) axes: BTreeMap<StreamName, Axis>,
    /// Nodes that some sink asks for, but for the sinks.
    pub(crate) running: Vec<&'c Node>,
}

/// A plan, looked at for one key.
pub(crate) struct KeyPlan<'c> {
    /// Who provides each name.
    pub(crate) providers: BTreeMap<StreamName, &'c Node>,
    /// The nodes that run, in order; those of a loop together.
    pub(crate) groups: Vec<Vec<&'c Node>>,
    /// Nodes that take the key and yield to a more specific one.
    pub(crate) overridden: usize,
}

/// What a sensor reads: axis of the source, and place in it.
pub(crate) fn raw_column(node: &Node, axes: &[AxisStreams]) -> Option<(u16, usize)> {
    let Work::Sensor { raw, .. } = &node.work else { return None };
    axes.iter().enumerate().find_map(|(axis, streams)| {
        let place = streams.streams.iter().position(|(name, _)| name == raw)?;
        Some((u16::try_from(axis).expect("a source has few axes"), place))
    })
}

/// The needs on whose axis a node may have its rows: those that it reads as streams, or else the previous ones.
pub(crate) fn row_needs(node: &Node) -> impl Iterator<Item = &Need> {
    let is_direct = node.needs.iter().any(Need::is_direct);
    let gives = move |need: &&Need| match need.kind {
        NeedKind::Required | NeedKind::Optional => true,
        NeedKind::Previous { .. } => !is_direct,
        NeedKind::Attribute => false,
    };
    node.needs.iter().filter(gives)
}

/// The need whose axis a node has.
pub(crate) fn first_need(node: &Node) -> Option<&Need> {
    row_needs(node).next()
}

/// Whether a node reads streams of earlier rows only.
pub(crate) fn is_of_previous_only(node: &Node) -> bool {
    first_need(node).is_some_and(|need| !need.is_direct())
}

/// All streams a node reads in any way, with whether it reads them within the row.
pub(crate) fn reads(node: &Node) -> Vec<(&StreamName, bool)> {
    let mut reads: Vec<(&StreamName, bool)> = Vec::new();
    for need in &node.needs {
        match need.kind {
            NeedKind::Required | NeedKind::Optional => reads.push((&need.name, true)),
            NeedKind::Previous { .. } => reads.push((&need.name, false)),
            NeedKind::Attribute => {}
        }
    }
    reads.extend(node.when.iter().map(|gate| (gate, true)));
    reads
}

pub(crate) fn provides(node: &Node, name: &StreamName) -> bool {
    node.provides.iter().any(|(provided, _)| provided == name)
}

pub(crate) fn sink_node(node: &Node) -> Option<&SinkNode> {
    match &node.work {
        Work::Sink(sink) => Some(sink),
        _ => None,
    }
}

impl<'c> Plan<'c> {
    pub(crate) fn new(number: usize, version: &'c PlanVersion, source: &[AxisStreams]) -> Self {
        let mut plan = Self { number, version, axes: BTreeMap::new(), running: Vec::new() };
        plan.find_axes(source);
        plan.find_running();
        plan
    }

    pub(crate) fn sinks(&self) -> impl Iterator<Item = &'c Node> {
        self.version.nodes.iter().filter(|node| sink_node(node).is_some())
    }

    /// The axis that a node reads its rows from under rule First, known once that of its first need is.
    pub(crate) fn axis_in(&self, node: &Node, source: &[AxisStreams]) -> Option<Axis> {
        match &node.work {
            Work::Sensor { .. } => raw_column(node, source).map(|(axis, _)| Axis::Source(axis)),
            _ => self.axes.get(&first_need(node)?.name).cloned(),
        }
    }

    /// The axis that a node writes on.
    pub(crate) fn axis_out(&self, node: &Node, source: &[AxisStreams]) -> Option<Axis> {
        if node.own_rows() {
            node.provides.first().map(|(name, _)| Axis::Own(name.clone()))
        } else {
            self.axis_in(node, source)
        }
    }

    fn find_axes(&mut self, source: &[AxisStreams]) {
        loop {
            let before = self.axes.len();
            for node in &self.version.nodes {
                if let Some(axis) = self.axis_out(node, source) {
                    for (name, _) in &node.provides {
                        self.axes.entry(name.clone()).or_insert_with(|| axis.clone());
                    }
                }
            }
            if self.axes.len() == before {
                return;
            }
        }
    }

    /// The streams that a sink asks for, as far as they are provided.
    pub(crate) fn asked(&self, sink: &SinkNode) -> BTreeSet<StreamName> {
        let provided = |node: &'c Node| node.provides.iter().map(|(name, _)| name.clone());
        let mut asked = BTreeSet::new();
        for ask in &sink.asks {
            for node in &self.version.nodes {
                asked.extend(provided(node).filter(|name| match ask {
                    Ask::Stream(stream) => stream == name,
                    Ask::AllModels => node.kind == NodeKind::Model,
                    Ask::Pattern(pattern) => pattern.matches(name),
                }));
            }
        }
        asked
    }

    fn find_running(&mut self) {
        let mut asked = BTreeSet::new();
        for sink in self.sinks() {
            asked.extend(self.asked(sink_node(sink).expect("only sinks are listed")));
        }
        loop {
            let before = asked.len();
            self.running =
                self.version.nodes.iter().filter(|node| asked.iter().any(|name| provides(node, name))).collect();
            for node in &self.running {
                asked.extend(reads(node).into_iter().map(|(name, _)| name.clone()));
            }
            if asked.len() == before {
                return;
            }
        }
    }

    /// Whether a node of this name runs, with what its state depends on.
    pub(crate) fn runs(&self, name: &NodeId, content: &str) -> bool {
        self.running.iter().any(|node| node.name() == *name && self.version.state_of(node) == content)
    }

    /// The node that provides `name` for a key: of those that take it the most specific, then that of the highest
    /// priority.
    fn provider(&self, name: &StreamName, key: &Key) -> Option<&'c Node> {
        let attributes = self.version.attributes.of(key);
        let takes = |node: &&&Node| provides(node, name) && node.selector.takes(key, &attributes);
        self.running.iter().filter(takes).max_by_key(|node| (node.selector.rank(), node.priority)).copied()
    }

    pub(crate) fn for_key(&self, key: &Key) -> KeyPlan<'c> {
        let attributes = self.version.attributes.of(key);
        let mut providers = BTreeMap::new();
        for node in &self.running {
            for (name, _) in &node.provides {
                if let Some(provider) = self.provider(name, key) {
                    providers.insert(name.clone(), provider);
                }
            }
        }
        let takes = |node: &&&Node| node.selector.takes(key, &attributes);
        let wins = |node: &Node| node.provides.iter().all(|(name, _)| std::ptr::eq(providers[name], node));
        let (nodes, overridden): (Vec<&Node>, Vec<&Node>) =
            self.running.iter().filter(takes).copied().partition(|node| wins(node));
        let groups = order(&nodes, &providers, &self.axes);
        KeyPlan { providers, groups, overridden: overridden.len() }
    }
}

/// Groups nodes that reach each other, through `previous` too, and puts the groups, and the nodes in them, after those
/// that they read, and after the one whose rows they have.
pub(crate) fn order<'c>(
    nodes: &[&'c Node],
    providers: &BTreeMap<StreamName, &'c Node>,
    axes: &BTreeMap<StreamName, Axis>,
) -> Vec<Vec<&'c Node>> {
    let place = |node: &Node| nodes.iter().position(|other| std::ptr::eq(*other, node));
    // Nobody may provide the first need for a key: its axis gives the rows all the same.
    let maker = |node: &Node| match axes.get(&first_need(node)?.name)? {
        Axis::Own(name) if !provides(node, name) => place(providers.get(name)?),
        _ => None,
    };
    let upstream = |node: &Node, all: bool| -> BTreeSet<usize> {
        let read = reads(node).into_iter().filter(|(_, within)| all || *within);
        read.filter_map(|(name, _)| place(providers.get(name)?)).chain(maker(node)).collect()
    };
    // behind[n]: every node that n reads, directly or not.
    let mut behind: Vec<BTreeSet<usize>> = nodes.iter().map(|node| upstream(node, true)).collect();
    for _ in nodes {
        for node in 0..nodes.len() {
            let further: BTreeSet<usize> = behind[node].iter().flat_map(|near| behind[*near].clone()).collect();
            behind[node].extend(further);
        }
    }
    let mut groups: Vec<Vec<&Node>> = Vec::new();
    let mut done: BTreeSet<usize> = BTreeSet::new();
    while done.len() < nodes.len() {
        let next = (0..nodes.len()).find(|node| {
            let of_others = behind[*node].iter().filter(|near| !behind[**near].contains(node));
            !done.contains(node) && of_others.into_iter().all(|near| done.contains(near))
        });
        let next = next.expect("groups that reach each other are one group");
        let mut group: Vec<usize> = (0..nodes.len())
            .filter(|node| *node == next || (behind[next].contains(node) && behind[*node].contains(&next)))
            .collect();
        done.extend(&group);
        let mut members = Vec::new();
        while !group.is_empty() {
            let ready = |node: &usize| upstream(nodes[*node], false).iter().all(|near| !group.contains(near));
            let at = group.iter().position(ready).expect("within a row the graph has no cycle");
            members.push(nodes[group.remove(at)]);
        }
        groups.push(members);
    }
    groups
}
