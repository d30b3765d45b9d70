//! The nodes of one key, resolved against those of its class. Work for a key is in proportion to its own nodes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use immutable_chunkmap::map::MapM;

use super::axes::Labels;
use super::held::AllHeld;
use super::key_graph::{KeyGraph, Ordered};
use super::names::{asks_for, streams_needed};
use super::need::NeedKind;
use super::node::{Node, RowRule, Work};
use super::plan::{
    AxisLabel, BasePlan, ClassPlan, From, KeyPlan, OwnName, PlanNeed, PlanNode, Shape, SinkPlace, SlotNumber, To,
    Wires, Wiring,
};
use super::problem::Problem;
use super::resolve::{born, model, moved, operator};
use super::resolve_base::raw_name;
use super::scorer::casts;
use crate::words::{ElementType, NodeId, Revision, StreamName};

/// What all keys are resolved against.
pub(super) struct KeyResolver<'a> {
    base: &'a BasePlan,
    own_names: &'a MapM<StreamName, OwnName>,
    labels: &'a Labels,
    held: &'a AllHeld,
    revision: Revision,
    sinks: Vec<(SinkPlace, &'a Arc<PlanNode>)>,
    graph: KeyGraph<'a>,
    shared: Shared,
}

impl<'a> KeyResolver<'a> {
    pub(super) fn new(
        base: &'a BasePlan,
        own_names: &'a MapM<StreamName, OwnName>,
        labels: &'a Labels,
        held: &'a AllHeld,
        previous: &ClassPlan,
        revision: Revision,
    ) -> Self {
        let sinks = base.sinks().collect();
        let class = base.nodes.iter().map(|node| &node.node);
        let graph = KeyGraph::of(class, &base.pending, &base.demanded, BTreeSet::new());
        Self { base, own_names, labels, held, revision, sinks, graph, shared: Shared::of(previous) }
    }

    fn slot(&self, name: &StreamName) -> Option<SlotNumber> {
        let base = self.base.names.get(name).map(|info| info.slot);
        base.or_else(|| self.own_names.get(name).map(|own| own.slot))
    }
}

/// Resolves the nodes of one key.
///
/// # Errors
/// What is wrong with them.
pub(super) fn resolve_key<'n>(
    resolver: &KeyResolver<'_>,
    nodes: impl Iterator<Item = &'n Arc<Node>>,
    previous: Option<&KeyPlan>,
) -> Result<KeyPlan, Vec<Problem>> {
    let Ordered { nodes: ordered, locals, overridden } = resolver.graph.in_order(nodes)?;
    let before = |name: &NodeId| previous.and_then(|plan| plan.nodes.iter().find(|node| node.name == *name));
    let (mut nodes, mut wires) = (Vec::with_capacity(ordered.len()), Vec::with_capacity(ordered.len()));
    for node in &ordered {
        let (plan, of_node) = key_node(resolver, node, before(&node.name()), &locals);
        nodes.push(plan);
        wires.push(of_node);
    }
    for index in 0..wires.len() {
        for provider in wires[index].providers.clone() {
            wires[usize::from(provider)].successors.push(u16::try_from(index).unwrap_or(u16::MAX));
        }
    }
    let stands_in = locals.iter().filter_map(|(name, (local, _))| {
        let demanded = resolver.base.demanded.contains(*name) || resolver.base.names.contains_key(*name);
        demanded.then(|| resolver.slot(name)).flatten().map(|slot| (slot, *local))
    });
    let stands_in = stands_in.collect();
    let locals = u16::try_from(locals.len()).unwrap_or(u16::MAX);
    let shapes = nodes.iter().map(|node| Arc::clone(&node.shape)).collect();
    let wiring = Wiring { wires, shapes, locals, stands_in, overridden };
    Ok(KeyPlan { nodes, wiring: resolver.shared.wiring(wiring, previous.map(|plan| &plan.wiring)) })
}

