//! Who provides what, who waits for it, and what is asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::declared::Declared;
use super::need::NeedKind;
use super::node::{Ask, Node, NodeKind, Work};
use super::problem::{Problem, nearest};
use crate::words::{ElementType, NodeId, StreamName};

/// What is provided under a name: by nodes of many keys, and an example of those of one key.
#[derive(Clone, Default)]
pub(super) struct Providers {
    pub(super) base: Vec<Arc<Node>>,
    pub(super) exact: Option<Arc<Node>>,
    pub(super) exact_count: usize,
}

impl Providers {
    /// All kinds of provider, one of each.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.base.iter().chain(&self.exact)
    }
}

pub(super) type Names = BTreeMap<StreamName, Providers>;

/// Nodes that wait for a provider, with what they lack.
pub(super) type Pending = BTreeMap<NodeId, Vec<StreamName>>;

/// Who provides what, without the nodes that wait for a provider.
pub(super) fn names_and_pending(declared: &Declared, problems: &mut Vec<Problem>) -> (Names, Pending) {
    // What a node provides that is left out for its name is not missed as well.
    let left_out: BTreeSet<&StreamName> =
        declared.twice.iter().flat_map(|node| &node.provides).map(|(name, _)| name).collect();
    let mut pending: Pending = BTreeMap::new();
    loop {
        let names = names(declared, &pending);
        let mut more = BTreeMap::new();
        for node in running(declared, &pending).filter(|node| node.pending) {
            let lacks = |name: &&StreamName| !names.contains_key(*name) && !left_out.contains(name);
            let lacks: Vec<_> = streams_needed(node).filter(lacks).cloned().collect();
            if !lacks.is_empty() {
                more.insert(node.name(), lacks);
            }
        }
        if more.is_empty() {
            for node in running(declared, &pending).chain(&declared.twice) {
                unmet(node, &names, &left_out, problems);
            }
            return (names, pending);
        }
        pending.extend(more);
    }
}

fn names(declared: &Declared, pending: &Pending) -> Names {
    let mut names = Names::new();
    for node in running_of_class(declared, pending) {
        for (name, _) in &node.provides {
            names.entry(name.clone()).or_default().base.push(Arc::clone(node));
        }
    }
    for node in running_own(declared, pending) {
        for (name, _) in &node.provides {
            if let Some(providers) = names.get_mut(name) {
                providers.exact_count += 1;
                providers.exact.get_or_insert_with(|| Arc::clone(node));
            } else {
                let providers = Providers { base: Vec::new(), exact: Some(Arc::clone(node)), exact_count: 1 };
                names.insert(name.clone(), providers);
            }
        }
    }
    names
}

/// The nodes of the class that wait for nobody.
pub(super) fn running_of_class<'d>(declared: &'d Declared, pending: &Pending) -> impl Iterator<Item = &'d Arc<Node>> {
    declared.base.values().filter(|node| !waits(node, pending))
}

/// The nodes of single keys that wait for nobody.
fn running_own<'d>(declared: &'d Declared, pending: &Pending) -> impl Iterator<Item = &'d Arc<Node>> {
    declared.own().filter(|node| !waits(node, pending))
}

/// All nodes that wait for nobody: those of the class, then those of single keys.
pub(super) fn running<'d>(declared: &'d Declared, pending: &Pending) -> impl Iterator<Item = &'d Arc<Node>> {
    running_of_class(declared, pending).chain(running_own(declared, pending))
}

/// Whether a node waits for a provider.
pub(super) fn waits(node: &Node, pending: &Pending) -> bool {
    node.pending && pending.contains_key(&node.name())
}

/// The streams that a node needs, the gate among them.
pub(super) fn streams_needed(node: &Node) -> impl Iterator<Item = &StreamName> {
    let needs = node.needs.iter().filter(|need| need.kind != NeedKind::Attribute).map(|need| &need.name);
    needs.chain(&node.when)
}

fn unmet(node: &Node, names: &Names, left_out: &BTreeSet<&StreamName>, problems: &mut Vec<Problem>) {
    let missed = |stream: &StreamName| !names.contains_key(stream) && !left_out.contains(stream);
    for stream in streams_needed(node).filter(|stream| missed(stream)) {
        let nearest = nearest(stream, names.keys());
        problems.push(Problem::Unmet { node: node.name(), stream: stream.clone(), nearest });
    }
    if let Work::Sink(sink) = &node.work {
        for ask in &sink.asks {
            if let Ask::Stream(stream) = ask
                && missed(stream)
            {
                let nearest = nearest(stream, names.keys());
                problems.push(Problem::NothingToSink { node: node.name(), stream: stream.clone(), nearest });
            }
        }
    }
}

/// Whether a sink takes what `provider` provides as `stream`.
pub(super) fn asks_for(sink: &Node, stream: &StreamName, provider: &Node) -> bool {
    let Work::Sink(sink) = &sink.work else { return false };
    sink.asks.iter().any(|ask| match ask {
        Ask::Stream(name) => name == stream,
        Ask::AllModels => provider.kind == NodeKind::Model,
        Ask::Pattern(pattern) => pattern.matches(stream),
    })
}

/// The names that sinks ask for, and those that their providers need, and so on.
pub(super) fn demanded(declared: &Declared, names: &Names, pending: &Pending) -> BTreeSet<StreamName> {
    let sinks: Vec<_> = declared.base.values().filter(|node| matches!(node.work, Work::Sink(_))).collect();
    let asked = |node: &Node| node.provides.iter().any(|(name, _)| sinks.iter().any(|sink| asks_for(sink, name, node)));
    let mut demanded = BTreeSet::new();
    let mut open: Vec<&Node> = Vec::new();
    open.extend(running(declared, pending).filter(|node| asked(node)).map(Arc::as_ref));
    // Nodes of single keys that provide a demanded name ask for their needs in turn.
    let mut own_by_name: BTreeMap<&StreamName, Vec<&Node>> = BTreeMap::new();
    for node in running_own(declared, pending) {
        for (name, _) in &node.provides {
            own_by_name.entry(name).or_default().push(node);
        }
    }
    while let Some(node) = open.pop() {
        for name in streams_needed(node) {
            if demanded.insert(name.clone()) {
                open.extend(names.get(name).into_iter().flat_map(|providers| &providers.base).map(Arc::as_ref));
                open.extend(own_by_name.get(name).into_iter().flatten());
            }
        }
    }
    for sink in &sinks {
        let streams = names.iter().filter(|(name, providers)| providers.all().any(|node| asks_for(sink, name, node)));
        demanded.extend(streams.map(|(name, _)| name.clone()));
    }
    demanded
}

/// The type that `node` provides `name` with.
pub(super) fn element_of(node: &Node, name: &StreamName) -> ElementType {
    let provided = node.provides.iter().find(|(provided, _)| provided == name);
    provided.expect("only asked of its providers").1
}
