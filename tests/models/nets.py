"""Nets made by hand: what exporters of neural nets write, and several named inputs."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

SEED = 11


def model(nodes, inputs, outputs, constants=(), opset=17, ml=3):
    """A model over float inputs `{name: columns}` with outputs `{name: element type}`."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, columns]) for name, columns in inputs.items()],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in dict(constants).items()],
    )
    sets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", ml)]
    return helper.make_model(graph, opset_imports=sets, ir_version=10)


def models(rows: int):
    """(name, model, inputs) for export.py."""
    random = np.random.default_rng(SEED)

    def f32(*shape):
        return random.normal(size=shape).astype(np.float32)

    node = helper.make_node
    float_, int_, string, bool_ = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING, TensorProto.BOOL
    x = f32(rows, 6)

    yield "net_gemm", model(
        [
            node("Gemm", ["x", "w1", "b1"], ["h1"], transB=1, alpha=0.5, beta=2.0),
            node("Tanh", ["h1"], ["t1"]),
            node("Gemm", ["t1", "w2"], ["y"]),
        ],
        {"x": 6}, {"y": float_}, {"w1": f32(9, 6), "b1": f32(9), "w2": f32(9, 2)},
    ), {"x": x}
    yield "net_concat_of_named_inputs", model(
        [
            node("Concat", ["speed", "load", "heat"], ["all"], axis=1),
            node("MatMul", ["all", "w"], ["h"]),
            node("Add", ["h", "b"], ["hb"]),
            node("Relu", ["hb"], ["r"]),
            node("MatMul", ["r", "v"], ["wear"]),
        ],
        {"speed": 1, "load": 1, "heat": 1}, {"wear": float_}, {"w": f32(3, 8), "b": f32(8), "v": f32(8, 1)},
    ), {"speed": f32(rows, 1), "load": f32(rows, 1), "heat": f32(rows, 1)}
    yield "net_arithmetic_of_named_inputs", model(
        [
            node("Sub", ["a", "b"], ["difference"]),
            node("Div", ["difference", "scale"], ["ratio"]),
            node("Mul", ["ratio", "ratio"], ["square"]),
            node("Sub", ["one", "square"], ["rest"]),
            node("Add", ["rest", "c"], ["both"]),
            node("Sigmoid", ["both"], ["share"]),
        ],
        {"a": 1, "b": 1, "c": 1}, {"share": float_, "difference": float_},
        {"scale": np.float32(3.0), "one": np.array([1.0], dtype=np.float32)},
    ), {"a": f32(rows, 1), "b": f32(rows, 1), "c": f32(rows, 1)}
    yield "net_label", model(
        [
            node("Gemm", ["x", "w", "b"], ["logits"]),
            node("Softmax", ["logits"], ["probabilities"], axis=1),
            node("ArgMax", ["probabilities"], ["winner"], axis=1, keepdims=0),
            node("Cast", ["winner"], ["label"], to=int_),
        ],
        {"x": 6}, {"label": int_, "probabilities": float_}, {"w": f32(6, 4), "b": f32(4)},
    ), {"x": x}
    yield "net_label_strings", model(
        [
            node("MatMul", ["x", "w"], ["logits"]),
            node("Softmax", ["logits"], ["probabilities"]),
            node("ArgMax", ["logits"], ["winner"], axis=1),
            node("ArrayFeatureExtractor", ["names", "winner"], ["picked"], domain="ai.onnx.ml"),
            node("Reshape", ["picked", "flat"], ["label"]),
        ],
        {"x": 6}, {"label": string, "probabilities": float_},
        {"w": f32(6, 3), "names": np.array(["idle", "run", "worn"], dtype=object), "flat": np.array([-1])},
        opset=11,
    ), {"x": x}
    yield "net_shapes", model(
        [
            node("Reshape", ["x", "cube"], ["x3"]),
            node("Flatten", ["x3"], ["x2"]),
            node("ArrayFeatureExtractor", ["x2", "columns"], ["some"], domain="ai.onnx.ml"),
            node("MatMul", ["some", "w"], ["h"]),
            node("Squeeze", ["h", "last"], ["one"]),
            node("Unsqueeze", ["one", "last"], ["two"]),
            node("Identity", ["two"], ["y"]),
        ],
        {"x": 6}, {"y": float_},
        {"cube": np.array([0, 2, 3]), "columns": np.array([4, 1, 0]), "w": f32(3, 1), "last": np.array([-1])},
    ), {"x": x}
    yield "net_casts", model(
        [
            node("Mul", ["x", "three"], ["wide"]),
            node("Cast", ["wide"], ["whole"], to=int_),
            node("Cast", ["whole"], ["back"], to=float_),
            node("Cast", ["whole"], ["any"], to=bool_),
            node("Gemm", ["back", "w"], ["y"]),
        ],
        {"x": 2}, {"y": float_, "whole": int_, "any": bool_}, {"three": np.float32(3.0), "w": f32(2, 1)},
    ), {"x": f32(rows, 2)}
    wild = 3 * f32(rows, 2)
    wild[:4] = [[np.inf, -np.inf], [np.nan, 0.0], [-0.0, 1e9], [-200.0, 100.0]]
    bounds = {"low": np.float32(-1.5), "high": np.array(2.0, dtype=np.float32)}
    yield "net_functions", model(
        [
            node("Exp", ["x"], ["e"]),
            node("Sqrt", ["x"], ["s"]),
            node("Reciprocal", ["x"], ["r"]),
            node("Clip", ["x", "low", "high"], ["c"]),
            node("Clip", ["x", "", "high"], ["d"]),
            node("Clip", ["x"], ["finite"]),
        ],
        {"x": 2}, {name: float_ for name in ("e", "s", "r", "c", "d", "finite")}, bounds,
    ), {"x": wild}
    yield "net_clip_by_attributes", model(
        [node("Clip", ["x"], ["c"], min=-1.5), node("Clip", ["x"], ["d"], max=0.5), node("Clip", ["x"], ["e"])],
        {"x": 2}, {name: float_ for name in ("c", "d", "e")}, opset=9,
    ), {"x": wild}
    yield "net_sums", model(
        [
            node("MatMul", ["x", "v"], ["flat"]),
            node("ReduceSum", ["x", "columns"], ["total"]),
            node("ReduceSum", ["x", "columns"], ["one"], keepdims=0),
            node("Sum", ["flat", "one", "flat"], ["sum"]),
            node("Cast", ["total"], ["any"], to=bool_),
            node("Not", ["any"], ["none"]),
        ],
        {"x": 6}, {"sum": float_, "total": float_, "none": bool_}, {"v": f32(6), "columns": np.array([1])},
    ), {"x": x}
    yield "net_reduced_by_attribute", model(
        [node("ReduceSum", ["x"], ["y"], axes=[1])], {"x": 6}, {"y": float_}, opset=11,
    ), {"x": x}
    yield "net_bias_read_twice", model(
        [
            node("MatMul", ["x", "w"], ["h"]),
            node("Identity", ["h"], ["alias"]),
            node("Add", ["alias", "b"], ["y"]),
            node("Relu", ["h"], ["z"]),
        ],
        {"x": 6}, {"y": float_, "z": float_, "h": float_}, {"w": f32(6, 2), "b": f32(2)},
    ), {"x": x}
    yield "net_latest_opset", model(
        [node("Gemm", ["x", "w"], ["h"]), node("Relu", ["h"], ["r"]), node("Softmax", ["r"], ["y"])],
        {"x": 6}, {"y": float_}, {"w": f32(6, 5)}, opset=24, ml=5,
    ), {"x": x}
    missing = x.copy()
    missing[random.random(missing.shape) < 0.2] = np.nan
    yield "net_missing", model(
        [
            node("Imputer", ["x"], ["full"], domain="ai.onnx.ml", imputed_value_floats=[0.5],
                 replaced_value_float=float("nan")),
            node("Scaler", ["full"], ["scaled"], domain="ai.onnx.ml", offset=[0.1], scale=[2.0]),
            node("Normalizer", ["scaled"], ["y"], domain="ai.onnx.ml", norm="L1"),
        ],
        {"x": 6}, {"y": float_},
    ), {"x": missing}
    for post in ("NONE", "LOGISTIC"):
        yield f"linear_one_score_{post.lower()}", model(
            [node("LinearClassifier", ["x"], ["label", "p"], domain="ai.onnx.ml", coefficients=f32(6).tolist(),
                  intercepts=[0.1], classlabels_strings=["low", "high"], post_transform=post)],
            {"x": 6}, {"label": string, "p": float_},
        ), {"x": x}
    for post in ("LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"):
        yield f"linear_three_scores_{post.lower()}", model(
            [node("LinearClassifier", ["x"], ["label", "p"], domain="ai.onnx.ml", coefficients=f32(18).tolist(),
                  intercepts=[0.1, 0.0, -0.3], classlabels_ints=[4, -2, 9], post_transform=post)],
            {"x": 6}, {"label": int_, "p": float_},
        ), {"x": x}
