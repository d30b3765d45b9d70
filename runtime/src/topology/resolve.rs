//! From declared nodes to a plan. Pure: no I/O, no clock; the same input gives the same plan. All problems are
//! reported at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use immutable_chunkmap::map::MapM;

use super::axes::{Labels, NOWHERE, source_axes};
use super::check;
use super::cycles;
use super::declared::Declared;
use super::graph::Topology;
use super::held::Held;
use super::key_graph::KeyGraph;
use super::names::{Pending, demanded, names_and_pending, running_of_class, streams_needed};
use super::node::{Node, Work};
use super::plan::{BasePlan, ClassPlan, KeyPlan, Moved, OWN_NAMES, OwnName, PlanNeed, PlanNode, Shape};
use super::problem::{Problem, ResolveErrors};
use super::resolve_base::{Builder, Slots};
use super::resolve_key::{KeyResolver, resolve_key};
use crate::traits::{AnyOperator, Axes, Model};
use crate::words::{ElementType, Key, NodeId, Revision, StreamName};

/// Most nodes of many keys in a class.
pub const BASE_NODES_MAX: usize = 65_535;

/// Resolves what is declared into the plan of `revision`. Slot numbers, births and the plans of keys are taken over
/// from `previous` where nothing changed.
///
/// `touched` names the keys whose own nodes may differ from those of `previous`; `None` for all.
///
/// # Errors
/// Every problem there is.
pub fn resolve(
    declared: &Declared,
    previous: &ClassPlan,
    revision: Revision,
    touched: Option<&BTreeSet<Key>>,
) -> Result<ClassPlan, ResolveErrors> {
    let mut problems = Vec::new();
    check::settings(declared, &mut problems);
    let (names, pending) = names_and_pending(declared, &mut problems);
    check::providers(declared, &names, &pending, &mut problems);
    check::needs(declared, &names, &pending, &mut problems);
    let tangled = cycles::direct(declared, &names, &pending, &mut problems);
    let axes = source_axes(declared, &previous.base.axes, &mut problems);
    let gaps = problems.iter().any(hides_rows);
    let labels = Labels::of(&names, &axes, gaps);
    labels.check(declared, &names, &pending, &mut problems);
    check::previous(declared, &pending, &labels, &mut problems);
    let loops = cycles::loops(declared, &names, &pending, &labels, &tangled, &mut problems);
    let demanded = demanded(declared, &names, &pending);
    if !problems.is_empty() {
        let tangled = with_refused_loops(tangled, &loops, &problems);
        own_problems(declared, &pending, &demanded, tangled, &mut problems);
        return Err(ResolveErrors(problems));
    }

    let mut builder = Builder { previous, revision, labels: &labels, slots: Slots::from(previous), loops: &loops };
    let mut base = builder.base(declared, &names, &pending, &demanded);
    base.revision = revision;
    base.axes = axes;
    base.raw_slots = builder.raw_slots(&base.axes, &base.nodes, declared);
    base.demanded = demanded;
    base.pending = pending;
    base.attributes = Arc::clone(&declared.attributes);
    let own_names = builder.own_names(&names, &base);
    base.slots = builder.slots.used.values().max().map_or(0, |last| *last as usize + 1);
    base.numbers = builder.slots.used;
    let base = Arc::new(base);
    let resolver = KeyResolver::new(&base, &own_names, &labels, &declared.held, previous, revision);
    let touched = touched.filter(|_| same_for_keys(previous, &base, &own_names));
    let touched = touched.map(|touched| touched.iter().cloned().chain(woken(&previous.base, &base)).collect());
    let keys = keys(declared, previous, &resolver, touched.as_ref(), &mut problems);
    if problems.is_empty() {
        let own_needs = count_needs(&keys);
        let own_nodes = count_nodes(previous, &keys, touched.as_ref());
        let touched = touched.map(|touched| (previous.revision, Arc::new(touched)));
        Ok(ClassPlan { class: declared.class.clone(), revision, base, keys, own_nodes, own_names, own_needs, touched })
    } else {
        Err(ResolveErrors(problems))
    }
}

/// Whether rows may not be followed back to the source because of this problem: what else could be said about those
/// would only repeat it.
fn hides_rows(problem: &Problem) -> bool {
    use Problem::{Cycle, NotInSource, SameName, Unmet};
    matches!(problem, Cycle { .. } | NotInSource { .. } | Unmet { .. } | SameName { .. })
}

