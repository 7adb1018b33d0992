"""Several desks with one index in PostgreSQL: one of them feeds it at a time, all have what people did at any."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import psycopg
import pytest
from aiohttp import web
from alert_samples import findings
from desk_client import NOW, make_desk
from desk_double import Double
from desk_samples import ERASED, batch, dump, log, take
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from kafka import TopicPartition
from log_consumer import Consumer, Log
from postgres_node import Postgres

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts import control
from siphonwatch.streams.contracts.alert import encode, to_alert
from siphonwatch.streams.desk.index import feed as made
from siphonwatch.streams.desk.index.feed import Feed
from siphonwatch.streams.desk.index.intake import Intake
from siphonwatch.streams.desk.index.postgres import PostgresIndex
from siphonwatch.streams.desk.index.sqlite import SqliteIndex
from siphonwatch.streams.desk.index.store import IndexAway, IndexFailed
from siphonwatch.streams.desk.looks import IndexedLooks
from siphonwatch.streams.desk.names import Roster
from siphonwatch.streams.desk.opening import OpenDesk
from siphonwatch.streams.desk.views import Ask
from siphonwatch.streams.desk.web.audit import Entry
from siphonwatch.streams.desk.web.desk import Desk

_number = itertools.count(1)
TOPIC = TopicPartition(Settings().topic("alerts"), 0)
Another = Callable[[], PostgresIndex]


@pytest.fixture
def another(postgres: Postgres) -> Iterator[Another]:
    """Opens one index as another desk does."""
    schema = f"shared{next(_number)}"
    with ExitStack() as stack:
        yield lambda: stack.enter_context(PostgresIndex(postgres.url(), "p", schema))


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Log:
    """A log of alerts that every consumer reads."""
    found = {TOPIC: [encode(to_alert(one)) for one in findings(10)]}
    monkeypatch.setattr(made, "make_consumer", lambda *_, **__: Consumer(found))
    for name in ("RETRY_SECONDS", "FOLLOW_SECONDS", "TELL_SECONDS"):
        monkeypatch.setattr(made, name, 0.01)
    return found


@contextmanager
def running(feed: Feed) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=feed.run, args=(stop,), daemon=True)
    feed.runs = True
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def cases(index: PostgresIndex) -> int:
    (found,) = index.reader.execute("SELECT count(*) FROM cases").fetchone() or (0,)
    return int(found)


def end_sessions(postgres: Postgres, index: PostgresIndex, what: str) -> None:
    """As a server does whose network to a desk broke."""
    with psycopg.connect(postgres.url()) as raw:
        raw.execute(
            "SELECT pg_terminate_backend(a.pid) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid "
            "WHERE l.locktype = 'advisory' AND application_name = %s AND "
            "(l.classid::bigint << 32 | l.objid::bigint) = %s",
            (f"siphonwatch desk {what}", index._key("feeds")),
        )


def test_one_desk_feeds_the_index_all_read_it_and_another_goes_on_where_its_session_ends(
    postgres: Postgres, another: Another, topic: Log
) -> None:
    first, second = another(), another()
    feeds = Feed(first, Settings()), Feed(second, Settings())
    with running(feeds[0]):
        until(lambda: cases(second) == 10 and not feeds[0].waits)
        assert not second.feeds()
        with running(feeds[1]):
            until(lambda: not feeds[1].waits)
            assert feeds[1]._consumer is None, "who does not feed reads no topic"
            topic[TOPIC] += [encode(to_alert(one)) for one in findings(5, "shift")]
            until(lambda: cases(second) == 15)
            assert feeds[1].wait_for(TOPIC.topic, 0, 14, 60.0)
            until(lambda: set(feeds[1].behind().values()) == {0} and max(feeds[1].ages().values()) < 60)
            end_sessions(postgres, first, "writes")
            topic[TOPIC] += [encode(to_alert(one)) for one in findings(5, "rarity")]
            until(lambda: cases(first) == 20)
            until(lambda: not feeds[0].waits and not feeds[1].waits)
            assert first.feeds() != second.feeds()
    with running(feeds[1]):
        until(lambda: feeds[1]._led is None)
    assert first.positions()[TOPIC.topic, 0].next == 20
    assert len(first.reader.execute("SELECT * FROM told").fetchall()) == 20


@pytest.mark.parametrize("when", ["within", "at its end"])
def test_a_desk_that_dies_within_a_transaction_loses_nothing_and_doubles_nothing(
    another: Another, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, when: str
) -> None:
    dies, goes_on = another(), another()
    intake = Intake(dies, Settings())
    given_ = log()
    intake.take(batch(kind, values[:7]) for kind, values in given_.items())
    rank = intake.ranks.rank

    def die(*more: object) -> None:
        if when == "at its end":
            rank(*more)  # type: ignore[arg-type]
        assert dies._writer is not None
        dies._writer.close()

    with monkeypatch.context() as patch:
        patch.setattr(intake.ranks, "rank", die)
        with pytest.raises(IndexAway):
            intake.take(batch(kind, values[7:14], 7) for kind, values in given_.items() if len(values) > 7)
    sizes = {f"p.{kind}.v1": len(values) for kind, values in given_.items()}
    assert {topic: at.next for (topic, _), at in goes_on.positions().items()} == {
        topic: min(7, size) for topic, size in sizes.items()
    }
    take(goes_on, given_)
    intake.take(batch(kind, values) for kind, values in given_.items())
    assert {topic: at.next for (topic, _), at in dies.positions().items()} == sizes
    with SqliteIndex(tmp_path / "i.sqlite", "p") as whole:
        take(whole, given_)
        assert dump(goes_on) == dump(whole)


def test_a_page_sees_one_moment_whatever_is_written_meanwhile(another: Another) -> None:
    index, other = another(), another()
    take(index, {"alerts": [encode(to_alert(one)) for one in findings(3)]})
    with index.read() as of:
        assert cases(index) == 3
        Intake(other, Settings()).take([batch("alerts", [encode(to_alert(one)) for one in findings(4, "shift")], 3)])
        assert of.execute("SELECT count(*) FROM cases").fetchone() == (3,)
        with pytest.raises(IndexAway, match="read-only transaction"):
            of.execute("DELETE FROM cases")
    assert cases(index) == 7


def test_a_server_that_goes_away_is_said_and_the_desk_goes_on_when_it_is_back(
    postgres: Postgres, another: Another, topic: Log
) -> None:
    index = another()
    feed = Feed(index, Settings())
    looks = IndexedLooks(index, Roster(""), feed)
    with running(feed):
        until(lambda: not feed.waits)
        postgres.stop()
        try:
            until(lambda: feed.waits)
            assert "PostgreSQL database postgres at" in feed.waits and "does not answer" in feed.waits
            with pytest.raises(IndexAway, match="does not answer"):
                looks.queue(Ask())
            topic[TOPIC] += [encode(to_alert(one)) for one in findings(5, "shift")]
        finally:
            postgres.start()
        until(lambda: not feed.waits and index.feeds())
        assert looks.queue(Ask()).total == 15


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://desk:hunter2@127.0.0.1:1/x", "database x at 127.0.0.1 cannot be used"),
        ("postgresql://desk:hunter2@[half/x", "desk.database is no address of PostgreSQL"),
        ("postgresql://desk:hunter2@h/x?hunter2=1", "desk.database is no address of PostgreSQL"),
    ],
)
def test_no_message_has_the_password(url: str, said: str, tmp_path: Path) -> None:
    settings = Settings()
    settings.desk.database = url
    with pytest.raises(IndexFailed, match=said) as raised:
        OpenDesk(settings)
    assert "hunter2" not in f"{raised.value!r} {raised.value.__cause__!r}"
    with OpenDesk(settings, tmp_path / "i.sqlite") as desk:
        assert not desk.index.shared and desk.tables is None, "a file that a command names is used all the same"


def test_a_database_of_other_topics_is_left_alone(postgres: Postgres) -> None:
    with PostgresIndex(postgres.url(), "p", "left_alone") as index:
        take(index, {"alerts": [encode(to_alert(one)) for one in findings(3)]})
        with pytest.raises(IndexFailed, match=r"has the index of the topics p\.\* in its schema left_alone_v"):
            PostgresIndex(postgres.url(), "q", "left_alone")
        assert cases(index) == 3


@given(st.text(st.sampled_from("\0\ufdd0\ufdd1\ufdd2ab\U0010ffff"), max_size=6))
@hypothesis_settings(max_examples=40)
def test_any_text_comes_back_as_it_was(text_index: PostgresIndex, text: str) -> None:
    assert text_index.reader.execute("SELECT CAST(? AS TEXT)", (text,)).fetchone() == (text,)


@pytest.fixture(scope="module")
def text_index(postgres: Postgres) -> Iterator[PostgresIndex]:
    with PostgresIndex(postgres.url(), "p", "texts") as index:
        yield index


def test_lists_take_the_indexes_that_were_made_for_them(another: Another) -> None:
    index = another()
    take(index, log(erase=False))
    for order in ("rank DESC", "opened", "touched DESC"):
        plan = index.reader.execute(f"EXPLAIN SELECT id FROM cases WHERE closed = 0 ORDER BY {order}, id LIMIT 5")
        text = "\n".join(line for (line,) in plan)
        assert "Index" in text and "Sort" not in text, text


def sharing(index: PostgresIndex) -> Desk:
    double = Double()
    return make_desk(double, tables=index.tables)


def test_what_one_has_looked_at_at_one_desk_is_looked_at_at_all(another: Another) -> None:
    index, other = another(), another()
    take(index, {"alerts": [encode(to_alert(one)) for one in findings(2)]})
    case = findings(1)[0].case
    IndexedLooks(index, Roster("")).case(case, "Ann")
    assert set(other.looked.of("Ann")([case, "x"])) == {case}
    assert other.looked.of("")([case]) == other.looked.of("Bob")([case]) == {}
    index.clear()
    assert set(other.looked.of("Ann")([case])) == {case}, "an index that is made anew leaves it"


async def test_who_did_what_and_who_logged_out_is_known_at_all_desks(another: Another) -> None:
    here, there = sharing(another()), sharing(another())
    assert here.sharing is not None and there.sharing is not None
    here.audit.take("Ann", "decide", "::1", "verdict", "done", "judged", ["c1"])
    there.audit.take("Bob", "read", "::1", "GET /audit", "refused", "needs a role")
    session = here.sessions.new("Ann", "decide")
    here.sessions.end(web.Response(), session)
    assert [entry.person for entry in await there.entries()] == ["Bob"]
    await here.sharing.exchange()
    assert [entry.person for entry in await there.entries()] == ["Bob", "Ann"]
    await there.sharing.exchange()
    await here.sharing.exchange()
    for desk in (here, there):
        assert [(entry.person, entry.outcome) for entry in await desk.entries()] == [
            ("Bob", "refused"),
            ("Ann", "done"),
        ]
        assert session.id in desk.sessions._ended and not desk.sessions.untold()
    for desk in (here, there):
        await desk.sharing.stop()  # type: ignore[union-attr]
        desk.close()


async def test_what_cannot_be_told_now_is_told_later(another: Another, monkeypatch: pytest.MonkeyPatch) -> None:
    index = another()
    here = sharing(index)
    assert here.sharing is not None and index.tables is not None
    here.audit.take("Ann", "decide", "::1", "verdict", "done", "judged", ["c1"])

    def fail(*_: object) -> None:
        raise IndexAway("it does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(index.tables, "share", fail)
        await here.sharing.exchange()
    assert index.tables.entries() == [] and len(here.audit.untold()) == 1
    await here.sharing.stop()
    assert len(index.tables.entries()) == 1 and here.audit.untold() == []
    here.close()


def test_an_erased_account_leaves_the_audit(another: Another) -> None:
    index = another()
    assert index.tables is not None
    entries = [
        Entry(time=at, person="Ann", role="decide", peer="::1", what="allow", outcome="done", text=text, cases=cases_)
        for at, text, cases_ in (
            (NOW, f"allowed {ERASED} until", [ERASED, "org-x"]), (3e9, f"{ERASED} again", [ERASED]),
            (NOW, "other", ["y"]),
        )
    ]  # fmt: skip
    index.tables.share([msgspec.json.encode(entry) for entry in entries], {}, NOW)
    order = control.Erase(id="0" * 12, account=ERASED, by="Ann", time=1.9e9)
    take(index, {"control": [control.encode(order)]})
    kept = [msgspec.json.decode(raw, type=Entry) for raw in reversed(index.tables.entries())]
    assert kept[0].text == "" and kept[0].cases == ["erased", "org-x"] and kept[1:] == entries[1:]
