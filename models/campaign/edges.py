"""Fingerprints of requests, and which requests are sent on as sightings. Keeps only counts of the last hour."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import Array, Record, label, mix
from siphonwatch.models.common.arrays import Parts, as_array
from siphonwatch.models.common.kernel import kernel

EDGES = 2
"""Fingerprints over accounts that a request has: by its client (headers and agent too), and by what it asks for
(whatever the client)."""
CAP = 16
"""Sightings an account makes in an hour of one group and kind (answered and asked once, of a conversation, held back)
before they are thinned: a relay's makes a few, and a busy honest one must not flood the topic. So does each of its end
users where those are looked for."""
READS = 4 * CAP
"""Sightings of plain REST that an account makes in an hour before they are thinned: a share of a walk has few gaps."""
TOTAL, TOTAL_READS = 8 * CAP, 8 * READS
"""Sightings an account makes in an hour of whatever group and kind before they are thinned, and those of plain REST:
who asks for ever new routes must neither flood the topic nor crowd out the fingerprints of others."""
THIN = 2
"""Beyond a cap one request in 2**THIN goes on, then with each doubling half as many: 8 a doubling, never none."""
TILE = 12
"""Bits of an identifier that are left out of where it lies: 4,096 neighbours are one place of a collection."""
UNREAD, MOSTLY = 0.5, 0.7
"""How surely a resource is new to its account, and the share of such ones on the account's trail, from which a plain
REST request is sighted. Who polls, reloads or comes back to its own is not."""
GET = label("get")
READ, UNCHANGED, NOT_FOUND = 200, 304, 404
CELLS = 1 << 18
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
NONE = np.uint64(0)
HOUR = 3600.0


@kernel
def _join(h: np.uint64, value: int) -> np.uint64:
    return mix(h * GOLDEN + np.uint64(value) + np.uint64(1))


@kernel
def _real(value: float) -> int:
    """A parameter in thousandths plus 1; 0 where it was not given."""
    if math.isnan(value):
        return 0
    return int(min(max(value, 0.0), 1000.0) * 1000.0 + 0.5) + 1


@kernel
def group_of(q: Record) -> np.uint64:
    """What every fingerprint of a request has in common: parameters and system prompt, or the client where it has none.

    Sightings are keyed by it, so that all fingerprints of a campaign meet on one partition. 0 where nothing is pinned.
    Of a plain REST request it is the route alone: what reads one collection meets whatever its client.
    """
    if q.rest == 1:
        return _join(q.route, 6)
    temperature, top_p = _real(q.temperature), _real(q.top_p)
    if temperature == 0 and top_p == 0 and q.max_tokens == 0 and q.system == NONE:
        if q.headers == NONE and q.agent == NONE:
            return NONE
        return _join(_join(GOLDEN, q.headers), q.agent)
    h = _join(_join(_join(GOLDEN, temperature), top_p), q.max_tokens)
    h = _join(_join(_join(h, q.n), min(q.logprobs, 1)), q.structured)
    return _join(_join(h, min(q.tools, 1)), q.system)


@kernel
def _depth(page: int) -> int:
    """How deep a page lies, in doublings: people read the first ones of a listing, copies all."""
    depth = 0
    while page > 0:
        page >>= 1
        depth += 1
    return depth


@kernel
def edges_of(q: Record, group: np.uint64, edges: npt.NDArray[np.uint64]) -> None:
    """Write a request's fingerprints, `(EDGES,) uint64`; 0 where it has none of the kind.

    Those of a plain REST request are its route and client, and, whatever the client, its place in the collection.
    """
    if q.rest == 1:
        edges[0] = _join(_join(group, q.headers), q.agent)
        edges[1] = NONE
        if q.item >= 0:
            edges[1] = _join(group, 1 + (q.item >> TILE))
        elif q.page >= 0:
            edges[1] = _join(_join(group, 0), _depth(q.page))
        return
    edges[0] = NONE
    if q.headers != NONE or q.agent != NONE:
        edges[0] = _join(_join(_join(group, q.headers), q.agent), q.stream)
    edges[1] = NONE
    pinned = q.max_tokens > 0 or q.system != NONE or _real(q.temperature) > 0 or _real(q.top_p) > 0
    if pinned:
        edges[1] = _join(_join(_join(group, q.model), q.canonical), 2 + q.stream)


@kernel
def worth(q: Record) -> bool:
    """Whether a request can say something about a campaign: text for a language model, answered or held back, or a
    read of what its account did not read before, on a trail of such."""
    if q.rest == 1:
        if q.unread < UNREAD or q.trail_new < MOSTLY or q.op != GET or q.resource == NONE:
            return False
        return bool(READ <= q.status < UNCHANGED or q.status == NOT_FOUND)
    if q.template == NONE or q.turns < 1:
        return False
    return bool(q.status < 400 or q.status == 429 or q.status == 529)


@kernel
def _count(name: np.uint64, hour: np.int32, hours: npt.NDArray[np.int32], counts: npt.NDArray[np.int32]) -> int:
    """Count one more under a name in an hour; return the count."""
    cell = name & np.uint64(CELLS - 1)
    if hours[cell] != hour:
        hours[cell] = hour
        counts[cell] = 0
    counts[cell] += 1
    return int(counts[cell])


@kernel
def _halvings(count: int, cap: int) -> int:
    """How often the sample of the `count`-th request of an hour is halved."""
    if count <= cap:
        return 0
    halvings = THIN
    while count > 2 * cap:
        count = (count + 1) // 2
        halvings += 1
    return halvings


@kernel
def _goes_on(halvings: int, lot: np.uint64) -> bool:
    """Whether a request is in a sample, by a random `lot`."""
    return bool(lot & np.uint64((1 << halvings) - 1) == NONE)


@kernel
def _pick(
    requests: Array,
    slots: npt.NDArray[np.int64],
    now: npt.NDArray[np.float64],
    by_user: bool,
    hours: npt.NDArray[np.int32],
    counts: npt.NDArray[np.int32],
    out: npt.NDArray[np.int64],
) -> int:
    found = 0
    for i in range(len(requests)):
        q = requests[i]
        if slots[i] < 0 or not worth(q):
            continue
        group = group_of(q)
        if group == NONE:
            continue
        hour = np.int32(now[i] / HOUR)
        if q.rest == 1:
            # What is left out goes by the resource: of one that stays every account's request does.
            lot = mix(q.resource)
            halvings = _halvings(_count(_join(q.account_hash ^ group, 3), hour, hours, counts), READS)
            if _goes_on(halvings, lot):
                more = _halvings(_count(_join(q.account_hash, 4), hour, hours, counts), TOTAL_READS)
                if _goes_on(more, lot >> np.uint64(32)):
                    q.stands_for = np.float32(1 << (halvings + more))
                    out[found] = i
                    found += 1
            continue
        kind = 2 if q.status >= 400 else (1 if q.turns > 1 else 0)
        whose = q.account_hash
        if by_user and q.user != NONE:
            whose = mix(whose ^ mix(q.user))
        own = _count(_join(whose ^ group, kind), hour, hours, counts)
        lot = _join(mix(q.account_hash ^ q.content), own)
        if _goes_on(_halvings(own, CAP), lot):
            lot >>= np.uint64(32)
            if _goes_on(_halvings(_count(mix(q.account_hash), hour, hours, counts), TOTAL), lot):
                out[found] = i
                found += 1
    return found


@kernel
def _fingerprints(requests: Array, groups: npt.NDArray[np.uint64], edges: npt.NDArray[np.uint64]) -> None:
    for i in range(len(requests)):
        groups[i] = group_of(requests[i])
        if groups[i] != NONE:
            edges_of(requests[i], groups[i], edges[i])


@kernel
def _groups(requests: Array, places: npt.NDArray[np.int64], out: npt.NDArray[np.uint64]) -> None:
    for k in range(len(places)):
        out[k] = group_of(requests[places[k]])


def groups(requests: Array, places: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Return the group of each request at `places`, `(n,) uint64`; 0 where it has none."""
    out = np.zeros(len(places), np.uint64)
    _groups(requests, places, out)
    return out


