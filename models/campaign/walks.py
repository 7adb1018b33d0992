"""What accounts read of one collection together: walks handed from account to account, and what several ask for.

As an account's own walks (`siphonwatch.models.account.walks`), but over all accounts of a fingerprint. Honest accounts
read what is theirs or what they look for: the next one's identifier lies anywhere, or they read the same. Who has one
list or one counter behind several accounts goes on with the one where the other was.
"""

from __future__ import annotations

import math

import numpy as np

from siphonwatch.models.account.request import Record, mix
from siphonwatch.models.account.walks import FURTHER, LONGEST, MIN_RUN, PAGE_REACH, begin, nearest
from siphonwatch.models.campaign.row import ENTRIES, KNOWN
from siphonwatch.models.common.kernel import kernel

REACH = 32
"""Identifiers this close to a walk's last one go on with it."""
SHALLOW = 2
"""Pages of a listing that people read: they are where others were by themselves."""
NONE, ITEM, PAGE, CURSOR = 0, 1, 2, 3
FADE = np.float32(1.0 / 32.0)
"""Weight of the latest gap."""
FAR = 2.0
"""Most that a gap counts to differ from the mean, in logarithms, as on an account's trails."""
SHORTEST = 0.01
"""Seconds that the shortest gap counts as."""
BY_CHANCE = np.float32(1.65)
"""Variance of the logarithm of gaps between requests that come by chance, pi squared over 6."""
NOT_FOUND = 404
SOME, FEW, HARDLY = 0.25, 2.0, 0.1
"""Share of a fingerprint's reads that go on with handed walks or miss, and how many more, from which only such ones are
evidence; and the share below which all are again."""
SWEEPS = 0.9
"""Share of new ones on an account's trail from which its reads are evidence: who copies reads nothing twice, and who
uses an app comes back to its own."""
F32 = np.float32


@kernel
def _handed(row: Record, q: Record) -> bool:
    """Take a request into its walk; whether that is one, and another account was there before."""
    account = np.uint32(q.account_hash >> np.uint64(32)) | np.uint32(1)
    kind, at, reach = NONE, np.int32(0), REACH * int(max(q.stands_for, F32(1.0)))
    if q.page == FURTHER:
        kind, reach = CURSOR, 0
    elif q.page > SHALLOW:
        kind, at, reach = PAGE, np.int32(q.page & 0x3FFFFFFF), PAGE_REACH
    elif q.page < 0 and q.item >= 0:
        kind, at = ITEM, np.int32(q.item & np.int64(0x3FFFFFFF))
    if kind == NONE:
        return False
    j = nearest(row, row.walk_kind, kind, at, reach)
    if j < 0:
        begun = begin(row, row.walk_kind, kind, at)
        if begun >= 0:
            row.walk_by[begun] = account
        return False
    moved = kind == CURSOR or row.walk_at[j] != at
    handed = bool(moved and row.walk_by[j] != account and row.walk_run[j] >= MIN_RUN)
    row.walk_at[j] = at
    row.walk_by[j] = account
    if moved:
        row.walk_run[j] = min(row.walk_run[j] + 1, LONGEST)
    return handed


@kernel
def _asked_again(row: Record, q: Record) -> bool:
    """Whether another account asked for the same resource of late; it is known from now on."""
    name = mix(q.resource)
    at = int(name & np.uint64(KNOWN - 1))
    mark = np.uint16((name >> np.uint64(48)) & np.uint64(0xFFFF)) | np.uint16(1)
    by = np.uint8((q.account_hash >> np.uint64(40)) & np.uint64(0xFF))
    if row.known[at] == mark:
        return bool(row.known_by[at] != by)
    row.known[at], row.known_by[at] = mark, by
    return False


@kernel
def count_read(row: Record, q: Record, time: float, gap: float, weight: np.float32) -> bool:
    """Take a read at event time `time` into the sums of its fingerprint; `gap` seconds after the one before.

    Returns whether it is evidence: its account's trail is all new, and nobody else asked for the same. Where accounts
    hand walks round, or guess, only such a read is: who reads otherwise with the same client or in the same place
    takes no part.
    """
    sums = row.sum
    sums.rest += weight
    sums.trail_new += weight * q.trail_new
    missing, handed = q.status == NOT_FOUND, False
    again = _asked_again(row, q)
    if again:
        sums.again += weight
    else:
        handed = _handed(row, q)
    if missing:
        sums.missing += weight
    if handed:
        sums.handed += weight
    if gap > 0.0 and q.stands_for <= F32(1.0):
        _count_gap(row, gap)
    together = sums.handed + sums.missing
    if row.together == 0 and together > SOME * sums.rest + FEW:
        row.together = 1
        _count_anew(row)
    elif row.together == 1 and together < HARDLY * sums.rest:
        row.together = 0
        _count_anew(row)
    own = missing or handed or (row.together == 0 and not again)
    return bool(own and q.trail_new >= F32(SWEEPS))


@kernel
def _count_anew(row: Record) -> None:
    """Begin to count who takes part, as it is others from now on."""
    sums = row.sum
    sums.proper, sums.moved, sums.net_known, sums.changed = F32(0.0), F32(0.0), F32(0.0), F32(0.0)
    sums.returned, sums.burst = F32(0.0), F32(0.0)
    row.level = 0
    for j in range(ENTRIES):
        row.sample[j], row.weight[j] = np.uint32(0), F32(0.0)


@kernel
def _count_gap(row: Record, gap: float) -> None:
    size = F32(math.log(max(gap, SHORTEST)))
    if row.log_gap_var == F32(0.0):
        row.log_gap, row.log_gap_var = size, BY_CHANCE
        return
    away = min(max(size - row.log_gap, F32(-FAR)), F32(FAR))
    row.log_gap += FADE * away
    row.log_gap_var += FADE * (away * away - row.log_gap_var)
