"""Learns what temperature goes with which vibration, from what `grist run` wrote: python train.py

Reads readings.jsonl; writes warmth.onnx, and warmth.toml to deploy it with.
"""

import json
from collections import defaultdict

import numpy
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestRegressor

rows = defaultdict(dict)
with open("readings.jsonl", encoding="utf-8") as lines:
    for line in lines:
        if not line.endswith("\n"):
            break  # still being written
        reading = json.loads(line)
        rows[reading["key"], reading["time"]][reading["stream"]] = reading["value"]
rows = [row for row in rows.values() if {"vibration.rms", "temperature"} <= row.keys()]
x = numpy.array([[row["vibration.rms"]] for row in rows], dtype=numpy.float32)
y = numpy.array([row["temperature"] for row in rows], dtype=numpy.float32)

model = RandomForestRegressor(n_estimators=30, max_depth=6, random_state=0).fit(x, y)
with open("warmth.onnx", "wb") as file:
    file.write(to_onnx(model, x[:1]).SerializeToString())

# A row with what the model makes of it travels along: gristmill checks it before the model is deployed.
score = float(model.predict(x[:1])[0])
with open("warmth.toml", "w", encoding="utf-8") as file:
    file.write(f"""topology = "machine"
needs = ["vibration.rms: f32"]
provides = ["warmth: f32"]
model = {{ onnx = "warmth.onnx" }}
trial = [{{ given = {{ "vibration.rms" = {x[0, 0]} }}, gives = {{ warmth = {score} }}, within = 1e-3 }}]
""")
print(f"learned from {len(rows)} rows: a machine that vibrates with {x[0, 0]:.2f} mm/s has {score:.2f} °C")
