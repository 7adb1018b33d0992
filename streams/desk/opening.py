"""A desk on the topics of the settings: its index, what feeds it, what can be asked and what can be decided."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Self

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.desk.acts import TopicActs
from siphonwatch.streams.desk.index.feed import Feed
from siphonwatch.streams.desk.index.sqlite import SqliteIndex, default_path
from siphonwatch.streams.desk.index.store import Index
from siphonwatch.streams.desk.looks import IndexedLooks
from siphonwatch.streams.desk.names import Roster

END_SECONDS = 30.0
"""A thread that reads may take to notice that it is to stop."""


class OpenDesk:
    """A desk; a context manager that closes it.

    Parameters
    ----------
    settings
        Where the topics are, and what of them is kept.
    path
        The index's file; None for the database or the file of the settings, or the user's cache.
    names
        In place of `desk.names`.

    Attributes
    ----------
    index, feed, roster, looks, acts, tables
        Its parts. No broker is asked before something is read.

    Raises
    ------
    IndexFailed
        When the file or the database cannot be used.
    """

    def __init__(self, settings: Settings, path: Path | None = None, names: str = "") -> None:
        self.index = open_index(settings, path)
        self.feed = Feed(self.index, settings)
        self.roster = Roster.from_settings(settings, names)
        self.looks = IndexedLooks(self.index, self.roster, self.feed, settings.scoring.alpha)
        self.acts = TopicActs(self.index, self.feed, settings)
        self.tables = self.index.tables
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Keep the index near the topics' ends from now on, in a thread."""
        self.feed.runs = True
        self._thread = threading.Thread(target=self.feed.run, args=(self._stop,), name="desk-feed", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(END_SECONDS)
        self.acts.close()
        self.feed.close()
        self.index.close()


def open_index(settings: Settings, path: Path | None = None) -> Index:
    """Return the index of the settings, open; a path is in place of what they name.

    Raises
    ------
    IndexFailed
        When it cannot be used.
    """
    mine = settings.desk
    if path is None and mine.database:
        from siphonwatch.streams.desk.index.postgres import PostgresIndex  # what the extra `postgres` brings

        return PostgresIndex(mine.database, settings.topics.prefix, mine.database_schema)
    return SqliteIndex(path or (Path(mine.index) if mine.index else default_path(settings)), settings.topics.prefix)
