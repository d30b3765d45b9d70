//! The handle: the only way to the running system.

mod ailing;
mod deploy;
mod replay;
mod report;
mod subscribe;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use actix::System;
use actix::prelude::ArbiterHandle;
use tokio::sync::watch;

use crate::actor::driver::{Control, Ended, Until};
use crate::actor::explain::{Look, Looked};
use crate::explain::{Explanation, Question};
use crate::runtime::SourceThread;
use crate::state::{RestoreReport, StateError};
use crate::supervisor::{Applied, ClassState, DeployError, Deployment};
use crate::topology::plan::ClassPlan;
use crate::traits::{Sink, SinkError, SourceError};
use crate::words::{Binding, Class, Key, NodeId, Revision};

pub use deploy::Preview;
pub(crate) use deploy::ended;
pub use replay::ReplayedRow;
pub use report::{ActorReport, NodeReport, Report};
pub use subscribe::Subscription;
pub(crate) use subscriptions::{SourceEnd, Subscriptions};

/// Talks to a running system; clones are cheap and all the same.
///
/// ```
/// use gristmill::in_process::{Collected, feed};
/// use gristmill::topology::{Topology, provide, sensor, sink};
/// use gristmill::traits::source::Axes;
/// use gristmill::words::{ElementType, Revision};
/// use gristmill::{Runtime, Stream};
/// const WEAR: Stream<f32> = Stream::new("wear");
/// const ALARM: Stream<bool> = Stream::new("alarm");
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (feeder, source) = feed(Axes::Declared(vec![vec![("wear".into(), ElementType::F32)]]));
/// let pump = Topology::new("pump")
///     .with(sensor(WEAR))
///     .with(provide(ALARM).needs(WEAR).by(|wear: f32| wear > 0.8))
///     .with(sink("alarms").needs(ALARM));
/// let mill = Runtime::builder().topology(pump).source(source).sink("alarms", Collected::default()).start().await?;
///
/// let why = mill.explain(None, &"alarm".into(), &"P101".into()).await?;
/// assert!(why.to_string().contains("no row of the key has come"), "{why}");
/// let stricter = provide(ALARM).needs(WEAR).by(|wear: f32| wear > 0.7).version(2);
/// assert_eq!(mill.apply(stricter).await?.revision, Revision(2));
/// assert_eq!(mill.report(None).await?.nodes.len(), 3);
/// drop(feeder);
/// mill.finished().await?;
/// # Ok(())
/// # }
/// ```
///
/// When the last one is dropped without a stop, it is as if the process had been killed: what is in flight is read again at
/// the next start.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

/// What runs. It is locked for looking and for the moment in which a plan takes over, never while anybody waits.
pub(crate) struct State {
    pub(crate) classes: BTreeMap<Class, ClassState>,
    pub(crate) revision: Revision,
    /// The last number under which shards were told to start something, and may not have done so.
    pub(crate) tried: Revision,
    pub(crate) unrecorded: Option<Unrecorded>,
}

/// Told the number of each plan that takes over and of which nobody keeps a record, before rows have it.
pub(crate) type Unrecorded = Arc<dyn Fn(Revision) + Send + Sync>;

pub(crate) struct Inner {
    state: Mutex<State>,
    /// Deployments go one after the other.
    turn: tokio::sync::Mutex<()>,
    sinks: Arc<RwLock<HashMap<Binding, Arc<dyn Sink>>>>,
    threads: Mutex<Vec<SourceThread>>,
    /// How it ended: the same for everybody who waits for it.
    outcome: OnceLock<Result<(), RunError>>,
    ended: watch::Receiver<usize>,
    sources: usize,
    arbiters: Vec<ArbiterHandle>,
    system: System,
    subscriptions: Arc<Subscriptions>,
    /// Tells all sources to end.
    halt: Arc<AtomicBool>,
}

