"""Running mean embedding: has an account's text moved away from the population's, or from its own past?

Works on decayed sums that the caller keeps for each account; never sees a clock, only the decay of the time passed.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.common.kernel import kernel
from siphonwatch.models.online.detector import BulkDetector, Vectors

FAST, SLOW, CROSS = range(3)
"""Places of the weights: both scales, and for `weight_sq` the product of both scales' weights."""
POPULATION, OWN = range(2)
"""Rows of `Reference.moments`: scatter of requests about the population's mean, and about their own account's."""
HORIZON = 100_000.0
"""Requests after which the reference forgets, by default."""
WARM = 32.0
"""Requests that a reference must have learnt before anything is tested against it."""
ONES = np.ones(2)

Single = npt.NDArray[np.float32]
Double = npt.NDArray[np.float64]


class Reference(NamedTuple):
    """What requests look like in general: the null hypothesis of the tests."""

    mean: Double
    """`(D,)` mean embedding of the population."""
    last: Double
    """`(2, D)` last residual about the population's mean, and about its account's own."""
    moments: Double
    """`(2, 2)` for each residual: trace of its covariance, trace of the covariance squared."""
    seen: Double
    """`(3,)` requests learnt, those learnt with an account's own mean, and the horizon."""


def reference_init(dimensions: int = 32, horizon: float = HORIZON) -> Reference:
    """Return a reference that has seen nothing.

    Parameters
    ----------
    dimensions
        D.
    horizon
        Requests after which older ones have lost all but 1/e of their weight.

    Raises
    ------
    ValueError
        A setting is out of range.
    """
    if dimensions < 1 or horizon < 2:
        raise ValueError(f"dimensions {dimensions} must be at least 1 and horizon {horizon} at least 2")
    return Reference(
        np.zeros(dimensions), np.zeros((2, dimensions)), np.zeros((2, 2)), np.array([0.0, 0.0, float(horizon)])
    )


@kernel
def embed_update(sums: Single, weight: Single, weight_sq: Single, x: Single, decay: Double, amount: Double) -> None:
    """Add one request to an account's decayed sums.

    Parameters
    ----------
    sums
        `(2, D) float32` weighted sums of embeddings, fast scale and slow.
    weight
        `(2,) float32` sums of the weights.
    weight_sq
        `(3,) float32` sums of the squared weights, and of the product of both scales' weights.
    x
        `(D,) float32` the request's embedding.
    decay
        `(2,) float64` factor of what is already there, exp(-dt / tau); 1 for a late request.
    amount
        `(2,) float64` weight of this request: 1, or exp(-lag / tau) for a late one.
    """
    for scale in range(2):
        weight[scale] = weight[scale] * decay[scale] + amount[scale]
        weight_sq[scale] = weight_sq[scale] * decay[scale] * decay[scale] + amount[scale] * amount[scale]
        for d in range(len(x)):
            sums[scale, d] = sums[scale, d] * decay[scale] + amount[scale] * x[d]
    weight_sq[CROSS] = weight_sq[CROSS] * decay[FAST] * decay[SLOW] + amount[FAST] * amount[SLOW]


