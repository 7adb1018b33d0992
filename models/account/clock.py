"""The event-time clock of a partition: many accounts move it, one account or one record cannot.

It gives two readings. `now` follows the latest request by small steps, and jumps when `QUORUM` requests in a row agree
that it is behind (after an idle night, say): so a stream of few accounts is timed well. What one account reads ahead
is provisional: the first request near the time that many accounts agree on brings `now` back there. `agreed` is that
time: the latest that `QUORUM` accounts (half of them, where there are fewer than twice as many) have reached. It moves
by more than `max_ahead` only where more accounts are ahead than near it. What concerns others than the account of a
request, as closing and forgetting do, goes by `settled`: `now`, but never more than `max_ahead` beyond `agreed`.

Beside a request's own time stands when the broker had its record. A request cannot be of later than that. One that is
not much older is live: the broker's clock vouches for it, so it counts at its own time, and once a quorum of accounts
is live, old records beside them (a backfill) do not move the clock. Where nothing is known of the broker's clock, or
records are of long ago, as in a replay, accounts alone decide. Wall-clock time plays no other part.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from siphonwatch.models.account.request import Array, Record
from siphonwatch.models.common.kernel import kernel

QUORUM = 8
"""Accounts that must agree, and requests in a row that move the provisional reading."""
CELLS = 64
"""Accounts are told apart by so many cells, by hash: a bit mask holds them, and two in one cell have one vote."""
RECENT = 1024
"""Requests after which an account that sent none has no vote. A week in steps of 599 s takes as many."""

CLOCK = np.dtype([
    ("now", "f8"), ("agreed", "f8"),       # event time, seconds
    ("support", "i8"),                     # requests seen near `now` since it was last set
    ("votes", "i8"), ("vote", "f8"),       # requests further ahead than allowed, in a row, and the earliest of them
    ("old", "i8"),                         # requests long before `now`, in a row
    ("late", "i8"), ("ahead", "i8"),       # requests later than the grace, and further ahead than allowed, ever
    ("requests", "i8"),                    # ever
    ("known", "u8"),                       # cells that ever voted
    ("behind", "u8"),                      # cells whose latest time was long before `now`
    ("live", "u8"), ("live_at", "f8"),     # cells with live requests, and when the broker had the latest
    ("claim", "f8", (CELLS,)),             # latest time by cell
    ("turn", "i8", (CELLS,)),              # which request that was, from 1; 0 none
], align=True)  # fmt: skip


def make_clock() -> Array:
    """Return a clock that no request has set yet, shape `(1,)`."""
    return np.zeros(1, CLOCK)


@kernel
def settled(clock: Record, max_ahead: float) -> float:
    """Return the event time that no single account can have brought about, seconds."""
    return float(min(clock.now, clock.agreed + max_ahead))


@kernel
def _count(mask: np.uint64) -> int:
    """How many bits are set (Kernighan): mostly few or asked for rarely."""
    count = 0
    while mask != np.uint64(0):
        mask &= mask - np.uint64(1)
        count += 1
    return count


@kernel
def _needed(accounts: int) -> int:
    return min(QUORUM, (accounts + 1) // 2)


@kernel
def _has_vote(clock: Record, cell: int) -> bool:
    return bool(clock.turn[cell] > 0 and clock.requests - clock.turn[cell] < RECENT)


@kernel
def _latest(clock: Record, rank: int, limit: float) -> float:
    """The `rank`-th latest vote, from 1, of those up to `limit`; minus infinity where there are fewer."""
    taken, found = np.uint64(0), -np.inf
    for _ in range(rank):
        best, found = -1, -np.inf
        for c in range(CELLS):
            fits = clock.claim[c] <= limit and _has_vote(clock, c)
            if fits and clock.claim[c] > found and (taken >> np.uint64(c)) & np.uint64(1) == np.uint64(0):
                best, found = c, clock.claim[c]
        if best < 0:
            return -np.inf
        taken |= np.uint64(1) << np.uint64(best)
    return float(found)


@kernel
def _agree(clock: Record, in_a_row: int, max_ahead: float) -> None:
    """Move `agreed` to where the votes have it, given how many requests in a row were so far ahead."""
    voters, beyond, near = 0, 0, 0
    for c in range(CELLS):
        if _has_vote(clock, c):
            voters += 1
            if clock.claim[c] > clock.agreed + max_ahead:
                beyond += 1
            elif clock.claim[c] >= clock.agreed - max_ahead:
                near += 1
    needed = _needed(voters)
    if beyond >= needed and beyond > near and max(beyond, in_a_row) >= QUORUM:
        clock.agreed = _latest(clock, needed, np.inf)
        if beyond >= QUORUM:
            clock.now = max(clock.now, clock.agreed)
        clock.behind = np.uint64(0)
    else:
        clock.agreed = max(clock.agreed, _latest(clock, needed, clock.agreed + max_ahead))


@kernel
def _is_outvoted(clock: Record, max_ahead: float) -> bool:
    """Whether more accounts have lately been long before `now` than near or after it."""
    behind, others = 0, 0
    for c in range(CELLS):
        if _has_vote(clock, c):
            if (clock.behind >> np.uint64(c)) & np.uint64(1) != np.uint64(0):
                behind += 1
            elif clock.claim[c] >= clock.now - max_ahead:
                others += 1
    return behind > others and max(behind, clock.old) >= QUORUM


@kernel
def _go_back(clock: Record) -> None:
    """Take the latest time of those who outvoted the clock."""
    back = -np.inf
    for c in range(CELLS):
        if _has_vote(clock, c) and (clock.behind >> np.uint64(c)) & np.uint64(1) != np.uint64(0):
            back = max(back, clock.claim[c])
    clock.now = clock.agreed = back
    clock.behind = np.uint64(0)
    clock.support, clock.votes, clock.old = 1, 0, 0


@kernel
def tick(clock: Record, account: np.uint64, time: float, arrived: float, grace: float, max_ahead: float) -> Any:
    """Take one request's time; return the event time it counts at.

    That is never beyond the clock's new position, but for a live request. `account` is the hash of its account,
    `arrived` when the broker had its record, infinity where that is not known; all times in seconds.
    """
    live = abs(time - arrived) <= max_ahead
    beyond = time > arrived + max_ahead
    if time > arrived + grace:
        time = arrived
    clock.requests += 1
    if beyond:
        clock.ahead += 1
    cell = int(account >> np.uint64(58))
    bit = np.uint64(1) << np.uint64(cell)
    clock.known |= bit
    clock.claim[cell], clock.turn[cell] = time, clock.requests
    if live:
        clock.live |= bit
        clock.live_at = max(clock.live_at, arrived)
    if clock.support == 0:
        clock.now = clock.agreed = time
        clock.support = 1
        return time
    vouched = clock.live != np.uint64(0) and _count(clock.live) >= _needed(_count(clock.known))
    if live and vouched:
        clock.behind &= ~bit
        clock.old = 0
        if time > clock.agreed:
            clock.agreed = time
        if time > clock.now:
            clock.now = time
    elif clock.now > clock.agreed + max_ahead and abs(time - clock.agreed) <= max_ahead:
        clock.now = max(clock.agreed, time)
        clock.votes = 0
    if time > clock.now + max_ahead:
        clock.ahead += not beyond
        clock.behind &= ~bit
        clock.old = 0
        clock.vote = time if clock.votes == 0 else min(clock.vote, time)
        clock.votes += 1
        _agree(clock, clock.votes, max_ahead)
        if clock.votes >= QUORUM:
            clock.now = max(clock.now, clock.vote)
            clock.support, clock.votes = 1, 0
        return time if live else min(time, clock.now)
    if time < clock.now - max_ahead and clock.support < QUORUM and not vouched:
        if clock.requests <= QUORUM:  # no agreement worth the name yet
            clock.agreed = min(clock.agreed, time)
        clock.now = max(clock.agreed, time)
        clock.support, clock.votes = 1, 0
    clock.votes = 0
    clock.support += 1
    if time > clock.now:
        clock.now = time
    elif time < clock.now - grace:
        clock.late += 1
    if time < clock.now - max_ahead:
        if vouched and not live and arrived > clock.live_at + max_ahead:
            clock.live, vouched = np.uint64(0), False  # whoever was live has stopped
        if live or not vouched:
            clock.behind |= bit
            clock.old += 1
            if _is_outvoted(clock, max_ahead):
                _go_back(clock)
    else:
        clock.behind &= ~bit
        clock.old = 0
        if time > clock.agreed + max_ahead:
            _agree(clock, clock.support, max_ahead)
    return time
