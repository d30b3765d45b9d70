//! The shape of a forest: its nodes as a file lists them, checked and brought to one form of comparison.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use gristmill::traits::LoadError;

use super::budget::Part;
use super::lower::Lowering;
use super::node::Node;
use crate::model::forest::{self, Tree};

// What is taken from the budget while a forest is read; when it is laid out, only what stays.
/// Bytes for a tree node: its entry in the index, its place, its comparison as it is read and as it is laid out.
const NODE_BYTES: usize = 128;
/// Bytes for a tree: the ends of its lists, half filled.
const TREE_BYTES: usize = 256;

/// The attributes of a forest's nodes.
pub(crate) const NODES: [&str; 11] = [
    "nodes_treeids",
    "nodes_nodeids",
    "nodes_featureids",
    "nodes_values",
    "nodes_values_as_tensor",
    "nodes_modes",
    "nodes_truenodeids",
    "nodes_falsenodeids",
    "nodes_missing_value_tracks_true",
    "nodes_hitrates",
    "nodes_hitrates_as_tensor",
];

/// The trees of a node, their leaves not yet filled: where each lies, and the nodes by tree and id.
pub(crate) struct Shape {
    pub(crate) trees: Vec<Tree>,
    /// For each node of the file its tree and its place in it.
    pub(crate) places: Vec<(u32, u32)>,
    pub(crate) index: HashMap<(i64, i64), usize>,
}

impl Shape {
    /// The trees; what else was needed to read them is let go of before they are laid out.
    pub(crate) fn into_trees(self) -> Vec<Tree> {
        self.trees
    }
}

/// Reads the nodes of the trees, checks them, and brings every comparison to the one form of [`forest::Node`].
pub(crate) fn shape(lowering: &mut Lowering, node: Node<'_>, inputs: usize) -> Result<Shape, LoadError> {
    let (tree_ids, node_ids) = (node.ints("nodes_treeids"), node.ints("nodes_nodeids"));
    let (features, modes) = (node.ints("nodes_featureids"), node.strings("nodes_modes"));
    let (low, high) = (node.ints("nodes_truenodeids"), node.ints("nodes_falsenodeids"));
    let values = node.floats_or_tensor("nodes_values", &mut lowering.budget)?;
    let missing = node.ints("nodes_missing_value_tracks_true");
    let lengths = [node_ids.len(), features.len(), modes.len(), low.len(), high.len(), values.len()];
    let count = tree_ids.len();
    if count == 0 || lengths.iter().any(|length| *length != count) || !(missing.is_empty() || missing.len() == count) {
        return Err(node.refused(format!("the lists of its {count} nodes differ in length, or are empty")));
    }
    let mut shape = places(lowering, node, tree_ids, node_ids)?;
    let mut has_parent = vec![false; count];
    for at in 0..count {
        let mode = modes[at].as_slice();
        if mode == b"LEAF" {
            continue;
        }
        let child = |id: i64| {
            let child = shape.index.get(&(tree_ids[at], id)).copied();
            child.ok_or_else(|| node.refused(format!("tree {} has no node {id}", tree_ids[at])))
        };
        let (yes, no) = (child(low[at])?, child(high[at])?);
        has_parent[yes] = true;
        has_parent[no] = true;
        let feature = u16::try_from(features[at]).ok().filter(|feature| usize::from(*feature) < inputs);
        let Some(feature) = feature else {
            return Err(node.refused(format!("a tree compares column {} of {inputs}", features[at])));
        };
        let comparison =
            Comparison { feature, value: values[at], missing: missing.get(at).is_some_and(|flag| *flag != 0) };
        if matches!(mode, b"BRANCH_EQ" | b"BRANCH_NEQ") {
            lowering.take(node, Part::Forests, 1, NODE_BYTES)?; // it takes a second node
        }
        let (tree, place) = shape.places[at];
        let nodes = &mut shape.trees[tree as usize].nodes;
        comparison.put(node, mode, nodes, place as usize, (shape.places[yes].1, shape.places[no].1))?;
    }
    let mut rooted = vec![false; shape.trees.len()];
    for at in (0..count).filter(|at| !has_parent[*at]) {
        let (tree, place) = shape.places[at];
        if std::mem::replace(&mut rooted[tree as usize], true) {
            return Err(node.refused(format!("tree {} has two roots", tree_ids[at])));
        }
        shape.trees[tree as usize].root = place;
    }
    if rooted.contains(&false) || shape.trees.iter().any(|tree| !is_connected(tree)) {
        return Err(node.refused("a tree runs in a circle"));
    }
    Ok(shape)
}

