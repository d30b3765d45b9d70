//! The runtime: topologies, sources and sinks put together and started.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, RwLock};
use std::thread::JoinHandle;

use actix::{Actor, Addr, Arbiter, System};
use tokio::sync::mpsc::Receiver;
use tokio::sync::watch;

use crate::actor::ailing::AILING_MAX;
use crate::actor::cell::Blocking;
use crate::actor::control::Stage;
use crate::actor::driver::{BoundSinks, CONTROLS_MAX, Driver, Ended};
use crate::actor::keeper::Keeper;
use crate::actor::shard::{Shard, ShardOptions};
use crate::actor::tally::{Tally, TallyReader};
use crate::clock::SystemClock;
use crate::defect::{self, Defect};
use crate::handle::{Handle, Inner, SourceEnd, State, Subscriptions, Unrecorded};
use crate::in_process::LoggedLetters;
use crate::metrics::ClassMetrics;
use crate::options::Options;
use crate::state::{RefusedState, StateError, StateStore};
use crate::supervisor::{ClassState, DeployError, Doors, try_declared};
use crate::topology::declared::Declared;
use crate::topology::plan::ClassPlan;
use crate::topology::problem::ResolveErrors;
use crate::topology::resolve::resolve;
use crate::topology::{Topology, Work};
use crate::traits::sink::{Abandoned, DeadLetters};
use crate::traits::{Clock, Sink, SinkError, Source};
use crate::words::{Binding, Class, NodeId, Revision, ShardIndex};

/// Where a runtime is put together; see [`Runtime::builder`].
pub struct Runtime;

/// See [`Runtime::builder`].
#[must_use = "a runtime runs only once it is started"]
pub struct Builder {
    topologies: Vec<Topology>,
    sources: Vec<(Option<Class>, Box<dyn Source>)>,
    sinks: HashMap<Binding, Arc<dyn Sink>>,
    dead_letters: Arc<dyn DeadLetters>,
    clock: Arc<dyn Clock>,
    options: Options,
    defect: Option<Defect>,
    revision: Revision,
    highest: Revision,
    unrecorded: Option<Unrecorded>,
    state: Option<Arc<dyn StateStore>>,
    refused_state: RefusedState,
}

