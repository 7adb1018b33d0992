"""Whatever is killed, joins, leaves or restarts: every record counts once, every alert exists once by its id."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from kafka_broker import over
from worker_tools import (
    Worker,
    assert_applied_once,
    expected_alerts,
    prepare,
    produce,
    read,
    scored,
    traffic,
    without_model,
)

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.worker.state.kafka import open_state

pytestmark = pytest.mark.broker


@over("crash", kafka=["batch:3", "pages:3", "pages:5", "manifest:1", "manifest:2"], tansu=["manifest:2"])
async def test_a_worker_killed_at_its_worst_moment_goes_on_exactly(
    settings: Settings, tmp_path: Path, crash: str
) -> None:
    prepare(settings, 1)
    records = traffic()[:5000]
    with Worker(settings, tmp_path, crash) as first:
        await first.works()  # else all may wait for it and come as one batch
        sending = asyncio.create_task(produce(settings, records, rate=450))
        await first.dies()
        with Worker(settings, tmp_path) as second:
            await sending
            await second.works()
            await scored(settings)
            second.stop()
    await assert_applied_once(settings)


async def test_a_second_worker_joins_and_leaves_under_load(settings: Settings, tmp_path: Path) -> None:
    prepare(settings, 4)
    records = traffic()
    with Worker(settings, tmp_path) as first:
        await first.works()
        sending = asyncio.create_task(produce(settings, records, rate=600))
        await asyncio.sleep(4)
        with Worker(settings, tmp_path) as second:
            await second.works()
            await asyncio.sleep(1)
            second.stop()
        await sending
        await scored(settings)
        first.stop()
    await assert_applied_once(settings)


async def test_the_alerts_are_those_of_a_replay_in_order(settings: Settings, tmp_path: Path) -> None:

    prepare(settings, 1)
    records = traffic()
    await produce(settings, records)
    with Worker(settings, tmp_path) as worker:
        await scored(settings)
        worker.stop()
    found = list(map(without_model, await read(settings, "alerts", 0)))
    assert found == expected_alerts(settings, await read(settings, "telemetry", 0))


async def test_accounts_that_leave_memory_and_return_change_no_alert(settings: Settings, tmp_path: Path) -> None:
    prepare(settings, 1)
    settings.state.hot_accounts = 8
    records = traffic()[:5000]
    assert len({record.account for record in records}) > 16
    with Worker(settings, tmp_path) as worker:
        await produce(settings, records, rate=600)
        await scored(settings)
        worker.stop()
    found = list(map(without_model, await read(settings, "alerts", 0)))
    assert found == expected_alerts(settings, await read(settings, "telemetry", 0))
    state = open_state(settings, 0)
    try:
        snapshot = await state.restore()
        assert snapshot is not None
        assert len(snapshot.cold) >= 1
    finally:
        await state.stop()
