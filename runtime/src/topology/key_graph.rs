//! The nodes of one key among those of its class: in which order they run, and what is wrong with that.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::check::compete;
use super::cycles::{components, path};
use super::names::{Pending, asks_for, streams_needed, waits};
use super::need::NeedKind;
use super::node::{Node, Work};
use super::problem::Problem;
use crate::words::{NodeId, StreamName};

/// Most nodes of one key.
pub(crate) const KEY_NODES_MAX: usize = 10_000;
/// Most streams that they provide: each has a number of 16 bits.
pub(crate) const KEY_STREAMS_MAX: usize = 65_535;

/// What the nodes of every key stand among.
pub(super) struct KeyGraph<'a> {
    /// The running nodes of the class.
    class: Vec<&'a Arc<Node>>,
    sinks: Vec<&'a Arc<Node>>,
    providers: BTreeMap<&'a StreamName, Vec<&'a Arc<Node>>>,
    /// What nodes of the class read, sinks apart.
    read: OnceCell<BTreeSet<&'a StreamName>>,
    pending: &'a Pending,
    demanded: &'a BTreeSet<StreamName>,
    /// Nodes of the class that are in a cycle or loop that is refused: one through them is not told of again.
    tangled: BTreeSet<NodeId>,
}

/// The running nodes of one key.
pub(super) struct Ordered<'n> {
    /// Providers stand first.
    pub(super) nodes: Vec<&'n Arc<Node>>,
    /// What they provide: the place of the stream, and the node.
    pub(super) locals: BTreeMap<&'n StreamName, (u16, usize)>,
    /// The nodes of the class that they stand in for, sorted.
    pub(super) overridden: Vec<NodeId>,
}

impl<'a> KeyGraph<'a> {
    pub(super) fn of(
        class: impl Iterator<Item = &'a Arc<Node>>,
        pending: &'a Pending,
        demanded: &'a BTreeSet<StreamName>,
        tangled: BTreeSet<NodeId>,
    ) -> Self {
        let class: Vec<&Arc<Node>> = class.collect();
        let sinks = class.iter().copied().filter(|node| matches!(node.work, Work::Sink(_))).collect();
        let mut providers: BTreeMap<&StreamName, Vec<&Arc<Node>>> = BTreeMap::new();
        for &node in &class {
            for (name, _) in &node.provides {
                providers.entry(name).or_default().push(node);
            }
        }
        Self { class, sinks, providers, read: OnceCell::new(), pending, demanded, tangled }
    }

