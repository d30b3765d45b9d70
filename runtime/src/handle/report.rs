//! What nodes have done, and how they stand.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::Handle;
use crate::actor::Counts;
use crate::actor::control::Inspect;
use crate::actor::intake::IntakeCounts;
use crate::supervisor::{ClassState, DeployError, Deployment, NodeState};
use crate::topology::declared::Declared;
use crate::topology::diff::{declared_wiring, wiring};
use crate::topology::node::NodeKind;
use crate::topology::plan::{ClassPlan, PlanNode};
use crate::words::{Class, NodeId, Revision};

/// What a node has done so far, over all shards.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeReport {
    /// Its class.
    pub class: Class,
    /// Its name.
    pub node: NodeId,
    /// What it is.
    pub kind: NodeKind,
    /// How it stands.
    pub state: NodeState,
    /// The revision in which it began to run, if it does.
    pub born: Option<Revision>,
    /// What it needs and provides.
    pub wiring: String,
    /// What became of its rows.
    pub counts: Counts,
    /// Keys it is quarantined for.
    pub quarantined_keys: usize,
}

/// What a class has done so far, over all shards.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The revision that runs.
    pub revision: Revision,
    /// Keys met.
    pub keys: usize,
    /// Node actors.
    pub actors: usize,
    /// What became of the rows that came.
    pub intake: IntakeCounts,
    /// Each node that is accepted, those that run first.
    pub nodes: Vec<NodeReport>,
    /// Those that begin or end at this moment.
    pub in_transit: Vec<NodeReport>,
}

impl Handle {
    /// What a class has done so far, and every node of it that is accepted.
    ///
    /// # Errors
    /// When there is no such class, or the runtime has stopped.
    pub async fn report(&self, class: Option<Class>) -> Result<Report, DeployError> {
        let (stand, doors) = {
            let state = self.0.state();
            let class = state.class(&Deployment { class, ..Deployment::default() })?;
            let class = &state.classes[&class];
            (Stand::of(class), Arc::clone(&class.doors))
        };
        let revision = stand.plan.revision;
        let (nodes, in_transit) = (Vec::new(), Vec::new());
        let mut report = Report { revision, keys: 0, actors: 0, intake: IntakeCounts::default(), nodes, in_transit };
        let mut counted = Counted::new();
        for shard in &doors.shards {
            let inspected = shard.send(Inspect).await.map_err(|_| DeployError::Stopped)?;
            report.keys += inspected.keys;
            report.actors += inspected.actors;
            report.intake.add(&inspected.intake);
            for (name, born, counts, quarantined) in inspected.nodes {
                let sum = counted.entry((name, born)).or_default();
                sum.0.add(&counts);
                sum.1 += quarantined;
            }
        }
        (report.nodes, report.in_transit) = stand.nodes(&counted);
        Ok(report)
    }
}

/// What nodes counted, and for how many keys they are quarantined.
type Counted = HashMap<(NodeId, Revision), (Counts, usize)>;

/// How the nodes of a class stand at one moment.
struct Stand {
    plan: Arc<ClassPlan>,
    declared: Declared,
    in_transit: Vec<(Arc<PlanNode>, NodeState)>,
}

impl Stand {
    fn of(class: &ClassState) -> Self {
        let in_transit = class.in_transit().map(|(node, state)| (Arc::clone(node), state)).collect();
        Self { plan: Arc::clone(&class.plan), declared: class.declared.clone(), in_transit }
    }

    /// Those that run first, in the order of the plan.
    fn nodes(&self, counted: &Counted) -> (Vec<NodeReport>, Vec<NodeReport>) {
        let of = |node: &PlanNode, state| {
            let (counts, quarantined_keys) = counted.get(&(node.name.clone(), node.born)).copied().unwrap_or_default();
            NodeReport {
                class: self.plan.class.clone(),
                node: node.name.clone(),
                kind: node.node.kind,
                state,
                born: Some(node.born),
                wiring: wiring(node),
                counts,
                quarantined_keys,
            }
        };
        let mut nodes: Vec<NodeReport> = Vec::new();
        for node in self.plan.nodes() {
            let mut report = of(node, NodeState::Running);
            if node.paused() {
                report.state = NodeState::Paused;
            } else if report.quarantined_keys > 0 {
                report.state = NodeState::Quarantined;
            }
            nodes.push(report);
        }
        nodes.extend(self.idle());
        (nodes, self.in_transit.iter().map(|(node, state)| of(node, *state)).collect())
    }

    /// Nodes that are accepted and do not run.
    fn idle(&self) -> impl Iterator<Item = NodeReport> {
        let base = &self.plan.base;
        let runs: BTreeSet<&NodeId> = base.nodes.iter().map(|node| &node.name).collect();
        let of_class = self.declared.base.values().filter(move |node| !runs.contains(&node.name()));
        let own = (&self.declared.exact).into_iter().flat_map(|(key, nodes)| {
            let running = self.plan.keys.get(key);
            let runs =
                move |name: &NodeId| running.is_some_and(|plan| plan.nodes.iter().any(|node| node.name == *name));
            nodes.values().filter(move |node| !runs(&node.name()))
        });
        of_class.chain(own).map(|node| {
            let name = node.name();
            let pending = base.pending.contains_key(&name);
            NodeReport {
                class: self.plan.class.clone(),
                kind: node.kind,
                state: if pending { NodeState::Pending } else { NodeState::Unused },
                born: None,
                wiring: declared_wiring(node),
                counts: Counts::default(),
                quarantined_keys: 0,
                node: name,
            }
        })
    }
}
