"""A rolling restart under load, as an upgrade does it: nothing is lost or repeated, and requests stay fresh."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from prometheus_node import Prometheus
from rule_files import FRESH_SECONDS
from worker_tools import Worker, assert_applied_once, prepare, produce, read, scored, traffic

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.telemetry import Telemetry
from siphonwatch.streams.lab.broker.process import free_port

pytestmark = [pytest.mark.broker, pytest.mark.kafka]

COPIES = 12
"""Of each account, so that there is load for as long as a restart may take."""
RATE = 1500
"""Requests a second."""


def multiplied(records: Sequence[Telemetry], copies: int) -> list[Telemetry]:
    """The same traffic of so many times the accounts."""
    return [
        msgspec.structs.replace(record, account=f"{record.account}-{copy}")
        for record in records
        for copy in range(copies)
    ]


async def send(settings: Settings, load: Sequence[Telemetry], over: asyncio.Event) -> int:
    """Produce until it is over, a tenth as fast from the middle on, so that there is load for long; return how many."""
    for start in range(0, len(load), RATE):
        if over.is_set():
            return start
        rate = RATE if 2 * start < len(load) else RATE / 10
        await produce(settings, list(load[start : start + RATE]), rate=rate)
    return len(load)


async def test_two_workers_restarted_one_after_the_other_lose_and_repeat_nothing_and_stay_fresh(
    kafka: str, prefix: str, tmp_path: Path
) -> None:
    settings = Settings()
    settings.kafka.bootstrap = kafka
    settings.kafka.group = settings.topics.prefix = prefix
    prepare(settings, partitions=4)
    load = multiplied(traffic(), COPIES)
    ports = [free_port(), free_port()]

    def start(number: int) -> Worker:
        settings.web.port = ports[number]
        folder = tmp_path / f"worker-{number}"
        folder.mkdir(exist_ok=True)
        return Worker(settings, folder)

    targets = {"siphonwatch": [f"127.0.0.1:{port}" for port in ports]}
    with Prometheus(tmp_path / "prometheus", targets, "groups: []", scrape=0.5) as prometheus:
        workers = [start(0), start(1)]
        try:
            for worker in workers:
                await worker.works()
            over = asyncio.Event()
            sending = asyncio.create_task(send(settings, load, over))
            await asyncio.sleep(6)
            away = 0.0
            for number in range(2):
                began = time.monotonic()
                await asyncio.to_thread(workers[number].stop)
                workers[number] = start(number)
                await workers[number].works()
                away = max(away, time.monotonic() - began)
                await asyncio.sleep(4)
            assert not sending.done(), "the load ended before the restart did"
            over.set()
            sent = await sending
            await scored(settings, sent)
            await asyncio.sleep(1)  # one more scrape
            whole = "300s"
            seen = 'siphonwatch_freshness_seconds_bucket{stream="telemetry"}'
            fresh = prometheus.value(f"histogram_quantile(0.99, sum by (le) (increase({seen}[{whole}])))")
            counted = prometheus.value(f'sum(increase(siphonwatch_requests_total{{stream="telemetry"}}[{whole}]))')
            oldest = prometheus.value(f"max(max_over_time(siphonwatch_lag_seconds[{whole}]))")
            await produce(settings, load[sent:])  # what raises alerts comes late in this traffic
            await scored(settings, len(load))
            for worker in workers:
                await asyncio.to_thread(worker.stop)
        finally:
            for worker in workers:
                worker.__exit__()
    print(f"{sent:,} requests, p99 freshness {fresh:.2f} s, oldest waiting {oldest:.1f} s, seen {counted:,.0f}")
    assert counted > 0.8 * sent, "too little of the load was seen to say how fresh it was"
    # A machine on which a worker takes longer than that to stop and start hands partitions over more slowly too.
    assert fresh < max(FRESH_SECONDS, away)
    await assert_applied_once(settings)
    alerts = [msgspec.json.decode(value)["id"] for p in range(4) for value in await read(settings, "alerts", p)]
    assert alerts and max(Counter(alerts).values()) == 1, "a graceful restart repeats no alert"
