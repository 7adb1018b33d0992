"""A partition in memory behind the part of aiokafka's consumer that a lane uses, and a receiver that does as told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import pytest
import structlog
from aiokafka.structs import OffsetAndTimestamp, TopicPartition
from prometheus_client import CollectorRegistry
from structlog.testing import LogCapture

from siphonwatch.streams.common.sink_settings import Sink
from siphonwatch.streams.deliver.alert import AlertRecord
from siphonwatch.streams.deliver.lane import Lane
from siphonwatch.streams.deliver.make import Channel
from siphonwatch.streams.deliver.metrics import Metrics
from siphonwatch.streams.deliver.outcome import Backoff, Outcome
from siphonwatch.streams.deliver.receivers import Receiver
from siphonwatch.streams.deliver.wanted import Filter

TP = TopicPartition("alerts", 0)
NOW = 1_790_000_000.0
DELIVERED = Outcome("delivered", "")


class Killed(BaseException):
    """The process ends here, as kill -9 ends it."""


class Record(NamedTuple):
    offset: int
    value: bytes | None
    timestamp: int


class Log:
    """A partition and what a group committed to it; outlives consumers."""

    def __init__(self, values: Iterable[bytes | None], sent: float = NOW, first: int = 0) -> None:
        self.records = [Record(first + i, value, int(sent * 1000)) for i, value in enumerate(values)]
        self.first = first
        self.committed: int | None = None
        self.said = ""
        self.incarnation = ""
        """The topic's id; none by default, as of an old broker."""

    @property
    def end(self) -> int:
        return self.records[-1].offset + 1 if self.records else self.first


class Consumer:
    """One consumer of the log. `on_commit` is called before each commit and may raise."""

    def __init__(self, log: Log, most: int = 7) -> None:
        self.log = log
        self.on_commit: Callable[[], None] = lambda: None
        self.commits: list[int] = []
        self._most = most
        self._position = log.first
        self._high: int | None = None

    async def incarnation(self, _: str) -> str:
        return self.log.incarnation

    async def committed_in(self, _: TopicPartition) -> tuple[int | None, str]:
        return self.log.committed, self.log.said

    async def beginning_offsets(self, _: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {TP: self.log.first}

    async def end_offsets(self, _: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {TP: self.log.end}

    async def offsets_for_times(self, times: dict[TopicPartition, int]) -> dict[TopicPartition, Any]:
        found = [record for record in self.log.records if record.timestamp >= times[TP]]
        return {TP: OffsetAndTimestamp(found[0].offset, found[0].timestamp) if found else None}

    def seek(self, _: TopicPartition, offset: int) -> None:
        self._position = offset

    async def position(self, _: TopicPartition) -> int:
        return self._position

    def highwater(self, _: TopicPartition) -> int | None:
        return self._high

    async def getmany(
        self, _: TopicPartition, *, timeout_ms: int, max_records: int
    ) -> dict[TopicPartition, list[Record]]:
        await asyncio.sleep(0)
        self._high = self.log.end
        if not self.log.first <= self._position <= self.log.end:
            self._position = self.log.first  # as auto_offset_reset has it
        some = [r for r in self.log.records if r.offset >= self._position][: min(self._most, max_records)]
        if not some:
            await asyncio.sleep(0.001)
            return {}
        self._position = some[-1].offset + 1
        return {TP: some}

    async def commit(self, offsets: dict[TopicPartition, tuple[int, str]]) -> None:
        self.on_commit()
        self.log.committed, self.log.said = offsets[TP]
        self.commits.append(self.log.committed)


class Scripted(Receiver):
    """Answers what `script` gives for an alert and the number of the attempt."""

    def __init__(self, script: Callable[[AlertRecord, int], Outcome] = lambda told, attempt: DELIVERED) -> None:
        self.script = script
        self.attempts: list[str] = []
        self.delivered: list[str] = []
        self.noted: list[tuple[str, float]] = []

    async def deliver(self, told: AlertRecord) -> Outcome:
        self.attempts.append(told.id)
        outcome = self.script(told, self.attempts.count(told.id))
        if outcome.verdict == "delivered":
            self.delivered.append(told.id)
        return outcome

    def note(self, partition: int, told: AlertRecord, at: float) -> None:
        self.noted.append((told.id, at))


class Clock:
    """Time that passes only in pauses, which it keeps."""

    def __init__(self) -> None:
        self.now = NOW
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)


class Bench:
    """A lane over a log, run until the log is handled or something ends it."""

    def __init__(self, log: Log, receiver: Scripted, sink: Sink | None = None, wanted: Filter | None = None) -> None:
        self.log = log
        self.receiver = receiver
        self.consumer = Consumer(log)
        self.clock = Clock()
        self.registry = CollectorRegistry()
        backoff = Backoff(1.0, 60.0, 300.0, lambda _, high: high)
        sink = sink or Sink(kind="slack", since="all")
        channel = Channel("ops", sink, wanted or Filter(), receiver, backoff)
        self.lane = Lane(self.consumer, TP, channel, Metrics(self.registry).of("ops"), self.clock, self.clock.pause)

    async def run(self, until: Callable[[], bool] | None = None) -> None:
        """Run until a condition, the log's end committed by default; raises what the lane raises."""
        task = asyncio.create_task(self.lane.run())
        done = until or (lambda: self.lane.ready and self.log.committed == self.log.end)
        try:
            async with asyncio.timeout(300):
                while not done() and not task.done():  # noqa: ASYNC110 - any condition will do
                    await asyncio.sleep(0)
        finally:
            if not task.done():
                await self.lane.finish(task, 1.0)
        if not task.cancelled():
            await task

    def count(self, outcome: str) -> float | None:
        return self.registry.get_sample_value("siphonwatch_deliveries_total", {"sink": "ops", "outcome": outcome})


def capture(monkeypatch: pytest.MonkeyPatch, module: Any) -> LogCapture:
    """What a module logs from now on, however other tests set logging up."""
    captured = LogCapture()
    monkeypatch.setattr(module, "_log", structlog.wrap_logger(None, processors=[captured]))
    return captured
