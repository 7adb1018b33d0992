"""The desk's index over both of its databases, for tests that hold for either."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from postgres_node import REQUIRE, Postgres, missing

if TYPE_CHECKING:
    from siphonwatch.streams.desk.index.store import Index

_number = itertools.count(1)


class Open:
    """Opens indexes that no other test has.

    Parameters
    ----------
    place
        A folder for files, or the URL of a server.
    again
        On a server, use the schemas of the tests before, emptied: making one takes longer than most tests.
    """

    def __init__(self, place: str, *, again: bool = False) -> None:
        self._place = place
        self._name = "again" if again else f"t{next(_number)}"
        if again:
            _empty(place)

    def at(self, name: str = "i") -> list[str]:
        """Where the index of a name is, for `open_at`."""
        if self._place.startswith("postgresql:"):
            return [self._place, f"{self._name}_{name}"]
        return [f"{self._place}/{self._name}-{name}.sqlite"]

    def __call__(self, name: str = "i", prefix: str = "p") -> Index:
        """The index of a name, of topics with a prefix; the same one again for the same name."""
        return open_at(self.at(name), prefix)


def open_at(place: Sequence[str], prefix: str) -> Index:
    """Open an index, in another process too."""
    if len(place) == 2:
        from siphonwatch.streams.desk.index.postgres import PostgresIndex

        return PostgresIndex(place[0], prefix, place[1])
    from siphonwatch.streams.desk.index.sqlite import SqliteIndex

    return SqliteIndex(Path(place[0]), prefix)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL for the session; a test that stops it starts it again."""
    if reason := missing():
        required = os.environ.get(REQUIRE, "") not in ("", "0")
        (pytest.fail if required else pytest.skip)(f"PostgreSQL tests skipped: {reason}")
    with Postgres() as node:
        yield node


@pytest.fixture(scope="session", params=["sqlite", "postgres"])
def opens(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Open]:
    """Gives what opens indexes that no other test has."""
    if request.param == "postgres":
        node: Postgres = request.getfixturevalue("postgres")
        return lambda again=False: Open(node.url(), again=again)
    folder = str(tmp_path_factory.mktemp("indexes"))
    return lambda again=False: Open(folder)


@pytest.fixture
def open_index(opens: Callable[..., Open]) -> Open:
    """What opens indexes of this test's own."""
    return opens(again=True)


def _empty(url: str) -> None:
    import psycopg

    with psycopg.connect(url) as raw:
        rows = raw.execute("SELECT schemaname, tablename FROM pg_tables WHERE schemaname LIKE 'again%'").fetchall()
        for schema, table in rows:
            raw.execute(psycopg.sql.SQL("DELETE FROM {}").format(psycopg.sql.Identifier(schema, table)))
