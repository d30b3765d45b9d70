//! A start: what was deployed last is laid on top of the host's topologies, and runs under its number.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::attributes::AttributeChange;
use super::change::{Refusal, hash_of};
use super::read::nodes_of;
use super::{Deployer, Inner, LIMIT_DEFAULT};
use crate::letters::{LetterFolder, LetterLimits};
use crate::registry::{
    AuditLine, ClassContent, Decided, Kind, Numbers, Record, RegistryError, RegistryFolder, Verdict,
};
use crate::runtime::{Builder, StartError};
use crate::topology::{Node, Registry, Topology, Work};
use crate::traits::Digest;
use crate::words::{Class, NodeId, Revision, Time};

/// A system could not start with what was deployed on it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeployerStartError {
    /// The folder of revisions cannot be used.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// What was deployed cannot be made any more.
    #[error("revision {revision} cannot be run again: {refusal}")]
    Content {
        /// The revision that is in force.
        revision: Revision,
        /// Why.
        refusal: Refusal,
    },
    /// The runtime could not start.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl Deployer {
    /// Starts a runtime with what was deployed on it last; `operators` makes nodes of manifests.
    ///
    /// # Errors
    /// [`DeployerStartError`]; nothing runs then.
    pub async fn start(
        mut builder: Builder,
        mut folder: RegistryFolder,
        operators: Registry,
    ) -> Result<Self, DeployerStartError> {
        let host: BTreeMap<Class, BTreeMap<NodeId, Node>> = builder.topologies_mut().iter().map(by_name).collect();
        let known = |topology: &Topology| (topology.class().clone(), topology.known_attributes().clone());
        let facts = Mutex::new(builder.topologies_mut().iter().map(known).collect());
        let ground = ground(builder.topologies_mut());
        let clock = builder.clock_of();
        let place = folder.root().join("dead-letters");
        let letters =
            LetterFolder::open(&place, LetterLimits::default(), Arc::clone(&clock), builder.dead_letters_of());
        let letters = Arc::new(letters.map_err(RegistryError::write(&place))?);
        builder = builder.dead_letters(Arc::clone(&letters));
        let by_class = |topology: &Topology| (topology.class().clone(), topology.paused_nodes().cloned().collect());
        let paused = builder.topologies_mut().iter().map(by_class).collect();
        forget_interrupted(&mut folder)?;
        let begun = begin(&folder, builder.topologies_mut(), ground, clock.wall());
        if let Some(record) = folder.in_force() {
            for topology in builder.topologies_mut() {
                let Some(content) = record.content.get(topology.class()) else { continue };
                let laid = lay(topology, content, &folder, &operators);
                let failed = |refusal| DeployerStartError::Content { revision: record.revision, refusal };
                *topology = laid.map_err(failed)?;
            }
        }
        let record = begun.as_ref().or(folder.in_force());
        let runs = record.expect("the first start begins a record").revision;
        let numbers = Arc::clone(folder.numbers());
        let highest = folder.highest().max(numbers.taken());
        // Whoever finds it after the process was killed knows that rows may have its number.
        begun.iter().try_for_each(|record| folder.write(record))?;
        let handle = match builder.revision(runs, highest, Arc::new(move |number| take(&numbers, number))).start().await
        {
            Ok(handle) => handle,
            Err(error) => {
                // Nothing has run, unless a shard ended while sources were let go.
                let record = begun.filter(|_| !matches!(error, StartError::Shard));
                if let Some(Err(error)) = record.map(|record| folder.remove(record.revision)) {
                    tracing::warn!(%error, "the record of a start that failed is left");
                }
                return Err(error.into());
            }
        };
        if let Some(record) = begun
            && let Err(error) = finish(&mut folder, record)
        {
            if let Err(error) = handle.stop().await {
                tracing::error!(%error, "what had begun to run did not end in order");
            }
            return Err(error.into());
        }
        let (limit, turn, folder) = (Mutex::new(LIMIT_DEFAULT), Arc::default(), Mutex::new(folder));
        let replays = tokio::sync::Mutex::new(());
        let inner =
            Inner { handle, operators, clock, limit, host, paused, facts, ground, turn, folder, letters, replays };
        Ok(Self(Arc::new(inner)))
    }
}

