//! A revision as its file has it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::traits::Digest;
use crate::words::{Class, NodeId, Offset, Revision, Time};

/// One deployment: what was asked for, what became of it, and what is deployed since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number; it rises, and no other deployment ever gets it.
    pub revision: Revision,
    /// The revision that ran when it began.
    pub base: Revision,
    /// The topology that it is for.
    pub topology: Class,
    /// What was done.
    pub kind: Kind,
    /// Who did it.
    pub who: String,
    /// When it began, in microseconds since 1970.
    pub when: Time,
    /// What became of it.
    pub verdict: Verdict,
    /// From which offset on it is in force, by the source's number of the partition; a partition that had no rows before is
    /// not among them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub positions: BTreeMap<u32, Offset>,
    /// The manifests that it put, with their artifacts.
    pub put: Vec<Arc<SetRef>>,
    /// The nodes that it removed.
    pub remove: Vec<NodeId>,
    /// What it decided about nodes beside what they are.
    #[serde(default, skip_serializing_if = "Decided::is_nothing")]
    pub decided: Decided,
    /// The client's key, by which it gets the same answer again.
    pub idempotency: Option<Idempotency>,
    /// A hash of the topologies that the host starts with; what is deployed lies on top of them.
    pub ground: Digest,
    /// All that is deployed on top of what the host starts with, if this was applied, by topology.
    pub content: BTreeMap<Class, ClassContent>,
}

/// What a deployment decided about nodes beside what they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Decided {
    /// Nodes that were paused.
    pub pause: Vec<NodeId>,
    /// Nodes that were resumed.
    pub resume: Vec<NodeId>,
    /// Nodes whose state began anew.
    pub reset: Vec<NodeId>,
}

impl Decided {
    /// Whether nothing was.
    pub fn is_nothing(&self) -> bool {
        self.pause.is_empty() && self.resume.is_empty() && self.reset.is_empty()
    }

    /// All of it, with a word for each.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, &NodeId)> {
        let all = [("pause", &self.pause), ("resume", &self.resume), ("reset", &self.reset)];
        all.into_iter().flat_map(|(word, nodes)| nodes.iter().map(move |node| (word, node)))
    }
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Kind {
    /// The host started with topologies other than before.
    Start,
    /// Nodes were put or removed.
    Deploy,
    /// What the host knows of keys changed.
    Facts,
    /// What was deployed at an earlier revision was deployed again.
    Rollback {
        /// That revision.
        to: Revision,
    },
}

/// What became of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Verdict {
    /// It was begun. Whoever reads this after a restart knows that it was not finished.
    Begun,
    /// It runs.
    Applied {
        /// What changed, a line each.
        changes: String,
    },
    /// It was what ran already.
    Unchanged,
    /// It does not run, and what ran before runs on.
    Refused {
        /// The name of the problem.
        code: String,
        /// All that is wrong, a line each.
        reason: String,
    },
    /// The process ended before it was done; what ran before runs.
    Interrupted,
}

impl Verdict {
    /// Whether what it deployed is in force from then on.
    pub fn in_force(&self) -> bool {
        matches!(self, Self::Applied { .. } | Self::Unchanged)
    }

    /// As in the files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Applied { .. } => "applied",
            Self::Unchanged => "unchanged",
            Self::Refused { .. } => "refused",
            Self::Interrupted => "interrupted",
        }
    }
}

/// A manifest with the artifacts that it names, all by content.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SetRef {
    /// The manifest as it was given.
    pub manifest: Digest,
    /// Its artifacts by the names that it calls them.
    pub artifacts: BTreeMap<String, Digest>,
}

/// What is deployed on top of what the host starts with, for one topology.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "ContentFile", try_from = "ContentFile")]
pub struct ClassContent {
    /// Each deployed node with its manifest, which kept revisions share.
    pub nodes: BTreeMap<NodeId, Arc<SetRef>>,
    /// Nodes of the host's that were removed.
    pub removed: BTreeSet<NodeId>,
    /// Nodes that compute nothing until they are resumed.
    pub paused: BTreeSet<NodeId>,
    /// Nodes that the host begins paused, and that were resumed or removed since.
    pub resumed: BTreeSet<NodeId>,
    /// The facts about keys that lie over the host's, if any do.
    pub attributes: Option<Digest>,
}

impl ClassContent {
    /// The manifests of which at least one node is in force, with these nodes.
    pub fn by_set(&self) -> BTreeMap<&Arc<SetRef>, Vec<&NodeId>> {
        // By address first: comparing two that are equal walks all their artifacts.
        let mut by_address: HashMap<*const SetRef, (&Arc<SetRef>, Vec<&NodeId>)> = HashMap::new();
        for (name, set) in &self.nodes {
            by_address.entry(Arc::as_ptr(set)).or_insert_with(|| (set, Vec::new())).1.push(name);
        }
        let mut by_set: BTreeMap<_, Vec<_>> = BTreeMap::new();
        by_address.into_values().for_each(|(set, names)| by_set.entry(set).or_default().extend(names));
        by_set
    }

