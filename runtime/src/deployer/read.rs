//! From a change set to nodes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::change::{Artifact, ChangeSet, Refusal};
use crate::registry::{RegistryError, RegistryFolder, SetRef, digest_of};
use crate::topology::manifest::GivenArtifacts;
use crate::topology::{Manifest, ManifestErrors, Node, Registry};
use crate::traits::Digest;
use crate::words::{Class, NodeId};

/// A change set that was understood.
pub(super) struct Understood {
    /// The topology that its manifests are for.
    pub(super) topology: Option<Class>,
    pub(super) nodes: Vec<Node>,
    /// Each manifest with the names of its nodes.
    pub(super) sets: Vec<(Arc<SetRef>, Vec<NodeId>)>,
}

/// A manifest of a change set.
pub(super) struct Sent {
    manifest: Result<Manifest, ManifestErrors>,
    /// It and what it names, by content.
    pub(super) set: Arc<SetRef>,
}

/// Reads the manifests of a change set; those that are wrong name no artifacts.
pub(super) fn read(change: &ChangeSet) -> Vec<Sent> {
    let sent = |text: &String| {
        let manifest = Manifest::from_text(text);
        let is_named = |name: &String| manifest.as_ref().is_ok_and(|manifest| manifest.names_artifact(name));
        let artifacts = change.artifacts.iter().filter(|(name, _)| is_named(name));
        let artifacts = artifacts.map(|(name, (digest, _))| (name.clone(), *digest)).collect();
        Sent { set: Arc::new(SetRef { manifest: digest_of(text.as_bytes()), artifacts }), manifest }
    };
    change.manifests.iter().map(sent).collect()
}

/// Makes the nodes of a change set whose manifests were read.
pub(super) fn understand(
    change: &ChangeSet,
    sent: &[Sent],
    operators: &Registry,
    kept: impl Fn(Digest) -> Result<Vec<u8>, RegistryError>,
) -> Result<Understood, Refusal> {
    // Those that a manifest names, each once: many names may stand for one.
    let named: BTreeSet<&String> = sent.iter().flat_map(|sent| sent.set.artifacts.keys()).collect();
    let named = || change.artifacts.iter().filter(|(name, _)| named.contains(name));
    let of_folder = named().filter(|(_, (_, artifact))| matches!(artifact, Artifact::Kept(_)));
    let loaded = load_each(of_folder.map(|(_, (digest, _))| *digest), kept)?;
    let mut given = GivenArtifacts::new();
    for (name, (digest, artifact)) in named() {
        let bytes = match artifact {
            Artifact::Bytes(bytes) => &bytes[..],
            Artifact::Kept(_) => &loaded[digest][..],
        };
        given.insert(name.clone(), Cow::Borrowed(bytes));
    }
    let mut understood = Understood { topology: change.topology.clone(), nodes: Vec::new(), sets: Vec::new() };
    let mut unused: BTreeSet<&String> = change.artifacts.keys().collect();
    let mut wrong: Vec<String> = Vec::new();
    for Sent { manifest, set } in sent {
        let manifest = match manifest {
            Ok(manifest) => manifest,
            Err(errors) => {
                wrong.push(format!("{errors:#}"));
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
                understood.sets.push((Arc::clone(set), nodes.iter().map(Node::name).collect()));
                understood.nodes.extend(nodes);
            }
            Err(errors) => wrong.push(format!("{errors:#}")),
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

/// Contents by hash, each loaded once.
fn load_each(
    digests: impl Iterator<Item = Digest>,
    load: impl Fn(Digest) -> Result<Vec<u8>, RegistryError>,
) -> Result<BTreeMap<Digest, Vec<u8>>, RegistryError> {
    digests.collect::<BTreeSet<_>>().into_iter().map(|digest| Ok((digest, load(digest)?))).collect()
}

/// The nodes of a manifest that is kept, by name.
pub(super) fn nodes_of(
    folder: &RegistryFolder,
    operators: &Registry,
    set: &SetRef,
) -> Result<BTreeMap<NodeId, Node>, Refusal> {
    let text = folder.load(set.manifest)?;
    let text = String::from_utf8_lossy(&text);
    let loaded = load_each(set.artifacts.values().copied(), |digest| folder.load(digest))?;
    let given = |(name, digest): (&String, &Digest)| (name.clone(), Cow::Borrowed(&loaded[digest][..]));
    let given: GivenArtifacts<'_> = set.artifacts.iter().map(given).collect();
    let nodes = Manifest::from_text(&text)?.nodes_with(operators, &given)?;
    Ok(nodes.into_iter().map(|node| (node.name(), node)).collect())
}