impl Inner {
    pub(crate) fn new(
        state: State,
        sinks: Arc<RwLock<HashMap<Binding, Arc<dyn Sink>>>>,
        threads: Vec<SourceThread>,
        ended: watch::Receiver<usize>,
        arbiters: Vec<ArbiterHandle>,
        system: System,
        (subscriptions, halt): (Arc<Subscriptions>, Arc<AtomicBool>),
    ) -> Self {
        let sources = threads.len();
        Self {
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::new(()),
            sinks,
            threads: Mutex::new(threads),
            outcome: OnceLock::new(),
            ended,
            sources,
            arbiters,
            system,
            subscriptions,
            halt,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whoever changes it puts in what is finished.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the threads of sources, which have all ended, and says how: the first failure; others are logged.
    fn join(&self) -> Result<(), RunError> {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let mut outcome = Ok(());
        for thread in threads {
            let name = thread.thread().name().unwrap_or_default().to_owned();
            let ended = match thread.join() {
                Ok(Ended::Finished) => Ok(()),
                Ok(Ended::Failed(error)) => Err(RunError::Source(Arc::new(error))),
                Ok(Ended::Unwritten(error)) => Err(RunError::Sink(Arc::new(error))),
                Ok(Ended::Unsaved(error)) => Err(RunError::State(Arc::new(error))),
                Ok(Ended::Partly(error)) => Err(RunError::Partly(Arc::new(error))),
                Ok(Ended::Untold(error)) => Err(RunError::Untold(Arc::new(error))),
                Err(_) => Err(RunError::Panic),
            };
            match ended {
                Err(error) if outcome.is_err() => {
                    tracing::error!(thread = %name, %error, "this failed beside another failure, which is the answer");
                }
                Err(error) => outcome = Err(error),
                Ok(()) => {}
            }
        }
        outcome
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.halt.store(true, Ordering::Release);
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        // What is in flight goes with the shards, and is not waited for.
        state.classes.values().for_each(|class| class.doors.abandoned.abandon());
        self.arbiters.iter().for_each(|arbiter| _ = arbiter.stop());
        self.system.stop();
    }
}

/// The system stopped for a reason of its own. Everybody who waits for the end gets it, so that it can be cloned.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A source cannot go on.
    #[error("a source failed: {0}")]
    Source(#[source] Arc<SourceError>),
    /// A sink can never make durable what it was given ([`Sink::failure`](crate::traits::Sink::failure)).
    #[error("a sink failed; what was not committed is read again at the next start: {0}")]
    Sink(#[source] Arc<SinkError>),
    /// Everything has had its effect, but the states of keys are lost: the next start begins without.
    #[error("the states of keys were not saved, so that the next start begins without: {0}")]
    State(#[source] Arc<StateError>),
    /// Everything has had its effect and the states of keys are saved, but for one or some.
    #[error("not all states of keys are saved: {0}")]
    Partly(#[source] Arc<StateError>),
    /// Everything has had its effect and the states of keys are saved: the next start goes on with them, and passes over
    /// what the source brings once more.
    #[error(
        "the states of keys are saved and the next start goes on with them, but it was not noted that their source knows how far they go: {0}"
    )]
    Untold(#[source] Arc<StateError>),
    /// A source's thread panicked.
    #[error("a source panicked")]
    Panic,
}

impl Handle {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Validates a deployment and carries it out.
    ///
    /// # Errors
    /// [`DeployError`]; what ran before runs on.
    pub async fn apply(&self, deployment: impl Into<Deployment>) -> Result<Applied, DeployError> {
        self.carry_out(deployment.into(), None).await
    }

    /// Removes a node.
    ///
    /// # Errors
    /// As [`Handle::apply`].
    pub async fn remove(&self, node: impl Into<NodeId>) -> Result<Applied, DeployError> {
        self.apply(Deployment::new().remove(node)).await
    }

    /// Goes back to what was declared at an earlier revision of a class, as a new revision; nodes that come back are
    /// born anew.
    ///
    /// # Errors
    /// As [`Handle::apply`], and when the revision is not kept any more.
    pub async fn rollback(&self, class: Option<Class>, to: Revision) -> Result<Applied, DeployError> {
        self.apply(Deployment { class, back_to: Some(to), ..Deployment::default() }).await
    }

    /// The highest number that a deployment has had.
    pub async fn revision(&self) -> Revision {
        self.0.state().revision
    }

    /// Whether a source still brings rows, or could.
    pub fn is_running(&self) -> bool {
        *self.0.ended.borrow() < self.0.sources
    }

    /// The classes whose topologies run.
    pub async fn classes(&self) -> Vec<Class> {
        self.0.state().classes.keys().cloned().collect()
    }

    /// What became of the saved state of each class, where states are kept. A partition's state waits until the source
    /// has the partition.
    pub fn restored(&self) -> Vec<RestoreReport> {
        let state = self.0.state();
        let reports = state.classes.values().filter_map(|class| class.doors.restored.as_ref());
        reports.map(|report| report.lock().unwrap_or_else(PoisonError::into_inner).clone()).collect()
    }

    /// The plan of a class, as a value.
    pub async fn plan(&self, class: Option<&Class>) -> Option<Arc<ClassPlan>> {
        let state = self.0.state();
        let class = match class {
            Some(class) => state.classes.get(class),
            None => state.classes.values().next(),
        };
        class.map(|class| Arc::clone(&class.plan))
    }

    /// Says why a node did or did not write for a key, as far as it is known; see [`Explanation`]. A name that no node
    /// has, and a key that never spoke, are answers too. The key is watched from then on.
    ///
    /// # Errors
    /// When there is no such class, or the runtime has stopped.
    pub async fn explain(&self, class: Option<Class>, node: &NodeId, key: &Key) -> Result<Explanation, DeployError> {
        let (declared, plan, shards) = {
            let state = self.0.state();
            let class = state.class(&Deployment { class, ..Deployment::default() })?;
            let class = &state.classes[&class];
            (class.declared.clone(), Arc::clone(&class.plan), class.doors.shards.clone())
        };
        let mut looked = Looked::default();
        for shard in shards {
            let look = Look { plan: Arc::clone(&plan), node: node.clone(), key: key.clone() };
            let of_shard = shard.send(look).await.map_err(|_| DeployError::Stopped)?;
            looked.counts.add(&of_shard.counts);
            looked.key = looked.key.or(of_shard.key);
        }
        Ok(Question { declared: &declared, plan: &plan, node, key, looked }.answer())
    }

    /// Waits until everything that the sources have handed over so far has had its effect; they may go on meanwhile.
    pub async fn settled(&self) {
        let doors: Vec<_> = self.0.state().classes.values().map(|class| Arc::clone(&class.doors)).collect();
        for doors in doors {
            let (drained, settled) = tokio::sync::oneshot::channel();
            // A source that has ended has nothing in flight.
            if doors.tell(Control::Drained { until: Until::HandedOver, drained }).await {
                let _ = settled.await;
            }
        }
    }

    /// Stops: sources first, then what is in flight, sinks, and the last commit.
    ///
    /// # Errors
    /// When a source could not be ended in order.
    pub async fn stop(&self) -> Result<(), RunError> {
        self.0.halt.store(true, Ordering::Release);
        self.finished().await
    }

    /// Waits until all sources have ended and everything that they brought has had its effect. One that fails, or whose
    /// sinks do, ends the others, as a stop does.
    ///
    /// # Errors
    /// When a source failed; the same error at each call. Where several failed, the others are logged.
    pub async fn finished(&self) -> Result<(), RunError> {
        let mut ended = self.0.ended.clone();
        let sources = self.0.sources;
        // An error means that all sources have ended.
        let _ = ended.wait_for(|count| *count == sources).await;
        // Who comes second waits for the joins of the first, which take no time: the threads have said that they ended.
        self.0.outcome.get_or_init(|| self.0.join()).clone()
    }

    /// Runs until `signal` is ready, a source fails or all have ended, then stops.
    ///
    /// # Errors
    /// As [`Handle::finished`].
    pub async fn run_until(&self, signal: impl Future) -> Result<(), RunError> {
        tokio::select! {
            _ = signal => self.stop().await,
            ended = self.finished() => ended,
        }
    }
}
