"""Names of customers beside account hashes, joined where they are shown: they are on no topic and in no index."""

from __future__ import annotations

import csv
import io
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings

COLUMNS = ("account", "name")
MAX_ROWS = 5_000_000
MAX_NAME = 200
COMMAND_SECONDS = 60.0
RENEW_SECONDS = 300.0
"""A command is asked again after so long, a file read again where it changed."""
_log = structlog.get_logger(__name__)


class NamesFailed(RuntimeError):
    """The list of names cannot be read; the message says why."""


class Names:
    """Customers' names by account.

    Parameters
    ----------
    by_account
        Names by what telemetry calls the account.

    Examples
    --------
    >>> names = Names({"0f3a": "Acme Ltd"})
    >>> names.of("0f3a"), names.of("9c41"), names.find("acme")
    ('Acme Ltd', '', ['0f3a'])
    """

    def __init__(self, by_account: dict[str, str] | None = None) -> None:
        self._by_account = by_account or {}

    def __len__(self) -> int:
        return len(self._by_account)

    def of(self, account: str) -> str:
        """Return an account's name; empty where it has none."""
        return self._by_account.get(account, "")

    def find(self, text: str, limit: int = 1000) -> list[str]:
        """Return the accounts whose name has a text in it, in whatever case."""
        wanted = text.casefold()
        found = []
        for account, name in self._by_account.items():
            if wanted in name.casefold():
                found.append(account)
                if len(found) >= limit:
                    break
        return found


class Roster:
    """Names from a file or from a command, read again when they may have changed.

    Parameters
    ----------
    source
        A CSV file; or a command behind `!`, which prints one; empty for none. Its columns are `account`, which is the
        account as gateways log it or the hash that alerts show, and `name`.
    identity
        Hashes accounts; None where no key is set: then the list must hold hashes.
    clock
        Monotonic seconds.
    """

    def __init__(
        self, source: str, identity: Identity | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._source = source
        self._identity = identity
        self._clock = clock
        self._names: Names | None = None
        self._renewed: float | None = None
        self._stamp: tuple[int, int] | None = None
        self._trouble = ""
        self._turn = threading.Lock()

    @classmethod
    def from_settings(cls, settings: Settings, source: str = "") -> Roster:
        """Return the one that is given, or else the one of `desk.names`."""
        identity = Identity.from_settings(settings) if settings.identity.key else None
        return cls(source or settings.desk.names, identity)

    def names(self) -> Names:
        """Return the names as they are now, or as they last were: where they cannot be read again that is logged, and
        while somebody else reads them nobody waits.

        Raises
        ------
        NamesFailed
            When they have never been read, and cannot be, or are no list of names.
        """
        if not self._source:
            return Names()
        if not self._turn.acquire(blocking=self._names is None):
            return self._names or Names()
        try:
            self._renew()
            self._trouble = ""
        except NamesFailed as error:
            if self._names is None:
                raise
            if str(error) != self._trouble:
                self._trouble = str(error)
                _log.warning("names are shown as they were", reason=self._trouble)
        finally:
            self._turn.release()
        assert self._names is not None  # noqa: S101 - or it was raised
        return self._names

    def _renew(self) -> None:
        if self._source.startswith("!"):
            if self._renewed is None or self._clock() - self._renewed >= RENEW_SECONDS:
                try:
                    self._names = self._parsed(_printed(self._source[1:]))
                finally:
                    self._renewed = None if self._names is None else self._clock()
            return
        try:
            found = Path(self._source).stat()
            stamp = found.st_mtime_ns, found.st_size
            if self._names is None or stamp != self._stamp:
                text = Path(self._source).read_text("utf-8-sig")
                self._stamp = stamp
                self._names = self._parsed(text)
        except (OSError, UnicodeDecodeError) as error:
            raise NamesFailed(f"cannot read names from {self._source}: {error}") from None

    def _parsed(self, text: str) -> Names:
        found: dict[str, str] = {}
        for account, name in _rows(text, self._source):
            if self._identity is not None:
                found[self._identity.account(account)] = name
            found[account] = name
        return Names(found)


def _rows(text: str, source: str) -> Iterator[tuple[str, str]]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        if missing := [column for column in COLUMNS if column not in (reader.fieldnames or ())]:
            raise NamesFailed(
                f"{source} has no column {' and no column '.join(missing)}: its first line must name them"
            )
        for number, row in enumerate(reader):
            if number >= MAX_ROWS:
                raise NamesFailed(f"{source} has more than {MAX_ROWS:,} rows")
            if row["account"] and row["name"]:
                yield row["account"].strip(), row["name"].strip()[:MAX_NAME]
    except csv.Error as error:
        raise NamesFailed(f"{source}, line {reader.line_num}: {error}") from None


def _printed(command: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own command, from the settings or the command line
            shlex.split(command), capture_output=True, timeout=COMMAND_SECONDS, check=True
        )
        return done.stdout.decode("utf-8-sig")
    except subprocess.CalledProcessError as error:
        raise NamesFailed(f"the command for names failed with {error.returncode}: {command}") from None
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise NamesFailed(f"the command for names cannot be run: {error}") from None
