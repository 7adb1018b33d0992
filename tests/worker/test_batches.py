"""Batches keep what records carry, stay within their limits, and hold a fast producer back."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from typing import Any

import msgspec
import numpy as np
import pytest
from transport_fakes import FAST, Counting, Store, numbered, prepare, produce, producing, running, until

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.transport import Batch, Lease, Record, pump


async def test_every_key_timestamp_header_and_offset_arrives(settings: Settings) -> None:
    prepare(settings)
    sent = []
    async with producing(settings, compression_type="gzip") as producer:
        for i in range(3000):
            key = None if i % 7 == 1 and i % 11 else b"key-%d" % (i % 50)
            value = None if i % 11 == 0 else b"value-%d" % i
            headers = [("source", b"gw:0:%d" % i), ("empty", b"")] if i % 3 else []
            stamp = 1_700_000_000_000 + i * 37
            meta = await producer.send(
                settings.topic("telemetry"), value, key=key, partition=0, timestamp_ms=stamp, headers=headers
            )
            sent.append(Record(i, stamp, key, value, tuple(headers)))
        await meta
    store, workers = Store(), []

    def make(meter: Meter) -> Counting:
        workers.append(Counting(store, meter))
        return workers[-1]

    limits = msgspec.structs.replace(FAST, max_records=700)
    async with running(settings, make, limits):
        await until(lambda: sum(len(b) for w in workers for b in w.batches) >= 3000)
    batches = next(w.batches for w in workers if w.batches)
    assert [record for batch in batches for record in batch] == sent
    assert all(len(batch) <= 700 and batch.missing == 0 for batch in batches)
    assert len(batches) < 100
    assert [batch.first_offset for batch in batches[1:]] == [batch.next_offset for batch in batches[:-1]]
    assert all(batch.topic == settings.topic("telemetry") and batch.partition == 0 for batch in batches)
    size = sum(len(r.key or b"") + len(r.value or b"") for r in sent)
    assert sum(batch.size for batch in batches) == size


async def test_a_slow_partition_holds_back_its_own_records_only(settings: Settings) -> None:
    prepare(settings)
    slow_gate, taken = asyncio.Event(), {0: 0, 1: 0}
    held: list[Batch] = []

    class Slow(Counting):
        async def process(self, batch: Batch) -> None:
            if self.partition == 0:
                held.append(batch)
                await slow_gate.wait()
            await super().process(batch)
            taken[self.partition] += len(batch)

    limits = msgspec.structs.replace(FAST, max_records=100, max_in_flight=2)
    store = Store()
    value = b"x" * 500
    await produce(settings, [value] * 20_000)
    async with running(settings, lambda p: Slow(store, p), limits) as worker:
        await until(lambda: taken[1] == 10_000)
        await produce(settings, [value] * 4000)
        await until(lambda: taken[1] == 12_000)
        pump = worker.app.consumer._thread.pump
        lane = next(lane for lane in pump._lanes.values() if lane.lease.partition == 0)
        assert lane.room == 0, "both batches are out"
        assert lane.expected == 200, "nothing was read beyond the batches in flight"
        assert len(held) == 1
        slow_gate.set()
        await until(lambda: taken[0] == 12_000)
        await until(lambda: lane.room == 2)


async def test_a_question_for_a_topic_s_id_holds_nothing_back_that_is_verified(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(settings)
    gate, asked, answered = asyncio.Event(), threading.Event(), threading.Event()
    answers = pump.incarnations

    async def slow(client: Any, topics: Iterable[str]) -> dict[str, str]:
        if gate.is_set():
            asked.set()
            while not answered.is_set():  # noqa: ASYNC110 - it is set in another thread
                await asyncio.sleep(0.05)
        return await answers(client, topics)

    monkeypatch.setattr(pump, "incarnations", slow)
    store, workers = Store(), {}

    class Gated(Counting):
        async def process(self, batch: Batch) -> None:
            await gate.wait()
            await super().process(batch)

    def make(meter: Meter) -> Counting:
        workers[meter.partition] = Gated(store, meter)
        return workers[meter.partition]

    await produce(settings, numbered(2000), partition=0)
    limits = msgspec.structs.replace(FAST, max_records=100)
    async with running(settings, make, limits) as worker:
        await until(lambda: worker.app.assignment.ready)
        lanes = worker.app.consumer._thread.pump._lanes
        await until(lambda: any(lane.verified and lane.expected for lane in lanes.values()))
        gate.set()
        await produce(settings, numbered(50, 2000), partition=1)
        await until(asked.is_set)
        await until(lambda: workers[0].position == 2000)
        assert workers[1].position == 0, "it is not known of which topic that is"
        answered.set()
        await until(lambda: workers[1].position == 50)


async def test_the_byte_limit_ends_a_batch(settings: Settings) -> None:
    prepare(settings)
    store, workers = Store(), []

    def make(meter: Meter) -> Counting:
        workers.append(Counting(store, meter))
        return workers[-1]

    await produce(settings, [b"y" * 10_000] * 3000, partition=1)
    limits = msgspec.structs.replace(FAST, max_bytes=1_000_000)
    async with running(settings, make, limits):
        await until(lambda: sum(len(b) for w in workers for b in w.batches) == 3000)
    sizes = [batch.size for w in workers for batch in w.batches]
    assert max(sizes) < 1_000_000 + 1024 * 10_000


async def test_a_done_batch_makes_room_once() -> None:
    returned: list[Lease] = []
    lease = Lease("t", 0, 1, returned.append)
    batch = Batch(
        lease,
        keys=[None],
        values=[b"v"],
        headers=[()],
        offsets=np.array([5]),
        timestamps=np.array([1]),
        next_offset=6,
        size=1,
    )
    batch.done()
    batch.done()
    assert returned == [lease]
    assert batch.current
    lease.alive = False
    assert not batch.current