    /// The nodes of one key that run, in order.
    ///
    /// # Errors
    /// Everything that is wrong with how they stand to each other and to those of the class.
    pub(super) fn in_order<'n>(&self, nodes: impl Iterator<Item = &'n Arc<Node>>) -> Result<Ordered<'n>, Vec<Problem>> {
        let running = nodes.filter(|node| !waits(node, self.pending));
        let wanted: Vec<&Arc<Node>> = running.filter(|node| self.wants(node)).collect();
        if wanted.len() > KEY_NODES_MAX {
            return Err(vec![Problem::TooMany { what: "nodes of one key", count: wanted.len(), limit: KEY_NODES_MAX }]);
        }
        let streams = wanted.iter().map(|node| node.provides.len()).sum();
        if streams > KEY_STREAMS_MAX {
            let what = "streams of nodes of one key";
            return Err(vec![Problem::TooMany { what, count: streams, limit: KEY_STREAMS_MAX }]);
        }
        let mut problems = Vec::new();
        let nodes = self.ordered(&wanted, &mut problems);
        let mut locals: BTreeMap<&StreamName, (u16, usize)> = BTreeMap::new();
        let mut overridden = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            for (name, _) in &node.provides {
                let local = u16::try_from(locals.len()).unwrap_or(u16::MAX);
                if let Some((_, other)) = locals.insert(name, (local, index)) {
                    let (first, second) = (nodes[other].name(), node.name());
                    problems.push(Problem::TwoProviders { stream: name.clone(), first, second });
                }
                let of_class = self.providers.get(name).into_iter().flatten();
                for class in of_class.filter(|class| !class.selector.excludes(&node.selector)) {
                    compete(name, class, node, &mut problems);
                    overridden.push(class.name());
                }
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        overridden.sort_unstable();
        overridden.dedup();
        Ok(Ordered { nodes, locals, overridden })
    }

    /// Whether somebody asks for what a node provides: a sink, a running class node, or another demanded name.
    fn wants(&self, node: &Node) -> bool {
        let asked = |name: &StreamName| self.sinks.iter().any(|sink| asks_for(sink, name, node));
        node.provides.iter().any(|(name, _)| self.demanded.contains(name) || asked(name))
    }

    /// The nodes with providers first; a cycle is a problem, also one that goes through nodes of the class.
    fn ordered<'n>(&self, nodes: &[&'n Arc<Node>], problems: &mut Vec<Problem>) -> Vec<&'n Arc<Node>> {
        let mut own: BTreeMap<&StreamName, usize> = BTreeMap::new();
        for (index, node) in nodes.iter().enumerate() {
            node.provides.iter().for_each(|(name, _)| _ = own.entry(name).or_insert(index));
        }
        let read = self.read.get_or_init(|| self.class.iter().flat_map(|node| streams_needed(node)).collect());
        let through_class = own.keys().any(|name| read.contains(name));
        let mut before: Vec<Vec<usize>> = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            let mut providers = Vec::new();
            for name in streams_needed(node) {
                match own.get(name) {
                    Some(provider) if *provider == index && is_previous(node, name) => {}
                    Some(provider) => providers.push(*provider),
                    None if through_class => self.behind(name, &own, &mut providers),
                    None => {}
                }
            }
            providers.sort_unstable();
            providers.dedup();
            before.push(providers);
        }
        let components = components(&before);
        if components.iter().any(|component| is_cycle(&before, component)) {
            self.cycles(nodes, &own, problems);
        }
        components.into_iter().flatten().map(|node| nodes[node]).collect()
    }

    /// The nodes of the key that a stream of the class comes from, through nodes of the class.
    fn behind(&self, name: &StreamName, own: &BTreeMap<&StreamName, usize>, found: &mut Vec<usize>) {
        let mut seen = BTreeSet::new();
        let mut open = vec![name];
        while let Some(name) = open.pop() {
            if !seen.insert(name) {
                continue;
            }
            match own.get(name) {
                Some(provider) => found.push(*provider),
                None => {
                    open.extend(self.providers.get(name).into_iter().flatten().flat_map(|node| streams_needed(node)))
                }
            }
        }
    }

    /// Tells of every cycle of the key's nodes, with the nodes of the class that are in it.
    fn cycles(&self, nodes: &[&Arc<Node>], own: &BTreeMap<&StreamName, usize>, problems: &mut Vec<Problem>) {
        // Nodes of the class come behind those of the key, as they are met.
        let mut all: Vec<&Arc<Node>> = nodes.to_vec();
        let mut numbers: BTreeMap<NodeId, usize> = BTreeMap::new();
        let mut before: Vec<Vec<usize>> = Vec::new();
        while let Some(node) = all.get(before.len()).copied() {
            let mut providers = Vec::new();
            for name in streams_needed(node) {
                match own.get(name) {
                    Some(provider) if *provider == before.len() && is_previous(node, name) => {}
                    Some(provider) => providers.push(*provider),
                    None => providers.extend(self.providers.get(name).into_iter().flatten().map(|class| {
                        *numbers.entry(class.name()).or_insert_with(|| {
                            all.push(class);
                            all.len() - 1
                        })
                    })),
                }
            }
            providers.sort_unstable();
            providers.dedup();
            before.push(providers);
        }
        for component in components(&before).iter().filter(|component| is_cycle(&before, component)) {
            // Nodes of the class alone may be in a loop.
            let of_class = component.iter().filter(|node| **node >= nodes.len());
            let mut of_class = of_class.map(|node| all[*node].name());
            if component[0] < nodes.len() && !of_class.any(|name| self.tangled.contains(&name)) {
                let path = path(&before, component).into_iter().map(|node| all[node].name()).collect();
                problems.push(Problem::Cycle { path });
            }
        }
    }
}

fn is_cycle(before: &[Vec<usize>], component: &[usize]) -> bool {
    component.len() > 1 || before[component[0]].contains(&component[0])
}

fn is_previous(node: &Node, name: &StreamName) -> bool {
    node.needs.iter().filter(|need| need.name == *name).all(|need| matches!(need.kind, NeedKind::Previous { .. }))
        && node.when.as_ref() != Some(name)
}

#[cfg(test)]
mod tests {
    use crate::topology::{Topology, matching, provide, sensor, sink};
    use crate::words::{ElementType, Stream};

    /// No closure gives so many; models and operators of manifests do.
    #[test]
    fn nodes_of_one_key_provide_no_more_streams_than_have_numbers() {
        const X: Stream<f64> = Stream::new("x");
        let of_key = |place: usize| {
            let mut node = provide(Stream::<f64>::named(format!("first{place}"))).needs(X).by(|x: f64| x).for_key("P1");
            node.provides = (0..256).map(|number| (format!("s{place}.{number}").into(), ElementType::F64)).collect();
            node
        };
        let refused = |nodes| {
            let plant = Topology::new("plant").with(sensor(X)).with(sink("out").needs(matching("*")));
            let problems = plant.with_all((0..nodes).map(of_key)).resolve().err().map(|errors| errors.to_string());
            problems.is_some_and(|text| text.contains("streams of nodes of one key: 65792; the limit is 65535"))
        };
        assert!(refused(257) && !refused(255));
    }
}
