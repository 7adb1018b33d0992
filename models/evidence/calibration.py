"""Calibration: a detector's score in one account-hour as an e-value, by cohort and band of the week.

It learns from the account-hours it is given and never decides whose they are.

The unit is the account-hour and its summary the highest score within it, so dependence between an hour's requests
costs nothing. Two p-values say how rare so high a score is among benign account-hours:

- *conformal*: against the N account-hours learnt, as if `PRIOR` more had followed the detector's promise. For an hour
  exchangeable with those, `P(p <= u) <= u (1 + N + PRIOR) / (1 + N)` whatever the promise is worth: its error wears
  off. A band of the week is a mixture of its own hours and of `POOL` hours like its cohort's, so it starts from those.
- *promised*: the promise itself plus what the learnt hours show above the score. Valid from the first hour where the
  promise holds; else too small only where none of the learnt hours was as high, one hour in N + 1. It counts at most
  what the promise says `MAX_RISE` lower: however many accounts teach, they can't take this half away.

Each becomes an e-value by the mixture of all power calibrators, and the mean of both is taken, which has mean at most
1 however they depend on each other. The promise: one benign account-hour in 20 reaches the detector's `null`, and
beyond it the tail goes on falling at least as fast, down to `RAREST` at a score of 1.

So the chance of a false alarm is as promised for detectors whose benign tail lies at most `MAX_RISE` beyond their
promise, and for the stated p-values with equal weights; forgetting and unequal weights are held to it by simulation.

Sources: Vovk, Gammerman & Shafer 2005 (conformal p-values); Vovk & Wang 2021 (calibrators, averages of e-values).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.row import MAX_PATTERNS
from siphonwatch.models.common.arrays import Parts, like
from siphonwatch.models.common.kernel import inlined, kernel
from siphonwatch.models.evidence.places import Seats

COHORTS = ("conversation", "program", "rest")
BANDS = 8
"""Weekdays and weekends in quarters of a day, UTC."""
POOLED = BANDS
"""Place of the sketch of all bands."""
AT_NULL, RAREST = 0.05, 1e-9
"""Promised shares of benign account-hours that reach `null`, and 1."""
BINS = 64
"""Bins of equal width in the logarithm of the promise, so that every detector is resolved where its tail is."""
DEPTH = -math.log(RAREST)
PRIOR = 1000.0
POOL = 500.0
MAX_RISE = 0.05
HALF_LIFE_POOLED, HALF_LIFE_BAND = 14_000.0, 4_000.0
"""Account-hours after which one weighs half."""
RENEW, RENEW_NEXT = 64, 128
"""Account-hours of a band between renewals of its e-values, and of a cohort between those of its bands in turn."""

LEARNT = ("counts", "total", "taught", "e", "level")
"""What of a reference is learnt; the rest follows from the cards."""
Double = npt.NDArray[np.float64]


class Reference(NamedTuple):
    """What benign account-hours score, by cohort, band and pattern, and the e-values that follow."""

    counts: Double
    """`(COHORTS, BANDS + 1, MAX_PATTERNS, BINS)` weights of account-hours learnt."""
    total: Double
    """`(COHORTS, BANDS + 1, MAX_PATTERNS)` their sums."""
    taught: npt.NDArray[np.int64]
    """`(COHORTS, BANDS + 1, MAX_PATTERNS)` account-hours learnt, ever."""
    e: npt.NDArray[np.float32]
    """`(COHORTS, BANDS, MAX_PATTERNS, BINS)` e-value of an account-hour whose highest score is in the bin."""
    level: npt.NDArray[np.float32]
    """`(COHORTS, BANDS, MAX_PATTERNS)` least score that is evidence: where the e-value exceeds 1."""
    edges: Double
    """`(MAX_PATTERNS, BINS)` lowest score of each bin."""
    promise: Double
    """`(MAX_PATTERNS, BINS)` promised share of benign account-hours at or above the edge."""
    risen: Double
    """`(MAX_PATTERNS, BINS)` promised share at or above `MAX_RISE` below the edge."""
    shape: Double
    """`(MAX_PATTERNS, 3)` null level, slope of -log(promise) up to it and beyond it."""
    seats: Seats
    """Which place of the above, and of a row's evidence, is of which column of the scores."""


