"""Takes records in where one of them may be one that the index cannot take: that one is tried again by itself, then
stepped over, said and counted, and all others are taken in. What the disk, memory or another process does is no
record's fault, and steps over nothing.
"""

from __future__ import annotations

import sqlite3
import traceback
from collections.abc import Iterable, Sequence

import structlog

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.desk.index.intake import Batch, Intake
from siphonwatch.streams.desk.index.store import Index, IndexAway

ATTEMPTS = 3
"""To take a record in by itself: what fails so often on the same state fails for ever. A convention."""

_log = structlog.get_logger(__name__)


def may_be_a_record_s(error: Exception) -> bool:
    """Return whether an error may come of a record: none of the disk, of memory or of a lock does."""
    if isinstance(error, IndexAway | OSError | MemoryError | sqlite3.OperationalError | sqlite3.InternalError):
        return False
    return type(error) is not sqlite3.DatabaseError  # what a damaged file gives; errors of records have subclasses


class Careful:
    """Takes batches in.

    Parameters
    ----------
    index
        Open.
    settings
        Retention.

    Attributes
    ----------
    intake
        What takes them in; another one after each failure, as the one before may remember what was rolled back.
    """

    def __init__(self, index: Index, settings: Settings) -> None:
        self._index = index
        self._settings = settings
        self.intake = Intake(index, settings)

    def take(self, batches: Iterable[Batch]) -> int:
        """Take records in that were not, and return how many those are, with those that were stepped over.

        Raises
        ------
        Exception
            Whatever the index raised, where that is no record's fault; what comes before is taken in.
        """
        given = list(batches)
        try:
            return self.intake.take(given)
        except Exception as error:
            self.renew()
            if not given or not may_be_a_record_s(error):
                raise
            self.intake.take(())  # where it cannot even take nothing in, no record is to blame
            return self._parts(given)

    def renew(self) -> None:
        """Forget what is remembered beside the index."""
        self.intake = Intake(self._index, self._settings)

    def forget(self, kind: str, topic: str) -> None:
        """Remove what came of a topic, as another one has its name now."""
        self.intake.forget(kind, topic)

    def _parts(self, batches: Sequence[Batch]) -> int:
        """Take halves in, each with its own transaction: of batches, then of the records of one, in their order."""
        if len(batches) > 1:
            middle = len(batches) // 2
            return self._part(batches[:middle]) + self._part(batches[middle:])
        (batch,) = batches
        if len(batch.records) > 1:
            middle = len(batch.records) // 2
            return sum(
                self._part([batch._replace(records=half)]) for half in (batch.records[:middle], batch.records[middle:])
            )
        return self._alone(batch)

    def _part(self, batches: Sequence[Batch]) -> int:
        try:
            return self.intake.take(batches)
        except Exception as error:
            self.renew()
            if not may_be_a_record_s(error):
                raise
            return self._parts(batches)

    def _alone(self, batch: Batch) -> int:
        (record,) = batch.records
        for attempt in range(ATTEMPTS):
            try:
                return self.intake.take([batch])
            except Exception as error:
                self.renew()
                position = self._index.positions().get((batch.topic, batch.partition))
                stands = position is not None and position.next > record.offset  # then it is what follows that failed
                if stands or not may_be_a_record_s(error):
                    raise
                if attempt == ATTEMPTS - 1:
                    why = type(error).__name__
                    place = traceback.extract_tb(error.__traceback__)[-1]  # what the error says may quote the record
                    _log.error(
                        "a record cannot be taken in and is stepped over", topic=batch.topic, partition=batch.partition,
                        offset=record.offset, error=f"{why} in {place.name}, line {place.lineno}",
                    )  # fmt: skip
                    self.intake.step_over(batch, why)
        return 1
