//! What a topology is refused for, one check a function; all find all they can.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::axes::Labels;
use super::declared::Declared;
use super::need::NeedKind;
use super::node::{Ask, Missing, Node, NodeKind, RowRule, Slow, Work, stand_in};
use immutable_chunkmap::map::MapM;

use super::names::{Names, Pending, element_of, running};
use super::plan::{BasePlan, OwnName};
use super::problem::Problem;
use super::resolve::BASE_NODES_MAX;
use super::scorer::Fit;
use crate::words::id::check_name;
use crate::words::{ElementType, NodeId, Span, StreamName, Value};

/// Most needs of one node.
pub(crate) const NEEDS_MAX: usize = 4096;
/// Most streams that one node provides.
pub(crate) const PROVIDES_MAX: usize = 256;
/// Most values of a need from another axis that are kept for a key.
pub(crate) const AS_OF_ROWS_MAX: usize = 1_000_000;

/// Names and parameters of every node.
pub(super) fn settings(declared: &Declared, problems: &mut Vec<Problem>) {
    if let Err(error) = check_name("class", &declared.class) {
        problems.push(error.into());
    }
    if declared.base.len() > BASE_NODES_MAX {
        let (count, limit) = (declared.base.len(), BASE_NODES_MAX);
        problems.push(Problem::TooMany { what: "nodes of the class", count, limit });
    }
    for node in declared.nodes() {
        node_settings(node, problems);
    }
    // A pattern may be a text that is also a key.
    let is_own = |name: &NodeId| {
        let key = name.split_once('@').map(|(_, key)| key);
        key.and_then(|key| declared.exact.get(key)).is_some_and(|nodes| nodes.contains_key(name))
    };
    problems
        .extend(declared.base.keys().filter(|name| is_own(name)).map(|node| Problem::SameName { node: node.clone() }));
    for node in &declared.twice {
        problems.push(Problem::SameName { node: node.name() });
        node_settings(node, problems);
    }
}

/// Names and parameters of one node.
pub(super) fn node_settings(node: &Node, problems: &mut Vec<Problem>) {
    let mut wrong = |what: String| problems.push(Problem::Setting { node: node.name(), what });
    if node.kind != NodeKind::Sink && node.provides.is_empty() {
        wrong("it provides nothing".to_owned());
    }
    let needs_stream = !matches!(node.work, Work::Sensor { .. } | Work::Sink(_));
    if needs_stream && !node.needs.iter().any(|need| need.kind != NeedKind::Attribute) {
        wrong("it needs no stream, so it has no rows".to_owned());
    }
    if node.needs.len() > NEEDS_MAX || node.provides.len() > PROVIDES_MAX {
        let (needs, provides) = (node.needs.len(), node.provides.len());
        wrong(format!("{needs} needs and {provides} provided streams; the limits are {NEEDS_MAX} and {PROVIDES_MAX}"));
    }
    if node.only_key().is_some() && matches!(node.work, Work::Sink(_)) {
        wrong("a sink cannot be limited to one key; use a pattern".to_owned());
    }
    if needs_stream && node.rule != RowRule::First && !node.needs.iter().any(super::need::Need::is_direct) {
        wrong("rows on any or all needs want at least one need that is read in the row".to_owned());
    }
    if !node.inputs.is_empty() {
        let (names, needs) = (node.inputs.len(), node.needs.len());
        match &node.work {
            Work::Model(_) | Work::Family(_) if names == needs => {}
            Work::Model(_) | Work::Family(_) => {
                wrong(format!("`inputs` has {names} names for {needs} needs; give one for each, in their order"));
            }
            _ => wrong("`inputs` says what a model calls its inputs, but it runs none; leave it out".to_owned()),
        }
    }
    let has_previous = node.needs.iter().any(|need| matches!(need.kind, NeedKind::Previous { .. }));
    if has_previous && node.work_emits() {
        wrong("an operator with rows of its own cannot need `previous`".to_owned());
    }
    if node.as_of_rows == 0 || node.as_of_rows > AS_OF_ROWS_MAX {
        wrong(format!("`as_of_rows` is {}; it must be from 1 to {AS_OF_ROWS_MAX}", node.as_of_rows));
    }
    let wait = if let RowRule::OnAll { wait } = node.rule { Some(("wait", wait)) } else { None };
    let spans = [Some(("max_age", node.max_age)), node.every.map(|span| ("every", span)), wait];
    for (name, span) in spans.into_iter().flatten() {
        if span < Span::ZERO {
            wrong(format!("`{name}` is negative"));
        }
    }
    for need in &node.needs {
        if let NeedKind::Previous { initial } = &need.kind
            && initial.element_type() != need.element
        {
            wrong(format!("the initial value of `previous({})` is missing or not {}", need.name, need.element));
        }
        if let Missing::Default(number) = node.missing
            && (need.kind == NeedKind::Required || need.kind == NeedKind::Attribute && need.element != ElementType::Str)
            && stand_in(number, need.element).is_none()
        {
            wrong(format!("{number} cannot stand in for `{}`, which is {}", need.name, need.element));
        }
    }
    all_rows(node, problems);
    slow(node, problems);
    fitting(node, problems);
    let names = node.provides.iter().map(|(name, _)| name);
    for name in names.chain(node.needs.iter().map(|need| &need.name)) {
        if let Err(error) = check_name("stream", name) {
            problems.push(error.into());
        }
    }
    if let Err(error) = check_name("node", &node.id) {
        problems.push(error.into());
    }
}

