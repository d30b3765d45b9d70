//! A failed row once more, apart from the streams: the node that failed on it, and the nodes that read what it gives.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::need::NeedKind;
use super::node::{Missing, Work, stand_in};
use super::plan::{ClassPlan, PlanNode, To};
use super::{scorer, variant};
use crate::traits::{Digest, Outputs, Rows};
use crate::words::{Binding, Column, ColumnRef, Key, KeyIndex, NodeId, StreamName, Time, Value};

/// A value that was computed again.
#[derive(Clone, Debug)]
pub struct Computed {
    /// What it is a value of.
    pub stream: StreamName,
    /// The value.
    pub value: Value,
    /// The node that computed it.
    pub node: NodeId,
    /// That node's artifact.
    pub artifact: Option<Digest>,
}

/// What became of a row that was computed again.
#[derive(Clone, Debug, Default)]
pub struct Again {
    /// What each sink gets; a sink that takes nothing of it is not there.
    pub writes: BTreeMap<Binding, Vec<Computed>>,
    /// Nodes behind it that were left out: they keep a state, join several axes, or read from one that does. What they
    /// made of the missing value stands.
    pub left_out: Vec<NodeId>,
    /// Nodes further on that failed on it now, with their reasons.
    pub failed: Vec<(NodeId, String)>,
}

/// Computes a row again under a plan: `node` with what it was given (`values`, as a dead letter has them), then all
/// nodes without state that read what it gives in the same row, with the row's other values.
///
/// # Errors
/// When the node cannot be asked again, or fails again; with the reason.
pub fn again(
    plan: &ClassPlan,
    key: &Key,
    node: &NodeId,
    time: Time,
    values: &[(String, Value)],
) -> Result<Again, String> {
    let nodes = nodes_of(plan, key);
    let failed = nodes.iter().find(|of_key| of_key.name == *node);
    let failed = *failed.ok_or_else(|| format!("no node `{node}` runs for the key any more"))?;
    if failed.has_state() || failed.emits || failed.in_loop.is_some() {
        return Err(format!("`{node}` keeps a state, which later rows have moved on"));
    }
    if failed.paused() {
        return Err(format!("`{node}` is paused; resume it first"));
    }
    if failed.quarantined() {
        return Err(format!(
            "`{node}` is in quarantine for all keys; mend it and deploy it again, or resume it, first"
        ));
    }
    let mut row = Row { plan, key, time, values: values.iter().cloned().collect(), computed: Vec::new() };
    for (stream, _) in &failed.streams {
        row.values.remove(stream.as_str());
    }
    row.compute(failed, true)?;
    let mut done = Again::default();
    row.follow(nodes, node, &mut done);
    done.writes = row.writes();
    Ok(done)
}

/// The running nodes of a key.
fn nodes_of<'p>(plan: &'p ClassPlan, key: &Key) -> Vec<&'p Arc<PlanNode>> {
    let base = &plan.base;
    let mask = variant::mask(base, key, &base.attributes.of(key));
    let own = plan.keys.get(key);
    let overridden = |node: &PlanNode| own.is_some_and(|own| own.wiring.overridden.contains(&node.name));
    let of_class = mask.iter().map(|index| &base.nodes[index]).filter(|node| !overridden(node));
    of_class.chain(own.into_iter().flat_map(|own| &own.nodes)).collect()
}

/// A row that is computed again.
struct Row<'p> {
    plan: &'p ClassPlan,
    key: &'p Key,
    time: Time,
    /// By how a node reads them.
    values: BTreeMap<String, Value>,
    computed: Vec<Computed>,
}

impl<'p> Row<'p> {
    /// Computes the nodes behind `first`, each after those it reads from.
    fn follow(&mut self, nodes: Vec<&'p Arc<PlanNode>>, first: &NodeId, done: &mut Again) {
        let mut anew: BTreeSet<&StreamName> = BTreeSet::new();
        let mut without: BTreeSet<&StreamName> = BTreeSet::new();
        let mut left: Vec<&Arc<PlanNode>> = nodes;
        left.retain(|node| {
            if node.name == *first {
                anew.extend(node.streams.iter().map(|(stream, _)| stream));
            }
            node.name != *first && !matches!(node.node.work, Work::Sink(_))
        });
        loop {
            // Whoever reads from a node that has not had its turn waits; in a loop nobody begins.
            let open: BTreeSet<&StreamName> =
                left.iter().flat_map(|node| &node.streams).map(|(stream, _)| stream).collect();
            let reads = |node: &PlanNode, of: &BTreeSet<&StreamName>| {
                node.node.needs.iter().any(|need| need.is_direct() && of.contains(&need.name))
            };
            let (turn, later): (Vec<_>, Vec<_>) = left.iter().copied().partition(|node| !reads(node, &open));
            for node in &turn {
                if !reads(node, &anew) && !reads(node, &without) {
                    continue;
                }
                let streams = node.streams.iter().map(|(stream, _)| stream);
                let stays =
                    node.has_state() || node.emits || !node.aligned || node.in_loop.is_some() || node.stands_still();
                if stays || reads(node, &without) {
                    without.extend(streams);
                    done.left_out.push(node.name.clone());
                    continue;
                }
                streams.clone().for_each(|stream| _ = self.values.remove(stream.as_str()));
                anew.extend(streams);
                if let Err(reason) = self.compute(node, false) {
                    done.failed.push((node.name.clone(), reason));
                }
            }
            left = later;
            if turn.is_empty() || left.is_empty() {
                let rest = left.iter().filter(|node| reads(node, &anew));
                done.left_out.extend(rest.map(|node| node.name.clone()));
                return;
            }
        }
    }

