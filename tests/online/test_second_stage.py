"""Second stage: River models by import path, ranks as scores, and errors that stop at the border."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from river import anomaly, compose, linear_model, preprocessing

from siphonwatch.models.account.features import FEATURES
from siphonwatch.models.online.second_stage import SLOW, SecondStage, SecondStageError, check, load, scaled


def scaled_svm() -> Any:
    return compose.Pipeline(preprocessing.StandardScaler(), anomaly.OneClassSVM(nu=0.1))


def scaled_trees() -> Any:
    return compose.Pipeline(preprocessing.MinMaxScaler(), anomaly.HalfSpaceTrees(seed=1))


def scaled_regression() -> Any:
    return compose.Pipeline(preprocessing.StandardScaler(), linear_model.LogisticRegression())


def broken() -> Any:
    raise RuntimeError("no weights")


class Fragile(anomaly.HalfSpaceTrees):  # type: ignore[misc]
    def score_one(self, x: dict[str, float]) -> float:
        if x["a"] > 0.9:
            raise KeyError("a is too large")
        return float("nan") if x["a"] < 0 else 0.5


instance = anomaly.HalfSpaceTrees(n_trees=3)
number = 3
HERE = __name__


def stream(n: int, seed: int = 0) -> list[dict[str, float]]:
    return [{"a": float(a), "b": float(b)} for a, b in np.random.default_rng(seed).normal(0.5, 0.1, (n, 2))]


@pytest.mark.parametrize(
    "path", ["river.anomaly:HalfSpaceTrees", "river.anomaly.HalfSpaceTrees", f"{HERE}:scaled_trees", f"{HERE}:instance"]
)
def test_detectors_pipelines_and_factories_are_loaded_and_rank_an_outlier_high(path: str) -> None:
    stage = SecondStage(load(path))
    for x in stream(1200):
        score = stage.score(x)
        assert math.isnan(score) if stage.learnt < stage.needed else 0.0 <= score <= 1.0
        stage.learn(x)
    assert stage.score({"a": 3.0, "b": -3.0}) > 0.9
    assert stage.errors == 0


def test_a_model_whose_scores_have_no_range_still_gives_ranks() -> None:
    stage = SecondStage(load(f"{HERE}:scaled_svm"))
    scores = []
    for x in stream(1200):
        if stage.learnt >= stage.needed:
            scores.append(stage.score(x))
        stage.learn(x)
    assert min(scores) >= 0.0
    assert max(scores) <= 1.0
    assert 0.3 < np.mean(scores) < 0.7
    assert stage.errors == 0


def test_a_named_instance_is_cloned_not_trained() -> None:
    stage = SecondStage(load(f"{HERE}:instance"))
    stage.learn({"a": 0.5})
    assert not instance.trees


def test_a_classifier_learns_from_labels_only_and_gives_its_probability() -> None:
    stage = SecondStage(load(f"{HERE}:scaled_regression"))
    untrained = stage.score({"a": 1.0, "b": 1.0})
    for x in stream(500):
        stage.learn(x)
    assert stage.score({"a": 1.0, "b": 1.0}) == untrained
    for x in stream(2000):
        stage.learn(x, label=x["a"] > 0.5)
    assert stage.score({"a": 0.8, "b": 0.5}) > 0.9 > 0.1 > stage.score({"a": 0.2, "b": 0.5})


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("HalfSpaceTrees", "no import path"),
        ("river.nowhere:Model", "importing river.nowhere failed"),
        ("river.anomaly:Nothing", "has no Nothing"),
        ("river.preprocessing:StandardScaler", "must be, or as a pipeline end in"),
        ("river.linear_model:LinearRegression", "must be, or as a pipeline end in"),
        ("river.anomaly:GaussianScorer", "must be, or as a pipeline end in"),
        ("river.anomaly:QuantileFilter", "needs no arguments"),
        (f"{HERE}:broken", "no weights"),
        (f"{HERE}:number", "is a int"),
    ],
)
def test_what_cannot_be_used_is_refused_with_setting_value_and_remedy(path: str, says: str) -> None:
    with pytest.raises(SecondStageError, match=says) as caught:
        load(path, "detection.second_stage")
    assert f"detection.second_stage = {path!r}" in str(caught.value)


def test_single_errors_are_counted_and_outlived() -> None:
    stage = SecondStage(Fragile(), max_errors=3)
    assert math.isnan(stage.score({"a": 0.95}))
    assert math.isnan(stage.score({"a": -1.0}))
    assert stage.errors == 2
    assert stage.reason is None
    stage.learnt = stage.needed
    assert stage.score({"a": 0.5}) == 0.5


def test_too_many_errors_switch_the_stage_off_and_say_why() -> None:
    stage = SecondStage(Fragile(), max_errors=3)
    for _ in range(5):
        stage.score({"a": 0.95})
    assert stage.errors == 3
    assert stage.reason is not None
    assert "Fragile switched off after 3 errors" in stage.reason
    assert "a is too large" in stage.reason
    assert math.isnan(stage.score({"a": 0.5}))


def test_an_error_in_learning_is_counted_too() -> None:
    stage = SecondStage(scaled_svm(), max_errors=1)
    stage.learn({"a": "text"})  # type: ignore[dict-item]
    assert stage.errors == 1
    assert stage.reason is not None
    assert "learning" in stage.reason


def test_a_checkpoint_takes_up_where_it_left_off() -> None:
    straight, first = SecondStage(scaled_svm()), SecondStage(scaled_svm())
    for x in stream(300):
        straight.score(x)
        straight.learn(x)
        first.score(x)
        first.learn(x)
    resumed = SecondStage.from_bytes(first.to_bytes())
    for x in stream(100, seed=1):
        assert resumed.score(x) == straight.score(x) >= 0.0
        resumed.learn(x)
        straight.learn(x)


def test_a_model_too_large_for_a_checkpoint_is_refused_with_its_size() -> None:
    stage = SecondStage(load("river.anomaly:HalfSpaceTrees"))
    stage.learn({"a": 0.5})
    with pytest.raises(SecondStageError, match=r"pickles to \d+ bytes.*choose a smaller model"):
        stage.to_bytes(limit=1000)


def test_a_damaged_checkpoint_is_refused_with_a_remedy() -> None:
    with pytest.raises(SecondStageError, match="start the stage afresh"):
        SecondStage.from_bytes(b"\x80\x05damaged")


def test_a_model_that_cannot_be_pickled_is_named() -> None:
    model = anomaly.HalfSpaceTrees()
    model.hook = lambda: None
    with pytest.raises(SecondStageError, match="HalfSpaceTrees cannot be pickled"):
        SecondStage(model).to_bytes()


NAMES = [feature.name for feature in FEATURES]


class Clock:
    """Processor time that each reading of moves on."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class Unpicklable(anomaly.HalfSpaceTrees):  # type: ignore[misc]
    def __reduce__(self) -> Any:
        raise TypeError("a connection cannot be pickled")


