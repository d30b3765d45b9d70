"""Writes recorded streams and what pandas makes of them, for tests/operators_pandas.rs.

Usage: python tests/operators/reference.py [FOLDER]    (default target/operators)

The file operators.json has `streams` (times in µs, values, null for missing) and `cases`: an operator as a manifest
names it, its parameters and types, the streams it reads, and for each provided stream the values that pandas gives.
Operators with rows of their own also have the `times` of these rows.
"""
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

ROWS = 1500
SEED = 20260101
STATS = ["mean", "std", "min", "max", "rms", "slope", "count", "sum"]


def streams():
    """Recorded streams by name, with irregular times: steps of 20 to 1,500 ms, and two gaps of minutes."""
    random = np.random.default_rng(SEED)
    steps = random.integers(20, 1500, ROWS) * 1000 + random.integers(0, 1000, ROWS)
    steps[[400, 1100]] += [130_000_000, 400_000_000]
    times = pd.to_datetime(1_767_225_600_000_000 + np.cumsum(steps), unit="us", utc=True)
    swing = 10 * np.sin(np.arange(ROWS) / 40) + np.cumsum(random.normal(0, 0.3, ROWS))
    # As many decimals as a sensor has, so that every reader of JSON gets the same bits.
    values = np.round(50 + swing + random.normal(0, 2, ROWS), 6)
    holes = np.where(random.random(ROWS) < 0.1, np.nan, values)
    holes[700:800] = np.nan  # longer than the windows of rows
    return {
        "steady": ("f64", pd.Series(values, times)),
        "narrow": ("f32", pd.Series(values.astype(np.float32).astype(np.float64), times)),
        "holes": ("f64", pd.Series(holes, times)),
        "whole": ("i64", pd.Series(np.round(values * 100), times)),
        "far": ("f64", pd.Series(np.round(values + 1e6, 6), times)),
        "labels": ("str", pd.Series(np.where(values > 50, "high", None), times, dtype=object)),
        "flags": ("bool", pd.Series(np.where(random.random(ROWS) < 0.1, None, values > 50), times, dtype=object)),
    }


def slope(window, by_rows):
    """Least squares by numpy, per row or per second."""
    here = window.notna().to_numpy()
    if here.sum() < 2:
        return np.nan
    places = np.arange(len(window)) if by_rows else (window.index - window.index[0]).total_seconds().to_numpy()
    places = places[here] - places[here].mean()
    values = window.to_numpy()[here]
    return np.polyfit(places, values - values.mean(), 1)[0]


def rolling(series, window, stat, ddof, min_rows):
    windows = series.rolling(window, min_periods=min_rows)
    if stat == "std":
        # Not windows.std(): its running variance drifts, to 1.7e-5 for a window of one value behind a long hole.
        return windows.apply(lambda values: np.std(values[~np.isnan(values)], ddof=ddof), raw=True)
    if stat == "count":
        return windows.count().where(windows.mean().notna())  # else 0 where there are fewer than min_rows
    if stat == "rms":
        return np.sqrt((series * series).rolling(window, min_periods=min_rows).mean())
    if stat == "slope":
        return windows.apply(slope, raw=False, args=(isinstance(window, int),))
    return getattr(windows, stat)()


def tumbling(series, length, stat, ddof):
    groups = series.resample(length, origin="epoch")
    if stat == "std":
        return groups.std(ddof=ddof)
    if stat == "rms":
        return np.sqrt((series * series).resample(length, origin="epoch").mean())
    if stat == "slope":
        return groups.apply(lambda window: slope(window, False))
    return getattr(groups, stat)()


def hysteresis(series, above, below):
    alarms, on = [], False
    for value in series:
        on = True if value >= above else False if value <= below else on
        alarms.append(None if np.isnan(value) else on)
    return pd.Series(alarms, series.index, dtype=object)


