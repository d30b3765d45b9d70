"""Makes the artifacts in models/: python -m pip install onnx==1.19.0 && python make_models.py

anomaly.onnx reads the root mean square of the vibration (mm/s) and the mean temperature (°C) and gives a number between
0 and 1; wear/KEY.onnx reads the same vibration and what anomaly.onnx gives.
"""

from pathlib import Path

from onnx import TensorProto, checker, helper, save_model

FOLDER = Path(__file__).parent / "models"


def save(path, output, weights, bias, sigmoid):
    columns = len(weights)
    nodes = [helper.make_node("Gemm", ["input", "weights", "bias"], ["sum"])]
    if sigmoid:
        nodes.append(helper.make_node("Sigmoid", ["sum"], [output]))
    else:
        nodes[0].output[0] = output
    graph = helper.make_graph(
        nodes,
        output,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, columns])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, 1])],
        [
            helper.make_tensor("weights", TensorProto.FLOAT, [columns, 1], weights),
            helper.make_tensor("bias", TensorProto.FLOAT, [1], [bias]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_model(model, path)


save(FOLDER / "anomaly.onnx", "anomaly", [1.0, 0.125], -12.0, sigmoid=True)
save(FOLDER / "wear" / "default.onnx", "wear", [0.0, 1.0], 0.0, sigmoid=False)
for number in range(4):
    save(FOLDER / "wear" / f"machine-{number}.onnx", "wear", [0.0625, 0.5 + 0.125 * number], 0.0, sigmoid=False)
