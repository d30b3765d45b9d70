//! The handle: the only way to the running system.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use actix::System;
use actix::prelude::ArbiterHandle;
use tokio::sync::watch;
use tracing::Instrument;
use tracing::field::Empty;

use crate::actor::Counts;
use crate::actor::control::Inspect;
use crate::actor::driver::{Control, Ended};
use crate::actor::explain::{Look, Looked};
use crate::actor::intake::IntakeCounts;
use crate::explain::{Explanation, Question};
use crate::in_process::{Subscription, subscription};
use crate::metrics::Deployed;
use crate::runtime::SourceThread;
use crate::supervisor::{Applied, ClassState, DeployError, Deployment, apply, phase, prepare};
use crate::topology::build::IntoAsk;
use crate::topology::diff::Changes;
use crate::topology::node::NodeKind;
use crate::topology::plan::ClassPlan;
use crate::traits::{Sink, SourceError};
use crate::words::{Binding, Class, Key, NodeId, Revision};

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
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

/// What runs, under one lock: deployments go one after the other.
pub(crate) struct State {
    pub(crate) classes: BTreeMap<Class, ClassState>,
    pub(crate) revision: Revision,
}

pub(crate) struct Inner {
    state: tokio::sync::Mutex<State>,
    sinks: Arc<RwLock<HashMap<Binding, Arc<dyn Sink>>>>,
    threads: Mutex<Vec<SourceThread>>,
    ended: watch::Receiver<usize>,
    sources: usize,
    arbiters: Vec<ArbiterHandle>,
    system: System,
    subscriptions: AtomicU64,
}

impl Inner {
    pub(crate) fn new(
        state: State,
        sinks: Arc<RwLock<HashMap<Binding, Arc<dyn Sink>>>>,
        threads: Vec<SourceThread>,
        ended: watch::Receiver<usize>,
        arbiters: Vec<ArbiterHandle>,
        system: System,
    ) -> Self {
        let sources = threads.len();
        Self {
            state: tokio::sync::Mutex::new(state),
            sinks,
            threads: Mutex::new(threads),
            ended,
            sources,
            arbiters,
            system,
            subscriptions: AtomicU64::new(0),
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.arbiters.iter().for_each(|arbiter| _ = arbiter.stop());
        self.system.stop();
    }
}

/// A deployment that was validated, bound to the revision that ran then.
#[must_use = "a preview changes nothing until it is applied"]
pub struct Preview {
    handle: Handle,
    deployment: Deployment,
    base: Revision,
    next: Revision,
    changes: Changes,
}

impl std::fmt::Display for Preview {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} (revision {})", self.changes, self.next)
    }
}

impl Preview {
    /// What would change.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// The revision it is bound to.
    pub fn base(&self) -> Revision {
        self.base
    }

    /// Carries it out.
    ///
    /// # Errors
    /// [`DeployError::Stale`] when something else was deployed since; and all that can go wrong in staging.
    pub async fn apply(self) -> Result<Applied, DeployError> {
        self.handle.carry_out(&self.deployment, Some(self.base)).await
    }
}

/// What a node has done so far, over all shards.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeReport {
    /// Its class.
    pub class: Class,
    /// Its name.
    pub node: NodeId,
    /// What it is.
    pub kind: NodeKind,
    /// The revision in which it began to run.
    pub born: Revision,
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
    /// Each running node.
    pub nodes: Vec<NodeReport>,
}

/// The system stopped for a reason of its own.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A source cannot go on.
    #[error("a source failed: {0}")]
    Source(#[from] SourceError),
    /// A source's thread panicked.
    #[error("a source panicked")]
    Panic,
}

impl Handle {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Validates a deployment and says what it would change.
    ///
    /// # Errors
    /// [`DeployError`] with everything that is wrong.
    pub async fn preview(&self, deployment: impl Into<Deployment>) -> Result<Preview, DeployError> {
        let deployment = deployment.into();
        let state = self.0.state.lock().await;
        let class = state.class(&deployment)?;
        let next = state.next(&deployment);
        let staged = prepare(&state.classes[&class], &deployment, next)?;
        Ok(Preview { handle: self.clone(), deployment, base: state.revision, next, changes: staged.changes })
    }

