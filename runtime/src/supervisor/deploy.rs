//! A deployment, phase by phase. Until the switch the old plan serves, and a failure costs nothing.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use actix::Addr;
use tokio::sync::oneshot;
use tracing::Span;

use super::class::ClassState;
use super::error::DeployError;
use crate::actor::Flush;
use crate::actor::control::{Retire, Stage, Unstage};
use crate::actor::driver::{Control, SwitchPosition};
use crate::actor::shard::Shard;
use crate::topology::Attributes;
use crate::topology::declared::Declared;
use crate::topology::diff::{Changes, diff};
use crate::topology::node::{Node, Work};
use crate::topology::plan::ClassPlan;
use crate::topology::resolve::{resolve, resolve_touched};
use crate::topology::resolve_members::resolve_members;
use crate::topology::scorer;
use crate::traits::{Model, Outputs, Rows};
use crate::words::{Cause, Class, Column, ColumnRef, Key, NodeId, Offset, Revision, Time};

/// The artifact of a key in a family; `None` takes it away.
type Member = (NodeId, Key, Option<Arc<dyn Model>>);

/// A set of changes that apply as one or not at all.
#[derive(Clone, Debug, Default)]
pub struct Deployment {
    pub(crate) class: Option<Class>,
    pub(crate) put: Vec<Node>,
    pub(crate) remove: Vec<NodeId>,
    pub(crate) back_to: Option<Revision>,
    pub(crate) attributes: Option<Attributes>,
    pub(crate) members: Vec<Member>,
    /// The number that its revision shall have, if none so high is in use.
    pub(crate) number: Option<Revision>,
    /// How long trying out and staging may take together.
    pub(crate) limit: Option<Duration>,
}

impl Deployment {
    /// For the one topology that runs.
    pub fn new() -> Self {
        Self::default()
    }

    /// For the topology of a class.
    pub fn of(class: impl Into<Class>) -> Self {
        Self { class: Some(class.into()), ..Self::default() }
    }

    /// Adds a node, or puts it in the place of the one with its name.
    #[must_use]
    pub fn put(mut self, node: impl Into<Node>) -> Self {
        self.put.push(node.into());
        self
    }

    /// Adds many nodes.
    #[must_use]
    pub fn put_all(mut self, nodes: impl IntoIterator<Item = Node>) -> Self {
        self.put.extend(nodes);
        self
    }

    /// Gives a key its artifact in a family, or takes it away.
    #[must_use]
    pub fn member(mut self, family: impl Into<NodeId>, key: impl Into<Key>, model: Option<Arc<dyn Model>>) -> Self {
        self.members.push((family.into(), key.into(), model));
        self
    }

    /// What is known of the keys from then on.
    #[must_use]
    pub fn attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = Some(attributes);
        self
    }

    /// How long its artifacts may be tried out and its actors started before it is undone; without an end unless said.
    #[must_use]
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// The number of its revision, where a host numbers them; one that is in use already is passed over.
    pub(crate) fn numbered(mut self, number: Revision) -> Self {
        self.number = Some(number);
        self
    }

    /// Removes a node by its name in the plan.
    #[must_use]
    pub fn remove(mut self, node: impl Into<NodeId>) -> Self {
        self.remove.push(node.into());
        self
    }
}

impl From<Node> for Deployment {
    fn from(node: Node) -> Self {
        Self::new().put(node)
    }
}

/// A deployment that has taken effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The plan that runs now.
    pub revision: Revision,
    /// What changed.
    pub changes: Changes,
    /// From which offset on, for each partition of the source that had rows before.
    pub positions: Vec<SwitchPosition>,
}

/// A deployment that has been validated against a plan.
pub(crate) struct Staged {
    pub(crate) declared: Declared,
    pub(crate) plan: Arc<ClassPlan>,
    pub(crate) changes: Changes,
    keys: Arc<Vec<Key>>,
    members: Arc<Vec<(NodeId, Vec<Key>)>>,
    trial: Vec<Trial>,
    /// Whether anything is declared otherwise, be it a node that does not run.
    news: bool,
}