    /// Runs a node on the row. One that is not `asked` for and lacks a value writes nothing.
    fn compute(&mut self, node: &PlanNode, asked: bool) -> Result<(), String> {
        let mut columns = Vec::with_capacity(node.node.needs.len());
        for need in &node.node.needs {
            let given = match need.kind {
                NeedKind::Attribute => self.plan.attribute(self.key, &need.name),
                _ => self.values.get(&need.label()).cloned(),
            };
            let given = match (given, &node.missing) {
                (None, Missing::Default(number)) => stand_in(*number, need.element),
                (given, _) => given.and_then(|value| value.cast(need.element)),
            };
            if given.is_none() && need.kind != NeedKind::Optional && node.missing != Missing::Pass {
                return if asked { Err(format!("nothing is known of its need `{}`", need.label())) } else { Ok(()) };
            }
            let mut column = Column::with_capacity(need.element, 1);
            column.push(given.as_ref());
            columns.push(column);
        }
        let (out, artifact) = self.run(node, &columns)?;
        for ((stream, _), column) in node.streams.iter().zip(out) {
            if let Some(value) = column.as_ref().value(0) {
                self.values.insert(stream.to_string(), value.clone());
                let (stream, node) = (stream.clone(), node.name.clone());
                self.computed.push(Computed { stream, value, node, artifact });
            }
        }
        Ok(())
    }

    fn run(&self, node: &PlanNode, columns: &[Column]) -> Result<(Vec<Column>, Option<Digest>), String> {
        let columns: Vec<ColumnRef<'_>> = columns.iter().map(Column::as_ref).collect();
        let mut out: Vec<Column> = node.streams.iter().map(|(_, element)| Column::missing(*element, 1)).collect();
        let times = [self.time];
        let rows = Rows::new(&times, &columns);
        let mut outputs = Outputs::new(&mut out, 0..1);
        let (ran, artifact) = if let Some(operator) = &node.operator {
            let mut nothing = operator.table(false);
            let run = || operator.run(nothing.as_mut(), KeyIndex(0), &rows, &mut outputs);
            (catch_unwind(AssertUnwindSafe(run)), node.artifact)
        } else {
            let model = match &node.model {
                Some(model) => model,
                None => scorer::model_of(&node.node, Some(self.key)).map_err(|error| error.0)?,
            };
            let run = || scorer::score(model.as_ref(), &rows, &mut outputs);
            (catch_unwind(AssertUnwindSafe(run)), Some(model.digest()))
        };
        match ran {
            Ok(Ok(())) => Ok((out, artifact)),
            Ok(Err(error)) => Err(error.0),
            Err(_) => Err("it panicked".to_owned()),
        }
    }

    /// What each sink of the key takes of what was computed.
    fn writes(self) -> BTreeMap<Binding, Vec<Computed>> {
        let mut writes: BTreeMap<Binding, Vec<Computed>> = BTreeMap::new();
        let (own, attributes) = (self.plan.keys.get(self.key), self.plan.base.attributes.of(self.key));
        for (place, node) in self.plan.base.sinks() {
            if !node.node.selector.takes(self.key, &attributes) {
                continue;
            }
            // A subscriber has the rows from its position on, and may not be reading.
            let (Work::Sink(sink), None) = (&node.node.work, node.node.subscription) else { continue };
            let mut taken: BTreeSet<&StreamName> = node.takes.iter().map(|(stream, _)| stream).collect();
            for (node, wires) in own.into_iter().flat_map(|own| own.nodes.iter().zip(&own.wiring.wires)) {
                for (_, local) in wires.sinks.iter().filter(|(of, _)| *of == place) {
                    let output = node.provides.iter().position(|to| *to == To::Local(*local));
                    taken.extend(output.map(|output| &node.streams[output].0));
                }
            }
            let mut values: Vec<Computed> =
                self.computed.iter().filter(|computed| taken.contains(&computed.stream)).cloned().collect();
            values.sort_by(|one, other| one.stream.cmp(&other.stream));
            if !values.is_empty() {
                writes.entry(sink.binding.clone()).or_default().extend(values);
            }
        }
        writes
    }
}
