"""Exports the models that tests/onnx_models.rs compares, each scored by onnxruntime.

    python export.py FOLDER

writes FOLDER/<name>/model.onnx and FOLDER/<name>/cases.json:
  inputs   name, columns, values (row by row; null is NaN, infinities are strings)
  outputs  name, type (f32, i64 or str), columns, values
The training data is seeded and tiny; what counts is what the exporters write.
"""

import json
import pathlib
import sys
import warnings

import numpy as np
import onnxruntime
import trees
import nets
import estimators

ROWS = 240


def scored(model: bytes, inputs: dict[str, np.ndarray]) -> list[dict]:
    """What onnxruntime makes of the rows: one entry for each output, in the model's order."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    outputs = []
    for meta, values in zip(session.get_outputs(), session.run(None, inputs)):
        if isinstance(values, list):  # ZipMap: a dictionary for each row
            values = np.array([[row[label] for label in row] for row in values], dtype=np.float32)
        values = np.asarray(values)
        rows = len(next(iter(inputs.values())))
        flat = values.reshape(rows, -1)
        if flat.dtype.kind in "OU":
            kind = "str"
        elif flat.dtype.kind in "ib":
            kind = "i64"
        else:
            kind = "f32"
        outputs.append({"name": meta.name, "type": kind, "columns": flat.shape[1], "values": plain(flat)})
    return outputs


def plain(values: np.ndarray) -> list:
    """The values as JSON can say them; NaN is null, infinities are strings."""
    if values.dtype.kind == "f":
        special = {"nan": None, "inf": "inf", "-inf": "-inf"}
        return [float(value) if np.isfinite(value) else special[str(value)] for value in values.ravel()]
    if values.dtype.kind in "ib":
        return [int(value) for value in values.ravel()]
    return [str(value) for value in values.ravel()]


def write(folder: pathlib.Path, name: str, model, inputs: dict[str, np.ndarray]) -> None:
    """Scores a model and writes it with its cases."""
    data = model.SerializeToString()
    cases = {
        "inputs": [
            {"name": key, "columns": values.reshape(len(values), -1).shape[1], "values": plain(values)}
            for key, values in inputs.items()
        ],
        "outputs": scored(data, inputs),
    }
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "model.onnx").write_bytes(data)
    (folder / name / "cases.json").write_text(json.dumps(cases))


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    warnings.filterwarnings("ignore")
    names = []
    for part in (estimators, trees, nets):
        for name, model, inputs in part.models(ROWS):
            write(folder, name, model, inputs)
            names.append(name)
    if len(names) != len(set(names)):
        sys.exit("two models have one name")
    print(f"{len(names)} models in {folder}")


if __name__ == "__main__":
    main()