/// Validates a deployment: the plan that it would make.
pub(crate) fn prepare(state: &ClassState, deployment: &Deployment, revision: Revision) -> Result<Staged, DeployError> {
    let mut declared = state.declared.clone();
    let mut touched = BTreeSet::new();
    let mut only_own = true;
    if let Some(back_to) = deployment.back_to {
        let kept = || state.history.iter().map(|(kept, _)| kept.to_string()).collect::<Vec<_>>().join(", ");
        let then = state.history.iter().find(|(kept, _)| *kept == back_to);
        let (_, then) = then.ok_or_else(|| DeployError::UnknownRevision { revision: back_to, kept: kept() })?;
        declared = then.clone();
        only_own = false;
    }
    for name in &deployment.remove {
        let node = declared.take(name).ok_or_else(|| unknown(name, &declared))?;
        match node.only_key() {
            Some(key) => _ = touched.insert(key.clone()),
            None => only_own = false,
        }
    }
    if let Some(attributes) = &deployment.attributes {
        declared.attributes = Arc::new(attributes.clone());
        only_own = false;
    }
    let mut trial = Vec::with_capacity(deployment.put.len());
    members(&mut declared, &deployment.members, &mut trial)?;
    only_own &= deployment.members.is_empty();
    let mut names = BTreeSet::new();
    let mut twice = Vec::new();
    let mut news = !deployment.remove.is_empty() || !deployment.members.is_empty() || deployment.back_to.is_some();
    for node in &deployment.put {
        let node = Arc::new(node.clone());
        if !names.insert(node.name()) && declared.get(&node.name()).is_some_and(|before| !before.same(&node)) {
            twice.push(crate::topology::problem::Problem::SameName { node: node.name() });
        }
        match node.only_key() {
            Some(key) => _ = touched.insert(key.clone()),
            None => only_own = false,
        }
        // The same again is no change.
        if declared.get(&node.name()).is_none_or(|before| !before.same(&node) || before.pending != node.pending) {
            declared.put(Arc::clone(&node));
            news = true;
        }
        trial.push(Trial::Node(node));
    }
    if !twice.is_empty() {
        return Err(crate::topology::problem::ResolveErrors(twice).into());
    }
    let everything = deployment.back_to.is_some();
    let changes_more = deployment.back_to.is_some()
        || deployment.attributes.is_some()
        || !(deployment.put.is_empty() && deployment.remove.is_empty());
    let only_members = !changes_more && !deployment.members.is_empty();
    let quick = if only_own {
        resolve_touched(&declared, &state.plan, revision, &touched)
    } else if only_members {
        let changed = deployment.members.iter().map(|(family, _, model)| (family, model.as_ref()));
        resolve_members(&declared, &state.plan, revision, changed)
    } else {
        None
    };
    let plan = match quick {
        Some(plan) => plan?,
        None => resolve(&declared, &state.plan, revision, (!everything).then_some(&touched))?,
    };
    let keys = changed_keys(&state.plan, &plan);
    let only_members = only_members.then_some(&deployment.members[..]);
    let members = changed_members(&state.plan, &plan, only_members);
    let changes = diff(&state.plan, &plan);
    Ok(Staged {
        declared,
        plan: Arc::new(plan),
        changes,
        keys: Arc::new(keys),
        members: Arc::new(members),
        trial,
        news,
    })
}

/// What is tried out before it is staged.
enum Trial {
    /// Every artifact of a node.
    Node(Arc<Node>),
    /// One artifact for a node.
    Member(Arc<Node>, Arc<dyn Model>),
}

impl Trial {
    fn node(&self) -> &Node {
        match self {
            Self::Node(node) | Self::Member(node, _) => node,
        }
    }

    fn run(&self) -> Result<(), DeployError> {
        let result = match self {
            Self::Node(node) => try_out(node),
            Self::Member(node, model) => try_model(node, model),
        };
        result.map_err(|reason| DeployError::Trial { node: self.node().name(), reason })
    }
}

/// Puts artifacts of single keys into their families.
fn members(declared: &mut Declared, members: &[Member], trial: &mut Vec<Trial>) -> Result<(), DeployError> {
    for (name, key, model) in members {
        let before = declared.get(name).ok_or_else(|| unknown(name, declared))?;
        let mut node = (**before).clone();
        let Work::Family(family) = &mut node.work else {
            let reason = "it is not a family, so it has no members".to_owned();
            return Err(DeployError::Trial { node: name.clone(), reason });
        };
        match model {
            Some(model) => _ = family.members.insert_cow(key.clone(), Arc::clone(model)),
            None => _ = family.members.remove_cow(key),
        }
        let node = Arc::new(node);
        trial.extend(model.iter().map(|model| Trial::Member(Arc::clone(&node), Arc::clone(model))));
        declared.put(node);
    }
    Ok(())
}

fn unknown(name: &NodeId, declared: &Declared) -> DeployError {
    let names: Vec<crate::words::StreamName> = declared.base.keys().map(|name| name.as_str().into()).collect();
    let nearest = crate::topology::problem::nearest(name, names.iter()).map(|name| NodeId::from(name.as_str()));
    DeployError::UnknownNode { node: name.clone(), nearest }
}