/// The nodes that wait for each other, and those of loops that are refused.
fn with_refused_loops(
    mut tangled: BTreeSet<NodeId>,
    loops: &BTreeMap<NodeId, u16>,
    problems: &[Problem],
) -> BTreeSet<NodeId> {
    let refused = problems.iter().filter_map(|problem| match problem {
        Problem::Loop { node, .. } => loops.get(node),
        _ => None,
    });
    let refused: BTreeSet<&u16> = refused.collect();
    tangled.extend(loops.iter().filter(|(_, number)| refused.contains(number)).map(|(node, _)| node.clone()));
    tangled
}

/// What is wrong with nodes of single keys, where the class cannot be planned either.
fn own_problems(
    declared: &Declared,
    pending: &Pending,
    demanded: &BTreeSet<StreamName>,
    tangled: BTreeSet<NodeId>,
    problems: &mut Vec<Problem>,
) {
    let class = running_of_class(declared, pending).filter(|node| runs(node, demanded));
    let graph = KeyGraph::of(class, pending, demanded, tangled);
    for (_, nodes) in &declared.exact {
        problems.extend(graph.in_order(nodes.values()).err().into_iter().flatten());
    }
}

/// Whether a node of the class runs: it is a sink, or somebody asks for what it provides.
pub(super) fn runs(node: &Node, demanded: &BTreeSet<StreamName>) -> bool {
    matches!(node.work, Work::Sink(_)) || node.provides.iter().any(|(name, _)| demanded.contains(name))
}

impl Topology {
    /// The plan that this topology alone makes, over a source of wide rows. It is what a runtime would run; nothing is
    /// started.
    ///
    /// ```
    /// use gristmill::topology::{Topology, provide, sensor, sink};
    /// use gristmill::Stream;
    /// const WEAR: Stream<f32> = Stream::new("wear");
    /// const ALARM: Stream<bool> = Stream::new("alarm");
    /// let pump = Topology::new("pump")
    ///     .with(sensor(WEAR))
    ///     .with(provide(ALARM).needs(WEAR).by(|wear: f32| wear > 0.8))
    ///     .with(sink("alarms").needs(ALARM));
    /// println!("{}", pump.resolve()?); // a table; on error every problem at once
    /// # Ok::<(), gristmill::topology::problem::ResolveErrors>(())
    /// ```
    ///
    /// # Errors
    /// Every problem there is.
    pub fn resolve(&self) -> Result<ClassPlan, ResolveErrors> {
        self.resolve_with(Axes::default())
    }

    /// The same over a source that brings these axes.
    ///
    /// # Errors
    /// Every problem there is.
    pub fn resolve_with(&self, axes: Axes) -> Result<ClassPlan, ResolveErrors> {
        let declared = Declared::of(self, axes);
        resolve(&declared, &ClassPlan::nothing(declared.class.clone()), Revision(1), None)
    }
}

/// Whether the nodes of keys that were not touched resolve to what they were, and stand in the same way to those of the
/// class: all that they look at is as before.
fn same_for_keys(previous: &ClassPlan, base: &BasePlan, own_names: &MapM<StreamName, OwnName>) -> bool {
    let before = &previous.base;
    let names = before.names.iter().all(|(name, info)| base.names.get(name) == Some(info));
    let own = |name: &StreamName| own_names.get(name).map(|own| (own.slot, own.element, own.axis.clone()));
    let own_same = (&previous.own_names).into_iter().all(|(name, _)| {
        let was = previous.own_names.get(name).map(|own| (own.slot, own.element, own.axis.clone()));
        // With all that they provide, as an override is whole.
        let providers = |plan: &BasePlan| -> Vec<(NodeId, Vec<(StreamName, ElementType)>)> {
            let provides = |node: &PlanNode| node.node.provides.iter().any(|(provided, _)| provided == name);
            let providers = plan.nodes.iter().filter(|node| provides(node));
            providers.map(|node| (node.name.clone(), node.node.provides.clone())).collect()
        };
        was == own(name)
            && before.demanded.contains(name) == base.demanded.contains(name)
            && before.names.contains_key(name) == base.names.contains_key(name)
            && providers(before) == providers(base)
    });
    let sinks = |plan: &BasePlan| -> Vec<(NodeId, String)> {
        plan.sinks().map(|(_, sink)| (sink.name.clone(), sink.node.content())).collect()
    };
    let between = |base: &BasePlan, own: &MapM<StreamName, OwnName>| between(base, own, &previous.own_needs);
    names
        && own_same
        && sinks(before) == sinks(base)
        && between(before, &previous.own_names) == between(base, own_names)
}

