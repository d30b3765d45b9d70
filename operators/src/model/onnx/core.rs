//! The operators of ai.onnx.

use std::borrow::Cow;
use std::sync::Arc;

use gristmill::traits::LoadError;

use super::budget::Part;
use super::functions;
use super::lower::{Kind, Lowering, Rows, Value};
use super::node::{Node, few};
use super::proto::element;
use super::scan::RANK_MAX;
use super::tensor::{Data, Tensor};
use crate::model::dense::{Activation, Dense};
use crate::model::program::{Action, Labels, Span};
use crate::model::transform::Arithmetic;

/// Lowers a node of this domain.
pub(crate) fn lower(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    match &*node.proto.op_type {
        "Identity" => identity(lowering, node),
        "Cast" => cast(lowering, node),
        "Constant" => constant(lowering, node),
        "Gemm" => gemm(lowering, node),
        "MatMul" => matmul(lowering, node),
        "Add" => arithmetic(lowering, node, Arithmetic::Add),
        "Sub" => arithmetic(lowering, node, Arithmetic::Subtract),
        "Mul" => arithmetic(lowering, node, Arithmetic::Multiply),
        "Div" => arithmetic(lowering, node, Arithmetic::Divide),
        "Relu" => activate(lowering, node, Activation::Relu),
        "Tanh" => activate(lowering, node, Activation::Tanh),
        "Sigmoid" => activate(lowering, node, Activation::Sigmoid),
        "Softmax" => softmax(lowering, node),
        "Concat" => concat(lowering, node),
        "ArgMax" => arg_max(lowering, node),
        "Reshape" => reshape(lowering, node),
        "Flatten" => flatten(lowering, node),
        "Squeeze" | "Unsqueeze" => squeeze(lowering, node),
        _ => functions::lower(lowering, node),
    }
}

fn identity(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    let value = lowering.value(node, 0)?;
    lowering.define(node, 0, value)
}

fn constant(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    node.only(&["value"])?;
    match node.tensor("value", &mut lowering.budget)? {
        Some(tensor) => lowering.define(node, 0, Value::Constant(Arc::new(tensor))),
        None => Err(node.refused("it has no value")),
    }
}

fn cast(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    node.only(&["to", "saturate"])?;
    let to = node.int("to", 0) as i32;
    let rows = lowering.rows(node, 0)?;
    let Rows { span, before, ref after, .. } = rows;
    let (kind, action) = match (rows.kind.clone(), to) {
        (Kind::Float | Kind::Int | Kind::Bool | Kind::Index(_), element::FLOAT) => (Kind::Float, None),
        (Kind::Float, element::INT64 | element::INT32) => (Kind::Int, Some(Action::Truncate)),
        (kind @ (Kind::Int | Kind::Index(_)), element::INT64 | element::INT32) => (kind, None),
        (Kind::Bool, element::INT64 | element::INT32) => (Kind::Int, None),
        (Kind::Float | Kind::Int | Kind::Index(_), element::BOOL) => (Kind::Bool, Some(Action::IsNotZero)),
        (kind @ Kind::Bool, element::BOOL) => (kind, None),
        (Kind::Label(labels), to) => match (&*labels, to) {
            (Labels::Strings(_), element::STRING) | (Labels::Ints(_), element::INT64) => (Kind::Label(labels), None),
            (Labels::Ints(ints), element::INT32) if ints.iter().all(|label| i32::try_from(*label).is_ok()) => {
                (Kind::Label(labels), None)
            }
            (Labels::Ints(ints), element::FLOAT) => {
                lowering.take(node, Part::Labels, ints.len(), size_of::<f32>())?;
                (Kind::Float, Some(Action::Look(ints.iter().map(|label| *label as f32).collect())))
            }
            _ => return Err(node.refused(format!("labels to {} is not supported", element::name(to)))),
        },
        _ => return Err(node.refused(format!("to {} is not supported", element::name(to)))),
    };
    let span = match action {
        Some(action) => lowering.step(node, action, span, span.width)?,
        None => span,
    };
    lowering.define(node, 0, Value::Rows(Rows { span, kind, before, after: after.clone() }))
}

