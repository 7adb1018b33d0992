"""What a row remembers of what its account asked for: a sample that tells new from known, and walks through listings.

Nothing here knows what a resource or a text is: only keyed hashes, and differences of numbers.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import Record
from siphonwatch.models.account.row import RECENT, RESOURCES
from siphonwatch.models.account.sums import SCALES
from siphonwatch.models.common.kernel import kernel

F32 = np.float32
Keys = npt.NDArray[np.uint8 | np.uint16]
MAX_LEVEL = 15
FADE = F32(1.0 / 16.0)
TOUCHES = 8.0
"""A sample that is asked about less often than this in a week is too thin; it then forgets rather than thins out."""

MIN_RUN = 3
"""Moves from which a walk is one: by chance or in an app's feed, a few numbers stand in a row as well."""
LONGEST = 60
ID_REACH = 32
"""Identifiers this close to a walk's last one continue it, in either direction: gaps, strides, shuffled blocks."""
PAGE_REACH = 1000
"""Pages, or offsets in items, that a walk through a listing goes forward at once."""
FURTHER = 2**31 - 1
"""The page that telemetry gives where a cursor names the next one."""
WEEK = SCALES.index("7d")


@kernel
def _find(row: Record, mark: np.uint16, places: int) -> tuple[bool, int]:
    """Whether the first `places` of the sample hold a mark, and a free one of them, -1 if there is none."""
    known, free = False, -1
    for j in range(places):
        known |= row.sample[j] == mark
        if row.sample[j] == np.uint16(0):
            free = j
    return known, free


@kernel
def _forget(row: Record, level: int, places: int) -> int:
    """Free the places of resources below a level; returns one of them, -1 if there is none."""
    free = -1
    for j in range(places):
        if np.int64(row.sample[j]) >> 12 < level:
            row.sample[j] = np.uint16(0)
            free = j
    return free


@kernel
def novelty(row: Record, resource: np.uint64, wide: bool) -> np.float32:
    """Return how surely a resource is new to the account: 0 or 1 where it is sampled, else the sampled ones' share.

    An adaptive sample by hash (Wegman's, in Flajolet 1990): when it is full only every second resource stays in it, so
    that a few dozen bytes tell a reader who comes back to ten thousand resources from one who never comes back. An
    absent resource (0) counts as new. `wide` says that the account has no texts, so that the sample has their places.
    """
    if resource == np.uint64(0):
        return F32(1.0)
    zeros = 0
    bits = resource
    while bits & np.uint64(1) == np.uint64(0) and zeros < MAX_LEVEL:
        bits >>= np.uint64(1)
        zeros += 1
    week = row.by_scale[WEEK]
    asked = float(week.rest) + float(week.text)
    level = np.int64(row.sample_level)
    while level > 0 and asked < TOUCHES * 2.0 ** (level - 1):
        level -= 1
    if zeros < level:
        row.sample_level = level
        return F32(row.novelty)
    mark = np.uint16(max((resource >> np.uint64(52)) & np.uint64(0xFFF), np.uint64(1)) | np.uint64(zeros << 12))
    places = len(row.sample) if wide else RESOURCES
    known, free = _find(row, mark, places)
    while not known and free < 0:
        if level == MAX_LEVEL or asked < TOUCHES * 2.0 ** (level + 1):
            free = int(np.int64((resource >> np.uint64(20)) % np.uint64(RESOURCES)))
        else:
            level += 1
            free = _forget(row, int(level), places)
    row.sample_level = level
    if not known and zeros >= level:
        row.sample[free] = mark
    new = F32(0.0) if known else F32(1.0)
    rate = max(FADE, F32(1.0 / (1.0 + asked)))
    row.novelty += rate * (new - row.novelty)
    return new


