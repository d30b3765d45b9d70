//! From a change set to nodes.

use std::collections::{BTreeMap, BTreeSet};

use super::change::{Artifact, ChangeSet, Refusal};
use crate::registry::{RegistryError, RegistryFolder, SetRef, digest_of};
use crate::topology::manifest::{GivenArtifacts, Run};
use crate::topology::{Manifest, Node, Registry};
use crate::traits::Digest;
use crate::words::{Class, NodeId};

/// A change set that was understood.
pub(super) struct Understood {
    /// The topology that its manifests are for.
    pub(super) topology: Option<Class>,
    pub(super) nodes: Vec<Node>,
    /// Each manifest with the names of its nodes.
    pub(super) sets: Vec<(SetRef, Vec<NodeId>)>,
}

/// What is sent, by content.
pub(super) fn sets_of(change: &ChangeSet) -> Vec<SetRef> {
    let digests: BTreeMap<String, Digest> =
        change.artifacts.iter().map(|(name, artifact)| (name.clone(), artifact.digest())).collect();
    let set = |text: &String| {
        let names = Manifest::from_text(text).map(|manifest| names_of(&manifest));
        let is_named = |name: &String| names.as_ref().is_ok_and(|names| names.iter().any(|named| named.is(name)));
        let artifacts = digests.iter().filter(|(name, _)| is_named(name));
        let artifacts = artifacts.map(|(name, digest)| (name.clone(), *digest)).collect();
        SetRef { manifest: digest_of(text.as_bytes()), artifacts }
    };
    change.manifests.iter().map(set).collect()
}

/// Makes the nodes of a change set.
pub(super) fn understand(
    change: &ChangeSet,
    operators: &Registry,
    kept: impl Fn(Digest) -> Result<Vec<u8>, RegistryError>,
) -> Result<Understood, Refusal> {
    let mut given = GivenArtifacts::new();
    for (name, artifact) in &change.artifacts {
        let bytes = match artifact {
            Artifact::Bytes(bytes) => bytes.clone(),
            Artifact::Kept(digest) => kept(*digest)?,
        };
        given.insert(name.clone(), bytes);
    }
    let mut understood = Understood { topology: change.topology.clone(), nodes: Vec::new(), sets: Vec::new() };
    let mut unused: BTreeSet<&String> = change.artifacts.keys().collect();
    let mut wrong: Vec<String> = Vec::new();
    for (text, set) in change.manifests.iter().zip(sets_of(change)) {
        let manifest = match Manifest::from_text(text) {
            Ok(manifest) => manifest,
            Err(errors) => {
                wrong.push(errors.to_string());
                continue;
            }
        };
        match &understood.topology {
            Some(other) if other != manifest.topology() => {
                let reason = format!(
                    "one change set is for one topology, but this one names `{other}` and `{}`; send two",
                    manifest.topology()
                );
                return Err(Refusal::new("several-topologies", reason));
            }
            _ => understood.topology = Some(manifest.topology().clone()),
        }
        unused.retain(|name| !set.artifacts.contains_key(*name));
        match manifest.nodes_with(operators, &given) {
            Ok(nodes) => {
                understood.sets.push((set, nodes.iter().map(Node::name).collect()));
                understood.nodes.extend(nodes);
            }
            Err(errors) => wrong.push(errors.to_string()),
        }
    }
    if !wrong.is_empty() {
        return Err(Refusal::new("bad-manifest", wrong.join("\n")));
    }
    match unused.first() {
        Some(name) => {
            let name = name.escape_debug();
            let reason = format!("the artifact `{name}` was sent, but no manifest names it; name it, or leave it out");
            Err(Refusal::new("unused-artifact", reason))
        }
        None => Ok(understood),
    }
}

/// The nodes of a manifest that is kept, by name.
pub(super) fn nodes_of(
    folder: &RegistryFolder,
    operators: &Registry,
    set: &SetRef,
) -> Result<BTreeMap<NodeId, Node>, Refusal> {
    let text = folder.load(set.manifest)?;
    let text = String::from_utf8_lossy(&text);
    let mut given = GivenArtifacts::new();
    for (name, digest) in &set.artifacts {
        given.insert(name.clone(), folder.load(*digest)?);
    }
    let nodes = Manifest::from_text(&text)?.nodes_with(operators, &given)?;
    Ok(nodes.into_iter().map(|node| (node.name(), node)).collect())
}

/// How a manifest calls an artifact.
enum Named {
    /// By this name.
    One(String),
    /// By all names with this beginning and end.
    Family(String, String),
}

impl Named {
    fn is(&self, name: &str) -> bool {
        match self {
            Self::One(own) => own == name,
            Self::Family(before, after) => {
                name.strip_prefix(before.as_str()).is_some_and(|rest| rest.ends_with(after.as_str()))
            }
        }
    }
}

fn names_of(manifest: &Manifest) -> Vec<Named> {
    let mut names = Vec::new();
    for node in manifest.declared() {
        let Run::Model(model) = &node.run else { continue };
        names.push(match model.path.split_once("{key}") {
            Some((before, after)) => Named::Family(before.to_owned(), after.to_owned()),
            None => Named::One(model.path.clone()),
        });
        names.extend(model.default.clone().map(Named::One));
    }
    names
}
