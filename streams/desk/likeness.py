"""Cases that are like another one, those that somebody judged apart from those that nobody did: the weighted Jaccard
index of what their alerts say, where what few of the cases have weighs more. Only cases of the same pattern are looked
at.
"""

from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from siphonwatch.models.detect.registry import current
from siphonwatch.streams.contracts.alert import Alert, decode
from siphonwatch.streams.desk.index.sql import Connection
from siphonwatch.streams.desk.names import Names
from siphonwatch.streams.desk.queue import COLUMNS, case_rows
from siphonwatch.streams.desk.views import Alike

LOOKED_AT = 300
"""The newest cases of the pattern, of those judged and of the others; more would keep the page waiting."""
SHOWN = 5
LEAST = 0.3
ACCOUNT = "account "
JUDGED = "verdict NOT IN ('', 'withdrawn')"


class _Other(NamedTuple):
    row: Sequence[Any]
    """Of `COLUMNS`."""
    marks: set[str]
    judged: bool


def marks(alert: Alert) -> set[str]:
    """Return what of an alert is compared, a text each."""
    own = alert.own
    found = {f"{signal.meaning} is {signal.direction} its baseline" for signal in own.signals}
    found |= {f"they share {text}" for text in own.shared}
    found |= {f"indicator {one.name}" for one in own.indicators}
    found |= {f"{one.kind} {one.name}" for one in own.carried_by}
    return found | {ACCOUNT + account for account in own.accounts}


def alike(of: Connection, case: str, alert: Alert, names: Names, now: float) -> tuple[list[Alike], list[Alike]]:
    """Return the judged cases that are most like a case, the likest first, and those that nobody judged.

    What is shared is said rarest first. Cases that belong with it are not among the latter: a page shows them anyway.
    """
    mine = marks(alert)
    others = [
        _Other(row, marks(decode(zlib.decompress(raw))), bool(judged))
        for where, more in (
            (JUDGED, []),
            (f"NOT {JUDGED} AND belongs != (SELECT belongs FROM cases WHERE id = ?)", [case]),
        )
        for *row, judged, raw in of.execute(
            f"SELECT {COLUMNS}, {JUDGED}, alert FROM cases JOIN newest USING (id) "
            f"WHERE pattern = ? AND id != ? AND {where} ORDER BY updated DESC LIMIT {LOOKED_AT}",
            [current(alert.own.pattern), case, *more],
        )
    ]
    weights = _weights([mine, *(other.marks for other in others)])
    judged, unjudged = (
        _likest(of, mine, [one for one in others if one.judged is wanted], weights, names, now)
        for wanted in (True, False)
    )
    return judged, unjudged


def _said(differ: set[str]) -> set[str]:
    """What makes cases differ: not whose they are, which only says something where it is the same."""
    return {mark for mark in differ if not mark.startswith(ACCOUNT)}


def _weights(found: Sequence[set[str]]) -> dict[str, float]:
    """How much each mark says: the logarithm of how few of the cases have it, never nothing."""
    counts = Counter(mark for marks_ in found for mark in marks_)
    return {mark: math.log1p(len(found) / count) for mark, count in counts.items()}


def _likest(
    of: Connection, mine: set[str], others: Iterable[_Other], weights: Mapping[str, float], names: Names,
    now: float,
) -> list[Alike]:  # fmt: skip
    def weigh(some: set[str]) -> float:
        return sum(map(weights.__getitem__, sorted(some)))

    found = [
        (weigh(mine & other.marks) / max(weigh((mine & other.marks) | _said(mine ^ other.marks)), 1e-9), other)
        for other in others
    ]
    near = sorted((one for one in found if one[0] >= LEAST), key=lambda one: (-one[0], one[1].row[0]))[:SHOWN]
    views = case_rows(of, [other.row for _, other in near], names, now)
    return [
        Alike(
            row=view, likeness=round(likeness, 3),
            shared=sorted(mine & other.marks, key=lambda mark: (-weights[mark], mark)),
        )
        for (likeness, other), view in zip(near, views, strict=True)
    ]  # fmt: skip
