//! A topology: the nodes that a class of keys gets.

use std::fmt;

use super::attributes::Attributes;
use super::build::IntoNode;
use super::node::Node;
use crate::words::{Class, NodeId};

/// What the user wants for a class of keys ("pump"): a set of nodes, applied to every key of the class.
#[derive(Clone)]
pub struct Topology {
    class: Class,
    nodes: Vec<Node>,
    attributes: Attributes,
    paused: Vec<NodeId>,
}

impl fmt::Debug for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Topology of `{}` with {} nodes", self.class, self.nodes.len())
    }
}

impl Topology {
    /// A topology without nodes for a class of keys.
    pub fn new(class: impl Into<Class>) -> Self {
        Self { class: class.into(), nodes: Vec::new(), attributes: Attributes::new(), paused: Vec::new() }
    }

    /// Adds a node.
    #[must_use]
    pub fn with(mut self, node: impl IntoNode) -> Self {
        self.nodes.push(node.into_node());
        self
    }

    /// Adds many nodes.
    #[must_use]
    pub fn with_all(mut self, nodes: impl IntoIterator<Item = Node>) -> Self {
        self.nodes.extend(nodes);
        self
    }

    /// What is known of the keys beside their rows.
    #[must_use]
    pub fn attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes;
        self
    }

    /// Nodes that compute nothing until they are resumed; see [`Deployment::pause`](crate::Deployment::pause).
    #[must_use]
    pub fn paused(mut self, nodes: impl IntoIterator<Item = NodeId>) -> Self {
        self.paused.extend(nodes);
        self
    }

    /// The class it is for.
    pub fn class(&self) -> &Class {
        &self.class
    }

    /// Its nodes, in the order they were added.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// The nodes that begin paused.
    pub fn paused_nodes(&self) -> impl Iterator<Item = &NodeId> {
        self.paused.iter()
    }

    /// What is known of the keys beside their rows.
    pub fn known_attributes(&self) -> &Attributes {
        &self.attributes
    }
}