/// What the nodes of the class read and provide through which nodes of keys may come to need what they provide themselves.
fn between(
    base: &BasePlan,
    provided: &MapM<StreamName, OwnName>,
    needed: &MapM<StreamName, usize>,
) -> Vec<(NodeId, Vec<StreamName>, Vec<StreamName>)> {
    if provided.len() == 0 || needed.len() == 0 {
        return Vec::new();
    }
    let nodes: Vec<&Node> = base.nodes.iter().map(|node| node.node.as_ref()).collect();
    let reads = |node: &Node, names: &BTreeSet<&StreamName>| {
        streams_needed(node).any(|name| provided.get(name).is_some() || names.contains(name))
    };
    let leads = |node: &Node, names: &BTreeSet<&StreamName>| {
        node.provides.iter().any(|(name, _)| needed.get(name).is_some() || names.contains(name))
    };
    let (mut behind, mut before) = (BTreeSet::new(), BTreeSet::new());
    // Nodes stand in an order in which one round finds all but what goes round a loop.
    loop {
        let known = (behind.len(), before.len());
        for node in &nodes {
            if reads(node, &behind) {
                behind.extend(node.provides.iter().map(|(name, _)| name));
            }
        }
        for node in nodes.iter().rev() {
            if leads(node, &before) {
                before.extend(streams_needed(node));
            }
        }
        if known == (behind.len(), before.len()) {
            break;
        }
    }
    let through = nodes.iter().filter(|node| reads(node, &behind) && leads(node, &before));
    let of = |node: &Node| {
        let provides = node.provides.iter().map(|(name, _)| name.clone()).collect();
        (node.name(), streams_needed(node).cloned().collect(), provides)
    };
    through.map(|node| of(node)).collect()
}

/// The keys that have a node which waited for a provider and does not now, or the other way round.
fn woken(before: &BasePlan, after: &BasePlan) -> Vec<Key> {
    let one_of = |a: &BasePlan, b: &BasePlan| -> Vec<Key> {
        let only = a.pending.keys().filter(|name| !b.pending.contains_key(*name));
        only.filter_map(|name| Some(Key::from(name.split_once('@')?.1))).collect()
    };
    [one_of(before, after), one_of(after, before)].concat()
}

/// Resolves the nodes of each key, or of those that were touched; the others are taken over.
fn keys(
    declared: &Declared,
    previous: &ClassPlan,
    resolver: &KeyResolver<'_>,
    touched: Option<&BTreeSet<Key>>,
    problems: &mut Vec<Problem>,
) -> MapM<Key, Arc<KeyPlan>> {
    let mut one = |key: &Key, nodes: &BTreeMap<NodeId, Arc<Node>>| {
        let before = previous.keys.get(key).map(Arc::as_ref);
        match resolve_key(resolver, nodes.values(), before) {
            Ok(plan) => Some(Arc::new(plan)),
            Err(more) => {
                problems.extend(more);
                None
            }
        }
    };
    let Some(touched) = touched else {
        let all = (&declared.exact).into_iter();
        return all.filter_map(|(key, nodes)| Some((key.clone(), one(key, nodes)?))).collect();
    };
    let mut keys = previous.keys.clone();
    for key in touched {
        match declared.exact.get(key).and_then(|nodes| one(key, nodes)) {
            Some(plan) => keys.insert_cow(key.clone(), plan),
            None => keys.remove_cow(key),
        };
    }
    keys
}

