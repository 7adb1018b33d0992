"""The journal of the state log on Kafka, by aiokafka: acknowledged batches out, the partition in order in.

It never commits offsets, and uses neither transactions nor an idempotent producer, which the embedded broker lacks:
a batch that a retry appends twice holds the same keys with the same bytes, so compaction removes what nothing reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.errors import KafkaError

from siphonwatch.streams.common.kafka import make_async_consumer, make_async_producer
from siphonwatch.streams.common.settings import Kafka, Settings
from siphonwatch.streams.worker.state.journal import Entry, Record, StateError
from siphonwatch.streams.worker.state.log import StateLog

MAX_VALUE = 900_000
"""Bytes of one value: below the 1 MiB that brokers take by default, with room for the record's frame."""
BATCH = 256 * 1024
"""Bytes of one produce request. Larger ones save little time, and a fetch of one cold page reads a whole batch."""
SCAN_BYTES = 8 * 1024 * 1024
SEEK_BYTES = 64 * 1024
REQUEST_SECONDS = 15.0
GROWN_SECONDS = 10.0
"""Between two looks at whether a topic has the partition it lacks."""
BACKOFF = (0.1, 5.0)
"""First and longest pause between attempts, seconds."""

_FATAL = (
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.ClusterAuthorizationFailedError,
    kafka_errors.SaslAuthenticationFailed,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.InvalidTopicError,
    kafka_errors.PolicyViolationError,
)
_TOO_LARGE = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)
_log = structlog.get_logger(__name__)


def open_state(settings: Settings, partition: int, deadline: float = 60.0, *, topic: str = "state") -> StateLog:
    """Return the state log of one partition for one assignment; it connects at the first call.

    Parameters
    ----------
    settings
        Connection and topic prefix.
    partition
        Number of the telemetry partition, and of the state partition.
    deadline
        Seconds to go on trying while the broker is away.
    topic
        Which of our topics holds it: `state` for accounts, `campaigns` for what sightings become.
    """
    return StateLog(KafkaJournal(settings.kafka, settings.topic(topic), partition, deadline))