@kernel
def new_resource(row: Record, resource: np.uint64) -> np.float32:
    """Return how surely a resource is new to the account, 0 to 1; the few that it polls need no place in the sample."""
    mark = np.uint16((resource >> np.uint64(32)) & np.uint64(0xFFFF)) | np.uint16(1)
    if resource != np.uint64(0):
        for j in range(RECENT):
            if row.recent[j] == mark:
                return F32(0.0)
        at = np.int64(row.next_recent)
        row.recent[at] = mark
        row.next_recent = (at + 1) % RECENT
    return novelty(row, resource, row.by_scale[WEEK].text == F32(0.0))


@kernel
def _key(route: np.uint64, kind: int) -> np.uint16:
    return np.uint16((route >> np.uint64(48)) ^ np.uint64(kind * 0x5555))


@kernel
def nearest(row: Record, keys: Keys, key: int | np.uint16, at: np.int32, reach: int) -> int:
    """Return the place of the walk under a key that last stood nearest, within reach; -1 if none did.

    `keys` are those of the row's walks. An account's row has them, and that of a fingerprint.
    """
    best, least = -1, reach + 1
    for j in range(len(keys)):
        if row.walk_run[j] > 0 and keys[j] == key:
            away = abs(int(at) - int(row.walk_at[j]))
            if away < least:
                best, least = j, away
    return best


@kernel
def begin(row: Record, keys: Keys, key: int | np.uint16, at: np.int32) -> int:
    """Follow a new walk in place of the shortest; where all are long they halve instead, so that one-off numbers don't
    displace them and those that ended make room.

    Returns its place, -1 where there was none for it.
    """
    first = int(row.requests % len(keys))
    shortest = first
    for i in range(len(keys)):
        j = (first + i) % len(keys)
        if row.walk_run[j] < row.walk_run[shortest]:
            shortest = j
    if row.walk_run[shortest] > 1:
        for j in range(len(keys)):
            row.walk_run[j] >>= 1
        return -1
    row.walk_run[shortest] = 1
    keys[shortest] = key
    row.walk_at[shortest] = at
    return shortest


@kernel
def _move(row: Record, j: int, at: np.int32) -> int:
    row.walk_at[j] = at
    row.walk_run[j] = min(row.walk_run[j] + 1, LONGEST)
    return int(np.int64(row.walk_run[j]))


@kernel
def item_run(row: Record, route: np.uint64, item: np.int64) -> int:
    """Return how many identifiers in a row a request's one continues, itself counted; 0 where it is none or no move."""
    if item < 0:
        return 0
    key, at = _key(route, 1), np.int32(item & np.int64(0x3FFFFFFF))
    j = nearest(row, row.walk_key, key, at, ID_REACH)
    if j < 0:
        begin(row, row.walk_key, key, at)
        return 1
    return _move(row, j, at) if row.walk_at[j] != at else 0


@kernel
def page_run(row: Record, route: np.uint64, page: np.int32) -> int:
    """Return how many pages in a row, forward, a request's one continues, itself counted; 0 where it is none.

    Cursors have no order, so each further page counts until the listing is opened anew.
    """
    if page < 0:
        opened = nearest(row, row.walk_key, _key(route, 3), np.int32(0), 0)
        if opened >= 0:
            row.walk_run[opened] = 1
        return 0
    if page == FURTHER:
        key = _key(route, 3)
        j = nearest(row, row.walk_key, key, np.int32(0), 0)
        if j < 0:
            begin(row, row.walk_key, key, np.int32(0))
            return 1
        return _move(row, j, np.int32(0))
    key = _key(route, 2)
    j = nearest(row, row.walk_key, key, page, PAGE_REACH)
    if j >= 0 and page > row.walk_at[j]:
        return _move(row, j, page)
    if j >= 0 and page == row.walk_at[j]:
        return 0
    if j >= 0 and row.walk_run[j] <= MIN_RUN:
        row.walk_at[j] = page
        row.walk_run[j] = 1
        return 1
    begin(row, row.walk_key, key, page)
    return 1
