//! Random changes of a plan.

use std::collections::BTreeSet;

use gristmill::topology::{Ask, Family, Node, NodeKind, RowRule, Selector, Work};
use gristmill::words::{NodeId, Span};

use super::super::case::PlanVersion;
use super::super::model::Linear;
use super::maker::Maker;

/// The plan with one to three things changed; the resolver may refuse it.
pub(super) fn change(maker: &mut Maker, plan: &PlanVersion) -> PlanVersion {
    let mut next = plan.clone();
    for _ in 0..maker.random.between(1, 3) {
        match maker.random.weighted(&[16, 14, 20, 34, 8, 8, 4, 6, 24]) {
            0 => add(maker, &mut next),
            1 => remove(maker, &mut next),
            2 => rebirth(maker, &mut next),
            3 => replace_artifact(maker, &mut next),
            4 => {
                let node = maker.random.pick(&next.nodes).clone();
                if Maker::is_plain(&node) {
                    let over = maker.over(&node);
                    next.nodes.push(over);
                }
            }
            5 => next.nodes.retain(|node| node.priority == 0), // ends all overrides
            6 => next.attributes = maker.attributes(),
            8 => decide(maker, &mut next),
            _ => {
                let sinks = maker.sinks();
                next.nodes.retain(|node| node.kind != NodeKind::Sink);
                next.nodes.extend(sinks);
            }
        }
    }
    if maker.random.percent(65) {
        replace_artifact(maker, &mut next);
    }
    let names: BTreeSet<NodeId> = next.nodes.iter().map(Node::name).collect();
    next.held.retain(|node, _| names.contains(node));
    next
}

/// Pauses, resumes or resets nodes.
fn decide(maker: &mut Maker, plan: &mut PlanVersion) {
    let what = maker.random.weighted(&[30, 46, 24]);
    for node in plan.nodes.iter().filter(|node| node.kind != NodeKind::Sink) {
        let held = plan.held.entry(node.name()).or_default();
        match what {
            0 if maker.random.percent(30) && !held.paused => held.paused = true,
            1 => (held.paused, held.resumed) = (false, held.resumed + 1),
            2 if maker.random.percent(40) => held.reset += 1,
            _ => {}
        }
    }
}

/// New nodes, which read what this plan has.
fn add(maker: &mut Maker, plan: &mut PlanVersion) {
    let (known, nodes) = (maker.known.clone(), maker.nodes.clone());
    let provided =
        |name: &gristmill::words::StreamName| plan.nodes.iter().any(|node| super::super::plan::provides(node, name));
    maker.known.retain(|known| provided(&known.name));
    let added = if maker.known.is_empty() { Vec::new() } else { maker.some_nodes() };
    (maker.known, maker.nodes) = (known, nodes);
    for node in added {
        maker.add(node.clone());
        if let Some(sink) = plan.nodes.iter_mut().find(|node| node.kind == NodeKind::Sink)
            && let Work::Sink(sink) = &mut sink.work
        {
            sink.asks.push(Ask::Stream(node.provides[0].0.clone()));
        }
        plan.nodes.push(node);
    }
}

/// Removes a node that nobody needs, with what sinks ask of it by name.
fn remove(maker: &mut Maker, plan: &mut PlanVersion) {
    let place = maker.random.below(plan.nodes.len());
    if plan.nodes[place].kind == NodeKind::Sink {
        return;
    }
    let removed = plan.nodes.remove(place);
    for node in &mut plan.nodes {
        if let Work::Sink(sink) = &mut node.work {
            sink.asks.retain(|ask| {
                !matches!(ask, Ask::Stream(name) if super::super::plan::provides(&removed, name))
                    || removed.priority != 0
            });
            if sink.asks.is_empty() {
                sink.asks.push(Ask::AllModels);
            }
        }
    }
}

/// Changes what a node's state depends on, so that it is born anew.
fn rebirth(maker: &mut Maker, plan: &mut PlanVersion) {
    let waiting: Vec<usize> =
        (0..plan.nodes.len()).filter(|place| matches!(plan.nodes[*place].rule, RowRule::OnAll { .. })).collect();
    let place = if !waiting.is_empty() && maker.random.percent(60) {
        *maker.random.pick(&waiting)
    } else {
        maker.random.below(plan.nodes.len())
    };
    let node = &mut plan.nodes[place];
    match maker.random.below(4) {
        0 => maker.other_logic(node),
        1 => node.version += 1,
        2 => node.max_age = Span(node.max_age.0 + 100_000),
        _ => match &mut node.rule {
            RowRule::OnAll { wait } => *wait = Span(wait.0 + 500_000),
            _ => node.as_of_rows += 1,
        },
    }
}

/// Another model, a new member of a family, or another default: the nodes stay what they are.
fn replace_artifact(maker: &mut Maker, plan: &mut PlanVersion) {
    let models: Vec<usize> = (0..plan.nodes.len()).filter(|place| plan.nodes[*place].kind == NodeKind::Model).collect();
    if models.is_empty() {
        return;
    }
    let place = *maker.random.pick(&models);
    let node: &Node = &plan.nodes[place];
    let (inputs, outputs) = (node.needs.len(), node.provides.len());
    let work = match &node.work {
        Work::Family(family) => {
            let mut members: Vec<_> =
                (&family.members).into_iter().map(|(key, model)| (key.clone(), model.clone())).collect();
            let mut default = family.default.clone();
            match maker.random.below(3) {
                0 => default = Some(maker.linear(inputs, outputs).shared()),
                1 => {
                    members.extend(maker.members(inputs, outputs).into_iter().map(|(key, model)| (key, model.shared())))
                }
                _ => {
                    let key = maker.random.pick(&maker.keys).clone();
                    members.push((key, Linear::new(inputs, outputs, maker.random.between(1, 200) as u8).shared()));
                }
            }
            let mut family: Family = members.into_iter().collect();
            family.default = default;
            Work::Family(family)
        }
        _ => Work::Model(maker.linear(inputs, outputs).shared()),
    };
    plan.nodes[place].work = work;
    debug_assert!(plan.nodes[place].selector == Selector::Class || plan.nodes[place].kind == NodeKind::Model);
}
