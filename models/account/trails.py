"""The trails of an account: its plain REST requests told apart by route and client software, each with sums of its own.

A copy that an account makes beside its ordinary use is diluted on the whole; on its own trail it is as regular and as
new as ever. Nothing here learns what is benign.
"""

from __future__ import annotations

import math

import numpy as np

from siphonwatch.models.account.fading import is_full, lasting
from siphonwatch.models.account.request import Record, mix
from siphonwatch.models.account.row import IS_TRAIL
from siphonwatch.models.account.slots import F32, TAU, find_slot
from siphonwatch.models.common.kernel import kernel

HOUR = 3600
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


@kernel
def count_trail(row: Record, q: Record, now: float, fresh: np.float32) -> int:
    """Take a plain REST request, at event time `now`, into its trail; returns its place in the row, -1 where it has
    none. `fresh` says how surely its resource is new to the account: what is neither 0 nor 1 was not sampled.
    """
    name = np.uint32(mix(q.route ^ mix(q.agent ^ SEED)) >> np.uint64(32)) | np.uint32(1)
    place = find_slot(row, IS_TRAIL, name, now)
    if place < 0:
        return -1
    trail = row.trails[place]
    first = trail.requests == F32(0.0)
    gap = 0.0 if first else now - trail.time
    decay, requests = math.exp(-max(gap, 0.0) / TAU), float(trail.requests)
    fade, full = F32(lasting(decay, requests, row.requests)), is_full(decay, requests)
    weight = F32(math.exp(min(gap, 0.0) / TAU))
    trail.hold = trail.hold * fade + F32(1.0)
    trail.requests = trail.requests * fade + weight
    if not full:
        trail.hours *= fade
    trail.sampled *= fade
    trail.sampled_new *= fade
    if fresh == F32(0.0) or fresh == F32(1.0):
        trail.sampled += weight
        trail.sampled_new += fresh * weight
    item = np.uint32(np.uint64(max(q.item, np.int64(0))) & np.uint64(0xFFFFFFFF))
    if q.item >= 0 and item != trail.item:
        if not first:
            ahead = F32((np.int64(item) - np.int64(trail.item)) & np.int64(0xFFFFFFFF) < np.int64(0x80000000))
            trail.rising += F32(FADE) * (ahead - trail.rising)
        trail.item = item
    if gap >= 0.0:
        if first:
            trail.log_gap = NEVER
            trail.log_gap_var = F32(1.0)
            trail.rising = F32(0.5)
        else:
            if trail.log_gap == NEVER:
                trail.log_gap = F32(math.log(max(gap, SHORTEST)))
            size = F32(math.log(max(gap + TRUE_ZERO * math.exp(trail.log_gap), SHORTEST)))
            away = min(max(size - trail.log_gap, F32(-FAR)), F32(FAR))
            trail.log_gap += F32(FADE) * away
            trail.log_gap_var += F32(FADE) * (away * away - trail.log_gap_var)
        hour = np.int32(now // HOUR)
        if hour > trail.hour:
            if full:  # gaps are too short for it to fade by each
                trail.hours *= F32(math.exp(-HOUR * (hour - trail.hour) / TAU))
            trail.hours += F32(1.0)
            trail.hour = hour
        trail.time = now
    return place


@kernel
def derive_trail(row: Record, place: int, out: Record) -> None:
    """Write the features of a request's trail into `out`; nothing where it has none."""
    if place < 0:
        return
    trail = row.trails[place]
    new = (float(trail.sampled_new) + PRIOR * float(row.novelty)) / (float(trail.sampled) + PRIOR)
    out.trail_requests = math.log1p(float(trail.requests))
    out.trail_new = new
    out.trail_breadth = math.log1p(float(trail.requests) * new)
    out.trail_spread = math.sqrt(max(float(trail.log_gap_var), 0.0))
    out.trail_hours = math.log1p(float(trail.hours))
    out.trail_rising = float(trail.rising)
