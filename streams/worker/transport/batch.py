"""A batch: records of one partition, in order, handed over as one message.

It carries bytes as they came; it never decodes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Headers = tuple[tuple[str, bytes | None], ...]


class Record(NamedTuple):
    """One record of a batch."""

    offset: int
    timestamp: int
    """Milliseconds since 1970 UTC."""
    key: bytes | None
    value: bytes | None
    headers: Headers


class Lease:
    """One partition's time with this worker, from assignment to revocation, or until its topic is made anew.

    A batch belongs to the lease it was read under. When the partition is revoked the lease ends, for good: if the
    partition comes back it is under another lease, and what is left of the old one is stale.
    """

    __slots__ = ("alive", "anew", "epoch", "give_back", "gone", "incarnation", "partition", "topic")

    def __init__(
        self,
        topic: str,
        partition: int,
        epoch: int,
        give_back: Callable[[Lease], None],
        incarnation: str = "",
        *,
        anew: bool = False,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.epoch = epoch
        """Counts assignments of this worker; higher is later."""
        self.alive = True
        self.give_back = give_back
        self.incarnation = incarnation
        """The topic's id, known before it is read; empty where the broker gives none."""
        self.anew = anew
        """Whether it follows a lease that ended because the topic was made anew."""
        self.gone = False
        """Whether it ended so: its offsets mean nothing in the topic that is there now."""


class Begin(NamedTuple):
    """What is known of a partition before it is read."""

    incarnation: str = ""
    """Of its topic, see `Lease`."""
    committed: int | None = None
    """Offset that the group committed in this incarnation, None where it committed none."""
    sure: bool = False
    """Whether the broker keeps beside the offset that it is of this incarnation."""
    anew: bool = False
    """Whether the topic is known to have been made anew since the group last committed."""
    said: str = ""
    """What stands beside the committed offset."""


class MadeAnew(NamedTuple):
    """Handed over instead of a batch where the topic was made anew while it was leased."""

    lease: Lease


class Batch:
    """Records of one partition, of ascending offsets.

    Parameters
    ----------
    lease
        The partition's stay that the records were read under.
    keys, values, headers
        One entry a record, length n.
    offsets
        `(n,) int64`.
    timestamps
        `(n,) int64`, milliseconds since 1970 UTC.
    next_offset
        Where reading goes on: above the last record, and above transaction markers and compacted records behind it.
    size
        Bytes of keys and values.
    missing
        Offsets that the broker no longer has right before the first record; see `streams.worker.transport.gaps`.
    """

    __slots__ = (
        "_held",
        "headers",
        "keys",
        "lease",
        "missing",
        "next_offset",
        "offsets",
        "size",
        "timestamps",
        "values",
    )

    def __init__(
        self,
        lease: Lease,
        *,
        keys: list[bytes | None],
        values: list[bytes | None],
        headers: list[Headers],
        offsets: NDArray[np.int64],
        timestamps: NDArray[np.int64],
        next_offset: int,
        size: int,
        missing: int = 0,
    ) -> None:
        self.lease = lease
        self.keys = keys
        self.values = values
        self.headers = headers
        self.offsets = offsets
        self.timestamps = timestamps
        self.next_offset = next_offset
        self.size = size
        self.missing = missing
        self._held = True

    @property
    def topic(self) -> str:
        return self.lease.topic

    @property
    def partition(self) -> int:
        return self.lease.partition

    @property
    def incarnation(self) -> str:
        """Of the topic, see `Lease`."""
        return self.lease.incarnation

    @property
    def first_offset(self) -> int:
        return int(self.offsets[0])

    @property
    def last_offset(self) -> int:
        return int(self.offsets[-1])

    @property
    def current(self) -> bool:
        """Whether the partition is still ours under the same assignment; a stale batch is not to be applied."""
        return self.lease.alive

    def done(self) -> None:
        """Make room for another batch of this partition; calling it again changes nothing."""
        if self._held:
            self._held = False
            self.lease.give_back(self.lease)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Record]:
        columns = (self.offsets.tolist(), self.timestamps.tolist(), self.keys, self.values, self.headers)
        return map(Record._make, zip(*columns, strict=True))

    def __repr__(self) -> str:
        where = f"{self.topic}[{self.partition}]"
        return f"<Batch {where} {self.first_offset}..{self.last_offset}, {len(self)} records, {self.size} bytes>"