def cases(recorded):
    for stream in ["steady", "narrow", "holes", "whole", "far"]:
        series = recorded[stream][1]
        for window, ddof, min_rows in [(60, 0, 1), (10, 1, 5), (1, 0, 1), ("60s", 0, 1), ("7500ms", 1, 3)]:
            stats = [stat for stat in STATS if stat != "std" or window != 1]
            place = {"rows": window} if isinstance(window, int) else {"span": window}
            parameters = {**place, "stats": stats, "ddof": ddof, "min_rows": min_rows}
            yield "rolling", parameters, stream, [rolling(series, window, s, ddof, min_rows) for s in stats], None
        for length, text, ddof, min_rows in [("60s", "1min", 0, 1), ("15s", "15s", 1, 4)]:
            full = tumbling(series, length, "count", ddof) >= min_rows
            results = [tumbling(series, length, stat, ddof)[full] for stat in STATS]
            parameters = {"length": text, "stats": STATS, "ddof": ddof, "min_rows": min_rows}
            yield "window", parameters, stream, results, results[0].index + pd.Timedelta(length)
        mean = series.ewm(alpha=0.1, adjust=False, ignore_na=True).mean().where(series.notna())
        yield "ewma", {"alpha": 0.1}, stream, [mean], None
        mean = series.ewm(halflife=7, adjust=False, ignore_na=True).mean().where(series.notna())
        yield "ewma", {"half_life": 7}, stream, [mean], None
        offset = {"whole": 5000, "far": 1_000_050}.get(stream, 50)
        width = 500 if stream == "whole" else 5
        alarms = hysteresis(series, offset + width, offset - width)
        yield "threshold", {"above": offset + width, "below": offset - width}, stream, [alarms], None
    for stream in recorded:
        for rows in [1, 30]:
            yield "lag", {"rows": rows}, stream, [recorded[stream][1].shift(rows)], None
    for stream in ["steady", "holes", "whole"]:
        for rows in [1, 30]:
            yield "diff", {"rows": rows}, stream, [recorded[stream][1].diff(rows)], None


# What it provides, the expression, and the same for pandas.eval where it is written otherwise there.
EXPRESSIONS = [
    ("f64", "steady / far * 100 - 3.5", None),
    ("f64", "(steady - 20) * (steady + 0.25) / (far % 7 + 1)", None),
    ("f64", "sqrt(abs(steady - 50)) + sin(steady) * cos(far / 1000) - tanh(steady / 100) + 3", None),
    ("f64", "exp(-steady / 50) + log(far) + floor(steady) - ceil(steady / 7)", None),
    ("f64", "pow(steady / 50, 1.5) * -2", "(steady / 50) ** 1.5 * -2"),
    ("f64", "holes * 2 + steady - holes / 3", None),
    ("f64", "f64(whole) / 3 + f64(narrow)", "whole / 3 + narrow"),
    ("i64", "whole + 3 * whole - 7 % 4", None),
    ("bool", "steady > 50 and far < 1000052 or not steady >= 45", None),
    ("bool", "(whole > 5000) == (steady > 50)", None),
    ("bool", "coalesce(labels, '-') == 'high' and steady != 50", "labels == 'high' and steady != 50"),
]


def evaluated(recorded):
    values = {name: series for name, (_, series) in recorded.items()}
    for element, text, other in EXPRESSIONS:
        read = [name for name in recorded if name in text]
        result = pd.eval(other or text, engine="python", local_dict=values)
        yield element, text, read, result


def plain(values):
    """As JSON: null for what is missing."""
    return [None if value is None or value != value else getattr(value, "item", lambda: value)() for value in values]


def micros(times):
    return [int(time) for time in times.as_unit("us").asi8]


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "target/operators")
    folder.mkdir(parents=True, exist_ok=True)
    recorded = streams()
    same_type = {"lag", "diff"}
    written = {
        "streams": {
            name: {"element": element, "times": micros(series.index), "values": plain(series)}
            for name, (element, series) in recorded.items()
        },
        "cases": [
            {
                "operator": operator,
                "parameters": parameters,
                "stream": stream,
                "provides": [
                    recorded[stream][0] if operator in same_type else "bool" if operator == "threshold" else "f64"
                ] * len(results),
                "times": None if times is None else micros(times),
                "expected": [plain(result) for result in results],
            }
            for operator, parameters, stream, results, times in cases(recorded)
        ],
    }
    written["cases"] += [
        {
            "operator": "expr",
            "parameters": text,
            "stream": read[0],
            "also": read[1:],
            "provides": [element],
            "times": None,
            "expected": [plain(result)],
        }
        for element, text, read, result in evaluated(recorded)
    ]
    (folder / "operators.json").write_text(json.dumps(written, allow_nan=False))
    print(f"{len(written['cases'])} cases by pandas {pd.__version__} in {folder}")


if __name__ == "__main__":
    main()
