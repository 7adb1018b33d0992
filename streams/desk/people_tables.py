"""What people did at desks that share a database: what each has looked at, who did what, which sessions were ended. It
is on no topic; an index that is made anew leaves it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from siphonwatch.models.evidence.cases import ERASED
from siphonwatch.streams.desk.index.erasure import mentions
from siphonwatch.streams.desk.index.sql import Connection
from siphonwatch.streams.desk.looked import KEPT, When

EVERY = 1000
"""Looks after which the oldest that are too many go."""
ENTRIES = 1000
"""Of the audit page that are kept, as many as it shows; logs have all."""
Edit = Callable[[], AbstractContextManager[Connection]]


class PeopleTables:
    """The tables; implements `siphonwatch.streams.desk.looked.Looks`. Safe to share between threads.

    Parameters
    ----------
    edit
        Gives a connection within a transaction that may write.
    """

    def __init__(self, edit: Edit) -> None:
        self._edit = edit
        self._noted = 0

    @staticmethod
    def statements() -> Iterator[str]:
        """Yield what makes the tables."""
        yield (
            'CREATE TABLE looked (person TEXT COLLATE "C", id TEXT COLLATE "C", at DOUBLE PRECISION NOT NULL, '
            "PRIMARY KEY (person, id))"
        )
        yield "CREATE INDEX looked_at ON looked (at)"
        yield 'CREATE TABLE ended (session TEXT COLLATE "C" PRIMARY KEY, until DOUBLE PRECISION NOT NULL)'
        yield "CREATE TABLE audit (number BIGSERIAL PRIMARY KEY, entry BYTEA NOT NULL)"

    def note(self, person: str, case: str, at: float) -> None:
        """Keep that a person has looked at a case."""
        with self._edit() as to:
            to.execute(
                "INSERT INTO looked VALUES (?, ?, ?) ON CONFLICT (person, id) DO UPDATE SET at = excluded.at",
                (person, case, at),
            )
            self._noted += 1
            if self._noted % EVERY == 0:
                to.execute(
                    "DELETE FROM looked WHERE at < (SELECT at FROM looked ORDER BY at DESC LIMIT 1 OFFSET ?)",
                    (KEPT - 1,),
                )

    def of(self, person: str) -> When:
        """Return a question about one person; nobody, an empty name, has looked at nothing."""

        def when(cases: Sequence[str]) -> dict[str, float]:
            if not person or not cases:
                return {}
            marks = ", ".join("?" * len(cases))
            with self._edit() as of:
                return dict(
                    of.execute(f"SELECT id, at FROM looked WHERE person = ? AND id IN ({marks})", [person, *cases])
                )

        return when

    def share(self, entries: Collection[bytes], ended: Mapping[str, float], now: float) -> dict[str, float]:
        """Tell the other desks what was done here, and return which sessions were ended at any, and when each of those
        would have run out.

        Parameters
        ----------
        entries
            Of the audit, as JSON.
        ended
            Sessions that were ended here, likewise.
        now
            Seconds since 1970: what ran out is forgotten.
        """
        with self._edit() as to:
            if entries:
                to.executemany("INSERT INTO audit (entry) VALUES (?)", ((entry,) for entry in entries))
                to.execute("DELETE FROM audit WHERE number <= (SELECT max(number) FROM audit) - ?", (ENTRIES,))
            if ended:
                to.executemany("INSERT INTO ended VALUES (?, ?) ON CONFLICT DO NOTHING", ended.items())
                to.execute("DELETE FROM ended WHERE until < ?", (now,))
            return dict(to.execute("SELECT session, until FROM ended"))

    def entries(self) -> list[bytes]:
        """Return the newest entries of the audit, the newest first."""
        with self._edit() as of:
            rows = of.execute("SELECT entry FROM audit ORDER BY number DESC LIMIT ?", (ENTRIES,))
            return [entry for (entry,) in rows]

    def erase(self, to: Connection, account: str, until: float) -> None:
        """Take an account out of the audit, up to a time."""
        named = msgspec.json.encode(account)[1:-1]
        for number, raw in to.execute(f"SELECT number, entry FROM audit WHERE {to.has('entry')}", (named,)).fetchall():
            entry: dict[str, Any] = msgspec.json.decode(raw)
            if entry["time"] > until:
                continue
            entry["cases"] = [ERASED if case == account else case for case in entry["cases"]]
            if mentions(entry["text"], account):
                entry["text"] = ""
            to.execute("UPDATE audit SET entry = ? WHERE number = ?", (msgspec.json.encode(entry), number))
