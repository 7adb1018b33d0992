"""A deliverer over a broker: nothing is lost or told twice, and no sink holds up another, whatever dies or is away."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from pathlib import Path

import msgspec
import pytest
from aiohttp import web
from service_process import Deliverer, until
from sink_receiver import Receiver
from sink_samples import SECRET, life, prepare, records, send

from siphonwatch.streams.common.settings import Settings

pytestmark = pytest.mark.broker


@pytest.fixture
def embedded(tansu: str, prefix: str) -> Settings:
    """Settings for the embedded broker alone."""
    fresh = Settings()
    fresh.kafka.bootstrap, fresh.topics.partitions = tansu, 2
    fresh.kafka.group = fresh.topics.prefix = prefix
    return fresh


def hook(receiver: Receiver, **fields: str) -> dict[str, str]:
    return {"kind": "webhook", "url": receiver.url, "secret": SECRET, "since": "all", **fields}


def alerts(count: int, steps: int = 3, start: int = 0) -> list[tuple[bytes, bytes]]:
    """Many cases' lives, interleaved, each in its order."""
    lives = [records(life(f"org-{i}", steps)) for i in range(start, start + count)]
    return [each[step] for step in range(steps) for each in lives]


def ids(messages: list[tuple[bytes, bytes]]) -> set[str]:
    return {msgspec.json.decode(value)["id"] for _, value in messages}


async def shows(deliverer: Deliverer, value: float, name: str, **labels: str) -> None:
    """Wait until a metric has a value."""
    async with asyncio.timeout(300):
        while await deliverer.metric(name, **labels) != value:  # noqa: ASYNC110 - of another process
            await asyncio.sleep(0.2)


def assert_in_order(found: list[str]) -> None:
    """Within each case the first deliveries came in the order of its life."""
    lives: dict[str, list[int]] = defaultdict(list)
    for id in dict.fromkeys(found):
        case, _, sequence = id.partition("-")
        lives[case].append(int(sequence))
    assert all(life == sorted(life) for life in lives.values())


async def test_a_sink_that_is_down_holds_no_other_up_and_gets_all_when_it_is_back(
    settings: Settings, tmp_path: Path
) -> None:
    await asyncio.to_thread(prepare, settings)
    async with Receiver() as fine, Receiver() as broken:
        await broken.stop()
        with Deliverer(settings, tmp_path, fine=hook(fine), broken=hook(broken)) as deliverer:
            await deliverer.ready()
            sent = alerts(20)
            await asyncio.to_thread(send, settings, sent)
            await until(lambda: len(fine.ids) == 60, describe=deliverer.log.read_text)
            assert set(fine.ids) == ids(sent) and broken.ids == []
            assert (await deliverer.get("/healthz"))[0] == (await deliverer.get("/readyz"))[0] == 200
            assert await deliverer.metric("failing_seconds", sink="broken") > 0
            assert await deliverer.metric("failing_seconds", sink="fine") == 0
            assert await deliverer.metric("deliveries_total", sink="broken", outcome="failed") > 0
            assert await deliverer.metric("deliveries_total", sink="fine", outcome="delivered") == 60
            await shows(deliverer, 60, "delivery_lag_records", sink="broken")
            assert await deliverer.metric("delivery_lag_records", sink="fine") == 0
            await broken.start()
            await until(lambda: len(broken.ids) == 60, describe=deliverer.log.read_text)
            assert_in_order(broken.ids)
            assert await deliverer.metric("failing_seconds", sink="broken") == 0
            await deliverer.stop()
        assert Counter(fine.ids) == Counter(broken.ids) == Counter(ids(sent))


async def test_killed_again_and_again_it_loses_nothing_and_repeats_only_what_was_under_way(
    settings: Settings, tmp_path: Path
) -> None:
    await asyncio.to_thread(prepare, settings)
    kills = 2
    chance = random.Random(7)
    async with Receiver() as receiver:
        receiver.answer = lambda *_: web.Response(status=503) if chance.random() < 0.2 else None
        sent = alerts(60)
        await asyncio.to_thread(send, settings, sent[:90])
        for round in range(kills):
            with Deliverer(settings, tmp_path, ops=hook(receiver)) as deliverer:
                least = len(receiver.taken) + 15
                await until(lambda least=least: len(receiver.taken) >= least, 300, deliverer.log.read_text)  # type: ignore[misc]
                deliverer.kill()
            # Meanwhile a worker that crashed as well sends some of its last alerts again, then new ones.
            more = sent[90 + 45 * round : 135 + 45 * round]
            await asyncio.to_thread(send, settings, [*sent[60:90], *more])
        with Deliverer(settings, tmp_path, ops=hook(receiver)) as deliverer:
            await until(lambda: set(receiver.ids) == ids(sent), 300, deliverer.log.read_text)
            await asyncio.sleep(1.0)
            await deliverer.stop()
        counts = Counter(receiver.ids)
        assert_in_order(receiver.ids)
        assert sum(counts.values()) - len(counts) <= kills * settings.topics.partitions, (
            "at most one a partition and kill"
        )


