//! Adds nodes that read streams of earlier rows only: one that stands alone, or one in a loop.

use gristmill::topology::{Ask, Need, NeedKind, Node, NodeKind, Pattern, Selector, Work};
use gristmill::words::{ElementType, Key, StreamName};

use super::super::case::{Case, Happening};
use super::super::operators::{Fails, Fragile, Mix, Sum, operator_node};
use super::super::plan;
use super::super::random::Random;
use super::nodes::initial;

/// Adds them to all plans that have the stream which they read; what the others make stays the same.
pub(super) fn make(random: &mut Random, case: &mut Case) {
    if random.percent(60) {
        return;
    }
    let provided: Vec<(StreamName, ElementType)> =
        case.plans[0].nodes.iter().flat_map(|node| node.provides.iter().cloned()).collect();
    let (stream, element) = random.pick(&provided).clone();
    let added =
        if random.percent(55) { vec![alone(random, case, &stream, element)] } else { looped(random, &stream, element) };
    let plans = case.plans.clone();
    for plan in &mut case.plans {
        if plan.nodes.iter().any(|node| plan::provides(node, &stream)) {
            let asked = added.iter().map(|node| Ask::Stream(node.provides[0].0.clone()));
            let sink = plan.nodes.iter_mut().find(|node| node.kind == NodeKind::Sink);
            if let Some(Work::Sink(sink)) = sink.map(|node| &mut node.work) {
                sink.asks.extend(asked);
            }
            plan.nodes.extend(added.iter().cloned());
        }
    }
    if !case.problems().is_empty() {
        case.plans = plans;
    }
}

/// A node that reads what a stream was in the row before, at times for some keys only.
fn alone(random: &mut Random, case: &Case, stream: &StreamName, element: ElementType) -> Node {
    let mut node = operator(random, "p1", vec![previous(stream, element)]);
    let keys: Vec<&Key> = case.log.iter().filter_map(|entry| key_of(&entry.what)).collect();
    if random.percent(40) && !keys.is_empty() {
        node.selector = match random.below(2) {
            0 => Selector::Key((*random.pick(&keys)).clone()),
            _ => Selector::Pattern(Pattern((*random.pick(&["P*", "M*", "?1"])).to_owned())),
        };
    }
    node
}

/// Two nodes of a loop: one reads what the other gave in the row before, and has its rows from it.
fn looped(random: &mut Random, stream: &StreamName, element: ElementType) -> Vec<Node> {
    let required = |name: &str, element| Need { name: name.into(), element, kind: NeedKind::Required };
    let first = operator(random, "p2", vec![previous(&"p3".into(), ElementType::F64)]);
    let second = operator(random, "p3", vec![required(stream, element), required("p2", ElementType::F64)]);
    vec![first, second]
}

fn previous(stream: &StreamName, element: ElementType) -> Need {
    Need { name: stream.clone(), element, kind: NeedKind::Previous { initial: initial(element) } }
}

fn operator(random: &mut Random, name: &str, needs: Vec<Need>) -> Node {
    let provides = vec![(StreamName::from(name), ElementType::F64)];
    let salt = random.between(1, 9);
    match random.below(4) {
        0 => operator_node(name, needs, provides, Sum { scale: salt }),
        1 => operator_node(name, needs, provides, Fragile { fails: Fails::Errs, percent: 20 }),
        _ => operator_node(name, needs, provides, Mix { salt }),
    }
}

fn key_of(what: &Happening) -> Option<&Key> {
    match what {
        Happening::Record(record) => Some(&record.key),
        Happening::Tick(_) => None,
    }
}