fn key_node(
    resolver: &KeyResolver<'_>,
    node: &Arc<Node>,
    before: Option<&Arc<PlanNode>>,
    locals: &BTreeMap<&StreamName, (u16, usize)>,
) -> (Arc<PlanNode>, Wires) {
    let input_axis = resolver.labels.input_of(node);
    let axis = resolver.labels.of_node(node);
    let need = |name: &StreamName, element: ElementType, kind: NeedKind| {
        if kind == NeedKind::Attribute {
            return PlanNeed { from: From::Attribute(name.clone()), element, kind, in_row: true };
        }
        let from = locals
            .get(name)
            .map_or_else(|| From::Slot(resolver.slot(name).expect("needs are met")), |(local, _)| From::Local(*local));
        let same_axis: &AxisLabel = resolver.labels.of_name(name);
        PlanNeed { from, element, kind, in_row: *same_axis == input_axis && node.rule == RowRule::First }
    };
    let mut needs: Vec<PlanNeed> =
        node.needs.iter().map(|wanted| need(&wanted.name, wanted.element, wanted.kind.clone())).collect();
    if let Work::Sensor { raw, .. } = &node.work
        && let Some(slot) = resolver.base.numbers.get(&raw_name(raw))
    {
        let element = node.provides[0].1;
        needs.push(PlanNeed { from: From::Slot(*slot), element, kind: NeedKind::Optional, in_row: true });
    }
    let when = node.when.as_ref().map(|gate| need(gate, ElementType::Bool, NeedKind::Optional));
    let aligned = !node.own_rows_by_rule()
        && needs.iter().all(|need| need.in_row || matches!(need.kind, NeedKind::Previous { .. }));
    let name = node.name();
    let provided = |stream: &StreamName| To::Local(locals[stream].0);
    let (operator, model, held) = (operator(node), model(node), resolver.held.get(&name));
    let shape = Shape {
        provides: node.provides.iter().map(|(stream, _)| provided(stream)).collect(),
        streams: node.provides.clone(),
        rule: node.rule,
        missing: node.missing.clone(),
        emits: operator.as_ref().is_some_and(|operator| operator.own_rows()),
        own_rows: node.own_rows(),
        needs,
        when,
        axis_slot: match &input_axis {
            AxisLabel::Own(name) if !locals.contains_key(name) => resolver.slot(name),
            _ => None,
        },
        input_axis,
        axis,
        aligned,
        in_loop: None,
        takes: Vec::new(),
    };
    let born = born(before, node, held, resolver.revision);
    let plan = PlanNode {
        born,
        operator,
        casts: model.as_ref().is_some_and(|model| casts(model.as_ref(), node)),
        model,
        artifact: node.artifact(),
        held: held.cloned(),
        moved: moved(before, born, &shape, resolver.revision),
        shape: resolver.shared.shape(shape, before.map(|before| &before.shape)),
        node: Arc::clone(node),
        name,
    };
    let wires = wires(resolver, &plan, locals);
    (Arc::new(plan), wires)
}

/// What a node waits for, and what reads what it writes; the nodes behind it are not known yet.
fn wires(resolver: &KeyResolver<'_>, plan: &PlanNode, locals: &BTreeMap<&StreamName, (u16, usize)>) -> Wires {
    let node = &plan.node;
    let mut gate: Vec<SlotNumber> = plan.slots_read().collect();
    gate.sort_unstable();
    gate.dedup();
    // A node that reads its own past does not wait for itself.
    let is_itself = |provider: usize| node.provides.iter().any(|(own, _)| provider == locals[own].1);
    let mut providers: Vec<u16> = streams_needed(node)
        .filter_map(|stream| locals.get(stream))
        .filter(|(_, provider)| !is_itself(*provider))
        .map(|(_, provider)| u16::try_from(*provider).unwrap_or(u16::MAX))
        .collect();
    providers.sort_unstable();
    providers.dedup();
    let sinks = resolver.sinks.iter().flat_map(|(place, sink)| {
        let asked = node.provides.iter().filter(|(stream, _)| asks_for(&sink.node, stream, node));
        asked.map(|(stream, _)| (*place, locals[stream].0)).collect::<Vec<_>>()
    });
    Wires {
        gate: gate.into(),
        providers,
        successors: Vec::new(),
        read_as: node.provides.iter().filter_map(|(stream, _)| resolver.slot(stream)).collect(),
        sinks: sinks.collect(),
    }
}

/// Shapes and wirings that are equal over keys: thousands of keys have few of them.
#[derive(Default)]
struct Shared {
    shapes: RefCell<BTreeMap<StreamName, Vec<Arc<Shape>>>>,
    wirings: RefCell<BTreeMap<usize, Vec<Arc<Wiring>>>>,
}

/// Most values that one is compared with; beyond, keys that differ so much do not share.
const COMPARED_MAX: usize = 64;

/// Keys of the plan before that a new key may be like.
const KEYS_LIKE: usize = 16;

impl Shared {
    fn of(previous: &ClassPlan) -> Self {
        let shared = Self::default();
        for (_, plan) in previous.keys.into_iter().take(KEYS_LIKE) {
            plan.nodes.iter().for_each(|node| drop(shared.shape(Shape::clone(&node.shape), Some(&node.shape))));
            shared.wiring(Wiring::clone(&plan.wiring), Some(&plan.wiring));
        }
        shared
    }

    fn shape(&self, shape: Shape, before: Option<&Arc<Shape>>) -> Arc<Shape> {
        let mut shapes = self.shapes.borrow_mut();
        share(shapes.entry(shape.streams[0].0.clone()).or_default(), shape, before)
    }

    fn wiring(&self, wiring: Wiring, before: Option<&Arc<Wiring>>) -> Arc<Wiring> {
        // Their shapes are shared already, so that equal wirings begin with the same one.
        let first = wiring.shapes.first().map_or(0, |shape| Arc::as_ptr(shape).addr());
        share(self.wirings.borrow_mut().entry(first).or_default(), wiring, before)
    }
}

fn share<T: PartialEq>(known: &mut Vec<Arc<T>>, value: T, before: Option<&Arc<T>>) -> Arc<T> {
    if let Some(same) = known.iter().find(|known| ***known == value) {
        return Arc::clone(same);
    }
    let value = before.filter(|before| ***before == value).cloned().unwrap_or_else(|| Arc::new(value));
    if known.len() < COMPARED_MAX {
        known.push(Arc::clone(&value));
    }
    value
}
