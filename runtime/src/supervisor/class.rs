//! What the supervisor keeps of a class that runs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use actix::Addr;

use crate::actor::driver::Control;
use crate::actor::shard::Shard;
use crate::topology::declared::Declared;
use crate::topology::plan::ClassPlan;
use crate::words::Revision;

/// A class that runs.
pub(crate) struct ClassState {
    pub(crate) declared: Declared,
    pub(crate) plan: Arc<ClassPlan>,
    pub(crate) shards: Vec<Addr<Shard>>,
    pub(crate) driver: SyncSender<Control>,
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
}

impl ClassState {
    pub(crate) fn new(started: Started) -> Self {
        let Started { declared, plan, shards, driver } = started;
        let history = VecDeque::from([(plan.revision, declared.clone())]);
        Self { declared, plan, shards, driver, history }
    }

    /// A plan took over.
    pub(crate) fn took_over(&mut self, declared: Declared, plan: Arc<ClassPlan>) {
        self.history.push_back((plan.revision, declared.clone()));
        if self.history.len() > HISTORY_MAX {
            self.history.pop_front();
        }
        (self.declared, self.plan) = (declared, plan);
    }
}
