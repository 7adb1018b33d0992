"""The index in PostgreSQL, which several desks share: one of them at a time reads the topics into it, all read it."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from siphonwatch.streams.desk.index.postgres_sql import Connect, PostgresConnection
from siphonwatch.streams.desk.index.sql import Connection
from siphonwatch.streams.desk.index.store import VERSION, Index, IndexFailed, Told, statements
from siphonwatch.streams.desk.people_tables import PeopleTables

CONNECT_SECONDS = 10
READ_SECONDS = 25
"""Of one statement for a page: a person is told after 30 s that the index is busy."""
WRITE_SECONDS = 300
"""Of one statement that takes records in, and of what is between two of them: the lock of a desk that hangs is free
after that."""
LOOK_SECONDS = 1.0
"""Between two looks whether the session that feeds the index still stands."""
ALIVE = {"keepalives_idle": "20", "keepalives_interval": "5", "keepalives_count": "3", "tcp_user_timeout": "30000"}
"""Of libpq: that a server, or a desk, that vanished is noticed within half a minute."""
TYPES = {"TEXT": 'TEXT COLLATE "C"', "INTEGER": "BIGINT", "REAL": "DOUBLE PRECISION", "BLOB": "BYTEA"}
"""What PostgreSQL calls the types of the schema; text is ordered by its bytes, as SQLite does."""


class PostgresIndex(Index):
    """An open index.

    Parameters
    ----------
    url
        `postgresql://...`, as libpq has it: what it leaves out is taken from libpq's environment and password file.
    prefix
        Of the topics that it is made of.
    schema
        Where people's tables are; the index has one of its own, named after this one and the version of its tables.

    Attributes
    ----------
    where
        Names the database, without a password.

    Raises
    ------
    IndexFailed
        When the database cannot be used, or holds the index of other topics.
    """

    looked: PeopleTables
    shared = True

    def __init__(self, url: str, prefix: str, schema: str) -> None:
        self._given, self.where = _given(url)
        self._people, self._made = schema, f"{schema}_v{VERSION}"
        self._lock = threading.RLock()
        self._local = threading.local()
        self._readers: list[PostgresConnection] = []
        self._writer: PostgresConnection | None = None
        self._feeding = False
        self._seen = 0.0
        self.looked = self.tables = PeopleTables(self._edit)
        try:
            self._prepare(prefix)
        except psycopg.Error as error:
            raise IndexFailed(f"{self.where} cannot be used for the desk's index: {_primary(error)}") from None

    def close(self) -> None:
        """Close all connections; another desk may feed the index then."""
        with self._lock:
            for connection in (*self._readers, *filter(None, [self._writer])):
                connection.close()
            self._readers, self._writer, self._feeding = [], None, False

    @property
    def reader(self) -> PostgresConnection:
        """A connection of this thread's own that cannot write; each statement sees what was committed before it."""
        found: PostgresConnection | None = getattr(self._local, "connection", None)
        if found is None:
            found = PostgresConnection(self._connect("reads", READ_SECONDS, reads=True), self.where, again=True)
            self._local.connection = found
            with self._lock:
                self._readers.append(found)
        return found

    @contextlib.contextmanager
    def read(self) -> Iterator[PostgresConnection]:
        """Give this thread's connection with all statements seeing the same moment."""
        connection = self.reader
        if connection.in_transaction:
            yield connection
            return
        with connection.transaction("ISOLATION LEVEL REPEATABLE READ READ ONLY"):
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[PostgresConnection]:
        """Give the one connection that writes, in a transaction: all of it is done, or nothing. Of all processes one
        at a time is in it.
        """
        with self._lock:
            connection = self._writing()
            with connection.transaction():
                connection.execute("SELECT pg_advisory_xact_lock(?)", (self._key("writes"),))
                yield connection

    def clear(self) -> None:
        """Forget all that topics give back."""
        with self.write() as connection:
            connection.execute(f"TRUNCATE {', '.join(_tables(connection, self._made))}")

    def size(self) -> int:
        """Return its bytes on disk."""
        rows = self.reader.execute(
            "SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = ? AND c.relkind = 'r'",
            (self._made,),
        )
        return int(next(rows)[0] or 0)

    def feeds(self) -> bool:
        """Return whether this desk is the one to read the topics: it is from when no other one is until its session
        ends.

        Raises
        ------
        IndexAway
            When the database does not answer; another desk may feed the index then.
        """
        with self._lock:
            connection = self._writing()
            now = time.monotonic()
            if not self._feeding:
                key = self._key("feeds")
                (self._feeding,) = next(connection.execute("SELECT pg_try_advisory_lock(?)", (key,)))
            elif now - self._seen > LOOK_SECONDS:
                connection.execute("SELECT 1")
            self._seen = now
            return self._feeding

    def tell(self, said: bytes) -> None:
        """Tell the desks that share the index how far this one, which feeds it, is."""
        with self._lock, self._writing().transaction() as connection:
            connection.execute(
                "INSERT INTO told_by_feeder VALUES (1, extract(epoch FROM clock_timestamp()), ?) "
                "ON CONFLICT (one) DO UPDATE SET at = excluded.at, said = excluded.said",
                (said,),
            )

    def told(self) -> Told | None:
        """Return what the desk that feeds the index told last, by the clock of the database."""
        row = self.reader.execute(
            "SELECT CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION) - at, said FROM told_by_feeder"
        ).fetchone()
        return None if row is None else Told(max(row[0], 0.0), row[1])

    def erase(self, to: Connection, account: str, until: float) -> None:
        """Take an account out of what people did, within a transaction."""
        self.looked.erase(to, account, until)

    @contextlib.contextmanager
    def _edit(self) -> Iterator[PostgresConnection]:
        """This thread's connection in a transaction of people's tables, or in the one that it reads in."""
        connection = self.reader
        if connection.in_transaction:
            yield connection
            return
        with connection.transaction("READ WRITE"):
            yield connection

    def _writing(self) -> PostgresConnection:
        """The connection that writes; another one where the session before has ended, and with it what it locked."""
        if self._writer is None or self._writer.ended:
            self._feeding = False
            if self._writer is not None:
                self._writer.close()
            self._writer = PostgresConnection(self._connect("writes", WRITE_SECONDS), self.where)
        return self._writer

    def _key(self, what: str) -> int:
        """The key of an advisory lock of this index."""
        said = f"siphonwatch {self._made} {what}".encode()
        return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "big", signed=True)

    def _connect(self, what: str, seconds: int, *, reads: bool = False) -> Connect:
        def connect() -> psycopg.Connection[tuple[Any, ...]]:
            given = {"connect_timeout": str(CONNECT_SECONDS), **ALIVE, **self._given}
            given |= {"client_encoding": "UTF8", "application_name": f"siphonwatch desk {what}"}
            raw = psycopg.connect(make_conninfo(**given), autocommit=True)
            ask = {
                "search_path": f'"{self._made}", "{self._people}"',
                "statement_timeout": f"{seconds}s",
                "idle_in_transaction_session_timeout": f"{WRITE_SECONDS}s",
                "default_transaction_read_only": "on" if reads else "off",
                # Where the server goes down what it had not written is taken from the topics again.
                "synchronous_commit": "on" if reads else "off",
                # Every query has an index that it is meant for, and answers with few rows.
                "enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off", "jit": "off",
                "tcp_keepalives_idle": ALIVE["keepalives_idle"],
                "tcp_keepalives_interval": ALIVE["keepalives_interval"],
                "tcp_keepalives_count": ALIVE["keepalives_count"],
            }  # fmt: skip
            settings = ", ".join("set_config(%s, %s, false)" for _ in ask)
            raw.execute(f"SELECT {settings}", [word for pair in ask.items() for word in pair])
            return raw

        return connect

    def _prepare(self, prefix: str) -> None:
        """Make the tables where they are not."""
        with contextlib.closing(self._connect("begins", WRITE_SECONDS)()) as raw, raw.transaction():
            (encoding,) = _one(raw, "SHOW server_encoding")
            if encoding != "UTF8":
                raise IndexFailed(f"{self.where} has the encoding {encoding}: name a database with UTF8")
            raw.execute("SELECT pg_advisory_xact_lock(%s)", (self._key("begins"),))
            for name in (self._people, self._made):
                if not _one(raw, "SELECT count(*) FROM pg_namespace WHERE nspname = %s", name)[0]:
                    raw.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
            for schema, table, make in (
                (self._people, "looked", PeopleTables.statements()),
                (self._made, "meta", _translated()),
            ):
                known = "SELECT count(*) FROM pg_tables WHERE schemaname = %s AND tablename = %s"
                if not _one(raw, known, schema, table)[0]:
                    raw.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(schema)))
                    for statement in make:
                        raw.execute(statement)
            raw.execute(sql.SQL("SET LOCAL search_path = {}").format(sql.Identifier(self._made)))
            raw.execute("INSERT INTO meta VALUES ('prefix', %s) ON CONFLICT DO NOTHING", (prefix,))
            (topics,) = _one(raw, "SELECT value FROM meta WHERE name = 'prefix'")
            if topics != prefix:
                raise IndexFailed(
                    f"{self.where} has the index of the topics {topics}.* in its schema {self._made}, and "
                    f"topics.prefix is {prefix}: set desk.database_schema to another name"
                )