/// The trees with a place for each of their nodes.
fn places(lowering: &mut Lowering, node: Node<'_>, tree_ids: &[i64], node_ids: &[i64]) -> Result<Shape, LoadError> {
    let count = tree_ids.len();
    lowering.take(node, Part::Forests, count, NODE_BYTES)?;
    let mut shape =
        Shape { trees: Vec::new(), places: Vec::with_capacity(count), index: HashMap::with_capacity(count) };
    let mut tree_of = HashMap::new();
    for (at, id) in tree_ids.iter().zip(node_ids).enumerate() {
        let tree = match tree_of.entry(*id.0) {
            Entry::Occupied(tree) => *tree.get(),
            Entry::Vacant(place) => {
                lowering.take(node, Part::Forests, 1, TREE_BYTES)?;
                shape.trees.push(Tree { nodes: Vec::new(), root: 0 });
                *place.insert(shape.trees.len() - 1)
            }
        };
        if shape.index.insert((*id.0, *id.1), at).is_some() {
            return Err(node.refused(format!("tree {} has two nodes {}", id.0, id.1)));
        }
        shape.places.push((tree as u32, shape.trees[tree].nodes.len() as u32));
        shape.trees[tree].nodes.push(forest::Node::Leaf(0));
    }
    Ok(shape)
}

/// Whether every node follows from the root. What does not, though it has a parent, is a circle.
fn is_connected(tree: &Tree) -> bool {
    let mut seen = vec![false; tree.nodes.len()];
    let mut stack = vec![tree.root];
    while let Some(index) = stack.pop() {
        if !std::mem::replace(&mut seen[index as usize], true)
            && let forest::Node::Split { low, high, .. } = tree.nodes[index as usize]
        {
            stack.extend([low, high]);
        }
    }
    !seen.contains(&false)
}

/// A comparison of the file.
struct Comparison {
    feature: u16,
    value: f32,
    /// Whether NaN counts as true.
    missing: bool,
}

impl Comparison {
    /// Puts the comparison in its place; an equality takes a second node. NaN is false but for `!=`, unless the flag
    /// sends it to the true branch.
    fn put(
        &self,
        node: Node<'_>,
        mode: &[u8],
        nodes: &mut Vec<forest::Node>,
        place: usize,
        (yes, no): (u32, u32),
    ) -> Result<(), LoadError> {
        let (value, missing) = (self.value, self.missing);
        let split = |threshold, nan_high, low, high| forest::Node::Split {
            feature: self.feature,
            threshold,
            nan_high,
            low,
            high,
        };
        let strict = !matches!(mode, b"BRANCH_LEQ" | b"BRANCH_GT");
        if value.is_nan() || (strict && value == f32::NEG_INFINITY) {
            return Err(node.refused(format!("a tree compares with {value}")));
        }
        nodes[place] = match mode {
            b"BRANCH_LEQ" => split(value, !missing, yes, no),
            b"BRANCH_LT" => split(value.next_down(), !missing, yes, no),
            b"BRANCH_GT" => split(value, missing, no, yes),
            b"BRANCH_GTE" => split(value.next_down(), missing, no, yes),
            b"BRANCH_EQ" | b"BRANCH_NEQ" => {
                let equal = mode == b"BRANCH_EQ";
                let (same, other) = if equal { (yes, no) } else { (no, yes) };
                let nan_same = equal && missing;
                let second = nodes.len() as u32;
                nodes.push(split(value.next_down(), nan_same, other, same));
                split(value, !nan_same, second, other)
            }
            other => {
                let mode = String::from_utf8_lossy(other).into_owned();
                return Err(node.refused(format!("mode {mode} is not supported")));
            }
        };
        Ok(())
    }
}
