"""Groups inside one account: which templates a few of an account's many end users have to themselves. Keeps bitmaps of
a bounded number of accounts and templates, and no name.

A product's users share its client, its system prompt and its parameters, and most of them its templates. A list that is
dealt out over users that one operator signed up comes in a template of its own.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import Array, Record, mix
from siphonwatch.models.common.arrays import Parts, as_array
from siphonwatch.models.common.declare import Field, record
from siphonwatch.models.common.kernel import kernel

USERS = 30
"""End users from which an account has many: as the measured pools were hidden among 300, a tenth of that."""
SHARE = 0.25
"""Of an account's end users, up to which those with a template have it to themselves. What more of them use is the
product's own."""
FEWEST = 3
"""End users with a template before it is watched: as few as a campaign has."""
KNOWN = 6
"""Requests of an end user from which it is known what else that does."""
FEW = 15
"""Other end users that have to be known before what they do says anything: half of `USERS`."""
MOST = 0.5
"""Share of the others that has to be known: those known first are those who do most, and not as the others."""
SINGLE = 0.9
"""Share of one template among an end user's requests from which that is all it does."""
MEMORY = 128
"""Requests over which an end user's counts are halved."""
STEADY = 1.0 / 32.0
"""Part of a new request in the mean of a template: it holds some requests of each of ten end users."""
ALONE = (0.8, 0.92)
"""Share of the template among its end users' requests, at which nothing and all of a score counts. Who uses a feature
of a product also uses the rest of it."""
OTHERS = (0.1, 0.04)
"""Share of the account's other end users that do one thing alone, likewise. Where they are many that is the product's
way, as where each customer of a platform has a template of its own."""
EQUAL = (1.3, 1.15)
"""How unequal the end users' loads are, `disparity` of a fingerprint, likewise: loads drawn by chance have 1.33 where
uniform, 1.28 where log-normal with sigma 0.5; dealt out by chance 1.02."""
WORDS = 4
BITS = 64
FIRM = 255
"""Sightings for which an account or a template keeps its place against others. Most prompts are a template that is seen
once, and those would crowd out the ones that are shared."""
ACCOUNT_CELLS, TEMPLATE_CELLS, USER_CELLS = 1 << 12, 1 << 14, 1 << 15
ACCOUNT = record([
    Field("name", "u8", "hash", "the account; 0 in a free cell"),
    Field("users", "u8", "bits", "one for each end user, by hash", (WORDS,)),
    Field("known", "u8", "bits", "of these, those of which enough is known", (WORDS,)),
    Field("single", "u8", "bits", "of these, those that do one thing alone, which others do too", (WORDS,)),
    Field("hold", "u8", "sightings", "how firmly it keeps its place"),
])  # fmt: skip
TEMPLATE = record([
    Field("name", "u8", "hash", "the fingerprint: group, account and template; 0 in a free cell"),
    Field("account", "u8", "hash", "the account"),
    Field("users", "u8", "bits", "one for each end user, by hash", (WORDS,)),
    Field("alone", "f8", "share", "of the template among its end users' requests, running mean; -1 before the first"),
    Field("hold", "u8", "sightings", "how firmly it keeps its place"),
])  # fmt: skip
USER = record([
    Field("name", "u8", "hash", "the end user of an account; 0 in a free cell"),
    Field("account", "u8", "hash", "the account"),
    Field("template", "u8", "hash", "the fingerprint of most of its requests, where there is one"),
    Field("ahead", "i4", "requests", "with that, less those without"),
    Field("all", "i4", "requests", "counted"),
])  # fmt: skip
NONE = np.uint64(0)
ONE = np.uint64(1)


class Cells(NamedTuple):
    """What is kept, by the lower bits of each name."""

    accounts: Array
    templates: Array
    users: Array


class Seen(NamedTuple):
    """What is known of a request's group inside its account, each `(n,)`."""

    edges: npt.NDArray[np.uint64]
    """The fingerprint; 0 for none."""
    members: npt.NDArray[np.uint64]
    """The end user."""
    alone: npt.NDArray[np.float64]
    """Share of the template among its end users' requests."""
    others: npt.NDArray[np.float64]
    """Share of the account's other end users that do one thing alone."""