class Alike(anomaly.HalfSpaceTrees):  # type: ignore[misc]
    def score_one(self, x: dict[str, float]) -> float:
        return 0.5


class Hungry(anomaly.HalfSpaceTrees):  # type: ignore[misc]
    def learn_one(self, x: dict[str, float]) -> None:
        raise KeyError("user_age")


@pytest.mark.parametrize("model", [anomaly.HalfSpaceTrees(seed=1), anomaly.OneClassSVM(), scaled_trees(), scaled_svm()])
def test_what_river_has_for_a_stream_passes_the_trial_when_scaled(model: Any) -> None:
    check(scaled(model), NAMES, "scoring.second_stage", lambda: 0.0)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (scaled_regression(), "LogisticRegression is a classifier"),
        (Alike(), "1 different scores"),
        (Unpicklable(), "cannot be pickled"),
        (Hungry(), "fails on requests like ours.*user_age"),
    ],
)
def test_a_model_that_does_nothing_or_harm_is_refused_at_the_start(model: Any, says: str) -> None:
    with pytest.raises(SecondStageError, match=says):
        check(model, NAMES, "scoring.second_stage", lambda: 0.0)


def test_a_model_too_slow_for_the_scorer_is_refused_with_its_time() -> None:
    with pytest.raises(SecondStageError, match="ms a request, more than"):
        check(scaled(anomaly.HalfSpaceTrees(seed=1)), NAMES, "scoring.second_stage", Clock(SLOW * 1.1))


def test_the_trial_teaches_the_model_itself_nothing() -> None:
    model = scaled(anomaly.HalfSpaceTrees(seed=1))
    check(model, NAMES, "scoring.second_stage", lambda: 0.0)
    assert not list(model.steps.values())[-1].trees


def test_half_space_trees_tell_unlike_requests_apart_whatever_the_features_scale() -> None:
    stage = SecondStage(scaled(anomaly.HalfSpaceTrees(seed=1)))
    rng = np.random.default_rng(3)
    usual = [dict(zip(NAMES, row, strict=True)) for row in rng.normal(40.0, 3.0, (1200, len(NAMES))).tolist()]
    for x in usual:
        stage.score(x)
        stage.learn(x)
    odd = {name: 90.0 if i % 2 else -90.0 for i, name in enumerate(NAMES)}
    assert stage.score(odd) > 0.95
    assert len({round(stage.score(x), 3) for x in usual[:200]}) > 20


def test_a_state_that_cannot_be_kept_switches_the_stage_off_and_stops_nothing() -> None:
    stage = SecondStage(Unpicklable())
    assert stage.snapshot() == {}
    assert stage.reason is not None and "cannot be pickled" in stage.reason
    assert stage.errors == 1 and stage.snapshot() == {} and stage.errors == 1


def test_a_state_that_cannot_be_read_starts_the_stage_afresh_and_counts() -> None:
    stage = SecondStage(scaled_trees())
    stage.restore({"pickle": b"\x80\x05damaged"})
    assert stage.errors == 1 and stage.reason is None


def test_the_time_in_the_model_is_counted() -> None:
    stage = SecondStage(scaled_trees(), clock=Clock(0.5))
    stage.score({"a": 1.0})
    stage.learn({"a": 1.0})
    assert stage.seconds == 1.0
