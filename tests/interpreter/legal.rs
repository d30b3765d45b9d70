//! Which cases have one outcome: what the resolver refuses, and what the laws leave open.

use std::collections::{BTreeMap, BTreeSet};

use gristmill::topology::node::stand_in;
use gristmill::topology::{Ask, Missing, NeedKind, Node, Selector, Work};
use gristmill::words::{ElementType, StreamName};

use super::case::{Case, Happening};
use super::plan::{self, Axis, Plan};

pub(crate) fn problems(case: &Case) -> Vec<String> {
    let mut problems = Vec::new();
    let mut streams: BTreeMap<StreamName, (Axis, ElementType)> = BTreeMap::new();
    for (number, version) in case.plans.iter().enumerate() {
        let checked = Checked { case, plan: Plan::new(number, version, &case.axes) };
        problems.extend(checked.problems().into_iter().map(|problem| format!("plan {number}: {problem}")));
        for node in &version.nodes {
            for (name, element) in &node.provides {
                let Some(axis) = checked.plan.axes.get(name) else { continue };
                let known = streams.entry(name.clone()).or_insert_with(|| (axis.clone(), *element));
                if *known != (axis.clone(), *element) {
                    // Until when a reader that goes on remembers what it had of it hangs on when its key has rows.
                    problems.push(format!("plan {number}: `{name}` moves to another axis or type"));
                }
            }
        }
    }
    if case.deploy_before.iter().any(|place| case.is_within_record(*place)) {
        // A plan begins at an offset: before or after all rows of a record.
        problems.push("a plan is deployed within a record".to_owned());
    }
    if case.deploy_before.len() + 1 != case.plans.len() || !case.deploy_before.is_sorted() {
        problems.push("plans and deployments do not match".to_owned());
    }
    problems.extend(idle_partitions(case));
    problems.extend(log_problems(case));
    problems
}

/// When the waiting rows of a partition are completed that gets no record after a switch is not said by the laws.
fn idle_partitions(case: &Case) -> Vec<String> {
    let partitions: BTreeSet<u32> = case.log.iter().map(|entry| entry.partition).collect();
    let mut problems = Vec::new();
    for (number, switch) in case.switches().iter().enumerate() {
        if partitions.iter().any(|partition| !switch.contains_key(partition)) {
            problems.push(format!("a partition gets no record after deployment {number}"));
        }
    }
    problems
}

fn log_problems(case: &Case) -> Vec<String> {
    let mut problems = Vec::new();
    let (mut offsets, mut partitions) = (BTreeMap::new(), BTreeMap::new());
    for entry in &case.log {
        let Happening::Record(record) = &entry.what else { continue };
        if *partitions.entry(record.key.clone()).or_insert(entry.partition) != entry.partition {
            problems.push(format!("key `{}` is in two partitions", record.key));
        }
        if offsets.insert(entry.partition, record.offset).is_some_and(|last| record.offset < last) {
            problems.push(format!("offset {} of partition {} comes late", record.offset, entry.partition));
        }
        let streams = case.axes.get(usize::from(record.axis)).map(|axis| &axis.streams[..]).unwrap_or_default();
        let fits = streams.len() == record.columns.len()
            && streams
                .iter()
                .zip(&record.columns)
                .all(|((_, element), column)| column.element_type() == *element && column.len() == record.times.len());
        if !fits {
            problems.push(format!("the record at {} does not fit its axis", record.offset));
        }
    }
    problems
}

struct Checked<'c> {
    case: &'c Case,
    plan: Plan<'c>,
}

