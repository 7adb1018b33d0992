"""The account windows: one compiled step takes a request into its account's row and derives the features.

Requests are taken one after the other, so the result never depends on how they were cut into batches.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.clock import settled, tick
from siphonwatch.models.account.describe import F32, describe
from siphonwatch.models.account.fading import FULL, lasting
from siphonwatch.models.account.features import (
    COUNT,
    GIVEN,
    LEARNED,
    PSEUDO,
    RATE,
    RISE,
    SHARE,
    SHIFT,
    Plan,
    given,
)
from siphonwatch.models.account.jobs import count_job, derive_job
from siphonwatch.models.account.request import Array, Record
from siphonwatch.models.account.row import SLOTS
from siphonwatch.models.account.sums import ADDED, SCALES, SUMS, TAUS
from siphonwatch.models.account.trails import count_trail, derive_trail
from siphonwatch.models.common.kernel import kernel
from siphonwatch.models.common.vocabulary import PROJECTION
from siphonwatch.models.online.mean_embedding import embed_update

DECAYS, COLUMNS = len(TAUS), len(SUMS)
EMBED_SCALES = (SCALES.index("1h"), SCALES.index("7d"))
HOUR, WEEK = 3600.0, SCALES.index("7d")


class Work(NamedTuple):
    """Room that the loop works in; nothing is kept there from one request to the next."""

    adds: Array
    """What the request adds to the sums, `(1,) ADDED`."""
    added: npt.NDArray[np.float32]
    """The same by column."""
    given: Array
    """The request's features that are not made of sums, `(1,)` of the record `given()`."""
    values: npt.NDArray[np.float64]
    """The same by place."""
    decay: npt.NDArray[np.float64]
    weight: npt.NDArray[np.float64]
    vector: npt.NDArray[np.float32]
    embed_decay: npt.NDArray[np.float64]
    embed_amount: npt.NDArray[np.float64]


def make_work() -> Work:
    """Return room for `observe_all`."""
    adds, found = np.zeros(1, ADDED), np.zeros(1, given())
    return Work(
        adds, adds.view(np.float32), found, found.view(np.float64), np.zeros(DECAYS), np.zeros(DECAYS),
        np.zeros(PROJECTION, np.float32), np.zeros(2), np.zeros(2),
    )  # fmt: skip


@kernel
def _embed(row: Record, q: Record, work: Work) -> None:
    """Take the text's projection into the decayed sums at 1 h and 7 d."""
    for k in range(2):
        work.embed_decay[k] = work.decay[EMBED_SCALES[k]]
        work.embed_amount[k] = work.weight[EMBED_SCALES[k]] if q.template != 0 else 0.0
    for j in range(PROJECTION):
        work.vector[j] = F32(q.projection[j]) * F32(1.0 / 127.0)
    embed_update(row.embed, row.embed_weight, row.embed_weight_sq, work.vector, work.embed_decay, work.embed_amount)


@kernel
def _spread_of(row: Record) -> tuple[float, float]:
    """(breadth of the texts over 7 d, squared distance of those of 1 h from those before), from the running means.

    Unbiased estimates of squared norms of mean embeddings (Gretton et al. 2012, linear kernel): a text's product with
    itself, 1 for unit vectors, is taken out of each square.
    """
    fast, both, cross = 0.0, 0.0, 0.0
    for j in range(PROJECTION):
        f, s = float(row.embed[0, j]), float(row.embed[1, j])
        fast += f * f
        both += s * s
        cross += f * s
    wf, ws = float(row.embed_weight[0]), float(row.embed_weight[1])
    qf, qs = float(row.embed_weight_sq[0]), float(row.embed_weight_sq[1])
    breadth, shift = 0.5, 0.0
    pairs = ws * ws - qs
    if pairs > 2.0:
        breadth = 1.0 - (both - qs) / pairs
    wo, pairs_fast = ws - wf, wf * wf - qf
    pairs_old = wo * wo - max(qs - qf, 0.0)
    if wf > 4.0 and wo > 4.0 and pairs_fast > 2.0 and pairs_old > 2.0:
        old = both - 2.0 * cross + fast
        near = (fast - qf) / pairs_fast
        far = (old - max(qs - qf, 0.0)) / pairs_old
        between = (cross - fast) / (wf * wo)
        shift = near + far - 2.0 * between
    return min(max(breadth, 0.0), 1.0), min(max(shift, 0.0), 2.0)


