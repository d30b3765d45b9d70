//! A deployment is validated: the plan that it would make, and how that differs. Nothing is changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::class::Ground;
use super::deployment::{Deployment, Member};
use super::error::{DeployError, TrialError, TrialErrors};
use super::node_state::{self, Move};
use super::trial::Trial;
use crate::actor::control::Retire;
use crate::topology::declared::Declared;
use crate::topology::diff::{Change, Changes, diff_of_keys};
use crate::topology::held::hold;
use crate::topology::node::{Node, NodeKind, Work};
use crate::topology::plan::{ClassPlan, PlanNode};
use crate::topology::problem::{Problem, ResolveErrors};
use crate::topology::resolve::{resolve, resolve_touched};
use crate::topology::resolve_members::resolve_members;
use crate::words::{Key, NodeId, Revision};

/// A deployment that has been validated against a plan.
pub(crate) struct Staged {
    pub(crate) declared: Declared,
    pub(crate) plan: Arc<ClassPlan>,
    pub(crate) changes: Changes,
    pub(super) keys: Arc<Vec<Key>>,
    pub(super) members: Arc<Vec<(NodeId, Vec<Key>)>>,
    pub(super) trial: Vec<Trial>,
    /// Whether anything is declared otherwise, be it a node that does not run.
    pub(super) news: bool,
}

impl Staged {
    /// Whether it is what runs already.
    pub(crate) fn is_nothing(&self) -> bool {
        self.changes.0.is_empty() && !self.news
    }

    /// The nodes of the plan before that do not run on.
    pub(crate) fn departed(&self, old: &ClassPlan) -> Vec<Arc<PlanNode>> {
        let gone = self.changes.0.iter().filter_map(|change| match change {
            Change::Remove { node } | Change::Replace { node, state_kept: false, .. } | Change::Reset { node, .. } => {
                Some(node)
            }
            _ => None,
        });
        let gone: BTreeSet<&NodeId> = gone.collect();
        let base = old.base.nodes.iter().filter(|node| gone.contains(&node.name)).cloned();
        let own = gone.iter().filter(|name| name.contains('@')).filter_map(|name| old.own_node(name).cloned());
        base.chain(own).collect()
    }

    /// What is over once it runs.
    pub(crate) fn retire(&self) -> Retire {
        Retire { before: self.plan.revision, keys: Arc::clone(&self.keys), members: Arc::clone(&self.members) }
    }
}

/// What a deployment makes of what is declared.
struct Wanted {
    declared: Declared,
    /// Keys whose own nodes are named.
    touched: BTreeSet<Key>,
    /// Whether nothing else is.
    only_own: bool,
    news: bool,
    trial: Vec<Trial>,
}

impl Wanted {
    /// Notes that a node is named.
    fn touch(&mut self, node: &Node) {
        match node.only_key() {
            Some(key) => _ = self.touched.insert(key.clone()),
            None => self.only_own = false,
        }
    }
}

/// Validates a deployment: the plan that it would make.
pub(crate) fn prepare(ground: Ground, deployment: &Deployment, revision: Revision) -> Result<Staged, DeployError> {
    let Ground { declared, plan: old } = ground;
    let mut wanted = Wanted {
        declared,
        touched: BTreeSet::new(),
        only_own: deployment.back_to.is_none(),
        news: !deployment.remove.is_empty() || !deployment.members.is_empty() || deployment.back_to.is_some(),
        trial: Vec::with_capacity(deployment.put.len()),
    };
    let mut errors = Vec::new();
    for name in &deployment.remove {
        match wanted.declared.take(name) {
            Some(node) => wanted.touch(&node),
            None => unknown(name, &wanted.declared, &mut errors),
        }
    }
    let stays = !errors.is_empty();
    if let Some(attributes) = &deployment.attributes {
        wanted.declared.attributes = Arc::new(attributes.clone());
        wanted.only_own = false;
    }
    members(&mut wanted, &deployment.members, &mut errors);
    wanted.only_own &= deployment.members.is_empty();
    put(&mut wanted, &deployment.put);
    decide(&mut wanted, &old, deployment, revision, &mut errors);
    let plan = match resolve_wanted(&old, deployment, &wanted, revision, errors.is_empty()) {
        Ok(plan) => plan,
        Err(problems) => return Err(with_problems(errors, problems, stays.then_some(&deployment.put[..]))),
    };
    let Wanted { declared, news, trial, .. } = wanted;
    let keys = plan.keys_changed_since(&old);
    let only_members = changes_members_only(deployment).then_some(&deployment.members[..]);
    let members = changed_members(&old, &plan, only_members);
    let changes = diff_of_keys(&old, &plan, &keys);
    let knows_resets = deployment.reset.iter().all(|name| declared.get(name).is_some());
    if deployment.back_to.is_none() && !deployment.may_lose_state && knows_resets {
        errors.extend(keeps_states(&old, deployment, &changes).err());
    }
    DeployError::all(errors)?;
    let (keys, members) = (Arc::new(keys), Arc::new(members));
    Ok(Staged { declared, plan: Arc::new(plan), changes, keys, members, trial, news })
}