class KafkaJournal:
    """One partition of a compacted topic; see `siphonwatch.streams.worker.state.journal.Journal`.

    Parameters
    ----------
    kafka
        Connection settings.
    topic, partition
    deadline
        Seconds until a call gives up.
    """

    max_value = MAX_VALUE

    def __init__(self, kafka: Kafka, topic: str, partition: int, deadline: float = 60.0) -> None:
        self.name = f"{topic}[{partition}]"
        self._kafka = kafka
        self._request_ms = int(min(REQUEST_SECONDS, deadline) * 1000)
        self._topic = topic
        self._tp = TopicPartition(topic, partition)
        self._deadline = deadline
        self._producer: Any = None
        self._seeker: Any = None

    async def append(self, records: Sequence[Record]) -> list[int]:
        """See `Journal.append`."""
        offsets = [-1] * len(records)
        retry = _Retry(self._deadline)
        while True:
            try:
                producer = await self._connected_producer()
                failure = await self._send(producer, records, offsets)
                if failure is None:
                    return offsets
                raise failure
            except _TOO_LARGE:
                largest = max(len(record.value or b"") for record in records)
                raise StateError(
                    f"{self.name}: the broker refuses a record; the largest of {len(records)} has {largest} bytes."
                    f" Set max.message.bytes of topic {self._topic} to 1048588 or more"
                ) from None
            except _FATAL as error:
                raise StateError(f"{self.name}: cannot write: {_describe(error)}") from None
            except (KafkaError, OSError) as error:
                await self._drop_producer()
                await retry.pause(f"{self.name}: cannot write", error)

    async def read(self, start: int | None, stop: int) -> AsyncIterator[list[Entry]]:
        """See `Journal.read`."""
        position = start
        retry = _Retry(self._deadline)
        while True:
            consumer = None
            try:
                consumer = await self._open_consumer(scan=start is None)
                await self._seek(consumer, position)
                while (position := await consumer.position(self._tp)) < stop:
                    batches = await consumer.getmany(self._tp, timeout_ms=1000)
                    entries = [
                        Entry(r.offset, r.key or b"", r.value) for r in batches.get(self._tp, ()) if r.offset < stop
                    ]
                    if entries:
                        retry = _Retry(self._deadline)
                        yield entries
                    elif not batches and _at_end(consumer.highwater(self._tp), position):
                        return  # the topic was made anew, and is shorter than it was
                    elif not batches and retry.expired():
                        raise StateError(f"{self.name}: the broker sends no records after offset {position}")
                return
            except kafka_errors.OffsetOutOfRangeError:
                return  # nothing is left of this range
            except _FATAL as error:
                raise StateError(f"{self.name}: cannot read: {_describe(error)}") from None
            except (KafkaError, OSError) as error:
                await self._drop_seeker()
                await retry.pause(f"{self.name}: cannot read", error)
            finally:
                if consumer is not None and consumer is not self._seeker:
                    await consumer.stop()
                elif consumer is not None:
                    consumer.pause(self._tp)  # or it would go on fetching what nobody asked for

    async def stop(self) -> None:
        """See `Journal.stop`."""
        await self._drop_producer()
        await self._drop_seeker()

    async def _send(self, producer: Any, records: Sequence[Record], offsets: list[int]) -> BaseException | None:
        """Send what has no offset yet, note the offsets that come back, return the first error."""
        todo = [i for i, offset in enumerate(offsets) if offset < 0]
        sent: list[tuple[list[int], Any]] = []
        failure: BaseException | None = None
        try:
            while todo and failure is None:
                batch = producer.create_batch()
                inside = []
                for i in todo:
                    record = records[i]
                    if batch.append(key=record.key, value=record.value, timestamp=None) is None:
                        break
                    inside.append(i)
                todo = todo[len(inside) :]
                sent.append((inside, await producer.send_batch(batch, self._topic, partition=self._tp.partition)))
        except (KafkaError, OSError) as error:
            failure = error
        results = await asyncio.gather(*(future for _, future in sent), return_exceptions=True)
        for (inside, _), result in zip(sent, results, strict=True):
            if isinstance(result, BaseException):
                failure = failure or result
            elif result.offset < 0:  # acknowledged as a duplicate whose place the broker forgot
                failure = failure or KafkaError("acknowledged without an offset")
            else:
                for n, i in enumerate(inside):
                    offsets[i] = result.offset + n
        return failure

    async def _connected_producer(self) -> Any:
        if self._producer is None:
            producer = make_async_producer(
                self._kafka,
                request_timeout_ms=self._request_ms,
                max_batch_size=BATCH,
                max_request_size=2 * MAX_VALUE,
            )
            await _start(producer)
            self._producer = producer
            await self._wait_for_partition(producer)
        return self._producer

    async def _wait_for_partition(self, producer: Any) -> None:
        """Return once the topic has grown to this partition: those that have theirs go on meanwhile."""
        while self._tp.partition not in await producer.partitions_for(self._topic):
            _log.warning(
                f"{self.name} does not exist, so the partition whose state it would hold is not read: run"
                " `siphonwatch topics --create`, which gives topics of state the partitions they lack",
                again_in_seconds=GROWN_SECONDS,
            )
            await asyncio.sleep(GROWN_SECONDS)
            await producer.client.force_metadata_update()

    async def _open_consumer(self, *, scan: bool) -> Any:
        if not scan and self._seeker is not None:
            return self._seeker
        size = SCAN_BYTES if scan else SEEK_BYTES
        consumer = make_async_consumer(
            self._kafka,
            request_timeout_ms=self._request_ms,
            auto_offset_reset="none",
            max_partition_fetch_bytes=size,
            fetch_max_wait_ms=100,
        )
        await _start(consumer)
        consumer.assign([self._tp])
        if not scan:
            self._seeker = consumer
        return consumer

    async def _seek(self, consumer: Any, position: int | None) -> None:
        if position is None:
            await consumer.seek_to_beginning(self._tp)
        else:
            consumer.seek(self._tp, position)
        consumer.resume(self._tp)

    async def _drop_producer(self) -> None:
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaError, OSError):
                await asyncio.wait_for(producer.stop(), 1.0)

    async def _drop_seeker(self) -> None:
        seeker, self._seeker = self._seeker, None
        if seeker is not None:
            with suppress(KafkaError, OSError):
                await seeker.stop()


class _Retry:
    """Pauses longer and longer until a deadline."""

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._end = asyncio.get_running_loop().time() + deadline
        self._wait = BACKOFF[0]

    def expired(self) -> bool:
        return asyncio.get_running_loop().time() >= self._end

    async def pause(self, what: str, error: BaseException) -> None:
        if self.expired():
            raise StateError(f"{what} for {self._deadline:.0f} s: {_describe(error)}. Are the brokers up?") from error
        _log.warning("state_retry", what=what, error=_describe(error), wait=self._wait)
        await asyncio.sleep(self._wait)
        self._wait = min(self._wait * 2, BACKOFF[1])


async def _start(client: Any) -> None:
    """Start a client, and leave nothing behind where that fails or is cancelled."""
    try:
        await client.start()
    except BaseException:
        await client.stop()
        raise


def _at_end(end: int | None, position: int) -> bool:
    """Whether the last fetch saw the end. Asking for end offsets would not do: the embedded broker counts too few."""
    return end is not None and position >= end


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
