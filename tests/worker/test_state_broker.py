"""The state log on real brokers: round trips, crashes between its steps, a broker that goes away, refused records."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
import structlog
from kafka.admin import KafkaAdminClient, NewTopic
from kafka_apache import ApacheKafka
from state_fakes import contents, fetched

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.worker.state import Fenced, Page, StateError, StateLog
from siphonwatch.streams.worker.state.journal import Journal, Record
from siphonwatch.streams.worker.state.kafka import KafkaJournal, open_state

pytestmark = pytest.mark.broker


def create(settings: Settings, **configs: str) -> None:
    admin = KafkaAdminClient(bootstrap_servers=settings.kafka.bootstrap)
    configs = {"cleanup.policy": "compact", **{name.replace("_", "."): value for name, value in configs.items()}}
    admin.create_topics(
        [NewTopic(settings.topic("state"), num_partitions=2, replication_factor=1, topic_configs=configs)]
    )
    admin.close()


def scenario(settings: Settings, work: Callable[[Callable[[], StateLog]], Awaitable[None]]) -> None:
    """Run `work` with a function that opens a state log, and close all of them."""

    async def run() -> None:
        logs: list[StateLog] = []

        def new() -> StateLog:
            logs.append(open_state(settings, 1, deadline=120.0))
            return logs[-1]

        try:
            await work(new)
        finally:
            for log in logs:
                await log.stop()

    asyncio.run(run())


class Dying:
    """A journal that is cut off after some appends."""

    def __init__(self, journal: Journal, appends: int) -> None:
        self.name, self.max_value = journal.name, journal.max_value
        self.read, self.stop = journal.read, journal.stop
        self._append = journal.append
        self._left = appends

    async def append(self, records: Sequence[Record]) -> list[int]:
        if self._left == 0:
            raise asyncio.CancelledError
        self._left -= 1
        return await self._append(records)


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def test_state_of_any_size_makes_the_round_trip(settings: Settings) -> None:
    create(settings)
    pages = {n: Page(noise(n, 9_000) + bytes(20_000), b"%d" % n, cold=n % 3 == 0) for n in range(700)}
    models = noise(1, 2_500_000)

    async def work(new: Callable[[], StateLog]) -> None:
        log = new()
        assert await log.restore() is None
        await log.checkpoint(dict(pages), models, 123, {"clock": 9.5})
        await log.committed()
        assert await fetched(log, [0, 3, 600]) == {n: pages[n].data for n in (0, 3, 600)}
        again = new()
        snapshot = await again.restore()
        assert snapshot is not None
        assert (snapshot.next_offset, snapshot.models, snapshot.meta) == (123, models, {"clock": 9.5})
        assert await contents(again, snapshot) == pages

    scenario(settings, work)


def test_a_crash_between_any_two_steps_leaves_a_whole_snapshot(settings: Settings) -> None:
    create(settings)

    async def work(new: Callable[[], StateLog]) -> None:
        log = new()
        await log.restore()
        await log.checkpoint({1: Page(b"one"), 2: Page(b"two", cold=True)}, b"first", 10)
        await log.committed()
        for appends in range(3):  # dies after this many of: pages, body, manifest
            await log.stop()
            log = new()
            snapshot = await log.restore()
            assert snapshot is not None and snapshot.next_offset == 10
            assert await contents(log, snapshot) == {1: Page(b"one"), 2: Page(b"two", cold=True)}
            log._journal = Dying(log._journal, appends)
            with pytest.raises(asyncio.CancelledError):
                await log.checkpoint({1: Page(b"changed"), 2: None}, b"second", 20)
        log = new()
        await log.restore()
        await log.checkpoint({1: Page(b"changed"), 2: None}, b"second", 20)  # dies before commit and clean-up
        log = new()
        snapshot = await log.restore()
        assert snapshot is not None and (snapshot.next_offset, snapshot.models) == (20, b"second")
        assert await contents(log, snapshot) == {1: Page(b"changed")}

    scenario(settings, work)


def test_a_zombie_is_told_and_its_snapshot_passed_over(settings: Settings) -> None:
    create(settings)

    async def work(new: Callable[[], StateLog]) -> None:
        zombie, heir = new(), new()
        await zombie.restore()
        await zombie.checkpoint({1: Page(b"shared")}, b"", 5)
        await zombie.committed()
        await heir.restore()
        with pytest.raises(Fenced, match="was claimed by owner"):
            await zombie.checkpoint({2: Page(b"zombie")}, b"", 50)
        await heir.checkpoint({3: Page(b"heir")}, b"", 6)
        log = new()
        snapshot = await log.restore()
        assert snapshot is not None
        assert await contents(log, snapshot) == {1: Page(b"shared"), 3: Page(b"heir")}

    scenario(settings, work)


def test_a_cancelled_checkpoint_leaves_the_log_usable(settings: Settings) -> None:
    create(settings)

    async def work(new: Callable[[], StateLog]) -> None:
        log = new()
        await log.restore()
        await log.checkpoint({1: Page(b"kept")}, b"", 1)
        task = asyncio.create_task(log.checkpoint({n: Page(noise(n, 30_000)) for n in range(600)}, b"", 2))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await log.checkpoint({2: Page(b"later")}, b"", 3)
        await log.committed()
        other = new()
        snapshot = await other.restore()
        assert snapshot is not None and snapshot.next_offset == 3
        assert await contents(other, snapshot) == {1: Page(b"kept"), 2: Page(b"later")}

    scenario(settings, work)


def test_a_partition_that_does_not_exist_yet_is_waited_for_by_name(settings: Settings) -> None:
    create(settings)

    async def run() -> None:
        log = open_state(settings, 7, deadline=3.0)
        try:
            with structlog.testing.capture_logs() as lines:
                waiting = asyncio.create_task(log.restore())
                for _ in range(6000):
                    if lines:
                        break
                    await asyncio.sleep(0.05)
                assert not waiting.done()
                waiting.cancel()
                with suppress(asyncio.CancelledError):
                    await waiting
            said = lines[0]["event"]
            assert "state.v1[7] does not exist" in said and "siphonwatch topics --create" in said
        finally:
            await log.stop()

    asyncio.run(run())


def test_no_broker_is_an_error_after_the_deadline() -> None:
    nowhere = Settings()
    nowhere.kafka.bootstrap = "127.0.0.1:9"

    async def run() -> None:
        log = open_state(nowhere, 0, deadline=0.5)
        with pytest.raises(StateError, match=r"cannot write for 0 s: KafkaConnectionError.*Are the brokers up"):
            await log.restore()
        await log.stop()

    asyncio.run(run())


@pytest.mark.kafka
def test_a_topic_with_too_small_a_limit_is_named_with_its_setting(kafka: str, prefix: str) -> None:
    settings = Settings()
    settings.kafka.bootstrap, settings.topics.prefix = kafka, prefix
    create(settings, max_message_bytes="20000")

    async def work(new: Callable[[], StateLog]) -> None:
        log = new()
        await log.restore()
        with pytest.raises(StateError, match=r"Set max\.message\.bytes of topic .*state\.v1 to 1048588"):
            await log.checkpoint({1: Page(noise(1, 30_000))}, b"", 1)

    scenario(settings, work)


@pytest.mark.kafka
def test_a_broker_restart_in_the_middle_of_a_checkpoint_is_waited_out(kafka: str, tmp_path: Path) -> None:
    """On a node of its own: `kafka` only says whether there can be one."""
    settings = Settings()
    node = ApacheKafka(tmp_path).start()
    settings.kafka.bootstrap = node.bootstrap
    create(settings)

    async def run() -> None:
        journal = KafkaJournal(settings.kafka, settings.topic("state"), 0, deadline=300.0)
        log = StateLog(journal)
        await log.restore()
        await log.checkpoint({1: Page(b"before")}, b"", 1)
        await log.committed()
        await asyncio.to_thread(node.stop)
        task = asyncio.create_task(log.checkpoint({2: Page(b"during")}, b"", 2))
        await asyncio.sleep(1.0)
        assert not task.done()
        await asyncio.to_thread(node.start)
        assert await task == 2
        await log.committed()
        await log.stop()
        log = open_state(settings, 0)
        snapshot = await log.restore()
        assert snapshot is not None
        assert await contents(log, snapshot) == {1: Page(b"before"), 2: Page(b"during")}
        await log.stop()

    try:
        asyncio.run(run())
    finally:
        node.stop()


@pytest.mark.kafka
def test_state_survives_what_kafka_compacts_away(kafka: str, prefix: str) -> None:
    settings = Settings()
    settings.kafka.bootstrap, settings.topics.prefix = kafka, prefix
    create(
        settings,
        segment_bytes="1048576",
        segment_ms="200",
        min_cleanable_dirty_ratio="0.01",
        delete_retention_ms="0",
    )
    pages = {n: Page(noise(n, 2_000), b"%d" % n, cold=n % 2 == 0) for n in range(100)}

    async def work(new: Callable[[], StateLog]) -> None:
        log = new()
        await log.restore()
        written = 1
        latest = dict(pages)
        loop = asyncio.get_running_loop()
        end = loop.time() + 300
        while True:
            offset = written
            change = {
                n: Page(noise(offset * 100 + n, 2_000), b"new", cold=n % 2 == 0) for n in range(offset % 7, 100, 7)
            }
            latest = latest | change
            await log.checkpoint(dict(latest if written == 1 else change), b"", offset)
            await log.committed()
            written += 1
            left = 0
            async for entries in log._journal.read(None, log._tail):
                left += len(entries)
            if left < log._tail * 0.7:
                break
            assert loop.time() < end, f"Kafka did not compact: {left} of {log._tail} records are left"
            await asyncio.sleep(0.5)
        assert await fetched(log, range(100)) == {n: page.data for n, page in latest.items()}
        other = new()
        snapshot = await other.restore()
        assert snapshot is not None
        assert await contents(other, snapshot) == latest

    scenario(settings, work)
