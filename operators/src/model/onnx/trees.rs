//! TreeEnsembleRegressor and TreeEnsembleClassifier.

use std::collections::HashMap;

use gristmill::traits::LoadError;

use super::lower::Lowering;
use super::ml::{count, decide, labels, numbers, post_transform};
use super::node::Node;
use crate::model::forest::{self, Ensemble, Leaves, Payload, Rule, Tree};
use crate::model::program::{Action, Decide, Finish, Labels, Span};
use crate::model::transform::PostTransform;

/// The most classes or targets.
const TARGETS_MAX: usize = 4_096;
/// The most weights of all leaves, those that are 0 included: 256 MiB.
const WEIGHTS_MAX: usize = 1 << 26;

const NODES: [&str; 11] = [
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
struct Shape {
    trees: Vec<Tree>,
    /// For each node of the file its tree and its place in it.
    places: Vec<(u32, u32)>,
    index: HashMap<(i64, i64), usize>,
}

/// A weight of a leaf.
#[derive(Clone, Copy)]
struct Weight {
    tree: u32,
    leaf: u32,
    target: usize,
    value: f32,
}

/// Lowers a TreeEnsembleRegressor.
pub(crate) fn regressor(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    let own = [
        "n_targets",
        "target_treeids",
        "target_nodeids",
        "target_ids",
        "target_weights",
        "target_weights_as_tensor",
        "base_values",
        "base_values_as_tensor",
        "aggregate_function",
        "post_transform",
    ];
    node.only(&[&NODES[..], &own].concat())?;
    let x = numbers(lowering, node)?;
    let targets = usize::try_from(node.int("n_targets", 1)).ok().filter(|targets| (1..=TARGETS_MAX).contains(targets));
    let Some(targets) = targets else {
        return Err(node.refused(format!("{} targets; 1 to {TARGETS_MAX} are allowed", node.int("n_targets", 1))));
    };
    let mut shape = shape(node, x.span.width)?;
    let weights = weights(node, "target", &shape, targets)?;
    let base = node.floats_or_tensor("base_values")?;
    if !base.is_empty() && base.len() != targets {
        return Err(node.refused(format!("{} base values for {targets} targets", base.len())));
    }
    let (rule, divide) = match &*node.string("aggregate_function", "SUM") {
        "SUM" => (Rule::Sum, None),
        "AVERAGE" => (Rule::Sum, Some(shape.trees.len() as f32)),
        "MIN" => (Rule::Min, None),
        "MAX" => (Rule::Max, None),
        other => return Err(node.refused(format!("aggregate_function {other} is not supported"))),
    };
    let post = match post_transform(node)? {
        // onnxruntime transforms a single target by PROBIT only, and the exporters write for onnxruntime.
        PostTransform::Logistic | PostTransform::Softmax | PostTransform::SoftmaxZero if targets == 1 => {
            PostTransform::None
        }
        post => post,
    };
    let payload = payload(node, &mut shape.trees, &weights, targets, rule)?;
    let unset = (rule != Rule::Sum).then(|| payload.start());
    let ensemble = Ensemble::new(&shape.trees, payload, x.span.width).map_err(|error| node.refused(error))?;
    let finish = Finish { divide, unset, base: base.into(), post };
    let span = lowering.step(node, Action::Trees { ensemble: ensemble.into(), finish }, x.span, targets)?;
    lowering.define_floats(node, 0, span)
}

/// Lowers a TreeEnsembleClassifier.
pub(crate) fn classifier(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    let own = [
        "class_treeids",
        "class_nodeids",
        "class_ids",
        "class_weights",
        "class_weights_as_tensor",
        "classlabels_int64s",
        "classlabels_strings",
        "base_values",
        "base_values_as_tensor",
        "post_transform",
    ];
    node.only(&[&NODES[..], &own].concat())?;
    let x = numbers(lowering, node)?;
    let labels = labels(node, "classlabels_int64s", "classlabels_strings")?;
    let classes = count(&labels);
    if classes > TARGETS_MAX {
        return Err(node.refused(format!("{classes} classes; {TARGETS_MAX} are allowed")));
    }
    let mut shape = shape(node, x.span.width)?;
    let mut weights = weights(node, "class", &shape, classes)?;
    let base = node.floats_or_tensor("base_values")?;
    let how = how_to_decide(node, &shape.trees, &weights, &labels, base.len())?;
    let scores = if matches!(how, Decide::One { .. }) { 1 } else { classes };
    if scores == 1 {
        weights.iter_mut().for_each(|weight| weight.target = 0);
    }
    let payload = payload(node, &mut shape.trees, &weights, scores, Rule::Sum)?;
    let ensemble = Ensemble::new(&shape.trees, payload, x.span.width).map_err(|error| node.refused(error))?;
    let finish = Finish { divide: None, unset: None, base: base.into(), post: PostTransform::None };
    let span: Span = lowering.step(node, Action::Trees { ensemble: ensemble.into(), finish }, x.span, scores)?;
    decide(lowering, node, span, how, labels)
}

/// What onnxruntime does with the scores of classes: the standard leaves it open, exporters write for onnxruntime.
fn how_to_decide(
    node: Node<'_>,
    trees: &[Tree],
    weights: &[Weight],
    labels: &Labels,
    base: usize,
) -> Result<Decide, LoadError> {
    let post = post_transform(node)?;
    let classes = count(labels);
    let scored = Scored::all(trees, weights, classes);
    let positive = weights.iter().all(|weight| weight.value >= 0.0);
    let threshold = if positive { 0.5 } else { 0.0 };
    if classes > 2 {
        if base != 0 && base != classes {
            return Err(node.refused(format!("{base} base values for {classes} classes")));
        }
        if base == 0 && !positive && scored.contains(&Scored::Sometimes) {
            return Err(
                node.refused("a class that only some leaves of every tree have a weight for, with negative weights")
            );
        }
        let scored = scored.iter().map(|scored| base > 0 || *scored != Scored::Never).collect();
        return Ok(Decide::Largest { scored, post });
    }
    match (scored[0], scored[1], base) {
        (_, Scored::Never, 0 | 1) if post == PostTransform::Probit => {
            Err(node.refused("PROBIT of two classes is not supported"))
        }
        (_, Scored::Never, 0 | 1) => Ok(Decide::One {
            threshold,
            mirrored: !positive && post != PostTransform::Logistic,
            logistic: post == PostTransform::Logistic,
        }),
        (Scored::Never, Scored::Always, 0) => Ok(Decide::Second { threshold, post }),
        (_, Scored::Always, 0 | 1) if scored[0] != Scored::Never => match labels {
            // Then onnxruntime answers 1 or 0 whatever the labels are.
            Labels::Ints(labels) if labels[..] != [0, 1] => {
                Err(node.refused("two classes with weights each and labels other than 0 and 1"))
            }
            _ => Ok(Decide::Second { threshold: 0.0, post }),
        },
        _ => Err(node.refused(format!("two classes with {base} base values and these weights are ambiguous"))),
    }
}

/// Whether the leaves have weights for a class.
#[derive(Clone, Copy, PartialEq)]
enum Scored {
    Never,
    Sometimes,
    /// All leaves of some tree have one.
    Always,
}

impl Scored {
    /// For each class.
    fn all(trees: &[Tree], weights: &[Weight], classes: usize) -> Vec<Self> {
        let mut counts: HashMap<(usize, u32), usize> = HashMap::new();
        for weight in weights {
            *counts.entry((weight.target, weight.tree)).or_default() += 1;
        }
        let leaves = |tree: &Tree| tree.nodes.iter().filter(|node| matches!(node, forest::Node::Leaf(_))).count();
        let leaves: Vec<usize> = trees.iter().map(leaves).collect();
        let mut scored = vec![Self::Never; classes];
        for ((class, tree), count) in counts {
            if count == leaves[tree as usize] {
                scored[class] = Self::Always;
            } else if scored[class] == Self::Never {
                scored[class] = Self::Sometimes;
            }
        }
        scored
    }
}

/// Reads the nodes of the trees, checks them, and brings every comparison to the one form of [`forest::Node`].
fn shape(node: Node<'_>, inputs: usize) -> Result<Shape, LoadError> {
    let (tree_ids, node_ids) = (node.ints("nodes_treeids"), node.ints("nodes_nodeids"));
    let (features, modes) = (node.ints("nodes_featureids"), node.strings("nodes_modes"));
    let (low, high) = (node.ints("nodes_truenodeids"), node.ints("nodes_falsenodeids"));
    let values = node.floats_or_tensor("nodes_values")?;
    let missing = node.ints("nodes_missing_value_tracks_true");
    let lengths = [node_ids.len(), features.len(), modes.len(), low.len(), high.len(), values.len()];
    let count = tree_ids.len();
    if count == 0 || lengths.iter().any(|length| *length != count) || !(missing.is_empty() || missing.len() == count) {
        return Err(node.refused(format!("the lists of its {count} nodes differ in length, or are empty")));
    }
    let mut shape =
        Shape { trees: Vec::new(), places: Vec::with_capacity(count), index: HashMap::with_capacity(count) };
    let mut tree_of = HashMap::new();
    for (at, id) in tree_ids.iter().zip(node_ids).enumerate() {
        let tree = *tree_of.entry(*id.0).or_insert_with(|| {
            shape.trees.push(Tree { nodes: Vec::new(), root: 0 });
            shape.trees.len() - 1
        });
        if shape.index.insert((*id.0, *id.1), at).is_some() {
            return Err(node.refused(format!("tree {} has two nodes {}", id.0, id.1)));
        }
        shape.places.push((tree as u32, shape.trees[tree].nodes.len() as u32));
        shape.trees[tree].nodes.push(forest::Node::Leaf(0));
    }
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

/// Reads the weights of leaves; those of other nodes mean nothing, as in onnxruntime.
fn weights(node: Node<'_>, prefix: &str, shape: &Shape, targets: usize) -> Result<Vec<Weight>, LoadError> {
    let tree_ids = node.ints(&format!("{prefix}_treeids"));
    let node_ids = node.ints(&format!("{prefix}_nodeids"));
    let ids = node.ints(&format!("{prefix}_ids"));
    let values = node.floats_or_tensor(&format!("{prefix}_weights"))?;
    if [node_ids.len(), ids.len(), values.len()] != [tree_ids.len(); 3] || tree_ids.is_empty() {
        return Err(node.refused(format!("the lists of its {prefix} weights differ in length, or are empty")));
    }
    let mut weights = Vec::with_capacity(values.len());
    for at in 0..values.len() {
        let Some(index) = shape.index.get(&(tree_ids[at], node_ids[at])) else {
            return Err(node.refused(format!(
                "a weight is for node {} of tree {}, which is not there",
                node_ids[at], tree_ids[at]
            )));
        };
        let Some(target) = usize::try_from(ids[at]).ok().filter(|target| *target < targets) else {
            return Err(node.refused(format!("a weight is for {prefix} {} of {targets}", ids[at])));
        };
        if !values[at].is_finite() {
            return Err(node.refused(format!("a leaf weighs {}", values[at])));
        }
        let (tree, leaf) = shape.places[*index];
        if matches!(shape.trees[tree as usize].nodes[leaf as usize], forest::Node::Leaf(_)) {
            weights.push(Weight { tree, leaf, target, value: values[at] });
        }
    }
    let mut seen: Vec<_> = weights.iter().map(|weight| (weight.tree, weight.leaf, weight.target)).collect();
    seen.sort_unstable();
    if seen.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(node.refused("a leaf has two weights for one target"));
    }
    Ok(weights)
}

/// Fills the leaves, in the smallest form that holds the weights.
fn payload(
    node: Node<'_>,
    trees: &mut [Tree],
    weights: &[Weight],
    targets: usize,
    rule: Rule,
) -> Result<Payload, LoadError> {
    let mut payload = Payload { leaves: Leaves::Single, rule, targets };
    let absent = payload.start().to_bits();
    let leaf_count: usize =
        trees.iter().flat_map(|tree| &tree.nodes).filter(|node| matches!(node, forest::Node::Leaf(_))).count();
    let mut by_tree: Vec<Option<u16>> = vec![None; trees.len()];
    let one_each = weights.len() == leaf_count
        && weights
            .iter()
            .all(|weight| *by_tree[weight.tree as usize].get_or_insert(weight.target as u16) == weight.target as u16);
    if targets == 1 || one_each {
        let leaves = trees.iter_mut().flat_map(|tree| &mut tree.nodes);
        leaves.filter(|node| matches!(node, forest::Node::Leaf(_))).for_each(|leaf| *leaf = forest::Node::Leaf(absent));
        for weight in weights {
            trees[weight.tree as usize].nodes[weight.leaf as usize] = forest::Node::Leaf(weight.value.to_bits());
        }
        if targets > 1 {
            payload.leaves = Leaves::ByTree(by_tree.into_iter().map(Option::unwrap_or_default).collect());
        }
        return Ok(payload);
    }
    let Some(size) = leaf_count.checked_mul(targets).filter(|size| *size <= WEIGHTS_MAX) else {
        return Err(
            node.refused(format!("{leaf_count} leaves of {targets} targets; {WEIGHTS_MAX} weights are allowed"))
        );
    };
    let mut rows = vec![payload.start(); size];
    let mut next = 0;
    for leaf in trees.iter_mut().flat_map(|tree| &mut tree.nodes) {
        if let forest::Node::Leaf(row) = leaf {
            *row = next;
            next += 1;
        }
    }
    for weight in weights {
        if let forest::Node::Leaf(row) = trees[weight.tree as usize].nodes[weight.leaf as usize] {
            rows[row as usize * targets + weight.target] = weight.value;
        }
    }
    payload.leaves = Leaves::Rows(rows.into());
    Ok(payload)
}
