"""The index as an SQLite file, which one desk has for itself."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.desk.index.sql import Connection
from siphonwatch.streams.desk.index.store import VERSION, Index, IndexFailed, Told, statements
from siphonwatch.streams.desk.looked import Looked

WAIT_SECONDS = 30.0
"""For another process that writes."""
CACHE_KIB = 128 * 1024
"""Of pages that the writer keeps: rows of accounts are written in no order."""
READ_CACHE_KIB = 16 * 1024


class SqliteConnection(sqlite3.Connection):
    """A connection to a file; implements `siphonwatch.streams.desk.index.sql.Connection`."""

    def insert(self, table: str, columns: Sequence[Sequence[Any]], conflict: str, /) -> None:
        """Insert rows that are given by column."""
        marks = ", ".join("?" * len(columns))
        self.executemany(f"INSERT INTO {table} VALUES ({marks}) {conflict}", zip(*columns, strict=True))

    def by(self, index: str, /) -> str:
        """Return what makes a query use an index."""
        return f"INDEXED BY {index}"

    def has(self, column: str, /) -> str:
        """Return the condition that bytes of a column have the bytes of one value in them."""
        return f"instr({column}, ?) > 0"


def default_path(settings: Settings) -> Path:
    """Return where the index of these topics lies unless somebody says otherwise: in the user's cache."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    which = hashlib.blake2b(f"{settings.kafka.bootstrap} {settings.topics.prefix}".encode(), digest_size=8).hexdigest()
    return base / "siphonwatch" / f"desk-{which}.sqlite"


class SqliteIndex(Index):
    """An open file.

    Parameters
    ----------
    path
        The file; it is made where it is not there, for its owner alone.
    prefix
        Of the topics that it is made of; one of others is emptied.

    Raises
    ------
    IndexFailed
        When it cannot be opened, or is no index.
    """

    def __init__(self, path: Path, prefix: str) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._local = threading.local()
        self._readers: list[SqliteConnection] = []
        self._erased = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.touch(mode=0o600)
            self._writer = self._connect(CACHE_KIB)
            self._writer.execute("PRAGMA journal_mode = WAL")
            self._writer.execute("PRAGMA synchronous = NORMAL")
            (self._overwrites,) = self._writer.execute("PRAGMA secure_delete").fetchone()  # builds of SQLite differ
            self._prepare(prefix)
            self._looked = self.looked = Looked(path.with_name(f"{path.name}.looked"))
        except (sqlite3.DatabaseError, OSError) as error:
            raise IndexFailed(f"{path} cannot be used as the desk's index: {error}; name another file") from None

    def close(self) -> None:
        """Close all connections; no thread may read any more."""
        with self._lock:
            for connection in (*self._readers, self._writer):
                connection.close()
            self._readers = []
            self._looked.close()

    @property
    def reader(self) -> SqliteConnection:
        """A connection of this thread's own that cannot write; each statement sees what was committed before it."""
        found: SqliteConnection | None = getattr(self._local, "connection", None)
        if found is None:
            found = self._connect(READ_CACHE_KIB)
            found.execute("PRAGMA query_only = ON")
            self._local.connection = found
            with self._lock:
                self._readers.append(found)
        return found

    @contextlib.contextmanager
    def read(self) -> Iterator[SqliteConnection]:
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
    def write(self) -> Iterator[SqliteConnection]:
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
            finally:
                if self._erased:
                    self._erased = False
                    self._writer.execute(f"PRAGMA secure_delete = {self._overwrites}")
                    self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def clear(self) -> None:
        """Forget all that topics give back."""
        with self.write() as connection:
            for name in _tables(connection):
                connection.execute(f"DELETE FROM {name}")

    def size(self) -> int:
        """Return its bytes on disk."""
        return sum(place.stat().st_size for end in ("", "-wal") if (place := Path(f"{self.path}{end}")).exists())

    def feeds(self) -> bool:
        """Return that this desk reads the topics: nobody else does for it."""
        return True

    def tell(self, said: bytes) -> None:
        """Tell nobody."""

    def told(self) -> Told | None:
        """Return that nobody told anything."""
        return None

    def erase(self, to: Connection, account: str, until: float) -> None:
        """Have what the rest of the transaction deletes overwritten with zeros. What is on no topic, marks of what was
        looked at, names no account.
        """
        to.execute("PRAGMA secure_delete = ON")
        self._erased = True

    def _connect(self, cache: int) -> SqliteConnection:
        connection = sqlite3.connect(
            self.path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False, cached_statements=256,
            factory=SqliteConnection,
        )  # fmt: skip
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
                for statement in statements():
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {VERSION}")
            known = connection.execute("SELECT value FROM meta WHERE name = 'prefix'").fetchone()
            if known is not None and known[0] != prefix:
                for name in _tables(connection):
                    connection.execute(f"DELETE FROM {name}")
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('prefix', ?)", (prefix,))


def _tables(connection: SqliteConnection) -> set[str]:
    return {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
