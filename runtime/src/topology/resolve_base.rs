//! The nodes of many keys, resolved: slots, needs, places.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use immutable_chunkmap::map::MapM;

use super::axes::Labels;
use super::cycles;
use super::declared::Declared;
use super::held::Held;
use super::names::{Names, Pending, asks_for, element_of};
use super::need::{Need, NeedKind};
use super::node::{Node, Work};
use super::plan::{
    AxisLabel, BasePlan, ClassPlan, From, NameInfo, OWN_NAMES, OwnName, PlanNeed, PlanNode, Shape, SlotNumber, To,
};
use super::resolve::{born, model, moved, operator, runs};
use super::scorer::casts;
use crate::words::{ElementType, NodeId, Revision, StreamName};

/// Slot numbers: a name keeps its own as long as plans have it; a number that is free is given again.
pub(super) struct Slots {
    before: BTreeMap<StreamName, SlotNumber>,
    pub(super) used: BTreeMap<StreamName, SlotNumber>,
    taken: BTreeSet<SlotNumber>,
}

impl Slots {
    pub(super) fn from(previous: &ClassPlan) -> Self {
        let before = previous.base.numbers.clone();
        Self { taken: before.values().copied().collect(), before, used: BTreeMap::new() }
    }

    fn of(&mut self, name: &StreamName) -> SlotNumber {
        if let Some(number) = self.used.get(name) {
            return *number;
        }
        let number = self.before.get(name).copied().unwrap_or_else(|| {
            // The first number that is missing in the sorted set.
            let free = self.taken.iter().zip(0..).find(|(taken, number)| *taken != number);
            free.map_or_else(|| SlotNumber::try_from(self.taken.len()).unwrap_or(OWN_NAMES), |(_, number)| number)
        });
        self.taken.insert(number);
        self.used.insert(name.clone(), number);
        number
    }
}

/// The name under which a sensor's uncleaned column has its slot; no stream can be named so.
pub(super) fn raw_name(raw: &StreamName) -> StreamName {
    StreamName::from(format!("<{raw}"))
}

pub(super) struct Builder<'a> {
    pub(super) previous: &'a ClassPlan,
    pub(super) revision: Revision,
    pub(super) labels: &'a Labels,
    pub(super) slots: Slots,
    pub(super) loops: &'a BTreeMap<NodeId, u16>,
}