/// Removes what starts that were killed have left, but for their numbers: there may be many, and they are nothing to go
/// back to.
fn forget_interrupted(folder: &mut RegistryFolder) -> Result<(), RegistryError> {
    let is_left = |record: &&Record| record.kind == Kind::Start && record.verdict == Verdict::Interrupted;
    let left: Vec<Revision> = folder.records().filter(is_left).map(|record| record.revision).collect();
    for number in left {
        folder.numbers().take(number)?;
        folder.remove(number)?;
    }
    Ok(())
}

/// The record of a start with topologies other than before.
fn begin(folder: &RegistryFolder, topologies: &[Topology], ground: Digest, when: Time) -> Option<Record> {
    let in_force = folder.in_force();
    if in_force.is_some_and(|record| record.ground == ground) {
        return None;
    }
    Some(Record {
        revision: Revision(folder.highest().max(folder.numbers().taken()).0 + 1),
        base: in_force.map_or(Revision(0), |record| record.revision),
        topology: topologies.first().map_or_else(|| Class::from("?"), |topology| topology.class().clone()),
        kind: Kind::Start,
        who: "start".to_owned(),
        when,
        verdict: Verdict::Begun,
        positions: BTreeMap::new(),
        put: Vec::new(),
        remove: Vec::new(),
        decided: Decided::default(),
        idempotency: None,
        ground,
        content: in_force.map_or_else(BTreeMap::new, |record| record.content.clone()),
    })
}

/// Notes that a start has succeeded.
fn finish(folder: &mut RegistryFolder, mut record: Record) -> Result<(), RegistryError> {
    record.verdict = Verdict::Applied { changes: "the host's topologies".to_owned() };
    folder.audit(&AuditLine {
        when: record.when,
        who: record.who.clone(),
        what: "started".to_owned(),
        revision: Some(record.revision),
        content: None,
        note: "with topologies other than before".to_owned(),
    })?;
    folder.write(&record)?;
    if let Err(error) = folder.retire(record.when) {
        // As after a deployment: it is done the next time.
        tracing::warn!(%error, "old revisions could not be removed");
    }
    Ok(())
}

/// Keeps a number that rows get and no record has. Nobody can be told when that fails, and what runs is worth more.
fn take(numbers: &Numbers, number: Revision) {
    if let Err(error) = numbers.take(number) {
        tracing::error!(%error, number = number.0 as i64, "a number that rows have may be given again after a restart");
    }
}

fn by_name(topology: &Topology) -> (Class, BTreeMap<NodeId, Node>) {
    (topology.class().clone(), topology.nodes().map(|node| (node.name(), node.clone())).collect())
}

/// The host's topology with what was deployed on top of it.
fn lay(
    topology: &Topology,
    content: &ClassContent,
    folder: &RegistryFolder,
    operators: &Registry,
) -> Result<Topology, Refusal> {
    let is_over = |name: &NodeId| content.removed.contains(name) || content.nodes.contains_key(name);
    let mut nodes: Vec<Node> = topology.nodes().filter(|node| !is_over(&node.name())).cloned().collect();
    for (set, names) in content.by_set() {
        let mut made = nodes_of(folder, operators, set)?;
        nodes.extend(names.into_iter().filter_map(|name| made.remove(name)));
    }
    let names: BTreeSet<NodeId> = nodes.iter().map(Node::name).collect();
    let begin = topology.paused_nodes().filter(|node| !content.resumed.contains(*node));
    let paused: Vec<NodeId> =
        content.paused.iter().chain(begin).filter(|node| names.contains(*node)).cloned().collect();
    let laid = Topology::new(topology.class().clone()).with_all(nodes).paused(paused);
    let host = topology.known_attributes();
    let known = AttributeChange::load(folder, content.attributes)?.over(host)?;
    Ok(laid.attributes(known))
}

/// A hash of what the host starts with.
fn ground(topologies: &[Topology]) -> Digest {
    let mut parts = Vec::new();
    for topology in topologies {
        parts.push(("topology", topology.class().to_string(), String::new()));
        for node in topology.nodes() {
            let mut artifacts: Vec<String> = node.artifact().iter().map(ToString::to_string).collect();
            if let Work::Family(family) = &node.work {
                let members = (&family.members).into_iter();
                artifacts.extend(members.map(|(key, model)| format!("{key} {}", model.digest())));
                artifacts.extend(family.default.iter().map(|model| model.digest().to_string()));
            }
            parts.push(("node", node.name().to_string(), format!("{} {}", node.content(), artifacts.join(" "))));
        }
    }
    hash_of(&parts)
}
