//! From declared nodes to a plan. Pure: no I/O, no clock; the same input gives the same plan. All problems are
//! reported at once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use immutable_chunkmap::map::MapM;

use super::axes::{Labels, source_axes};
use super::check;
use super::cycles;
use super::declared::Declared;
use super::graph::Topology;
use super::held::Held;
use super::need::NeedKind;
use super::node::{Ask, Node, Work};
use super::plan::{AxisLabel, BasePlan, ClassPlan, KeyPlan, OWN_NAMES, OwnName, PlanNode};
use super::problem::{Problem, ResolveErrors, nearest};
use super::resolve_base::{Builder, Slots};
use super::resolve_key::{KeyResolver, resolve_key};
use crate::traits::{AnyOperator, Axes, Model};
use crate::words::{ElementType, Key, NodeId, Revision, StreamName};

/// Most nodes of many keys in a class.
pub const BASE_NODES_MAX: usize = 65_535;

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
    resolve_after(declared, previous, revision, touched, Vec::new())
}

/// The same, after problems that were found before.
fn resolve_after(
    declared: &Declared,
    previous: &ClassPlan,
    revision: Revision,
    touched: Option<&BTreeSet<Key>>,
    mut problems: Vec<Problem>,
) -> Result<ClassPlan, ResolveErrors> {
    check::settings(declared, &mut problems);
    let (names, pending) = names_and_pending(declared, &mut problems);
    check::providers(&names, &mut problems);
    check::needs(declared, &names, &pending, &mut problems);
    cycles::direct(declared, &names, &pending, &mut problems);
    let axes = source_axes(declared, &previous.base.axes, &mut problems);
    if problems.iter().any(hides_rows) {
        return Err(ResolveErrors(problems));
    }
    let labels = Labels::of(&names, &axes, &mut problems);
    check::previous(declared, &pending, &labels, &mut problems);
    let loops = cycles::loops(declared, &names, &pending, &labels, &mut problems);
    if !problems.is_empty() {
        return Err(ResolveErrors(problems));
    }

    let demanded = demanded(declared, &names, &pending);
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
        Ok(ClassPlan { class: declared.class.clone(), revision, base, keys, own_names, own_needs })
    } else {
        Err(ResolveErrors(problems))
    }
}

/// Whether rows cannot be followed back to the source because of this problem: what else could be said about them
/// would only repeat it.
fn hides_rows(problem: &Problem) -> bool {
    matches!(problem, Problem::Cycle { .. } | Problem::NotInSource { .. } | Problem::Unmet { .. })
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
        let mut problems = Vec::new();
        let declared = Declared::collect(self, axes, &mut problems);
        resolve_after(&declared, &ClassPlan::nothing(declared.class.clone()), Revision(1), None, problems)
    }
}

