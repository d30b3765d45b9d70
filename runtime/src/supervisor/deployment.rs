//! What is asked of a running system, and what is answered.

use std::sync::Arc;
use std::time::Duration;

use crate::actor::driver::SwitchPosition;
use crate::topology::Attributes;
use crate::topology::diff::Changes;
use crate::topology::node::Node;
use crate::traits::Model;
use crate::words::{Class, Key, NodeId, Revision};

/// The artifact of a key in a family; `None` takes it away.
pub(super) type Member = (NodeId, Key, Option<Arc<dyn Model>>);

/// A set of changes that apply as one or not at all.
#[derive(Clone, Debug, Default)]
pub struct Deployment {
    pub(crate) class: Option<Class>,
    pub(crate) put: Vec<Node>,
    pub(crate) remove: Vec<NodeId>,
    pub(crate) back_to: Option<Revision>,
    pub(crate) attributes: Option<Attributes>,
    pub(crate) members: Vec<Member>,
    pub(crate) pause: Vec<NodeId>,
    pub(crate) quarantine: Vec<NodeId>,
    pub(crate) resume: Vec<NodeId>,
    pub(crate) reset: Vec<NodeId>,
    /// Whether states may be lost without a `reset` for each.
    pub(crate) may_lose_state: bool,
    /// The number that its revision shall have, if none so high is in use.
    pub(crate) number: Option<Revision>,
    /// How long trying out and staging may take together.
    pub(crate) limit: Option<Duration>,
    /// Whether it changes nothing but the host's subscriptions.
    pub(crate) only_subscriptions: bool,
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

    /// Makes a node compute nothing: the outputs of its rows are missing, and its state stays. Later versions of it are
    /// paused too, until [`Deployment::resume`].
    #[must_use]
    pub fn pause(mut self, node: impl Into<NodeId>) -> Self {
        self.pause.push(node.into());
        self
    }

    /// Makes a node compute nothing for any key, as it fails for many, until it is resumed or replaced.
    pub(crate) fn quarantine(mut self, node: NodeId) -> Self {
        self.quarantine.push(node);
        self
    }

    /// Lets a node compute again that is paused, and ends its quarantines.
    #[must_use]
    pub fn resume(mut self, node: impl Into<NodeId>) -> Self {
        self.resume.push(node.into());
        self
    }

    /// Lets the state of a node begin anew. A node whose new version cannot have the state of the one before is refused
    /// without.
    #[must_use]
    pub fn reset(mut self, node: impl Into<NodeId>) -> Self {
        self.reset.push(node.into());
        self
    }

    /// Does not need a `reset` for each node that loses its state.
    pub(crate) fn may_lose_state(mut self) -> Self {
        self.may_lose_state = true;
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
