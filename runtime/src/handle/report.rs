//! What nodes have done, and how they stand.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use super::Handle;
use crate::actor::Counts;
use crate::actor::control::Inspect;
use crate::actor::intake::IntakeCounts;
use crate::actor::pool::{Mark, PoolStand};
use crate::supervisor::{ClassState, DeployError, Deployment, NodeState};
use crate::topology::declared::Declared;
use crate::topology::diff::{declared_wiring, wiring};
use crate::topology::node::NodeKind;
use crate::topology::plan::{ClassPlan, PlanNode};
use crate::traits::BadReadings;
use crate::words::{Class, NodeId, Revision, ShardIndex};

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
    /// Readings of a sensor that are not numbers; their rows are among `counts`.
    pub nan: u64,
    /// Readings of a sensor outside its range, likewise.
    pub out_of_range: u64,
    /// Values that its rows would have read as of their time and that were no longer among the last `as_of_rows`.
    pub forgotten: u64,
    /// Rows that wait until all needs have reached them (`on_all`); not among `counts` yet.
    pub waiting_rows: u64,
    /// Keys it is quarantined for.
    pub quarantined_keys: usize,
    /// About how long it has computed, over all shards; the nodes of a loop are measured as the first of them.
    pub busy: Duration,
    /// About how many bytes its artifacts, parameters and the states of its keys take, if that was asked for.
    pub memory_bytes: Option<usize>,
    /// How often a call, or a row of a slow node, took longer than its budget.
    pub overruns: u64,
    /// Threads of a slow node that were given up and have not come back.
    pub lost_threads: u16,
    /// Whether too many of them are lost, or it failed for too many keys, so that it computes nothing for any key until it
    /// is resumed or replaced.
    pub quarantined: bool,
}

/// A node's actor on a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActorReport {
    /// The class of its node.
    pub class: Class,
    /// Its node.
    pub node: NodeId,
    /// The revision in which the node began to run.
    pub born: Revision,
    /// Its shard.
    pub shard: ShardIndex,
    /// Frames that it is to compute and has not: in its mailbox, parked before their turn, or not ready yet.
    pub waiting: u64,
    /// Messages that its mailbox takes.
    pub mailbox: usize,
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
        self.inspect(class, false).await
    }

    /// The same with the memory of each node, which takes the shards a microsecond or more a node.
    ///
    /// # Errors
    /// As [`Handle::report`].
    pub async fn report_with_memory(&self, class: Option<Class>) -> Result<Report, DeployError> {
        self.inspect(class, true).await
    }

    async fn inspect(&self, class: Option<Class>, memory: bool) -> Result<Report, DeployError> {
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
            let inspected = shard.send(Inspect { memory, waiting: false }).await.map_err(|_| DeployError::Stopped)?;
            report.keys += inspected.keys;
            report.actors += inspected.actors;
            report.intake.add(&inspected.intake);
            for node in inspected.nodes {
                let sum = counted.entry((node.name, node.born)).or_default();
                sum.counts.add(&node.counts);
                sum.bad.add(&node.bad);
                sum.forgotten += node.forgotten;
                sum.waiting += node.waiting_rows;
                sum.quarantined += node.quarantined;
                sum.bytes += node.bytes;
                sum.busy += node.busy;
                sum.overruns += node.overruns;
                sum.pool = node.pool.or(sum.pool);
            }
        }
        (report.nodes, report.in_transit) = stand.nodes(&counted, memory);
        Ok(report)
    }

    /// The actors of a class, with what waits for them.
    ///
    /// # Errors
    /// As [`Handle::report`].
    pub async fn actors(&self, class: Option<Class>) -> Result<Vec<ActorReport>, DeployError> {
        let (class, doors) = {
            let state = self.0.state();
            let class = state.class(&Deployment { class, ..Deployment::default() })?;
            let doors = Arc::clone(&state.classes[&class].doors);
            (class, doors)
        };
        let mut actors = Vec::new();
        for (shard, door) in (0..).map(ShardIndex).zip(&doors.shards) {
            let inspected =
                door.send(Inspect { memory: false, waiting: true }).await.map_err(|_| DeployError::Stopped)?;
            let mailbox = inspected.mailbox;
            actors.extend(inspected.nodes.into_iter().map(|node| {
                let (class, waiting) = (class.clone(), node.waiting);
                ActorReport { class, node: node.name, born: node.born, shard, waiting, mailbox }
            }));
        }
        Ok(actors)
    }
}

/// What nodes did and hold, over all shards.
type Counted = HashMap<(NodeId, Revision), Sum>;

#[derive(Clone, Copy, Default)]
struct Sum {
    counts: Counts,
    bad: BadReadings,
    forgotten: u64,
    waiting: u64,
    /// Keys that it is quarantined for.
    quarantined: usize,
    /// Of states and artifacts by key.
    bytes: usize,
    busy: Duration,
    overruns: u64,
    pool: Option<PoolStand>,
}

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
    fn nodes(&self, counted: &Counted, memory: bool) -> (Vec<NodeReport>, Vec<NodeReport>) {
        let of = |node: &PlanNode, state| {
            let sum = counted.get(&(node.name.clone(), node.born)).copied().unwrap_or_default();
            let bytes = || {
                let shared = node.model.as_ref().map_or(0, |model| model.bytes());
                sum.bytes + shared + node.operator.as_ref().map_or(0, |operator| operator.bytes())
            };
            let (mark, lost_threads) = sum.pool.unwrap_or_default();
            let quarantined = node.quarantined() || mark.is_some_and(|mark| mark.holds(Mark::of(node)));
            NodeReport {
                class: self.plan.class.clone(),
                node: node.name.clone(),
                kind: node.node.kind,
                state,
                born: Some(node.born),
                wiring: wiring(node),
                counts: sum.counts,
                nan: sum.bad.nan,
                out_of_range: sum.bad.out_of_range,
                forgotten: sum.forgotten,
                waiting_rows: sum.waiting,
                quarantined_keys: sum.quarantined,
                busy: sum.busy,
                memory_bytes: memory.then(bytes),
                overruns: sum.overruns,
                lost_threads,
                quarantined,
            }
        };
        let mut nodes: Vec<NodeReport> = Vec::new();
        for node in self.plan.nodes() {
            let mut report = of(node, NodeState::Running);
            if node.paused() {
                report.state = NodeState::Paused;
            } else if report.quarantined_keys > 0 || report.quarantined {
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
            let running = self.plan.own_nodes_of(key);
            let runs = move |name: &NodeId| running.iter().any(|node| node.name == *name);
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
                nan: 0,
                out_of_range: 0,
                forgotten: 0,
                waiting_rows: 0,
                quarantined_keys: 0,
                busy: Duration::ZERO,
                memory_bytes: None,
                overruns: 0,
                lost_threads: 0,
                quarantined: false,
                node: name,
            }
        })
    }
}