impl<'c> Checked<'c> {
    fn nodes(&self) -> &'c [Node] {
        &self.plan.version.nodes
    }

    fn providers(&self, name: &StreamName) -> Vec<&'c Node> {
        self.nodes().iter().filter(|node| plan::provides(node, name)).collect()
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut names = BTreeSet::new();
        for node in self.nodes() {
            if !names.insert(node.name()) {
                problems.push(format!("two nodes are called `{}`", node.name()));
            }
            problems.extend(self.unmet(node).into_iter().map(|what| format!("`{}`: {what}", node.name())));
        }
        if problems.is_empty() {
            problems.extend(self.clashes());
            problems.extend(self.cycles());
        }
        problems
    }

    fn unmet(&self, node: &Node) -> Vec<String> {
        if let Missing::Default(number) = node.missing
            && node.needs.iter().any(|need| {
                matches!(need.kind, NeedKind::Required | NeedKind::Attribute)
                    && stand_in(number, need.element).is_none()
            })
        {
            return vec![format!("`{}` has a default that is not of its needs' types", node.name())];
        }
        let mut unmet = Vec::new();
        for need in &node.needs {
            let provided = self.providers(&need.name).into_iter().flat_map(|provider| &provider.provides);
            let types: Vec<ElementType> =
                provided.filter(|(name, _)| *name == need.name).map(|(_, element)| *element).collect();
            let known = match need.kind {
                NeedKind::Attribute => {
                    self.plan.version.attributes.types().get(&need.name).copied().into_iter().collect()
                }
                _ => types,
            };
            if known.is_empty() || known.iter().any(|element| *element != need.element) {
                unmet.push(format!("need `{}` of {} is unmet", need.name, need.element));
            }
        }
        if node.when.as_ref().is_some_and(|gate| self.providers(gate).is_empty()) {
            unmet.push("its gate is not provided".to_owned());
        }
        match &node.work {
            Work::Sink(sink) => {
                for ask in &sink.asks {
                    if matches!(ask, Ask::Stream(name) if self.providers(name).is_empty()) {
                        unmet.push(format!("{ask:?} is not provided"));
                    }
                }
            }
            Work::Sensor { .. } if plan::raw_column(node, &self.case.axes).is_none() => {
                unmet.push("the source does not bring it".to_owned());
            }
            _ if self.plan.axis_out(node, &self.case.axes).is_none() => unmet.push("it has no axis".to_owned()),
            _ if plan::is_of_previous_only(node) && node.own_rows() => unmet.push("nothing gives it rows".to_owned()),
            _ => {}
        }
        unmet
    }

    /// Two providers of one name.
    fn clashes(&self) -> Vec<String> {
        let mut clashes = Vec::new();
        let places = 0..self.nodes().len();
        for (a, b) in places.clone().flat_map(|a| places.clone().map(move |b| (a, b))) {
            let (a, b) = (&self.nodes()[a], &self.nodes()[b]);
            let shared: Vec<_> = a.provides.iter().filter(|(name, _)| plan::provides(b, name)).collect();
            if std::ptr::eq(a, b) || shared.is_empty() {
                continue;
            }
            let axis = |node| self.plan.axis_out(node, &self.case.axes);
            if axis(a) != axis(b) || a.provides.iter().any(|(name, _)| plan::provides(b, name)) && a.kind != b.kind {
                clashes.push(format!("`{}` and `{}` do not override each other", a.name(), b.name()));
            }
            if shared.iter().any(|provided| !b.provides.contains(provided)) {
                clashes.push(format!("`{}` and `{}` differ in type", a.name(), b.name()));
            }
            let rank = |node: &Node| (node.selector.rank(), node.priority);
            let apart = match (&a.selector, &b.selector) {
                (Selector::Key(a), Selector::Key(b)) => a != b,
                (Selector::Attribute { name, value }, Selector::Attribute { name: other, value: wants }) => {
                    name == other && value != wants
                }
                (Selector::Pattern(a), Selector::Pattern(b)) => {
                    // The generator's patterns begin with a letter, or with what stands for any.
                    let (a, b) = (a.0.chars().next(), b.0.chars().next());
                    a != b && [a, b].iter().all(|first| first.is_some_and(char::is_alphabetic))
                }
                _ => false,
            };
            if rank(a) == rank(b) && !apart {
                clashes.push(format!("`{}` and `{}` are equally specific", a.name(), b.name()));
            }
            if rank(a) > rank(b) && b.provides.iter().any(|(name, _)| !plan::provides(a, name)) {
                clashes.push(format!("`{}` does not provide all that `{}` does", a.name(), b.name()));
            }
        }
        clashes
    }

    /// Cycles within a row, loops over several axes or with nodes of one key, and loops of nodes that make rows of
    /// their own.
    fn cycles(&self) -> Vec<String> {
        let nodes = self.nodes();
        let upstream = |node: &Node, all: bool| -> BTreeSet<usize> {
            let reads: Vec<_> = plan::reads(node).into_iter().filter(|(_, within)| all || *within).collect();
            (0..nodes.len())
                .filter(|other| reads.iter().any(|(name, _)| plan::provides(&nodes[*other], name)))
                .collect()
        };
        let closure = |all: bool| {
            let mut behind: Vec<BTreeSet<usize>> = nodes.iter().map(|node| upstream(node, all)).collect();
            for _ in nodes {
                for node in 0..nodes.len() {
                    let further: BTreeSet<usize> = behind[node].iter().flat_map(|near| behind[*near].clone()).collect();
                    behind[node].extend(further);
                }
            }
            behind
        };
        let mut problems = Vec::new();
        for (node, behind) in closure(false).iter().enumerate() {
            if behind.contains(&node) {
                problems.push(format!("`{}` is in a cycle", nodes[node].name()));
            }
        }
        let behind = closure(true);
        let axis = |node: usize| self.plan.axis_out(&nodes[node], &self.case.axes);
        for node in 0..nodes.len() {
            let emits = matches!(&nodes[node].work, Work::Operator(operator) if operator.own_rows());
            let runs = matches!(nodes[node].work, Work::Operator(_) | Work::Model(_) | Work::Family(_));
            if nodes[node].slow.is_some() && (emits || !runs) {
                problems.push(format!("`{}` cannot be slow", nodes[node].name()));
            }
            if behind[node].contains(&node) && emits {
                problems.push(format!("`{}` makes rows of its own in a loop", nodes[node].name()));
            }
            for other in behind[node].iter().filter(|other| behind[**other].contains(&node)) {
                let of_key = |number: usize| {
                    let names = nodes[number].provides.iter().map(|(name, _)| name);
                    names.flat_map(|name| self.providers(name)).any(|node| matches!(node.selector, Selector::Key(_)))
                };
                if *other != node && (of_key(node) || of_key(*other)) {
                    problems.push(format!("`{}` is in a loop and a node of one key stands in", nodes[node].name()));
                }
                if axis(node) != axis(*other) {
                    problems.push(format!("the loop of `{}` is on several axes", nodes[node].name()));
                }
            }
            if nodes[node].slow.is_some() && behind[node].contains(&node) {
                problems.push(format!("`{}` is slow and in a loop", nodes[node].name()));
            }
            for need in &nodes[node].needs {
                let previous = matches!(need.kind, NeedKind::Previous { .. });
                if previous && self.plan.axes.get(&need.name) != axis(node).as_ref() {
                    problems.push(format!("`{}` reads previous of another axis", nodes[node].name()));
                }
                if nodes[node].slow.is_some() && previous {
                    problems.push(format!("`{}` is slow and reads previous", nodes[node].name()));
                }
                if previous && emits {
                    problems.push(format!("`{}` makes rows of its own and reads previous", nodes[node].name()));
                }
            }
        }
        problems
    }
}