def make_reference(nulls: Sequence[float], trust: Sequence[float], given: Seats | None = None) -> Reference:
    """Return a reference that has learnt nothing.

    Parameters
    ----------
    nulls
        Each pattern's null level, in (0, 1).
    trust
        Each pattern's trust, positive: below 1 its promise counts to this power only.
    given
        Each pattern's place; in their order by default.
    """
    n = len(nulls)
    given = given or Seats(np.arange(n), np.zeros(n, np.int64), np.zeros(n, np.int64))
    at = given.place.tolist()
    shape = np.ones((MAX_PATTERNS, 3))
    at_null = -math.log(AT_NULL)
    for p, null in zip(at, nulls, strict=True):
        first = at_null / null
        shape[p] = null, first, max(first, (DEPTH - at_null) / (1.0 - null))
    depths = np.arange(BINS) * (DEPTH / BINS)
    edges = np.ones((MAX_PATTERNS, BINS))
    promise, risen = np.ones((2, MAX_PATTERNS, BINS))
    for p, trusted in zip(at, trust, strict=True):
        null, first, second = shape[p]
        edges[p] = np.where(depths <= at_null, depths / first, null + (depths - at_null) / second)
        power = min(trusted, 1.0)
        promise[p] = np.exp(-depths * power)
        for b in range(BINS):
            risen[p, b] = math.exp(-depth(shape[p], max(float(edges[p, b]) - MAX_RISE, 0.0)) * power)
    bands = (len(COHORTS), BANDS + 1, MAX_PATTERNS)
    made = Reference(
        np.zeros((*bands, BINS)), np.zeros(bands), np.zeros(bands, np.int64),
        np.zeros((len(COHORTS), BANDS, MAX_PATTERNS, BINS), np.float32),
        np.ones((len(COHORTS), BANDS, MAX_PATTERNS), np.float32),
        edges, promise, risen, shape, given,
    )  # fmt: skip
    for cohort in range(len(COHORTS)):
        for p in at:
            for band in range(BANDS):
                renew(made, cohort, band, p)
    return made


def snapshot(reference: Reference) -> dict[str, npt.NDArray[Any]]:
    """Return what a reference has learnt, by name."""
    return {name: getattr(reference, name) for name in LEARNT}


def digest(reference: Reference) -> str:
    """Return 16 hexadecimal digits that stand for what a reference has learnt.

    Examples
    --------
    >>> one, other = make_reference([0.4], [1.0]), make_reference([0.4], [1.0])
    >>> before = digest(one)
    >>> teach(one, 0, 0, 0, 0.1, 1.0)
    >>> before == digest(other), before == digest(one)
    (True, False)
    """
    found = hashlib.blake2b(digest_size=8)
    for learnt in snapshot(reference).values():
        found.update(learnt.tobytes())
    return found.hexdigest()


def adopt(reference: Reference, other: Reference, places: Collection[tuple[int, int]]) -> None:
    """Copy what another reference has learnt, at pairs of places: ours, and the other's."""
    for name in LEARNT:
        for ours, theirs in places:
            getattr(reference, name)[:, :, ours] = getattr(other, name)[:, :, theirs]


def restore(fresh: Reference, parts: Parts, anew: Collection[int] = ()) -> Reference:
    """Return a fresh reference with what `snapshot` gave, but for the places `anew`, whose card is another one.

    Raises
    ------
    ValueError
        Where it is of another shape.
    """
    taken: dict[str, Any] = {name: like(parts, name, getattr(fresh, name)) for name in LEARNT}
    for name, array in taken.items():
        for place in anew:
            array[:, :, place] = getattr(fresh, name)[:, :, place]
    return fresh._replace(**taken)


