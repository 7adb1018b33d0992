"""An index: one writer at a time, any number of readers, and the positions of the topics in the same transaction as
what came of their records. Knows no topic's content, and no database.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator
from contextlib import AbstractContextManager
from importlib.resources import files
from typing import NamedTuple, Self

from siphonwatch.streams.desk.index.sql import Connection
from siphonwatch.streams.desk.looked import Looks
from siphonwatch.streams.desk.people_tables import PeopleTables

VERSION = 3
"""Of the schema; an index of another one is not read, but made anew."""


class Position(NamedTuple):
    """Up to where a partition was taken in."""

    incarnation: str
    """Id of the topic; empty where its broker gives none."""
    next: int
    mark: str
    """Of the last record taken in, where there are no ids: `siphonwatch.streams.common.incarnation.mark_of`."""


class IndexFailed(RuntimeError):
    """The index cannot be used; the message names it and says why."""


class IndexAway(IndexFailed):
    """The database of the index does not answer; it may in a while."""


class Told(NamedTuple):
    """What the desk that feeds a shared index says of that."""

    seconds: float
    """Since it did."""
    said: bytes


class Index(abc.ABC):
    """An open index; close it.

    Attributes
    ----------
    looked
        What people have looked at.
    tables
        What people did, where several desks have this index.
    shared
        Whether several desks have this index, of which one feeds it.
    """

    looked: Looks
    tables: PeopleTables | None = None
    shared = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    @abc.abstractmethod
    def reader(self) -> Connection:
        """A connection of this thread's own that cannot write; each statement sees what was committed before it."""

    @abc.abstractmethod
    def read(self) -> AbstractContextManager[Connection]:
        """Give this thread's connection with all statements seeing the same moment."""

    @abc.abstractmethod
    def write(self) -> AbstractContextManager[Connection]:
        """Give the one connection that writes, in a transaction: all of it is done, or nothing."""

    @abc.abstractmethod
    def close(self) -> None:
        """Close all connections; no thread may read any more."""

    @abc.abstractmethod
    def clear(self) -> None:
        """Forget all that topics give back."""

    @abc.abstractmethod
    def size(self) -> int:
        """Return its bytes on disk."""

    def positions(self) -> dict[tuple[str, int], Position]:
        """Return up to where each partition was taken in."""
        return {
            (topic, partition): Position(incarnation, next_, mark)
            for topic, partition, incarnation, next_, mark in self.reader.execute("SELECT * FROM position")
        }

    @abc.abstractmethod
    def feeds(self) -> bool:
        """Return whether this desk is the one to read the topics; of several with one index, one at a time is."""

    @abc.abstractmethod
    def tell(self, said: bytes) -> None:
        """Tell the desks that share the index how far the one that feeds it is."""

    @abc.abstractmethod
    def told(self) -> Told | None:
        """Return what the desk that feeds the index told last; nothing where none ever did."""

    @abc.abstractmethod
    def erase(self, to: Connection, account: str, until: float) -> None:
        """Take an account out of what is kept here and is on no topic, up to a time, within a transaction."""


def statements() -> Iterator[str]:
    """Yield what makes the tables, as SQLite takes it."""
    text = files(__package__).joinpath("schema.sql").read_text()
    bare = "\n".join(line.partition("--")[0] for line in text.splitlines())
    yield from (statement for part in bare.split(";") if (statement := part.strip()))
