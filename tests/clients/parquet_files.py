"""Writes Parquet files with pyarrow and pandas, and reads what gristmill wrote.

usage: parquet_files.py write FOLDER | read FILE EXPECTED.json
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 5_000
START = 1_767_225_600_000_000


def table(unit, seed):
    """Rows of three machines with every type of column that is read, and some that are not."""
    draw = np.random.default_rng(seed)
    micros = START + np.arange(ROWS) * 10_000 + (0 if unit == "ms" else 7)
    scale = {"ms": 1 / 1_000, "us": 1, "ns": 1_000}[unit]
    times = (micros // 1_000 if unit == "ms" else micros * int(scale)).astype(np.int64)
    missing = draw.random(ROWS) < 0.1

    def holes(values, kind):
        return pa.array(values, kind, mask=missing)

    columns = {
        "machine": pa.array([f"P{row % 3}" for row in range(ROWS)]).dictionary_encode(),
        "ts": pa.array(times, pa.timestamp(unit, "UTC")),
        "single": holes(draw.normal(size=ROWS).astype(np.float32), pa.float32()),
        "double": holes(draw.normal(size=ROWS) * 10.0 ** draw.integers(-30, 30, ROWS), pa.float64()),
        "count": holes(draw.integers(-(2**62), 2**62, ROWS), pa.int64()),
        "small": holes(draw.integers(-100, 100, ROWS).astype(np.int16), pa.int16()),
        "on": holes(draw.random(ROWS) < 0.5, pa.bool_()),
        "state": holes([f'"{row}" ä' for row in range(ROWS)], pa.string()),
        "spectrum": pa.array(draw.normal(size=(ROWS, 3)).astype(np.float32).tolist(), pa.list_(pa.float32())),
        "bytes": pa.array([b"x"] * ROWS),
        "nested": pa.array([{"a": 1}] * ROWS),
    }
    return pa.table(columns)


def write(folder):
    for unit, compression in [("ms", "snappy"), ("us", "gzip"), ("ns", "lz4")]:
        made = table(unit, 7)
        pq.write_table(made, folder / f"{unit}.parquet", compression=compression, row_group_size=1_024)
        rows = made.drop_columns(["bytes", "nested"])
        rows = rows.set_column(1, "ts", rows["ts"].cast(pa.timestamp("us")).cast(pa.int64()))
        (folder / f"{unit}.json").write_text(json.dumps(rows.to_pylist()))
    # As pandas writes it: missing floats are null, times have its own unit.
    frame = pd.DataFrame({"machine": ["P1", "P1", "P2"], "ts": pd.to_datetime([0, 1, 2], unit="s", utc=True)})
    frame["double"] = [1.5, np.nan, -0.0]
    frame.to_parquet(folder / "pandas.parquet")
    pq.write_table(pa.table({"machine": ["P1"], "ts": pa.array([0]), "double": [np.inf]}), folder / "infinite.parquet")
    pq.write_table(pa.table({"machine": ["P1"], "ts": pa.array([0]), "single": [1e39]}), folder / "beyond.parquet")
    pq.write_table(pa.table({"machine": ["P1"], "ts": [b"x"]}), folder / "untimed.parquet")
    # As pandas has times unless it is told their zone.
    frame["ts"] = frame["ts"].dt.tz_localize(None)
    frame.to_parquet(folder / "naive.parquet")


def read(path, expected):
    """What gristmill wrote must be what the text says, by a reader of other people's make, without any cast."""
    got = pq.read_table(path)
    assert got.schema.field("time").type == pa.timestamp("us", "UTC"), got.schema
    rows = got.set_column(1, "time", got["time"].cast(pa.int64())).to_pylist()
    wanted = [json.loads(line) for line in Path(expected).read_text().splitlines()]
    assert len(rows) == len(wanted), (len(rows), len(wanted))
    types = {}

    def order(row):
        return row["offset"], row["row"], row["stream"]

    for row, want in zip(sorted(rows, key=order), sorted(wanted, key=order), strict=True):
        given = [row.pop(name) for name in ("value", "integer", "flag", "text")]
        value, artifact = want.pop("value"), want.pop("artifact", None)
        given = [one for one in given if one is not None]
        if isinstance(value, list):
            given = [json.loads(given[0])]
        if row["stream"] == "single":
            value, given = np.float32(value), [np.float32(one) for one in given]
            types["single"] = "float"
        assert given == [value] and row.pop("artifact") == artifact, (row, given, value)
        assert row == want, (row, want)
        types.setdefault(row["stream"], type(value).__name__)
    assert set(types.values()) == {"float", "int", "bool", "str", "list"}, types


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]))
    else:
        read(sys.argv[2], sys.argv[3])
