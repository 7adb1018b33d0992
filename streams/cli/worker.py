"""`siphonwatch worker`: score telemetry from Kafka; run as many as there are partitions."""

from __future__ import annotations

import asyncio
from functools import partial

import click
import structlog
from aiokafka.errors import KafkaError

from siphonwatch.models.learn.verdict_book import VerdictBook
from siphonwatch.streams.cli import Failure
from siphonwatch.streams.common.connection import reason
from siphonwatch.streams.common.logs import configure
from siphonwatch.streams.common.release import release
from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.common.status import process_registry
from siphonwatch.streams.contracts.provenance import Seals
from siphonwatch.streams.operate.topics import TopicsError, connect, missing
from siphonwatch.streams.worker.agents.control import ControlFeed
from siphonwatch.streams.worker.agents.control_letters import SENDER, ControlLetters
from siphonwatch.streams.worker.agents.coordinate import STATE, Sightings, SightingsPartition
from siphonwatch.streams.worker.agents.ingest import GatewayIngest, make_beside
from siphonwatch.streams.worker.agents.judges import DeployList
from siphonwatch.streams.worker.agents.placement import Placement
from siphonwatch.streams.worker.agents.score import TelemetryPartition
from siphonwatch.streams.worker.agents.verdicts import VerdictFeed
from siphonwatch.streams.worker.allow import Allowed
from siphonwatch.streams.worker.app import run
from siphonwatch.streams.worker.drift_gauges import DriftGauges
from siphonwatch.streams.worker.entries import EntryList
from siphonwatch.streams.worker.inorder import InOrder, make_turns
from siphonwatch.streams.worker.meter import Meter
from siphonwatch.streams.worker.metrics import Metrics
from siphonwatch.streams.worker.opening import keys_of
from siphonwatch.streams.worker.orders import OrderList
from siphonwatch.streams.worker.outlet import KafkaOutlet, make_producer
from siphonwatch.streams.worker.retries import Retries
from siphonwatch.streams.worker.scoring import make_coordinator, make_scorer
from siphonwatch.streams.worker.state.kafka import open_state
from siphonwatch.streams.worker.state.log import StateError
from siphonwatch.streams.worker.transport import Limits
from siphonwatch.streams.worker.warm import warm

CONTROL_SECONDS = 30.0
"""How long a start waits for the control topic: reading it takes a second, more only where a broker is away."""

log = structlog.get_logger(__name__)


@click.command("worker", short_help="Score telemetry and send alerts, until it is stopped.")
@click.option(
    "--start-afresh", "afresh", is_flag=True,
    help="Start a partition whose state is gone or damaged from the records that are left, instead of refusing.",
)  # fmt: skip
@click.option(
    "--session-timeout", type=click.FloatRange(min=6.0), hidden=True, help="For the demo, whose broker waits."
)
def command(afresh: bool, session_timeout: float | None) -> None:
    """Score telemetry from Kafka and send alerts, until it is stopped.

    Exit code 0 after a graceful stop, 1 when something failed: start it again, it goes on from its last checkpoint.
    """
    settings = load().settings
    configure(settings.log)
    try:
        with connect(settings.kafka) as admin:
            problems = missing(settings, admin)
    except TopicsError as error:
        raise Failure(f"{error}; `siphonwatch doctor` tells more") from None
    if problems:
        raise Failure("\n".join(problems))
    seconds = warm(lambda module: log.info("compiling", module=module), sketches=bool(settings.ingest.topics))
    log.info("compiled", seconds=round(seconds, 1))
    try:
        limits = None if session_timeout is None else Limits(session_timeout=session_timeout)
        code = asyncio.run(work(settings, limits, afresh=afresh))
    except StateError as error:
        raise Failure(str(error)) from None
    except KafkaError as error:
        raise Failure(
            f"no broker at {settings.kafka.bootstrap}: {reason(error)}; `siphonwatch doctor` tells more"
        ) from None
    except OSError as error:
        raise Failure(f"cannot listen on {settings.web.host}:{settings.web.port}: {error.strerror or error}") from None
    if code:
        raise Failure("stopped after a failure; see the log")


