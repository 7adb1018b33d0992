"""One sink's consumer group: a lane for each partition the group gives this process. It knows of no other sink."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Any

import structlog
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from siphonwatch.streams.common.answers import SILENT_SECONDS, Answers, silent
from siphonwatch.streams.common.kafka import make_async_consumer
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.deliver.lane import Lane
from siphonwatch.streams.deliver.make import Channel
from siphonwatch.streams.deliver.metrics import SinkMetrics

SESSION_MS = 10_000
HEARTBEAT_MS = 3_000
REBALANCE_MS = 30_000
"""How long others wait for this one to leave its partitions: longer than `DRAIN_SECONDS`."""
POLL_INTERVAL_MS = 2**31 - 1
"""A lane whose sink is away asks for no records; that must not cost the partition."""
DRAIN_SECONDS = 5.0
"""How long attempts under way may take when partitions leave or the process stops."""
STOP_SECONDS = 10.0
"""How long leaving the group may take; its session ends by itself."""
MEASURE_SECONDS = 10.0
JOIN_SECONDS = 60.0
"""Waiting longer for partitions, or for what was delivered before, is a failure: the group may not be ours to join."""

_log = structlog.get_logger(__name__)


class Group(ConsumerRebalanceListener):
    """Delivers the alerts topic to one sink.

    Parameters
    ----------
    settings
        Brokers, group and topic.
    channel
        The sink; its receiver is closed with this.
    metrics
        The sink's.
    fail
        Called when a lane ended on its own: the process has to be started again.
    clock
        Seconds since 1970.
    """

    def __init__(
        self,
        settings: Settings,
        channel: Channel,
        metrics: SinkMetrics,
        fail: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._channel = channel
        self._metrics = metrics
        self._fail = fail
        self._clock = clock
        self._lanes: dict[Lane, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._assigned = False
        self._waiting_since = clock()
        self._stopped = False
        self._answers: Answers | None = None
        self._consumer: Any = make_async_consumer(
            settings.kafka,
            client_id="siphonwatch-deliver",
            group_id=f"{settings.kafka.group}-sink-{channel.name}",
            session_timeout_ms=SESSION_MS,
            heartbeat_interval_ms=HEARTBEAT_MS,
            rebalance_timeout_ms=REBALANCE_MS,
            max_poll_interval_ms=POLL_INTERVAL_MS,
        )
        metrics.watch(self.lag, self.failing)

    @property
    def name(self) -> str:
        """Of the sink."""
        return self._channel.name

    @property
    def ready(self) -> bool:
        """Whether the group gave this process its partitions, and each is being delivered."""
        return self._assigned and all(lane.ready for lane in self._lanes)

    def failing(self) -> float:
        """Seconds since the first failure in a row of the partition that fails longest; 0 when all is fine."""
        now = self._clock()
        since = [lane.failing_since for lane in self._lanes if lane.failing_since is not None]
        since += [now - age for age in self.broker_ages().values() if age > SILENT_SECONDS]
        if not self.ready and now - self._waiting_since > JOIN_SECONDS:
            since.append(self._waiting_since)
        return max(now - min(since), 0.0) if since else 0.0

    def lag(self) -> int | None:
        """Return how many alerts wait; None while a broker does not say where its log ends."""
        return None if silent(self.broker_ages()) else sum(lane.lag for lane in self._lanes)

    def broker_ages(self) -> dict[str, float]:
        """Return for how many seconds each broker has not answered."""
        return {} if self._answers is None else self._answers.ages()

    async def start(self) -> None:
        """Join the group.

        Raises
        ------
        KafkaError
            When no broker can be reached.
        """
        await self._consumer.start()
        self._consumer.subscribe([self._settings.topic("alerts")], listener=self)
        self._answers = Answers(self._consumer._client)  # noqa: SLF001 - the consumer does not tell when it was answered
        for work in (self._channel.receiver.keep(lambda: self.ready), self._measure(), self._answers.run()):
            self._tasks.append(self._start(work))

    async def stop(self) -> None:
        """Finish the attempts under way, commit, leave the group."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._leave()
        try:
            await asyncio.wait_for(self._consumer.stop(), STOP_SECONDS)
        except TimeoutError:
            _log.warning("the broker does not answer: left the group without a word", sink=self.name)
        await self._channel.receiver.close()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Leave all partitions: what stays with this process is assigned anew."""
        self._assigned, self._waiting_since = False, self._clock()
        await self._leave()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Start a lane for each partition."""
        await self._leave()
        if self._stopped:
            return
        if assigned:
            self._channel.receiver.took()
        for tp in assigned:
            lane = Lane(self._consumer, tp, self._channel, self._metrics, self._clock)
            self._lanes[lane] = self._start(lane.run())
        self._assigned = True
        _log.info("partitions assigned", sink=self.name, partitions=sorted(lane.tp.partition for lane in self._lanes))

    async def _leave(self) -> None:
        lanes = self._lanes
        await asyncio.gather(*(lane.finish(task, DRAIN_SECONDS) for lane, task in lanes.items()))
        self._lanes = {}

    def _start(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("deliveries ended", sink=self.name, exc_info=error)
            self._fail()

    async def _measure(self) -> None:
        """Ask for the log's ends: a lane that waits for its sink does not."""
        while True:
            await asyncio.sleep(MEASURE_SECONDS)
            lanes = {lane.tp: lane for lane in self._lanes}
            with contextlib.suppress(KafkaError):  # the lag stays as it was last known
                for tp, end in (await self._consumer.end_offsets(list(lanes))).items() if lanes else ():
                    lanes[tp].end = max(lanes[tp].end, end)