@kernel
def reference_learn(reference: Reference, sums: Single, weight: Single, weight_sq: Single, x: Single) -> None:
    """Teach the reference one benign request, before `embed_update` adds it to its account.

    Both traces come from residuals: E r . r = trace(C) and, for independent residuals, E (r . r')**2 = trace(C**2), so
    no D x D matrix is kept. Requests of one account in a row make the second too large and the test too careful.

    Parameters
    ----------
    reference
        From `reference_init`.
    sums, weight, weight_sq
        The account's, as for `embed_update`.
    x
        `(D,) float32`.
    """
    mean, last, moments, seen = reference.mean, reference.last, reference.moments, reference.seen
    seen[POPULATION] = min(seen[POPULATION] + 1.0, seen[2])
    n = seen[POPULATION]
    square, product = 0.0, 0.0
    for d in range(len(x)):
        residual = x[d] - mean[d]
        square += residual * residual
        product += residual * last[POPULATION, d]
        last[POPULATION, d] = residual
        mean[d] += residual / n
    if n > 2.0:
        # The first residual is about no mean at all, and belongs neither here nor in the next product.
        moments[POPULATION, 0] += (square - moments[POPULATION, 0]) / (n - 2.0)
        moments[POPULATION, 1] += (product * product - moments[POPULATION, 1]) / (n - 2.0)
    if weight[SLOW] <= 0.0:
        return
    seen[OWN] = min(seen[OWN] + 1.0, seen[2])
    n = seen[OWN]
    effective = weight[SLOW] * weight[SLOW] / weight_sq[SLOW]
    # The account's mean scatters as well, by 1 / effective: taken out, so that the traces are those of requests.
    narrow = math.sqrt(effective / (effective + 1.0))
    square, product = 0.0, 0.0
    for d in range(len(x)):
        residual = (x[d] - sums[SLOW, d] / weight[SLOW]) * narrow
        square += residual * residual
        product += residual * last[OWN, d]
        last[OWN, d] = residual
    if n > 1.0:
        moments[OWN, 0] += (square - moments[OWN, 0]) / (n - 1.0)
        moments[OWN, 1] += (product * product - moments[OWN, 1]) / (n - 1.0)


@kernel
def _standardised(square: float, variance: float, moments: Double) -> float:
    """Return the squared distance of two means less what chance makes of it, in its standard deviations.

    `variance` is that of the difference, in variances of one request.
    """
    if variance <= 1e-9 or moments[1] <= 0.0:
        return 0.0
    return float((square / variance - moments[0]) / math.sqrt(2.0 * moments[1]))


@kernel
def embed_distance(reference: Reference, sums: Single, weight: Single, weight_sq: Single) -> tuple[float, float]:
    """Test an account's recent requests against the population's, and against its own past.

    The squared distance of two mean embeddings (a maximum mean discrepancy under the embedding's linear kernel) has
    expectation trace(C) v and variance 2 trace(C**2) v**2 under the null, v the sum of the squared weight differences.
    Decay enters through the effective number of requests, sum(w)**2 / sum(w**2).

    Parameters
    ----------
    reference
        From `reference_init`; both values are 0 until it has learnt `WARM` requests.
    sums, weight, weight_sq
        The account's, as for `embed_update`.

    Returns
    -------
    Two z-scores, of mean 0 and variance 1 for independent requests that nothing sets apart, growing with the squared
    shift and with the number of requests: the fast mean against the population's, and against the slow mean. Their
    right tail is that of a sum of chi-squares, heavier than normal: calibrate before reading them as probabilities.

    References
    ----------
    A. Gretton et al., "A kernel two-sample test", JMLR 13 (2012).
    """
    if weight[FAST] <= 0.0 or weight[SLOW] <= 0.0:
        return 0.0, 0.0
    fast, slow = 1.0 / weight[FAST], 1.0 / weight[SLOW]
    from_population, from_own = 0.0, 0.0
    for d in range(sums.shape[1]):
        recent = sums[FAST, d] * fast
        a = recent - reference.mean[d]
        b = recent - sums[SLOW, d] * slow
        from_population += a * a
        from_own += b * b
    recent_variance = weight_sq[FAST] * fast * fast
    shared = weight_sq[CROSS] * fast * slow
    own_variance = recent_variance + weight_sq[SLOW] * slow * slow - 2.0 * shared
    z_population, z_own = 0.0, 0.0
    if reference.seen[POPULATION] >= WARM:
        variance = recent_variance + 1.0 / reference.seen[POPULATION]
        z_population = _standardised(from_population, variance, reference.moments[POPULATION])
    if reference.seen[OWN] >= WARM:
        z_own = _standardised(from_own, own_variance, reference.moments[OWN])
    return z_population, z_own


class EmbedState(NamedTuple):
    """One stream's sums and its reference: what the River estimator keeps."""

    sums: Single
    weight: Single
    weight_sq: Single
    mean: Double
    last: Double
    moments: Double
    seen: Double
    decay: Double
    """`(2,)` per request."""


