"""Online isolation forest: structure, window, subsampling, and detection on generated and (where present) real data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.models.online.isolation_forest import OnlineIsolationForest
from siphonwatch.models.online.isolation_regrow import regrow

SHARED = Path(__file__).parents[3] / "shared" / "data" / "bench" / "ADBench"


def auc(labels: npt.NDArray[np.bool_], scores: npt.NDArray[np.float32]) -> float:
    """Probability that an anomaly scores above a normal request, ties counted half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positive = int(labels.sum())
    return float((ranks[labels].sum() - positive * (positive + 1) / 2) / (positive * (len(labels) - positive)))


def assert_sound(model: OnlineIsolationForest, known: int | None) -> None:
    """Counts add up over every split, and no tree is full of points it should have split or merged away."""
    state = model.state
    leaf_samples = model.max_leaf_samples
    for tree in range(model.n_trees):
        assert known is None or state.points[tree, 1] == known
        stack = [(1, 0)]
        while stack:
            node, depth = stack.pop()
            left = int(state.down[tree, node])
            if left == node:
                assert np.isnan(state.split[tree, node])
                continue
            assert left == 2 * node
            assert state.points[tree, left] + state.points[tree, left + 1] == state.points[tree, node]
            assert state.points[tree, node] >= leaf_samples * 2**depth
            stack += [(left, depth + 1), (left + 1, depth + 1)]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 400), st.sampled_from([0.0, 0.2]), st.booleans())
def test_trees_stay_sound_whatever_is_learnt(seed: int, n: int, missing: float, constant: bool) -> None:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)).astype(np.float32)
    X[rng.random(X.shape) < missing] = np.nan
    if constant:
        X[:, 0] = 1.0
    model = OnlineIsolationForest(5, 4, 64, 1.0, seed, features=("a", "b", "c"))
    scores = model.score_learn_many(X)
    assert np.isfinite(scores).all()
    assert ((scores >= 0) & (scores <= 1)).all()
    assert_sound(model, min(n, 64))


@pytest.mark.parametrize("value", [np.inf, -np.inf, 3.4e38, -3.4e38, 0.0, np.nan])
def test_extreme_values_neither_break_scores_nor_trees(value: float) -> None:
    X = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    X[::7, 0] = value
    model = OnlineIsolationForest(6, 4, 64, 1.0, features=("a", "b"))
    assert np.isfinite(model.score_learn_many(X)).all()
    assert_sound(model, 64)


def test_a_tree_forgets_exactly_what_it_learnt_when_subsampled() -> None:
    X = np.random.default_rng(1).normal(size=(3000, 2)).astype(np.float32)
    model = OnlineIsolationForest(16, 8, 512, subsample=0.25, features=("a", "b"))
    for part in np.array_split(X, 100):
        model.learn_many(part)
        roots = model.state.points[:, 1]
        assert (roots >= 0).all()
        assert (roots <= 512).all()
    # 512 draws of one in four: 128 with a standard deviation of 10.
    assert (abs(model.state.points[:, 1] - 128) < 60).all()
    assert_sound(model, None)


def test_outliers_score_above_the_crowd_they_stand_off_from() -> None:
    rng = np.random.default_rng(2)
    X = rng.normal(size=(6000, 6)).astype(np.float32)
    labels = rng.random(6000) < 0.01
    X[labels] += np.float32(4.0)
    scores = OnlineIsolationForest(features=tuple("abcdef")).score_learn_many(X)
    assert auc(labels[200:], scores[200:]) > 0.97


def test_what_was_rare_becomes_usual_once_the_window_has_moved_there() -> None:
    rng = np.random.default_rng(3)
    model = OnlineIsolationForest(window_size=512, max_leaf_samples=16, features=("a", "b"))
    model.learn_many(rng.normal(size=(1000, 2)))
    there = np.full((1, 2), 8.0)
    before = model.score_many(there)[0]
    model.learn_many(rng.normal(8.0, 1.0, size=(1000, 2)))
    assert model.score_many(there)[0] < before - 0.1