/// A matrix as output by output, from `[inputs, outputs]`, or the other way round when `transposed`.
fn weights(
    lowering: &mut Lowering,
    node: Node<'_>,
    tensor: &Tensor,
    inputs: usize,
    transposed: bool,
) -> Result<Vec<f32>, LoadError> {
    let dims = match tensor.dims[..] {
        // A product with one column that is no dimension of its own.
        [first] if !transposed => Some((first, 1)),
        [first, second] => Some((first, second)),
        _ => None,
    };
    let (Data::Floats(values), Some((first, second))) = (&tensor.data, dims) else {
        return Err(node.refused(format!("its matrix is {}, or not of floats", few(&tensor.dims))));
    };
    let (rows, outputs) = if transposed { (second, first) } else { (first, second) };
    if rows != inputs || outputs == 0 {
        return Err(node.refused(format!("a matrix {} does not fit {inputs} columns", few(&tensor.dims))));
    }
    // Here, and where the layer keeps them: a constant that many nodes read is copied for each.
    lowering.take(node, Part::Layers, values.len(), 2 * size_of::<f32>())?;
    if transposed {
        return Ok(values.clone());
    }
    Ok((0..outputs).flat_map(|output| values.iter().skip(output).step_by(outputs).copied()).collect())
}

/// An input that is `[rows, columns]` of floats: what a layer reads.
fn table(lowering: &Lowering, node: Node<'_>) -> Result<Rows, LoadError> {
    let x = lowering.floats(node, 0)?;
    if x.after.is_empty() { Err(node.refused("input 0 is [rows] without columns")) } else { Ok(x) }
}

fn dense(lowering: &mut Lowering, node: Node<'_>, x: &Rows, weights: &[f32], bias: &[f32]) -> Result<Span, LoadError> {
    let dense = Dense::new(weights, bias, Activation::Identity)?;
    let outputs = dense.outputs();
    let span = lowering.step(node, Action::Dense(dense), x.span, outputs)?;
    lowering.open_layer = node.proto.output.first().cloned().unwrap_or_default();
    Ok(span)
}

fn matmul(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    let (x, matrix) = (table(lowering, node)?, lowering.constant(node, 1)?);
    let weights = weights(lowering, node, &matrix, x.span.width, false)?;
    let outputs = weights.len() / x.span.width;
    let span = dense(lowering, node, &x, &weights, &vec![0.0; outputs])?;
    let after = if matrix.dims.len() == 1 { vec![] } else { vec![outputs] };
    lowering.define(node, 0, Value::Rows(Rows { span, kind: Kind::Float, before: 0, after }))
}

fn gemm(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    node.only(&["alpha", "beta", "transA", "transB"])?;
    if node.int("transA", 0) != 0 {
        return Err(node.refused("transA is not supported"));
    }
    let (x, matrix) = (table(lowering, node)?, lowering.constant(node, 1)?);
    if matrix.dims.len() != 2 {
        return Err(node.refused(format!("its matrix is {}", few(&matrix.dims))));
    }
    let mut weights = weights(lowering, node, &matrix, x.span.width, node.int("transB", 0) != 0)?;
    let alpha = node.float("alpha", 1.0);
    weights.iter_mut().for_each(|weight| *weight *= alpha);
    let outputs = weights.len() / x.span.width;
    let bias = match node.input(2) {
        None => vec![0.0; outputs],
        Some(_) => {
            let beta = node.float("beta", 1.0);
            let constant = lowering.constant(node, 2)?;
            let values = columns(node, &constant)?;
            spread(node, &values, outputs)?.into_iter().map(|bias| bias * beta).collect()
        }
    };
    let span = dense(lowering, node, &x, &weights, &bias)?;
    lowering.define_floats(node, 0, span)
}

/// A constant that is one value, `[columns]` or `[1, columns]`.
fn columns<'t>(node: Node<'_>, tensor: &'t Tensor) -> Result<Cow<'t, [f32]>, LoadError> {
    let (leading, _) = tensor.dims.split_at(tensor.dims.len().saturating_sub(1));
    match tensor.floats() {
        Some(values) if tensor.dims.len() <= 2 && leading.iter().all(|dim| *dim == 1) => Ok(values),
        _ => {
            let dims = few(&tensor.dims);
            Err(node.refused(format!("a constant of {dims} is not the same for all rows, or not of numbers")))
        }
    }
}

fn spread(node: Node<'_>, values: &[f32], width: usize) -> Result<Vec<f32>, LoadError> {
    match values {
        [value] => Ok(vec![*value; width]),
        values if values.len() == width => Ok(values.to_vec()),
        _ => Err(node.refused(format!("{} values do not fit {width} columns", values.len()))),
    }
}

