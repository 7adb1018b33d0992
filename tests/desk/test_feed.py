"""What keeps the index near the topics goes on, whatever the disk does and however many partitions a topic gains."""

from __future__ import annotations

import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import pytest
from alert_samples import findings
from desk_indexes import Open
from desk_samples import NOW
from kafka import TopicPartition
from log_consumer import Consumer, Log
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from siphonwatch.streams.cli import Failure, desk_index
from siphonwatch.streams.common.incarnation import ASK_SECONDS
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.alert import Alert, encode, to_alert
from siphonwatch.streams.desk.index import feed as made
from siphonwatch.streams.desk.index.careful import ATTEMPTS
from siphonwatch.streams.desk.index.cases import Cases
from siphonwatch.streams.desk.index.feed import Feed
from siphonwatch.streams.desk.index.sqlite import SqliteIndex
from siphonwatch.streams.desk.index.store import Index
from siphonwatch.streams.desk.looks import IndexedLooks
from siphonwatch.streams.desk.names import Roster
from siphonwatch.streams.desk.views import Ask
from siphonwatch.streams.desk.web.service import IndexGauges


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
    with SqliteIndex(tmp_path / "i.sqlite", "p") as index:
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


def test_what_was_rolled_back_is_not_remembered(alerts: Log, open_index: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_index() as index:
        feed = Feed(index, Settings())
        first = feed._intake.intake

        def fail(*_: object) -> None:
            raise OverflowError("Python int too large to convert to SQLite INTEGER")

        monkeypatch.setattr(first.ranks, "rank", fail)
        with reading(feed):
            until(lambda: cases(index) == 40)
        assert feed._intake.intake is not first


def test_partitions_that_a_topic_gains_are_read(alerts: Log, open_index: Open) -> None:
    (topic,) = {tp.topic for tp in alerts}
    now = [0.0]
    with open_index() as index:
        feed = Feed(index, Settings(), clock=lambda: now[0])
        feed.step()
        assert cases(index) == 40
        alerts[TopicPartition(topic, 1)] = [encode(to_alert(one)) for one in findings(3, "shift")]
        now[0] += ASK_SECONDS
        feed.step()
        feed.step()
        assert cases(index) == 43


def test_a_record_that_cannot_be_taken_in_is_tried_again_stepped_over_and_nothing_else_is_lost(
    alerts: Log, open_index: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, tried, taken_in = findings(40)[17].case, [0], Cases._alert

    def fail(self: Cases, news: Any, value: bytes, found: Alert, *rest: Any) -> None:
        if found.subject == bad:
            tried[0] += 1
            raise OverflowError(f"of {found.own.accounts[0]}")
        taken_in(self, news, value, found, *rest)

    (tp,) = alerts
    with open_index() as index:
        feed = Feed(index, Settings())
        looks = IndexedLooks(index, Roster(""), feed)
        with monkeypatch.context() as patch, capture_logs() as logged:
            patch.setattr(Cases, "_alert", fail)
            assert feed.catch_up() == 40
            assert feed.step() == 0 and tried[0] > ATTEMPTS
        assert cases(index) == 39 and bad not in {row.case for row in looks.queue(Ask(limit=100)).rows}
        assert index.positions()[tp.topic, 0].next == 40
        (said,) = [line for line in logged if "stepped over" in line["event"]]
        assert (said["topic"], said["partition"], said["offset"]) == (tp.topic, 0, 17)
        assert re.fullmatch(r"OverflowError in fail, line \d+", said["error"]), "and nothing that the error quotes"
        assert "exc_info" not in said
        found = looks.reading()
        (one,) = found.stepped
        assert (one.topic, one.partition, one.offset, one.why) == (tp.topic, 0, 17, "OverflowError")
        assert {topic.topic: topic.failed for topic in found.topics if topic.failed} == {"alerts": 1}
        registry = CollectorRegistry()
        registry.register(IndexGauges(looks.reading))
        labels = {"kind": "alerts", "reason": "failed"}
        assert registry.get_sample_value("siphonwatch_desk_skipped_records_total", labels) == 1.0
        index.clear()
        feed.close()
        assert feed.catch_up() == 40 and cases(index) == 40 and looks.reading().stepped == []


@pytest.mark.parametrize(
    "error", [sqlite3.OperationalError("database is locked"), sqlite3.DatabaseError("malformed"), OSError(5, "i/o")]
)
def test_what_the_disk_does_is_no_record_s_fault(
    alerts: Log, open_index: Open, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    with open_index() as index:
        feed = Feed(index, Settings())
        with monkeypatch.context() as patch:
            patch.setattr(Cases, "_alert", fail)
            with pytest.raises(type(error)):
                feed.step()
        feed.close()
        assert feed.catch_up() == 40 and cases(index) == 40


def test_an_index_that_takes_nothing_in_blames_no_record(
    alerts: Log, open_index: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OverflowError("of an index that is wrong by itself")

    with open_index() as index:
        feed = Feed(index, Settings())
        monkeypatch.setattr(Cases, "forget", fail)
        with pytest.raises(OverflowError):
            feed.step()
        assert not index.positions() and not index.reader.execute("SELECT * FROM stepped").fetchall()


def test_how_old_the_index_is_grows_while_something_waits_and_while_nothing_is_read(
    alerts: Log, open_index: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tp,) = alerts
    now = [NOW + 100.0]
    with open_index() as index:
        feed = Feed(index, Settings(), wall=lambda: now[0])
        now[0] += 5
        assert feed.ages()["alerts"] == 5.0
        feed.step()
        feed.step()
        assert set(feed.ages().values()) == {0.0}
        now[0] += 40
        assert set(feed.ages().values()) == {40.0}, "nobody has read since"
        alerts[tp] += alerts[tp][:1]
        monkeypatch.setattr(Consumer, "poll", lambda *_, **__: {})
        feed.step()
        assert feed.ages()["alerts"] == 40.0 and feed.ages()["verdicts"] == 0.0
        assert feed.behind()["alerts"] == 1


def test_a_command_says_that_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(Feed, "catch_up", fail)
    with pytest.raises(Failure, match="disk is full") as raised, desk_index.opened(tmp_path / "i.sqlite", ""):
        pass
    assert isinstance(raised.value, click.ClickException)
