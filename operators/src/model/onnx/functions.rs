//! The operators of ai.onnx that are a function of each value, or a sum.

use std::sync::Arc;

use gristmill::traits::LoadError;

use super::budget::Part;
use super::core::{axes, is_columns, paired};
use super::lower::{Kind, Lowering, Rows, Value};
use super::node::{Node, few};
use super::tensor::{Data, Tensor};
use crate::model::program::Action;
use crate::model::transform::{Arithmetic, Function};

/// Lowers a node of these.
pub(crate) fn lower(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    match &*node.proto.op_type {
        "Exp" => function(lowering, node, Function::Exp),
        "Sqrt" => function(lowering, node, Function::Sqrt),
        "Reciprocal" => function(lowering, node, Function::Reciprocal),
        "Clip" => clip(lowering, node),
        "Not" => not(lowering, node),
        "ReduceSum" => reduce_sum(lowering, node),
        "Sum" => sum(lowering, node),
        _ => Err(node.refused("not supported")),
    }
}

fn function(lowering: &mut Lowering, node: Node<'_>, function: Function) -> Result<(), LoadError> {
    node.only(&[])?;
    // An exporter leaves it to the runtime to take the root of the variances, say.
    if let Value::Constant(tensor) = lowering.value(node, 0)?
        && let Data::Floats(values) = &tensor.data
    {
        lowering.take(node, Part::Constants, values.len(), size_of::<f32>())?;
        let (dims, data) = (tensor.dims.clone(), Data::Floats(function.of_all(values)));
        return lowering.define(node, 0, Value::Constant(Arc::new(Tensor { dims, data })));
    }
    let x = lowering.floats(node, 0)?;
    of_each(lowering, node, function, x)
}

/// Adds the step that applies a function to each value of `x`.
fn of_each(lowering: &mut Lowering, node: Node<'_>, function: Function, x: Rows) -> Result<(), LoadError> {
    let span = lowering.step(node, Action::Function(function), x.span, x.span.width)?;
    lowering.define(node, 0, Value::Rows(Rows { span, ..x }))
}

fn clip(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    // A bound that is left out is the last finite number: an infinity is clipped all the same.
    let (low, high) = if node.version < 11 {
        node.only(&["min", "max"])?;
        (node.float("min", f32::MIN), node.float("max", f32::MAX))
    } else {
        node.only(&[])?;
        (bound(lowering, node, 1, f32::MIN)?, bound(lowering, node, 2, f32::MAX)?)
    };
    if low.is_nan() || high.is_nan() {
        return Err(node.refused("a bound is NaN"));
    }
    let x = lowering.floats(node, 0)?;
    of_each(lowering, node, Function::Clip { low, high }, x)
}

/// A bound: an input that is one number, or left out.
fn bound(lowering: &Lowering, node: Node<'_>, index: usize, default: f32) -> Result<f32, LoadError> {
    if node.input(index).is_none() {
        return Ok(default);
    }
    let tensor = lowering.constant(node, index)?;
    match &tensor.data {
        Data::Floats(values) if values.len() == 1 && tensor.dims.len() <= 1 => Ok(values[0]),
        _ => Err(node.refused(format!("input {index} is {}, or no float; a bound is one number", few(&tensor.dims)))),
    }
}

fn not(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    node.only(&[])?;
    let x = lowering.rows(node, 0)?;
    if !matches!(x.kind, Kind::Bool) {
        return Err(node.refused("input 0 does not hold bools"));
    }
    of_each(lowering, node, Function::IsZero, x)
}

fn reduce_sum(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    node.only(&["axes", "keepdims", "noop_with_empty_axes"])?;
    let x = lowering.floats(node, 0)?;
    match axes(lowering, node)?[..] {
        [axis] if is_columns(&x, axis) => {}
        _ => return Err(node.refused("only over the columns of [rows, columns]")),
    }
    let span = lowering.step(node, Action::Sum, x.span, 1)?;
    let after = if node.int("keepdims", 1) != 0 { vec![1] } else { vec![] };
    lowering.define(node, 0, Value::Rows(Rows { span, kind: Kind::Float, before: 0, after }))
}

/// The sum of several values, in their order.
fn sum(lowering: &mut Lowering, node: Node<'_>) -> Result<(), LoadError> {
    node.only(&[])?;
    let mut sum = lowering.floats(node, 0)?;
    for index in 1..node.proto.input.len() {
        let next = lowering.floats(node, index)?;
        sum = paired(lowering, node, Arithmetic::Add, &sum, &next)?;
    }
    lowering.define(node, 0, Value::Rows(sum))
}

#[cfg(test)]
mod tests {
    use crate::model::onnx::proto::*;
    use crate::model::onnx::tests::{assert_refused, ints, named, node, score, weights, with};

    fn number(name: &str, f: f32) -> AttributeProto {
        AttributeProto { name: name.to_owned(), f, ..AttributeProto::default() }
    }

    /// `y = last(x[0] + 2 x[1])`, by a product with a matrix of one dimension.
    fn after_product(last: Vec<NodeProto>, more: Vec<TensorProto>) -> Vec<u8> {
        with(|graph| {
            graph.initializer[0].dims = vec![2];
            graph.initializer.extend(more);
            graph.node = vec![named("h", node("MatMul", "", &["x", "w"], vec![]))];
            graph.node.extend(last);
        })
    }