fn arithmetic(lowering: &mut Lowering, node: Node<'_>, arithmetic: Arithmetic) -> Result<(), LoadError> {
    node.only(&[])?;
    let (tensor, index) = match (lowering.value(node, 0)?, lowering.value(node, 1)?) {
        (Value::Constant(tensor), Value::Rows(_)) => (tensor, 1),
        (Value::Rows(_), Value::Constant(tensor)) => (tensor, 0),
        (Value::Constant(_), Value::Constant(_)) => return Err(node.refused("both operands are constants")),
        (Value::Rows(_), Value::Rows(_)) => return pair(lowering, node, arithmetic),
    };
    let x = lowering.floats(node, index)?;
    let values = columns(node, &tensor)?;
    if x.after.is_empty() && tensor.dims.iter().any(|dim| *dim != 1) || (x.after.is_empty() && tensor.dims.len() > 1) {
        return Err(node.refused("a constant with columns meets a value without"));
    }
    let width = if x.span.width == 1 { values.len() } else { x.span.width };
    let values = spread(node, &values, width)?;
    if arithmetic == Arithmetic::Add && add_to_bias(lowering, node, index, &x, &values)? {
        return Ok(());
    }
    let action = Action::Constant { arithmetic, values: values.into(), swapped: index == 1 };
    let span = lowering.step(node, action, x.span, width)?;
    let after = if x.after.is_empty() { vec![] } else { vec![width] };
    lowering.define(node, 0, Value::Rows(Rows { span, kind: Kind::Float, before: 0, after }))
}

/// Makes an addition the bias of the dense layer just before it: the same sums in the same order.
fn add_to_bias(
    lowering: &mut Lowering,
    node: Node<'_>,
    index: usize,
    x: &Rows,
    values: &[f32],
) -> Result<bool, LoadError> {
    let Some(dense) = lowering.open_layer(node, index) else { return Ok(false) };
    if x.after.len() != 1 || !dense.take_bias(values) {
        return Ok(false);
    }
    lowering.define_floats(node, 0, x.span)?;
    lowering.open_layer = node.proto.output.first().cloned().unwrap_or_default();
    Ok(true)
}

fn pair(lowering: &mut Lowering, node: Node<'_>, arithmetic: Arithmetic) -> Result<(), LoadError> {
    let (a, b) = (lowering.floats(node, 0)?, lowering.floats(node, 1)?);
    let both = paired(lowering, node, arithmetic, &a, &b)?;
    lowering.define(node, 0, Value::Rows(both))
}

/// Adds the step that joins two values.
pub(crate) fn paired(
    lowering: &mut Lowering,
    node: Node<'_>,
    arithmetic: Arithmetic,
    a: &Rows,
    b: &Rows,
) -> Result<Rows, LoadError> {
    let width = a.span.width.max(b.span.width);
    if a.after.len() != b.after.len() || [a, b].iter().any(|x| x.span.width != width && x.span.width != 1) {
        return Err(node.refused(format!("{} and {} columns do not fit", a.span.width, b.span.width)));
    }
    let span = lowering.step(node, Action::Pair { arithmetic, second: b.span }, a.span, width)?;
    let after = if a.after.is_empty() { vec![] } else { vec![width] };
    Ok(Rows { span, kind: Kind::Float, before: 0, after })
}

fn activate(lowering: &mut Lowering, node: Node<'_>, activation: Activation) -> Result<(), LoadError> {
    node.only(&[])?;
    let x = lowering.floats(node, 0)?;
    if let Some(dense) = lowering.open_layer(node, 0)
        && dense.activation == Activation::Identity
    {
        dense.activation = activation;
        return lowering.define(node, 0, Value::Rows(x));
    }
    let span = lowering.step(node, Action::Activate(activation), x.span, x.span.width)?;
    lowering.define(node, 0, Value::Rows(Rows { span, ..x }))
}

/// Whether `axis` is that of the columns of `[rows, columns]`.
pub(crate) fn is_columns(x: &Rows, axis: i64) -> bool {
    x.after.len() == 1 && x.before == 0 && (axis == 1 || axis == -1)
}

fn softmax(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    node.only(&["axis"])?;
    let x = lowering.floats(node, 0)?;
    // Before version 13 everything from the axis on is one distribution: the same for two dimensions.
    let default = if node.version < 13 { 1 } else { -1 };
    if !is_columns(&x, node.int("axis", default)) {
        return Err(node.refused("only over the columns of [rows, columns]"));
    }
    let span = lowering.step(node, Action::Softmax, x.span, x.span.width)?;
    lowering.define_floats(node, 0, span)
}

fn concat(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    node.only(&["axis"])?;
    let mut spans = Vec::new();
    for index in 0..node.proto.input.len() {
        let x = lowering.floats(node, index)?;
        if !is_columns(&x, node.int("axis", 0)) {
            return Err(node.refused("only over the columns of [rows, columns]"));
        }
        spans.push(x.span);
    }
    let Some(first) = spans.first().copied() else { return Err(node.refused("it has no input")) };
    // Columns that already lie side by side need no step: several inputs of a model do.
    if spans.windows(2).all(|pair| pair[0].end() == pair[1].start) {
        let width = spans.iter().map(|span| span.width).sum();
        return lowering.define_floats(node, 0, Span { start: first.start, width });
    }
    let width = spans.iter().map(|span| span.width).sum();
    let span = lowering.step(node, Action::Concat(spans.into()), first, width)?;
    lowering.define_floats(node, 0, span)
}

