//! Plans for people and programs: a table, a figure for Graphviz, JSON.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;

use serde::Serialize;

use super::need::{Need, NeedKind};
use super::node::{AS_OF_ROWS_DEFAULT, Ask, Missing, NodeKind, RowRule, Work};
use super::plan::{ClassPlan, PlanNode, SinkPlace};
use super::selector::Selector;
use super::twins::among;
use crate::words::{ElementType, Key, NodeId, StreamName};

/// Kinds of nodes of single keys that are written out; the rest is counted.
const GROUPS_SHOWN: usize = 50;
/// Keys of such a kind that are named.
const KEYS_SHOWN: usize = 3;
/// Nodes of single keys that JSON lists; the rest is counted.
const KEY_NODES_IN_JSON: usize = 1_000;

/// Nodes of single keys that differ in nothing but their key and artifact.
struct Group<'p> {
    example: &'p PlanNode,
    keys: Vec<&'p Key>,
    /// The sinks that ask for them.
    sinks: Vec<(SinkPlace, StreamName)>,
}

impl ClassPlan {
    fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: BTreeMap<(NodeId, String), Group<'_>> = BTreeMap::new();
        for (key, plan) in &self.keys {
            for (node, wires) in plan.nodes.iter().zip(&plan.wiring.wires) {
                let of = format!("{} {} {} {}", needs(node), provides(node), rows(node), node.node.kind);
                let group = groups.entry((node.node.id.clone(), of)).or_insert_with(|| Group {
                    example: node,
                    keys: Vec::new(),
                    sinks: wires
                        .sinks
                        .iter()
                        .filter_map(|(sink, local)| Some((*sink, local_name(node, *local)?)))
                        .collect(),
                });
                group.keys.push(key);
            }
        }
        groups.into_values().collect()
    }
}

/// The stream that a node of one key writes into a place.
fn local_name(node: &PlanNode, local: u16) -> Option<StreamName> {
    let output = node.provides.iter().position(|to| *to == super::plan::To::Local(local))?;
    Some(node.streams[output].0.clone())
}

