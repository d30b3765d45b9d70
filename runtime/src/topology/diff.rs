//! What changes from one plan to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::node::Node;
use super::plan::{ClassPlan, PlanNode};
use crate::words::{Key, NodeId, Revision, StreamName};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "change")]
pub enum Change {
    /// A node begins to run.
    Add {
        /// Its name.
        node: NodeId,
        /// What it needs and provides, for people.
        wiring: String,
        /// The revision it is born in.
        born: Revision,
    },
    /// A node runs something else.
    Replace {
        /// Its name.
        node: NodeId,
        /// Whether its state stays.
        state_kept: bool,
        /// The revision it was born in.
        born: Revision,
    },
    /// A node does the same, and its state begins anew.
    Reset {
        /// Its name.
        node: NodeId,
        /// The revision it was born in.
        born: Revision,
    },
    /// A node computes nothing from now on, and keeps its state.
    Pause {
        /// Its name.
        node: NodeId,
    },
    /// A node failed for too many keys and computes nothing from now on; it keeps its state.
    Quarantine {
        /// Its name.
        node: NodeId,
    },
    /// A node computes again: it is not paused, and its quarantines end.
    Resume {
        /// Its name.
        node: NodeId,
    },
    /// A node does the same, but its neighbours changed.
    Rewire {
        /// Its name.
        node: NodeId,
        /// The revision it was born in.
        born: Revision,
    },
    /// A node is accepted, but waits for providers.
    Wait {
        /// Its name.
        node: NodeId,
        /// What nobody provides yet.
        lacks: Vec<StreamName>,
    },
    /// A node is accepted, but no sink asks for what it provides.
    Unused {
        /// Its name.
        node: NodeId,
    },
    /// Other facts about keys hold.
    Attributes,
    /// A node ends.
    Remove {
        /// Its name.
        node: NodeId,
    },
}

impl Change {
    /// The node it is about, if it is about one.
    pub fn node(&self) -> Option<&NodeId> {
        match self {
            Self::Attributes => None,
            Self::Add { node, .. }
            | Self::Replace { node, .. }
            | Self::Reset { node, .. }
            | Self::Pause { node }
            | Self::Quarantine { node }
            | Self::Resume { node }
            | Self::Rewire { node, .. }
            | Self::Wait { node, .. }
            | Self::Unused { node }
            | Self::Remove { node } => Some(node),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add { wiring, .. } => write!(f, "+ {wiring}"),
            Self::Replace { node, state_kept: true, .. } => write!(f, "~ {node}: replaced, its state stays"),
            Self::Replace { node, state_kept: false, .. } => write!(f, "~ {node}: replaced, its state begins anew"),
            Self::Reset { node, .. } => write!(f, "~ {node}: its state begins anew"),
            Self::Pause { node } => write!(f, "~ {node}: paused, its state stays"),
            Self::Quarantine { node } => write!(f, "~ {node}: in quarantine for all keys, its state stays"),
            Self::Resume { node } => write!(f, "~ {node}: resumed"),
            Self::Rewire { node, .. } => write!(f, "~ {node}: rewired"),
            Self::Wait { node, lacks } => {
                let lacks: Vec<String> = lacks.iter().map(|stream| format!("`{stream}`")).collect();
                write!(f, "? {node}: waits for {}", lacks.join(", "))
            }
            Self::Unused { node } => write!(f, "? {node}: runs once a sink asks for it"),
            Self::Attributes => f.write_str("~ attributes of keys"),
            Self::Remove { node } => write!(f, "- {node}"),
        }
    }
}

/// The ordered difference of two plans: removed, then added in their order, then replaced and rewired.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Changes(pub Vec<Change>);

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing changes");
        }
        for (index, change) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{change}")?;
        }
        Ok(())
    }
}

/// What runs, reduced to identities: the value that [`replay`] rebuilds.
pub type Identities = BTreeMap<NodeId, Revision>;

/// The running nodes of a plan with their births.
pub fn identities(plan: &ClassPlan) -> Identities {
    plan.nodes().map(|node| (node.name.clone(), node.born)).collect()
}

/// The difference of two plans of one class.
pub fn diff(old: &ClassPlan, new: &ClassPlan) -> Changes {
    diff_of_keys(old, new, &new.keys_changed_since(old))
}

