"""The worker: a Faust app over the bulk transport, its topics and its three agents `score`, `coordinate` and `ingest`.

A message is a batch of one partition's records. An agent hands it to the partition that it belongs to: one runs for
each that is assigned, see `siphonwatch.streams.worker.agents.partition`. Nothing happens at import and there is no
global app. An exception while records are processed ends the process rather than passing records over; a restart goes
on from the last checkpoint.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import faust
from faust.app.base import BootStrategy
from faust.types import TP
from prometheus_client import CollectorRegistry

from siphonwatch.streams.common.answers import AnswerGauge, Answers
from siphonwatch.streams.common.kafka import CLIENT_ID, broker_credentials, broker_urls
from siphonwatch.streams.common.settings import Kafka, Settings
from siphonwatch.streams.worker.agents.assignment import Assignment
from siphonwatch.streams.worker.agents.ingest import Ingest, IngestPartition
from siphonwatch.streams.worker.agents.partition import Partition, PartitionWorker
from siphonwatch.streams.worker.gauges import AbsentGauge, PartitionGauges
from siphonwatch.streams.worker.health import HealthServer
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import INGEST, SIGHTINGS, TELEMETRY, Metrics
from siphonwatch.streams.worker.state import Fenced, StateError
from siphonwatch.streams.worker.transport import Consumer, Lease, Limits
from siphonwatch.streams.worker.transport.absent import Absent
from siphonwatch.streams.worker.transport.gaps import Gaps

log = logging.getLogger(__name__)

LEAVE_SHARE = 0.5
"""Share of the rebalance timeout that leaving partitions may use; the rest is for joining again."""
STOP_SECONDS = 60.0
"""How long a stop may take before the process gives up on it."""


class _Boot(BootStrategy):
    """Workers produce with their own acknowledged producers; Faust's stays off."""

    enable_kafka_producer = False
    enable_web = False


class _BatchSchema(faust.Schema):
    """Passes a batch through: there is nothing to decode a message at a time."""

    def compile(self, app: faust.App, **kwargs: Any) -> Any:
        async def decode(message: Any, *, propagate: bool = False) -> Any:
            return app.create_event(None, message.value, None, message)

        return decode


class WorkerApp(faust.App):
    """A Faust app that knows its partitions and whether one of them failed."""

    BootStrategy = _Boot
    transport_limits: Limits
    kafka: Kafka
    """Connection settings, from which the transport makes its consumers."""
    assignment: Assignment

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.failed = asyncio.Event()
        """Set when the process is to stop with exit code 1."""
        self.failure: BaseException | None = None
        """What the first partition failed of."""
        self.gaps: Gaps | None = None
        """Counts of offset gaps, once there were partitions."""
        self.answers: Answers | None = None
        """When brokers last answered, once the consumer is connected."""
        self.absent: Absent | None = None
        """Topics waited for, once the consumer is connected."""

    def fail(self, error: BaseException) -> None:
        """Have the process stop, as a partition failed."""
        self.failure = self.failure or error
        self.failed.set()

    def broker_ages(self) -> dict[str, float]:
        """Return for how many seconds each broker has not answered."""
        return {} if self.answers is None else self.answers.ages()

    def _create_directories(self) -> None:
        """Faust's data folder is for tables, and there are none."""