fn needs(node: &PlanNode) -> String {
    match &node.node.work {
        Work::Sensor { raw, .. } => format!("column {raw}"),
        Work::Sink(sink) => sink.asks.iter().map(ask).collect::<Vec<_>>().join(", "),
        _ => node.node.needs.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn ask(ask: &Ask) -> String {
    match ask {
        Ask::Stream(stream) => stream.to_string(),
        Ask::AllModels => "all models".to_owned(),
        Ask::Pattern(pattern) => pattern.0.clone(),
    }
}

fn provides(node: &PlanNode) -> String {
    match &node.node.work {
        Work::Sink(sink) => format!("(to {})", sink.binding),
        _ => {
            node.node.provides.iter().map(|(name, element)| format!("{name}: {element}")).collect::<Vec<_>>().join(", ")
        }
    }
}

fn runs(node: &PlanNode) -> String {
    match &node.node.work {
        Work::Operator(operator) => operator.name().to_owned(),
        Work::Model(model) => format!("artifact {}", &model.digest().to_string()[..8]),
        Work::Family(family) => {
            let default = if family.default.is_some() { " and a default" } else { "" };
            format!("family of {}{default}", family.members.len())
        }
        Work::Sink(_) | Work::Sensor { .. } => String::new(),
    }
}

/// Which rows a node has, and what decides what it reads in them.
fn rows(plan: &PlanNode) -> String {
    let node = &plan.node;
    if node.kind == NodeKind::Sink {
        return String::new();
    }
    let mut text = match node.rule {
        RowRule::First => plan.input_axis.to_string(),
        RowRule::OnAny => "on any need".to_owned(),
        RowRule::OnAll { wait } => format!("on all needs, wait {wait}"),
    };
    let as_of = plan.needs.iter().chain(&plan.when).any(|need| need.kind.is_direct() && !need.in_row);
    if as_of {
        write!(text, ", as of then, max_age {}", node.max_age).expect("a text takes everything");
        if node.as_of_rows != AS_OF_ROWS_DEFAULT {
            write!(text, ", last {} rows", node.as_of_rows).expect("a text takes everything");
        }
    }
    let more = [
        node.when.as_ref().map(|gate| format!("when {gate}")),
        node.every.map(|span| format!("every {span}")),
        node.work_emits().then(|| "makes its own".to_owned()),
        match node.missing {
            Missing::Skip => None,
            Missing::Last => Some("missing: last".to_owned()),
            Missing::Default(number) => Some(format!("missing: {number}")),
            Missing::Pass => Some("missing: pass".to_owned()),
        },
        plan.in_loop.map(|number| format!("loop {number}")),
        node.slow.map(|slow| format!("slow: {} on {} threads", slow.budget, slow.threads)),
    ];
    more.into_iter().flatten().for_each(|more| text.extend([", ", &more]));
    text
}

fn keys_of(plan: &PlanNode) -> String {
    let priority = if plan.node.priority == 0 { String::new() } else { format!(" priority {}", plan.node.priority) };
    match &plan.node.selector {
        Selector::Class => format!("all{priority}"),
        selector => format!("{selector}{priority}"),
    }
}

fn some_keys(keys: &[&Key]) -> String {
    let named = keys.iter().take(KEYS_SHOWN).map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if keys.len() <= KEYS_SHOWN { named } else { format!("{} keys: {named}, …", keys.len()) }
}

/// Columns as wide as their widest cell; the last is not padded.
fn table(f: &mut fmt::Formatter<'_>, lines: &[Vec<String>]) -> fmt::Result {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for line in lines {
        let padded = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect::<Vec<_>>();
        write!(f, "\n{}", padded.join("  ").trim_end())?;
    }
    Ok(())
}

impl fmt::Display for ClassPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let groups = self.groups();
        let own: usize = groups.iter().map(|group| group.keys.len()).sum();
        write!(f, "{}, revision {}: {} nodes", self.class, self.revision, self.base.nodes.len())?;
        if own > 0 {
            write!(f, " and {own} of single keys")?;
        }
        let head = ["#", "node", "kind", "runs", "needs", "provides", "rows", "keys"];
        let mut lines = vec![head.map(str::to_owned).to_vec()];
        let line = |number: String, name: &NodeId, node: &PlanNode, keys: String| {
            let kind = node.node.kind.to_string();
            vec![number, name.to_string(), kind, runs(node), needs(node), provides(node), rows(node), keys]
        };
        for (number, node) in (1..).zip(&self.base.nodes) {
            lines.push(line(number.to_string(), &node.node.id, node, keys_of(node)));
        }
        for group in groups.iter().take(GROUPS_SHOWN) {
            lines.push(line("·".to_owned(), &group.example.node.id, group.example, some_keys(&group.keys)));
        }
        table(f, &lines)?;
        if groups.len() > GROUPS_SHOWN {
            write!(f, "\n… and {} more kinds of nodes of single keys", groups.len() - GROUPS_SHOWN)?;
        }
        for node in &self.base.unused {
            write!(f, "\nunused: `{node}`, as no sink asks for what it provides")?;
        }
        for (node, lacks) in &self.base.pending {
            let lacks: Vec<_> = lacks.iter().map(|stream| format!("`{stream}`")).collect();
            write!(f, "\npending: `{node}` until somebody provides {}", lacks.join(", "))?;
        }
        self.write_twins(f)
    }
}