fn changed_keys(old: &ClassPlan, new: &ClassPlan) -> Vec<Key> {
    let mut keys = Vec::new();
    for (key, plan) in &new.keys {
        if !old.keys.get(key).is_some_and(|before| Arc::ptr_eq(before, plan)) {
            keys.push(key.clone());
        }
    }
    keys.extend((&old.keys).into_iter().map(|(key, _)| key).filter(|key| new.keys.get(*key).is_none()).cloned());
    keys
}

/// The keys whose artifacts differ, for families that run on: those that the deployment names, where it changes
/// nothing else.
fn changed_members(old: &ClassPlan, new: &ClassPlan, named: Option<&[Member]>) -> Vec<(NodeId, Vec<Key>)> {
    let mut changed = Vec::new();
    for node in &new.base.nodes {
        let before = old.base.node(&node.name).filter(|before| before.born == node.born);
        let (Some(before), Work::Family(now)) = (before, &node.node.work) else { continue };
        let Work::Family(was) = &before.node.work else { continue };
        if Arc::ptr_eq(&before.node, &node.node) {
            changed.push((node.name.clone(), Vec::new()));
            continue;
        }
        if let Some(named) = named {
            let of_family = named.iter().filter(|(family, _, _)| *family == node.name);
            changed.push((node.name.clone(), of_family.map(|(_, key, _)| key.clone()).collect()));
            continue;
        }
        let default = |family: &crate::topology::Family| family.default.as_ref().map(|model| model.digest());
        if default(was) != default(now) {
            continue; // every key may change: the shards look at all
        }
        let mut keys: Vec<Key> = Vec::new();
        for (key, model) in &now.members {
            if !was.members.get(key).is_some_and(|before| Arc::ptr_eq(before, model)) {
                keys.push(key.clone());
            }
        }
        keys.extend(
            (&was.members).into_iter().map(|(key, _)| key).filter(|key| now.members.get(*key).is_none()).cloned(),
        );
        changed.push((node.name.clone(), keys));
    }
    changed
}

/// Stages a prepared deployment, switches to it, and lets what departed drain in the background.
pub(crate) async fn apply(
    state: &mut ClassState,
    mut staged: Staged,
    limit: Option<Duration>,
    span: &Span,
) -> Result<Applied, DeployError> {
    let begun = state.clock.monotonic();
    let first = begun;
    span.record("changes", staged.changes.0.len());
    try_all(std::mem::take(&mut staged.trial), limit).await?;
    let begun = phase(state, span, "trial_us", begun);
    if staged.changes.0.is_empty() && !staged.news {
        let revision = state.plan.revision;
        return Ok(Applied { revision, changes: staged.changes, positions: Vec::new() });
    }
    let left = limit.map(|limit| limit.saturating_sub(begun.saturating_sub(first)));
    let staging = stage(&state.shards, &staged);
    match limit.zip(left) {
        None => staging.await?,
        Some((limit, left)) => match tokio::time::timeout(left, staging).await {
            Ok(done) => done?,
            Err(_) => {
                unstage(state.shards.clone(), staged.plan.revision);
                return Err(DeployError::TimedOut { phase: "starting its actors", node: None, limit });
            }
        },
    }
    let begun = phase(state, span, "stage_us", begun);
    let flush =
        Flush { cause: Cause { offset: Offset(-1), row: u32::MAX }, departing: departing(&state.plan, &staged) };
    let (tell, switched) = oneshot::channel();
    let control = Control::Switch { plan: Arc::clone(&staged.plan), departing: Arc::new(flush), switched: tell };
    // A source that has ended has no more rows: the plan takes over for whoever asks about it.
    let positions = if state.driver.send(control).is_ok() { switched.await.unwrap_or_default() } else { Vec::new() };
    let begun = phase(state, span, "switch_us", begun);
    let revision = staged.plan.revision;
    drain_and_retire(state, &staged, span.clone(), begun);
    state.took_over(staged.declared, staged.plan);
    Ok(Applied { revision, changes: staged.changes, positions })
}

