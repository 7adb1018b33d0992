"""The index's file: one writer at a time, any number of readers, and the positions of the topics in the same
transaction as what came of their records. Knows no topic's content.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple, Self

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.desk.looked import Looked

VERSION = 3
"""Of the schema; a file of another one is made anew."""
WAIT_SECONDS = 30.0
"""For another process that writes."""
CACHE_KIB = 128 * 1024
"""Of pages that the writer keeps: rows of accounts are written in no order."""
READ_CACHE_KIB = 16 * 1024


class Position(NamedTuple):
    """Up to where a partition was taken in."""

    incarnation: str
    """Id of the topic; empty where its broker gives none."""
    next: int
    mark: str
    """Of the last record taken in, where there are no ids: `siphonwatch.streams.common.incarnation.mark_of`."""


class IndexFailed(RuntimeError):
    """The file cannot be used; the message names it and says why."""


def default_path(settings: Settings) -> Path:
    """Return where the index of these topics lies unless somebody says otherwise: in the user's cache."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    which = hashlib.blake2b(f"{settings.kafka.bootstrap} {settings.topics.prefix}".encode(), digest_size=8).hexdigest()
    return base / "siphonwatch" / f"desk-{which}.sqlite"


class Index:
    """An open index; close it.

    Parameters
    ----------
    path
        The file; it is made where it is not there, for its owner alone.
    prefix
        Of the topics that it is made of; one of others is emptied.

    Attributes
    ----------
    looked
        What people have looked at, in a file beside it.

    Raises
    ------
    IndexFailed
        When it cannot be opened, or is no index.
    """

    def __init__(self, path: Path, prefix: str) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            self._writer = self._connect(CACHE_KIB)
            self._writer.execute("PRAGMA journal_mode = WAL")
            self._writer.execute("PRAGMA synchronous = NORMAL")
            self._prepare(prefix)
            self.looked = Looked(path.with_name(f"{path.name}.looked"))
        except (sqlite3.DatabaseError, OSError) as error:
            raise IndexFailed(f"{path} cannot be used as the desk's index: {error}; name another file") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections; no thread may read any more."""
        with self._lock:
            for connection in (*self._readers, self._writer):
                connection.close()
            self._readers = []
            self.looked.close()

    @property
    def reader(self) -> sqlite3.Connection:
        """A connection of this thread's own that cannot write; each statement sees what was committed before it."""
        found: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if found is None:
            found = self._connect(READ_CACHE_KIB)
            found.execute("PRAGMA query_only = ON")
            self._local.connection = found
            with self._lock:
                self._readers.append(found)
        return found

    @contextlib.contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """Give this thread's connection with all statements seeing the same moment."""
        connection = self.reader
        if connection.in_transaction:
            yield connection
            return
        connection.execute("BEGIN")
        try:
            yield connection
        finally:
            connection.execute("COMMIT")

    @contextlib.contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """Give the one connection that writes, in a transaction: all of it is done, or nothing."""
        with self._lock:
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:  # a full disk may have rolled it back already
                    self._writer.execute("ROLLBACK")
                raise

    def positions(self) -> dict[tuple[str, int], Position]:
        """Return up to where each partition was taken in."""
        return {
            (topic, partition): Position(incarnation, next_, mark)
            for topic, partition, incarnation, next_, mark in self.reader.execute("SELECT * FROM position")
        }

    def clear(self) -> None:
        """Forget all that topics give back."""
        with self.write() as connection:
            for name in _tables(connection):
                connection.execute(f"DELETE FROM {name}")

    def size(self) -> int:
        """Return its bytes on disk."""
        return sum(place.stat().st_size for end in ("", "-wal") if (place := Path(f"{self.path}{end}")).exists())

    def _connect(self, cache: int) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        connection.execute(f"PRAGMA cache_size = -{cache}")
        connection.execute("PRAGMA temp_store = MEMORY")
        return connection

    def _prepare(self, prefix: str) -> None:
        with self.write() as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            tables = _tables(connection)
            if version != VERSION:
                if tables and not version:
                    raise sqlite3.DatabaseError("it holds something else")
                for name in tables:
                    connection.execute(f"DROP TABLE {name}")
                for statement in _statements():
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {VERSION}")
            known = connection.execute("SELECT value FROM meta WHERE name = 'prefix'").fetchone()
            if known is not None and known[0] != prefix:
                for name in _tables(connection):
                    connection.execute(f"DELETE FROM {name}")
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('prefix', ?)", (prefix,))


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}


def _statements() -> Iterator[str]:
    text = files(__package__).joinpath("schema.sql").read_text()
    bare = "\n".join(line.partition("--")[0] for line in text.splitlines())
    yield from (statement for part in bare.split(";") if (statement := part.strip()))
