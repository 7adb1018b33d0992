"""Takes batches of the topics' records into the index: each batch with its positions in one transaction, so that a
process that dies between two of them loses nothing and doubles nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from siphonwatch.streams.common.incarnation import mark_of
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.desk.index import traffic, vectors
from siphonwatch.streams.desk.index.cases import Cases, Record
from siphonwatch.streams.desk.index.ranks import Ranks
from siphonwatch.streams.desk.index.sql import Connection
from siphonwatch.streams.desk.index.store import Index, Position
from siphonwatch.streams.desk.index.traffic import Traffic
from siphonwatch.streams.worker.decode import Decoder

KINDS = ("control", "desk", "verdicts", "alerts", "hidden", "telemetry", "features")
"""Of topics, in the order in which a batch of several is taken in."""
MADE_OF: dict[str, tuple[str, ...]] = {
    "control": ("allow", "erased"),
    "desk": ("desk",),
    "verdicts": ("verdict",),
    "alerts": ("cases", "newest", "told", "member"),
    "hidden": ("hidden",),
    "telemetry": ("account", "hour", "day", "share", "label"),
    "features": ("vector", "sample"),
}
"""Tables that come of each topic alone: one that was made anew takes them with it."""
STEPPED = 100
"""Records that were stepped over of which places are kept: more than somebody looks at; all are counted."""


class Batch(NamedTuple):
    """Records of one partition, in their order."""

    kind: str
    topic: str
    partition: int
    incarnation: str
    """Id of the topic; empty where its broker gives none."""
    records: Sequence[Record]


class Intake:
    """Takes batches in.

    Parameters
    ----------
    index
        Open.
    settings
        Retention.
    """

    def __init__(self, index: Index, settings: Settings) -> None:
        self._index = index
        self._days = settings.desk.days
        self._alerts_seconds = 3600.0 * settings.topics.alerts_retention_hours
        self._traffic = Traffic(Decoder(), self._days)
        self.cases = Cases()
        self.ranks = Ranks(index)

    def take(self, batches: Iterable[Batch]) -> int:
        """Take records in that were not, and return how many those are.

        Raises
        ------
        sqlite3.Error, IndexAway
            When the index cannot be written; then nothing of it was taken in.
        """
        given = sorted(batches, key=lambda batch: KINDS.index(batch.kind))
        taken = 0
        with self._index.write() as to:
            for batch in given:
                fresh = self._fresh(to, batch)
                if not fresh:
                    continue
                taken += len(fresh)
                if skipped := self._kinds[batch.kind](self, to, batch, fresh):
                    to.execute(
                        "INSERT INTO skipped (topic, records) VALUES (?, ?) "
                        "ON CONFLICT (topic) DO UPDATE SET records = skipped.records + excluded.records",
                        (batch.topic, skipped),
                    )
                for account, until in self.cases.erasing.items() if batch.kind == "control" else ():
                    self._index.erase(to, account, until)
                    traffic.erase(to, account, until)
                    vectors.erase(to, account, until)
                _passed(to, batch, fresh[-1])
            self.cases.forget(to, self._alerts_seconds)
            self.ranks.rank(to, self.cases.settle(to))
        self.ranks.renew()
        return taken

    def step_over(self, batch: Batch, why: str) -> None:
        """Pass the one record of a batch without taking it in, and note that.

        Parameters
        ----------
        why
            Never anything of the record's content: that may name an account, and nothing would erase it here.
        """
        with self._index.write() as to:
            for record in self._fresh(to, batch):
                row = batch.topic, batch.partition, record.offset, record.sent, len(record.value), why
                to.execute("INSERT INTO stepped VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", row)
                to.execute(
                    "INSERT INTO skipped (topic, failed) VALUES (?, 1) "
                    "ON CONFLICT (topic) DO UPDATE SET failed = skipped.failed + 1",
                    (batch.topic,),
                )
                _passed(to, batch, record)
            to.execute(
                "DELETE FROM stepped WHERE sent < (SELECT sent FROM stepped ORDER BY sent DESC LIMIT 1 OFFSET ?)",
                (STEPPED - 1,),
            )

    def forget(self, kind: str, topic: str) -> None:
        """Remove what came of a topic, as another one has its name now."""
        with self._index.write() as to:
            for table in MADE_OF[kind]:
                to.execute(f"DELETE FROM {table}")
            to.execute("DELETE FROM position WHERE topic = ?", (topic,))
            to.execute("DELETE FROM skipped WHERE topic = ?", (topic,))
            to.execute("DELETE FROM stepped WHERE topic = ?", (topic,))
            to.execute("DELETE FROM meta WHERE name = 'ranked'")
            self.cases.dirty |= {case for (case,) in to.execute("SELECT id FROM cases")}
            self.ranks.rank(to, self.cases.settle(to))
        self.ranks.renew()

    def _fresh(self, to: Connection, batch: Batch) -> Sequence[Record]:
        """The records that were not taken in."""
        row = to.execute(
            "SELECT next FROM position WHERE topic = ? AND partition = ? AND incarnation = ?",
            (batch.topic, batch.partition, batch.incarnation),
        ).fetchone()
        return batch.records if row is None else [record for record in batch.records if record.offset >= row[0]]

    _kinds: Mapping[str, Callable[[Intake, Connection, Batch, Sequence[Record]], int]] = {
        "control": lambda self, to, _, records: self.cases.control(to, records),
        "desk": lambda self, to, _, records: self.cases.desk(to, records),
        "verdicts": lambda self, to, _, records: self.cases.verdicts(to, records),
        "alerts": lambda self, to, _, records: self.cases.alerts(to, records),
        "hidden": lambda self, to, _, records: self.cases.hidden(to, records),
        "telemetry": lambda self, to, _, records: self._traffic.take(
            to, [record.value for record in records], np.array([record.sent for record in records])
        ),
        "features": lambda self, to, _, records: vectors.take(to, records, self._days),
    }


def _passed(to: Connection, batch: Batch, last: Record) -> None:
    """Write that a partition was read up to a record."""
    position = Position(batch.incarnation, last.offset + 1, mark_of(round(1000 * last.sent), last.value))
    to.execute(
        "INSERT INTO position VALUES (?, ?, ?, ?, ?) ON CONFLICT (topic, partition) DO UPDATE SET "
        "incarnation = excluded.incarnation, next = excluded.next, mark = excluded.mark",
        (batch.topic, batch.partition, *position),
    )
