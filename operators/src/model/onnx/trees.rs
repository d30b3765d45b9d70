//! TreeEnsembleRegressor and TreeEnsembleClassifier.

use gristmill::traits::LoadError;

use super::budget::Part;
use super::lower::Lowering;
use super::ml::{count, decide, labels, numbers, post_transform};
use super::node::Node;
use super::shape::{NODES, Shape, shape};
use crate::model::forest::{self, Ensemble, Leaves, Payload, Rule, Tree};
use crate::model::program::{Action, Decide, Finish, Labels, Span};
use crate::model::transform::PostTransform;

/// The most classes or targets.
const TARGETS_MAX: usize = 4_096;
/// The most weights of all leaves of a node, those that are 0 included: 256 MiB.
const WEIGHTS_MAX: usize = 1 << 26;

/// Bytes for a weight of a leaf while a forest is read.
const WEIGHT_BYTES: usize = 24;

/// A weight of a leaf.
#[derive(Clone, Copy)]
struct Weight {
    tree: u32,
    leaf: u32,
    target: u32,
    value: f32,
}

impl Weight {
    fn place(&self) -> (u32, u32, u32) {
        (self.tree, self.leaf, self.target)
    }
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
    let taken = lowering.budget.taken();
    let shape = shape(lowering, node, x.span.width)?;
    let weights = weights(lowering, node, "target", &shape, targets)?;
    let mut trees = shape.into_trees();
    let base = node.floats_or_tensor("base_values", &mut lowering.budget)?;
    if !base.is_empty() && base.len() != targets {
        return Err(node.refused(format!("{} base values for {targets} targets", base.len())));
    }
    let (rule, divide) = match &*node.string("aggregate_function", "SUM") {
        "SUM" => (Rule::Sum, None),
        "AVERAGE" => (Rule::Sum, Some(trees.len() as f32)),
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
    let payload = payload(lowering, node, &mut trees, &weights, targets, rule)?;
    let unset = (rule != Rule::Sum).then(|| payload.start());
    let ensemble = Ensemble::new(&trees, payload, x.span.width).map_err(|error| node.refused(error))?;
    let finish = Finish { divide, unset, base: base.into_owned().into(), post };
    let span = step(lowering, node, taken, x.span, (ensemble, finish), targets)?;
    lowering.define_floats(node, 0, span)
}

/// Adds the step that scores a forest; of what was taken since `taken`, only what stays of the forest stays taken.
fn step(
    lowering: &mut Lowering,
    node: Node<'_>,
    taken: usize,
    input: Span,
    (ensemble, finish): (Ensemble, Finish),
    width: usize,
) -> Result<Span, LoadError> {
    lowering.budget.give_back_to(taken);
    lowering.take(node, Part::Forests, 1, ensemble.bytes() + size_of_val(&*finish.base))?;
    lowering.step(node, Action::Trees { ensemble: ensemble.into(), finish }, input, width)
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
    let labels = labels(lowering, node, "classlabels_int64s", "classlabels_strings")?;
    let classes = count(&labels);
    if classes > TARGETS_MAX {
        return Err(node.refused(format!("{classes} classes; {TARGETS_MAX} are allowed")));
    }
    let taken = lowering.budget.taken();
    let shape = shape(lowering, node, x.span.width)?;
    let mut weights = weights(lowering, node, "class", &shape, classes)?;
    let mut trees = shape.into_trees();
    let base = node.floats_or_tensor("base_values", &mut lowering.budget)?;
    let how = how_to_decide(node, &trees, &weights, &labels, base.len())?;
    let scores = if matches!(how, Decide::One { .. }) { 1 } else { classes };
    if scores == 1 {
        weights.iter_mut().for_each(|weight| weight.target = 0);
    }
    let payload = payload(lowering, node, &mut trees, &weights, scores, Rule::Sum)?;
    let ensemble = Ensemble::new(&trees, payload, x.span.width).map_err(|error| node.refused(error))?;
    let finish = Finish { divide: None, unset: None, base: base.into_owned().into(), post: PostTransform::None };
    let span = step(lowering, node, taken, x.span, (ensemble, finish), scores)?;
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
    /// For each class; the weights of a tree stand together.
    fn all(trees: &[Tree], weights: &[Weight], classes: usize) -> Vec<Self> {
        let leaves = |tree: &Tree| tree.nodes.iter().filter(|node| matches!(node, forest::Node::Leaf(_))).count();
        let leaves: Vec<usize> = trees.iter().map(leaves).collect();
        let mut scored = vec![Self::Never; classes];
        let mut targets = Vec::new();
        for weights in weights.chunk_by(|a, b| a.tree == b.tree) {
            targets.clear();
            targets.extend(weights.iter().map(|weight| weight.target));
            targets.sort_unstable();
            for same in targets.chunk_by(|a, b| a == b) {
                let class = &mut scored[same[0] as usize];
                if same.len() == leaves[weights[0].tree as usize] {
                    *class = Self::Always;
                } else if *class == Self::Never {
                    *class = Self::Sometimes;
                }
            }
        }
        scored
    }
}

/// Reads the weights of leaves, by tree, leaf and target; those of other nodes mean nothing, as in onnxruntime.
fn weights(
    lowering: &mut Lowering,
    node: Node<'_>,
    prefix: &str,
    shape: &Shape,
    targets: usize,
) -> Result<Vec<Weight>, LoadError> {
    let tree_ids = node.ints(&format!("{prefix}_treeids"));
    let node_ids = node.ints(&format!("{prefix}_nodeids"));
    let ids = node.ints(&format!("{prefix}_ids"));
    let values = node.floats_or_tensor(&format!("{prefix}_weights"), &mut lowering.budget)?;
    if [node_ids.len(), ids.len(), values.len()] != [tree_ids.len(); 3] || tree_ids.is_empty() {
        return Err(node.refused(format!("the lists of its {prefix} weights differ in length, or are empty")));
    }
    lowering.take(node, Part::Forests, values.len(), WEIGHT_BYTES)?;
    let mut weights = Vec::with_capacity(values.len());
    for at in 0..values.len() {
        let Some(index) = shape.index.get(&(tree_ids[at], node_ids[at])) else {
            return Err(node.refused(format!(
                "a weight is for node {} of tree {}, which is not there",
                node_ids[at], tree_ids[at]
            )));
        };
        let Some(target) = u32::try_from(ids[at]).ok().filter(|target| (*target as usize) < targets) else {
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
    weights.sort_unstable_by_key(Weight::place);
    if weights.windows(2).any(|pair| pair[0].place() == pair[1].place()) {
        return Err(node.refused("a leaf has two weights for one target"));
    }
    Ok(weights)
}

/// Fills the leaves, in the smallest form that holds the weights.
fn payload(
    lowering: &mut Lowering,
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
    lowering.take(node, Part::Forests, size, size_of::<f32>())?;
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
            rows[row as usize * targets + weight.target as usize] = weight.value;
        }
    }
    payload.leaves = Leaves::Rows(rows.into());
    Ok(payload)
}
