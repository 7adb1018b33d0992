"""A connection of the index: SQL that SQLite and PostgreSQL both take, with `?` for a value, and the few things that
each says in its own way. Knows no table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol


class Rows(Protocol):
    """What a statement answers."""

    def fetchone(self) -> Any:
        """Return the next row; None where there is none."""

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""

    def __iter__(self) -> Iterator[Any]: ...


class Connection(Protocol):
    """A connection. Columns that are called as a word of SQL is (`"offset"`) stand in quotes."""

    @property
    def in_transaction(self) -> bool:
        """Whether one is open."""

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Rows:
        """Do one statement."""

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> object:
        """Do a statement for each row."""

    def insert(self, table: str, columns: Sequence[Sequence[Any]], conflict: str, /) -> None:
        """Insert rows that are given by column, as many rows as may be.

        Parameters
        ----------
        table
            All of whose columns are given, in their order.
        columns
            Plain values, equally many of each.
        conflict
            `ON CONFLICT ...`; no two of the rows have the same key.
        """

    def by(self, index: str, /) -> str:
        """Return what makes a query use an index, behind the table's name."""

    def has(self, column: str, /) -> str:
        """Return the condition that bytes of a column have the bytes of one value in them."""