def test_another_seed_draws_other_trees() -> None:
    X = np.random.default_rng(4).normal(size=(500, 2))
    one, other = (OnlineIsolationForest(seed=seed, features=("a", "b")).score_learn_many(X) for seed in (1, 2))
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(
    "setting", [{"n_trees": 0}, {"max_leaf_samples": 1}, {"window_size": 8}, {"subsample": 0.0}, {"subsample": 1.5}]
)
def test_settings_out_of_range_are_refused_by_name(setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(setting))):
        OnlineIsolationForest(**setting).learn_one({"a": 1.0})  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "least"), [("16_http", 0.98), ("32_shuttle", 0.97)])
def test_published_benchmarks_are_ranked_as_the_paper_reports(name: str, least: float) -> None:
    path = SHARED / f"{name}.npz"
    if not path.exists():
        pytest.skip(f"ADBench's {name}.npz is not beside this checkout")
    with np.load(path) as data:
        order = np.random.default_rng(0).permutation(len(data["X"]))[:60_000]
        X, labels = data["X"].astype(np.float32)[order], data["y"][order].astype(bool)
    scores = OnlineIsolationForest(features=tuple(f"x{i}" for i in range(X.shape[1]))).score_learn_many(X)
    assert auc(labels, scores) > least


def test_a_renewed_tree_knows_the_points_that_it_knew() -> None:
    X = np.random.default_rng(5).normal(size=(3000, 2)).astype(np.float32)
    X[::11, 1] = np.nan
    for subsample in (1.0, 0.25):
        model = OnlineIsolationForest(8, 8, 512, subsample, features=("a", "b"))
        model.learn_many(X)
        before = model.state.points[:, 1].copy()
        for tree in range(8):
            regrow(model.state, tree)
        assert model.state.points[:, 1].tolist() == before.tolist()
        assert_sound(model, None)


def test_every_tree_is_renewed_once_a_turn() -> None:
    model = OnlineIsolationForest(8, 8, 64, 1.0, features=("a", "b"))
    rows = np.random.default_rng(6).normal(size=(8 * 64 + 64, 2)).astype(np.float32)
    model.learn_many(rows[:64])
    model.state.split[:, 1] = 100.0  # all splits beyond any point: what is grown anew shows
    model.state.feature[:, 1] = 0
    for row in rows[64:]:
        model.learn_many(row[None])
    assert (model.state.split[:, 1] != 100.0).all()


def test_the_published_forest_keeps_its_roots() -> None:
    model = OnlineIsolationForest(8, 8, 64, 1.0, renewed=False, features=("a", "b"))
    rows = np.random.default_rng(6).normal(size=(2000, 2)).astype(np.float32)
    model.learn_many(rows[:64])
    roots = model.state.split[:, 1].copy()
    model.learn_many(rows[64:])
    assert model.state.split[:, 1].tobytes() == roots.tobytes()


def test_a_cluster_beyond_what_the_first_points_spanned_is_told_apart() -> None:
    rng = np.random.default_rng(7)
    X = rng.normal(size=(20_000, 3)).astype(np.float32)
    labels = rng.random(20_000) < 0.004
    labels[:200] = False
    X[labels] = np.float32(40.0) + rng.normal(size=(int(labels.sum()), 3)).astype(np.float32)
    X[:, 1:] = rng.normal(size=(20_000, 2))
    renewed, published = (
        auc(labels, OnlineIsolationForest(32, 32, 2048, 1.0, 3, renewed, ("a", "b", "c")).score_learn_many(X))
        for renewed in (True, False)
    )
    assert renewed > 0.995
    assert renewed >= published


def test_a_burst_that_fills_the_published_window_stays_rare_in_ours() -> None:
    rng = np.random.default_rng(8)
    X = rng.normal(size=(30_000, 3)).astype(np.float32)
    labels = np.zeros(30_000, np.bool_)
    labels[20_000:22_000] = True
    X[labels, 0] += np.float32(12.0)
    ours = auc(labels, OnlineIsolationForest(features=("a", "b", "c")).score_learn_many(X))
    published = OnlineIsolationForest(32, 32, 2048, 1.0, renewed=False, features=("a", "b", "c"))
    assert ours > 0.85
    assert ours > auc(labels, published.score_learn_many(X)) + 0.2
