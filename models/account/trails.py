"""The trails of an account: its plain REST requests told apart by route and client software, each with sums of its own.

A copy that an account makes beside its ordinary use is diluted on the whole; on its own trail it is as regular and as
new as ever. Nothing here learns what is benign.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.jobs import HOUR, HOURS_A_DAY, TAU, JobFeature, find_job
from siphonwatch.models.account.request import Record, mix
from siphonwatch.models.common.kernel import kernel

F32 = np.float32
FADE = 1.0 / 32.0
"""Weight of the latest gap between a trail's requests."""
FAR = 2.0
"""Most that a gap counts to differ from the mean, in logarithms: one pause at night is no uneven pace."""
SHORTEST, NEVER = 0.01, F32(-99.0)
"""Seconds that the shortest gap counts as; what stands for a mean before there is any gap."""
TRUE_ZERO = 0.15
"""Share of the mean gap added to each, so that two requests at once are no endless logarithm; a share, because busy
honest clients must not look more even than others."""
PRIOR = 3.0
"""Sampled requests' worth of the account's own share of new resources in a trail's."""
SEED = np.uint64(0xA0761D6478BD642F)

TRAIL_FEATURES = (
    JobFeature("trail_requests", "log(1 + requests)", "requests to this route by this client software over 7d"),
    JobFeature("trail_new", "share", "the same, for a resource not asked for before"),
    JobFeature(
        "trail_breadth", "log(1 + resources)", "different resources asked for on this route by this software over 7d"
    ),
    JobFeature("trail_spread", "standard deviation of a log", "variety of the time between them"),
    JobFeature("trail_hours", "log(1 + hours)", "hours in which there were any over 7d"),
    JobFeature("trail_rising", "share", "those that ask for a higher identifier than the one before"),
)
"""In the order of `derive_trail`'s output."""
TRAIL_WIDTH = len(TRAIL_FEATURES)


@kernel
def count_trail(row: Record, q: Record, now: float, fresh: np.float32) -> int:
    """Take a plain REST request, at event time `now`, into its trail; returns its place in the row, -1 where it has
    none. `fresh` says how surely its resource is new to the account: what is neither 0 nor 1 was not sampled.

    A trail lives in a job's place: `sweep` and `single_turn` are the new ones of the sampled, and these; `log_chars`
    and `log_chars_sq` mean and variance of the log of the gaps; `template` and `generation` the last identifier and
    how often it rose.
    """
    name = np.uint32(mix(q.route ^ mix(q.agent ^ SEED)) >> np.uint64(32)) | np.uint32(1)
    place = find_job(row, name, now)
    if place < 0:
        return -1
    job = row.jobs[place]
    first = job.requests == F32(0.0)
    gap = 0.0 if first else now - job.time
    fade = F32(math.exp(-max(gap, 0.0) / TAU))
    weight = F32(math.exp(min(gap, 0.0) / TAU))
    job.hold = job.hold * fade + F32(1.0)
    job.requests = job.requests * fade + weight
    job.hours *= fade
    job.days *= fade
    job.sweep *= fade
    job.single_turn *= fade
    if fresh == F32(0.0) or fresh == F32(1.0):
        job.sweep += fresh * weight
        job.single_turn += weight
    item = np.uint32(np.uint64(max(q.item, np.int64(0))) & np.uint64(0xFFFFFFFF))
    if q.item >= 0 and item != job.template:
        if not first:
            ahead = F32((np.int64(item) - np.int64(job.template)) & np.int64(0xFFFFFFFF) < np.int64(0x80000000))
            job.generation += F32(FADE) * (ahead - job.generation)
        job.template = item
    if gap >= 0.0:
        if first:
            job.log_chars = NEVER
            job.log_chars_sq = F32(1.0)
            job.generation = F32(0.5)
        else:
            if job.log_chars == NEVER:
                job.log_chars = F32(math.log(max(gap, SHORTEST)))
            size = F32(math.log(max(gap + TRUE_ZERO * math.exp(job.log_chars), SHORTEST)))
            away = min(max(size - job.log_chars, F32(-FAR)), F32(FAR))
            job.log_chars += F32(FADE) * away
            job.log_chars_sq += F32(FADE) * (away * away - job.log_chars_sq)
        hour = np.int32(now // HOUR)
        if hour > job.hour:
            job.hours += F32(1.0)
            if hour // HOURS_A_DAY > job.hour // HOURS_A_DAY:
                job.days += F32(1.0)
            job.hour = hour
        job.time = now
    return place


@kernel
def derive_trail(row: Record, place: int, out: npt.NDArray[np.float64]) -> None:
    """Write the features of a request's trail into `out`, `(TRAIL_WIDTH,)`; zeros where it has none."""
    for j in range(TRAIL_WIDTH):
        out[j] = 0.0
    if place < 0:
        return
    job = row.jobs[place]
    new = (float(job.sweep) + PRIOR * float(row.novelty)) / (float(job.single_turn) + PRIOR)
    out[0] = math.log1p(float(job.requests))
    out[1] = new
    out[2] = math.log1p(float(job.requests) * new)
    out[3] = math.sqrt(max(float(job.log_chars_sq), 0.0))
    out[4] = math.log1p(float(job.hours))
    out[5] = float(job.generation)