@kernel
def member_of(q: Record) -> np.uint64:
    """An end user of an account, as a member of a group inside it."""
    return mix(q.account_hash ^ mix(q.user))


@kernel
def _ones(word: np.uint64) -> int:
    count = 0
    while word != NONE:
        word &= word - ONE
        count += 1
    return count


@kernel
def _all_ones(words: npt.NDArray[np.uint64]) -> int:
    count = 0
    for j in range(WORDS):
        count += _ones(words[j])
    return count


@kernel
def _about(ones: int) -> float:
    """How many end users set so many bits of `WORDS` (linear counting, Whang et al. 1990)."""
    bits = WORDS * BITS
    return -bits * math.log(1.0 - min(ones, bits - 1) / bits)


@kernel
def _account_of(accounts: Array, q: Record) -> np.int64:
    """The place of an account; -1 where another one keeps it."""
    at = np.int64(q.account_hash & np.uint64(ACCOUNT_CELLS - 1))
    cell = accounts[at]
    if cell.name != q.account_hash:
        if cell.hold > NONE:
            cell.hold -= ONE
            return np.int64(-1)
        cell.name = q.account_hash
        for j in range(WORDS):
            cell.users[j] = NONE
            cell.known[j] = NONE
            cell.single[j] = NONE
    cell.hold = min(cell.hold + ONE, np.uint64(FIRM))
    return at


@kernel
def _share_of(users: Array, q: Record, member: np.uint64, name: np.uint64) -> float:
    """Count a request of an end user, with the fingerprint `name` or none (0); return the share of that where it is
    the commonest, 0 where another one is, -1 where too little is known."""
    cell = users[member & np.uint64(USER_CELLS - 1)]
    if cell.name != member:
        if cell.all > 0:
            cell.all -= 1
            cell.ahead = min(cell.ahead, cell.all)
            return -1.0
        cell.name, cell.account, cell.template, cell.ahead = member, q.account_hash, name, 0
    cell.all += 1
    if cell.template == name and name != NONE:
        cell.ahead += 1
    elif cell.ahead > 0:
        cell.ahead -= 1
    else:
        cell.template = name
    if cell.all >= MEMORY:
        cell.all //= 2
        cell.ahead //= 2
    if cell.all < KNOWN:
        return -1.0
    return 0.5 + 0.5 * cell.ahead / cell.all if cell.template == name and name != NONE else 0.0


@kernel
def _others(account: Record, group: npt.NDArray[np.uint64]) -> float:
    """The share of an account's end users that do one thing alone, among those known that are not of a group; 1 where
    too few are known."""
    present, known, single = 0, 0, 0
    for j in range(WORDS):
        present += _ones(account.users[j] & ~group[j])
        known += _ones(account.known[j] & ~group[j])
        single += _ones(account.single[j] & ~group[j])
    return single / known if known >= max(FEW, MOST * present) else 1.0


@kernel
def _admit(
    requests: Array, groups: npt.NDArray[np.uint64], cells: Cells, edges: npt.NDArray[np.uint64],
    members: npt.NDArray[np.uint64], alone: npt.NDArray[np.float64], others: npt.NDArray[np.float64],
) -> None:  # fmt: skip
    for i in range(len(requests)):
        q = requests[i]
        members[i] = member_of(q)
        if groups[i] == NONE or q.user == NONE or q.template == NONE:
            continue
        at = _account_of(cells.accounts, q)
        if at < 0:
            continue
        account = cells.accounts[at]
        bit = members[i] >> np.uint64(32)
        word, own = (bit >> np.uint64(6)) & np.uint64(WORDS - 1), ONE << (bit & np.uint64(BITS - 1))
        account.users[word] |= own
        users = _about(_all_ones(account.users))
        if users < USERS:
            continue
        name = NONE
        if q.turns <= 1:
            name = mix(mix(groups[i] ^ q.account_hash) ^ q.template)
        share = _share_of(cells.users, q, members[i], name)
        if share >= 0.0:
            account.known[word] |= own
            account.single[word] &= ~own
        if name == NONE:
            continue
        cell = cells.templates[name & np.uint64(TEMPLATE_CELLS - 1)]
        if cell.name != name:
            if cell.hold > NONE:
                cell.hold -= ONE
                continue
            cell.name, cell.account, cell.alone = name, q.account_hash, -1.0
            for j in range(WORDS):
                cell.users[j] = NONE
        cell.hold = min(cell.hold + ONE, np.uint64(FIRM))
        cell.users[word] |= own
        shared = _all_ones(cell.users)
        if share >= 0.0:
            cell.alone = share if cell.alone < 0.0 else cell.alone + STEADY * (share - cell.alone)
        if share >= SINGLE and shared >= FEWEST and cell.alone >= ALONE[0]:
            account.single[word] |= own
        if shared >= FEWEST and _about(shared) <= SHARE * users:
            edges[i], alone[i], others[i] = name, cell.alone, _others(account, cell.users)


