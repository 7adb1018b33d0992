"""A connection to PostgreSQL that takes the index's SQL. Text may hold what PostgreSQL's cannot, U+0000."""

from __future__ import annotations

import contextlib
import functools
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self, TypeVar

import numpy as np
import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format, TransactionStatus

from siphonwatch.streams.desk.index.store import IndexAway

T = TypeVar("T")
Connect = Callable[[], psycopg.Connection[tuple[Any, ...]]]
MARK, ZERO, ITSELF = "\ufdd0", "\ufdd1", "\ufdd2"
"""Code points that are no characters: the first one and the second stand for U+0000, and with the third for itself."""
AWAY = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)
"""What the server, the network, a lock or a disk does, and no record."""


class PostgresConnection:
    """A connection; implements `siphonwatch.streams.desk.index.sql.Connection`.

    Parameters
    ----------
    connect
        Makes it, when it is first used.
    where
        Names the database in messages.
    again
        Whether to connect again, unseen, where a session ended between two transactions.
    """

    def __init__(self, connect: Connect, where: str, *, again: bool = False) -> None:
        self._connect = connect
        self._where = where
        self._again = again
        self._raw: psycopg.Connection[tuple[Any, ...]] | None = None
        self._begun = False
        self._types: dict[str, list[str]] = {}

    @property
    def in_transaction(self) -> bool:
        """Whether one is open."""
        return self._begun

    @property
    def ended(self) -> bool:
        """Whether there was a session, and it ended."""
        return self._raw is not None and self._raw.closed

    def close(self) -> None:
        """End the session."""
        if self._raw is not None:
            self._raw.close()

    @contextlib.contextmanager
    def transaction(self, how: str = "") -> Iterator[Self]:
        """Give this connection within a transaction: all of it is done, or nothing.

        Raises
        ------
        IndexAway
            When the database does not answer. Where it was asked to commit, it may have done it.
        """
        self.execute(f"BEGIN {how}")
        self._begun = True
        try:
            yield self
            self.execute("COMMIT")
        except BaseException:
            raw = self._raw
            if raw is not None and not raw.closed and raw.info.transaction_status != TransactionStatus.IDLE:
                with contextlib.suppress(psycopg.Error):
                    raw.execute("ROLLBACK")
            raise
        finally:
            self._begun = False

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> psycopg.Cursor[tuple[Any, ...]]:
        """Do one statement.

        Raises
        ------
        IndexAway
            When the database does not answer.
        """
        return self._do(lambda raw: raw.execute(marked(sql), [_into(value) for value in values], binary=True))

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> None:
        """Do a statement for each row."""
        given = [[_into(value) for value in row] for row in rows]
        if not given:
            return
        self._do(lambda raw: raw.cursor().executemany(marked(sql), given))

    def insert(self, table: str, columns: Sequence[Sequence[Any]], conflict: str, /) -> None:
        """Insert rows that are given by column."""
        if table not in self._types:
            rows = self.execute(
                "SELECT format_type(atttypid, atttypmod) FROM pg_attribute "
                "WHERE attrelid = to_regclass(?) AND attnum > 0 AND NOT attisdropped ORDER BY attnum",
                (table,),
            )
            self._types[table] = [name for (name,) in rows]
        arrays = ", ".join(f"%b::{name}[]" for name in self._types[table])
        if not len(columns[0]):
            return
        given = [_array(column, name) for column, name in zip(columns, self._types[table], strict=True)]
        question = f"INSERT INTO {table} SELECT * FROM unnest({arrays}) {conflict}"
        self._do(lambda raw: raw.execute(question.encode(), given))

    def by(self, index: str, /) -> str:
        """Return nothing: the planner finds the index."""
        return ""

    def has(self, column: str, /) -> str:
        """Return the condition that bytes of a column have the bytes of one value in them."""
        return f"position(? IN {column}) > 0"

    def _do(self, what: Callable[[psycopg.Connection[tuple[Any, ...]]], T]) -> T:
        fresh = self._raw is None
        try:
            return what(self._open())
        except AWAY as error:
            if self._again and not fresh and not self._begun and self.ended:
                with contextlib.suppress(*AWAY):
                    return what(self._open())
            raise IndexAway(f"{self._where} does not answer: {_reason(error)}") from None

    def _open(self) -> psycopg.Connection[tuple[Any, ...]]:
        if self._raw is None or (self._raw.closed and self._again and not self._begun):
            self._raw = self._connect()
            self._raw.adapters.register_loader("text", _Text)
            for kind, dumper in ((_Bigints, _BigintsDumper), (_Doubles, _DoublesDumper)):
                self._raw.adapters.register_dumper(kind, dumper)
        return self._raw


class _Text(Loader):
    format = Format.BINARY

    def load(self, data: Buffer) -> str:
        text = bytes(data).decode()
        return text.replace(MARK + ZERO, "\0").replace(MARK + ITSELF, MARK) if MARK in text else text


class _Bigints(bytes):
    """An array of PostgreSQL as it is sent."""


class _Doubles(bytes):
    """Likewise."""


class _BigintsDumper(Dumper):
    format = Format.BINARY
    oid = 1016

    def dump(self, obj: bytes) -> Buffer:
        return bytes(obj)


class _DoublesDumper(_BigintsDumper):
    oid = 1022


_PLAIN = {"bigint": (_Bigints, 20, ">i8"), "double precision": (_Doubles, 701, ">f8")}
"""What numbers are sent as, by their column's type; the driver would make an array of them one by one."""


def _array(column: Sequence[Any], name: str) -> Any:
    """A column as PostgreSQL's driver takes it."""
    if name not in _PLAIN:
        return [_into(value) for value in column]
    kind, oid, number = _PLAIN[name]
    cells = np.empty(len(column), [("bytes", ">i4"), ("value", number)])
    cells["bytes"], cells["value"] = 8, column
    return kind(struct.pack(">5i", 1, 0, oid, len(column), 1) + cells.tobytes())


def _into(value: Any) -> Any:
    """A value as PostgreSQL can have it. Order and beginnings of texts stay but for U+0000."""
    if isinstance(value, str) and ("\0" in value or MARK in value):
        return value.replace(MARK, MARK + ITSELF).replace("\0", MARK + ZERO)
    return value


@functools.lru_cache(maxsize=1024)
def marked(sql: str) -> bytes:
    """Return SQL with marks as the driver has them; no text of ours has either sign in itself."""
    return sql.replace("?", "%s").encode()


def _reason(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error).partition("\n")[0] or type(error).__name__