/// All errors, with what does not resolve. Where a node stays that was to be removed, only what is wrong with the nodes
/// that are `put`, whether it stays or not: the rest may be because of it.
fn with_problems(mut errors: Vec<DeployError>, problems: ResolveErrors, put: Option<&[Node]>) -> DeployError {
    let names: Option<BTreeSet<NodeId>> = put.map(|put| put.iter().map(Node::name).collect());
    let stands_alone = |problem: &Problem| {
        let Some(names) = &names else { return true };
        match problem {
            Problem::Unmet { node, .. }
            | Problem::NothingToSink { node, .. }
            | Problem::UnknownAttribute { node, .. }
            | Problem::Setting { node, .. }
            | Problem::Unfit { node, .. }
            | Problem::SameName { node } => names.contains(node),
            Problem::Name(_) => true,
            _ => false,
        }
    };
    let problems: Vec<Problem> = problems.0.into_iter().filter(stands_alone).collect();
    if !problems.is_empty() {
        errors.push(ResolveErrors(problems).into());
    }
    DeployError::of(errors)
}

/// Declares nodes.
fn put(wanted: &mut Wanted, nodes: &[Node]) {
    let mut names = BTreeSet::new();
    for node in nodes {
        let node = Arc::new(node.clone());
        let before = wanted.declared.get(&node.name());
        if !names.insert(node.name()) && before.is_some_and(|before| !before.same(&node)) {
            wanted.declared.twice.push(node);
            continue;
        }
        let before_is_other = before.is_some_and(|before| !before.same(&node));
        // The same again is no change.
        if before.is_none_or(|before| !before.same(&node) || before.pending != node.pending) {
            wanted.declared.put(Arc::clone(&node));
            if before_is_other {
                hold(&mut wanted.declared.held, &node.name(), |held| held.quarantined = false);
            }
            wanted.news = true;
        }
        wanted.touch(&node);
        wanted.trial.push(Trial::Node(node));
    }
}

/// Decides about nodes what is said of them beside what they are.
fn decide(
    wanted: &mut Wanted,
    old: &ClassPlan,
    deployment: &Deployment,
    revision: Revision,
    errors: &mut Vec<DeployError>,
) {
    let resume = deployment.resume.iter().map(|node| (node, Move::Resume));
    let pause = deployment.pause.iter().map(|node| (node, Move::Pause));
    let quarantine = deployment.quarantine.iter().map(|node| (node, Move::Quarantine));
    let reset = deployment.reset.iter().map(|node| (node, Move::Reset));
    // A node that is resumed and paused at once is out of quarantine, and paused.
    for (name, what) in resume.chain(pause).chain(quarantine).chain(reset) {
        let Some(node) = wanted.declared.get(name).cloned() else {
            unknown(name, &wanted.declared, errors);
            continue;
        };
        let stands = node_state::declared(old, &wanted.declared, &node);
        if node.kind == NodeKind::Sink || !stands.allows(what) {
            errors.push(DeployError::Illegal { node: name.clone(), state: stands, asked: what, kind: node.kind });
            continue;
        }
        let before = wanted.declared.held.get(name).cloned();
        hold(&mut wanted.declared.held, name, |held| match what {
            Move::Pause => held.paused = true,
            Move::Quarantine => held.quarantined = true,
            Move::Reset => (held.quarantined, held.reset) = (false, revision),
            _ => (held.paused, held.quarantined, held.resumed) = (false, false, revision),
        });
        wanted.news |= wanted.declared.held.get(name) != before.as_ref();
        wanted.touch(&node);
    }
}

