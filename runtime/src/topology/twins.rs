//! Nodes that do equal work under different names.

use std::collections::BTreeMap;

use super::node::Work;
use super::plan::{ClassPlan, PlanNode};

/// Two nodes that compute the same.
pub type Twins<'p> = (&'p PlanNode, &'p PlanNode);

impl ClassPlan {
    /// Pairs of running nodes that compute the same for the same keys under different names: those of the class, then
    /// those of each key. Closures cannot be compared.
    pub fn twins(&self) -> Vec<Twins<'_>> {
        let own = (&self.keys).into_iter().filter(|(_, plan)| plan.nodes.len() > 1);
        let own = own.flat_map(|(_, plan)| among(plan.nodes.iter().map(AsRef::as_ref)));
        among(self.base.nodes.iter().map(AsRef::as_ref)).into_iter().chain(own).collect()
    }
}

/// The pairs among these nodes, each node with the first that it equals.
pub(super) fn among<'p>(nodes: impl Iterator<Item = &'p PlanNode>) -> Vec<Twins<'p>> {
    let mut seen: BTreeMap<String, Vec<&PlanNode>> = BTreeMap::new();
    let mut twins = Vec::new();
    for plan in nodes {
        let Some(work) = work(plan) else { continue };
        let alike = seen.entry(work).or_default();
        match alike.iter().find(|first| same_members(first, plan)) {
            Some(first) => twins.push((*first, plan)),
            None => alike.push(plan),
        }
    }
    twins
}

/// All that decides what a node computes, but the members of a family; `None` where that cannot be told.
fn work(plan: &PlanNode) -> Option<String> {
    let node = &plan.node;
    let runs = match (&node.work, node.artifact()) {
        // A family for one key is the model of that key.
        (Work::Model(_) | Work::Family(_), Some(digest)) => format!("model {digest}"),
        (Work::Family(_), None) if node.only_key().is_none() => "family".to_owned(),
        (Work::Operator(operator), _) if operator.name() != "function" => {
            format!("{} {}", operator.name(), operator.parameters())
        }
        _ => return None,
    };
    let elements: Vec<_> = node.provides.iter().map(|(_, element)| element).collect();
    let rows = (node.rule, node.every, &node.when, node.max_age, node.as_of_rows, &node.missing, node.slow);
    Some(format!("{runs} {:?} {elements:?} {rows:?} {:?}", node.needs, node.selector))
}

/// Whether two nodes of equal work have the same artifacts for the same keys, if they are families.
fn same_members(one: &PlanNode, other: &PlanNode) -> bool {
    match (&one.node.work, &other.node.work) {
        (Work::Family(a), Work::Family(b)) if one.node.only_key().is_none() => a.same(b),
        _ => true,
    }
}
