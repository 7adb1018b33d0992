"""The promises of every estimator with a bulk path, as one check that tests run over all of them.

Raises on a broken promise; never changes the caller's estimator.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from siphonwatch.models.online.detector import BulkDetector, Vectors


class BrokenPromise(AssertionError):
    """An estimator does not do what every estimator with a bulk path promises."""


def _require(holds: bool, promise: str, model: Any) -> None:
    if not holds:
        raise BrokenPromise(f"{type(model).__name__}: {promise}")


def _same(a: Vectors, b: Vectors) -> bool:
    return a.dtype == b.dtype and a.tobytes() == b.tobytes()


def _same_state(a: BulkDetector, b: BulkDetector) -> bool:
    first, second = a.snapshot(), b.snapshot()
    return first.keys() == second.keys() and all(first[k].tobytes() == second[k].tobytes() for k in first)


def _batches(X: Vectors, seed: int) -> Iterator[Vectors]:
    """Cut rows into batches of 0 to 97."""
    rng = np.random.default_rng(seed)
    start = 0
    while start < len(X):
        end = start + int(rng.integers(0, 98))
        yield X[start:end]
        start = end


def check_bulk(estimator_factory: Callable[[], BulkDetector], X: npt.NDArray[Any]) -> None:
    """Check one estimator's bulk path, state and memory.

    Parameters
    ----------
    estimator_factory
        Returns a new, untrained estimator whose `features` name the columns of `X`.
    X
        `(n, F) float32`; enough rows for windows to turn over.

    Raises
    ------
    BrokenPromise
        Bulk and one-by-one differ in a bit, as do two ways to cut into batches, two runs, or a run through a pickle or
        through arrays in the middle; scoring changes the state; scores are not finite; or the state grows.

    Examples
    --------
    >>> from siphonwatch.models.online.half_space_trees import HalfSpaceTrees
    >>> X = np.random.default_rng(0).random((300, 2), np.float32)
    >>> check_bulk(lambda: HalfSpaceTrees(n_trees=4, height=3, window_size=50, features=("a", "b")), X)
    """
    X = np.ascontiguousarray(X, np.float32)
    whole = estimator_factory()
    names = whole.features
    if names is None:
        raise ValueError("estimator_factory must name the features, so that columns have an order")
    expected = whole.score_learn_many(X)
    _require(bool(np.isfinite(expected).all()), "scores are finite", whole)

    single = estimator_factory()
    scores = np.empty(len(X), np.float32)
    for i, row in enumerate(X):
        x = dict(zip(names, row.tolist(), strict=True))
        scores[i] = single.score_one(x)
        single.learn_one(x)
    _require(_same(scores, expected), "the bulk path gives what one by one gives", whole)
    _require(_same_state(single, whole), "the bulk path learns what one by one learns", whole)

    cut = estimator_factory()
    _require(
        _same(np.concatenate([cut.score_learn_many(part) for part in _batches(X, 1)]), expected),
        "scores do not depend on batches", whole,
    )  # fmt: skip
    learnt = estimator_factory()
    for part in _batches(X, 2):
        learnt.learn_many(part)
    _require(_same_state(cut, whole) and _same_state(learnt, whole), "the state does not depend on batches", whole)

    before = whole.snapshot()
    first, second = whole.score_many(X), np.concatenate([whole.score_many(part) for part in _batches(X, 3)])
    after = whole.snapshot()
    _require(_same(first, second), "scoring alone does not depend on batches", whole)
    _require(all(before[k].tobytes() == after[k].tobytes() for k in before), "scoring does not learn", whole)

    half = len(X) // 2
    for promise, move in (("a pickle", _through_pickle), ("arrays", lambda m: _through_arrays(m, estimator_factory()))):
        begun = estimator_factory()
        start = begun.score_learn_many(X[:half])
        size = begun.nbytes
        resumed = move(begun)
        end = resumed.score_learn_many(X[half:])
        _require(_same(np.concatenate([start, end]), expected), f"{promise} in the middle changes nothing", whole)
        _require(resumed.nbytes == size, "the state does not grow", whole)


def _through_pickle(model: BulkDetector) -> BulkDetector:
    copy: BulkDetector = pickle.loads(pickle.dumps(model))  # noqa: S301 - written on this line
    return copy


def _through_arrays(model: BulkDetector, fresh: BulkDetector) -> BulkDetector:
    fresh.restore(model.snapshot(), model.features or ())
    return fresh
