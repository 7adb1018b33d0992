"""Cases that are like another one, and what was decided about them: the Jaccard index of what their alerts say. Only
cases of the same pattern that somebody judged are looked at.
"""

from __future__ import annotations

import sqlite3
import zlib

from siphonwatch.models.detect.registry import current
from siphonwatch.streams.contracts.alert import Alert, decode
from siphonwatch.streams.desk.names import Names
from siphonwatch.streams.desk.queue import COLUMNS, case_rows
from siphonwatch.streams.desk.views import Alike

LOOKED_AT = 300
"""The newest judged cases of the pattern; more would keep the page waiting."""
SHOWN = 5
LEAST = 0.3


def marks(alert: Alert) -> set[str]:
    """Return what of an alert is compared, a text each."""
    own = alert.own
    found = {f"{signal.meaning} is {signal.direction} its baseline" for signal in own.signals}
    found |= {f"they share {text}" for text in own.shared}
    found |= {f"indicator {one.name}" for one in own.indicators}
    found |= {f"{one.kind} {one.name}" for one in own.carried_by}
    return found | {f"account {account}" for account in own.accounts}


def alike(of: sqlite3.Connection, case: str, alert: Alert, names: Names, now: float) -> list[Alike]:
    """Return the judged cases that are most like a case, the likest first."""
    mine = marks(alert)
    rows = of.execute(
        f"SELECT {COLUMNS}, alert FROM cases JOIN newest USING (id) "
        "WHERE pattern = ? AND id != ? AND verdict NOT IN ('', 'withdrawn') ORDER BY updated DESC LIMIT ?",
        (current(alert.own.pattern), case, LOOKED_AT),
    ).fetchall()
    found = []
    for *row, raw in rows:
        other = marks(decode(zlib.decompress(raw)))
        likeness = len(mine & other) / max(len(mine | other), 1)
        if likeness >= LEAST:
            found.append((likeness, row, sorted(mine & other)))
    found.sort(key=lambda one: (-one[0], one[1][0]))
    shown = found[:SHOWN]
    views = case_rows(of, [row for _, row, _ in shown], names, now)
    return [
        Alike(row=view, likeness=round(likeness, 3), shared=shared)
        for (likeness, _, shared), view in zip(shown, views, strict=True)
    ]
