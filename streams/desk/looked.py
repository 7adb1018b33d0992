"""Which case each person has looked at, and when: in a small file beside the index, so that opening a case never waits
for what is being taken into that. It is on no topic, and lost with the file.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

KEPT = 200_000
"""Looks that are kept, some 60 bytes each; beyond, the oldest go."""
WAIT_SECONDS = 10.0
When = Callable[[Sequence[str]], dict[str, float]]
"""When somebody looked at cases, seconds since 1970; those never looked at are left out."""


class Looks(Protocol):
    """What people have looked at."""

    def note(self, person: str, case: str, at: float) -> None:
        """Keep that a person has looked at a case."""

    def of(self, person: str) -> When:
        """Return a question about one person; nobody, an empty name, has looked at nothing."""


class Looked:
    """The file; safe to share between threads, and between processes.

    Parameters
    ----------
    path
        It is made where it is not there, for its owner alone.

    Raises
    ------
    sqlite3.Error, OSError
        When it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        path.touch(mode=0o600)
        self._turn = threading.Lock()
        self._file = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False)
        self._file.execute("PRAGMA journal_mode = WAL")
        self._file.execute("PRAGMA synchronous = OFF")
        self._file.execute(
            "CREATE TABLE IF NOT EXISTS looked (person TEXT, id TEXT, at REAL NOT NULL, PRIMARY KEY (person, id))"
        )

    def close(self) -> None:
        """Close the file."""
        with self._turn:
            self._file.close()

    def note(self, person: str, case: str, at: float) -> None:
        """Keep that a person has looked at a case."""
        with self._turn:
            self._file.execute("INSERT OR REPLACE INTO looked VALUES (?, ?, ?)", (person, case, at))
            # A row that is written anew gets the highest number.
            self._file.execute("DELETE FROM looked WHERE rowid <= (SELECT max(rowid) FROM looked) - ?", (KEPT,))

    def of(self, person: str) -> When:
        """Return a question about one person; nobody, an empty name, has looked at nothing."""

        def when(cases: Sequence[str]) -> dict[str, float]:
            if not person or not cases:
                return {}
            marks = ", ".join("?" * len(cases))
            with self._turn:
                rows = self._file.execute(
                    f"SELECT id, at FROM looked WHERE person = ? AND id IN ({marks})", [person, *cases]
                )
                return dict(rows.fetchall())

        return when


def nobody(_: Sequence[str]) -> dict[str, float]:
    """Return the answer of somebody who has looked at nothing."""
    return {}
