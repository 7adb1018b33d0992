"""The control topic reaches running workers, whatever else stands on it, and what it says outlives them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs
from worker_tools import Worker, prepare, produce, read, scored, traffic, until

from siphonwatch.streams.cli.allow import hidden, send
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.control import Allow, AllowEnd, Erase, encode
from siphonwatch.streams.operate.topics import connect, create
from siphonwatch.streams.worker.agents import control
from siphonwatch.streams.worker.agents.control import ControlFeed
from siphonwatch.streams.worker.agents.control_letters import ControlLetters
from siphonwatch.streams.worker.entries import EntryList
from siphonwatch.streams.worker.metrics import Metrics
from siphonwatch.streams.worker.orders import Order, OrderList, Orders

FOREVER = 2.0**34


def allow(number: int, pattern: str = "shift", account: str = "acme") -> Allow:
    return Allow(
        id=f"{number:012x}", pattern=pattern, until=FOREVER, accounts=[account], why="private words", by="Ann",
        time=1.8e9,
    )  # fmt: skip


def end(number: int) -> AllowEnd:
    return AllowEnd(id=f"{number:012x}", by="Ann", time=1.8e9)


class Fed:
    """A feed, its list and its metrics."""

    def __init__(self, settings: Settings) -> None:
        self.list, self.letters, self.registry = EntryList(), ControlLetters(), CollectorRegistry()
        self.orders = OrderList()
        self.metrics = Metrics(self.registry)
        self.feed = ControlFeed(settings, self.list, self.orders, self.letters, self.metrics, retry_seconds=0.2)

    def ids(self) -> list[int]:
        return [int(entry.id, 16) for entry in self.list.known or ()]

    def unreadable(self) -> float | None:
        return self.registry.get_sample_value("siphonwatch_unreadable_controls_total")


@contextlib.asynccontextmanager
async def following(fed: Fed) -> AsyncIterator[None]:
    task = asyncio.create_task(fed.feed.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Record:
    """As aiokafka has it."""

    topic, partition, timestamp, headers = "control", 0, 1_760_000_000_000, ()

    def __init__(self, value: bytes | None, key: bytes | None = None, offset: int = 0) -> None:
        self.value, self.key, self.offset = value, key, offset


def test_records_that_are_none_are_counted_and_a_tombstone_ends_its_entry() -> None:
    fed = Fed(Settings())
    good = [Record(encode(allow(number))) for number in range(4)]
    values = (b"", b"{}", b"[" * 50_000, bytes(1 << 20), b'{"type":"promote"}', b'{"type":"\xff"}')
    junk = [Record(value, b"key", offset) for offset, value in enumerate(values, 4)]
    fed.feed.take_records(
        [*good, *junk, Record(None), Record(None, b"\xff"), Record(None, good[1].value and b"0" * 11 + b"1")]
    )
    assert fed.list.known is None, "nothing is given out before the topic was read to its end"
    fed.feed.reached_end()
    assert fed.ids() == [0, 2, 3] and fed.unreadable() == 6
    letters = fed.letters.from_offset(0)
    assert [letter.reason for letter in letters] == ["json", "schema", "schema", "size", "schema", "encoding"]
    assert [(letter.offset, letter.value) for letter in letters] == [*enumerate(values, 4)]
    assert {letter.source for letter in letters} == {f"control:0:{offset}:0" for offset in range(4, 10)}
    assert "promote" not in "".join(letter.detail for letter in letters)
    known = fed.list.known
    fed.feed.reached_end()
    assert fed.list.known is known
    fed.feed.take_records([Record(encode(end(2)))])
    fed.feed.reached_end()
    assert fed.ids() == [0, 3]


def test_more_entries_than_there_may_be_leave_out_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "CAPACITY", 3)
    fed = Fed(Settings())
    fed.feed.take_records([Record(encode(allow(number))) for number in (1, 2, 3, 1, 4)])
    fed.feed.reached_end()
    assert fed.ids() == [1, 3, 4] and fed.list.dropped == 1


@pytest.mark.broker
async def test_it_is_read_from_the_beginning_and_goes_on_with_what_comes(settings: Settings) -> None:
    with connect(settings.kafka) as admin:
        create(settings, admin)
    fed = Fed(settings)
    async with following(fed):
        await asyncio.wait_for(fed.feed.read.wait(), 300)
        assert fed.ids() == [], "an empty topic is read at once"
        await asyncio.to_thread(lambda: [send(settings, one) for one in (allow(1), allow(2), end(1))])
        await until(lambda: fed.ids() == [2], 300)
    again = Fed(settings)
    async with following(again):
        await until(lambda: again.ids() == [2], 300)


@pytest.mark.broker
async def test_a_topic_made_anew_is_read_whole_before_its_entries_alone_stand(settings: Settings) -> None:
    topic = settings.topic("control")
    with connect(settings.kafka) as admin:
        create(settings, admin)
    await asyncio.to_thread(lambda: [send(settings, allow(number)) for number in (1, 2)])
    fed = Fed(settings)
    async with following(fed):
        await until(lambda: fed.ids() == [1, 2], 300)
        with connect(settings.kafka) as admin:
            admin.delete_topics([topic])
            await until(lambda: topic not in admin.list_topics(), 300)
            create(settings, admin)
        await asyncio.to_thread(send, settings, allow(7))
        await until(lambda: fed.ids() == [7], 300)
    assert fed.registry.get_sample_value(
        "siphonwatch_recreated_topics_total", {"stream": "control", "topic": topic, "partition": "0"}
    ) == 1  # fmt: skip


async def alerts_of(settings: Settings) -> list[dict[str, object]]:
    found = [
        json.loads(value) for p in range(settings.topics.partitions) for value in await read(settings, "alerts", p)
    ]
    return list({alert["id"]: alert for alert in found}.values())


def who(alert: dict[str, object]) -> tuple[str, str]:
    own = alert["data"]["unmapped"]["siphonwatch"]  # type: ignore[index]
    return own["accounts"][0], own["pattern"]


@pytest.mark.broker
async def test_an_entry_holds_over_a_kill_a_restart_and_a_second_worker_and_ends(
    settings: Settings, tmp_path: Path
) -> None:
    prepare(settings, 2)
    records = traffic()
    third = len(records) // 3
    with Worker(settings, tmp_path) as first:
        await produce(settings, records[:third])
        await scored(settings)
        told = await alerts_of(settings)
        account, pattern = next(who(alert) for alert in told if who(alert)[1] != "campaign")
        async with AIOKafkaProducer(bootstrap_servers=settings.kafka.bootstrap) as producer:
            for value in (b"{", bytes(100_000), None):
                await producer.send_and_wait(settings.topic("control"), value, b"junk")
        await asyncio.to_thread(send, settings, allow(1, pattern, account))

        limit = time.monotonic() + 300
        while (account, pattern) not in [who(one) for one in await alerts_of(settings) if "closed" in str(one["type"])]:
            assert time.monotonic() < limit, first.log.read_text()
            await asyncio.sleep(0.5)
        first.kill()
    before = {alert["id"] for alert in await alerts_of(settings)}
    with Worker(settings, tmp_path) as second, Worker(settings, tmp_path) as third_one:
        await second.works()
        await third_one.works()
        await produce(settings, records[third : 2 * third])
        await scored(settings)
        second.stop()
        await produce(settings, records[2 * third :])
        await scored(settings)
        third_one.stop()
        log = second.log.read_text() + third_one.log.read_text()
    found = await alerts_of(settings)
    assert not [a for a in found if a["id"] not in before and who(a) == (account, pattern)]
    hid = (await asyncio.to_thread(hidden, settings))[f"{1:012x}"]
    assert hid and {who(json.loads(value)) for value in hid.values()} == {(account, pattern)}
    assert "private words" not in log and b"private words" not in b"".join(hid.values())


async def test_orders_to_erase_stand_when_the_topic_was_made_anew(settings: Settings) -> None:
    fed = Fed(settings)
    order = Erase(id=f"{7:012x}", account="acme", by="Ann", time=1.8e9)
    fed.feed.take_records([Record(encode(order)), Record(encode(allow(8)), offset=1)])
    assert fed.orders.known is None
    fed.feed.reached_end()
    assert fed.orders.known == Orders([Order.of(order)]) and fed.ids() == [8]
    fed.feed.clear()
    fed.feed.reached_end()
    assert fed.orders.known == Orders([Order.of(order)]), "what was erased stays erased"
    another = Erase(id=f"{9:012x}", account="acme", by="Ann", time=1.9e9)
    fed.feed.take_records([Record(encode(another))])
    fed.feed.reached_end()
    assert fed.orders.known == Orders([Order.of(order), Order.of(another)])


async def test_a_feed_goes_on_whatever_it_meets_and_quotes_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    fed, met, again = Fed(Settings()), list[str](), asyncio.Event()
    fed.feed._retry_seconds = 0.0

    async def follow(topic: str) -> None:
        met.append(topic)
        if len(met) > 1:
            again.set()
            await asyncio.Event().wait()
        raise ValueError("private words")

    monkeypatch.setattr(fed.feed, "_follow", follow)
    with capture_logs() as logs:
        async with following(fed):
            await again.wait()
    assert [line["error"].partition(",")[0] for line in logs] == ["ValueError in follow"]
    assert "private" not in str(logs)
