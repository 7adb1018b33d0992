"""The order of cases by today's verdicts: the book of verdicts as the index has them, and every case's rank renewed
when one comes. It learns nothing of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.evidence.cases import ERASED
from siphonwatch.models.learn.ranker import Many
from siphonwatch.models.learn.ranker_features import features
from siphonwatch.models.learn.verdict_book import VerdictBook
from siphonwatch.streams.contracts import verdict
from siphonwatch.streams.desk.index.cases import facts_of
from siphonwatch.streams.desk.index.sql import Connection
from siphonwatch.streams.desk.index.store import Index
from siphonwatch.streams.desk.index.traffic import parts

KEPT = 200_000
"""Cases whose features are kept in memory, some 500 bytes each; beyond, they are made again each time."""


class Ranks:
    """Ranks of an index's cases.

    Parameters
    ----------
    index
        Open.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self._book = VerdictBook()
        self._read = _Read(-1, 0, 0)
        self._names: dict[str, int] = {}
        self._rows: dict[str, _Row] = {}

    def rank(self, to: Connection, cases: Iterable[str]) -> None:
        """Rank some cases, within a transaction."""
        book = self._book_of(to)
        for part, marks in parts(sorted(cases)):
            rows = to.execute(f"SELECT id, said, facts FROM cases JOIN newest USING (id) WHERE id IN ({marks})", part)
            self._write(to, book, {case: self._row(said, raw) for case, said, raw in rows if raw is not None})

    def renew(self) -> bool:
        """Rank all cases anew where the verdicts changed since that was done; return whether they were."""
        reader = self._index.reader
        if _ranked(reader) == str(_read(reader)):
            return False
        with self._index.write() as to:
            if _ranked(to) == str(_read(to)):
                return False
            book = self._book_of(to)
            here: dict[str, _Row] = {}
            for case, said in to.execute(
                "SELECT id, said FROM cases JOIN newest USING (id) WHERE facts IS NOT NULL"
            ).fetchall():
                known = self._rows.get(case)
                if known is None or known.said != said:
                    (raw,) = to.execute("SELECT facts FROM newest WHERE id = ?", (case,)).fetchone()
                    known = self._row(said, raw)
                here[case] = known
            self._rows = here if len(here) <= KEPT else {}
            self._write(to, book, here)
            to.execute(
                "INSERT INTO meta VALUES ('ranked', ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (str(_read(to)),),
            )
        return True

    def _book_of(self, to: Connection) -> VerdictBook:
        """The book of the verdicts that a transaction sees."""
        now = _read(to)
        if now == self._read:
            return self._book
        after = self._read.newest
        (same,) = to.execute('SELECT count(*) FROM verdict WHERE "offset" <= ?', (after,)).fetchone()
        if same != self._read.records or now.erased != self._read.erased:
            self._book.clear()  # what was read is not what is there any more
            after = -1
        rows = to.execute('SELECT value FROM verdict WHERE "offset" > ? ORDER BY "offset"', (after,))
        self._book.take(verdict.decode(raw).vote for (raw,) in rows)
        self._read = now
        return self._book

    def _row(self, said: int, raw: bytes) -> _Row:
        x = features(facts_of(raw))
        places = [self._names.setdefault(name, len(self._names)) for name in x]
        return _Row(said, np.array(places, np.int32), np.array(list(x.values())))

    def _write(self, to: Connection, book: VerdictBook, rows: Mapping[str, _Row]) -> None:
        if not rows:
            return
        ends = np.cumsum([len(row.places) for row in rows.values()], dtype=np.int64)
        places = np.concatenate([row.places for row in rows.values()])
        values = np.concatenate([row.values for row in rows.values()])
        ranks = book.ranks(Many(self._names, ends, places, values)).tolist()
        to.executemany("UPDATE cases SET rank = ? WHERE id = ? AND rank != ?", zip(ranks, rows, ranks, strict=True))


class _Row(NamedTuple):
    """The features of a case."""

    said: int
    """Which alert they are of."""
    places: npt.NDArray[np.int32]
    values: npt.NDArray[np.float64]


class _Read(NamedTuple):
    """What the book of verdicts depends on: which there are, and whose."""

    newest: int
    records: int
    erased: int


def _read(of: Connection) -> _Read:
    return _Read(
        *of.execute(
            'SELECT coalesce(max("offset"), -1), count(*), '
            f"(SELECT count(*) FROM verdict WHERE account = '{ERASED}') FROM verdict"
        ).fetchone()
    )


def _ranked(of: Connection) -> str | None:
    row = of.execute("SELECT value FROM meta WHERE name = 'ranked'").fetchone()
    return None if row is None else str(row[0])