@kernel
def derive(row: Record, now: float, gap: float, plan: Plan, work: Work, out: npt.NDArray[np.float32]) -> None:
    """Write the features of an account at event time `now` into `out`, `(WIDTH,) float32`.

    `work` has those of the request's job and trail.
    """
    spans, sums, own = work.decay, row.sums, work.given[0]
    age = max(now - row.first_seen, 60.0)
    for k in range(DECAYS):
        spans[k] = -TAUS[k] * math.expm1(-age / TAUS[k])
        if k > 0 and float(row.by_scale[k].requests) >= FULL:
            # Of the latest requests: the time that they took, at the pace of the scale below.
            pace = float(row.by_scale[k - 1].requests) / spans[k - 1]
            spans[k] = min(spans[k], float(row.by_scale[k].requests) / max(pace, 1e-9))
    own.breadth, own.content_shift = _spread_of(row)
    own.novelty = float(row.novelty)
    own.seen = math.log1p(row.requests)
    own.age = math.log1p(age / HOUR)
    own.idle = math.log1p(max(gap, 0.0))
    for j in range(len(out)):
        kind, a, b, k, other = plan.kind[j], plan.above[j], plan.below[j], plan.scale[j], plan.other[j]
        if kind == LEARNED:
            continue
        if kind == SHARE:
            value = (float(sums[k, a]) + PSEUDO * float(plan.prior[j])) / (float(sums[k, b]) + PSEUDO)
        elif kind == COUNT:
            value = math.log1p(float(sums[k, a]))
        elif kind == RATE:
            value = math.log1p(float(sums[k, a]) * HOUR / spans[k])
        elif kind == RISE:
            before = max(float(sums[other, a]) - float(sums[k, a]), 0.0) + 1.0
            since = max(spans[other] - spans[k], HOUR)
            value = math.log((float(sums[k, a]) + 1.0) / spans[k] * since / before) if float(sums[k, a]) < FULL else 0.0
        elif kind == SHIFT:
            recent, old = float(sums[k, b]), max(float(sums[other, b]) - float(sums[k, b]), 0.0)
            older = max(float(sums[other, a]) - float(sums[k, a]), 0.0)
            value = (
                (float(sums[k, a]) / max(recent, 1e-6) - older / max(old, 1e-6))
                * recent
                / (recent + 4.0)
                * old
                / (old + 8.0)
            )
        elif kind == GIVEN:
            value = work.values[a]
        else:  # SPREAD
            weight = float(sums[k, b])
            if weight < 2.0:
                value = 1.0
            else:
                mean = float(sums[k, a]) / weight
                value = math.sqrt(max(float(sums[k, other]) / weight - mean * mean, 0.0))
        out[j] = F32(value)


@kernel
def observe(row: Record, q: Record, now: float, plan: Plan, work: Work, out: npt.NDArray[np.float32]) -> None:
    """Take request `q`, at event time `now`, into `row` and derive its features.

    A request older than the row's last one joins with the weight it would have kept by now, so the sums do not depend
    on the order of arrival; only what needs a sequence (gaps, steps) is left out for it.
    """
    added, adds, decay, weight = work.added, work.adds[0], work.decay, work.weight
    gap = now - row.last_time if row.requests > 0 else 0.0
    if row.requests == 0:
        row.first_seen = now
        row.last_time = now
    for j in range(COLUMNS):
        added[j] = F32(0.0)
    refusal = describe(row, q, gap if row.requests > 0 else -1.0, adds)
    for k in range(DECAYS):
        if gap > 0.0:
            decay[k], weight[k] = math.exp(-gap / TAUS[k]), 1.0
        else:
            decay[k], weight[k] = 1.0, math.exp(gap / TAUS[k])
        decay[k] = lasting(decay[k], float(row.by_scale[k].requests), row.requests)
        d, w = F32(decay[k]), F32(weight[k])
        part = row.sums[k]
        for j in range(COLUMNS):
            part[j] = part[j] * d + added[j] * w
    _embed(row, q, work)
    for j in range(len(work.values)):
        work.values[j] = 0.0
    if q.rest == 1:
        place, on = -1, count_trail(row, q, now, adds.new_resource)
    else:
        place, on = count_job(row, q, now, adds, refusal), -1
    row.requests += 1
    row.first_seen = min(row.first_seen, now)
    if gap >= 0.0:
        row.last_time = now
        row.last_end = q.time + float(q.duration)
    derive_job(row, place, q, row.last_time, float(row.by_scale[WEEK].requests), work.given[0])
    derive_trail(row, on, work.given[0])
    if q.rest == 1 and on >= 0:
        q.unread, q.trail_new = adds.new_resource, F32(work.given[0].trail_new)
    derive(row, row.last_time, gap, plan, work, out)


@kernel
def observe_all(
    rows: Array,
    slots: npt.NDArray[np.int64],
    requests: Array,
    offsets: npt.NDArray[np.int64],
    arrived: npt.NDArray[np.float64],
    clock: Array,
    grace: float,
    max_ahead: float,
    plan: Plan,
    values: npt.NDArray[np.float32],
    now: npt.NDArray[np.float64],
    sure: npt.NDArray[np.float64],
    seen: npt.NDArray[np.int64],
    since: npt.NDArray[np.float64],
    fresh: npt.NDArray[np.bool_],
    work: Work,
) -> int:
    """Take requests into their accounts' rows in order; returns how many were skipped.

    A request without a slot (-1) is skipped, and one whose offset its row has applied already: its slot becomes -1.
    `arrived`, `(n,)` seconds, is when the broker had each one. Writes the features, `values (n, WIDTH)`, and as of each
    request, `(n,)`: the partition's event time `now`, the one that many accounts agree on (`sure`), how many requests
    its account has `seen`, since when, and whether it is the first in an hour (`fresh`).
    """
    skipped = 0
    for i in range(len(slots)):
        row, q = rows[max(slots[i], 0)], requests[i]
        if slots[i] < 0 or offsets[i] <= row.last_offset:
            slots[i] = -1
            for j in range(values.shape[1]):
                values[i, j] = F32(0.0)
            now[i], sure[i] = clock[0].now, settled(clock[0], max_ahead)
            fresh[i] = False
            skipped += 1
            continue
        row.last_offset = offsets[i]
        time = tick(clock[0], q.account_hash, q.time, arrived[i], grace, max_ahead)
        now[i], sure[i] = clock[0].now, settled(clock[0], max_ahead)
        if row.requests > 0 and row.last_time > max(now[i], time) + max_ahead:
            row.last_time = clock[0].now  # the clock was set back: what ran ahead counts as now
            for k in range(SLOTS):
                row.slots[k].time = min(row.slots[k].time, row.last_time)
            row.last_hour = min(row.last_hour, np.int64(now[i] // HOUR) - 1)
        observe(row, q, time, plan, work, values[i])
        seen[i] = row.requests
        since[i] = row.first_seen
        hour = np.int64(now[i] // HOUR)
        fresh[i] = hour > row.last_hour
        if fresh[i]:
            row.last_hour = hour
    return skipped
