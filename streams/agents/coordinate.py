"""Sightings: requests sent on to whom they show a campaign, and the partition that puts them together. No arithmetic.

A sighting is the telemetry record itself, byte for byte, keyed by the group of its fingerprints. Its `source` header
says which telemetry record it is, so that what is sent again after a crash is passed over.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from models.relay.edges import fingerprints
from models.request import Array
from models.scorer import Scorer
from streams.agents.score import TelemetryPartition
from streams.agents.sources import SOURCE
from streams.outlet import NotSent
from streams.settings import Settings
from streams.transport import Batch

TOPIC, STATE = "sightings", "campaigns"
"""Our topics: the sightings, and the state of those who put them together."""
WAITING = 20_000
"""Sightings, some 20 MB, that may wait for the broker before the scorer does."""


class Sightings:
    """Sends what one scorer sighted.

    Records are put into batches here, one for each partition: handing them to the producer one by one cost as much as
    scoring them. What is sighted while the last batches are under way waits for their acknowledgement and goes in the
    next, beside the scoring: so the offsets of a partition's sightings always ascend, and the scorer waits for the
    broker only when `WAITING` are behind.

    Parameters
    ----------
    producer
        Started; shared by the partitions of a worker.
    settings
        Names the topic.
    scorer
        Whose sightings they are.
    """

    def __init__(self, producer: AIOKafkaProducer, settings: Settings, scorer: Scorer) -> None:
        self._producer = producer
        self._topic = settings.topic(TOPIC)
        self._scorer = scorer
        self._waiting: list[tuple[int, bytes, bytes]] = []
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
        groups, _ = fingerprints(requests[seen])
        origin = f"{batch.topic}:{batch.partition}:"
        record_of = dict(zip(batch.offsets.tolist(), batch.values, strict=True))
        for offset, group in zip(offsets[seen].tolist(), groups.tolist(), strict=True):
            self._waiting.append((group, record_of[offset] or b"", f"{origin}{offset}:0".encode()))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._drain(), name="sightings")
        if len(self._waiting) > WAITING:
            await self.flush()

    async def flush(self) -> None:
        """Wait until all sightings sent are acknowledged.

        Raises
        ------
        NotSent
            When one was not.
        """
        if self._sending is not None:
            await self._sending

    async def _drain(self) -> None:
        """Hand over what waits, again and again until nothing does."""
        try:
            count = len(await self._producer.partitions_for(self._topic))
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                by_partition = defaultdict(list)
                for group, value, source in waiting:
                    by_partition[group % count].append((b"%016x" % group, value, [(SOURCE, source)]))
                under_way: list[asyncio.Future[Any]] = []
                for partition, records in by_partition.items():
                    builder = self._producer.create_batch()
                    for key, value, headers in records:
                        if builder.append(key=key, value=value, timestamp=None, headers=headers) is None:
                            under_way.append(await self._hand_over(builder, partition))
                            builder = self._producer.create_batch()
                            builder.append(key=key, value=value, timestamp=None, headers=headers)
                    under_way.append(await self._hand_over(builder, partition))
                for result in await asyncio.gather(*under_way, return_exceptions=True):
                    if isinstance(result, BaseException):
                        raise result
        except (KafkaError, OSError) as error:
            raise NotSent(f"cannot send to {self._topic}: {type(error).__name__}: {error}") from error

    async def _hand_over(self, builder: Any, partition: int) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = await self._producer.send_batch(builder, self._topic, partition=partition)
        return future


class SightingsPartition(TelemetryPartition):
    """Runs one coordinator over one partition of sightings; it forgets fingerprints itself, so none become cold."""

    def __init__(self, number: int, *args: Any, **kwargs: Any) -> None:
        super().__init__(number, *args, hot_accounts=sys.maxsize, forget_after=math.inf, **kwargs)
        self._label = f"{TOPIC} {number}"
