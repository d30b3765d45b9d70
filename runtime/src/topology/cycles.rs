//! Order, cycles, and loops that `previous` closes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::axes::Labels;
use super::declared::Declared;
use super::names::{Names, Pending, asks_for, running_of_class, streams_needed};
use super::node::{Node, Work};
use super::problem::Problem;
use crate::words::{NodeId, StreamName};

/// Base nodes as a graph: who must run before whom.
struct Graph<'a> {
    nodes: Vec<&'a Arc<Node>>,
    /// For each node the nodes that provide what it needs; with or without what it needs through `previous`.
    before: Vec<Vec<usize>>,
}

impl<'a> Graph<'a> {
    fn of(declared: &'a Declared, names: &Names, pending: &Pending, with_previous: bool) -> Self {
        let nodes: Vec<_> = running_of_class(declared, pending).collect();
        let number: BTreeMap<NodeId, usize> =
            nodes.iter().enumerate().map(|(index, node)| (node.name(), index)).collect();
        let before = nodes.iter().map(|node| {
            let direct = node.needs.iter().filter(|need| need.is_direct()).map(|need| &need.name).chain(&node.when);
            let all: Vec<&StreamName> = if with_previous { streams_needed(node).collect() } else { direct.collect() };
            let mut before: Vec<usize> = all
                .into_iter()
                .filter_map(|name| names.get(name))
                .flat_map(|providers| providers.base.iter().map(|provider| number[&provider.name()]))
                .collect();
            if matches!(node.work, Work::Sink(_)) {
                let asked = names.iter().flat_map(|(name, providers)| {
                    providers.base.iter().filter(move |provider| asks_for(node, name, provider))
                });
                before.extend(asked.map(|provider| number[&provider.name()]));
            }
            before.sort_unstable();
            before.dedup();
            before
        });
        Self { before: before.collect(), nodes }
    }
}

/// Refuses every cycle that no `previous` closes; the nodes that wait for each other.
pub(super) fn direct(
    declared: &Declared,
    names: &Names,
    pending: &Pending,
    problems: &mut Vec<Problem>,
) -> BTreeSet<NodeId> {
    let mut tangled = BTreeSet::new();
    let graph = Graph::of(declared, names, pending, false);
    for component in components(&graph.before) {
        let first = component[0];
        if component.len() > 1 || graph.before[first].contains(&first) {
            let path = path(&graph.before, &component);
            problems.push(Problem::Cycle { path: path.into_iter().map(|node| graph.nodes[node].name()).collect() });
            tangled.extend(component.iter().map(|node| graph.nodes[*node].name()));
        }
    }
    tangled
}

/// A shortest way from the first node of a component back to itself, in the direction of data.
pub(super) fn path(before: &[Vec<usize>], component: &[usize]) -> Vec<usize> {
    let start = component[0];
    let mut came: BTreeMap<usize, usize> = BTreeMap::new();
    let mut open = std::collections::VecDeque::from([start]);
    while let Some(node) = open.pop_front() {
        for &next in before[node].iter().filter(|next| component.contains(next)) {
            if next == start {
                let mut path = vec![start, node];
                let mut at = node;
                while at != start {
                    at = came[&at];
                    path.push(at);
                }
                return path;
            }
            if let std::collections::btree_map::Entry::Vacant(entry) = came.entry(next) {
                entry.insert(node);
                open.push_back(next);
            }
        }
    }
    component.to_vec()
}

