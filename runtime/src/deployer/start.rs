//! A start: what was deployed last is laid on top of the host's topologies, and runs under its number.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::attributes::AttributeChange;
use super::change::{Refusal, hash_of};
use super::read::nodes_of;
use super::{Deployer, Inner, LIMIT_DEFAULT};
use crate::letters::{LetterFolder, LetterLimits};
use crate::registry::{AuditLine, ClassContent, Decided, Kind, Record, RegistryError, RegistryFolder, Verdict};
use crate::runtime::{Builder, StartError};
use crate::topology::{Node, Registry, Topology, Work};
use crate::traits::Digest;
use crate::words::{Class, NodeId, Revision};

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
        let in_force = folder.in_force().cloned();
        if let Some(record) = &in_force {
            for topology in builder.topologies_mut() {
                let Some(content) = record.content.get(topology.class()) else { continue };
                let laid = lay(topology, content, &folder, &operators);
                *topology =
                    laid.map_err(|refusal| DeployerStartError::Content { revision: record.revision, refusal })?;
            }
        }
        let is_new = in_force.as_ref().is_none_or(|record| record.ground != ground);
        let highest = folder.highest();
        let runs = match &in_force {
            Some(record) if !is_new => record.revision,
            _ => Revision(highest.0 + 1),
        };
        let topology = host.keys().next().cloned().unwrap_or_else(|| Class::from("?"));
        let handle = builder.revision(runs, highest).start().await?;
        if is_new {
            let record = Record {
                revision: runs,
                base: in_force.as_ref().map_or(Revision(0), |record| record.revision),
                topology,
                kind: Kind::Start,
                who: "start".to_owned(),
                when: clock.wall(),
                verdict: Verdict::Applied { changes: "the host's topologies".to_owned() },
                positions: BTreeMap::new(),
                put: Vec::new(),
                remove: Vec::new(),
                decided: Decided::default(),
                idempotency: None,
                ground,
                content: in_force.map_or_else(BTreeMap::new, |record| record.content),
            };
            folder.audit(&AuditLine {
                when: record.when,
                who: record.who.clone(),
                what: "started".to_owned(),
                revision: Some(runs),
                content: None,
                note: "with topologies other than before".to_owned(),
            })?;
            folder.write(&record)?;
        }
        let (limit, turn, folder) = (Mutex::new(LIMIT_DEFAULT), tokio::sync::Mutex::new(()), Mutex::new(folder));
        let replays = tokio::sync::Mutex::new(());
        let inner = Inner { handle, operators, clock, limit, host, facts, ground, turn, folder, letters, replays };
        Ok(Self(Arc::new(inner)))
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
    let (class, mut nodes) = by_name(topology);
    content.removed.iter().for_each(|name| _ = nodes.remove(name));
    for (set, names) in content.by_set() {
        let mut made = nodes_of(folder, operators, set)?;
        nodes.extend(names.into_iter().filter_map(|name| Some((name.clone(), made.remove(name)?))));
    }
    let paused: Vec<NodeId> = content.paused.iter().filter(|node| nodes.contains_key(*node)).cloned().collect();
    let laid = Topology::new(class).with_all(nodes.into_values()).paused(paused);
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
