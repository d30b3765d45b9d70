//! The operators of ai.onnx.ml, but for trees.

use std::sync::Arc;

use gristmill::traits::LoadError;

use super::budget::Part;
use super::lower::{Kind, Lowering, REGISTERS_MAX, Rows, Value};
use super::node::{Node, few};
use super::tensor::{Data, text, text_bytes};
use super::trees;
use crate::model::dense::{Activation, Dense};
use crate::model::program::{Action, Decide, Labels, Span};
use crate::model::transform::{Norm, PostTransform};

/// Lowers a node of this domain.
pub(crate) fn lower(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    match &*node.proto.op_type {
        "TreeEnsembleRegressor" => trees::regressor(lowering, node),
        "TreeEnsembleClassifier" => trees::classifier(lowering, node),
        "LinearRegressor" => linear_regressor(lowering, node),
        "LinearClassifier" => linear_classifier(lowering, node),
        "Scaler" => scaler(lowering, node),
        "Normalizer" => normalizer(lowering, node),
        "Imputer" => imputer(lowering, node),
        "ZipMap" => zip_map(lowering, node),
        "ArrayFeatureExtractor" => extract(lowering, node),
        _ => Err(node.refused("not supported")),
    }
}

/// Input 0 as numbers: the operators of this domain convert whole numbers themselves.
pub(crate) fn numbers(lowering: &Lowering, node: Node<'_>) -> Result<Rows, LoadError> {
    let rows = lowering.rows(node, 0)?;
    match rows.kind {
        Kind::Float | Kind::Int if rows.before == 0 && rows.after.len() == 1 => Ok(rows),
        _ => Err(node.refused("input 0 is not [rows, columns] of numbers")),
    }
}

/// The transform that the attribute `post_transform` names.
pub(crate) fn post_transform(node: Node<'_>) -> Result<PostTransform, LoadError> {
    match &*node.string("post_transform", "NONE") {
        "NONE" => Ok(PostTransform::None),
        "LOGISTIC" => Ok(PostTransform::Logistic),
        "SOFTMAX" => Ok(PostTransform::Softmax),
        "SOFTMAX_ZERO" => Ok(PostTransform::SoftmaxZero),
        "PROBIT" => Ok(PostTransform::Probit),
        other => Err(node.refused(format!("post_transform {other} is not supported"))),
    }
}

/// The labels of classes, from an attribute of integers or one of strings.
pub(crate) fn labels(lowering: &mut Lowering, node: Node<'_>, ints: &str, strings: &str) -> Result<Labels, LoadError> {
    lowering.take(node, Part::Labels, 1, size_of_val(node.ints(ints)) + text_bytes(node.strings(strings)))?;
    match (node.ints(ints), node.strings(strings)) {
        (ints, []) if ints.len() >= 2 => Ok(Labels::Ints(ints.into())),
        ([], strings) if strings.len() >= 2 => Ok(Labels::Strings(strings.iter().map(|bytes| text(bytes)).collect())),
        _ => Err(node.refused(format!("it needs two or more labels, in `{ints}` or in `{strings}`"))),
    }
}

pub(crate) fn count(labels: &Labels) -> usize {
    match labels {
        Labels::Ints(labels) => labels.len(),
        Labels::Strings(labels) => labels.len(),
    }
}

/// Adds the step that decides, and names label and scores.
pub(crate) fn decide(
    lowering: &mut Lowering,
    node: Node<'_>,
    scores: Span,
    decide: Decide,
    labels: Labels,
) -> Result<(), LoadError> {
    let width = if matches!(decide, Decide::One { .. }) { 2 } else { scores.width };
    let span = lowering.step(node, Action::Decide(decide), scores, 1 + width)?;
    let label = Span { start: span.start, width: 1 };
    let kind = Kind::Label(Arc::new(labels));
    lowering.define(node, 0, Value::Rows(Rows { span: label, kind, before: 0, after: vec![] }))?;
    lowering.define_floats(node, 1, Span { start: span.start + 1, width })
}

fn linear_regressor(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    node.only(&["coefficients", "intercepts", "post_transform", "targets"])?;
    let x = numbers(lowering, node)?;
    let targets = usize::try_from(node.int("targets", 1)).unwrap_or(0);
    let coefficients = node.floats("coefficients");
    let zeros = vec![0.0; if targets <= coefficients.len() { targets } else { 0 }];
    let intercepts = if node.has("intercepts") { node.floats("intercepts") } else { &zeros };
    if post_transform(node)? != PostTransform::None {
        return Err(node.refused("a post_transform is not supported"));
    }
    if targets == 0 || targets.checked_mul(x.span.width) != Some(coefficients.len()) || intercepts.len() != targets {
        return Err(node.refused(format!(
            "{} coefficients and {} intercepts do not fit {} columns and {targets} targets",
            coefficients.len(),
            intercepts.len(),
            x.span.width
        )));
    }
    lowering.take(node, Part::Layers, coefficients.len(), size_of::<f32>())?;
    let dense = Dense::new(coefficients, intercepts, Activation::Identity)?;
    let span = lowering.step(node, Action::Dense(dense), x.span, targets)?;
    lowering.define_floats(node, 0, span)
}