async def work(settings: Settings, limits: Limits | None = None, *, afresh: bool = False) -> int:
    """Run one worker; return its exit code.

    Raises
    ------
    StateError
        When a partition's state is gone or damaged, unless it may be started `afresh`.
    """
    registry = process_registry()
    metrics = Metrics(registry)
    metrics.model.labels(release(), *make_scorer(settings).identity).set(1)
    book, allowed, turns = VerdictBook(), Allowed.from_settings(settings), make_turns()
    entries, orders, controls, deploys = EntryList(), OrderList(), ControlLetters(), DeployList()
    telemetry, sightings = settings.topic("telemetry"), settings.topic("sightings")
    seals, keys, drift = Seals.from_settings(settings), keys_of(settings), DriftGauges()
    registry.register(drift)
    if not settings.identity.key:
        log.warning("identity.key is not set: who may write telemetry or sightings can pose as a worker there")
    beside = make_beside(settings) if settings.ingest.topics else None
    async with make_producer(settings) as producer:

        def make_partition(meter: Meter) -> TelemetryPartition:
            scorer, retries = make_scorer(settings), Retries(meter)
            return TelemetryPartition(
                scorer,
                open_state(settings, meter.partition),
                KafkaOutlet(producer, settings, retries),
                meter,
                book=book,
                onward=Sightings(InOrder(producer, sightings, turns, retries), scorer, seals),
                allowed=allowed,
                entries=entries,
                deploys=deploys,
                features=settings.features.log,
                orders=orders,
                controls=controls if meter.partition == SENDER else None,
                hot_accounts=settings.state.hot_accounts,
                forget_after=settings.state.forget_after,
                seals=seals,
                keys=keys,
                drift=drift,
                runbook=settings.links.runbook,
                afresh=afresh,
                placement=Placement(meter.partition, partial(producer.partitions_for, telemetry)),
                cold_accounts=settings.state.cold_accounts,
                cold_file_bytes=settings.state.cold_file_bytes,
            )

        def make_sightings(meter: Meter) -> SightingsPartition:
            state = open_state(settings, meter.partition, topic=STATE)
            outlet = KafkaOutlet(producer, settings, Retries(meter))
            return SightingsPartition(
                make_coordinator(settings), state, outlet, meter, book=book, allowed=allowed, entries=entries,
                deploys=deploys, orders=orders, seals=seals, runbook=settings.links.runbook, afresh=afresh,
                features=settings.features.log, drift=drift,
            )  # fmt: skip

        def make_ingest(meter: Meter) -> GatewayIngest:
            assert beside is not None  # noqa: S101 - for the type checker: there are topics
            retries = Retries(meter)
            outlet = KafkaOutlet(producer, settings, retries)
            return GatewayIngest(
                beside, InOrder(producer, telemetry, turns, retries), outlet, retries, meter, seals
            )  # fmt: skip

        control = ControlFeed(settings, entries, orders, controls, metrics, deploys=deploys)
        following = [
            asyncio.create_task(feed.run(), name=feed.topic) for feed in (VerdictFeed(settings, book, metrics), control)
        ]
        try:
            await _wait_for(control)
            return await run(
                settings, make_partition=make_partition, make_sightings=make_sightings, make_ingest=make_ingest,
                registry=registry, metrics=metrics, limits=limits,
            )  # fmt: skip
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
            if beside is not None:
                await asyncio.to_thread(beside.close)


async def _wait_for(control: ControlFeed) -> None:
    """Wait until the allow entries are known: a partition without state has none else at its start."""
    try:
        await asyncio.wait_for(control.read.wait(), CONTROL_SECONDS)
    except TimeoutError:
        log.warning("the control topic is not read yet: new partitions begin without allow entries")
