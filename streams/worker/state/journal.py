"""The interface of one partition of a compacted topic to the state log: acknowledged appends, reads in order.

It names no broker; `siphonwatch.streams.worker.state.kafka` is the one for Kafka, tests bring one in memory.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol


class StateError(RuntimeError):
    """State could not be written, read or trusted; the message names the topic, the partition and the remedy."""


class Record(NamedTuple):
    """One record to append; no value is a tombstone."""

    key: bytes
    value: bytes | None


class Entry(NamedTuple):
    """One record, as the log holds it."""

    offset: int
    key: bytes
    value: bytes | None


class Journal(Protocol):
    """One partition of a compacted topic.

    Offsets grow with every append and never change. Compaction removes, at any time, records whose key was written
    again later, and tombstones after their retention.
    """

    name: str
    """Topic and partition, for messages."""
    max_value: int
    """Largest value in bytes that one record may have."""

    async def append(self, records: Sequence[Record]) -> list[int]:
        """Append in order and return each record's offset once all are acknowledged.

        A record may be appended twice, or appended although this raises.

        Raises
        ------
        StateError
            When the broker does not acknowledge within the deadline, or refuses the record.
        """
        ...

    def read(self, start: int | None, stop: int) -> AsyncIterator[list[Entry]]:
        """Iterate over the records left from offset `start` (None: the first there is) to `stop`, not included.

        Raises
        ------
        StateError
            When the broker does not answer within the deadline.
        """
        ...

    async def stop(self) -> None:
        """Close the connections; safe to call twice and after a cancelled call."""
        ...