def _ramp(x: npt.NDArray[np.float64], low: float, high: float) -> npt.NDArray[np.float64]:
    return np.clip((x - low) / (high - low), 0.0, 1.0)


def apart(
    alone: npt.NDArray[np.float64], others: npt.NDArray[np.float64], disparity: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return how far groups inside accounts are apart from what their products' users do, 0 to 1, `(n,)` as all are."""
    return _ramp(alone, *ALONE) * _ramp(others, *OTHERS) * _ramp(disparity, *EQUAL)


class Inside:
    """Finds the fingerprints of groups inside accounts.

    Examples
    --------
    >>> from siphonwatch.models.account.request import blank
    >>> requests = np.repeat(blank(), 120)
    >>> requests["account_hash"], requests["turns"] = 7, 1
    >>> requests["user"], requests["template"] = np.arange(120) % 40 + 1, np.where(np.arange(120) % 40 < 4, 5, 6)
    >>> seen = Inside().find(requests, np.full(120, 9, np.uint64))
    >>> np.flatnonzero(seen.edges[80:]).tolist(), len(np.unique(seen.members))
    ([0, 1, 2, 3], 40)
    """

    def __init__(self) -> None:
        self._cells = _blank()

    def find(self, requests: Array, groups: npt.NDArray[np.uint64]) -> Seen:
        """Return what is known of the group inside its account that each request has, and its end user as a member.

        `groups`, `(n,) uint64`, is what all its fingerprints have in common.
        """
        n = len(requests)
        seen = Seen(np.zeros(n, np.uint64), np.zeros(n, np.uint64), np.zeros(n), np.zeros(n))
        _admit(requests, groups, self._cells, *seen)
        return seen

    def erase(self, accounts: npt.NDArray[np.uint64]) -> None:
        """Forget some accounts and their end users, by the accounts' hashes, `(n,)`."""
        for cells, field in zip(self._cells, ("name", "account", "account"), strict=True):
            cells[np.isin(cells[field], accounts)] = np.zeros((), cells.dtype)

    def snapshot(self) -> dict[str, npt.NDArray[np.uint64]]:
        """Return the cells in use, each with its place."""
        return {name: _used(cells) for name, cells in self._cells._asdict().items()}

    def restore(self, parts: Parts) -> None:
        """Take over the cells of a snapshot.

        Raises
        ------
        ValueError
            Where they are of another shape, or of places that do not exist.
        """
        fresh = _blank()
        for name, cells in fresh._asdict().items():
            _fill(cells, as_array(parts, name))
        self._cells = fresh


def _blank() -> Cells:
    return Cells(np.zeros(ACCOUNT_CELLS, ACCOUNT), np.zeros(TEMPLATE_CELLS, TEMPLATE), np.zeros(USER_CELLS, USER))


def _used(cells: Array) -> npt.NDArray[np.uint64]:
    places = np.flatnonzero(cells["name"])
    return np.column_stack([places.astype(np.uint64), _words(cells)[places]])


def _words(cells: Array) -> npt.NDArray[np.uint64]:
    return cells.view(np.uint64).reshape(len(cells), -1)


def _fill(cells: Array, used: npt.NDArray[np.uint64]) -> None:
    words = _words(cells)
    if used.ndim != 2 or used.shape[1] != words.shape[1] + 1 or (used[:, 0] >= len(cells)).any():
        raise ValueError(f"groups inside accounts of shape {used.shape}: the state was written by another version")
    words[used[:, 0].astype(np.int64)] = used[:, 1:]
