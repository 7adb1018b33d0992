"""Every record is applied exactly once to the durable counts while workers join, leave, fail and come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from transport_fakes import PATIENT, Counting, Store, committed, numbered, prepare, produce, running, start, until

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.worker.agents.partition import Place
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.transport import Batch, Begin


def conserved(store: Store, count: int) -> bool:
    """Whether each of `count` numbered records was applied exactly once."""
    applied = sum(store.applied.values(), start=type(next(iter(store.applied.values())))())
    return applied == dict.fromkeys(numbered(count), 1)


async def test_joining_and_leaving_under_load_conserves_every_record(settings: Settings) -> None:
    settings.topics.partitions = 4
    settings.state.checkpoint_interval = 0.3
    prepare(settings)
    store = Store()

    class Unhurried(Counting):
        async def process(self, batch: Batch) -> None:
            await asyncio.sleep(0.005)
            await super().process(batch)

    async def load() -> None:
        for begin in range(0, 40_000, 1000):
            await produce(settings, numbered(1000, begin))
            await asyncio.sleep(0.15)

    loading = asyncio.create_task(load())
    first = start(settings, lambda p: Unhurried(store, p))
    await until(lambda: store.total() > 2000)
    second = start(settings, lambda p: Unhurried(store, p))
    await until(lambda: second.app.assignment.ready and len(second.app.assignment.partitions) == 2)
    assert len(first.app.assignment.partitions) == 2
    before = store.total()
    await until(lambda: store.total() > before + 2000)
    assert await first.stop() == 0
    await until(lambda: second.app.assignment.ready and len(second.app.assignment.partitions) == 4)
    await loading
    await until(lambda: store.total() == 40_000)
    assert await second.stop() == 0
    assert conserved(store, 40_000)
    assert await committed(settings) == store.next_offset


async def test_a_clean_stop_commits_all_that_was_processed_and_leaves_the_group(settings: Settings) -> None:
    settings.state.checkpoint_interval = 3600.0
    prepare(settings)
    store = Store()
    await produce(settings, numbered(5000))
    workers: list[Counting] = []

    def make(meter: Meter) -> Counting:
        workers.append(Counting(store, meter))
        return workers[-1]

    async with running(settings, make):
        await until(lambda: sum(w.position for w in workers) == 5000)
        assert store.total() == 0, "no checkpoint was due"
    assert conserved(store, 5000)
    assert await committed(settings) == {0: 2500, 1: 2500}
    await produce(settings, numbered(1000, 5000))
    async with running(settings, make):
        await until(lambda: sum(w.position for w in workers[-2:]) == 6000)
    assert conserved(store, 6000)


async def test_an_exception_stops_the_worker_with_code_one_and_a_restart_loses_nothing(settings: Settings) -> None:
    settings.state.checkpoint_records = 500
    prepare(settings)
    store, trips = Store(), [2]

    class Tripping(Counting):
        async def process(self, batch: Batch) -> None:
            if self.partition == 0 and batch.last_offset >= 1000 and trips[0]:
                trips[0] -= 1
                self.counts[b"half applied"] += 1
                raise ZeroDivisionError("a bug in the scorer")
            await super().process(batch)

    for attempt in range(2):
        await produce(settings, numbered(3000, 3000 * attempt))
        worker = start(settings, lambda p: Tripping(store, p))
        assert await asyncio.wait_for(worker.exit, 300) == 1
        assert b"half applied" not in store.applied.get(0, {}) | store.applied.get(1, {})
    async with running(settings, lambda p: Tripping(store, p)):
        await until(lambda: store.total() == 6000)
    assert conserved(store, 6000)


async def test_batches_of_a_revoked_partition_are_dropped_before_they_are_processed(settings: Settings) -> None:
    settings.topics.partitions = 2
    prepare(settings)
    store = Store()
    processed: list[tuple[bool, int, int]] = []
    gate = asyncio.Event()

    class Blocked(Counting):
        async def process(self, batch: Batch) -> None:
            processed.append((batch.current, batch.partition, batch.first_offset))
            await gate.wait()
            await super().process(batch)

    await produce(settings, [b"x" * 2000] * 40_000)
    first = start(settings, lambda p: Blocked(store, p))
    await until(lambda: len(processed) == 2)
    await until(lambda: all(p._queue.qsize() == 1 for p in first.app.assignment.partitions))
    queued = [p._queue._queue[0] for p in first.app.assignment.partitions]  # type: ignore[attr-defined]
    second = start(settings, lambda p: Counting(store, p))
    await until(lambda: not queued[0].current)
    gate.set()
    await until(lambda: second.app.assignment.ready and len(second.app.assignment.partitions) == 1)
    assert [batch.current for batch in queued] == [False, False]
    assert [first_offset for _, _, first_offset in processed[:2]] == [0, 0]
    starts = {batch.partition: batch.first_offset for batch in queued}
    # What was queued is read again under the new lease, from the checkpoint of the batch that was being processed.
    await until(lambda: store.total() == 40_000)
    for partition, offset in starts.items():
        times = [current for current, number, begin in processed if (number, begin) == (partition, offset)]
        assert len(times) <= 1
        assert all(times)
    await asyncio.gather(first.stop(), second.stop())
    assert store.applied[0][b"x" * 2000] == store.applied[1][b"x" * 2000] == 20_000


async def test_a_third_worker_takes_one_partition_and_the_others_go_on_with_what_they_hold(settings: Settings) -> None:
    settings.topics.partitions = 4
    settings.state.checkpoint_interval = 0.3
    prepare(settings)
    store = Store()
    restores: list[tuple[str, int]] = []
    kept: list[tuple[str, int]] = []

    def named(name: str) -> Callable[[Meter], Counting]:
        class Named(Counting):
            async def restore(self, begin: Begin) -> Place:
                restores.append((name, self.partition))
                return await super().restore(begin)

            async def resume(self, begin: Begin) -> Place | None:
                place = await super().resume(begin)
                if place is not None:
                    kept.append((name, self.partition))
                return place

        return lambda meter: Named(store, meter)

    def owners() -> dict[int, str]:
        return {p.tp.partition: name for name, w in workers.items() for p in w.app.assignment.partitions}

    def shared(*shares: int) -> bool:
        held = [w.app.assignment for w in workers.values()]
        return all(a.ready for a in held) and sorted(len(a.partitions) for a in held) == sorted(shares)

    workers = {"a": start(settings, named("a"), PATIENT)}
    await until(lambda: shared(4))
    workers["b"] = start(settings, named("b"), PATIENT)
    await until(lambda: shared(2, 2))
    await produce(settings, numbered(4000))
    await until(lambda: store.total() == 4000)
    two = owners()
    restores.clear()
    kept.clear()
    workers["c"] = start(settings, named("c"), PATIENT)
    await until(lambda: shared(2, 1, 1))
    three = owners()
    moved = [(three[p], p) for p in range(4) if two[p] != three[p]]
    assert len(moved) == 1
    assert moved[0][0] == "c"
    assert restores == moved, "only what moved is restored"
    assert set(kept) == {(three[p], p) for p in range(4)} - set(moved)
    await produce(settings, numbered(4000, 4000))
    await until(lambda: store.total() == 8000)
    restores.clear()
    assert await workers.pop("c").stop() == 0
    await until(lambda: shared(2, 2))
    back = owners()
    assert restores == [(back[p], p) for p in range(4) if three[p] != back[p]], "written by another owner meanwhile"
    assert len(restores) == 1
    await produce(settings, numbered(4000, 8000))
    await until(lambda: store.total() == 12_000)
    assert [await worker.stop() for worker in workers.values()] == [0, 0]
    assert conserved(store, 12_000)
    assert await committed(settings) == store.next_offset