@kernel
def _score_row(state: EmbedState, x: Single) -> float:
    """Return the second value of `embed_distance` as it would be after `embed_update`, without keeping anything."""
    if state.seen[OWN] < WARM:
        return 0.0
    decay, sums = state.decay, state.sums
    fast = 1.0 / (state.weight[FAST] * decay[FAST] + 1.0)
    slow = 1.0 / (state.weight[SLOW] * decay[SLOW] + 1.0)
    square = 0.0
    for d in range(len(x)):
        difference = (sums[FAST, d] * decay[FAST] + x[d]) * fast - (sums[SLOW, d] * decay[SLOW] + x[d]) * slow
        square += difference * difference
    fast_sq = state.weight_sq[FAST] * decay[FAST] * decay[FAST] + 1.0
    slow_sq = state.weight_sq[SLOW] * decay[SLOW] * decay[SLOW] + 1.0
    shared = state.weight_sq[CROSS] * decay[FAST] * decay[SLOW] + 1.0
    variance = fast_sq * fast * fast + slow_sq * slow * slow - 2.0 * shared * fast * slow
    return _standardised(square, variance, state.moments[OWN])


@kernel
def _learn_row(state: EmbedState, x: Single) -> None:
    reference = Reference(state.mean, state.last, state.moments, state.seen)
    reference_learn(reference, state.sums, state.weight, state.weight_sq, x)
    embed_update(state.sums, state.weight, state.weight_sq, x, state.decay, ONES)


@kernel
def _run(state: EmbedState, rows: Vectors, score: bool, learn: bool, out: Double) -> None:
    for i in range(len(rows)):
        if score:
            out[i] = _score_row(state, rows[i])
        if learn:
            _learn_row(state, rows[i])


class MeanEmbeddingShift(BulkDetector):
    """How far the recent mean of a stream of vectors has moved from its long-run mean, as a z-score.

    A request is scored as if it had just been learnt. Missing values count as 0, the origin of an embedding.

    Parameters
    ----------
    fast
        Requests in which the recent mean forgets.
    slow
        Requests in which the long-run mean forgets.
    horizon
        Requests in which the scatter of single requests forgets.
    features
        Names in the order of an array's columns; `None` takes those of the first request, sorted.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> model = MeanEmbeddingShift(fast=50.0, slow=2000.0)
    >>> usual = model.score_learn_many(rng.normal(size=(3000, 8)))[-500:].mean()
    >>> shifted = model.score_learn_many(rng.normal(0.7, 1.0, size=(60, 8)))[-1]
    >>> bool(abs(usual) < 1.0 and shifted > 8.0)
    True

    References
    ----------
    A. Gretton et al., "A kernel two-sample test", JMLR 13 (2012).
    """

    def __init__(
        self,
        fast: float = 100.0,
        slow: float = 10_000.0,
        horizon: float = HORIZON,
        features: tuple[str, ...] | None = None,
    ) -> None:
        self.fast = fast
        self.slow = slow
        self.horizon = horizon
        self.features = features

    def _unit_test_skips(self) -> set[str]:
        # Finds a stream whose mean has moved; a single odd request is no such thing.
        return {"check_roc_auc"}

    def _start(self, n_features: int) -> EmbedState:
        if not 0.0 < self.fast < self.slow:
            raise ValueError(f"fast {self.fast} must be above 0 and below slow {self.slow}")
        reference = reference_init(n_features, self.horizon)
        return EmbedState(
            np.zeros((2, n_features), np.float32), np.zeros(2, np.float32), np.zeros(3, np.float32), *reference,
            decay=np.exp(-1.0 / np.array([self.fast, self.slow])),
        )  # fmt: skip

    def _rows(self, X: npt.NDArray[Any]) -> Vectors:
        return np.nan_to_num(super()._rows(X), copy=True, nan=0.0)

    def _vector(self, x: Any) -> Vectors:
        return np.nan_to_num(super()._vector(x), copy=False, nan=0.0)

    def _score(self, X: Vectors) -> Double:
        out = np.empty(len(X))
        _run(self.state, X, True, False, out)
        return out

    def _learn(self, X: Vectors) -> None:
        _run(self.state, X, False, True, np.empty(0))

    def _score_learn(self, X: Vectors) -> Double:
        out = np.empty(len(X))
        _run(self.state, X, True, True, out)
        return out
