"""The worker says when it is ready and when it is stuck and shows nothing else; gateway topics are ingested whole."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Counter
from transport_fakes import Counting, Store, Worker, committed, numbered, prepare, produce, running, until

from siphonwatch.streams.common.settings import Settings, Web
from siphonwatch.streams.operate.topics import connect
from siphonwatch.streams.worker.agents.assignment import Assignment
from siphonwatch.streams.worker.agents.partition import Partition, Place
from siphonwatch.streams.worker.app import create_app
from siphonwatch.streams.worker.gauges import PartitionGauges
from siphonwatch.streams.worker.health import HealthServer
from siphonwatch.streams.worker.metrics import Metrics
from siphonwatch.streams.worker.transport import Batch, Begin


async def get(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.text()


class FakePartition:
    """A partition that waits for as long as it is told."""

    def __init__(self, number: int, waited: float, ready: bool) -> None:
        self.tp = ("telemetry", number)
        self.waited = waited
        self.ready = ready

    def stalled(self) -> float:
        return self.waited


class FakeAssignment:
    def __init__(self, *partitions: FakePartition, assigned: bool = True) -> None:
        from faust.types import TP

        self.partitions = list(partitions)
        for partition in self.partitions:
            partition.tp = TP(*partition.tp)
        self.assigned = assigned


async def served(assignment: FakeAssignment, *paths: str) -> list[tuple[int, str]]:
    registry = CollectorRegistry()
    Counter("requests", "Requests seen.", registry=registry).inc(3)
    server = HealthServer(Web(port=0, stall_seconds=30.0), assignment, registry)  # type: ignore[arg-type]
    await server.start()
    try:
        return [await get(server.port, path) for path in paths]
    finally:
        await server.stop()


async def test_a_worker_is_live_until_records_wait_too_long_without_a_commit() -> None:
    assert await served(FakeAssignment(FakePartition(0, 29.0, True)), "/healthz") == [(200, "ok\n")]
    code, text = (await served(FakeAssignment(FakePartition(0, 1.0, True), FakePartition(7, 31.0, True)), "/healthz"))[
        0
    ]
    assert code == 503
    assert text == "records wait and nothing is committed: telemetry[7] 31 s\n"


async def test_a_worker_is_ready_once_all_it_was_assigned_is_restored() -> None:
    assert (await served(FakeAssignment(assigned=False), "/readyz"))[0][0] == 503
    restoring = FakeAssignment(FakePartition(0, 0.0, True), FakePartition(3, 0.0, False))
    assert await served(restoring, "/readyz") == [(503, "restoring telemetry[3]\n")]
    assert await served(FakeAssignment(FakePartition(0, 0.0, True)), "/readyz") == [(200, "ok, 1 partitions\n")]
    assert (await served(FakeAssignment(), "/readyz"))[0][0] == 200, "more workers than partitions is no fault"


async def test_metrics_are_served_and_every_other_path_is_not_found() -> None:
    metrics, *others = await served(
        FakeAssignment(),
        "/metrics",
        "/",
        "/table",
        "/table/",
        "/router",
        "/stats",
        "/graph",
        "/docs",
        "/ready",
        "/pages",
    )
    assert metrics[0] == 200
    assert "requests_total 3.0" in metrics[1]
    assert {code for code, _ in others} == {404}


async def test_a_partition_that_stops_committing_while_records_wait_counts_as_stalled(settings: Settings) -> None:
    settings.state.checkpoint_interval = 0.2
    now = [1000.0]
    prepare(settings)
    store, gate = Store(), asyncio.Event()
    gate.set()

    class Gated(Counting):
        async def process(self, batch: Batch) -> None:
            await gate.wait()
            await super().process(batch)

    await produce(settings, numbered(100))
    async with running(settings, lambda p: Gated(store, p), clock=lambda: now[0]) as worker:
        assignment: Assignment = worker.app.assignment

        def stalled() -> list[float]:
            now[0] += 0.1
            return [partition.stalled() for partition in assignment.partitions]

        await until(lambda: stalled() and store.total() == 100)
        await until(lambda: max(stalled()) < 1)
        now[0] += 500
        await until(lambda: max(stalled()) < 1, 300)  # nothing waits: quiet for long is no stall
        gate.clear()
        await produce(settings, numbered(100, 100))
        await asyncio.sleep(1)
        begin = now[0]
        now[0] += 200
        await until(lambda: min(stalled()) >= now[0] - begin - 5)
        gate.set()
        await until(lambda: max(stalled()) < 1)
    assert store.total() == 200


async def test_a_partition_that_is_still_restored_is_not_ready_and_no_stall(settings: Settings) -> None:
    prepare(settings)
    now, gate, store = [1000.0], asyncio.Event(), Store()

    class Slow(Counting):
        async def restore(self, begin: Begin) -> Place:
            await gate.wait()
            return await super().restore(begin)

    async with running(settings, lambda p: Slow(store, p), clock=lambda: now[0]) as worker:
        assignment: Assignment = worker.app.assignment
        await until(lambda: len(assignment.partitions) == 2)
        now[0] += 500  # ending the worker would have it begin again
        assert [partition.stalled() for partition in assignment.partitions] == [0, 0]
        assert not assignment.ready
        gate.set()
        await until(lambda: assignment.ready)


async def test_lag_is_told_in_records_and_seconds_until_it_is_caught_up(settings: Settings) -> None:
    settings.state.checkpoint_interval = 0.2
    prepare(settings)
    store, gate = Store(), asyncio.Event()

    class Gated(Counting):
        async def process(self, batch: Batch) -> None:
            await gate.wait()
            await super().process(batch)

    registry = CollectorRegistry()
    metrics = Metrics(registry)
    topic = settings.topic("telemetry")

    def shown(name: str, **more: str) -> list[float | None]:
        labels = [{"stream": "telemetry", "topic": topic, "partition": str(p)} | more for p in range(2)]
        return [registry.get_sample_value(f"siphonwatch_{name}", each) for each in labels]

    await produce(settings, numbered(100))
    async with running(settings, lambda p: Gated(store, p), metrics=metrics) as worker:
        registry.register(PartitionGauges(worker.app.assignment, lambda: worker.app.gaps))
        await until(lambda: shown("lag_records") == [50, 50])
        await until(lambda: min(shown("lag_seconds")) > 1.0)  # type: ignore[type-var]
        assert shown("partition_ready") == [1, 1]
        assert shown("last_commit_timestamp_seconds") == [None, None]
        gate.set()
        await until(lambda: shown("lag_records") == shown("lag_seconds") == [0, 0])
        await until(lambda: shown("commits_total", outcome="committed") == [1, 1])
        assert None not in shown("last_commit_timestamp_seconds")
        assert registry.get_sample_value("siphonwatch_rebalances_total") == 1
    assert shown("lag_records") == [None, None], "nothing is told of partitions that left"


async def test_a_gateway_topic_is_committed_only_after_its_records_are_ingested(settings: Settings) -> None:
    gateway = f"{settings.topics.prefix}.gateway"
    settings.ingest.topics = {gateway: "litellm"}
    settings.state.checkpoint_interval = 0.2
    prepare(settings)
    with connect(settings.kafka) as admin:
        admin.create_topics({gateway: {"num_partitions": 2, "replication_factor": 1}})

    class Forward:
        """Keeps what it ingested, once the gate is open."""

        def __init__(self) -> None:
            self.values: list[bytes | None] = []
            self.gate = asyncio.Event()

        async def process(self, batch: Batch) -> None:
            assert batch.topic == gateway
            await self.gate.wait()
            self.values += batch.values

        def blocked(self) -> float:
            return 0.0

        async def close(self) -> None:
            """Nothing is held."""

    await produce(settings, numbered(1000), topic=gateway)
    store, ingest = Store(), Forward()
    async with running(settings, lambda p: Counting(store, p), make_ingest=lambda *_: ingest) as worker:
        await until(lambda: worker.app.assignment.ready)
        assert len(worker.app.assignment.partitions) == 4
        await asyncio.sleep(1)
        assert await committed(settings, gateway) == {}
        ingest.gate.set()
        await until(lambda: len(ingest.values) == 1000)
    assert await committed(settings, gateway) == {0: 500, 1: 500}
    again = Forward()
    again.gate.set()
    await produce(settings, numbered(10, 1000), topic=gateway)
    async with running(settings, lambda p: Counting(store, p), make_ingest=lambda *_: again):
        await until(lambda: len(again.values) >= 10)
    assert sorted(again.values) == sorted(numbered(10, 1000))


async def test_ingest_topics_without_an_ingest_are_refused() -> None:
    settings = Settings()
    settings.ingest.topics = {"gw": "kong"}
    with pytest.raises(ValueError, match=r"ingest\.topics names"):
        create_app(settings, make_partition=lambda p: Counting(Store(), p))


async def test_no_app_or_loop_exists_before_one_is_created() -> None:
    import siphonwatch.streams.worker.app

    assert not [
        name
        for name, value in vars(siphonwatch.streams.worker.app).items()
        if isinstance(value, siphonwatch.streams.worker.app.WorkerApp)
    ]


@pytest.mark.broker
async def test_a_scrape_between_two_assignments_knows_no_lag_and_fails_nothing(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(settings)
    store = Store()
    async with running(settings, lambda p: Counting(store, p)) as worker:
        partition = await produce_and_read(settings, worker)
        await until(lambda: dict((name, value) for name, _, value in partition.readings()).get("lag_records") == 0)
        with monkeypatch.context() as taken_back:
            client = worker.app.consumer._thread._ensure_consumer()
            taken_back.setattr(client._subscription.subscription, "_assignment", None)
            assert "lag_records" not in {name for name, _, _ in partition.readings()}


async def produce_and_read(settings: Settings, worker: Worker) -> Partition:
    """The partition that read what was produced."""
    await produce(settings, numbered(10), partition=0)
    await until(lambda: any(p.records for p in worker.app.assignment.partitions))
    return next(p for p in worker.app.assignment.partitions if p.records)
