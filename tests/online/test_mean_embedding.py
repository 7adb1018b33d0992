"""Mean embedding: decayed sums that do not depend on the order of requests within the grace."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from siphonwatch.models.online.mean_embedding import embed_update

D = 32
ONE = np.ones(2)


class Account:
    def __init__(self) -> None:
        self.sums = np.zeros((2, D), np.float32)
        self.weight = np.zeros(2, np.float32)
        self.weight_sq = np.zeros(2, np.float32)

    @property
    def state(self) -> tuple[npt.NDArray[np.float32], ...]:
        return self.sums, self.weight, self.weight_sq


def test_requests_within_the_grace_may_come_in_either_order() -> None:
    rng = np.random.default_rng(6)
    early, late = rng.integers(-127, 128, (2, D)).astype(np.float32)
    ordered, swapped = Account(), Account()
    gap = np.exp(-30.0 / np.array([3600.0, 604_800.0]))
    embed_update(*ordered.state, early, ONE, ONE)
    embed_update(*ordered.state, late, gap, ONE)
    embed_update(*swapped.state, late, ONE, ONE)
    embed_update(*swapped.state, early, ONE, gap)
    for one, other in zip(ordered.state, swapped.state, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