fn linear_classifier(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    node.only(&[
        "coefficients",
        "intercepts",
        "post_transform",
        "multi_class",
        "classlabels_ints",
        "classlabels_strings",
    ])?;
    let x = numbers(lowering, node)?;
    let labels = labels(lowering, node, "classlabels_ints", "classlabels_strings")?;
    let post = post_transform(node)?;
    let (coefficients, intercepts) = (node.floats("coefficients"), node.floats("intercepts"));
    let scores = intercepts.len();
    let one = scores == 1 && count(&labels) == 2;
    if scores.checked_mul(x.span.width) != Some(coefficients.len()) || (scores != count(&labels) && !one) {
        return Err(node.refused(format!(
            "{} coefficients and {scores} intercepts do not fit {} columns and {} labels",
            coefficients.len(),
            x.span.width,
            count(&labels)
        )));
    }
    lowering.take(node, Part::Layers, coefficients.len(), size_of::<f32>())?;
    let dense = Dense::new(coefficients, intercepts, Activation::Identity)?;
    let span = lowering.step(node, Action::Dense(dense), x.span, scores)?;
    let how = match (one, post) {
        (true, PostTransform::Probit) => return Err(node.refused("PROBIT of two classes is not supported")),
        (true, post) => Decide::One { threshold: 0.0, mirrored: false, logistic: post == PostTransform::Logistic },
        (false, post) => Decide::Largest { scored: vec![true; scores].into(), post },
    };
    decide(lowering, node, span, how, labels)
}

/// One value for each column, from as many or from one.
fn for_columns(node: Node<'_>, name: &str, default: f32, width: usize) -> Result<Vec<f32>, LoadError> {
    match node.floats(name) {
        [] => Ok(vec![default; width]),
        [value] => Ok(vec![*value; width]),
        values if values.len() == width => Ok(values.to_vec()),
        values => Err(node.refused(format!("`{name}` has {} values for {width} columns", values.len()))),
    }
}

fn scaler(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    node.only(&["offset", "scale"])?;
    let x = numbers(lowering, node)?;
    let width = x.span.width;
    let pairs = for_columns(node, "offset", 0.0, width)?.into_iter().zip(for_columns(node, "scale", 1.0, width)?);
    let action = Action::Scale(pairs.map(|(offset, scale)| [offset, scale]).collect());
    let span = lowering.step(node, action, x.span, width)?;
    lowering.define_floats(node, 0, span)
}

fn normalizer(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    node.only(&["norm"])?;
    let x = numbers(lowering, node)?;
    let norm = match &*node.string("norm", "MAX") {
        "MAX" => Norm::Max,
        "L1" => Norm::L1,
        "L2" => Norm::L2,
        other => return Err(node.refused(format!("norm {other} is not supported"))),
    };
    let span = lowering.step(node, Action::Normalize(norm), x.span, x.span.width)?;
    lowering.define_floats(node, 0, span)
}

fn imputer(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    node.only(&["imputed_value_floats", "replaced_value_float"])?;
    let x = lowering.floats(node, 0)?;
    if node.floats("imputed_value_floats").is_empty() {
        return Err(node.refused("it has no imputed_value_floats"));
    }
    let values = for_columns(node, "imputed_value_floats", 0.0, x.span.width)?;
    let action = Action::Impute { replaced: node.float("replaced_value_float", 0.0), values: values.into() };
    let span = lowering.step(node, action, x.span, x.span.width)?;
    lowering.define_floats(node, 0, span)
}

fn zip_map(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    node.only(&["classlabels_int64s", "classlabels_strings"])?;
    let x = lowering.floats(node, 0)?;
    let labels = node.ints("classlabels_int64s").len() + node.strings("classlabels_strings").len();
    if labels != x.span.width {
        return Err(node.refused(format!("{labels} labels for {} columns", x.span.width)));
    }
    // The map of each row becomes a vector in the order of the labels: which is what it was made of.
    lowering.define(node, 0, Value::Rows(x))
}

fn extract(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    match (lowering.value(node, 0)?, lowering.value(node, 1)?) {
        // The labels of classes at numbers that an ArgMax gave.
        (Value::Constant(classes), Value::Rows(index)) => {
            let labels = match &classes.data {
                Data::Ints(labels) => Labels::Ints(Arc::clone(labels)),
                Data::Strings(labels) => Labels::Strings(Arc::clone(labels)),
                Data::Floats(_) => return Err(node.refused("labels that are floats are not supported")),
            };
            match index.kind {
                Kind::Index(count)
                    if count <= classes.data.len() && classes.dims.len() == 1 && index.span.width == 1 =>
                {
                    let rows = Rows { kind: Kind::Label(Arc::new(labels)), before: 1, after: vec![], ..index };
                    lowering.define(node, 0, Value::Rows(rows))
                }
                _ => Err(node.refused("the numbers do not fit the labels, or no ArgMax made them")),
            }
        }
        // Some columns of a value.
        (Value::Rows(_), Value::Constant(columns)) => {
            let x = lowering.floats(node, 0)?;
            let Data::Ints(columns) = &columns.data else { return Err(node.refused("its columns are not integers")) };
            if columns.len() > REGISTERS_MAX {
                return Err(node.refused(format!("{} columns; {REGISTERS_MAX} are allowed", columns.len())));
            }
            let span = |column: &i64| {
                let column =
                    usize::try_from(*column).ok().filter(|column| *column < x.span.width && !x.after.is_empty());
                column.map(|column| Span { start: x.span.start + column, width: 1 })
            };
            let Some(spans) = columns.iter().map(span).collect::<Option<Vec<_>>>() else {
                return Err(node.refused(format!("columns {} of {}", few(columns), x.span.width)));
            };
            let width = spans.len();
            let span = lowering.step(node, Action::Concat(spans.into()), x.span, width)?;
            lowering.define_floats(node, 0, span)
        }
        _ => Err(node.refused("one of its inputs must be a constant")),
    }
}
