"""One partition of the alerts topic on its way to one sink: in order, each alert once. An alert that fails holds
up those behind it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiokafka.errors import KafkaError
from aiokafka.structs import TopicPartition

from siphonwatch.streams.common.incarnation import ASK_SECONDS, UNKNOWN
from siphonwatch.streams.common.polling import getmany
from siphonwatch.streams.contracts.alert import NotAnAlert
from siphonwatch.streams.deliver.alert import AlertRecord, id_of, read
from siphonwatch.streams.deliver.changes import Changes
from siphonwatch.streams.deliver.make import Channel
from siphonwatch.streams.deliver.metrics import SinkMetrics
from siphonwatch.streams.deliver.recent import REMEMBERED, Recent
from siphonwatch.streams.deliver.wanted import seconds

POLL_MS = 1000
MAX_RECORDS = 200
BACK_SECONDS = 3600.0
"""Where the log went back, alerts stamped so long before the newest one known may be new: workers' clocks differ."""
COMMIT_SECONDS = 5.0
"""How long the last commit may take."""
ELECTION_SECONDS = 2.0
"""How long a partition's new leader may take to know its end."""

_log = structlog.get_logger(__name__)


class Lane:
    """Delivers one partition.

    An offset is committed once the alert before it was delivered, refused for good, filtered out or found delivered
    already. Killed in between, the deliverer tries at most one alert a partition again, under the same id.

    Parameters
    ----------
    consumer
        A started `KnowingConsumer` with a group, shared by the lanes of a sink.
    tp
        The partition.
    channel
        The sink.
    metrics
        The sink's.
    clock
        Seconds since 1970.
    pause
        Sleeps between attempts.
    """

    def __init__(
        self,
        consumer: Any,
        tp: TopicPartition,
        channel: Channel,
        metrics: SinkMetrics,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._consumer = consumer
        self.tp = tp
        self._channel = channel
        self._metrics = metrics
        self._clock = clock
        self._pause = pause
        self._recent = Recent()
        self._changes = Changes(channel.updates)
        self._committed: int | None = None
        self._attempting = False
        self._stopping = False
        self._settled = False
        self._incarnation = UNKNOWN
        self._asked = -math.inf
        self._oldest = -math.inf
        """Stamp of the oldest alert wanted by a sink that begins: the embedded broker gives too low an offset."""
        self._newest = -math.inf
        """Stamp of the newest alert known."""
        self._log = _log.bind(sink=channel.name, partition=tp.partition)
        self.next: int | None = None
        """Offset of the first alert that is not handled yet; None until it is known."""
        self.end = 0
        """The log's end as last seen."""
        self.ready = False
        """Whether what was handled before is known, and alerts are being delivered."""
        self.failing_since: float | None = None
        """When the first failure in a row was, seconds since 1970."""

    @property
    def lag(self) -> int:
        """Alerts waiting."""
        return 0 if self.next is None else max(self.end - self.next, 0)

    async def run(self) -> None:
        """Deliver until stopped or cancelled.

        Raises
        ------
        KafkaError
            When the topic cannot be read.
        """
        await self._begin()
        while not self._stopping:
            polled = await getmany(self._consumer, self.tp, timeout_ms=POLL_MS, max_records=MAX_RECORDS)
            records = polled.get(self.tp, ())
            if await self._another(bool(records)):
                continue
            if await self._anew() or (self.ready and records and await self._back(records[0].offset)):
                continue
            for record in records:
                self._newest = max(self._newest, record.timestamp / 1000)
                self.end = max(self.end, self._consumer.highwater(self.tp) or 0, record.offset + 1)
                if record.offset < self._next:
                    self._recall(record)
                elif not await self._take(record):
                    return
                if self._stopping:
                    return
            self.ready = self.ready or await self._consumer.position(self.tp) >= self._next
            await self._commit()

    async def finish(self, task: asyncio.Task[None], within: float) -> None:
        """Stop the task that runs this: at once between attempts, else after the one under way; then commit.

        Parameters
        ----------
        within
            Seconds that an attempt may still take before it is given up; its alert is tried again by who comes next.
        """
        self._stopping = True
        if not self._attempting:
            task.cancel()
        await asyncio.wait([task], timeout=within)
        task.cancel()
        await asyncio.wait([task])
        try:
            await asyncio.wait_for(self._commit(), COMMIT_SECONDS)
        except TimeoutError:
            self._log.warning("the last commit took too long: alerts since the one before will be repeated")
        self._channel.receiver.leave(self.tp.partition)

    @property
    def _next(self) -> int:
        assert self.next is not None, "known since `_begin`"  # noqa: S101 - a programming error, not input
        return self.next

    async def _begin(self) -> None:
        """Find where to go on, and go back from there to learn what was handled before."""
        consumer, tp = self._consumer, self.tp
        self._incarnation, self._asked = await consumer.incarnation(tp.topic), self._clock()
        committed, said = await consumer.committed_in(tp)
        first = (await consumer.beginning_offsets([tp]))[tp]
        if committed is not None and said and self._incarnation and said != self._incarnation:
            self._read_from(first)
        elif committed is None:
            self.next = await self._fresh(first)
            await self._commit()  # from now on nothing is passed over, whenever the first alert comes
            self._log.info("a new sink begins", offset=self.next, since=self._channel.sink.since)
        else:
            self.next = self._committed = committed
            self._expired(first)
        back = max(first, self._next - REMEMBERED)
        if self._channel.receiver.reach:
            back = min(back, await self._offset_at(self._clock() - self._channel.receiver.reach))
        self.ready = back >= self._next
        consumer.seek(tp, back)

    async def _fresh(self, first: int) -> int:
        """Where a sink begins that has no position."""
        since = seconds(self._channel.sink.since)
        if since is None:
            return first
        self._oldest = self._clock() - since
        return await self._offset_at(self._oldest)

    async def _another(self, came: bool) -> bool:
        """Whether the topic is another one than before, and reading begins at its start; asked when records `came`."""
        if not self._incarnation or not (came or self._clock() - self._asked >= ASK_SECONDS):
            return False
        self._asked = self._clock()
        incarnation = await self._consumer.incarnation(self.tp.topic)
        if incarnation in (UNKNOWN, self._incarnation):
            return False
        self._incarnation = incarnation
        self._read_from((await self._consumer.beginning_offsets([self.tp]))[self.tp])
        self._consumer.seek(self.tp, self._next)
        return True

    def _read_from(self, first: int) -> None:
        """Take note that the topic was made anew; what was delivered is told by its id."""
        self._log.error(
            "the topic was made anew: delivering the new one from its start; what waited in the old one is gone",
            topic_id=self._incarnation, delivered=self.next,
        )  # fmt: skip
        self._metrics.made_anew(self.tp.topic, self.tp.partition)
        self._oldest, self.end, self._settled = -math.inf, 0, True
        self.next, self._committed = first, None

    async def _anew(self) -> bool:
        """Whether the topic turned out to be shorter than what was committed, and reading begins anew."""
        end = None if self._settled else self._consumer.highwater(self.tp)
        if end is None:  # known already, or not before the first answer
            return False
        self._settled = True
        if end < self._next:  # a leader that was just elected may not know its end yet
            await asyncio.sleep(ELECTION_SECONDS)
            end = max(end, (await self._consumer.end_offsets([self.tp]))[self.tp])
        if end >= self._next:
            return False
        self._log.error(
            "the topic ends before what was delivered, so it was made anew: beginning as a new sink would",
            delivered=self._next, end=end, since=self._channel.sink.since,
        )  # fmt: skip
        first = (await self._consumer.beginning_offsets([self.tp]))[self.tp]
        self.next, self._recent = await self._fresh(first), Recent()
        self._changes = Changes(self._channel.updates)
        self._consumer.seek(self.tp, self.next)
        return True

    async def _back(self, offset: int) -> bool:
        """Whether a log that was read to its end goes on before it, as it was made anew or lost its end meanwhile."""
        if offset >= self._next:
            return False
        self._log.error(
            "the topic went back, so it was made anew or lost alerts: delivering what is new by its stamp and id",
            expected=self._next, found=offset,
        )  # fmt: skip
        self._oldest = self._newest - BACK_SECONDS
        self.end = 0
        self.next = await self._offset_at(self._oldest)
        self._consumer.seek(self.tp, self.next)
        return True

    def _expired(self, first: int) -> None:
        if (lost := first - self._next) > 0:
            self._log.error(
                "alerts left the topic before they could be delivered: topics.alerts_retention_hours is too short",
                lost=lost,
            )
            self._metrics.count("expired", lost)
            self.next = first

    async def _offset_at(self, moment: float) -> int:
        """Offset of the first record stamped at a time or later, the end where there is none."""
        # The end first: what comes between the two answers must not be passed over.
        end: int = (await self._consumer.end_offsets([self.tp]))[self.tp]
        found = (await self._consumer.offsets_for_times({self.tp: int(max(moment, 0.0) * 1000)}))[self.tp]
        return end if found is None else int(found.offset)

    def _recall(self, record: Any) -> None:
        """Learn from a record that was handled before."""
        id = id_of(record.value)
        again = id in self._recent
        self._recent.add(id)
        if self._channel.receiver.reach or self._channel.updates != "all":
            try:
                alert = read(record.value, record.timestamp / 1000)
            except NotAnAlert:
                return
            if not again and self._channel.wanted.takes(alert.event) and self._changes.takes(alert):
                self._channel.receiver.note(self.tp.partition, alert, alert.sent)

    async def _take(self, record: Any) -> bool:
        """Handle one record; False when stopped before it was."""
        self._expired(record.offset)
        if record.timestamp / 1000 < self._oldest:
            self.next = record.offset + 1
            return True
        try:
            alert = read(record.value, record.timestamp / 1000)
        except NotAnAlert as error:
            self._metrics.count("unreadable")
            self._log.error("a record is no alert and was passed over", offset=record.offset, reason=str(error))
            self.next = record.offset + 1
            return True
        sent = False
        if not self._channel.wanted.takes(alert.event):
            self._metrics.count("filtered")
        elif alert.id in self._recent:
            self._metrics.count("repeated")
        elif not self._changes.takes(alert):
            self._metrics.count("unchanged")
        elif await self._deliver(alert):
            sent = True
            self._channel.receiver.note(self.tp.partition, alert, self._clock())
        else:
            return False
        self._recent.add(alert.id)
        self.next = record.offset + 1
        if sent:
            await self._commit()
        return True

    async def _deliver(self, alert: AlertRecord) -> bool:
        """Try until an alert is delivered or refused; False when stopped before."""
        failures = 0
        while not self._stopping:
            began = self._clock()
            self._attempting = True
            try:
                outcome = await self._channel.receiver.deliver(alert)
            finally:
                self._attempting = False
            now = self._clock()
            self._metrics.attempt(max(now - began, 0.0))
            if outcome.verdict == "delivered":
                self.failing_since = None
                self._metrics.delivered(now, alert.sent)
                self._log.info("delivered", alert=alert.id, attempts=failures + 1)
                return True
            if outcome.verdict == "refused":
                self.failing_since = None
                self._metrics.count("refused")
                self._log.error("refused: this alert is given up", alert=alert.id, reason=outcome.detail)
                return True
            failures += 1
            self.failing_since = began if self.failing_since is None else self.failing_since
            wait = self._channel.backoff.wait(outcome, failures)
            self._metrics.count("failed")
            cure = ": mend its settings" if outcome.verdict == "misconfigured" else ""
            self._log.warning(
                f"not delivered{cure}; alerts wait",
                alert=alert.id, reason=outcome.detail, attempts=failures, again_in_seconds=round(wait, 1),
            )  # fmt: skip
            if not self._stopping:
                await self._pause(wait)
        return False

    async def _commit(self) -> None:
        """Commit what is handled; a failure costs nothing as long as a later commit succeeds."""
        offset = self.next
        if offset is None or offset == self._committed:
            return
        try:
            await self._consumer.commit({self.tp: (offset, self._incarnation)})
        except KafkaError as error:
            self._log.warning("cannot commit: alerts may be repeated", reason=f"{type(error).__name__}: {error}")
        else:
            self._committed = offset
