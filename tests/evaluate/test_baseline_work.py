"""A heavy account costs every baseline work in proportion to its requests, counted in elements rather than seconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from baseline_streams import stream, texts
from river import anomaly

from siphonwatch.models.evaluate.baselines import Baseline, baselines, embedding_mmd, prada, seat

HEAVY = (5_000, 15_000)
BOUNDS = [(prada, "LARGEST_SET"), (prada, "TESTED"), (seat, "REMEMBERED"), (embedding_mmd, "REFERENCE")]
"""What keeps each linear; small here, so that an account of 5,000 requests is beyond all of them."""
BOUND = 200
LINEAR = 3.3
"""Three times the requests; what is paid once and what saturates may add or take a little."""


class Counting(np.ndarray):
    """An array that counts the elements which arithmetic on it, and on what comes of it, gives."""

    elements = 0

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        plain = [value.view(np.ndarray) if isinstance(value, Counting) else value for value in inputs]
        if out := options.get("out"):
            options["out"] = tuple(one.view(np.ndarray) if isinstance(one, Counting) else one for one in out)
        result = getattr(ufunc, method)(*plain, **options)
        Counting.elements += np.size(result)
        return result.view(Counting) if isinstance(result, np.ndarray) else result


def work(monkeypatch: pytest.MonkeyPatch, baseline: Baseline, heavy: int, without: str = "") -> int:
    """Elements that were computed, comparisons in PRADA's compiled loop, and days that River's trees took."""
    Counting.elements = 0
    nearest, learn = prada._nearest, anomaly.HalfSpaceTrees.learn_one

    def counted_nearest(vectors: Any, members: Any, distances: Any) -> int:
        size = nearest(np.asarray(vectors), members, distances)
        joined = np.zeros(len(vectors), np.int64)
        joined[members[1:size]] = 1
        Counting.elements += int(np.cumsum(joined).sum()) + len(vectors)
        return int(size)

    def counted_learn(self: anomaly.HalfSpaceTrees, x: dict[str, float]) -> None:
        Counting.elements += 1
        learn(self, x)

    with monkeypatch.context() as patched:
        for module, bound in BOUNDS:
            patched.setattr(module, bound, 10**6 if bound == without else BOUND)
        patched.setattr(prada, "_nearest", counted_nearest)
        patched.setattr(anomaly.HalfSpaceTrees, "learn_one", counted_learn)
        requests, owners, n = stream([texts(15_000, 4)[:heavy], texts(200, 5)])
        baseline.score(requests.view(Counting), owners, n)
    return Counting.elements


@pytest.mark.parametrize("baseline", baselines(), ids=lambda b: b.name)
def test_a_heavy_account_takes_linear_work(monkeypatch: pytest.MonkeyPatch, baseline: Baseline) -> None:
    light, heavy = (work(monkeypatch, baseline, size) for size in HEAVY)
    assert heavy <= LINEAR * light


@pytest.mark.parametrize(
    ("baseline", "bound"),
    [(prada.Prada(), "LARGEST_SET"), (seat.Seat(), "REMEMBERED"), (embedding_mmd.WindowedMMD(100), "REFERENCE")],
    ids=lambda value: getattr(value, "name", value),
)
def test_without_its_bound_the_work_is_seen_to_grow_faster(
    monkeypatch: pytest.MonkeyPatch, baseline: Baseline, bound: str
) -> None:
    light, heavy = (work(monkeypatch, baseline, size, without=bound) for size in HEAVY)
    assert heavy > 1.3 * LINEAR * light