/// The nodes that some `previous` closes to loops of more than one: their names, and the number of the loop. Nodes that
/// wait for each other as well are `tangled`: what their loop would be is not known.
pub(super) fn loops(
    declared: &Declared,
    names: &Names,
    pending: &Pending,
    labels: &Labels,
    tangled: &BTreeSet<NodeId>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<NodeId, u16> {
    let graph = Graph::of(declared, names, pending, true);
    let mut loops = BTreeMap::new();
    for (component, number) in components(&graph.before).into_iter().filter(|nodes| nodes.len() > 1).zip(0u16..) {
        // Nodes that stand in for each other are no loop, though each reads what the others would have provided.
        let names_of = |member: &usize| graph.nodes[*member].provides.first().map(|(name, _)| name);
        if component.iter().all(|member| names_of(member) == names_of(&component[0])) {
            continue;
        }
        if component.iter().any(|member| tangled.contains(&graph.nodes[*member].name())) {
            continue;
        }
        for &member in &component {
            let node = graph.nodes[member];
            loops.insert(node.name(), number);
            let mut refuse = |why: String| problems.push(Problem::Loop { node: node.name(), why });
            if node.slow.is_some() {
                refuse("it is slow; a loop advances row by row on the shard's thread".to_owned());
            }
            if node.own_rows() {
                refuse("it makes rows of its own; a loop advances row by row on one axis".to_owned());
            }
            if labels.differ(&labels.input_of(node), &labels.input_of(graph.nodes[component[0]])) {
                refuse("its rows are not those of the others; a loop advances on one axis".to_owned());
            }
            for (name, _) in &node.provides {
                if names.get(name).is_some_and(|providers| providers.exact.is_some()) {
                    refuse(format!("`{name}` is also provided by a node of one key; use a family, or an attribute"));
                }
            }
        }
    }
    loops
}

/// The base nodes in an order in which providers stand first; within a loop, as far as direct needs go.
pub(super) fn in_order(declared: &Declared, names: &Names, pending: &Pending) -> Vec<Arc<Node>> {
    let direct = Graph::of(declared, names, pending, false);
    let all = Graph::of(declared, names, pending, true);
    let mut ordered = Vec::new();
    for component in components(&all.before) {
        // Components come providers first; inside one, direct needs order the members.
        let within: Vec<Vec<usize>> = component
            .iter()
            .map(|node| {
                let inside =
                    direct.before[*node].iter().filter_map(|before| component.iter().position(|m| m == before));
                inside.collect()
            })
            .collect();
        for member in components(&within).into_iter().flatten() {
            ordered.push(Arc::clone(all.nodes[component[member]]));
        }
    }
    ordered
}

/// Strongly connected components (R. Tarjan, "Depth-first search and linear graph algorithms", 1972), each sorted;
/// a component comes after those it points to. Iterative: depth is bounded by memory, not by the stack.
pub(super) fn components(before: &[Vec<usize>]) -> Vec<Vec<usize>> {
    const NEW: usize = usize::MAX;
    let count = before.len();
    let (mut index, mut low, mut on_stack) = (vec![NEW; count], vec![0; count], vec![false; count]);
    let (mut stack, mut found, mut next) = (Vec::new(), Vec::new(), 0);
    for root in 0..count {
        if index[root] != NEW {
            continue;
        }
        let mut work = vec![(root, 0)];
        while let Some((node, edge)) = work.pop() {
            if edge == 0 {
                (index[node], low[node], on_stack[node]) = (next, next, true);
                next += 1;
                stack.push(node);
            }
            if let Some(&to) = before[node].get(edge) {
                work.push((node, edge + 1));
                if index[to] == NEW {
                    work.push((to, 0));
                } else if on_stack[to] {
                    low[node] = low[node].min(index[to]);
                }
                continue;
            }
            if low[node] == index[node] {
                let at = stack.iter().rposition(|on| *on == node).expect("it was pushed");
                let mut component = stack.split_off(at);
                component.iter().for_each(|member| on_stack[*member] = false);
                component.sort_unstable();
                found.push(component);
            }
            if let Some((parent, _)) = work.last() {
                low[*parent] = low[*parent].min(low[node]);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::components;

    #[test]
    fn components_come_providers_first() {
        // 0 needs 1, 1 needs 2, 2 needs 1, 3 needs 0
        assert_eq!(components(&[vec![1], vec![2], vec![1], vec![0]]), vec![vec![1, 2], vec![0], vec![3]]);
        assert_eq!(components(&[vec![], vec![0]]), vec![vec![0], vec![1]]);
    }
}
