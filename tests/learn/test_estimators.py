"""A fitted scikit-learn or River model becomes arrays that score as it does; whatever is not in the list is refused."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import pytest
from river import compose, forest, linear_model, optim, preprocessing, tree
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    PolynomialFeatures,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.tree import DecisionTreeClassifier

from siphonwatch.models.common.tensors import read_tensors, write_tensors
from siphonwatch.models.detect.support import Support
from siphonwatch.models.learn.estimators import EstimatorError, arrays_from, check_estimator

WIDTH = 9


class Feature(NamedTuple):
    name: str


FEATURES = [Feature(f"f{k}") for k in range(WIDTH)]
NAMES = [feature.name for feature in FEATURES]


def data(seed: int, n: int = 600, missing: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Features with repeated values, constants and far ones; two classes that some of them tell apart."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, WIDTH)).astype(np.float32)
    x[:, 1] = rng.integers(0, 4, n)
    x[:, 2] = 3.0
    x[:, 3] *= 1e4
    x[:, 4] = np.where(rng.random(n) < 0.6, 0.0, x[:, 4])
    y = x[:, 0] + 0.5 * x[:, 1] - x[:, 4] + rng.normal(size=n) * 0.5 > 0.7
    if missing:
        x[rng.random(x.shape) < missing] = np.nan
    return x, y


def scored(model: Any, library: str = "sklearn") -> Support:
    check_estimator(model, library)
    arrays = arrays_from(model, NAMES)
    return Support("one", read_tensors(write_tensors(arrays)), FEATURES)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(max_iter=500),
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(StandardScaler(with_mean=False, with_std=False), DecisionTreeClassifier(max_depth=4)),
        make_pipeline(StandardScaler(with_mean=False), LogisticRegression()),
        make_pipeline(RobustScaler(with_centering=False, unit_variance=True), LogisticRegression()),
        make_pipeline(MinMaxScaler((-1, 2)), LogisticRegression()),
        make_pipeline(RobustScaler(), HistGradientBoostingClassifier(max_iter=5)),
        make_pipeline(MaxAbsScaler(), LogisticRegression()),
        make_pipeline(QuantileTransformer(n_quantiles=50), LogisticRegression()),
        make_pipeline(QuantileTransformer(n_quantiles=20), RandomForestClassifier(5, max_depth=4, random_state=0)),
        DecisionTreeClassifier(max_depth=6, random_state=0),
        RandomForestClassifier(20, max_leaf_nodes=30, random_state=0),
        ExtraTreesClassifier(10, max_depth=5, random_state=0, class_weight="balanced"),
        GradientBoostingClassifier(n_estimators=20, random_state=0),
        GradientBoostingClassifier(n_estimators=5, init="zero", random_state=0),
        HistGradientBoostingClassifier(max_iter=40, random_state=0),
        HistGradientBoostingClassifier(max_iter=9, monotonic_cst=[1, 0, 0, 0, -1, 0, 0, 0, 0]),
    ],
    ids=lambda model: type(model).__name__ if not hasattr(model, "steps") else "|".join(model.named_steps),
)
def test_scores_are_those_of_scikit_learn(model: Any, seed: int) -> None:
    x, y = data(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x.astype(np.float64), y)
    rows = np.concatenate([x, data(seed + 50)[0], 1e5 * data(seed + 60, 50)[0], np.zeros((1, WIDTH), np.float32)])
    support = scored(model)
    wide = rows.astype(np.float64)
    np.testing.assert_allclose(support.probability(rows), model.predict_proba(wide)[:, 1], rtol=1e-6, atol=1e-9)
    if hasattr(model, "decision_function"):
        np.testing.assert_allclose(support.raw(rows), model.decision_function(wide), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "model",
    [
        HistGradientBoostingClassifier(max_iter=40),
        DecisionTreeClassifier(max_depth=6, random_state=0),
        RandomForestClassifier(20, max_depth=5, random_state=0),
        make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=9)),
        make_pipeline(QuantileTransformer(n_quantiles=30), HistGradientBoostingClassifier(max_iter=9)),
    ],
    ids=lambda model: type(model).__name__ if not hasattr(model, "steps") else "|".join(model.named_steps),
)
def test_what_is_no_number_goes_where_scikit_learn_sends_it(model: Any) -> None:
    x, y = data(4, missing=0.2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x.astype(np.float64), y)
    rows = np.concatenate([x, data(5, missing=0.5)[0], np.full((1, WIDTH), np.nan, np.float32)])
    wanted = model.predict_proba(rows.astype(np.float64))[:, 1]
    np.testing.assert_allclose(scored(model).probability(rows), wanted, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    "make",
    [
        lambda: linear_model.LogisticRegression(),
        lambda: preprocessing.StandardScaler() | linear_model.LogisticRegression(optim.SGD(0.1)),
        lambda: preprocessing.StandardScaler(with_std=False) | tree.HoeffdingTreeClassifier(20, leaf_prediction="mc"),
        lambda: compose.Pipeline(tree.HoeffdingTreeClassifier(20, leaf_prediction="mc", delta=0.1)),
    ],
)
def test_scores_are_those_of_river(make: Any, seed: int) -> None:
    x, y = data(seed, 2000)
    x[:, 3] /= 1e4
    model = make()
    for row, bad in zip(x.tolist(), y.tolist(), strict=True):
        model.learn_one(dict(zip(NAMES, row, strict=True)), bad)
    rows = np.concatenate([x[:200], data(seed + 9)[0]])
    rows[-1, 0] = np.nan if "Hoeffding" in str(model) else 0.0
    wanted = [model.predict_proba_one(dict(zip(NAMES, row, strict=True))).get(True, 0.0) for row in rows.tolist()]
    support = scored(model, "river")
    np.testing.assert_allclose(support.probability(rows), wanted, rtol=1e-6, atol=1e-9)
    assert len(set(support.probability(rows).tolist())) > 2, "it learnt something"


class Sneaky(LogisticRegression):
    """A class of its own, whatever it derives from."""


@pytest.mark.parametrize(
    ("model", "library", "said"),
    [
        (GaussianNB(), "sklearn", "GaussianNB cannot become a learned support; these can: sklearn.preprocessing.Stand"),
        (Sneaky(), "sklearn", "test_estimators.Sneaky cannot become"),
        (make_pipeline(PolynomialFeatures(), LogisticRegression()), "sklearn", "PolynomialFeatures cannot become"),
        (StandardScaler(), "sklearn", "StandardScaler is not a classifier"),
        (make_pipeline(MinMaxScaler(), StandardScaler(), LogisticRegression()), "sklearn", "one scaler before"),
        (make_pipeline(MinMaxScaler(clip=True), LogisticRegression()), "sklearn", r"MinMaxScaler\(clip=True\).*False"),
        (make_pipeline(MaxAbsScaler(clip=True), LogisticRegression()), "sklearn", r"MaxAbsScaler\(clip=True\).*False"),
        (GradientBoostingClassifier(loss="exponential"), "sklearn", "use loss='log_loss'"),
        (make_pipeline(QuantileTransformer(), LogisticRegression()), "sklearn", "use at most 200"),
        (LogisticRegression(), "river", "sklearn.linear_model._logistic.LogisticRegression cannot.*river.tree"),
        (forest.ARFClassifier(), "river", "ARFClassifier cannot become"),
        (tree.HoeffdingTreeClassifier(), "river", r"leaf_prediction='nba'\) cannot become arrays: use .*'mc'"),
        (linear_model.LogisticRegression(loss=optim.losses.Hinge()), "river", "gives no probability"),
        (object(), "river", "builtins.object cannot"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_what_is_not_in_the_list_is_refused_by_name_before_it_is_fitted(model: Any, library: str, said: str) -> None:
    with pytest.raises(EstimatorError, match=said):
        check_estimator(model, library)


def test_a_model_that_tells_nothing_or_was_fitted_on_other_classes_is_refused() -> None:
    x, y = data(1)
    with pytest.raises(EstimatorError, match="looks at no feature"):
        arrays_from(DecisionTreeClassifier(max_depth=1).fit(np.zeros_like(x), y), NAMES)
    with pytest.raises(EstimatorError, match="attack and honest"):
        arrays_from(DecisionTreeClassifier().fit(x, np.arange(len(x)) % 3), NAMES)
    with pytest.raises(EstimatorError, match="learnt nothing"):
        arrays_from(tree.HoeffdingTreeClassifier(leaf_prediction="mc"), NAMES)


def test_features_that_a_model_does_not_look_at_are_left_out() -> None:
    x, y = data(1)
    support = scored(DecisionTreeClassifier(max_depth=1).fit(x, y))
    assert len(support.reads) == 1