impl Builder<'_> {
    pub(super) fn base(
        &mut self,
        declared: &Declared,
        names: &Names,
        pending: &Pending,
        demanded: &BTreeSet<StreamName>,
    ) -> BasePlan {
        let mut plan = BasePlan::empty();
        for (name, providers) in names.iter().filter(|(_, providers)| !providers.base.is_empty()) {
            let element = element_of(&providers.base[0], name);
            let info = NameInfo { slot: self.slots.of(name), element, axis: self.labels.of_name(name).clone() };
            plan.names.insert(name.clone(), info);
        }
        let own = self.own_numbers(names);
        for node in cycles::in_order(declared, names, pending) {
            if runs(&node, demanded) {
                let running = self.node(&node, declared.held.get(&node.name()), names, &plan, &own);
                plan.nodes.push(Arc::new(running));
            } else {
                plan.unused.push(node.name());
            }
        }
        plan
    }

    /// Numbers of the names that only nodes of single keys provide.
    fn own_numbers(&self, names: &Names) -> BTreeMap<StreamName, SlotNumber> {
        let last = self.previous.own_names.into_iter().map(|(_, own)| own.slot).filter(|slot| *slot >= OWN_NAMES).max();
        let mut next = last.map_or(OWN_NAMES, |last| last + 1);
        let only_own = names.iter().filter(|(_, providers)| providers.base.is_empty());
        let number = only_own.map(|(name, _)| {
            let known = self.previous.own_names.get(name).map(|own| own.slot).filter(|slot| *slot >= OWN_NAMES);
            let number = known.unwrap_or_else(|| {
                next += 1;
                next - 1
            });
            (name.clone(), number)
        });
        number.collect()
    }

    pub(super) fn own_names(&self, names: &Names, base: &BasePlan) -> MapM<StreamName, OwnName> {
        let own = self.own_numbers(names);
        let provided = names.iter().filter_map(|(name, providers)| {
            let example = providers.exact.as_ref()?;
            let slot = own.get(name).copied().or_else(|| base.names.get(name).map(|info| info.slot))?;
            let axis = self.labels.of_name(name).clone();
            let element = element_of(example, name);
            Some((name.clone(), OwnName { slot, element, axis, providers: providers.exact_count }))
        });
        provided.collect()
    }

    fn node(
        &mut self,
        node: &Arc<Node>,
        held: Option<&Arc<Held>>,
        names: &Names,
        plan: &BasePlan,
        own: &BTreeMap<StreamName, SlotNumber>,
    ) -> PlanNode {
        let axis = self.labels.of_node(node);
        let is_sensor = matches!(node.work, Work::Sensor { .. });
        let input_axis = if is_sensor { axis.clone() } else { self.labels.input_of(node) };
        let slot_of = |name: &StreamName| {
            plan.names.get(name).map(|info| info.slot).or_else(|| own.get(name).copied()).expect("needs are met")
        };
        let resolve_need = |need: &Need| {
            let (from, in_row) = match need.kind {
                NeedKind::Attribute => (From::Attribute(need.name.clone()), true),
                _ => {
                    let same = *self.labels.of_name(&need.name) == input_axis;
                    (From::Slot(slot_of(&need.name)), same && node.rule == super::node::RowRule::First)
                }
            };
            PlanNeed { from, element: need.element, kind: need.kind.clone(), in_row }
        };
        let mut needs: Vec<PlanNeed> = node.needs.iter().map(resolve_need).collect();
        let when = node.when.as_ref().map(|name| {
            let gate = Need { name: name.clone(), element: ElementType::Bool, kind: NeedKind::Optional };
            resolve_need(&gate)
        });
        let aligned = !node.own_rows_by_rule()
            && needs.iter().all(|need| need.in_row || matches!(need.kind, NeedKind::Previous { .. }));
        let mut takes = Vec::new();
        if let Work::Sensor { raw, .. } = &node.work {
            let from = From::Slot(self.slots.of(&raw_name(raw)));
            needs.push(PlanNeed { from, element: node.provides[0].1, kind: NeedKind::Optional, in_row: true });
        }
        if let Work::Sink(_) = &node.work {
            let asked = names
                .iter()
                .filter(|(name, providers)| providers.base.iter().any(|provider| asks_for(node, name, provider)));
            takes.extend(asked.map(|(name, _)| (name.clone(), slot_of(name))));
        }
        let provides = node.provides.iter().map(|(name, _)| To::Slot(slot_of(name))).collect();
        let name = node.name();
        let before = self.previous.base.node(&name);
        let (operator, model) = (operator(node), model(node));
        let born = born(before, node, held, self.revision);
        let shape = Shape {
            needs,
            when,
            provides,
            streams: node.provides.clone(),
            rule: node.rule,
            missing: node.missing.clone(),
            emits: operator.as_ref().is_some_and(|operator| operator.own_rows()),
            own_rows: node.own_rows(),
            axis_slot: match &input_axis {
                AxisLabel::Own(name) if node.provides.iter().all(|(own, _)| own != name) => Some(slot_of(name)),
                _ => None,
            },
            input_axis,
            axis,
            aligned,
            in_loop: self.loops.get(&name).copied(),
            takes,
        };
        PlanNode {
            born,
            operator,
            casts: model.as_ref().is_some_and(|model| casts(model.as_ref(), node)),
            model,
            artifact: node.artifact(),
            held: held.cloned(),
            moved: moved(before, born, &shape, self.revision),
            shape: Arc::new(shape),
            node: Arc::clone(node),
            name,
        }
    }

    pub(super) fn raw_slots(
        &mut self,
        axes: &[crate::traits::source::AxisStreams],
        nodes: &[Arc<PlanNode>],
        declared: &Declared,
    ) -> Vec<Vec<Option<SlotNumber>>> {
        let sensors = nodes.iter().map(|node| &node.node).chain(declared.own());
        let raw = sensors.filter_map(|node| match &node.work {
            Work::Sensor { raw, .. } => Some((raw, self.slots.of(&raw_name(raw)))),
            _ => None,
        });
        let read: BTreeMap<&StreamName, SlotNumber> = raw.collect();
        let slot = |name: &StreamName| read.get(name).copied();
        axes.iter().map(|axis| axis.streams.iter().map(|(name, _)| slot(name)).collect()).collect()
    }
}
