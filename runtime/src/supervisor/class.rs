//! What the supervisor keeps of a class that runs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use actix::Addr;

use crate::actor::driver::Control;
use crate::actor::shard::Shard;
use crate::metrics::ClassMetrics;
use crate::topology::declared::Declared;
use crate::topology::plan::ClassPlan;
use crate::traits::Clock;
use crate::words::Revision;

/// A class that runs.
pub(crate) struct ClassState {
    pub(crate) declared: Declared,
    pub(crate) plan: Arc<ClassPlan>,
    pub(crate) shards: Vec<Addr<Shard>>,
    pub(crate) driver: SyncSender<Control>,
    pub(crate) metrics: Arc<ClassMetrics>,
    pub(crate) clock: Arc<dyn Clock>,
    /// What was declared at earlier revisions, the newest last.
    pub(crate) history: VecDeque<(Revision, Declared)>,
}

/// Revisions of a class that can be gone back to.
pub(crate) const HISTORY_MAX: usize = 100;

/// What the runtime hands over when a class starts.
pub(crate) struct Started {
    pub(crate) declared: Declared,
    pub(crate) plan: Arc<ClassPlan>,
    pub(crate) shards: Vec<Addr<Shard>>,
    pub(crate) driver: SyncSender<Control>,
    pub(crate) metrics: Arc<ClassMetrics>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl ClassState {
    pub(crate) fn new(started: Started) -> Self {
        let Started { declared, plan, shards, driver, metrics, clock } = started;
        let history = VecDeque::from([(plan.revision, declared.clone())]);
        let class = Self { declared, plan, shards, driver, metrics, clock, history };
        class.record();
        class
    }

    /// A plan took over.
    pub(crate) fn took_over(&mut self, declared: Declared, plan: Arc<ClassPlan>) {
        self.history.push_back((plan.revision, declared.clone()));
        if self.history.len() > HISTORY_MAX {
            self.history.pop_front();
        }
        (self.declared, self.plan) = (declared, plan);
        self.record();
    }

    /// Tells the recorder what runs.
    fn record(&self) {
        let (declared, base) = (&self.declared, &self.plan.base);
        let own = (&self.plan.keys).into_iter().map(|(_, plan)| plan.nodes.len()).sum::<usize>();
        let running = base.nodes.len() + own;
        let exact = (&declared.exact).into_iter().map(|(_, nodes)| nodes.len()).sum::<usize>();
        let unused = (declared.base.len() + exact).saturating_sub(running + base.pending.len());
        self.metrics.revision.set(self.plan.revision.0 as f64);
        self.metrics.running.set(running as f64);
        self.metrics.pending.set(base.pending.len() as f64);
        self.metrics.unused.set(unused as f64);
    }
}