def _one(raw: psycopg.Connection[tuple[Any, ...]], question: str, *values: object) -> tuple[Any, ...]:
    row = raw.execute(question, values).fetchone()
    assert row is not None  # noqa: S101 - each of these questions has an answer
    return row


def _given(url: str) -> tuple[dict[str, Any], str]:
    """What a URL says, and its database without a password."""
    try:
        given = conninfo_to_dict(url)
    except psycopg.Error:  # what it says may quote a password
        raise IndexFailed(
            "desk.database is no address of PostgreSQL: give postgresql://USER@HOST:PORT/DATABASE"
        ) from None
    host = given.get("host") or given.get("hostaddr") or "its default host"
    return given, f"the PostgreSQL database {given.get('dbname') or 'of its user'} at {host}"


def _primary(error: psycopg.Error) -> str:
    return error.diag.message_primary or str(error).partition("\n")[0] or type(error).__name__


def _translated() -> Iterator[str]:
    """The statements of the schema as PostgreSQL takes them."""
    for statement in statements():
        bare = statement.replace("WITHOUT ROWID", "")
        yield re.sub(rf"\b({'|'.join(TYPES)})\b", lambda found: TYPES[found[1]], bare)
    yield "CREATE TABLE told_by_feeder (one INTEGER PRIMARY KEY, at DOUBLE PRECISION NOT NULL, said BYTEA NOT NULL)"


def _tables(connection: PostgresConnection, schema: str) -> list[str]:
    rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = ?", (schema,))
    return sorted(name for (name,) in rows)