/// Sensors and sinks take all rows as they are.
fn all_rows(node: &Node, problems: &mut Vec<Problem>) {
    let instead = match node.work {
        Work::Sensor { .. } => "a sensor brings in every row; put it on a node behind the sensor",
        Work::Sink(_) => "a sink writes every value; put it on a node before the sink",
        _ => return,
    };
    let set = [
        ("every", node.every.is_some()),
        ("when", node.when.is_some()),
        ("on_any", node.rule == RowRule::OnAny),
        ("on_all", matches!(node.rule, RowRule::OnAll { .. })),
        ("missing", node.missing != Missing::Skip),
    ];
    for (name, _) in set.iter().filter(|(_, is_set)| *is_set) {
        problems.push(Problem::Setting { node: node.name(), what: format!("it cannot have `{name}`: {instead}") });
    }
}

/// Most threads of a node that may block.
pub(crate) const SLOW_THREADS_MAX: u16 = 64;

/// Whether a node that may block can do so.
fn slow(node: &Node, problems: &mut Vec<Problem>) {
    let Some(Slow { budget, threads }) = node.slow else { return };
    let mut wrong = |why: &str| problems.push(Problem::Unfit { node: node.name(), why: why.to_owned() });
    if matches!(node.work, Work::Sensor { .. } | Work::Sink(_)) {
        wrong("only operators and models can be slow");
    }
    if node.work_emits() {
        wrong("an operator with rows of its own cannot be slow");
    }
    if node.needs.iter().any(|need| matches!(need.kind, NeedKind::Previous { .. })) {
        wrong("a slow node cannot need `previous`; put a node before it that does");
    }
    if budget < Span::from_millis(1) {
        wrong("the budget of a slow node is at least 1 ms");
    }
    if threads == 0 || threads > SLOW_THREADS_MAX {
        wrong("a slow node has 1 to 64 threads");
    }
}

/// Whether what the node runs takes its needs and gives what it provides.
fn fitting(node: &Node, problems: &mut Vec<Problem>) {
    let misfits = match &node.work {
        Work::Operator(operator) => {
            let needs: Vec<ElementType> = node.needs.iter().map(|need| need.element).collect();
            let provides: Vec<ElementType> = node.provides.iter().map(|(_, element)| *element).collect();
            operator.check(&needs, &provides).err().into_iter().collect()
        }
        _ => Fit::of(node).misfits(),
    };
    problems.extend(misfits.into_iter().map(|why| Problem::Unfit { node: node.name(), why }));
}

/// Providers of one name: one type, one of them more specific, an override whole.
pub(super) fn providers(declared: &Declared, names: &Names, pending: &Pending, problems: &mut Vec<Problem>) {
    for node in running(declared, pending) {
        for (stream, wants) in &node.provides {
            let Some(first) = names.get(stream).and_then(|providers| providers.all().next()) else { continue };
            let (is, wants) = (element_of(first, stream), *wants);
            if is != wants {
                let (stream, provider, node) = (stream.clone(), first.name(), node.name());
                problems.push(Problem::Type { stream, provider, is, node, wants });
            }
        }
    }
    for (name, providers) in names {
        for (index, one) in providers.base.iter().enumerate() {
            for other in &providers.base[index + 1..] {
                compete(name, one, other, problems);
            }
        }
    }
}

/// Two nodes that provide one name.
pub(super) fn compete(name: &StreamName, one: &Arc<Node>, other: &Arc<Node>, problems: &mut Vec<Problem>) {
    if one.selector.excludes(&other.selector) {
        return;
    }
    let strength = |node: &Node| (node.selector.rank(), node.priority);
    let (strong, weak) = if strength(one) > strength(other) { (one, other) } else { (other, one) };
    if strength(one) == strength(other) {
        let (first, second) = (one.name(), other.name());
        problems.push(Problem::TwoProviders { stream: name.clone(), first, second });
        return;
    }
    for (weaker, _) in &weak.provides {
        if !strong.provides.iter().any(|(stronger, _)| stronger == weaker) {
            let (node, other) = (strong.name(), weak.name());
            problems.push(Problem::PartialOverride { node, other, stream: weaker.clone() });
        }
    }
}

/// Types of needs and gates, and attributes.
pub(super) fn needs(declared: &Declared, names: &Names, pending: &Pending, problems: &mut Vec<Problem>) {
    for node in running(declared, pending) {
        node_needs(node, declared, names, problems);
    }
}

