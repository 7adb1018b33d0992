"""The deliverer: every sink's group in one process, until it is stopped. It scores nothing and makes no alert."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterable
from typing import Any

import structlog

from siphonwatch.streams.common.answers import AnswerGauge
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.status import process_registry
from siphonwatch.streams.deliver.group import Group
from siphonwatch.streams.deliver.health import DelivererHealth
from siphonwatch.streams.deliver.make import check, make
from siphonwatch.streams.deliver.metrics import Metrics

_log = structlog.get_logger(__name__)


async def deliver(settings: Settings, names: Iterable[str] = (), stop: asyncio.Event | None = None) -> int:
    """Deliver alerts to the sinks of these names, all without any; return the exit code.

    Parameters
    ----------
    stop
        Ends it when set; SIGTERM and SIGINT by default.

    Raises
    ------
    SettingsError
        When a sink cannot work as it is set.
    KafkaError
        When no broker can be reached at the start.
    OSError
        When the health port is taken.
    """
    sinks = check(settings, names)
    if stop is None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    registry = process_registry()
    metrics = Metrics(registry)
    failed = asyncio.Event()
    groups = [Group(settings, make(settings, name), metrics.of(name), failed.set) for name in sinks]

    def ages() -> dict[str, float]:
        asked = [(broker, age) for group in groups for broker, age in group.broker_ages().items()]
        return dict(sorted(asked, key=lambda pair: pair[1]))  # the longest of each broker stays

    registry.register(AnswerGauge(ages))
    health = DelivererHealth(
        settings.deliver, lambda: [group.name for group in groups if not group.ready], registry, ages
    )
    watched: list[asyncio.Future[Any]] = [asyncio.create_task(event.wait()) for event in (stop, failed)]
    try:
        await health.start()
        _log.info("delivering alerts", sinks=list(sinks), port=health.port)
        starting: asyncio.Future[Any] = asyncio.gather(*(group.start() for group in groups))
        await asyncio.wait([starting, *watched], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        else:
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
        _log.info("stopping", failed=failed.is_set())
    finally:
        for task in watched:
            task.cancel()
        await asyncio.gather(*(group.stop() for group in groups))
        await health.stop()
    return 1 if failed.is_set() else 0