async def test_an_alert_that_stands_twice_is_told_once_also_after_a_restart(embedded: Settings, tmp_path: Path) -> None:
    await asyncio.to_thread(prepare, embedded)
    sent = alerts(5)
    async with Receiver() as receiver:
        await asyncio.to_thread(send, embedded, sent + sent[:8])
        with Deliverer(embedded, tmp_path, ops=hook(receiver)) as deliverer:
            await until(lambda: len(receiver.ids) == 15, describe=deliverer.log.read_text)
            await shows(deliverer, 8, "deliveries_total", sink="ops", outcome="repeated")
            await deliverer.stop()
        new = alerts(1, 1, start=99)
        await asyncio.to_thread(send, embedded, sent + new)
        with Deliverer(embedded, tmp_path, ops=hook(receiver)) as deliverer:
            await until(lambda: len(receiver.ids) == 16, describe=deliverer.log.read_text)
            await shows(deliverer, 15, "deliveries_total", sink="ops", outcome="repeated")
            await deliverer.stop()
        assert Counter(receiver.ids) == Counter(ids(sent) | ids(new))


async def test_partitions_are_told_at_once_and_a_stop_is_soon_even_when_the_receiver_hangs(
    embedded: Settings, tmp_path: Path
) -> None:
    await asyncio.to_thread(prepare, embedded)
    sent = alerts(8, 1)
    async with Receiver() as receiver:
        receiver.hang = True
        await asyncio.to_thread(send, embedded, sent)
        with Deliverer(embedded, tmp_path, ops=hook(receiver)) as deliverer:
            await until(lambda: len(receiver.seen) == 2, describe=deliverer.log.read_text)
            assert await deliverer.metric("deliveries_total", sink="ops", outcome="delivered") == 0, "both at once"
            await deliverer.stop()
        receiver.hang = False
        with Deliverer(embedded, tmp_path, ops=hook(receiver)) as deliverer:
            await until(lambda: set(receiver.ids) == ids(sent), describe=deliverer.log.read_text)
            await deliverer.stop()


async def test_two_deliverers_share_the_partitions_and_one_takes_over_when_the_other_is_killed(
    embedded: Settings, tmp_path: Path
) -> None:
    await asyncio.to_thread(prepare, embedded)
    sent = alerts(30)
    async with Receiver() as receiver:
        with (
            Deliverer(embedded, tmp_path, ops=hook(receiver)) as one,
            Deliverer(embedded, tmp_path, ops=hook(receiver)) as two,
        ):
            await one.ready()
            await two.ready()
            await asyncio.to_thread(send, embedded, sent[:45])
            await until(lambda: len(receiver.ids) >= 45, describe=one.log.read_text)
            one.kill()
            await asyncio.to_thread(send, embedded, sent[45:])
            await until(lambda: set(receiver.ids) == ids(sent), describe=two.log.read_text)
            await two.stop()
        counts = Counter(receiver.ids)
        assert sum(counts.values()) - len(counts) <= embedded.topics.partitions


async def test_what_is_no_alert_blocks_nothing_and_is_counted(embedded: Settings, tmp_path: Path) -> None:
    await asyncio.to_thread(prepare, embedded)
    sent = alerts(1, 2)
    async with Receiver() as receiver:
        key = sent[0][0]
        await asyncio.to_thread(send, embedded, [sent[0], (key, b"junk"), (key, b""), sent[1]])
        with Deliverer(embedded, tmp_path, ops=hook(receiver)) as deliverer:
            await until(lambda: len(receiver.ids) == 2, describe=deliverer.log.read_text)
            assert await deliverer.metric("deliveries_total", sink="ops", outcome="unreadable") == 2
            await deliverer.stop()
        assert "a record is no alert and was passed over" in deliverer.log.read_text()


@pytest.mark.kafka
async def test_a_new_sink_is_not_told_what_is_older_than_it_wants_and_keeps_its_place_from_the_start(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    settings = Settings()
    settings.kafka.bootstrap = kafka
    settings.kafka.group = settings.topics.prefix = prefix
    settings.topics.partitions = 2
    await asyncio.to_thread(prepare, settings)
    old, between, new = alerts(6, 1), alerts(2, 1, start=50), alerts(2, 1, start=90)
    await asyncio.to_thread(send, settings, old)
    await asyncio.sleep(1.1)
    async with Receiver() as receiver:
        with Deliverer(settings, tmp_path, ops=hook(receiver, since="1s")) as deliverer:
            await deliverer.ready()
            await deliverer.stop()
        await asyncio.to_thread(send, settings, between)
        await asyncio.sleep(1.1)
        with Deliverer(settings, tmp_path, ops=hook(receiver, since="1s")) as deliverer:
            await deliverer.ready()
            await asyncio.to_thread(send, settings, new)
            await until(lambda: len(receiver.ids) >= 4, describe=deliverer.log.read_text)
            await deliverer.stop()
        assert Counter(receiver.ids) == Counter(ids(between) | ids(new))
