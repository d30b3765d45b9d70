//! Threads for nodes that may block: a bounded pool for each such node, for all shards together. A thread whose row
//! overruns is given up: another takes its place, and it counts as lost until it comes back. With too many of them lost
//! the node is in quarantine.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use super::node::AbortOnPanic;
use crate::defect::{self, Defect};
use crate::topology::plan::PlanNode;
use crate::traits::Digest;
use crate::words::{NodeId, Revision};

/// So many threads of a node may be lost at once; one more and the node is in quarantine.
pub(crate) const LOST_MAX: u16 = 8;

/// What a thread does; whether it was given up meanwhile.
pub(crate) type Job = Box<dyn FnOnce() -> Came + Send>;

/// How a thread comes back from a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    InTime,
    /// Somebody else has its place by now.
    TooLate,
}

/// Under what a node was put in quarantine: a later resume or another artifact ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) resumed: Revision,
    pub(crate) artifact: Option<Digest>,
}

impl Mark {
    /// That of a node under a plan.
    pub(crate) fn of(plan: &PlanNode) -> Self {
        Self { resumed: plan.resumed(), artifact: plan.artifact }
    }

    /// Whether a node with this mark stays in quarantine under a plan.
    pub(crate) fn holds(self, now: Self) -> bool {
        self.resumed >= now.resumed && self.artifact == now.artifact
    }
}

/// What is known of a pool: under what its node is in quarantine, and how many threads are lost.
pub(crate) type PoolStand = (Option<Mark>, u16);

/// The pool of one node. Its threads end when it is dropped; those that are lost, when they come back.
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    node: NodeId,
    inner: Mutex<Inner>,
    ready: Condvar,
}

#[derive(Default)]
struct Inner {
    /// Never more than frames in flight.
    jobs: VecDeque<Job>,
    /// Threads that are at work or wait for it, lost ones not among them.
    threads: u16,
    wanted: u16,
    waiting: usize,
    /// Below zero for a moment when a thread comes back before it is given up.
    lost: i32,
    closed: bool,
    quarantine: Option<Mark>,
    /// Why the machine has last refused a thread.
    refused: String,
}

impl Pool {
    fn new(node: NodeId) -> Self {
        Self(Arc::new(Shared { node, inner: Mutex::default(), ready: Condvar::new() }))
    }

    /// Hands over a job, for one of `threads`. It is dropped when the node is in quarantine, or has no thread and gets none.
    pub(crate) fn submit(&self, threads: u16, job: Job) {
        let mut inner = self.0.lock();
        inner.wanted = threads;
        if inner.quarantine.is_some() {
            return;
        }
        inner.jobs.push_back(job);
        let dropped = self.0.staff(&mut inner);
        drop(inner);
        drop(dropped);
        self.0.ready.notify_one();
    }

    /// Why a job was dropped, unless the node is in quarantine.
    pub(crate) fn refusal(&self) -> Option<String> {
        let inner = self.0.lock();
        let refused = || format!("no thread of the slow node could be started: {}", inner.refused);
        inner.quarantine.is_none().then(refused)
    }

    /// Gives up a thread that overran; whether that put the node in quarantine.
    pub(crate) fn give_up(&self, mark: Mark) -> bool {
        let mut inner = self.0.lock();
        inner.threads -= 1;
        inner.lost += 1;
        if inner.lost <= i32::from(LOST_MAX) {
            let dropped = self.0.staff(&mut inner);
            drop(inner);
            drop(dropped);
            return false;
        }
        let first = inner.quarantine.is_none();
        inner.quarantine = Some(mark);
        let dropped = std::mem::take(&mut inner.jobs);
        drop(inner);
        drop(dropped);
        first
    }

    /// Whether the node is in quarantine; another artifact or a later resume ends it.
    pub(crate) fn quarantined(&self, now: Mark) -> bool {
        let mut inner = self.0.lock();
        inner.quarantine = inner.quarantine.filter(|mark| mark.holds(now));
        inner.quarantine.is_some()
    }

    fn stand(&self) -> PoolStand {
        let inner = self.0.lock();
        (inner.quarantine, u16::try_from(inner.lost).unwrap_or(0))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.ready.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic under the lock ends the process.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts threads for jobs that nobody waits for. Where the machine refuses them and the pool has none: the jobs, which
    /// nobody would come to.
    fn staff(self: &Arc<Self>, inner: &mut Inner) -> VecDeque<Job> {
        while inner.threads < inner.wanted && inner.waiting < inner.jobs.len() {
            if let Err(error) = self.start() {
                tracing::error!(node = %self.node, %error, "a thread for a slow node could not be started");
                inner.refused = error.to_string();
                break;
            }
            inner.threads += 1;
            inner.waiting += 1;
        }
        if inner.threads == 0 { std::mem::take(&mut inner.jobs) } else { VecDeque::new() }
    }

    fn start(self: &Arc<Self>) -> io::Result<()> {
        if defect::is_chosen(Defect::NoThreads) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let shared = Arc::clone(self);
        std::thread::Builder::new().name(format!("slow-{}", self.node)).spawn(move || shared.work()).map(drop)
    }

    /// What a thread does until the pool is closed, or it comes back too late.
    fn work(&self) {
        let _guard = AbortOnPanic;
        loop {
            let mut inner = self.lock();
            let job = loop {
                if let Some(job) = inner.jobs.pop_front() {
                    break job;
                }
                if inner.closed {
                    return;
                }
                inner = self.ready.wait(inner).unwrap_or_else(PoisonError::into_inner);
            };
            inner.waiting -= 1;
            drop(inner);
            let came = job();
            let mut inner = self.lock();
            if came == Came::TooLate {
                inner.lost -= 1;
                return;
            }
            inner.waiting += 1;
        }
    }
}

/// The pools of a class.
#[derive(Default)]
pub(crate) struct Pools(Mutex<HashMap<(NodeId, Revision), Weak<Pool>>>);

impl Pools {
    /// The pool of a node that is there, or begins.
    pub(crate) fn of(&self, node: &NodeId, born: Revision) -> Arc<Pool> {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pools.retain(|_, pool| pool.strong_count() > 0);
        let known = pools.get(&(node.clone(), born)).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let pool = Arc::new(Pool::new(node.clone()));
            pools.insert((node.clone(), born), Arc::downgrade(&pool));
            pool
        })
    }

    /// How a node's pool stands, if it has one.
    pub(crate) fn stand(&self, node: &NodeId, born: Revision) -> Option<PoolStand> {
        let pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(pools.get(&(node.clone(), born))?.upgrade()?.stand())
    }
}
