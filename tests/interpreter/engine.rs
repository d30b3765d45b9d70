//! Runs a case through the engine.

use std::collections::BTreeMap;

use gristmill::defect::Defect;
use gristmill::topology::node::{Node, NodeKind};
use gristmill::words::{NodeId, Revision};
use gristmill::{BadRow, DeployError, Deployment, Handle, IntakePolicy, NodeReport, Runtime, Topology};

use super::case::{self, Break, CLASS, Case, Held, PlanVersion, Switch};
use super::feed::{Feed, FeedSource};
use super::gather::Gather;
use super::outcome::Outcome;
use super::run::interpret;
use super::store::MemoryStore;

/// What a run of the engine gave: what it wrote, and where in each partition each plan but the first began.
#[derive(Debug)]
pub struct Ran {
    /// What it wrote.
    pub outcome: Outcome,
    /// Where the plans switched.
    pub switches: Vec<Switch>,
    /// For each plan of the case the first that is the same to the engine: a deployment that changes nothing is none.
    pub same_as: Vec<usize>,
    /// What each node of the last plan has done since the last stop.
    pub nodes: Vec<NodeReport>,
}

/// What the interpreter makes of a case, with plans that are the same to the engine under one number.
pub fn expected(case: &Case, ran: &Ran) -> Outcome {
    let mut outcome = interpret(case);
    for written in outcome.written.values_mut().flatten() {
        written.plan = ran.same_as.get(written.plan).copied().unwrap_or(written.plan);
    }
    outcome
}

/// Runs a case: its log in its micro-batches, its plans deployed where it says, all at once or one by one.
///
/// # Panics
/// When the engine refuses what the laws allow, or does not get on.
pub fn run(case: &Case) -> Ran {
    run_with(case, None)
}

/// The same with a mechanism broken.
///
/// # Panics
/// As [`run`].
pub fn run_with(case: &Case, defect: Option<Defect>) -> Ran {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.expect("a test can have a thread").block_on(run_case(case, defect))
}

async fn run_case(case: &Case, defect: Option<Defect>) -> Ran {
    let (feed, source) = Feed::new(case);
    let mut runs =
        Runs { case, defect, store: MemoryStore::default(), same_as: vec![0], ended: 0, outcome: Outcome::default() };
    let mut run = runs.start(0, source).await;
    let mut switches = Vec::new();
    let mut number = 0;
    for (_, what) in case.breaks() {
        let waiting = feed.clone();
        tokio::task::spawn_blocking(move || waiting.wait_until_taken()).await.expect("the feed is taken");
        match what {
            Break::Deploy => {
                number += 1;
                let (before, plan) = (&case.plans[number - 1], &case.plans[number]);
                let applied = run.handle.apply(deployment(before, plan)).await;
                let applied =
                    applied.unwrap_or_else(|error: DeployError| panic!("seed {}, plan {number}: {error}", case.seed));
                let known = run.plans.iter().find(|(revision, _)| *revision == applied.revision);
                let same = known.map_or(number, |(_, plan)| *plan);
                run.plans.push((applied.revision, same));
                runs.same_as.push(same);
                switches.push(applied.positions.iter().copied().collect());
            }
            Break::Stop => {
                run.handle.stop().await.unwrap_or_else(|error| panic!("seed {}: {error}", case.seed));
                feed.check_commits(case.seed);
                runs.end(run);
                run = runs.start(number, feed.source(case)).await;
            }
        }
        feed.go_on();
    }
    run.handle.finished().await.unwrap_or_else(|error| panic!("seed {}: {error}", case.seed));
    feed.check_commits(case.seed);
    let report = run.handle.report(None).await.unwrap_or_else(|error| panic!("seed {}: {error}", case.seed));
    runs.end(run);
    Ran { outcome: runs.outcome, switches, same_as: runs.same_as, nodes: report.nodes }
}

/// All runs of the engine over a case: one, and one more for each stop.
struct Runs<'c> {
    case: &'c Case,
    defect: Option<Defect>,
    store: MemoryStore,
    /// As in [`Ran`].
    same_as: Vec<usize>,
    /// How many runs have ended, and what they wrote.
    ended: u16,
    outcome: Outcome,
}

/// One of them.
struct Run {
    handle: Handle,
    gather: Gather,
    /// Which plan of the case each revision is.
    plans: Vec<(Revision, usize)>,
}