/// Resolves a change of single keys' own nodes alone. `None` when it reaches further: a name that the class needs
/// comes or goes, or its type or rows change; then everything is resolved.
pub fn resolve_touched(
    declared: &Declared,
    previous: &ClassPlan,
    revision: Revision,
    touched: &BTreeSet<Key>,
) -> Option<Result<ClassPlan, ResolveErrors>> {
    let mut own_names = previous.own_names.clone();
    let base = &previous.base;
    let of_touched = |name: &NodeId| name.split_once('@').is_some_and(|(_, key)| touched.contains(key));
    if base.pending.keys().any(of_touched) || !declared.twice.is_empty() {
        return None;
    }
    let of_class = |nodes: &Arc<BTreeMap<NodeId, Arc<Node>>>| nodes.keys().any(|name| declared.base.contains_key(name));
    if touched.iter().filter_map(|key| declared.exact.get(key)).any(of_class) {
        return None;
    }
    let labels = Labels::known(base, &previous.own_names);
    let next = (&own_names).into_iter().map(|(_, own)| own.slot + 1).max().unwrap_or(0).max(OWN_NAMES);
    let mut next = next;
    let empty = Arc::new(BTreeMap::new());
    for key in touched {
        let after = declared.exact.get(key).unwrap_or(&empty);
        for node in previous.own_nodes_of(key).iter().map(|node| &node.node) {
            for (name, _) in &node.provides {
                let mut own = own_names.get(name)?.clone();
                own.providers = own.providers.checked_sub(1)?;
                own_names.insert_cow(name.clone(), own);
            }
        }
        for node in after.values() {
            if let Work::Sensor { .. } = node.work {
                return None;
            }
            let axis = labels.of_node(node);
            for (name, element) in &node.provides {
                let own = match (own_names.get(name), base.names.get(name)) {
                    (Some(own), _) if own.element == *element && own.axis == axis => {
                        OwnName { providers: own.providers + 1, ..own.clone() }
                    }
                    (None, Some(info)) if info.element == *element && info.axis == axis && !in_loop(base, name) => {
                        OwnName { slot: info.slot, element: *element, axis: axis.clone(), providers: 1 }
                    }
                    (None, None) if axis != NOWHERE && base.pending.is_empty() => {
                        next += 1;
                        OwnName { slot: next - 1, element: *element, axis: axis.clone(), providers: 1 }
                    }
                    _ => return None,
                };
                own_names.insert_cow(name.clone(), own);
            }
        }
    }
    if (&own_names).into_iter().any(|(_, own)| own.providers == 0) {
        return None;
    }
    let mut problems = Vec::new();
    for node in touched.iter().filter_map(|key| declared.exact.get(key)).flat_map(|nodes| nodes.values()) {
        check::node_settings(node, &mut problems);
        check::own_needs(node, declared, base, &own_names, &mut problems)?;
    }
    if !problems.is_empty() {
        return None; // all is resolved, as there may be more
    }
    let resolver = KeyResolver::new(base, &own_names, &labels, &declared.held, previous, revision);
    let keys = keys(declared, previous, &resolver, Some(touched), &mut problems);
    if !problems.is_empty() {
        return Some(Err(ResolveErrors(problems)));
    }
    let own_needs = own_needs(previous, &keys, touched)?;
    let (class, base) = (declared.class.clone(), Arc::clone(base));
    let own_nodes = count_nodes(previous, &keys, Some(touched));
    let touched = Some((previous.revision, Arc::new(touched.clone())));
    Some(Ok(ClassPlan { class, revision, base, keys, own_nodes, own_names, own_needs, touched }))
}

/// Whether a stream comes from a loop of nodes of the class.
fn in_loop(base: &BasePlan, name: &StreamName) -> bool {
    let mut looped = base.nodes.iter().filter(|node| node.in_loop.is_some());
    looped.any(|node| node.node.provides.iter().any(|(provided, _)| provided == name))
}

/// How many nodes of single keys there are, where those of other than the touched keys are as before.
fn count_nodes(previous: &ClassPlan, keys: &MapM<Key, Arc<KeyPlan>>, touched: Option<&BTreeSet<Key>>) -> usize {
    let Some(touched) = touched else {
        return keys.into_iter().map(|(_, plan)| plan.nodes.len()).sum();
    };
    let of = |keys: &MapM<Key, Arc<KeyPlan>>| -> usize {
        touched.iter().filter_map(|key| keys.get(key)).map(|plan| plan.nodes.len()).sum()
    };
    previous.own_nodes + of(keys) - of(&previous.keys)
}

