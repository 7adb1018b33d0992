"""Sightings: requests sent on to whom they show a campaign, and the partition that puts them together. No arithmetic.

Sightings travel packed, see `streams.sightings`. Those of one telemetry partition reach a partition of sightings in the
order of their telemetry offsets, so what is sent again after a crash is passed over by its offset.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections import defaultdict, deque
from typing import Any

import numpy as np
import numpy.typing as npt
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from models.relay.edges import groups
from models.request import Array
from models.scorer import Scorer
from streams.agents.score import Read, TelemetryPartition
from streams.contract import Malformed
from streams.dlq import REDRIVEN
from streams.metrics import SIGHTINGS
from streams.outlet import NotSent
from streams.settings import Settings
from streams.sightings import MAX_ROWS, Packed, join, pack, unpack
from streams.transport import Batch

TOPIC, STATE = "sightings", "campaigns"
"""Our topics: the sightings, and the state of those who put them together."""
WAITING = 8 * 1024 * 1024
"""Bytes of sightings, some 28,000, that may wait for the broker before the scorer does."""

Turns = defaultdict[int, asyncio.Lock]
"""By partition. Of several that wait for a partition aiokafka serves whom it likes, and takes all their waiting so far
off the time-out each time another is served: one of eight was given up within 0.4 s."""


def make_turns() -> Turns:
    """Return turns for those who share a producer."""
    return defaultdict(asyncio.Lock)


class Sightings:
    """Sends what one scorer sighted.

    What is sighted while records are under way waits for their acknowledgement and goes next, beside the scoring; the
    scorer waits for the broker only while `WAITING` bytes are behind. One request a partition is under way, and none
    follows one that failed: else what was lost in between would later be taken for applied.

    Parameters
    ----------
    producer
        Started; shared by the partitions of a worker.
    settings
        Names the topic.
    scorer
        Whose sightings they are.
    turns
        Shared like the producer: who may hand the next request to a partition, in the order of asking.
    """

    def __init__(
        self, producer: AIOKafkaProducer, settings: Settings, scorer: Scorer, turns: Turns | None = None
    ) -> None:
        self._producer = producer
        self._topic = settings.topic(TOPIC)
        self._scorer = scorer
        self._turns = make_turns() if turns is None else turns
        self._values: defaultdict[int, deque[bytes]] = defaultdict(deque)
        self.waiting = 0
        """Bytes that no request holds yet."""
        self._moved = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None

    async def send(self, batch: Batch, requests: Array, offsets: npt.NDArray[np.int64]) -> None:
        """Send what was sighted of the requests just scored, given the batch they came from and their offsets.

        Raises
        ------
        NotSent
            When the broker refused some before.
        """
        if self._sending is not None and self._sending.done():
            await self._sending
        seen = self._scorer.sighted
        if not len(seen):
            return
        partitions = groups(requests, seen) % np.uint64(await self._count())
        for partition in np.unique(partitions).tolist():
            values = pack(f"{batch.topic}:{batch.partition}", requests, offsets, seen[partitions == partition])
            self._values[partition].extend(values)
            self.waiting += sum(map(len, values))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._drain(), name="sightings")
        while self.waiting > WAITING and not self._sending.done():
            self._moved.clear()
            await self._moved.wait()

    async def flush(self) -> None:
        """Wait until all sightings sent are acknowledged.

        Raises
        ------
        NotSent
            When one was not.
        """
        if self._sending is not None:
            await self._sending

    async def _count(self) -> int:
        """How many partitions the topic has."""
        try:
            return len(await self._producer.partitions_for(self._topic))
        except (KafkaError, OSError) as error:
            raise self._failed(error) from error

    async def _drain(self) -> None:
        """Hand over what waits, again and again until nothing does."""
        try:
            while waiting := [(partition, values) for partition, values in self._values.items() if values]:
                under_way = [await self._hand_over(partition, values) for partition, values in waiting]
                for result in await asyncio.gather(*under_way, return_exceptions=True):
                    if isinstance(result, BaseException):
                        raise result
                self._moved.set()
        except (KafkaError, OSError) as error:
            raise self._failed(error) from error
        finally:
            self._moved.set()

    async def _hand_over(self, partition: int, values: deque[bytes]) -> asyncio.Future[Any]:
        """Hand over as many values as fit into one request."""
        builder = self._producer.create_batch()
        while values and builder.append(key=None, value=values[0], timestamp=None) is not None:
            self.waiting -= len(values.popleft())
        builder.close()  # one that is open lingers for more
        async with self._turns[partition]:
            future: asyncio.Future[Any] = await self._producer.send_batch(builder, self._topic, partition=partition)
        return future

    def _failed(self, error: BaseException) -> NotSent:
        return NotSent(f"cannot send to {self._topic}: {type(error).__name__}: {error}")


class SightingsPartition(TelemetryPartition):
    """Runs one coordinator over one partition of sightings; it forgets fingerprints itself, so none become cold."""

    stream = SIGHTINGS

    def __init__(self, number: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(number, *args, hot_accounts=sys.maxsize, forget_after=math.inf, **kwargs)

    def _read(self, batch: Batch) -> Read:
        """Unpack a batch's records, without the sightings that were sent again after a crash."""
        parts: list[Packed] = []
        offsets, rows = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        rejected: list[tuple[int, Malformed]] = []
        skipped = 0
        for row, (value, offset) in enumerate(zip(batch.values, batch.offsets.tolist(), strict=True)):
            try:
                packed = unpack(value or b"")
            except Malformed as error:
                rejected.append((row, error))
                continue
            last = self._sources.setdefault(packed.source, [-1, 0])
            redriven = any(name == REDRIVEN for name, _ in batch.headers[row])  # so never applied, however old
            new = packed if redriven else packed.after(last[0])
            skipped += len(packed.indexes) - len(new.indexes)
            if len(new.indexes):
                last[0] = max(last[0], int(new.offsets[-1]))
                parts.append(new)
                offsets.append(offset * MAX_ROWS + new.indexes)
                rows.append(np.full(len(new.indexes), row))
        return Read(join(parts), np.concatenate(offsets), np.concatenate(rows), rejected, skipped)
