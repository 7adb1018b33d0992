"""Reads the alerts topic from a moment on, to what is its end now or for as long as it is asked. Belongs to no consumer
group and commits nothing: any number of people can look at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, Self

from kafka import TopicPartition
from kafka.errors import CorruptRecordError, KafkaError

from siphonwatch.streams.common.connection import ClientLog, reason
from siphonwatch.streams.common.kafka import make_consumer
from siphonwatch.streams.common.settings import Settings

POLL_MS = 200
SETTLE_SECONDS = 1.5
"""How long a partition with nothing to read may take to say so."""
STALL_SECONDS = 30.0


class TailError(RuntimeError):
    """The topic cannot be read; the message says why and what to do."""


class Tail:
    """A position in every partition of one topic; a context manager that closes its consumer.

    Parameters
    ----------
    consumer
        A `kafka.KafkaConsumer` without a group.
    topic
        Its name.
    since_ms
        Oldest record wanted, by record timestamp, milliseconds since 1970; None for all there is.
    clock
        Monotonic seconds.

    Raises
    ------
    TailError
        When the topic does not exist.
    """

    def __init__(
        self, consumer: Any, topic: str, since_ms: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        partitions = consumer.partitions_for_topic(topic)
        if not partitions:
            raise TailError(f"topic {topic} does not exist: create it with `siphonwatch topics --create`")
        self._consumer = consumer
        self._clock = clock
        self._partitions = [TopicPartition(topic, number) for number in sorted(partitions)]
        consumer.assign(self._partitions)
        self._ends = consumer.end_offsets(self._partitions)
        self._seek(since_ms)

    @classmethod
    def connect(cls, settings: Settings, topic: str, since_ms: int | None = None) -> Self:
        """Open a topic with the settings' credentials.

        Raises
        ------
        TailError
            When no broker answers, or the topic does not exist.
        """
        with ClientLog().listening() as heard:
            try:
                consumer = make_consumer(settings.kafka, "siphonwatch-tail")
            except KafkaError as error:
                raise TailError(f"cannot reach Kafka at {settings.kafka.bootstrap}: {heard.cause(error)}") from None
        try:
            return cls(consumer, topic, since_ms)
        except BaseException as error:
            consumer.close()
            if isinstance(error, KafkaError):
                raise TailError(f"cannot read {topic}: {reason(error)}") from None
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def history(self) -> Iterator[bytes]:
        """Give the values of what is there now, each partition in order; raises as `records` does."""
        return (record.value for record in self.records())

    def records(self) -> Iterator[Any]:
        """Give what is there now as kafka-python's records, each partition in order.

        Raises
        ------
        TailError
            When the broker sends nothing although there is more.
        """
        fetched: set[TopicPartition] = set()
        quiet_since = self._clock()
        while True:
            left = any(self._consumer.position(tp) < end for tp, end in self._ends.items())
            quiet = self._clock() - quiet_since
            if not left and (len(fetched) == len(self._partitions) or quiet > SETTLE_SECONDS):
                return
            if quiet > STALL_SECONDS:
                raise TailError(f"the broker sent nothing for {STALL_SECONDS:.0f} s although there is more")
            polled = self._poll()
            if polled:
                quiet_since = self._clock()
            self._settle_ends(fetched)
            for records in polled.values():
                yield from (record for record in records if record.value is not None)

    def follow(self) -> Iterator[list[bytes]]:
        """Give the values that come, as they come; never ends, and gives an empty list now and then."""
        while True:
            polled = self._poll()
            yield [record.value for records in polled.values() for record in records if record.value is not None]

    def _poll(self) -> Any:
        try:
            return self._consumer.poll(timeout_ms=POLL_MS)
        except CorruptRecordError as error:
            places = ", ".join(f"[{tp.partition}] {self._consumer.position(tp)}" for tp in self._partitions)
            topic = self._partitions[0].topic
            raise TailError(
                f"{topic} has a record that cannot be read ({error}); read up to offsets {places}"
            ) from None

    def _seek(self, since_ms: int | None) -> None:
        found = self._consumer.beginning_offsets(self._partitions)
        if since_ms is not None:
            times = self._consumer.offsets_for_times(dict.fromkeys(self._partitions, since_ms))
            # No record is so new: whatever comes from now on is.
            found |= {tp: self._ends[tp] if at is None else at.offset for tp, at in times.items()}
        for tp, offset in found.items():
            self._consumer.seek(tp, offset)

    def _settle_ends(self, fetched: set[TopicPartition]) -> None:
        """Fix each partition's end at its first fetch: the embedded broker's answer to `end_offsets` is too low."""
        for tp in self._ends.keys() - fetched:
            end = self._consumer.highwater(tp)
            if end is not None:
                self._ends[tp] = max(self._ends[tp], end)
                fetched.add(tp)