fn node_needs(node: &Node, declared: &Declared, names: &Names, problems: &mut Vec<Problem>) {
    let attributes = declared.attributes.types();
    let mut wanted: Vec<(&StreamName, ElementType)> = Vec::new();
    for need in &node.needs {
        if need.kind != NeedKind::Attribute {
            wanted.push((&need.name, need.element));
            continue;
        }
        match attributes.get(&need.name) {
            None => problems.push(Problem::UnknownAttribute { node: node.name(), attribute: need.name.clone() }),
            Some(is) if *is != need.element => {
                let why = format!("attribute `{}` is {is}, not {}", need.name, need.element);
                problems.push(Problem::Unfit { node: node.name(), why });
            }
            Some(_) => {}
        }
    }
    wanted.extend(node.when.iter().map(|gate| (gate, ElementType::Bool)));
    if let (Work::Sink(sink), Some(element)) = (&node.work, node.subscription) {
        let streams = sink.asks.iter().filter_map(|ask| if let Ask::Stream(name) = ask { Some(name) } else { None });
        wanted.extend(streams.map(|name| (name, element)));
    }
    for (name, wants) in wanted {
        let Some(provider) = names.get(name).and_then(|providers| providers.all().next()) else { continue };
        let is = element_of(provider, name);
        if is != wants {
            let (stream, provider) = (name.clone(), provider.name());
            problems.push(Problem::Type { stream, provider, is, node: node.name(), wants });
        }
    }
    if let super::selector::Selector::Attribute { name, value } = &node.selector {
        attribute_selector(node, name, value, attributes, problems);
    }
}

/// The same for a node of one key against a plan; `None` when a need is not met there, so that all must be resolved.
pub(super) fn own_needs(
    node: &Node,
    declared: &Declared,
    base: &BasePlan,
    own_names: &MapM<StreamName, OwnName>,
    problems: &mut Vec<Problem>,
) -> Option<()> {
    let attributes = declared.attributes.types();
    for need in &node.needs {
        let is = match need.kind {
            NeedKind::Attribute => *attributes.get(&need.name)?,
            _ => match (base.names.get(&need.name), own_names.get(&need.name)) {
                (Some(info), _) => info.element,
                (None, own) => own?.element,
            },
        };
        if is != need.element {
            let why = format!("`{}` is {is}, not {}", need.name, need.element);
            problems.push(Problem::Unfit { node: node.name(), why });
        }
        if matches!(need.kind, NeedKind::Previous { .. }) {
            return None;
        }
    }
    if node.when.is_some() { None } else { Some(()) }
}

fn attribute_selector(
    node: &Node,
    name: &StreamName,
    value: &Value,
    attributes: &BTreeMap<StreamName, ElementType>,
    problems: &mut Vec<Problem>,
) {
    match attributes.get(name) {
        None => problems.push(Problem::UnknownAttribute { node: node.name(), attribute: name.clone() }),
        Some(is) if *is != value.element_type() => {
            let why = format!("attribute `{name}` is {is}, but the selector asks for `{value}`");
            problems.push(Problem::Unfit { node: node.name(), why });
        }
        Some(_) => {}
    }
}

/// `previous` reads rows of the node's own axis.
pub(super) fn previous(declared: &Declared, pending: &Pending, labels: &Labels, problems: &mut Vec<Problem>) {
    for node in running(declared, pending) {
        for need in node.needs.iter().filter(|need| matches!(need.kind, NeedKind::Previous { .. })) {
            let (is, own) = (labels.of_name(&need.name), labels.of_node(node));
            if labels.differ(is, &own) {
                let (stream, is, own) = (need.name.clone(), is.to_string(), own.to_string());
                problems.push(Problem::PreviousElsewhere { node: node.name(), stream, is, own });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::topology::{Missing, Node, Topology, sensor, sink};
    use crate::words::{Span, Stream};

    /// Bug: a sensor with `every`, a gate, a row rule or `missing` never brought in a row, and a sink took no notice of them.
    /// Fix: they are refused there, as manifests do.
    #[test]
    fn sensors_and_sinks_take_all_rows() {
        const X: Stream<f64> = Stream::new("x");
        const ON: Stream<bool> = Stream::new("on");
        type Change = fn(Node) -> Node;
        const CHANGES: [(&str, Change); 5] = [
            ("every", |node| node.every(Span::from_secs(1))),
            ("when", |node| node.when(&ON)),
            ("on_any", |node| node.on_any()),
            ("on_all", |node| node.on_all(Span::from_secs(1))),
            ("missing", |node| node.missing(Missing::Last)),
        ];
        let problems = |x: Node, out: Node| {
            let plant = Topology::new("plant").with(x).with(sensor(ON)).with(out);
            plant.resolve().err().map(|errors| errors.to_string()).unwrap_or_default()
        };
        let (x, out) = (|| Node::from(sensor(X)), || sink("out").needs(X));
        assert_eq!(problems(x(), out()), "");
        for (name, change) in CHANGES {
            let text = problems(change(x()), out());
            assert!(text.contains(&format!("`x`: it cannot have `{name}`: a sensor brings in every row")), "{text}");
            let text = problems(x(), change(out()));
            assert!(text.contains(&format!("`out`: it cannot have `{name}`: a sink writes every value")), "{text}");
        }
    }
}
