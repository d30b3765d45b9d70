//! Whose rows each stream has.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::declared::Declared;
use super::need::{Need, NeedKind};
use super::node::{Node, Work};
use immutable_chunkmap::map::MapM;

use super::names::{Names, Pending, running};
use super::plan::{AxisLabel, BasePlan, OwnName};
use super::problem::Problem;
use crate::traits::Axes;
use crate::traits::source::AxisStreams;
use crate::words::{ElementType, StreamName};

/// The axes of the source, each with its streams: as it declares them, or as the sensors ask for them. An axis that was
/// there keeps its place, and so does a stream in it: rows that wait in the intake were put together by these places.
pub(super) fn source_axes(
    declared: &Declared,
    before: &[AxisStreams],
    problems: &mut Vec<Problem>,
) -> Vec<AxisStreams> {
    let mut sensors: BTreeMap<&StreamName, (ElementType, &Arc<Node>)> = BTreeMap::new();
    for node in declared.nodes() {
        if let (Work::Sensor { raw, .. }, Some((_, element))) = (&node.work, node.provides.first()) {
            let element = *element;
            let (first, other) = sensors.entry(raw).or_insert((element, node));
            if *first != element {
                let (stream, provider) = (raw.clone(), other.name());
                problems.push(Problem::Type { stream, provider, is: *first, node: node.name(), wants: element });
            }
        }
    }
    match &declared.axes {
        Axes::Declared(shapes) => {
            for (raw, (element, node)) in &sensors {
                let brings = shapes.iter().flatten().find(|(name, _)| name == *raw).map(|(_, element)| *element);
                if brings != Some(*element) {
                    problems.push(Problem::NotInSource {
                        node: node.name(),
                        raw: (*raw).clone(),
                        element: *element,
                        brings: brings.map_or_else(
                            || {
                                shapes
                                    .iter()
                                    .flatten()
                                    .map(|(name, _)| format!("`{name}`"))
                                    .collect::<Vec<_>>()
                                    .join(", ")
                            },
                            |element| format!("it as {element}"),
                        ),
                    });
                }
            }
            shapes.iter().map(|streams| AxisStreams { streams: streams.clone() }).collect()
        }
        Axes::Open { groups, wide } => {
            let mut axes = before.to_vec();
            if axes.is_empty() {
                axes.resize(groups.len() + usize::from(*wide), AxisStreams { streams: Vec::new() });
            }
            let grouped = groups.iter().flatten().filter_map(|name| Some((name, sensors.get(name)?.0)));
            let all: Vec<_> = grouped.chain(sensors.iter().map(|(name, (element, _))| (*name, *element))).collect();
            for (name, element) in all {
                let known = |axis: &mut AxisStreams| {
                    axis.streams.iter_mut().find(|(known, _)| known == name).map(|(_, known)| *known = element)
                };
                if axes.iter_mut().find_map(known).is_some() {
                    continue;
                }
                let group = groups.iter().position(|group| group.contains(name));
                match group.or(wide.then_some(groups.len())) {
                    Some(place) => axes[place].streams.push((name.clone(), element)),
                    None => axes.push(AxisStreams { streams: vec![(name.clone(), element)] }),
                }
            }
            axes
        }
    }
}

/// The label of a stream whose axis is not known because the topology is wrong elsewhere.
pub(super) const NOWHERE: AxisLabel = AxisLabel::Source(u16::MAX);

/// The label of every stream.
pub(super) struct Labels {
    names: BTreeMap<StreamName, AxisLabel>,
    raw: BTreeMap<StreamName, u16>,
    /// Whether some rows cannot be followed back to the source, because of a problem that is told of.
    gaps: bool,
}

impl Labels {
    /// Follows first needs back to the sensors.
    pub(super) fn of(names: &Names, axes: &[AxisStreams], gaps: bool) -> Self {
        let raw = axes
            .iter()
            .zip(0..)
            .flat_map(|(axis, number)| axis.streams.iter().map(move |(name, _)| (name.clone(), number)));
        let mut labels = Self { names: BTreeMap::new(), raw: raw.collect(), gaps };
        for name in names.keys() {
            labels.follow(name, names);
        }
        labels
    }

