//! What is asked for, and what is answered.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::attributes::AttributeChange;
use crate::registry::{Decided, RegistryError, digest_of};
use crate::supervisor::DeployError;
use crate::topology::ManifestErrors;
use crate::traits::Digest;
use crate::words::{Class, NodeId, Revision};

/// The content of an artifact, or the hash of one that was sent before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Artifact {
    /// The content.
    Bytes(Vec<u8>),
    /// The hash of what is kept already.
    Kept(Digest),
}

impl Artifact {
    /// The hash of its content.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Bytes(bytes) => digest_of(bytes),
            Self::Kept(digest) => *digest,
        }
    }
}

/// Changes that apply as one or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeSet {
    pub(super) topology: Option<Class>,
    pub(super) manifests: Vec<String>,
    /// With the hash of each, so that it is made once.
    pub(super) artifacts: BTreeMap<String, (Digest, Artifact)>,
    pub(super) remove: Vec<NodeId>,
    pub(super) decided: Decided,
    pub(super) attributes: Option<AttributeChange>,
}

impl ChangeSet {
    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Deploys the nodes of a manifest, JSON or TOML.
    #[must_use]
    pub fn manifest(mut self, text: impl Into<String>) -> Self {
        self.manifests.push(text.into());
        self
    }

    /// An artifact under the name that a manifest calls it.
    #[must_use]
    pub fn artifact(mut self, name: impl Into<String>, artifact: Artifact) -> Self {
        self.artifacts.insert(name.into(), (artifact.digest(), artifact));
        self
    }

    /// Removes a node by its name in the plan.
    #[must_use]
    pub fn remove(mut self, node: impl Into<NodeId>) -> Self {
        self.remove.push(node.into());
        self
    }

    /// Makes a node compute nothing until it is resumed; its state stays.
    #[must_use]
    pub fn pause(mut self, node: impl Into<NodeId>) -> Self {
        self.decided.pause.push(node.into());
        self
    }

    /// Lets a node compute again that is paused, and ends its quarantines.
    #[must_use]
    pub fn resume(mut self, node: impl Into<NodeId>) -> Self {
        self.decided.resume.push(node.into());
        self
    }

    /// Lets the state of a node begin anew; a new version that cannot have it is refused without.
    #[must_use]
    pub fn reset(mut self, node: impl Into<NodeId>) -> Self {
        self.decided.reset.push(node.into());
        self
    }

    /// Changes what is known of keys.
    #[must_use]
    pub fn attributes(mut self, change: AttributeChange) -> Self {
        self.attributes = Some(change);
        self
    }

    /// The topology, where several run and no manifest says which.
    #[must_use]
    pub fn of(mut self, topology: impl Into<Class>) -> Self {
        self.topology = Some(topology.into());
        self
    }

    /// A hash of all that is asked for.
    pub(super) fn digest(&self) -> Digest {
        let mut parts: Vec<(&str, String, String)> = Vec::new();
        parts.extend(self.topology.iter().map(|class| ("topology", class.to_string(), String::new())));
        parts.extend(self.manifests.iter().map(|text| ("manifest", text.clone(), String::new())));
        let artifacts = self.artifacts.iter();
        parts.extend(artifacts.map(|(name, (digest, _))| ("artifact", name.clone(), digest.to_string())));
        parts.extend(self.remove.iter().map(|node| ("remove", node.to_string(), String::new())));
        let facts = self.attributes.iter().filter_map(|change| serde_json::to_string(change).ok());
        parts.extend(facts.map(|facts| ("attributes", facts, String::new())));
        parts.extend(self.decided.all().map(|(word, node)| (word, node.to_string(), String::new())));
        hash_of(&parts)
    }
}

/// Hashes texts so that no two lists of them give the same bytes.
pub(super) fn hash_of(parts: &[(&str, String, String)]) -> Digest {
    let mut hash = Sha256::new();
    for text in parts.iter().flat_map(|(kind, name, value)| [*kind, name, value]) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    Digest(hash.finalize().into())
}

/// Who deploys, and on what condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Who, for the audit log.
    pub who: String,
    /// The revision that must be in force.
    pub base: Option<Revision>,
    /// The client's key: the same request with the same key is carried out once, and answered the same each time.
    pub idempotency: Option<String>,
    /// Whether it is only to be looked at.
    pub dry_run: bool,
}

impl Terms {
    /// Without conditions.
    pub fn by(who: impl Into<String>) -> Self {
        Self { who: who.into(), ..Self::default() }
    }
}

/// A deployment that was carried out, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Its number.
    pub revision: Revision,
    /// What was in force before.
    pub base: Revision,
    /// The topology that it is for.
    pub topology: Class,
    /// `applied`, `unchanged`, or `dry_run`.
    pub verdict: &'static str,
    /// What changes, a line each; the same in a dry run and in the deed.
    pub changes: String,
    /// Whether this is the answer to an earlier request with the same key.
    pub repeated: bool,
}

/// A deployment was refused; what ran before runs on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// The name of the problem, which does not change.
    pub code: Cow<'static, str>,
    /// All that is wrong, a line each.
    pub reason: String,
}

impl Refusal {
    pub(super) fn new(code: &'static str, reason: impl Into<String>) -> Self {
        Self { code: Cow::Borrowed(code), reason: reason.into() }
    }
}

impl From<DeployError> for Refusal {
    fn from(error: DeployError) -> Self {
        // Several are known by the first.
        let code = error.each().first().map_or("stopped", code_of);
        Self::new(code, format!("{error:#}"))
    }
}

fn code_of(error: &DeployError) -> &'static str {
    match error {
        DeployError::UnknownClass { .. } => "unknown-topology",
        DeployError::WhichClass { .. } => "which-topology",
        DeployError::UnknownNode { .. } => "unknown-node",
        DeployError::Resolve(_) => "does-not-resolve",
        DeployError::Stale { .. } => "stale-revision",
        DeployError::Illegal { .. } => "illegal-move",
        DeployError::StateLost { .. } => "state-lost",
        DeployError::Trial { .. } => "trial-failed",
        DeployError::Stage { .. } => "cannot-start",
        DeployError::TimedOut { .. } => "timed-out",
        DeployError::UnknownRevision { .. } => "unknown-revision",
        DeployError::Stopped | DeployError::Several(_) => "stopped",
    }
}

impl From<ManifestErrors> for Refusal {
    fn from(errors: ManifestErrors) -> Self {
        Self::new("bad-manifest", format!("{errors:#}"))
    }
}

impl From<RegistryError> for Refusal {
    fn from(error: RegistryError) -> Self {
        let code = match &error {
            RegistryError::NoArtifact { .. } => "unknown-artifact",
            RegistryError::Mismatch { .. } => "damaged-artifact",
            _ => "registry",
        };
        Self::new(code, error.to_string())
    }
}