/// Puts on the span how long a phase took; when it ended.
pub(crate) fn phase(state: &ClassState, span: &Span, name: &str, begun: Duration) -> Duration {
    let now = state.clock.monotonic();
    span.record(name, micros(now.saturating_sub(begun)));
    now
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// Tries out all artifacts; with a limit on a thread of their own, which a model that never comes back keeps.
async fn try_all(trials: Vec<Trial>, limit: Option<Duration>) -> Result<(), DeployError> {
    let Some(limit) = limit.filter(|_| !trials.is_empty()) else {
        return trials.iter().try_for_each(Trial::run);
    };
    let at = Arc::new(std::sync::Mutex::new(None));
    let tell = Arc::clone(&at);
    let trying = tokio::task::spawn_blocking(move || {
        trials.iter().try_for_each(|trial| {
            *tell.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(trial.node().name());
            trial.run()
        })
    });
    match tokio::time::timeout(limit, trying).await {
        Ok(Ok(tried)) => tried,
        Ok(Err(_)) => Err(DeployError::Stopped),
        Err(_) => {
            let node = at.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
            Err(DeployError::TimedOut { phase: "scoring the trial row", node, limit })
        }
    }
}

/// Takes back what a shard that is late has started or will start: it does one after the other.
fn unstage(shards: Vec<Addr<Shard>>, revision: Revision) {
    tokio::spawn(async move {
        for shard in shards {
            // A shard that is gone has nothing to take back.
            let _ = shard.send(Unstage(revision)).await;
        }
    });
}

async fn stage(shards: &[Addr<Shard>], staged: &Staged) -> Result<(), DeployError> {
    let sent = shards.iter().map(|shard| {
        shard.send(Stage {
            plan: Arc::clone(&staged.plan),
            keys: Arc::clone(&staged.keys),
            members: Arc::clone(&staged.members),
        })
    });
    let mut failed = None;
    for answer in sent.collect::<Vec<_>>() {
        match answer.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failed = Some(DeployError::Stage { reason: error.reason }),
            Err(_) => return Err(DeployError::Stopped),
        }
    }
    let Some(error) = failed else { return Ok(()) };
    for shard in shards {
        // A shard that is gone has nothing to take back.
        let _ = shard.send(Unstage(staged.plan.revision)).await;
    }
    Err(error)
}

/// Nodes whose waiting rows must be let go: they do not run on.
fn departing(old: &ClassPlan, staged: &Staged) -> Vec<(NodeId, Revision)> {
    let waits =
        |node: &crate::topology::plan::PlanNode| matches!(node.node.rule, crate::topology::node::RowRule::OnAll { .. });
    let stays = |node: &crate::topology::plan::PlanNode| match node.node.only_key() {
        None => staged.plan.base.node(&node.name).is_some_and(|now| now.born == node.born),
        Some(key) => staged
            .plan
            .keys
            .get(key)
            .is_some_and(|plan| plan.nodes.iter().any(|now| now.name == node.name && now.born == node.born)),
    };
    let base = old.base.nodes.iter();
    let own = staged.keys.iter().filter_map(|key| old.keys.get(key)).flat_map(|plan| &plan.nodes);
    let ending = base.chain(own).filter(|node| waits(node) && !stays(node));
    let mut departing: Vec<_> = ending.map(|node| (node.name.clone(), node.born)).collect();
    departing.sort_unstable();
    departing
}

fn drain_and_retire(state: &ClassState, staged: &Staged, span: Span, begun: Duration) {
    let (driver, shards, clock) = (state.driver.clone(), state.shards.clone(), Arc::clone(&state.clock));
    let (before, keys, members) = (staged.plan.revision, Arc::clone(&staged.keys), Arc::clone(&staged.members));
    tokio::spawn(async move {
        let (tell, drained) = oneshot::channel();
        if driver.send(Control::Drained { before, drained: tell }).is_ok() {
            // An error means that the source has ended, and with it all that was in flight.
            let _ = drained.await;
        }
        for shard in shards {
            let _ = shard.send(Retire { before, keys: Arc::clone(&keys), members: Arc::clone(&members) }).await;
        }
        span.record("drain_us", micros(clock.monotonic().saturating_sub(begun)));
    });
}

/// Scores one row of zeros with each artifact of a node.
fn try_out(node: &Node) -> Result<(), String> {
    match &node.work {
        Work::Model(model) => try_model(node, model),
        Work::Family(family) => {
            let members = (&family.members).into_iter().map(|(_, model)| model).chain(&family.default);
            members.into_iter().try_for_each(|model| try_model(node, model))
        }
        _ => Ok(()),
    }
}

fn try_model(node: &Node, model: &Arc<dyn Model>) -> Result<(), String> {
    let columns: Vec<Column> = node
        .needs
        .iter()
        .map(|need| match need.element {
            crate::words::ElementType::F32 => Column::F32(vec![0.0]),
            crate::words::ElementType::F64 => Column::F64(vec![0.0]),
            crate::words::ElementType::I64 => Column::I64(vec![0]),
            crate::words::ElementType::Bool => Column::Bool(vec![Some(false)]),
            element => Column::missing(element, 1),
        })
        .collect();
    let columns: Vec<ColumnRef<'_>> = columns.iter().map(Column::as_ref).collect();
    let mut out: Vec<Column> = node.provides.iter().map(|(_, element)| Column::missing(*element, 1)).collect();
    let row = Rows::new(&[Time(0)], &columns);
    let trial = || scorer::score(model.as_ref(), &row, &mut Outputs::new(&mut out, 0..1));
    match catch_unwind(AssertUnwindSafe(trial)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.0),
        Err(_) => Err("it panicked".to_owned()),
    }
}
