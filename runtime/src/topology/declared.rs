//! What users have declared for a class, before it is resolved.

use std::collections::BTreeMap;
use std::sync::Arc;

use immutable_chunkmap::map::MapM;

use super::attributes::Attributes;
use super::graph::Topology;
use super::held::{AllHeld, hold};
use super::node::Node;
use crate::traits::Axes;
use crate::words::{Class, Key, NodeId};

/// All nodes that are declared for a class. A value: changing it leaves others that share its parts alone.
#[derive(Clone)]
pub struct Declared {
    /// The class.
    pub class: Class,
    /// Nodes of many keys, by name.
    pub base: BTreeMap<NodeId, Arc<Node>>,
    /// Nodes of one key each, by key.
    pub exact: MapM<Key, Arc<BTreeMap<NodeId, Arc<Node>>>>,
    /// How many those are.
    pub own_nodes: usize,
    /// What is known of keys.
    pub attributes: Arc<Attributes>,
    /// What was decided about nodes while they ran.
    pub held: AllHeld,
    /// What the source brings.
    pub axes: Axes,
    /// Nodes that are left out, as another of their name differs: nothing can be made of what is declared then.
    pub twice: Vec<Arc<Node>>,
}

impl Declared {
    /// Nothing yet.
    pub fn nothing(class: Class, axes: Axes) -> Self {
        Self {
            class,
            base: BTreeMap::new(),
            exact: MapM::default(),
            own_nodes: 0,
            attributes: Arc::default(),
            held: AllHeld::default(),
            axes,
            twice: Vec::new(),
        }
    }

    /// The nodes of single keys.
    pub(crate) fn own(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.exact.into_iter().flat_map(|(_, nodes)| nodes.values())
    }

    /// All nodes: those of the class, then those of single keys.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.base.values().chain(self.own())
    }

    /// What a topology declares. Of two nodes of one name that differ it has the first, and the other among
    /// [`Declared::twice`].
    pub fn of(topology: &Topology, axes: Axes) -> Self {
        let mut declared = Self::nothing(topology.class().clone(), axes);
        declared.attributes = Arc::new(topology.known_attributes().clone());
        let mut exact: BTreeMap<Key, BTreeMap<NodeId, Arc<Node>>> = BTreeMap::new();
        for node in topology.nodes() {
            let name = node.name();
            let place = match node.only_key() {
                Some(key) => exact.entry(key.clone()).or_default(),
                None => &mut declared.base,
            };
            match place.get(&name) {
                Some(before) if !before.same(node) => declared.twice.push(Arc::new(node.clone())),
                Some(_) => {}
                None => {
                    place.insert(name, Arc::new(node.clone()));
                }
            }
        }
        for node in topology.paused_nodes() {
            hold(&mut declared.held, node, |held| held.paused = true);
        }
        declared.own_nodes = exact.values().map(BTreeMap::len).sum();
        declared.exact = exact.into_iter().map(|(key, nodes)| (key, Arc::new(nodes))).collect();
        declared
    }

    /// A node by its name in the plan.
    pub fn get(&self, name: &NodeId) -> Option<&Arc<Node>> {
        self.base.get(name).or_else(|| {
            let (_, key) = name.split_once('@')?;
            self.exact.get(key)?.get(name)
        })
    }

    /// Adds a node, or puts it in the place of the one with its name.
    pub fn put(&mut self, node: Arc<Node>) {
        let name = node.name();
        match node.only_key() {
            Some(key) => {
                let mut nodes = self.exact.get(key).map_or_else(BTreeMap::new, |nodes| (**nodes).clone());
                if nodes.insert(name, Arc::clone(&node)).is_none() {
                    self.own_nodes += 1;
                }
                self.exact.insert_cow(key.clone(), Arc::new(nodes));
            }
            None => {
                self.base.insert(name, node);
            }
        }
    }

    /// Takes a node out; `None` when there is none of that name.
    pub fn take(&mut self, name: &NodeId) -> Option<Arc<Node>> {
        self.held.remove_cow(name);
        if let Some(node) = self.base.remove(name) {
            return Some(node);
        }
        let (_, key) = name.split_once('@')?;
        let mut nodes = (**self.exact.get(key)?).clone();
        let node = nodes.remove(name)?;
        self.own_nodes -= 1;
        if nodes.is_empty() {
            self.exact.remove_cow(&Key::from(key));
        } else {
            self.exact.insert_cow(Key::from(key), Arc::new(nodes));
        }
        Some(node)
    }
}
