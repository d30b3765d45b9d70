"""Models fitted with scikit-learn, LightGBM and XGBoost."""

import lightgbm
import numpy as np
import xgboost
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType as MltoolsFloat
from skl2onnx import to_onnx
from sklearn import calibration, decomposition, ensemble, impute, linear_model, neural_network, pipeline, preprocessing, svm
from sklearn import tree

FEATURES = 8
SEED = 7


def data(rows: int, classes: int = 0, missing: float = 0.0, targets: int = 1, positive: bool = False):
    """Rows of `FEATURES` features, a target (above 0 with `positive`), and other rows to score."""
    random = np.random.default_rng(SEED + classes)
    x = random.normal(size=(400 + rows, FEATURES)).astype(np.float32)
    score = 2.0 * x[:, 0] + np.sin(3.0 * x[:, 1]) - x[:, 2] * x[:, 3] + 0.1 * random.normal(size=len(x))
    if classes:
        edges = np.quantile(score, np.linspace(0, 1, classes + 1)[1:-1])
        y = np.digitize(score, edges)
    elif targets > 1:
        y = np.stack([score * (k + 1) + x[:, 4 + k] for k in range(targets)], axis=1).astype(np.float32)
    else:
        y = (np.exp(score / 4) if positive else score).astype(np.float32)
    if missing:
        x[random.random(x.shape) < missing] = np.nan
    return x[:400], y[:400], x[400:]


def sklearn_models(rows: int):
    """(name, fitted estimator, its options for the exporter, rows to score)."""
    def fit(name, estimator, options=None, labels=None, **kinds):
        x, y, score = data(rows, **kinds)
        if labels:
            y = np.array(labels)[y]
        return name, estimator.fit(x, y), options, score

    no_zipmap = {"zipmap": False}
    pipe = pipeline.make_pipeline
    yield fit("linear_regression", linear_model.LinearRegression())
    yield fit("ridge", linear_model.Ridge())
    yield fit("ridge_targets_3", linear_model.Ridge(), targets=3)
    yield fit("scaler_ridge", pipe(preprocessing.StandardScaler(), linear_model.Ridge()))
    yield fit("minmax_ridge", pipe(preprocessing.MinMaxScaler(), linear_model.Ridge()))
    yield fit("robust_lasso", pipe(preprocessing.RobustScaler(), linear_model.Lasso(alpha=0.01)))
    yield fit("minmax_clip_ridge", pipe(preprocessing.MinMaxScaler(clip=True), linear_model.Ridge()))
    yield fit("pca_whiten_ridge", pipe(decomposition.PCA(3, whiten=True), linear_model.Ridge()))
    yield fit("poisson", linear_model.PoissonRegressor(), positive=True)
    yield fit("gamma", linear_model.GammaRegressor(), positive=True)
    yield fit("tweedie", linear_model.TweedieRegressor(power=1.5), positive=True)
    yield fit("imputer_scaler_ridge",
              pipe(impute.SimpleImputer(), preprocessing.StandardScaler(), linear_model.Ridge()), missing=0.1)
    for norm in ("l1", "l2", "max"):
        yield fit(f"normalizer_{norm}", pipe(preprocessing.Normalizer(norm), linear_model.Ridge()))
    yield fit("logistic_binary", linear_model.LogisticRegression(), no_zipmap, classes=2)
    yield fit("logistic_binary_zipmap", linear_model.LogisticRegression(), classes=2)
    yield fit("logistic_3", linear_model.LogisticRegression(), no_zipmap, classes=3)
    yield fit("logistic_3_zipmap_strings", linear_model.LogisticRegression(), labels=["idle", "run", "worn"], classes=3)
    yield fit("logistic_raw_scores", linear_model.LogisticRegression(), no_zipmap | {"raw_scores": True}, classes=3)
    yield fit("sgd_log_loss_3", linear_model.SGDClassifier(loss="log_loss", random_state=SEED), no_zipmap, classes=3)
    yield fit("calibrated_3", calibration.CalibratedClassifierCV(linear_model.LogisticRegression(), cv=2), no_zipmap, classes=3)
    yield fit("linear_svc", svm.LinearSVC(), classes=3)
    yield fit("decision_tree", tree.DecisionTreeRegressor(max_depth=5, random_state=SEED))
    yield fit("decision_tree_deep", tree.DecisionTreeRegressor(random_state=SEED))
    yield fit("decision_tree_classifier", tree.DecisionTreeClassifier(max_depth=6, random_state=SEED), no_zipmap, classes=3)
    yield fit("random_forest", ensemble.RandomForestRegressor(100, max_depth=6, random_state=SEED))
    yield fit("random_forest_missing", ensemble.RandomForestRegressor(20, max_depth=6, random_state=SEED), missing=0.1)
    yield fit("random_forest_targets_2", ensemble.RandomForestRegressor(20, max_depth=8, random_state=SEED), targets=2)
    yield fit("random_forest_binary", ensemble.RandomForestClassifier(30, max_depth=6, random_state=SEED), no_zipmap, classes=2)
    yield fit("random_forest_strings", ensemble.RandomForestClassifier(30, random_state=SEED),
              labels=["idle", "run", "worn"], classes=3)
    yield fit("extra_trees", ensemble.ExtraTreesRegressor(30, max_depth=7, random_state=SEED))
    yield fit("extra_trees_classifier", ensemble.ExtraTreesClassifier(30, max_depth=7, random_state=SEED), no_zipmap, classes=3)
    yield fit("gradient_boosting", ensemble.GradientBoostingRegressor(n_estimators=50, max_depth=4, random_state=SEED))
    yield fit("gradient_boosting_binary", ensemble.GradientBoostingClassifier(n_estimators=30, random_state=SEED), no_zipmap, classes=2)
    yield fit("gradient_boosting_3", ensemble.GradientBoostingClassifier(n_estimators=20, random_state=SEED), no_zipmap, classes=3)
    trees = ensemble.RandomForestRegressor(10, max_depth=4, random_state=SEED)
    yield fit("voting", ensemble.VotingRegressor([("linear", linear_model.Ridge()), ("trees", trees)]))
    yield fit("hist_gradient_boosting", ensemble.HistGradientBoostingRegressor(max_iter=40, random_state=SEED), missing=0.1)
    yield fit("hist_gradient_boosting_binary",
              ensemble.HistGradientBoostingClassifier(max_iter=30, random_state=SEED), no_zipmap, missing=0.1, classes=2)
    yield fit("hist_gradient_boosting_3",
              ensemble.HistGradientBoostingClassifier(max_iter=20, random_state=SEED), no_zipmap, missing=0.1, classes=3)
    mlp = dict(hidden_layer_sizes=(16,), max_iter=60, random_state=SEED)
    yield fit("mlp_relu", neural_network.MLPRegressor(**mlp))
    yield fit("mlp_tanh", neural_network.MLPRegressor(activation="tanh", **mlp))
    yield fit("mlp_logistic", neural_network.MLPRegressor(activation="logistic", **mlp))
    yield fit("mlp_binary", neural_network.MLPClassifier(**mlp), no_zipmap, classes=2)
    yield fit("mlp_3_strings", neural_network.MLPClassifier(**mlp), no_zipmap, labels=["idle", "run", "worn"], classes=3)