@inlined
def band_of(hour: int) -> int:
    """Band of the week of an hour, counted from 1970-01-01 00:00 UTC (a Thursday)."""
    weekend = (hour // 24 + 3) % 7 >= 5
    return (4 if weekend else 0) + hour % 24 // 6


@inlined
def depth(shape: Double, score: float) -> float:
    """How deep in the promised tail a score is, `-log(promise)`."""
    below = min(score, shape[0])
    return float(below * shape[1] + (score - below) * shape[2])


@inlined
def bin_of(reference: Reference, pattern: int, score: float) -> int:
    """Place of a score in [0, 1]; a score on an edge belongs to the bin above."""
    place = int(depth(reference.shape[pattern], score) * (BINS / DEPTH))
    place = min(max(place, 0), BINS - 1)
    if place + 1 < BINS and score >= reference.edges[pattern, place + 1]:
        place += 1
    elif score < reference.edges[pattern, place] and place > 0:
        place -= 1
    return place


@kernel
def calibrate(p: float) -> float:
    """Turn a p-value in (0, 1] into an e-value: the mean of `k p^(k - 1)` over k in [0, 1], so its integral is 1."""
    if p > 0.999:
        return 0.5
    log = math.log(p)
    return float((1.0 - p + p * log) / (p * log * log))


@kernel
def renew(reference: Reference, cohort: int, band: int, pattern: int) -> None:
    """Work out a band's e-values from what was learnt by now."""
    pooled, n = reference.total[cohort, POOLED, pattern], reference.total[cohort, band, pattern]
    above, above_band = 0.0, 0.0
    level = 1.0
    for b in range(BINS - 1, -1, -1):
        above += reference.counts[cohort, POOLED, pattern, b]
        above_band += reference.counts[cohort, band, pattern, b]
        promise = reference.promise[pattern, b]
        expected = (above + PRIOR * promise) / (pooled + PRIOR)
        conformal = 1.0 / (1.0 + pooled + PRIOR) + (above_band + POOL * expected) / (n + POOL)
        seen = (above_band + POOL * (above / max(pooled, 1.0))) / (n + POOL)
        promised = min(promise + seen, reference.risen[pattern, b])
        e = 0.5 * calibrate(min(conformal, 1.0)) + 0.5 * calibrate(min(promised, 1.0))
        reference.e[cohort, band, pattern, b] = np.float32(e)
        if e > 1.0:
            level = reference.edges[pattern, b]
    reference.level[cohort, band, pattern] = np.float32(level)


@inlined
def _learn(reference: Reference, cohort: int, band: int, pattern: int, place: int, weight: float, life: float) -> None:
    reference.counts[cohort, band, pattern, place] += weight
    reference.total[cohort, band, pattern] += weight
    reference.taught[cohort, band, pattern] += 1
    if reference.taught[cohort, band, pattern] % RENEW == 0:
        kept = 0.5 ** (RENEW / life)
        total = 0.0
        for b in range(BINS):
            reference.counts[cohort, band, pattern, b] *= kept
            total += reference.counts[cohort, band, pattern, b]
        reference.total[cohort, band, pattern] = total


@inlined
def teach(reference: Reference, cohort: int, band: int, pattern: int, score: float, weight: float) -> None:
    """Learn the highest score of one account-hour, weighing (0, 1], and now and then renew the e-values."""
    place = bin_of(reference, pattern, score)
    _learn(reference, cohort, POOLED, pattern, place, weight, HALF_LIFE_POOLED)
    _learn(reference, cohort, band, pattern, place, weight, HALF_LIFE_BAND)
    taught = reference.taught[cohort, POOLED, pattern]
    stale = -1
    if taught % RENEW_NEXT == 0:
        stale = taught // RENEW_NEXT % BANDS
    elif reference.taught[cohort, band, pattern] % RENEW == 0:
        stale = band
    if stale >= 0:
        renew(reference, cohort, stale, pattern)