/// A runtime could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A topology is wrong.
    #[error("topology `{class}`: {errors}")]
    Resolve {
        /// Its class.
        class: Class,
        /// Everything that is wrong with it.
        errors: ResolveErrors,
    },
    /// A model of a topology fails on the rows that it is tried out with.
    #[error("topology `{class}`: {error}")]
    Trial {
        /// Its class.
        class: Class,
        /// As a deployment is told it.
        error: DeployError,
    },
    /// Sources, sinks and topologies do not fit together.
    #[error("{0}")]
    Binding(String),
    /// A sink cannot be written to.
    #[error("a sink cannot be opened: {0}")]
    Sink(#[from] SinkError),
    /// The machine refused a thread.
    #[error("a thread could not be started: {0}")]
    Thread(#[from] std::io::Error),
    /// A saved state cannot be used, or none can be kept.
    #[error(transparent)]
    State(#[from] StateError),
    /// A shard ended while it was started.
    #[error("a shard ended while it was started")]
    Shard,
}

impl Runtime {
    /// Begins a runtime.
    pub fn builder() -> Builder {
        Builder {
            topologies: Vec::new(),
            sources: Vec::new(),
            sinks: HashMap::new(),
            dead_letters: Arc::new(LoggedLetters),
            clock: Arc::new(SystemClock::default()),
            options: Options::default(),
            defect: None,
            revision: Revision(1),
            highest: Revision(1),
            unrecorded: None,
            state: None,
            refused_state: RefusedState::default(),
        }
    }
}

impl Builder {
    /// Adds a topology; each class has one.
    pub fn topology(mut self, topology: Topology) -> Self {
        self.topologies.push(topology);
        self
    }

    /// Binds a source to the only topology.
    pub fn source(mut self, source: impl Source) -> Self {
        self.sources.push((None, Box::new(source)));
        self
    }

    /// Binds a source to the topology of a class.
    pub fn source_of(mut self, class: impl Into<Class>, source: impl Source) -> Self {
        self.sources.push((Some(class.into()), Box::new(source)));
        self
    }

    /// Binds a sink to the name that sink nodes use.
    pub fn sink(mut self, name: impl Into<Binding>, sink: impl Sink) -> Self {
        self.sinks.insert(name.into(), Arc::new(sink));
        self
    }

    /// Where records and rows go that cannot be used; they are logged unless said.
    pub fn dead_letters(mut self, dead_letters: impl DeadLetters) -> Self {
        self.dead_letters = Arc::new(dead_letters);
        self
    }

    /// Keeps the states of keys: a stop in order saves them, with how far the source is, and the next start goes on with
    /// them. Without, a process that starts begins without states.
    pub fn state(mut self, store: impl StateStore) -> Self {
        self.state = Some(Arc::new(store));
        self
    }

    /// What happens when a saved state cannot be used; it does not start, unless said.
    pub fn refused_state(mut self, refused: RefusedState) -> Self {
        self.refused_state = refused;
        self
    }

    /// The number of the plan that it starts with, and the highest that was ever in use: deployments count on from there.
    /// `unrecorded` hears of numbers that are used and that nobody else keeps.
    pub(crate) fn revision(mut self, revision: Revision, highest: Revision, unrecorded: Unrecorded) -> Self {
        (self.revision, self.highest, self.unrecorded) = (revision, highest.max(revision), Some(unrecorded));
        self
    }

    /// Where dead letters go so far.
    pub(crate) fn dead_letters_of(&self) -> Arc<dyn DeadLetters> {
        Arc::clone(&self.dead_letters)
    }

    /// The clock that it will run by.
    pub(crate) fn clock_of(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    /// The topologies, for who lays deployments on top of them.
    pub(crate) fn topologies_mut(&mut self) -> &mut Vec<Topology> {
        &mut self.topologies
    }

    /// How many threads compute; one for each core unless said.
    pub fn shards(mut self, shards: u16) -> Self {
        self.options.shards = shards;
        self
    }

    /// Everything else.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// The options as they stand, to change some of them.
    pub fn options_mut(&mut self) -> &mut Options {
        &mut self.options
    }

    /// The clock, for tests.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Breaks a mechanism, for tests that find out.
    #[cfg(feature = "defects")]
    #[doc(hidden)]
    pub fn defect(mut self, defect: Option<Defect>) -> Self {
        self.defect = defect;
        self
    }

    /// Starts everything. Call it on a tokio runtime; the shards have threads of their own.
    ///
    /// # Errors
    /// [`StartError`]; nothing runs then.
    pub async fn start(self) -> Result<Handle, StartError> {
        self.check()?;
        let Self { topologies, sources, sinks, dead_letters, clock, options, defect, .. } = self;
        let (revision, highest, unrecorded) = (self.revision, self.highest, self.unrecorded);
        let mut by_class: BTreeMap<Class, Box<dyn Source>> = BTreeMap::new();
        for (class, source) in sources {
            let class = class.unwrap_or_else(|| topologies[0].class().clone());
            by_class.insert(class, source);
        }
        let sinks = Arc::new(RwLock::new(sinks));
        let (arbiters, system) = arbiters(&options).await?;
        let (ended, end_seen) = watch::channel(0);
        let ended = Arc::new(ended);
        let mut ready = Vec::new();
        let shared = Shared {
            sinks: Arc::clone(&sinks),
            dead_letters,
            clock,
            options,
            defect,
            revision,
            state: self.state,
            refused_state: self.refused_state,
            partitions: Arc::default(),
            subscriptions: Arc::default(),
            halt: Arc::default(),
        };
        for topology in topologies {
            let source = by_class.remove(topology.class()).expect("`check` has seen a source for each topology");
            match shared.class(topology, source, &arbiters, &ended).await {
                Ok(of_class) => ready.push(of_class),
                Err(error) => {
                    // Nothing was read yet, whatever became of the other classes.
                    drop(ready);
                    arbiters.iter().for_each(|arbiter| _ = arbiter.stop());
                    system.stop();
                    return Err(error);
                }
            }
        }
        let mut classes = BTreeMap::new();
        let (mut threads, mut begin) = (Vec::new(), Vec::new());
        for Ready { class, state, thread, ailing, go } in ready {
            classes.insert(class.clone(), state);
            threads.push(thread);
            begin.push((class, ailing, go));
        }
        let state = State { classes, revision: highest, tried: highest, unrecorded };
        let inner = Inner::new(state, sinks, threads, end_seen, arbiters, system, (shared.subscriptions, shared.halt));
        let handle = Handle::new(inner);
        for (class, ailing, go) in begin {
            handle.look_after(class, ailing, options.quarantine_keys);
            go.send(()).map_err(|_| StartError::Shard)?;
        }
        Ok(handle)
    }

    /// Whether sources, sinks and topologies fit together.
    fn check(&self) -> Result<(), StartError> {
        let refuse = |what: String| Err(StartError::Binding(what));
        if self.topologies.is_empty() {
            return refuse("there is no topology; add one with `.topology(…)`".to_owned());
        }
        let problems = self.options.problems();
        if !problems.is_empty() {
            return refuse(problems.join("; "));
        }
        for (index, topology) in self.topologies.iter().enumerate() {
            let class = topology.class();
            if self.topologies[..index].iter().any(|other| other.class() == class) {
                return refuse(format!("two topologies are for class `{class}`; put their nodes into one"));
            }
            let only = self.topologies.len() == 1;
            let of_class = |source: &Option<Class>| source.as_ref().map_or(only, |of| of == class);
            match self.sources.iter().filter(|(of, _)| of_class(of)).count() {
                1 => {}
                0 => {
                    return refuse(format!(
                        "no source is bound to class `{class}`; add one with `.source_of(\"{class}\", …)`"
                    ));
                }
                _ => return refuse(format!("several sources are bound to class `{class}`; a class has one")),
            }
            for node in topology.nodes() {
                if let Work::Sink(sink) = &node.work
                    && !self.sinks.contains_key(&sink.binding)
                {
                    let binding = &sink.binding;
                    return refuse(format!("no sink is bound as `{binding}`; add one with `.sink(\"{binding}\", …)`"));
                }
            }
        }
        Ok(())
    }
}

/// What all classes are started with.
struct Shared {
    sinks: Arc<RwLock<HashMap<Binding, Arc<dyn Sink>>>>,
    dead_letters: Arc<dyn DeadLetters>,
    clock: Arc<dyn Clock>,
    options: Options,
    defect: Option<Defect>,
    revision: Revision,
    state: Option<Arc<dyn StateStore>>,
    refused_state: RefusedState,
    partitions: Arc<AtomicU32>,
    subscriptions: Arc<Subscriptions>,
    /// Set when all sources shall end.
    halt: Arc<AtomicBool>,
}

/// What the end of a source's thread, be it a panic, means for others.
struct Ending {
    class: Class,
    ended: Arc<watch::Sender<usize>>,
    halt: Arc<AtomicBool>,
}

impl Ending {
    /// Where a source or its sinks cannot go on, the run ends with all its classes.
    fn look(&self, end: &Ended) {
        let error: &dyn std::error::Error = match end {
            Ended::Failed(error) => error,
            Ended::Unwritten(error) => error,
            Ended::Finished | Ended::Unsaved(_) | Ended::Partly(_) | Ended::Untold(_) => return,
        };
        if !self.halt.swap(true, Ordering::AcqRel) {
            tracing::error!(class = %self.class, error, "a class cannot go on; the run ends");
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.halt.store(true, Ordering::Release);
        }
        self.ended.send_modify(|count| *count += 1);
    }
}

/// How each source's thread ends.
pub(crate) type SourceThread = JoinHandle<Ended>;

/// A class that is ready to run.
struct Ready {
    class: Class,
    state: ClassState,
    thread: SourceThread,
    ailing: Receiver<NodeId>,
    /// What the source's thread waits for. It ends when this is dropped instead.
    go: SyncSender<()>,
}

impl Shared {
    async fn class(
        &self,
        topology: Topology,
        source: Box<dyn Source>,
        arbiters: &[actix::prelude::ArbiterHandle],
        ended: &Arc<watch::Sender<usize>>,
    ) -> Result<Ready, StartError> {
        let class = topology.class().clone();
        let failed = |errors| StartError::Resolve { class: class.clone(), errors };
        let declared = Declared::of(&topology, source.axes());
        drop(topology);
        let nothing = ClassPlan::nothing(class.clone());
        let plan = Arc::new(resolve(&declared, &nothing, self.revision, None).map_err(failed)?);
        // The first start is a deployment like any other.
        try_declared(&declared).map_err(|error| StartError::Trial { class: class.clone(), error })?;
        let limits = (arbiters.len(), self.options.keys_max);
        let keeper =
            self.state.as_ref().map(|store| Keeper::open(Arc::clone(store), self.refused_state, &plan, limits));
        let keeper = keeper.transpose()?;
        let restored = keeper.as_ref().map(Keeper::report);
        let decoder = source.decoder();
        let metrics = Arc::new(ClassMetrics::new(&class));
        let blocking = Arc::new(Blocking::new(Arc::clone(&self.clock), self.options.node_budget));
        let tallies: Vec<Arc<Tally>> = arbiters.iter().map(|_| Arc::default()).collect();
        let (ailing, named) = tokio::sync::mpsc::channel(AILING_MAX);
        let shards: Vec<Addr<Shard>> = arbiters
            .iter()
            .zip(0u16..)
            .zip(&tallies)
            .map(|((arbiter, index), tally)| {
                let options = ShardOptions {
                    shard: ShardIndex(index),
                    sinks: Arc::clone(&self.sinks),
                    decoder: decoder.clone(),
                    policy: self.options.intake,
                    frame_keys: self.options.frame_keys,
                    mailbox: self.options.drive.messages_max(),
                    keys_max: self.options.keys_max,
                    tally: Arc::clone(tally),
                    blocking: Arc::clone(&blocking),
                    quarantine: self.options.quarantine,
                    ailing: ailing.clone(),
                };
                let defect = self.defect;
                Shard::start_in_arbiter(arbiter, move |_| {
                    defect::choose(defect);
                    Shard::new(options)
                })
            })
            .collect();
        for shard in &shards {
            let stage = Stage { plan: Arc::clone(&plan), keys: Arc::default(), members: Arc::default() };
            shard.send(stage).await.map_err(|_| StartError::Shard)??;
        }
        let (control, told) = sync_channel(CONTROLS_MAX);
        let abandoned = Abandoned::default();
        let driver = Driver {
            name: Arc::from(class.as_str()),
            source,
            decoder: decoder.clone(),
            shards: shards.clone(),
            plan: Arc::clone(&plan),
            options: self.options.drive,
            clock: Arc::clone(&self.clock),
            dead_letters: Arc::clone(&self.dead_letters),
            control: told,
            halt: Arc::clone(&self.halt),
            abandoned: abandoned.clone(),
            partition_numbers: Arc::clone(&self.partitions),
            sinks: self.bound_sinks(&class, &metrics),
            metrics: Arc::clone(&metrics),
            tallies: TallyReader::new(tallies),
            keeper,
        };
        let ending = Ending { class: class.clone(), ended: Arc::clone(ended), halt: Arc::clone(&self.halt) };
        let (defect, (go, gate)) = (self.defect, sync_channel(1));
        let thread = std::thread::Builder::new().name(format!("source-{class}")).spawn(move || {
            defect::choose(defect);
            // It is dropped last, also after a panic.
            let ending = ending;
            let end = if gate.recv().is_ok() { driver.run() } else { Ended::Finished };
            ending.look(&end);
            end
        })?;
        let clock = Arc::clone(&self.clock);
        let doors = Doors { shards, driver: control, abandoned, decoder, metrics, clock, restored };
        Ok(Ready { class, state: ClassState::new(declared, plan, doors), thread, ailing: named, go })
    }

    /// The sinks as the source of a class knows them; when it ends, no subscriber is waited for.
    fn bound_sinks(&self, class: &Class, metrics: &ClassMetrics) -> BoundSinks {
        let end = SourceEnd::new(Arc::clone(&self.subscriptions), class.clone());
        BoundSinks::new(Arc::clone(&self.sinks), metrics.sink_errors.clone(), move || end.release())
    }
}

/// Starts one arbiter for each shard; the system they belong to has a thread of its own.
async fn arbiters(options: &Options) -> Result<(Vec<actix::prelude::ArbiterHandle>, System), StartError> {
    let (count, pin) = (options.shards, options.pin);
    let (tell, started) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("gristmill-system".to_owned()).spawn(move || {
        let runner = System::new();
        let cores = if pin { core_affinity::get_core_ids().unwrap_or_default() } else { Vec::new() };
        let arbiters: Vec<_> = (0..count)
            .map(|index| {
                let arbiter = Arbiter::new().handle();
                if let Some(core) = cores.get(usize::from(index)).copied() {
                    arbiter.spawn_fn(move || {
                        if !core_affinity::set_for_current(core) {
                            tracing::warn!(
                                shard = index,
                                core = core.id as i64,
                                "the system does not bind it to its core"
                            );
                        }
                    });
                }
                arbiter
            })
            .collect();
        if tell.send((arbiters, System::current())).is_ok()
            && let Err(error) = runner.run()
        {
            tracing::error!(%error, "the actor system ended with an error");
        }
    })?;
    started.await.map_err(|_| StartError::Shard)
}
