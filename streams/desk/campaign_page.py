"""A campaign opened: who is in it, what ties the members together, and the pools before and after it."""

from __future__ import annotations

from collections import Counter, defaultdict

from siphonwatch.streams.desk.case_page import members, newest, row_of
from siphonwatch.streams.desk.exposure import hashes, hex16, labels
from siphonwatch.streams.desk.index.sql import Connection
from siphonwatch.streams.desk.index.traffic import KINDS, days, having, parts, shares_of
from siphonwatch.streams.desk.names import Names
from siphonwatch.streams.desk.queue import COLUMNS, case_rows
from siphonwatch.streams.desk.views import CampaignPage, Share

FINGERPRINTS = 60
"""That are shown: those that most members have, the ones that fewest others have first among equals."""


def campaign_page(of: Connection, case: str, names: Names, now: float) -> CampaignPage:
    """Return the page of a case of several accounts; of one account it has no ties.

    Raises
    ------
    Unknown
        When there is no such case.
    """
    row = row_of(of, case, names, now)
    _, alert = newest(of, case)
    found = members(of, case, alert, names)
    places = {member.account: place for place, member in enumerate(found)}
    known = hashes(of, list(places))
    there = days(of)
    requests: Counter[tuple[int, int]] = Counter()
    who: dict[tuple[int, int], set[int]] = defaultdict(set)
    had = shares_of(of, known.values(), there)
    for account, hash_ in known.items():
        requests.update(had[hash_])
        for mark in had[hash_]:
            who[mark].add(places[account])
    shared = [mark for mark, having_ in who.items() if len(having_) > 1]
    shared.sort(key=lambda mark: (-len(who[mark]), *mark))
    shared = shared[: 2 * FINGERPRINTS]
    all_ = {mark: having(of, *mark, there) for mark in shared}
    shared.sort(key=lambda mark: (-len(who[mark]), all_[mark], *mark))
    shared = shared[:FINGERPRINTS]
    texts = labels(of, [value for _, value in shared])
    return CampaignPage(
        row=row,
        members=found,
        fingerprints=[
            Share(
                kind=KINDS[kind], value=texts.get(value, hex16(value)), requests=requests[kind, value],
                share=round(len(who[kind, value]) / max(len(found), 1), 4), accounts=all_[kind, value],
            )
            for kind, value in shared
        ],
        ties=sorted((place, at) for at, mark in enumerate(shared) for place in who[mark]),
        pools=case_rows(of, _pools(of, case, alert.own.accounts, alert.own.follows), names, now),
    )  # fmt: skip


def _pools(of: Connection, case: str, accounts: list[str], follows: list[str]) -> list[tuple[object, ...]]:
    """Cases of several accounts that have a member in common: the pool that it follows, or that follows it."""
    found: set[str] = set()
    for part, marks in parts(sorted({*follows, *accounts})):
        found |= {one for (one,) in of.execute(f"SELECT id FROM member WHERE account IN ({marks})", part)}
    rows = []
    for one in sorted(found - {case}):
        rows += of.execute(f"SELECT {COLUMNS} FROM cases WHERE id = ? AND accounts > 1", (one,)).fetchall()
    return rows