def boosted_models(rows: int):
    """(name, model, rows to score) from LightGBM and XGBoost."""
    kind = [("input", MltoolsFloat([None, FEATURES]))]

    def light(name, estimator, zipmap=False, categorical=False, **kinds):
        x, y, score = data(rows, **kinds)
        if categorical:
            for part in (x, score):
                part[:, 0] = np.abs(np.round(part[:, 0] * 3))
            y = (np.isin(x[:, 0], [1, 3, 4]) * 2.0 + x[:, 1]).astype(np.float32)
        estimator.fit(x, y, categorical_feature=[0] if categorical else "auto")
        return name, convert_lightgbm(estimator, initial_types=kind, zipmap=zipmap, target_opset=15), score

    def extreme(name, estimator, **kinds):
        x, y, score = data(rows, **kinds)
        estimator.fit(x, y)
        return name, convert_xgboost(estimator, initial_types=kind, target_opset=15), score

    options = dict(n_estimators=40, random_state=SEED, verbose=-1)
    yield light("lightgbm", lightgbm.LGBMRegressor(**options))
    yield light("lightgbm_missing", lightgbm.LGBMRegressor(**options), missing=0.1)
    yield light("lightgbm_categorical", lightgbm.LGBMRegressor(min_data_per_group=5, **options), categorical=True)
    for objective in ("poisson", "gamma", "tweedie"):
        yield light(f"lightgbm_{objective}", lightgbm.LGBMRegressor(objective=objective, **options), positive=True)
    yield light("lightgbm_binary", lightgbm.LGBMClassifier(**options), classes=2)
    yield light("lightgbm_binary_zipmap", lightgbm.LGBMClassifier(**options), zipmap=True, classes=2)
    yield light("lightgbm_3", lightgbm.LGBMClassifier(**options), classes=3)
    yield light("lightgbm_3_missing", lightgbm.LGBMClassifier(**options), classes=3, missing=0.1)
    options = dict(n_estimators=40, max_depth=6, random_state=SEED, n_jobs=1)
    yield extreme("xgboost", xgboost.XGBRegressor(**options))
    yield extreme("xgboost_missing", xgboost.XGBRegressor(**options), missing=0.1)
    for objective in ("count:poisson", "reg:gamma", "reg:tweedie"):
        name = f"xgboost_{objective.split(':')[1]}"
        yield extreme(name, xgboost.XGBRegressor(objective=objective, **options), positive=True)
    yield extreme("xgboost_binary", xgboost.XGBClassifier(**options), classes=2)
    yield extreme("xgboost_3", xgboost.XGBClassifier(**options), classes=3)
    yield extreme("xgboost_3_missing", xgboost.XGBClassifier(**options), classes=3, missing=0.1)


def models(rows: int):
    """(name, model, inputs) for export.py."""
    for name, estimator, options, score in sklearn_models(rows):
        options = {id(estimator): options} if options else None
        yield name, to_onnx(estimator, score[:1], options=options, target_opset={"": 17, "ai.onnx.ml": 3}), {"X": score}
    for name, model, score in boosted_models(rows):
        yield name, model, {"input": score}