    /// Puts nodes of one manifest.
    pub fn put(&mut self, set: &Arc<SetRef>, nodes: impl IntoIterator<Item = NodeId>) {
        for node in nodes {
            self.removed.remove(&node);
            self.nodes.insert(node, Arc::clone(set));
        }
    }

    /// Takes a node out; `of_host` when the host starts with a node of that name.
    pub fn remove(&mut self, node: &NodeId, of_host: bool) {
        self.nodes.remove(node);
        self.paused.remove(node);
        if of_host {
            self.removed.insert(node.clone());
            self.resumed.insert(node.clone());
        }
    }

    /// Puts a node of the host's back that was removed.
    pub fn give_back(&mut self, node: &NodeId) {
        self.removed.remove(node);
    }

    /// Pauses and resumes.
    pub fn decide(&mut self, decided: &Decided) {
        self.paused.retain(|node| !decided.resume.contains(node));
        self.resumed.extend(decided.resume.iter().cloned());
        self.paused.extend(decided.pause.iter().cloned());
    }
}

/// [`ClassContent`] in a file, where a manifest with a thousand nodes is written once.
#[derive(Serialize, Deserialize)]
struct ContentFile {
    sets: Vec<Arc<SetRef>>,
    /// By number in `sets`.
    nodes: BTreeMap<NodeId, usize>,
    removed: BTreeSet<NodeId>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    paused: BTreeSet<NodeId>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    resumed: BTreeSet<NodeId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attributes: Option<Digest>,
}

impl From<ClassContent> for ContentFile {
    fn from(content: ClassContent) -> Self {
        let (mut sets, mut nodes) = (Vec::new(), BTreeMap::new());
        for (number, (set, names)) in content.by_set().into_iter().enumerate() {
            sets.push(Arc::clone(set));
            nodes.extend(names.into_iter().map(|name| (name.clone(), number)));
        }
        let ClassContent { removed, paused, resumed, attributes, .. } = content;
        Self { sets, nodes, removed, paused, resumed, attributes }
    }
}

impl TryFrom<ContentFile> for ClassContent {
    type Error = String;

    fn try_from(file: ContentFile) -> Result<Self, String> {
        let set = |(name, number): (NodeId, usize)| match file.sets.get(number) {
            Some(set) => Ok((name, Arc::clone(set))),
            None => Err(format!("node `{name}` is of manifest {number}, and there are {}", file.sets.len())),
        };
        Ok(Self {
            nodes: file.nodes.into_iter().map(set).collect::<Result<_, _>>()?,
            removed: file.removed,
            paused: file.paused,
            resumed: file.resumed,
            attributes: file.attributes,
        })
    }
}

/// A client's key and what it came with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// The key.
    pub key: String,
    /// A hash of what was asked for.
    pub content: Digest,
}

impl Record {
    /// Lets go of manifests that are `known` already: a hundred kept revisions differ in few.
    pub(super) fn share(&mut self, known: &mut BTreeSet<Arc<SetRef>>) {
        let of_content = self.content.values_mut().flat_map(|content| content.nodes.values_mut());
        let mut met: HashMap<*const SetRef, Arc<SetRef>> = HashMap::new();
        for set in self.put.iter_mut().chain(of_content) {
            let shared = met.entry(Arc::as_ptr(set)).or_insert_with(|| match known.get(set) {
                Some(shared) => Arc::clone(shared),
                None => {
                    known.insert(Arc::clone(set));
                    Arc::clone(set)
                }
            });
            *set = Arc::clone(shared);
        }
    }

    /// Every artifact and manifest that it refers to.
    pub fn refers_to(&self) -> impl Iterator<Item = Digest> {
        let of_content = self.content.values().flat_map(|content| content.by_set().into_keys().map(Arc::as_ref));
        let sets = self.put.iter().map(Arc::as_ref).chain(of_content);
        let facts = self.content.values().filter_map(|content| content.attributes);
        sets.flat_map(|set| std::iter::once(set.manifest).chain(set.artifacts.values().copied())).chain(facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::digest_of;

    fn content() -> ClassContent {
        let set = |text: &[u8]| Arc::new(SetRef { manifest: digest_of(text), artifacts: BTreeMap::new() });
        let mut content = ClassContent::default();
        content.put(&set(b"one"), [NodeId::from("a"), NodeId::from("c")]);
        content.put(&set(b"two"), [NodeId::from("b")]);
        content
    }

    #[test]
    fn a_file_has_each_manifest_once() {
        let mut file = serde_json::to_value(content()).expect("it is plain data");
        assert_eq!(file["sets"].as_array().map(Vec::len), Some(2));
        let read: ClassContent = serde_json::from_value(file.clone()).expect("it was written so");
        assert_eq!(read, content());
        file["nodes"]["b"] = 2.into();
        let error = serde_json::from_value::<ClassContent>(file).expect_err("there are two");
        assert_eq!(error.to_string(), "node `b` is of manifest 2, and there are 2");
    }
}