def fingerprints(requests: Array) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Return each request's group, `(n,) uint64`, and fingerprints, `(n, EDGES) uint64`; 0 where it has none."""
    groups, edges = np.zeros(len(requests), np.uint64), np.zeros((len(requests), EDGES), np.uint64)
    _fingerprints(requests, groups, edges)
    return groups, edges


class Spotter:
    """Picks the requests that become sightings: of an account and hour all of the first, then ever thinner samples.

    What an account sends with other parameters, in conversations or in vain takes nothing from the allowance of the
    rest, short of `TOTAL` and `TOTAL_READS`. Accounts share `CELLS` counters by their hash: where two meet that thins
    them both.

    Parameters
    ----------
    end_users
        Whether each end user of an account has an allowance of its own.

    Examples
    --------
    >>> from siphonwatch.models.account.request import blank
    >>> request = np.repeat(blank(), 40)
    >>> request["template"], request["turns"], request["max_tokens"] = 7, 1, 256
    >>> 16 <= len(Spotter().pick(request, np.zeros(40, np.int64), np.zeros(40))) < 40
    True
    """

    def __init__(self, end_users: bool = False) -> None:
        self._end_users = end_users
        self._hours = np.zeros(CELLS, np.int32)
        self._counts = np.zeros(CELLS, np.int32)
        self._hour = np.int32(0)

    def pick(
        self, requests: Array, slots: npt.NDArray[np.int64], now: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.int64]:
        """Return the places of the requests to be sighted, ascending; a slot of -1 marks what was applied before.

        `now`, `(n,)`, is the event time at each request, seconds: the hour of a request is that of the clock, so that
        hours only go on, and the counters of those before are needed no more.
        """
        if len(now):
            self._hour = np.int32(now[-1] / HOUR)
        out = np.empty(len(requests), np.int64)
        return out[: _pick(requests, slots, now, self._end_users, self._hours, self._counts, out)]

    def snapshot(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return the counters of the present hour, `(m, 3) int64`: cell, hour, count."""
        used = np.flatnonzero((self._counts > 0) & (self._hours == self._hour))
        return {"counters": np.stack([used, self._hours[used], self._counts[used]], axis=1).astype(np.int64)}

    def restore(self, parts: Parts) -> None:
        """Take over the counters of a snapshot.

        Raises
        ------
        ValueError
            Where they are of another shape, or of cells that do not exist.
        """
        kept = as_array(parts, "counters")
        if kept.ndim != 2 or kept.shape[1] != 3 or ((kept[:, 0] < 0) | (kept[:, 0] >= CELLS)).any():
            raise ValueError(f"sighting counters of shape {kept.shape}: the state was written by another version")
        self._hours[:], self._counts[:] = 0, 0
        self._hours[kept[:, 0]], self._counts[kept[:, 0]] = kept[:, 1], kept[:, 2]
        self._hour = self._hours.max()
