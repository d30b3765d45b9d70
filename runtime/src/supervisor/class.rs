//! What the supervisor keeps of a class that runs.

use std::collections::VecDeque;
use std::fmt;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::Addr;

use super::deployment::Deployment;
use super::error::DeployError;
use super::node_state::NodeState;
use crate::actor::driver::Control;
use crate::actor::shard::Shard;
use crate::metrics::ClassMetrics;
use crate::state::RestoreReport;
use crate::topology::declared::Declared;
use crate::topology::plan::{ClassPlan, PlanNode};
use crate::traits::sink::Abandoned;
use crate::traits::{Clock, Decode};
use crate::words::Revision;

/// A class that runs.
pub(crate) struct ClassState {
    pub(crate) declared: Declared,
    pub(crate) plan: Arc<ClassPlan>,
    pub(crate) doors: Arc<Doors>,
    /// What was declared at earlier revisions, the newest last.
    pub(crate) history: VecDeque<Past>,
    /// The plan whose actors are being started.
    pub(crate) staged: Option<Arc<ClassPlan>>,
    /// Nodes that only plans before a revision have, as long as rows of those are under way.
    pub(crate) draining: Vec<(Revision, Vec<Arc<PlanNode>>)>,
}

/// What was declared at a revision, and at those after it that differ from it in subscriptions alone.
pub(crate) struct Past {
    first: Revision,
    last: Revision,
    declared: Declared,
}

impl fmt::Display for Past {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.first)?;
        if self.last == self.first { Ok(()) } else { write!(f, " to {}", self.last) }
    }
}

/// Revisions of a class that can be gone back to.
pub(crate) const HISTORY_MAX: usize = 100;

impl Past {
    fn of(plan: &ClassPlan, declared: &Declared) -> Self {
        Self { first: plan.revision, last: plan.revision, declared: declared.clone() }
    }
}

/// What a deployment is prepared on.
pub(crate) struct Ground {
    /// What is declared, or was at the revision that is gone back to.
    pub(super) declared: Declared,
    /// What runs.
    pub(super) plan: Arc<ClassPlan>,
}

/// The ways to what carries out the plans of a class.
pub(crate) struct Doors {
    pub(crate) shards: Vec<Addr<Shard>>,
    pub(crate) driver: SyncSender<Control>,
    /// Whether the driver has ended without waiting for what is in flight.
    pub(crate) abandoned: Abandoned,
    /// What turns the source's bytes into rows, if it hands over bytes.
    pub(crate) decoder: Option<Arc<dyn Decode>>,
    pub(crate) metrics: Arc<ClassMetrics>,
    pub(crate) clock: Arc<dyn Clock>,
    /// What became of the saved state, where one is kept.
    pub(crate) restored: Option<Arc<Mutex<RestoreReport>>>,
}

/// How long one waits before it tries again to give an order to a driver that has many.
const TELL_AGAIN: Duration = Duration::from_millis(2);

impl Doors {
    /// Gives the driver an order, once there is room for it; whether it is there to take it.
    pub(crate) async fn tell(&self, mut control: Control) -> bool {
        loop {
            control = match self.driver.try_send(control) {
                Ok(()) => return true,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(control)) => control,
            };
            tokio::time::sleep(TELL_AGAIN).await;
        }
    }
}

impl ClassState {
    pub(crate) fn new(declared: Declared, plan: Arc<ClassPlan>, doors: Doors) -> Self {
        let history = VecDeque::from([Past::of(&plan, &declared)]);
        let class = Self { declared, plan, doors: Arc::new(doors), history, staged: None, draining: Vec::new() };
        class.record();
        class
    }

    /// What a deployment is prepared on.
    pub(crate) fn ground(&self, deployment: &Deployment) -> Result<Ground, DeployError> {
        let declared = match deployment.back_to {
            None => self.declared.clone(),
            Some(back_to) => {
                let kept = || self.history.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let then = self.history.iter().find(|past| (past.first..=past.last).contains(&back_to));
                let then = then.ok_or_else(|| DeployError::UnknownRevision { revision: back_to, kept: kept() })?;
                self.with_subscriptions(then.declared.clone())
            }
        };
        Ok(Ground { declared, plan: Arc::clone(&self.plan) })
    }

    /// What was declared then, with the subscriptions of now: those are left, and none that is over comes back.
    fn with_subscriptions(&self, mut then: Declared) -> Declared {
        then.base.retain(|_, node| node.subscription.is_none());
        for (name, node) in self.declared.base.iter().filter(|(_, node)| node.subscription.is_some()) {
            then.base.entry(name.clone()).or_insert_with(|| Arc::clone(node));
        }
        then
    }

    /// A plan took over. One that differs in subscriptions alone does not count among those that are kept.
    pub(crate) fn took_over(
        &mut self,
        declared: Declared,
        plan: Arc<ClassPlan>,
        departed: Vec<Arc<PlanNode>>,
        only_subscriptions: bool,
    ) {
        match self.history.back_mut() {
            Some(newest) if only_subscriptions => newest.last = plan.revision,
            _ => self.history.push_back(Past::of(&plan, &declared)),
        }
        if self.history.len() > HISTORY_MAX {
            self.history.pop_front();
        }
        self.draining.push((plan.revision, departed));
        (self.declared, self.plan) = (declared, plan);
        self.record();
    }

    /// Nodes that begin, or end: with how they stand.
    pub(crate) fn in_transit(&self) -> impl Iterator<Item = (&Arc<PlanNode>, NodeState)> {
        let is_new = |node: &&Arc<PlanNode>| self.plan.node(&node.name).is_none_or(|now| now.born != node.born);
        let staged = self.staged.iter().flat_map(|plan| plan.nodes()).filter(is_new);
        let draining = self.draining.iter().flat_map(|(_, nodes)| nodes);
        staged.map(|node| (node, NodeState::Staged)).chain(draining.map(|node| (node, NodeState::Draining)))
    }

    /// Tells the recorder what runs.
    fn record(&self) {
        let (declared, base) = (&self.declared, &self.plan.base);
        let running = base.nodes.len() + self.plan.own_nodes;
        let unused = (declared.base.len() + declared.own_nodes).saturating_sub(running + base.pending.len());
        let metrics = &self.doors.metrics;
        metrics.revision.set(self.plan.revision.0 as f64);
        metrics.running.set(running as f64);
        metrics.pending.set(base.pending.len() as f64);
        metrics.unused.set(unused as f64);
    }
}