def create_app(
    settings: Settings,
    *,
    make_partition: Callable[[Meter], PartitionWorker],
    make_sightings: Callable[[Meter], PartitionWorker] | None = None,
    make_ingest: Callable[[Meter], Ingest] | None = None,
    limits: Limits | None = None,
    metrics: Metrics | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> WorkerApp:
    """Build a worker app; call it inside a running event loop, then `serve` it.

    Parameters
    ----------
    settings
        Brokers, group, topics and checkpoint intervals.
    make_partition
        Builds the worker of a telemetry partition, given its meter, which knows the partition's number.
    make_sightings
        Builds the worker of a partition of sightings, likewise; None leaves that topic to others.
    make_ingest
        Builds what turns one partition of a topic in `settings.ingest.topics` into telemetry, likewise; needed where
        there are such topics.
    limits
        Bounds of the transport.
    metrics
        What is counted; nobody sees it where there are none.
    clock
        Monotonic seconds.

    Raises
    ------
    SettingsError
        When connection settings cannot be used.
    ValueError
        When there are ingest topics and no `make_ingest`.
    """
    if settings.ingest.topics and make_ingest is None:
        raise ValueError(f"ingest.topics names {sorted(settings.ingest.topics)} but no make_ingest was given")
    limits = limits or Limits()
    metrics = metrics or Metrics(CollectorRegistry())
    app = WorkerApp(
        settings.kafka.group,
        broker=broker_urls(settings.kafka),
        broker_credentials=broker_credentials(settings.kafka),
        broker_client_id=CLIENT_ID,
        broker_session_timeout=limits.session_timeout,
        broker_rebalance_timeout=limits.rebalance_timeout,
        broker_request_timeout=limits.request_timeout,
        broker_commit_interval=3600.0,  # Faust's own commits do nothing here
        consumer_auto_offset_reset="earliest",
        processing_guarantee="at_least_once",
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        stream_recovery_delay=0.0,
        store="memory://",
        web_enabled=False,
        autodiscover=False,
        debug=False,
    )
    app.transport_limits, app.kafka = limits, settings.kafka
    telemetry, sightings = settings.topic("telemetry"), settings.topic("sightings")
    streams = {telemetry: TELEMETRY, sightings: SIGHTINGS}

    meter_of = cache(partial(Meter, metrics))

    def stream_of(topic: str) -> str:
        return streams.get(topic, INGEST)

    def start(consumer: Consumer, lease: Lease, kept: PartitionWorker | None) -> Partition:
        stream = stream_of(lease.topic)
        meter = meter_of(stream, lease.topic, lease.partition)

        def make_worker() -> PartitionWorker:
            if stream == TELEMETRY:
                return make_partition(meter)
            if make_sightings is not None and stream == SIGHTINGS:
                return make_sightings(meter)
            assert make_ingest is not None  # noqa: S101 - for the type checker: checked above
            return IngestPartition(make_ingest(meter), meter)

        return Partition(
            consumer,
            lease,
            make_worker,
            meter,
            kept=kept,
            checkpoint_seconds=settings.state.checkpoint_interval,
            checkpoint_records=settings.state.checkpoint_records,
            clock=clock,
            fail=app.fail,
        )

    assignment = app.assignment = Assignment(start, limits.rebalance_timeout * LEAVE_SHARE, stream_of)

    async def on_assigned(_: Any, assigned: set[TP], **__: Any) -> None:
        await assignment.leave()
        metrics.rebalances.inc()
        app.gaps = app.consumer.gaps
        app.consumer.on_made_anew = lambda tp: assignment.renew(app.consumer, tp)
        await assignment.take(app.consumer, assigned)

    async def on_revoked(_: Any, __: set[TP], **___: Any) -> None:
        await assignment.leave()

    async def on_shutdown(_: Any, **__: Any) -> None:
        await assignment.close()

    app.on_partitions_assigned.connect(on_assigned)
    app.on_partitions_revoked.connect(on_revoked)
    app.on_before_shutdown.connect(on_shutdown)

    def topic(*names: str) -> Any:
        return app.topic(*names, schema=_BatchSchema(), acks=True)

    @app.agent(topic(telemetry), name="score")
    async def score(batches: Any) -> None:
        """Score accounts, see `siphonwatch.streams.worker.agents.score`."""
        async for batch in batches:
            assignment.dispatch(batch)

    if make_sightings is not None:

        @app.agent(topic(sightings), name="coordinate")
        async def coordinate(batches: Any) -> None:
            """Put together what many accounts share, see `siphonwatch.streams.worker.agents.coordinate`."""
            async for batch in batches:
                assignment.dispatch(batch)

    if settings.ingest.topics:

        @app.agent(topic(*sorted(settings.ingest.topics)), name="ingest")
        async def ingest(batches: Any) -> None:
            """Turn gateways' records into telemetry, see `siphonwatch.streams.worker.agents.ingest`."""
            async for batch in batches:
                assignment.dispatch(batch)

    return app


async def serve(app: WorkerApp, stop: asyncio.Event, health: HealthServer | None = None) -> int:
    """Run the app until `stop` is set or it fails; checkpoint, commit and leave the group; return the exit code.

    Raises
    ------
    KafkaError
        When no broker can be reached at the start.
    """
    if health is not None:
        await health.start()
    starting = asyncio.create_task(app.start())
    watched = [asyncio.create_task(event.wait()) for event in (stop, app.failed, app._crashed)]  # noqa: SLF001
    failed = True
    try:
        await asyncio.wait([starting, *watched], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
        failed = app.failed.is_set() or app.crashed
        log.info("stopping%s", " after a failure" if failed else "")
    finally:
        await _stop(app, [starting, *watched])
        if health is not None:
            await health.stop()
    return 1 if failed or app.failed.is_set() else 0


async def _stop(app: WorkerApp, tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    try:
        await asyncio.wait_for(app.stop(), STOP_SECONDS)
    except TimeoutError:
        log.exception("stopping took longer than %.0f s: giving up", STOP_SECONDS)
        app.failed.set()


async def run(
    settings: Settings,
    *,
    make_partition: Callable[[Meter], PartitionWorker],
    make_sightings: Callable[[Meter], PartitionWorker] | None = None,
    make_ingest: Callable[[Meter], Ingest] | None = None,
    limits: Limits | None = None,
    registry: CollectorRegistry,
    metrics: Metrics,
) -> int:
    """Run a worker until SIGTERM or SIGINT; return its exit code.

    Raises
    ------
    SettingsError, ValueError
        As `create_app` does.
    KafkaError
        When no broker can be reached at the start.
    OSError
        When the health port is taken.
    StateError
        When a partition's state could not be read, written or trusted.
    """
    app = create_app(
        settings, make_partition=make_partition, make_sightings=make_sightings, make_ingest=make_ingest,
        limits=limits, metrics=metrics,
    )  # fmt: skip
    registry.register(PartitionGauges(app.assignment, lambda: app.gaps, metrics.lost_elsewhere))
    registry.register(AnswerGauge(app.broker_ages))
    registry.register(AbsentGauge(sorted(settings.ingest.topics), lambda: app.absent))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    code = await serve(app, stop, HealthServer(settings.web, app.assignment, registry, app.broker_ages))
    if isinstance(app.failure, StateError) and not isinstance(app.failure, Fenced):
        raise app.failure  # it says what to do
    return code