/// The same where the keys whose own nodes differ are known.
pub(crate) fn diff_of_keys(old: &ClassPlan, new: &ClassPlan, keys: &[Key]) -> Changes {
    let mut changes = Vec::new();
    let (mut removed, mut added, mut changed) = (Vec::new(), Vec::new(), Vec::new());
    if old.base.revision != new.base.revision {
        pairs(&old.base.nodes, &new.base.nodes, &mut removed, &mut added, &mut changed);
    }
    for key in keys {
        pairs(old.own_nodes_of(key), new.own_nodes_of(key), &mut removed, &mut added, &mut changed);
    }
    let (before, after) = (&old.base.attributes, &new.base.attributes);
    if !Arc::ptr_eq(before, after) && before != after {
        changed.push(Change::Attributes);
    }
    changes.extend(removed);
    changes.extend(added);
    changes.extend(changed);
    changes.extend(idle(old, new));
    Changes(changes)
}

/// Nodes that are accepted and do not run, where that is new.
fn idle(old: &ClassPlan, new: &ClassPlan) -> Vec<Change> {
    let (before, after) = (&old.base, &new.base);
    let waiting = after.pending.iter().filter(|(node, lacks)| before.pending.get(*node) != Some(lacks));
    let waiting = waiting.map(|(node, lacks)| Change::Wait { node: node.clone(), lacks: lacks.clone() });
    let known: BTreeSet<&NodeId> = before.unused.iter().collect();
    let unused = after.unused.iter().filter(|node| !known.contains(node));
    waiting.chain(unused.map(|node| Change::Unused { node: node.clone() })).collect()
}

fn pairs(
    old: &[Arc<PlanNode>],
    new: &[Arc<PlanNode>],
    removed: &mut Vec<Change>,
    added: &mut Vec<Change>,
    changed: &mut Vec<Change>,
) {
    let before: BTreeMap<&NodeId, &Arc<PlanNode>> = old.iter().map(|node| (&node.name, node)).collect();
    let after: BTreeMap<&NodeId, &Arc<PlanNode>> = new.iter().map(|node| (&node.name, node)).collect();
    removed.extend(
        before.keys().filter(|name| !after.contains_key(*name)).map(|name| Change::Remove { node: (*name).clone() }),
    );
    for node in new {
        let (name, born) = (node.name.clone(), node.born);
        match before.get(&node.name) {
            None => added.push(Change::Add { wiring: wiring(node), node: name, born }),
            Some(before) if before.born != born && before.node.same(&node.node) => {
                changed.push(Change::Reset { node: name, born });
            }
            Some(before) if before.born != born => {
                changed.push(Change::Replace { node: name, state_kept: false, born });
            }
            Some(before) if !Arc::ptr_eq(&before.node, &node.node) && !before.node.same(&node.node) => {
                changed.push(Change::Replace { node: name, state_kept: true, born });
            }
            Some(before) if before.takes != node.takes => changed.push(Change::Rewire { node: name, born }),
            Some(_) => {}
        }
        let Some(before) = before.get(&node.name) else { continue };
        if node.paused() && !before.paused() {
            changed.push(Change::Pause { node: node.name.clone() });
        } else if node.quarantined() && !before.quarantined() {
            changed.push(Change::Quarantine { node: node.name.clone() });
        } else if (before.paused(), before.quarantined()) != (node.paused(), node.quarantined())
            || before.resumed() < node.resumed()
        {
            changed.push(Change::Resume { node: node.name.clone() });
        }
    }
}

/// `id: needs → provides`, as `preview` prints it.
pub fn wiring(node: &PlanNode) -> String {
    let takes: Vec<String> = node.takes.iter().map(|(name, _)| name.to_string()).collect();
    wired(&node.name, &node.node, &takes)
}

/// The same of a node that does not run.
pub fn declared_wiring(node: &Node) -> String {
    wired(&node.name(), node, &[])
}

fn wired(name: &NodeId, node: &Node, takes: &[String]) -> String {
    let needs: Vec<String> = node.needs.iter().map(ToString::to_string).collect();
    let provides: Vec<String> = node.provides.iter().map(|(name, _)| name.to_string()).collect();
    let from = if needs.is_empty() { takes.join(", ") } else { needs.join(", ") };
    match (from.is_empty(), provides.is_empty()) {
        (true, _) => format!("{name}: → {}", provides.join(", ")),
        (false, true) => format!("{name}: {from} →"),
        (false, false) => format!("{name}: {from} → {}", provides.join(", ")),
    }
}

/// Carries out changes on what ran before: what runs then.
pub fn replay(before: &Identities, changes: &Changes) -> Identities {
    let mut after = before.clone();
    for change in &changes.0 {
        match change {
            Change::Attributes
            | Change::Pause { .. }
            | Change::Quarantine { .. }
            | Change::Resume { .. }
            | Change::Wait { .. }
            | Change::Unused { .. } => {}
            Change::Remove { node } => {
                after.remove(node);
            }
            Change::Add { node, born, .. }
            | Change::Replace { node, born, .. }
            | Change::Reset { node, born }
            | Change::Rewire { node, born } => {
                after.insert(node.clone(), *born);
            }
        }
    }
    after
}