impl ClassPlan {
    /// Nodes that do equal work; those of single keys once for each pair of names.
    fn write_twins(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut of_keys: BTreeMap<(&NodeId, &NodeId), Vec<&Key>> = BTreeMap::new();
        for (one, other) in self.twins() {
            match one.node.only_key() {
                Some(key) => of_keys.entry((&one.node.id, &other.node.id)).or_default().push(key),
                None => write!(f, "\ntwins: `{}` and `{}` compute the same", one.name, other.name)?,
            }
        }
        for ((one, other), keys) in of_keys.iter().take(GROUPS_SHOWN) {
            write!(f, "\ntwins: `{one}` and `{other}` compute the same for {}", some_keys(keys))?;
        }
        if of_keys.len() > GROUPS_SHOWN {
            write!(f, "\n… and {} more twins of single keys", of_keys.len() - GROUPS_SHOWN)?;
        }
        Ok(())
    }

    /// The plan as a figure in Graphviz's language: sensors are houses, models are bold, sinks are cylinders; what is
    /// read through `previous` is dashed, a gate is dotted. Nodes of single keys are drawn once for each kind.
    pub fn to_dot(&self) -> String {
        let groups = self.groups();
        let mut dot = format!("digraph {} {{\n  rankdir=LR;\n", quoted(&self.class));
        let mut providers: BTreeMap<&StreamName, Vec<String>> = BTreeMap::new();
        let names: Vec<String> = self.base.nodes.iter().map(|node| node.name.to_string()).collect();
        let own = groups.iter().map(|group| format!("{} ({})", group.example.node.id, some_keys(&group.keys)));
        let all: Vec<(String, &PlanNode)> = names
            .into_iter()
            .chain(own)
            .zip(self.base.nodes.iter().map(AsRef::as_ref).chain(groups.iter().map(|group| group.example)))
            .collect();
        for (name, node) in &all {
            writeln!(dot, "  {} [{}];", quoted(name), shape(node.node.kind)).expect("a text takes everything");
            for (stream, _) in &node.node.provides {
                providers.entry(stream).or_default().push(name.clone());
            }
        }
        let mut edge = |from: &str, to: &str, stream: &str, style: &str| {
            let (from, to, stream) = (quoted(from), quoted(to), quoted(stream));
            writeln!(dot, "  {from} -> {to} [label={stream}{style}];").expect("a text takes everything");
        };
        for (name, node) in &all {
            let gate = node.node.when.iter().map(|gate| (gate, ", style=dotted"));
            for (stream, style) in node.node.needs.iter().filter_map(styled).chain(gate) {
                for from in providers.get(stream).into_iter().flatten() {
                    edge(from, name, stream, style);
                }
            }
            let base: Vec<String> = self.base.nodes.iter().map(|node| node.name.to_string()).collect();
            for (stream, _) in &node.takes {
                for from in providers.get(stream).into_iter().flatten().filter(|from| base.contains(from)) {
                    edge(from, name, stream, "");
                }
            }
        }
        let sinks: Vec<&NodeId> = self.base.sinks().map(|(_, sink)| &sink.name).collect();
        for (group, (name, _)) in groups.iter().zip(&all[self.base.nodes.len()..]) {
            for (sink, stream) in &group.sinks {
                edge(name, sinks[usize::from(sink.0)], stream, "");
            }
        }
        dot.push_str("}\n");
        dot
    }

    /// The plan as JSON; fields are added, never renamed. Durations are in microseconds. Of nodes of single keys at
    /// most a thousand are listed, all are counted; twins are looked for among those that are listed.
    ///
    /// # Panics
    /// Never: everything in a plan can be written as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        let own = || (&self.keys).into_iter().flat_map(|(_, plan)| plan.nodes.iter().map(AsRef::as_ref));
        let plan = Plan {
            class: &self.class,
            revision: self.revision.0,
            nodes: self.base.nodes.iter().map(|node| JsonNode::of(node)).collect(),
            key_node_count: own().count(),
            key_nodes: own().take(KEY_NODES_IN_JSON).map(JsonNode::of).collect(),
            unused: &self.base.unused,
            pending: self.base.pending.iter().map(|(node, lacks)| Pending { node, lacks }).collect(),
            twins: among(self.base.nodes.iter().map(AsRef::as_ref).chain(own().take(KEY_NODES_IN_JSON)))
                .into_iter()
                .map(|(one, other)| (&one.name, &other.name))
                .collect(),
        };
        serde_json::to_value(plan).expect("a plan is plain data")
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn shape(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Sensor => "shape=house",
        NodeKind::Operator => "shape=box",
        NodeKind::Model => "shape=box, style=bold",
        NodeKind::Sink => "shape=cylinder",
    }
}