fn arg_max(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    node.only(&["axis", "keepdims", "select_last_index"])?;
    let x = lowering.floats(node, 0)?;
    if !is_columns(&x, node.int("axis", 0)) {
        return Err(node.refused("only over the columns of [rows, columns]"));
    }
    let last = node.int("select_last_index", 0) != 0;
    let span = lowering.step(node, Action::ArgMax { last }, x.span, 1)?;
    let after = if node.int("keepdims", 1) != 0 { vec![1] } else { vec![] };
    lowering.define(node, 0, Value::Rows(Rows { span, kind: Kind::Index(x.span.width), before: 0, after }))
}

/// Gives a value the shape `[1 (before times), rows, after]`; the order of its elements stays.
fn shaped(lowering: &mut Lowering, node: Node<'_>, x: Rows, before: usize, after: Vec<usize>) -> Result<(), LoadError> {
    if before + 1 + after.len() > RANK_MAX {
        return Err(node.refused(format!("{} dimensions; {RANK_MAX} are allowed", before + 1 + after.len())));
    }
    let width = after.iter().try_fold(1_usize, |width, dim| width.checked_mul(*dim));
    if width != Some(x.span.width) {
        let (columns, after) = (x.span.width, few(&after));
        return Err(node.refused(format!("{columns} columns cannot become {after}: rows must stay rows")));
    }
    lowering.define(node, 0, Value::Rows(Rows { before, after, ..x }))
}

fn reshape(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    node.only(&["allowzero"])?;
    let (x, shape) = (lowering.rows(node, 0)?, lowering.constant(node, 1)?);
    let Data::Ints(dims) = &shape.data else { return Err(node.refused("its shape is not of integers")) };
    if dims.len() > RANK_MAX {
        return Err(node.refused(format!("to {}: {RANK_MAX} dimensions are allowed", few(dims))));
    }
    // The dimension of the rows is the open one, or the copied first one.
    let is_rows = |(index, dim): (usize, &i64)| *dim == -1 || (*dim == 0 && index == x.before);
    let Some(place) = dims.iter().enumerate().position(is_rows) else {
        return Err(node.refused(format!("to {}: the number of rows would be fixed", few(dims))));
    };
    let after: Option<Vec<usize>> = dims[place + 1..]
        .iter()
        .enumerate()
        .map(|(index, dim)| match *dim {
            // [0, -1]: what is left are the columns.
            -1 if dims[place] == 0 => Some(x.span.width),
            0 if place == x.before => x.after.get(index).copied(),
            dim => usize::try_from(dim).ok().filter(|dim| *dim > 0),
        })
        .collect();
    match after {
        Some(after) if dims[..place].iter().all(|dim| *dim == 1) => shaped(lowering, node, x, place, after),
        _ => Err(node.refused(format!("to {} is not supported", few(dims)))),
    }
}

fn flatten(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    node.only(&["axis"])?;
    let x = lowering.rows(node, 0)?;
    if x.before != 0 || node.int("axis", 1) != 1 {
        return Err(node.refused("only from axis 1 on"));
    }
    let width = x.span.width;
    shaped(lowering, node, x, 0, vec![width])
}

/// The axes that an operator names: by an attribute in old versions, by an input in new ones.
pub(crate) fn axes(lowering: &Lowering, node: Node<'_>) -> Result<Vec<i64>, LoadError> {
    let constant = node.input(1).map(|_| lowering.constant(node, 1)).transpose()?;
    let axes = match constant.as_ref().map(|tensor| &tensor.data) {
        None => node.ints("axes"),
        Some(Data::Ints(axes)) => axes,
        Some(_) => return Err(node.refused("its axes are not integers")),
    };
    if axes.len() > RANK_MAX {
        return Err(node.refused(format!("axes {}: {RANK_MAX} are allowed", few(axes))));
    }
    Ok(axes.to_vec())
}

fn squeeze(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    node.only(&["axes"])?;
    let (x, axes) = (lowering.rows(node, 0)?, axes(lowering, node)?);
    let adds = node.proto.op_type == "Unsqueeze";
    // Only the last dimension, of size 1, comes or goes: that never touches the rows.
    let rank = x.before + 1 + x.after.len();
    let last = if adds { rank } else { rank - 1 } as i64;
    let mut after = x.after.clone();
    match axes[..] {
        [axis] if (axis == -1 || axis == last) && adds => after.push(1),
        [axis] if (axis == -1 || axis == last) && after.last() == Some(&1) => drop(after.pop()),
        _ => {
            let axes = few(&axes);
            return Err(node.refused(format!("axes {axes} of {rank} dimensions; only the last one is supported")));
        }
    }
    let before = x.before;
    shaped(lowering, node, x, before, after)
}
