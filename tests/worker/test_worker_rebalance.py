"""Real state over rebalances: what stays is not restored, what another worker had is, and nothing counts twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry
from transport_fakes import PATIENT, Worker, start, until
from worker_tools import assert_applied_once, prepare, produce, scored, traffic

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.worker.agents.score import TelemetryPartition
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import TELEMETRY, Metrics
from siphonwatch.streams.worker.outlet import KafkaOutlet, make_producer
from siphonwatch.streams.worker.retries import Retries
from siphonwatch.streams.worker.scoring import make_scorer
from siphonwatch.streams.worker.state.kafka import open_state

pytestmark = pytest.mark.broker
PARTITIONS = 4


def shared(workers: dict[str, Worker], *shares: int) -> bool:
    held = [worker.app.assignment for worker in workers.values()]
    return all(one.ready for one in held) and sorted(len(one.partitions) for one in held) == sorted(shares)


def owners(workers: dict[str, Worker]) -> dict[int, str]:
    return {p.tp.partition: name for name, worker in workers.items() for p in worker.app.assignment.partitions}


@pytest.mark.timeout(1800)
async def test_what_stays_keeps_its_accounts_and_what_comes_back_from_another_worker_is_restored(
    settings: Settings,
) -> None:
    prepare(settings, PARTITIONS)
    records = traffic()
    half, most = len(records) // 2, len(records) * 3 // 4
    registries = {name: CollectorRegistry() for name in "abc"}

    def restores() -> dict[str, int]:
        name, labels = "siphonwatch_restore_seconds_count", {"stream": TELEMETRY}
        return {who: int(registry.get_sample_value(name, labels) or 0) for who, registry in registries.items()}

    async with make_producer(settings) as producer:

        def made() -> Callable[[Meter], TelemetryPartition]:
            def make(meter: Meter) -> TelemetryPartition:
                outlet = KafkaOutlet(producer, settings, Retries(meter))
                return TelemetryPartition(
                    make_scorer(settings), open_state(settings, meter.partition), outlet, meter,
                    hot_accounts=settings.state.hot_accounts, forget_after=settings.state.forget_after,
                )  # fmt: skip

            return make

        def started(name: str) -> Worker:
            return start(settings, made(), PATIENT, metrics=Metrics(registries[name]))

        workers = {name: started(name) for name in "ab"}
        await until(lambda: shared(workers, 2, 2))
        await produce(settings, records[:half])
        await scored(settings, half)
        two, before = owners(workers), restores()
        workers["c"] = started("c")
        await until(lambda: shared(workers, 2, 1, 1))
        three = owners(workers)
        assert len([p for p in two if two[p] != three[p]]) == 1
        assert restores() == before | {"c": 1}, "nobody but the one who came restored anything"
        await produce(settings, records[half:most])
        await scored(settings, most)
        before = restores()
        assert await workers.pop("c").stop() == 0
        await until(lambda: shared(workers, 2, 2))
        (came,) = [p for p, name in three.items() if name == "c"]
        assert restores() == before | {owners(workers)[came]: before[owners(workers)[came]] + 1}
        await produce(settings, records[most:])
        await scored(settings, len(records))
        assert await asyncio.gather(*(worker.stop() for worker in workers.values())) == [0, 0]
    await assert_applied_once(settings)