/// Whether the nodes of keys that were not touched resolve to what they were: all that they look at is as before.
fn same_for_keys(previous: &ClassPlan, base: &BasePlan, own_names: &MapM<StreamName, OwnName>) -> bool {
    let before = &previous.base;
    let names = before.names.iter().all(|(name, info)| base.names.get(name) == Some(info));
    let own = |name: &StreamName| own_names.get(name).map(|own| (own.slot, own.element, own.axis.clone()));
    let own_same = (&previous.own_names).into_iter().all(|(name, _)| {
        let was = previous.own_names.get(name).map(|own| (own.slot, own.element, own.axis.clone()));
        let providers = |plan: &BasePlan| -> Vec<NodeId> {
            let provides = |node: &PlanNode| node.node.provides.iter().any(|(provided, _)| provided == name);
            plan.nodes.iter().filter(|node| provides(node)).map(|node| node.name.clone()).collect()
        };
        was == own(name)
            && before.demanded.contains(name) == base.demanded.contains(name)
            && before.names.contains_key(name) == base.names.contains_key(name)
            && providers(before) == providers(base)
    });
    let sinks = |plan: &BasePlan| -> Vec<(NodeId, String)> {
        plan.sinks().map(|(_, sink)| (sink.name.clone(), sink.node.content())).collect()
    };
    names && own_same && sinks(before) == sinks(base)
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
    if base.pending.keys().any(of_touched) {
        return None;
    }
    let labels = Labels::known(base, &previous.own_names);
    let next = (&own_names).into_iter().map(|(_, own)| own.slot + 1).max().unwrap_or(0).max(OWN_NAMES);
    let mut next = next;
    let empty = Arc::new(BTreeMap::new());
    for key in touched {
        let after = declared.exact.get(key).unwrap_or(&empty);
        for node in previous.keys.get(key).iter().flat_map(|plan| &plan.nodes).map(|node| &node.node) {
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
                    (None, Some(info)) if info.element == *element && info.axis == axis => {
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
        return Some(Err(ResolveErrors(problems)));
    }
    let resolver = KeyResolver::new(base, &own_names, &labels, &declared.held, previous, revision);
    let keys = keys(declared, previous, &resolver, Some(touched), &mut problems);
    if !problems.is_empty() {
        return Some(Err(ResolveErrors(problems)));
    }
    let own_needs = own_needs(previous, &keys, touched)?;
    let (class, base) = (declared.class.clone(), Arc::clone(base));
    Some(Ok(ClassPlan { class, revision, base, keys, own_names, own_needs }))
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

/// Who provides what, without the nodes that wait for a provider.
fn names_and_pending(declared: &Declared, problems: &mut Vec<Problem>) -> (Names, BTreeMap<NodeId, Vec<StreamName>>) {
    let mut pending: BTreeMap<NodeId, Vec<StreamName>> = BTreeMap::new();
    loop {
        let names = names(declared, &pending);
        let mut more = BTreeMap::new();
        let own = declared.exact.into_iter().flat_map(|(_, nodes)| nodes.values());
        let may_wait = declared.base.values().chain(own).filter(|node| node.pending && !waits(node, &pending));
        for node in may_wait {
            let lacks: Vec<_> = streams_needed(node).filter(|name| !names.contains_key(*name)).cloned().collect();
            if !lacks.is_empty() {
                more.insert(node.name(), lacks);
            }
        }
        if more.is_empty() {
            let nodes = declared.base.values().filter(|node| !pending.contains_key(&node.name()));
            let own = declared.exact.into_iter().flat_map(|(_, nodes)| nodes.values());
            for node in nodes.chain(own.filter(|node| !waits(node, &pending))) {
                unmet(node, &names, problems);
            }
            return (names, pending);
        }
        pending.extend(more);
    }
}

fn names(declared: &Declared, pending: &BTreeMap<NodeId, Vec<StreamName>>) -> Names {
    let mut names = Names::new();
    for node in declared.base.values().filter(|node| !pending.contains_key(&node.name())) {
        for (name, _) in &node.provides {
            names.entry(name.clone()).or_default().base.push(Arc::clone(node));
        }
    }
    for (_, nodes) in &declared.exact {
        for node in nodes.values().filter(|node| !waits(node, pending)) {
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
    }
    names
}

/// Whether a node waits for a provider.
pub(super) fn waits(node: &Node, pending: &BTreeMap<NodeId, Vec<StreamName>>) -> bool {
    node.pending && pending.contains_key(&node.name())
}

/// The streams that a node needs, the gate among them.
pub(super) fn streams_needed(node: &Node) -> impl Iterator<Item = &StreamName> {
    let needs = node.needs.iter().filter(|need| need.kind != NeedKind::Attribute).map(|need| &need.name);
    needs.chain(&node.when)
}

fn unmet(node: &Node, names: &Names, problems: &mut Vec<Problem>) {
    for stream in streams_needed(node).filter(|stream| !names.contains_key(*stream)) {
        let nearest = nearest(stream, names.keys());
        problems.push(Problem::Unmet { node: node.name(), stream: stream.clone(), nearest });
    }
    if let Work::Sink(sink) = &node.work {
        for ask in &sink.asks {
            if let Ask::Stream(stream) = ask
                && !names.contains_key(stream)
            {
                let nearest = nearest(stream, names.keys());
                problems.push(Problem::NothingToSink { node: node.name(), stream: stream.clone(), nearest });
            }
        }
    }
}

/// Whether a sink takes what `provider` provides as `stream`.
pub fn asks_for(sink: &Node, stream: &StreamName, provider: &Node) -> bool {
    let Work::Sink(sink) = &sink.work else { return false };
    sink.asks.iter().any(|ask| match ask {
        Ask::Stream(name) => name == stream,
        Ask::AllModels => provider.kind == super::node::NodeKind::Model,
        Ask::Pattern(pattern) => pattern.matches(stream),
    })
}

/// The names that sinks ask for, and those that their providers need, and so on.
fn demanded(declared: &Declared, names: &Names, pending: &BTreeMap<NodeId, Vec<StreamName>>) -> BTreeSet<StreamName> {
    let sinks: Vec<_> = declared.base.values().filter(|node| matches!(node.work, Work::Sink(_))).collect();
    let asked = |node: &Node| node.provides.iter().any(|(name, _)| sinks.iter().any(|sink| asks_for(sink, name, node)));
    let mut demanded = BTreeSet::new();
    let mut open: Vec<&Node> = Vec::new();
    let running = declared.base.values().filter(|node| !pending.contains_key(&node.name()));
    open.extend(running.filter(|node| asked(node)).map(Arc::as_ref));
    let own = declared.exact.into_iter().flat_map(|(_, nodes)| nodes.values());
    let own: Vec<&Arc<Node>> = own.filter(|node| !waits(node, pending)).collect();
    open.extend(own.iter().filter(|node| asked(node)).map(|node| node.as_ref()));
    // Nodes of single keys that provide a demanded name ask for their needs in turn.
    let mut own_by_name: BTreeMap<&StreamName, Vec<&Node>> = BTreeMap::new();
    for node in &own {
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

/// The type that `node` provides `name` with.
pub(super) fn element_of(node: &Node, name: &StreamName) -> ElementType {
    let provided = node.provides.iter().find(|(provided, _)| provided == name);
    provided.expect("only asked of its providers").1
}

/// The label of a stream whose axis is not known because the topology is wrong elsewhere.
pub(super) const NOWHERE: AxisLabel = AxisLabel::Source(u16::MAX);
