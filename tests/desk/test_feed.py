"""What keeps the index near the topics goes on, whatever the disk does and however many partitions a topic gains."""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from alert_samples import findings
from desk_samples import NOW
from kafka import TopicPartition

from siphonwatch.streams.cli import Failure, desk_index
from siphonwatch.streams.common.incarnation import ASK_SECONDS
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.alert import encode, to_alert
from siphonwatch.streams.desk.index import feed as made
from siphonwatch.streams.desk.index.feed import Feed
from siphonwatch.streams.desk.index.store import Index

Log = dict[TopicPartition, list[bytes]]
ID = uuid.UUID(int=7)


class Consumer:
    """As much of a consumer as the feed asks for, over logs in memory."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._at: dict[TopicPartition, int] = {}
        self._paused: set[TopicPartition] = set()
        self._cluster = SimpleNamespace(topic_id=lambda topic: ID)

    def topics(self) -> set[str]:
        return {tp.topic for tp in self._log}

    def partitions_for_topic(self, topic: str) -> set[int]:
        return {tp.partition for tp in self._log if tp.topic == topic}

    def assign(self, partitions: list[TopicPartition]) -> None:
        self._at = dict.fromkeys(partitions, 0)

    def assignment(self) -> set[TopicPartition]:
        return set(self._at)

    def pause(self, *partitions: TopicPartition) -> None:
        self._paused |= set(partitions)

    def resume(self, *partitions: TopicPartition) -> None:
        self._paused -= set(partitions)

    def beginning_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(partitions, 0)

    def end_offsets(self, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {tp: len(self._log[tp]) for tp in partitions}

    def highwater(self, tp: TopicPartition) -> int:
        return len(self._log[tp])

    def seek(self, tp: TopicPartition, offset: int) -> None:
        self._at[tp] = offset

    def position(self, tp: TopicPartition) -> int:
        return self._at[tp]

    def poll(self, **_: int) -> dict[TopicPartition, list[Any]]:
        found = {}
        for tp in self.assignment() - self._paused:
            begin, self._at[tp] = self._at[tp], len(self._log[tp])
            found[tp] = [
                SimpleNamespace(offset=begin + at, timestamp=1000 * int(NOW), value=value, headers=())
                for at, value in enumerate(self._log[tp][begin:])
            ]
        return found

    def close(self) -> None:
        self._at = {}


@contextmanager
def reading(feed: Feed) -> Iterator[threading.Thread]:
    stop = threading.Event()
    thread = threading.Thread(target=feed.run, args=(stop,), daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(60)


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def cases(index: Index) -> int:
    (found,) = index.reader.execute("SELECT count(*) FROM cases").fetchone()
    return int(found)


@pytest.fixture
def alerts(monkeypatch: pytest.MonkeyPatch) -> Log:
    """A log of alerts that every consumer reads."""
    log = {TopicPartition(Settings().topic("alerts"), 0): [encode(to_alert(one)) for one in findings(40)]}
    monkeypatch.setattr(made, "make_consumer", lambda *_, **__: Consumer(log))
    monkeypatch.setattr(made, "RETRY_SECONDS", 0.01)
    return log


def test_a_full_disk_is_said_and_what_it_kept_out_is_taken_in_when_there_is_room(alerts: Log, tmp_path: Path) -> None:
    with Index(tmp_path / "i.sqlite", "p") as index:
        feed = Feed(index, Settings())
        with index.write() as to:
            (pages,) = to.execute("PRAGMA page_count").fetchone()
        index._writer.execute(f"PRAGMA max_page_count = {pages}")
        with reading(feed) as thread:
            until(lambda: "full" in feed.trouble or not thread.is_alive())
            assert thread.is_alive() and cases(index) == 0
            index._writer.execute("PRAGMA max_page_count = 1000000")
            until(lambda: cases(index) == 40)
            until(lambda: not feed.trouble)


def test_what_was_rolled_back_is_not_remembered(alerts: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Index(tmp_path / "i.sqlite", "p") as index:
        feed = Feed(index, Settings())
        first = feed._intake

        def fail(*_: object) -> None:
            raise OverflowError("Python int too large to convert to SQLite INTEGER")

        monkeypatch.setattr(first.ranks, "rank", fail)
        with reading(feed):
            until(lambda: cases(index) == 40)
        assert feed._intake is not first


def test_partitions_that_a_topic_gains_are_read(alerts: Log, tmp_path: Path) -> None:
    (topic,) = {tp.topic for tp in alerts}
    now = [0.0]
    with Index(tmp_path / "i.sqlite", "p") as index:
        feed = Feed(index, Settings(), clock=lambda: now[0])
        feed.step()
        assert cases(index) == 40
        alerts[TopicPartition(topic, 1)] = [encode(to_alert(one)) for one in findings(3, "shift")]
        now[0] += ASK_SECONDS
        feed.step()
        feed.step()
        assert cases(index) == 43


def test_a_command_says_that_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Feed, "catch_up", fail)
    with pytest.raises(Failure, match="disk is full") as raised, desk_index.opened(tmp_path / "i.sqlite", ""):
        pass
    assert isinstance(raised.value, click.ClickException)