    /// Validates a deployment and carries it out.
    ///
    /// # Errors
    /// [`DeployError`]; what ran before runs on.
    pub async fn apply(&self, deployment: impl Into<Deployment>) -> Result<Applied, DeployError> {
        self.carry_out(&deployment.into(), None).await
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

    async fn carry_out(&self, deployment: &Deployment, base: Option<Revision>) -> Result<Applied, DeployError> {
        let mut state = self.0.state.lock().await;
        let current = state.revision;
        let class = state.class(deployment)?;
        let next = state.next(deployment);
        let of_class = state.classes.get_mut(&class).expect("`class` names one that runs");
        let span = tracing::info_span!(
            "deployment", %class, revision = next.0, result = Empty, changes = Empty,
            prepare_us = Empty, trial_us = Empty, stage_us = Empty, switch_us = Empty, drain_us = Empty
        );
        let begun = of_class.clock.monotonic();
        let result = match base.filter(|base| *base != current) {
            Some(base) => Err(DeployError::Stale { base, current }),
            None => span.in_scope(|| prepare(of_class, deployment, next)),
        };
        phase(of_class, &span, "prepare_us", begun);
        let result = match result {
            Ok(staged) => apply(of_class, staged, deployment.limit, &span).instrument(span.clone()).await,
            Err(error) => Err(error),
        };
        let how = match &result {
            Ok(applied) if applied.revision == next => Deployed::Applied,
            Ok(_) => Deployed::Unchanged,
            Err(
                DeployError::Trial { .. }
                | DeployError::Stage { .. }
                | DeployError::TimedOut { .. }
                | DeployError::Stopped,
            ) => Deployed::Failed,
            Err(_) => Deployed::Refused,
        };
        span.record("result", how.name());
        of_class.metrics.deployed(how, of_class.clock.monotonic().saturating_sub(begun).as_secs_f64());
        if let Ok(applied) = &result {
            state.revision = state.revision.max(applied.revision);
        }
        result
    }

    /// Subscribes to a stream, or to what else a sink can ask for: a sink of the host's own, deployed like any other.
    ///
    /// # Errors
    /// As [`Handle::apply`].
    ///
    /// # Panics
    /// Never: nobody panics with the lock.
    pub async fn subscribe(&self, class: Option<Class>, ask: impl IntoAsk) -> Result<Subscription, DeployError> {
        let number = self.0.subscriptions.fetch_add(1, Ordering::Relaxed);
        let binding = Binding::from(format!("subscription-{number}"));
        let (subscription, sink) = subscription();
        self.0.sinks.write().expect("nobody panics with this lock").insert(binding.clone(), Arc::new(sink));
        let node = crate::topology::sink(binding).needs(ask);
        self.apply(Deployment { class, ..Deployment::new().put(node) }).await?;
        Ok(subscription)
    }

    /// The highest number that a deployment has had.
    pub async fn revision(&self) -> Revision {
        self.0.state.lock().await.revision
    }

    /// Whether a source still brings rows, or could.
    pub fn is_running(&self) -> bool {
        *self.0.ended.borrow() < self.0.sources
    }

    /// The classes whose topologies run.
    pub async fn classes(&self) -> Vec<Class> {
        self.0.state.lock().await.classes.keys().cloned().collect()
    }

    /// The plan of a class, as a value.
    pub async fn plan(&self, class: Option<&Class>) -> Option<Arc<ClassPlan>> {
        let state = self.0.state.lock().await;
        let class = match class {
            Some(class) => state.classes.get(class),
            None => state.classes.values().next(),
        };
        class.map(|class| Arc::clone(&class.plan))
    }

    /// What a class has done so far.
    ///
    /// # Errors
    /// When there is no such class, or the runtime has stopped.
    pub async fn report(&self, class: Option<Class>) -> Result<Report, DeployError> {
        let (plan, shards) = {
            let state = self.0.state.lock().await;
            let class = state.class(&Deployment { class, ..Deployment::default() })?;
            let class = &state.classes[&class];
            (Arc::clone(&class.plan), class.shards.clone())
        };
        let mut report =
            Report { revision: plan.revision, keys: 0, actors: 0, intake: IntakeCounts::default(), nodes: Vec::new() };
        let mut nodes: HashMap<(NodeId, Revision), (Counts, usize)> = HashMap::new();
        for shard in shards {
            let inspected = shard.send(Inspect).await.map_err(|_| DeployError::Stopped)?;
            report.keys += inspected.keys;
            report.actors += inspected.actors;
            report.intake.add(&inspected.intake);
            for (name, born, counts, quarantined) in inspected.nodes {
                let sum = nodes.entry((name, born)).or_default();
                sum.0.add(&counts);
                sum.1 += quarantined;
            }
        }
        for node in plan.nodes() {
            let (counts, quarantined_keys) = nodes.get(&(node.name.clone(), node.born)).copied().unwrap_or_default();
            report.nodes.push(NodeReport {
                class: plan.class.clone(),
                node: node.name.clone(),
                kind: node.node.kind,
                born: node.born,
                wiring: crate::topology::diff::wiring(node),
                counts,
                quarantined_keys,
            });
        }
        Ok(report)
    }

    /// Says why a node did or did not write for a key, as far as it is known; see [`Explanation`]. A name that no node
    /// has, and a key that never spoke, are answers too. The key is watched from then on.
    ///
    /// # Errors
    /// When there is no such class, or the runtime has stopped.
    pub async fn explain(&self, class: Option<Class>, node: &NodeId, key: &Key) -> Result<Explanation, DeployError> {
        let (declared, plan, shards) = {
            let state = self.0.state.lock().await;
            let class = state.class(&Deployment { class, ..Deployment::default() })?;
            let class = &state.classes[&class];
            (class.declared.clone(), Arc::clone(&class.plan), class.shards.clone())
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

    /// Waits until everything that the sources have handed over so far has had its effect.
    pub async fn settled(&self) {
        let drivers: Vec<_> = self.0.state.lock().await.classes.values().map(|class| class.driver.clone()).collect();
        for driver in drivers {
            let (drained, settled) = tokio::sync::oneshot::channel();
            // A source that has ended has nothing in flight.
            if driver.send(Control::Drained { before: Revision(u64::MAX), drained }).is_ok() {
                let _ = settled.await;
            }
        }
    }

    /// Stops: sources first, then what is in flight, sinks, and the last commit.
    ///
    /// # Errors
    /// When a source could not be ended in order.
    pub async fn stop(&self) -> Result<(), RunError> {
        {
            let state = self.0.state.lock().await;
            for class in state.classes.values() {
                // A source that has ended needs not be stopped.
                let _ = class.driver.send(Control::Stop);
            }
        }
        self.finished().await
    }

    /// Waits until all sources have ended and everything that they brought has had its effect.
    ///
    /// # Errors
    /// When a source failed.
    ///
    /// # Panics
    /// Never: nobody panics with the lock.
    pub async fn finished(&self) -> Result<(), RunError> {
        let mut ended = self.0.ended.clone();
        let sources = self.0.sources;
        // An error means that all sources have ended.
        let _ = ended.wait_for(|count| *count == sources).await;
        let threads = std::mem::take(&mut *self.0.threads.lock().expect("nobody panics with this lock"));
        for thread in threads {
            match thread.join() {
                Ok(Ended::Finished) => {}
                Ok(Ended::Failed(error)) => return Err(error.into()),
                Err(_) => return Err(RunError::Panic),
            }
        }
        Ok(())
    }

    /// Runs until `signal` is ready or a source ends by itself, then stops.
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

impl State {
    /// The number that a deployment would get.
    fn next(&self, deployment: &Deployment) -> Revision {
        let next = Revision(self.revision.0 + 1);
        deployment.number.map_or(next, |number| number.max(next))
    }

    /// The class that a deployment is for.
    fn class(&self, deployment: &Deployment) -> Result<Class, DeployError> {
        let known = || self.classes.keys().map(|class| format!("`{class}`")).collect::<Vec<_>>().join(", ");
        match &deployment.class {
            Some(class) if self.classes.contains_key(class) => Ok(class.clone()),
            Some(class) => Err(DeployError::UnknownClass { class: class.clone(), known: known() }),
            None if self.classes.len() == 1 => Ok(self.classes.keys().next().expect("there is one").clone()),
            None => Err(DeployError::WhichClass { known: known() }),
        }
    }
}