/// Resolves as little as is needed; everything, where something is wrong already.
fn resolve_wanted(
    old: &ClassPlan,
    deployment: &Deployment,
    wanted: &Wanted,
    revision: Revision,
    is_right: bool,
) -> Result<ClassPlan, ResolveErrors> {
    let Wanted { declared, touched, only_own, .. } = wanted;
    let quick = if !is_right {
        None
    } else if *only_own {
        resolve_touched(declared, old, revision, touched)
    } else if changes_members_only(deployment) {
        let changed = deployment.members.iter().map(|(family, key, model)| (family, key, model.as_ref()));
        resolve_members(declared, old, revision, changed)
    } else {
        None
    };
    match quick {
        Some(plan) => plan,
        None => resolve(declared, old, revision, deployment.back_to.is_none().then_some(touched)),
    }
}

/// Whether a deployment names artifacts of single keys, and nothing else.
fn changes_members_only(deployment: &Deployment) -> bool {
    let Deployment { put, remove, back_to, attributes, members, pause, quarantine, resume, reset, .. } = deployment;
    let more = back_to.is_some()
        || attributes.is_some()
        || !(put.is_empty() && remove.is_empty())
        || [pause, quarantine, resume, reset].iter().any(|nodes| !nodes.is_empty());
    !more && !members.is_empty()
}

/// Nobody loses a state without having said so.
fn keeps_states(plan: &ClassPlan, deployment: &Deployment, changes: &Changes) -> Result<(), DeployError> {
    let replaced = changes.0.iter().filter_map(|change| match change {
        Change::Replace { node, state_kept: false, .. } => Some(node),
        _ => None,
    });
    let unsaid = replaced.filter(|node| !deployment.reset.contains(node));
    let lost: Vec<NodeId> =
        unsaid.filter(|name| plan.node(name).is_some_and(|node| node.remembers())).cloned().collect();
    if lost.is_empty() { Ok(()) } else { Err(DeployError::StateLost { nodes: lost }) }
}

/// Puts artifacts of single keys into their families.
fn members(wanted: &mut Wanted, members: &[Member], errors: &mut Vec<DeployError>) {
    let Wanted { declared, trial, touched, .. } = wanted;
    let mut no_families = BTreeSet::new();
    for (name, key, model) in members {
        let Some(before) = declared.get(name) else {
            unknown(name, declared, errors);
            continue;
        };
        let mut node = (**before).clone();
        let Work::Family(family) = &mut node.work else {
            if no_families.insert(name) {
                let reason = "it is not a family, so it has no members".to_owned();
                let error = TrialError { node: name.clone(), member: None, reason };
                errors.push(TrialErrors(vec![error]).into());
            }
            continue;
        };
        match model {
            Some(model) => _ = family.members.insert_cow(key.clone(), Arc::clone(model)),
            None => _ = family.members.remove_cow(key),
        }
        touched.extend(node.only_key().cloned());
        let node = Arc::new(node);
        trial.extend(model.iter().map(|model| Trial::Member(Arc::clone(&node), key.clone(), Arc::clone(model))));
        declared.put(node);
    }
}

/// Says once that there is no node of that name.
fn unknown(name: &NodeId, declared: &Declared, errors: &mut Vec<DeployError>) {
    if errors.iter().any(|error| matches!(error, DeployError::UnknownNode { node, .. } if node == name)) {
        return;
    }
    let names: Vec<crate::words::StreamName> = declared.base.keys().map(|name| name.as_str().into()).collect();
    let nearest = crate::topology::problem::nearest(name, names.iter()).map(|name| NodeId::from(name.as_str()));
    errors.push(DeployError::UnknownNode { node: name.clone(), nearest });
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
