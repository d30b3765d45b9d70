"""Uses the inference protocol with Triton's own client, and compares what comes back with onnxruntime.

usage: open_inference.py HOST:PORT TOKEN WEAR.onnx DEFAULT.onnx STATES.onnx

The models that must be deployed: the family `wear` (the first file is that of the key machine-1), and `state` with six
inputs `s0` to `s5`, a text and a vector of three.
"""

import sys

import numpy as np
import onnxruntime
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

ROWS = 200


def rows_of(inputs, binary):
    """The same rows for the client and for onnxruntime."""
    generator = np.random.default_rng(7)
    table = generator.normal(size=(ROWS, len(inputs))).astype(np.float32)
    tensors = []
    for place, tensor in enumerate(inputs):
        # Both shapes of a column are taken.
        shape = [ROWS] if place % 2 == 0 else [ROWS, 1]
        sent = InferInput(tensor["name"], shape, tensor["datatype"])
        sent.set_data_from_numpy(table[:, place].reshape(shape), binary_data=binary)
        tensors.append(sent)
    return table, tensors


def refused(status, part, call):
    """The call must be refused with a status and a text."""
    try:
        call()
    except InferenceServerException as error:
        assert error.status() == str(status) and part in error.message(), error
    else:
        raise AssertionError(f"{part}: it was not refused")


def main(address, token, wear_path, default_path, state_path):
    client = InferenceServerClient(address)

    def may():
        # Anew each time: the client leaves its own headers in what it is given.
        return {"Authorization": f"Bearer {token}"}

    assert client.is_server_live() and client.is_server_ready()
    refused(401, "Bearer", client.get_server_metadata)
    server = client.get_server_metadata(headers=may())
    assert server["name"] == "gristmill" and "model_repository" in server["extensions"], server

    names = {model["name"]: model for model in client.get_model_repository_index(headers=may())}
    assert {"wear", "state"} <= names.keys() and names["wear"]["state"] == "READY", names
    assert client.is_model_ready("wear", headers=may()) and not client.is_model_ready("none", headers=may())
    wear = client.get_model_metadata("wear", headers=may())
    assert [tensor["name"] for tensor in wear["inputs"]] == ["vibration.rms", "anomaly"], wear
    version = wear["versions"][0]
    assert client.get_model_metadata("wear", model_version=version, headers=may()) == wear
    refused(404, "no other", lambda: client.get_model_metadata("wear", model_version="999", headers=may()))

    for path, parameters in [(wear_path, {"key": "machine-1"}), (default_path, {"key": "stranger"}), (default_path, None)]:
        session = onnxruntime.InferenceSession(path)
        for binary in [True, False]:
            table, tensors = rows_of(wear["inputs"], binary)
            outputs = [InferRequestedOutput("wear", binary_data=binary)]
            scored = client.infer(
                "wear", tensors, model_version=version, outputs=outputs, request_id="7", parameters=parameters, headers=may()
            )
            expected = session.run(None, {session.get_inputs()[0].name: table})[0].reshape(-1)
            np.testing.assert_allclose(scored.as_numpy("wear"), expected, rtol=1e-5, atol=1e-5)
            response = scored.get_response()
            assert response["id"] == "7" and response["model_version"] == version, response

    state = client.get_model_metadata("state", headers=may())
    assert [tensor["datatype"] for tensor in state["outputs"]] == ["BYTES", "FP32"], state
    session = onnxruntime.InferenceSession(state_path)
    table, tensors = rows_of(state["inputs"], True)
    labels, shares = session.run(None, {session.get_inputs()[0].name: table})
    scored = client.infer("state", tensors, headers=may())
    assert [label.decode() for label in scored.as_numpy("state")] == list(labels)
    np.testing.assert_allclose(scored.as_numpy("share"), shares, rtol=1e-5, atol=1e-5)
    as_json = client.infer("state", tensors, outputs=[InferRequestedOutput("state", binary_data=False)], headers=may())
    assert list(as_json.as_numpy("state")) == list(labels)

    refused(400, "missing", lambda: client.infer("state", tensors[:5], headers=may()))
    refused(400, "no such input", lambda: client.infer("wear", tensors, headers=may()))
    refused(404, "no model", lambda: client.infer("none", tensors, headers=may()))
    wrong = InferInput("vibration.rms", [1], "FP64").set_data_from_numpy(np.zeros(1))
    refused(400, "must be FP32", lambda: client.infer("wear", [wrong], headers=may()))
    refused(415, "Content-Encoding", lambda: client.infer("state", tensors, request_compression_algorithm="gzip", headers=may()))

    client.unload_model("wear", headers=may())
    assert not client.is_model_ready("wear", headers=may())
    names = {model["name"]: model for model in client.get_model_repository_index(headers=may())}
    assert names["wear"]["state"] == "UNAVAILABLE", names
    refused(404, "no model", lambda: client.infer("wear", tensors, headers=may()))
    client.load_model("wear", headers=may())
    client.load_model("wear", headers=may())
    assert client.is_model_ready("wear", headers=may())
    refused(404, "deploy it anew", lambda: client.load_model("none", headers=may()))
    refused(400, "PUT /v1/nodes", lambda: client.load_model("wear", config="{}", headers=may()))


if __name__ == "__main__":
    main(*sys.argv[1:])
