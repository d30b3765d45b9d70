"""Trees made by hand: every mode, aggregate and transform, with missing values."""

import numpy as np
from onnx import TensorProto, helper

from nets import model

SEED = 13
FEATURES = 5
MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]


class Builder:
    """Gathers the lists that an ensemble is made of."""

    def __init__(self, random, modes, tracks):
        self.random, self.modes, self.tracks = random, modes, tracks
        self.nodes = {name: [] for name in (
            "treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids",
            "missing_value_tracks_true")}
        self.leaves = []
        self.trees = 0

    def tree(self, depth: int) -> None:
        """Adds a random tree; thresholds are halves, so that equality happens."""
        columns = {name: [] for name in self.nodes}

        def grow(level: int) -> int:
            index = len(columns["nodeids"])
            leaf = level == depth or (level > 1 and self.random.random() < 0.15)
            row = (self.trees, index, int(self.random.integers(FEATURES)), float(self.random.integers(-4, 5)) / 2,
                   "LEAF" if leaf else str(self.random.choice(self.modes)), 0, 0,
                   int(self.tracks and self.random.random() < 0.5))
            for name, value in zip(columns, row):
                columns[name].append(value)
            if leaf:
                self.leaves.append((self.trees, index))
            else:
                columns["truenodeids"][index] = grow(level + 1)
                columns["falsenodeids"][index] = grow(level + 1)
            return index

        grow(0)
        for name in columns:
            self.nodes[name] += columns[name]
        self.trees += 1

    def attributes(self, prefix: str, weights) -> dict:
        """The attributes; `weights` are (leaf number, target, weight)."""
        attributes = {f"nodes_{name}": values for name, values in self.nodes.items()}
        attributes[f"{prefix}_treeids"] = [self.leaves[leaf][0] for leaf, _, _ in weights]
        attributes[f"{prefix}_nodeids"] = [self.leaves[leaf][1] for leaf, _, _ in weights]
        attributes[f"{prefix}_ids"] = [target for _, target, _ in weights]
        attributes[f"{prefix}_weights"] = [float(np.float32(weight)) for _, _, weight in weights]
        return attributes


def models(rows: int):
    """(name, model, inputs) for export.py."""
    random = np.random.default_rng(SEED)
    x = (random.integers(-6, 7, size=(rows, FEATURES)) / 2).astype(np.float32)
    x[random.random(x.shape) < 0.5] += np.float32(0.1)
    x[random.random(x.shape) < 0.15] = np.nan
    x[0, :2] = [np.inf, -np.inf]
    x[1, :2] = [-0.0, 0.0]

    def regressor(name, modes, depth, trees=12, targets=1, every=True, tracks=True, share=False,
                  **options):
        builder = Builder(random, modes, tracks)
        for _ in range(trees):
            builder.tree(depth)
        # With `share` a row's leaves add up to more than 0 and less than 0.4: onnxruntime's PROBIT is noise around a half.
        weigh = (lambda: 0.4 * random.random() / trees) if share else random.normal
        weights = [(leaf, target, weigh()) for leaf in range(len(builder.leaves)) for target in range(targets)
                   if every or random.random() < 0.6]
        node = helper.make_node("TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=targets,
                                **builder.attributes("target", weights), **options)
        return name, model([node], {"x": FEATURES}, {"y": TensorProto.FLOAT}), {"x": x}

    def classifier(name, classes, only=None, positive=False, depth=4, trees=9, labels=None, **options):
        builder = Builder(random, MODES[:4], True)
        for _ in range(trees):
            builder.tree(depth)
        sample = random.random if positive else random.normal
        chosen = range(classes) if only is None else [only]
        weights = [(leaf, target, sample() / trees) for leaf in range(len(builder.leaves)) for target in chosen]
        labels = labels or {"classlabels_int64s": list(range(classes))}
        kind = TensorProto.STRING if "classlabels_strings" in labels else TensorProto.INT64
        node = helper.make_node("TreeEnsembleClassifier", ["x"], ["label", "p"], domain="ai.onnx.ml",
                                **builder.attributes("class", weights), **labels, **options)
        return name, model([node], {"x": FEATURES}, {"label": kind, "p": TensorProto.FLOAT}), {"x": x}

    for mode in MODES:
        for tracks in (False, True):
            flag = "_tracks" if tracks else ""
            yield regressor(f"tree_{mode.lower()}{flag}", [mode], 4, tracks=tracks)
    yield regressor("trees_all_modes_shallow", MODES, 3, trees=30)
    yield regressor("trees_all_modes_deep", MODES, 9)
    yield regressor("trees_orders_deep", MODES[:4], 11)
    yield regressor("trees_depth_6", MODES[:4], 6, trees=40)
    for rule in ("AVERAGE", "MIN", "MAX"):
        yield regressor(f"trees_{rule.lower()}", MODES, 4, aggregate_function=rule, base_values=[0.25])
        yield regressor(f"trees_{rule.lower()}_targets_3", MODES, 4, targets=3, every=False, aggregate_function=rule,
                        base_values=[0.5, -1.0, 2.0])
    yield regressor("trees_targets_4", MODES, 8, targets=4, every=False)
    yield regressor("trees_softmax_targets_3", MODES[:2], 3, targets=3, post_transform="SOFTMAX")
    yield regressor("trees_softmax_zero_targets_3", MODES[:2], 3, trees=2, targets=3, every=False,
                    post_transform="SOFTMAX_ZERO")
    yield regressor("trees_logistic_targets_2", MODES[:2], 3, targets=2, post_transform="LOGISTIC")
    yield regressor("trees_logistic_ignored", MODES[:2], 3, post_transform="LOGISTIC")
    strings = {"classlabels_strings": ["good", "worn"]}
    yield classifier("classes_2_one_positive", 2, only=0, positive=True)
    yield classifier("classes_2_one_mixed", 2, only=0, base_values=[0.1])
    yield classifier("classes_2_one_mixed_logistic", 2, only=0, post_transform="LOGISTIC", labels=strings)
    yield classifier("classes_2_one_positive_logistic", 2, only=0, positive=True, post_transform="LOGISTIC")
    yield classifier("classes_2_second", 2, only=1, post_transform="SOFTMAX", labels={"classlabels_int64s": [5, 9]})
    yield classifier("classes_2_second_positive", 2, only=1, positive=True)
    yield classifier("classes_2_both", 2, labels=strings)
    yield classifier("classes_2_both_base", 2, base_values=[0.2], post_transform="LOGISTIC")
    yield classifier("classes_4", 4, labels={"classlabels_strings": ["a", "b", "c", "d"]})
    yield classifier("classes_4_base", 4, base_values=[0.1, 0.2, -0.1, 0.0], post_transform="SOFTMAX")
    yield classifier("classes_4_one_scored", 4, only=2, post_transform="SOFTMAX_ZERO")
    yield regressor("trees_probit", MODES[:2], 3, share=True, post_transform="PROBIT")
    yield regressor("trees_probit_targets_2", MODES[:2], 3, targets=2, share=True, post_transform="PROBIT")
    yield classifier("classes_3_probit", 3, positive=True, base_values=[-0.25] * 3, post_transform="PROBIT")
