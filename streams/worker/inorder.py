"""Sends records to the partitions of one topic in order, so that nothing overtakes what failed.

Readers tell what was sent again after a crash by its place in its source, "up to here I know it all". That is right
only where nothing of a source reaches a partition before what comes earlier in the source did. So one request of a
sender is under way to a partition, and what the broker did not take is sent again before anything behind it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError
from aiokafka.partitioner import DefaultPartitioner

from siphonwatch.streams.worker.retries import Retries

WAITING = 8 * 1024 * 1024
"""Bytes of values, some 28,000 sightings, that may wait for the broker before the sender does."""

_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)

Turns = defaultdict[tuple[str, int], asyncio.Lock]
"""By topic and partition. Of several that wait for a partition aiokafka serves them in any order, and takes all their
waiting so far off the time-out each time another is served: one of eight was given up within 0.4 s."""


def make_turns() -> Turns:
    """Return the turns that the users of one producer share."""
    return defaultdict(asyncio.Lock)


class Outgoing(NamedTuple):
    """One record to send."""

    key: bytes | None
    value: bytes
    headers: Sequence[tuple[str, bytes]] = ()


class InOrder:
    """Sends one source's records to one topic while more are made.

    Parameters
    ----------
    producer
        Started; shared by the partitions of a worker.
    topic
        Where records go.
    turns
        Shared like the producer: who may hand the next request to a partition, in the order of asking.
    retries
        The source's.
    """

    def __init__(self, producer: AIOKafkaProducer, topic: str, turns: Turns, retries: Retries) -> None:
        self._producer = producer
        self._topic = topic
        self._turns = turns
        self._retries = retries
        self._queues: defaultdict[int, deque[Outgoing]] = defaultdict(deque)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._most: dict[int, int] = {}  # records a request, where the broker refused more for their size
        self._moved = asyncio.Event()
        self._partition = DefaultPartitioner()
        self.waiting = 0
        """Bytes of values that no request holds yet."""

    async def partitions(self) -> list[int]:
        """Return the numbers of the topic's partitions; waits until the broker says."""
        while True:
            try:
                found = sorted(await self._producer.partitions_for(self._topic))
            except (KafkaError, OSError) as error:
                await self._retries.failed(self._topic, error)
            else:
                return found

    def partition_of(self, key: bytes, partitions: list[int]) -> int:
        """Return which of all `partitions` a key belongs to, by the Java client's murmur2."""
        found: int = self._partition(key, partitions, partitions)
        return found

    def put(self, partition: int, record: Outgoing) -> None:
        """Queue a record."""
        self._queues[partition].append(record)
        self.waiting += len(record.value)
        task = self._tasks.get(partition)
        if task is None or task.done():
            self._tasks[partition] = asyncio.create_task(self._drain(partition), name=f"{self._topic}[{partition}]")

    async def room(self) -> None:
        """Wait while more than `WAITING` bytes wait."""
        while self.waiting > WAITING and not all(task.done() for task in self._tasks.values()):
            self._moved.clear()
            await self._moved.wait()

    async def flush(self) -> None:
        """Wait until all that was queued is acknowledged."""
        await asyncio.gather(*self._tasks.values())

    async def close(self) -> None:
        """Stop sending; the source's next owner sends again what was not acknowledged."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _drain(self, partition: int) -> None:
        """Send what waits for a partition, again and again until nothing does."""
        queue = self._queues[partition]
        try:
            while queue:
                builder, records = self._fill(partition, queue)
                try:
                    async with self._turns[self._topic, partition]:
                        sent = await self._producer.send_batch(builder, self._topic, partition=partition)
                    await sent
                except (KafkaError, OSError) as error:
                    queue.extendleft(reversed(records))
                    self.waiting += sum(len(record.value) for record in records)
                    if isinstance(error, _TOO_LARGE) and len(records) > 1:
                        self._most[partition] = len(records) // 2
                    else:
                        await self._retries.failed(self._topic, error)
                else:
                    self._retries.passed(self._topic)
                    if partition in self._most:  # the topic's max.message.bytes may have been raised
                        self._most[partition] += self._most[partition] // 8 + 1
                self._moved.set()
        finally:
            self._moved.set()

    def _fill(self, partition: int, queue: deque[Outgoing]) -> tuple[Any, list[Outgoing]]:
        """Take as many records off a queue as fit into one request; return the request and the records."""
        builder = self._producer.create_batch()
        records: list[Outgoing] = []
        most = self._most.get(partition, len(queue))
        while queue and len(records) < most:
            record = queue[0]
            if builder.append(key=record.key, value=record.value, timestamp=None, headers=[*record.headers]) is None:
                break
            records.append(queue.popleft())
            self.waiting -= len(record.value)
        builder.close()  # one that is open lingers for more
        return builder, records
