"""Reads one of our topics for a command: from a given place to its present end, or on and on.

It commits nothing. Workers and sinks follow topics without an end, inside an event loop, and begin anew where a topic
was made anew: `streams.worker.agents.verdicts`, `streams.deliver.lane`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
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
        A `kafka.KafkaConsumer`.
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

    @property
    def partitions(self) -> list[TopicPartition]:
        """The topic's, ascending."""
        return self._partitions

    def end(self, tp: TopicPartition) -> int:
        """Return where a partition ends for `polls`: its end when it was opened, or at its first fetch."""
        end: int = self._ends[tp]
        return end

    def begin(self, tp: TopicPartition) -> int:
        """Return the offset of a partition's first record that is still there."""
        return int(self._consumer.beginning_offsets([tp])[tp])

    def begin_at(self, offsets: Mapping[TopicPartition, int]) -> None:
        """Read from these offsets on instead."""
        for tp, offset in offsets.items():
            self._consumer.seek(tp, offset)

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
        """Give the values of the records up to the present end, each partition in order; raises as `records` does."""
        return (record.value for record in self.records())

    def records(self) -> Iterator[Any]:
        """Give kafka-python's records up to the present end, each partition in order.

        Raises
        ------
        TailError
            When the broker sends nothing although there is more.
        """
        for polled in self.polls():
            for records in polled.values():
                yield from (record for record in records if record.value is not None)

    def polls(self, room: Callable[[], int | None] = lambda: None) -> Iterator[Mapping[TopicPartition, list[Any]]]:
        """Give the records up to the present end poll by poll, by partition; a few behind `end` may be among them.

        Parameters
        ----------
        room
            Returns how many records the next poll may give; reading ends at 0.

        Raises
        ------
        TailError
            When the broker sends nothing although there is more.
        """
        fetched: set[TopicPartition] = set()
        quiet_since = self._clock()
        while (most := room()) != 0:
            left = any(self._consumer.position(tp) < end for tp, end in self._ends.items())
            quiet = self._clock() - quiet_since
            if not left and (len(fetched) == len(self._partitions) or quiet > SETTLE_SECONDS):
                return
            if quiet > STALL_SECONDS:
                raise TailError(f"the broker sent nothing for {STALL_SECONDS:.0f} s although there is more")
            polled = self._poll(most)
            if polled:
                quiet_since = self._clock()
            self._settle_ends(fetched)
            yield polled

    def follow(self) -> Iterator[list[bytes]]:
        """Give the values that come, as they come; never ends, and gives an empty list now and then."""
        while True:
            polled = self._poll()
            yield [record.value for records in polled.values() for record in records if record.value is not None]

    def _poll(self, most: int | None = None) -> Any:
        try:
            return self._consumer.poll(timeout_ms=POLL_MS, max_records=most)
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