fn count_needs(keys: &MapM<Key, Arc<KeyPlan>>) -> MapM<StreamName, usize> {
    let mut counts: BTreeMap<StreamName, usize> = BTreeMap::new();
    for node in keys.into_iter().flat_map(|(_, plan)| &plan.nodes) {
        for name in streams_needed(&node.node) {
            if let Some(count) = counts.get_mut(name) {
                *count += 1;
            } else {
                counts.insert(name.clone(), 1);
            }
        }
    }
    counts.into_iter().collect()
}

/// The needs of nodes of single keys after some changed. `None` when that decides whether a node of the class runs:
/// a stream is needed that nobody needed before, or nobody needs one any more.
fn own_needs(
    previous: &ClassPlan,
    keys: &MapM<Key, Arc<KeyPlan>>,
    touched: &BTreeSet<Key>,
) -> Option<MapM<StreamName, usize>> {
    let needs = |keys: &MapM<Key, Arc<KeyPlan>>| -> Vec<StreamName> {
        let plans = touched.iter().filter_map(|key| keys.get(key)).cloned().collect::<Vec<_>>();
        plans.iter().flat_map(|plan| &plan.nodes).flat_map(|node| streams_needed(&node.node)).cloned().collect()
    };
    let mut counts = previous.own_needs.clone();
    for name in needs(keys) {
        if !previous.base.demanded.contains(&name) {
            return None;
        }
        let count = counts.get(&name).copied().unwrap_or(0);
        counts.insert_cow(name, count + 1);
    }
    for name in needs(&previous.keys) {
        let count = counts.get(&name).copied().unwrap_or(0).saturating_sub(1);
        if count > 0 {
            counts.insert_cow(name, count);
        } else if asked_by_class(&previous.base, &name) {
            counts.remove_cow(&name);
        } else {
            return None;
        }
    }
    Some(counts)
}

/// Whether a running node of the class needs a stream, or a sink asks for it.
fn asked_by_class(base: &BasePlan, name: &StreamName) -> bool {
    base.nodes.iter().any(|node| {
        streams_needed(&node.node).any(|needed| needed == name) || node.takes.iter().any(|(taken, _)| taken == name)
    })
}

/// The revision in which a node began to run: as before, if what its state depends on is the same and it was not reset.
pub(super) fn born(
    before: Option<&Arc<PlanNode>>,
    node: &Arc<Node>,
    held: Option<&Arc<Held>>,
    revision: Revision,
) -> Revision {
    match before {
        Some(before) if Arc::ptr_eq(&before.node, node) || before.node.continues_as(node) => {
            held.map_or(before.born, |held| before.born.max(held.reset))
        }
        _ => revision,
    }
}

/// Since when needs of a node that began to run in `born` are on other axes than its own.
pub(super) fn moved(
    before: Option<&Arc<PlanNode>>,
    born: Revision,
    shape: &Shape,
    revision: Revision,
) -> Option<Box<Moved>> {
    let before = before.filter(|before| before.born == born)?;
    let now = shape.needs.iter().chain(&shape.when).map(PlanNeed::is_as_of);
    let then = before.needs.iter().chain(&before.when).map(PlanNeed::is_as_of);
    let both = then.zip(now);
    if both.clone().all(|(then, now)| then == now) {
        return before.moved.clone();
    }
    let known = |need: usize| before.moved.as_ref().map_or(Revision(0), |moved| moved.needs[need]);
    let needs = both.enumerate().map(|(need, as_of)| match as_of {
        (_, false) => Revision(0),
        (true, true) => known(need),
        (false, true) => revision,
    });
    let needs: Box<[Revision]> = needs.collect();
    let last = needs.iter().copied().max().filter(|last| *last > Revision(0))?;
    Some(Box::new(Moved { last, needs }))
}

/// What a node runs, models and sinks apart.
pub(super) fn operator(node: &Node) -> Option<Arc<dyn AnyOperator>> {
    match &node.work {
        Work::Operator(operator) | Work::Sensor { clean: operator, .. } => Some(Arc::clone(operator)),
        Work::Model(_) | Work::Family(_) | Work::Sink(_) => None,
    }
}

/// What a node scores with, if that is the same for all its keys.
pub(super) fn model(node: &Node) -> Option<Arc<dyn Model>> {
    match &node.work {
        Work::Model(model) => Some(Arc::clone(model)),
        // A family for one key is the model of that key.
        Work::Family(family) => node.only_key().and_then(|key| family.model(key)).cloned(),
        _ => None,
    }
}