fn styled(need: &Need) -> Option<(&StreamName, &'static str)> {
    match need.kind {
        NeedKind::Required | NeedKind::Optional => Some((&need.name, "")),
        NeedKind::Previous { .. } => Some((&need.name, ", style=dashed")),
        NeedKind::Attribute => None,
    }
}

#[derive(Serialize)]
struct Plan<'p> {
    class: &'p str,
    revision: u64,
    nodes: Vec<JsonNode<'p>>,
    key_node_count: usize,
    key_nodes: Vec<JsonNode<'p>>,
    unused: &'p [NodeId],
    pending: Vec<Pending<'p>>,
    twins: Vec<(&'p NodeId, &'p NodeId)>,
}

#[derive(Serialize)]
struct Pending<'p> {
    node: &'p NodeId,
    lacks: &'p [StreamName],
}

#[derive(Serialize)]
struct JsonNode<'p> {
    node: &'p NodeId,
    kind: NodeKind,
    runs: String,
    born: u64,
    needs: Vec<JsonNeed<'p>>,
    takes: Vec<&'p StreamName>,
    provides: Vec<JsonProvided<'p>>,
    rows: JsonRows<'p>,
    selector: &'p Selector,
    priority: i32,
    #[serde(rename = "loop")]
    in_loop: Option<u16>,
}

#[derive(Serialize)]
struct JsonNeed<'p> {
    name: &'p StreamName,
    element: ElementType,
    how: &'static str,
    /// Of `previous`: what it reads before there is any value.
    initial: Option<String>,
    same_row: bool,
}

#[derive(Serialize)]
struct JsonProvided<'p> {
    name: &'p StreamName,
    element: ElementType,
}

#[derive(Serialize)]
struct JsonRows<'p> {
    of: String,
    rule: RowRule,
    every_us: Option<i64>,
    when: Option<&'p StreamName>,
    max_age_us: i64,
    as_of_rows: usize,
    missing: &'p Missing,
}

impl<'p> JsonNode<'p> {
    fn of(plan: &'p PlanNode) -> Self {
        let node = &plan.node;
        let need = |(need, resolved): (&'p Need, &'p super::plan::PlanNeed)| JsonNeed {
            name: &need.name,
            element: need.element,
            how: match need.kind {
                NeedKind::Required => "required",
                NeedKind::Optional => "optional",
                NeedKind::Previous { .. } => "previous",
                NeedKind::Attribute => "attribute",
            },
            initial: match &need.kind {
                NeedKind::Previous { initial } => Some(initial.to_string()),
                _ => None,
            },
            same_row: resolved.in_row,
        };
        Self {
            node: &plan.name,
            kind: node.kind,
            runs: runs(plan),
            born: plan.born.0,
            needs: node.needs.iter().zip(&plan.needs).map(need).collect(),
            takes: plan.takes.iter().map(|(stream, _)| stream).collect(),
            provides: node.provides.iter().map(|(name, element)| JsonProvided { name, element: *element }).collect(),
            rows: JsonRows {
                of: plan.axis.to_string(),
                rule: node.rule,
                every_us: node.every.map(|span| span.0),
                when: node.when.as_ref(),
                max_age_us: node.max_age.0,
                as_of_rows: node.as_of_rows,
                missing: &node.missing,
            },
            selector: &node.selector,
            priority: node.priority,
            in_loop: plan.in_loop,
        }
    }
}