impl Runs<'_> {
    /// Starts the engine with a plan of the case.
    async fn start(&self, number: usize, source: FeedSource) -> Run {
        let (case, plan) = (self.case, &self.case.plans[number]);
        let gather = Gather::default();
        let paused = plan.nodes.iter().filter(|node| plan.held(node).paused).map(Node::name);
        let topology = Topology::new(CLASS).with_all(plan.nodes.iter().cloned()).paused(paused);
        let topology = topology.attributes(plan.attributes.clone());
        let mut builder = Runtime::builder().topology(topology).source(source).defect(self.defect);
        builder = builder.dead_letters(gather.dead_letters());
        if !case.engine.stops.is_empty() {
            builder = builder.state(self.store.clone());
        }
        for binding in bindings(case) {
            builder = builder.sink(binding.as_str(), gather.sink(&binding));
        }
        let options = builder.options_mut();
        // Keys go to other shards after a stop.
        options.shards = (case.engine.shards - 1 + self.ended) % 4 + 1;
        options.frame_keys = case.engine.frame_keys;
        options.drive.batch_records = case.engine.batch_records;
        options.drive.commit_interval = std::time::Duration::ZERO;
        options.drive.batch_age = std::time::Duration::from_micros(200);
        options.intake = policy(&case.intake);
        options.quarantine = case.quarantine;
        let handle = builder.start().await.unwrap_or_else(|error| panic!("seed {}: {error}", case.seed));
        Run { handle, gather, plans: vec![(Revision(1), self.same_as[number])] }
    }

    /// Takes what a run wrote behind what those before it did.
    fn end(&mut self, run: Run) {
        self.ended += 1;
        let (revisions, plans): (Vec<Revision>, Vec<usize>) = run.plans.into_iter().unzip();
        let mut outcome = run.gather.outcome(&revisions);
        for written in outcome.written.values_mut().flatten() {
            written.plan = plans.get(written.plan).copied().unwrap_or(usize::MAX);
        }
        for (place, written) in outcome.written {
            self.outcome.written.entry(place).or_default().extend(written);
        }
        self.outcome.letters.extend(outcome.letters);
    }
}

fn bindings(case: &Case) -> std::collections::BTreeSet<String> {
    let nodes = case.plans.iter().flat_map(|plan| &plan.nodes);
    let bound = nodes.filter_map(|node| match &node.work {
        gristmill::topology::Work::Sink(sink) => Some(sink.binding.to_string()),
        _ => None,
    });
    bound.collect()
}

fn policy(intake: &case::Intake) -> IntakePolicy {
    let bad = |policy| match policy {
        case::BadRow::Drop => BadRow::Drop,
        case::BadRow::DeadLetter => BadRow::DeadLetter,
    };
    IntakePolicy {
        reorder: intake.reorder,
        late: bad(intake.late),
        duplicate: bad(intake.duplicate),
        max_ahead: intake.max_ahead,
        waiting_rows_max: intake.waiting_rows,
    }
}

/// Sinks have no state.
fn reset(deployment: Deployment, node: &Node) -> Deployment {
    if node.kind == NodeKind::Sink { deployment } else { deployment.reset(node.name()) }
}

/// What leads from one version to the next: removed, added and changed nodes, and other attributes.
fn deployment(before: &PlanVersion, after: &PlanVersion) -> Deployment {
    let by_name = |plan: &PlanVersion| -> BTreeMap<NodeId, Node> {
        plan.nodes.iter().map(|node| (node.name(), node.clone())).collect()
    };
    let (old, new) = (by_name(before), by_name(after));
    let mut deployment = Deployment::new().attributes(after.attributes.clone());
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        deployment = deployment.remove(name.clone());
    }
    for (name, node) in new {
        let was = old.get(&name).map_or_else(Held::default, |node| before.held(node));
        let is = after.held(&node);
        if is.paused && (!was.paused || is.resumed != was.resumed) {
            deployment = deployment.pause(name.clone());
        }
        if is.resumed != was.resumed {
            deployment = deployment.resume(name.clone());
        }
        // What cannot keep its state has to be reset as well.
        if is.reset != was.reset || old.get(&name).is_some_and(|before| before.content() != node.content()) {
            deployment = reset(deployment, &node);
        }
        if old.get(&name).is_none_or(|before| !before.same(&node)) {
            deployment = deployment.put(node);
        }
    }
    deployment
}