    /// Bug: models with a logarithmic link (Poisson, gamma, Tweedie), clipped scalers and linear models of scikit-learn
    /// with one list of coefficients were refused. Fix: their operators are here.
    #[test]
    fn functions_of_each_value() {
        let one = |operator: &str| after_product(vec![node(operator, "", &["h"], vec![])], vec![]);
        assert_eq!(score(&one("Identity"), [3.0, 4.0]), 11.0);
        assert!((score(&one("Exp"), [1.0, 0.5]) - std::f32::consts::E.powi(2)).abs() < 2e-6);
        assert_eq!(score(&one("Sqrt"), [1.0, 4.0]), 3.0);
        assert!(score(&one("Sqrt"), [1.0, -4.0]).is_nan());
        assert_eq!(score(&one("Reciprocal"), [2.0, 1.0]), 0.25);
        let of_constant = with(|graph| {
            graph.initializer[0].float_data = vec![1.0, 4.0];
            graph.node =
                vec![named("root", node("Sqrt", "", &["w"], vec![])), node("MatMul", "", &["x", "root"], vec![])];
        });
        assert_eq!(score(&of_constant, [3.0, 4.0]), 11.0);
        for operator in ["Exp", "Sqrt", "Reciprocal"] {
            assert!(score(&one(operator), [f32::NAN, 1.0]).is_nan(), "{operator}");
        }
    }

    #[test]
    fn bounds_of_a_clip_are_attributes_or_inputs_and_either_may_be_left_out() {
        let bounds = || vec![weights("low", &[], &[-1.0]), weights("high", &[1], &[2.0])];
        let by_input = |inputs: &[&str]| after_product(vec![node("Clip", "", inputs, vec![])], bounds());
        for (inputs, expected) in [
            (&["h", "low", "high"][..], [-1.0, 0.5, 2.0]),
            (&["h", "low"], [-1.0, 0.5, 9.0]),
            (&["h", "", "high"], [-9.0, 0.5, 2.0]),
            (&["h"], [-9.0, 0.5, 9.0]),
        ] {
            let clip = by_input(inputs);
            assert_eq!([-9.0, 0.5, 9.0].map(|x| score(&clip, [x, 0.0])), expected, "{inputs:?}");
            assert!(score(&clip, [f32::NAN, 0.0]).is_nan());
        }
        assert_eq!(score(&by_input(&["h"]), [f32::INFINITY, 0.0]), f32::MAX);
        let old = |attributes: Vec<AttributeProto>| {
            let mut model = crate::model::onnx::tests::net();
            let graph = model.graph.as_mut().expect("the net has a graph");
            graph.node = vec![named("h", graph.node[0].clone()), node("Clip", "", &["h"], attributes)];
            model.opset_import[0].version = 10;
            prost::Message::encode_to_vec(&model)
        };
        assert_eq!(score(&old(vec![number("min", -1.0)]), [-9.0, 0.0]), -1.0);
        assert_eq!(score(&old(vec![number("max", 2.0)]), [9.0, 0.0]), 2.0);
        assert_refused(&old(vec![number("min", f32::NAN)]), &["Clip (ai.onnx 10)", "a bound is NaN"]);
        assert_refused(&by_input(&["h", "w"]), &["Clip", "input 1 is [2]", "a bound is one number"]);
        assert_refused(&by_input(&["h", "h"]), &["Clip", "input 1 is not a constant"]);
        let attribute = after_product(vec![node("Clip", "", &["h"], vec![number("min", 0.0)])], vec![]);
        assert_refused(&attribute, &["Clip", "attribute `min`"]);
    }

    #[test]
    fn sums_of_columns_and_of_values() {
        let axes = TensorProto {
            name: "axes".to_owned(),
            dims: vec![1],
            data_type: element::INT64,
            int64_data: vec![1],
            ..TensorProto::default()
        };
        let by_input = with(|graph| {
            graph.initializer = vec![axes];
            graph.node = vec![node("ReduceSum", "", &["x", "axes"], vec![])];
        });
        assert_eq!(score(&by_input, [3.0, 4.0]), 7.0);
        let by_attribute =
            |axis: i64| with(|graph| graph.node = vec![node("ReduceSum", "", &["x"], vec![ints("axes", &[axis])])]);
        assert_eq!(score(&by_attribute(-1), [3.0, 4.0]), 7.0);
        assert_refused(&by_attribute(0), &["ReduceSum", "only over the columns"]);
        let sum = |inputs: &[&str]| after_product(vec![node("Sum", "", inputs, vec![])], vec![]);
        assert_eq!(score(&sum(&["h"]), [3.0, 4.0]), 11.0);
        assert_eq!(score(&sum(&["h", "h", "h"]), [3.0, 4.0]), 33.0);
        assert_refused(&sum(&["h", "x"]), &["Sum", "1 and 2 columns do not fit"]);
        assert_refused(&sum(&["h", "w"]), &["Sum", "input 1 is a constant"]);
    }

    #[test]
    fn a_product_needs_columns_and_a_not_bools() {
        let no_columns = after_product(vec![node("MatMul", "", &["h", "w"], vec![])], vec![]);
        assert_refused(&no_columns, &["MatMul", "[rows] without columns"]);
        let gemm = with(|graph| {
            graph.initializer[0].dims = vec![2];
            graph.node[0].op_type = "Gemm".to_owned();
        });
        assert_refused(&gemm, &["Gemm", "its matrix is [2]"]);
        let not = with(|graph| graph.node = vec![node("Not", "", &["x"], vec![])]);
        assert_refused(&not, &["Not", "does not hold bools"]);
    }
}