    /// All providers of a stream have its rows.
    pub(super) fn check(&self, declared: &Declared, names: &Names, pending: &Pending, problems: &mut Vec<Problem>) {
        for node in running(declared, pending) {
            let other_is = self.of_node(node);
            // Where nodes need each other directly, that is told of as a cycle.
            let is_lost = |name: &StreamName| !self.gaps && *self.of_name(name) == NOWHERE;
            // Rows that a gate or `every` picks are the node's own axis: of earlier ones alone none are made.
            if first_need(node).is_some_and(|need| is_previous(need) && (is_lost(&need.name) || picks_of_itself(node)))
            {
                let what = "nothing gives it rows: it needs only what comes from itself; add a need that a sensor's rows lead to";
                problems.push(Problem::Setting { node: node.name(), what: what.to_owned() });
            }
            for (name, _) in &node.provides {
                let is = self.of_name(name);
                let first = names.get(name).and_then(|providers| providers.all().next());
                if let Some(first) = first.filter(|_| self.differ(is, &other_is)) {
                    let (provider, node) = (first.name(), node.name());
                    let (stream, is, other_is) = (name.clone(), is.to_string(), other_is.to_string());
                    problems.push(Problem::Axis { stream, provider, is, node, other_is });
                }
            }
        }
    }

    /// Whether two labels are known to differ.
    pub(super) fn differ(&self, one: &AxisLabel, other: &AxisLabel) -> bool {
        one != other && !(self.gaps && [one, other].contains(&&NOWHERE))
    }

    /// The labels of a plan's names.
    pub(super) fn known(base: &BasePlan, own_names: &MapM<StreamName, OwnName>) -> Self {
        let base_names = base.names.iter().map(|(name, info)| (name.clone(), info.axis.clone()));
        let own = own_names.into_iter().map(|(name, own)| (name.clone(), own.axis.clone()));
        Self { names: base_names.chain(own).collect(), raw: BTreeMap::new(), gaps: false }
    }

    /// Walks from a stream along first needs to one whose label is known, and labels all on the way.
    fn follow(&mut self, name: &StreamName, names: &Names) {
        let (mut way, mut at) = (Vec::new(), name);
        let label = loop {
            if let Some(label) = self.names.get(at) {
                break label.clone();
            }
            // A need that only `previous` closes can come back to itself; the rows are then those of another need.
            let provider = names.get(at).and_then(|providers| providers.all().next());
            let Some(node) = provider.filter(|_| way.len() <= names.len()) else { break NOWHERE };
            way.push(at);
            if node.own_rows() {
                break own_label(node);
            }
            if let Work::Sensor { raw, .. } = &node.work {
                break self.raw.get(raw).map_or(NOWHERE, |axis| AxisLabel::Source(*axis));
            }
            match first_need(node) {
                Some(first) => at = &first.name,
                None => break NOWHERE,
            }
        };
        self.names.extend(way.into_iter().map(|name| (name.clone(), label.clone())));
    }

    /// The label of a stream.
    pub(super) fn of_name(&self, name: &StreamName) -> &AxisLabel {
        self.names.get(name).unwrap_or(&NOWHERE)
    }

    /// Whose rows a node runs on.
    pub(super) fn input_of(&self, node: &Node) -> AxisLabel {
        if let Work::Sensor { .. } = &node.work {
            return self.of_node(node);
        }
        first_need(node).map_or(NOWHERE, |first| self.of_name(&first.name).clone())
    }

    /// Whose rows a node provides.
    pub(super) fn of_node(&self, node: &Node) -> AxisLabel {
        if node.own_rows() {
            own_label(node)
        } else if let Work::Sensor { raw, .. } = &node.work {
            self.raw.get(raw).map_or(NOWHERE, |axis| AxisLabel::Source(*axis))
        } else {
            self.input_of(node)
        }
    }
}

/// Rows of the node's own.
fn own_label(node: &Node) -> AxisLabel {
    node.provides.first().map_or(NOWHERE, |(name, _)| AxisLabel::Own(name.clone()))
}

/// The need whose rows a node has by default: its first stream that is read in the row.
fn first_need(node: &Node) -> Option<&Need> {
    let direct = node.needs.iter().find(|need| need.is_direct());
    direct.or_else(|| node.needs.iter().find(|need| is_previous(need)))
}

/// Whether it reads what it provides, and lets only some rows through.
fn picks_of_itself(node: &Node) -> bool {
    let is_own = |need: &Need| node.provides.iter().any(|(name, _)| *name == need.name);
    (node.every.is_some() || node.when.is_some()) && node.needs.iter().any(is_own)
}

fn is_previous(need: &Need) -> bool {
    matches!(need.kind, NeedKind::Previous { .. })
}
