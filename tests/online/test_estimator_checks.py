"""Every estimator keeps River's conventions and our promises about bulk paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import river.checks
from river import metrics

from siphonwatch.models.online.checks import BrokenPromise, check_bulk
from siphonwatch.models.online.detector import BulkDetector
from siphonwatch.models.online.half_space_trees import HalfSpaceTrees
from siphonwatch.models.online.isolation_forest import OnlineIsolationForest

F = ("a", "b", "c", "d", "e", "f")
FACTORIES: dict[str, Callable[[], BulkDetector]] = {
    "hst": lambda: HalfSpaceTrees(features=F),
    "hst-odd-trees": lambda: HalfSpaceTrees(n_trees=7, height=4, window_size=33, features=F),
    "oif": lambda: OnlineIsolationForest(window_size=512, features=F),
    "oif-subsampled": lambda: OnlineIsolationForest(7, 8, 300, subsample=0.4, features=F),
}


class Cards:
    """A stream shaped like River's credit-card set, which River downloads: 30 features, 3 % of them off."""

    def __init__(self, n: int) -> None:
        rng = np.random.default_rng(0)
        self.labels = (rng.random(n) < 0.03).tolist()
        values = rng.normal(size=(n, 30)) * 0.12 + 0.5 + np.array(self.labels)[:, None] * 0.45
        self.rows = [{f"V{i:02d}": float(v) for i, v in enumerate(row)} for row in values]

    def __iter__(self) -> Iterator[tuple[dict[str, float], bool]]:
        return iter(zip(self.rows, self.labels, strict=True))


def check_roc_auc(detector: Any, dataset: Cards) -> None:
    """River's `check_roc_auc` by River's own metric, since scikit-learn is not among our dependencies."""
    area = metrics.ROCAUC(n_thresholds=200)
    scores, labels = [], []
    for x, y in dataset:
        scores.append(detector.score_one(x))
        labels.append(y)
        detector.learn_one(x)
    low, high = min(scores), max(scores)
    for score, y in zip(scores, labels, strict=True):
        area.update(y, (score - low) / (high - low))
    assert area.get() >= 0.5


def river_checks() -> Iterator[Any]:
    patch = pytest.MonkeyPatch()
    patch.setattr(river.checks, "_yield_datasets", lambda model, scale=1: [Cards(1000 * scale)])
    patch.setattr(river.checks.anomaly, "check_roc_auc", check_roc_auc)
    try:
        for model in (HalfSpaceTrees(), OnlineIsolationForest(window_size=512)):
            for check in river.checks.yield_checks(model):
                if check.__name__ not in model._unit_test_skips():
                    yield pytest.param(model, check, id=f"{type(model).__name__}-{check.__name__}")
    finally:
        patch.undo()


@pytest.mark.parametrize(("model", "check"), list(river_checks()))
def test_estimator_passes_rivers_own_check(model: Any, check: Callable[[Any], None]) -> None:
    check(model.clone())


def table(n: int, missing: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(11)
    X = rng.beta(2, 5, (n, len(F))).astype(np.float32)
    X[rng.random(n) < 0.02] += np.float32(0.5)
    X[rng.random(X.shape) < missing] = np.nan
    return X


@pytest.mark.parametrize("missing", [0.0, 0.1])
@pytest.mark.parametrize("name", FACTORIES)
def test_estimator_keeps_the_promises_of_a_bulk_path(name: str, missing: float) -> None:
    check_bulk(FACTORIES[name], table(1500, missing))


class PerBatch(HalfSpaceTrees):
    """Forgets its window at the end of each batch: what `check_bulk` is there to catch."""

    def _learn(self, X: Any) -> None:
        super()._learn(X)
        self.state.mass[:] = 0


def test_check_bulk_catches_an_estimator_that_depends_on_batches() -> None:
    with pytest.raises(BrokenPromise, match="one by one"):
        check_bulk(lambda: PerBatch(features=F), table(600))


def test_state_of_other_settings_is_refused_with_the_field_named() -> None:
    written = HalfSpaceTrees(n_trees=4, features=F)
    written.learn_many(table(10))
    with pytest.raises(ValueError, match=r"feature.*settings changed"):
        HalfSpaceTrees(n_trees=5, features=F).restore(written.snapshot(), F)


@pytest.mark.parametrize("shape", [(6,), (3, 5)])
def test_rows_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected"):
        HalfSpaceTrees(features=F).learn_many(np.zeros(shape))


def test_a_first_request_without_features_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one feature"):
        HalfSpaceTrees().learn_one({})
