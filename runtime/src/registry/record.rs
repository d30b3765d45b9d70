//! A revision as its file has it.

use std::collections::{BTreeMap, BTreeSet};

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
    pub put: Vec<SetRef>,
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
pub struct ClassContent {
    /// Manifests of which at least one node is in force.
    pub sets: Vec<SetRef>,
    /// Each deployed node with the number of its manifest in `sets`.
    pub nodes: BTreeMap<NodeId, usize>,
    /// Nodes of the host's that were removed.
    pub removed: BTreeSet<NodeId>,
    /// Nodes that compute nothing until they are resumed.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub paused: BTreeSet<NodeId>,
    /// The facts about keys that lie over the host's, if any do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attributes: Option<Digest>,
}

impl ClassContent {
    /// The manifest and artifacts of a node.
    pub fn set_of(&self, node: &NodeId) -> Option<&SetRef> {
        self.sets.get(*self.nodes.get(node)?)
    }

    /// Puts nodes of one manifest.
    pub fn put(&mut self, set: &SetRef, nodes: impl IntoIterator<Item = NodeId>) {
        let index = self.sets.iter().position(|known| known == set).unwrap_or_else(|| {
            self.sets.push(set.clone());
            self.sets.len() - 1
        });
        for node in nodes {
            self.removed.remove(&node);
            self.nodes.insert(node, index);
        }
        self.tidy();
    }

    /// Takes a node out; `of_host` when the host starts with a node of that name.
    pub fn remove(&mut self, node: &NodeId, of_host: bool) {
        self.nodes.remove(node);
        self.paused.remove(node);
        if of_host {
            self.removed.insert(node.clone());
        }
        self.tidy();
    }

    /// Puts a node of the host's back that was removed.
    pub fn give_back(&mut self, node: &NodeId) {
        self.removed.remove(node);
    }

    /// Pauses and resumes.
    pub fn decide(&mut self, decided: &Decided) {
        self.paused.retain(|node| !decided.resume.contains(node));
        self.paused.extend(decided.pause.iter().cloned());
    }

    /// Forgets manifests of which no node is left.
    fn tidy(&mut self) {
        let used: BTreeSet<usize> = self.nodes.values().copied().collect();
        let old = std::mem::take(&mut self.sets);
        let mut moved = BTreeMap::new();
        for (index, set) in old.into_iter().enumerate().filter(|(index, _)| used.contains(index)) {
            moved.insert(index, self.sets.len());
            self.sets.push(set);
        }
        self.nodes.values_mut().for_each(|index| *index = moved[&*index]);
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
    /// Every artifact and manifest that it refers to.
    pub fn refers_to(&self) -> impl Iterator<Item = Digest> {
        let sets = self.put.iter().chain(self.content.values().flat_map(|content| &content.sets));
        let facts = self.content.values().filter_map(|content| content.attributes);
        sets.flat_map(|set| std::iter::once(set.manifest).chain(set.artifacts.values().copied())).chain(facts)
    }
}
