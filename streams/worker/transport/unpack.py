"""Takes the columns of a batch out of one fetched response, record batch by record batch, and sees offset gaps.

It never decides what a gap means, and never reads beyond the response.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from operator import lt
from typing import Any, NamedTuple

import numpy as np
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords

from siphonwatch.streams.worker.transport.batch import Batch, Headers, Lease
from siphonwatch.streams.worker.transport.limits import Limits

CHUNK = 1024
"""Records taken at once, at most; the byte limit is looked at between chunks."""
FIRST_BYTES = 64 * 1024
"""What a record is taken to be before one was seen: so that a first chunk of large ones ends soon after the limit."""

WRONG_CHECKSUM = "wrong checksum"
"""Why a record batch cannot be read that may have been changed on its way: another fetch may bring it whole."""
PASSING = (WRONG_CHECKSUM, MemoryError.__name__)
"""Reasons that may be gone at another attempt; others are the batch's own."""


class Gap(NamedTuple):
    """Offsets that the broker's answer passes over: `begin` was due next, `end` came."""

    begin: int
    end: int
    unreadable: str = ""
    """Why the record batch with these offsets cannot be read, where the broker has them."""


class Unpacker:
    """Reads one fetched response of one partition in order, in batches.

    Transaction markers, aborted transactions (read committed) and records that compaction took out of a record batch
    are passed over: the record batch's own header vouches for them. A gap between record batches is reported, and so is
    what is left of a record batch that cannot be read, whoever wrote it: a header's name that is no UTF-8 will do, or
    offsets out of order. Each record says its own, relative to its batch's, and brokers check the number of records
    alone: one that claims an offset far ahead must not have all up to there passed over.

    Parameters
    ----------
    fetched
        aiokafka's view of the response; only its raw record batches and its transaction bookkeeping are used.
    expected
        Offset due next, None where nothing was read yet.
    """

    def __init__(self, fetched: PartitionRecords, expected: int | None) -> None:
        self._fetched = fetched
        self._records = fetched._records  # noqa: SLF001 - the raw batches have no public name
        self._iterator: Iterator[Any] | None = None
        self._end = 0
        self._last = -1  # offset of the record before, in the open record batch
        self._pending: Any = None
        self._broken = ""  # why the open record batch cannot be read further
        self._typical = FIRST_BYTES
        self._skipped = 0
        start: int = fetched.next_fetch_offset
        self.position = start if expected is None else expected
        """Offset that is due next."""
        self.gap: Gap | None = Gap(self.position, start) if start != self.position else None
        """A gap in the way of reading on, until `skip` or a new fetch."""

    @property
    def exhausted(self) -> bool:
        """Whether the response is read to its end."""
        return self._iterator is None and self._pending is None and not self._records.has_next()

    def skip(self) -> None:
        """Go on behind the gap."""
        if self.gap is not None:
            self._skipped += self.gap.end - self.gap.begin
            self.position = self.gap.end
            self.gap = None

    def take(self, lease: Lease, limits: Limits) -> Batch | None:
        """Return the next batch, or None at the end of the response or in front of a gap."""
        keys: list[bytes | None] = []
        values: list[bytes | None] = []
        headers: list[Headers] = []
        offsets: list[int] = []
        timestamps: list[int] = []
        size = 0
        while len(values) < limits.max_records and size < limits.max_bytes and self._open():
            room = (limits.max_bytes - size) // self._typical + 1
            wanted = min(CHUNK, limits.max_records - len(values), room)
            chunk = self._records_of(wanted)
            finished = len(chunk) < wanted
            chunk = self._in_order(chunk)
            if chunk and chunk[0].offset < self.position:  # a fetch may begin inside a record batch
                chunk = [record for record in chunk if record.offset >= self.position]
            if chunk:
                self.position = chunk[-1].offset + 1
            if self._broken and self.position < self._end:
                self._unreadable(self._end, self._broken)
            elif finished:
                self._iterator = None
                self.position = max(self.position, self._end)
            new_keys = [record.key for record in chunk]
            new_values = [record.value for record in chunk]
            taken = sum(len(key) for key in new_keys if key) + sum(len(value) for value in new_values if value)
            self._typical = taken // max(len(chunk), 1) + 1
            size += taken
            keys += new_keys
            values += new_values
            headers += [tuple(record.headers) for record in chunk]
            offsets += [record.offset for record in chunk]
            timestamps += [record.timestamp or 0 for record in chunk]
        if not values:
            return None
        missing, self._skipped = self._skipped, 0
        return Batch(
            lease,
            keys=keys,
            values=values,
            headers=headers,
            offsets=np.array(offsets, np.int64),
            timestamps=np.array(timestamps, np.int64),
            next_offset=self.position,
            size=size,
            missing=missing,
        )

    def _records_of(self, wanted: int) -> list[Any]:
        """The next records of the open record batch, fewer where it ends or cannot be read further."""
        chunk: list[Any] = []
        try:
            chunk.extend(islice(self._iterator or (), wanted))
        except Exception as error:  # noqa: BLE001 - codecs and decoders raise what they like on what a client wrote
            self._broken = type(error).__name__
        return chunk

    def _in_order(self, chunk: list[Any]) -> list[Any]:
        """The records up to the first one whose offset is not behind the one before, or beyond their record batch."""
        offsets = [record.offset for record in chunk]
        if not offsets:
            return chunk
        if not (self._last < offsets[0] and offsets[-1] < self._end and all(map(lt, offsets, offsets[1:]))):
            before = [self._last, *offsets]
            wrong = next(i for i, offset in enumerate(offsets) if not before[i] < offset < self._end)
            self._broken = "offsets out of order"
            chunk, offsets = chunk[:wrong], [self._last, *offsets[:wrong]]
        self._last = offsets[-1]
        return chunk

    def _unreadable(self, end: int, why: str) -> None:
        """Report what is left of a record batch, up to `end`, as a gap."""
        self._iterator, self._broken = None, ""
        self.gap = Gap(self.position, max(end, self.position + 1), why)

    def _open(self) -> bool:
        """Whether there is a record batch to read from, the next one opened where needed."""
        if self.gap is not None:
            return False
        while self._iterator is None:
            batch = self._pending or (self._records.next_batch() if self._records.has_next() else None)
            if batch is None:
                return False
            if self._pending is None and not batch.validate_crc():
                self._unreadable(batch.next_offset, WRONG_CHECKSUM)
                return False
            self._pending = None
            # Message formats before Kafka 0.11 do not say where a batch begins; they know no gaps either.
            base: int | None = getattr(batch, "base_offset", None)
            if base is not None and base > self.position:
                self._pending, self.gap = batch, Gap(self.position, base)
                return False
            if self._passed_over(batch):
                self.position = max(self.position, batch.next_offset)
                continue
            # aiokafka's record batch starts over when it is iterated again; `chain` iterates it once.
            self._iterator, self._end, self._broken = chain(batch), batch.next_offset, ""
            self._last = -1 if base is None else base - 1
        return True

    def _passed_over(self, batch: Any) -> bool:
        """Whether a record batch is a transaction marker or, read committed, of an aborted transaction."""
        fetched = self._fetched
        if fetched._isolation_level == READ_COMMITTED and batch.producer_id is not None:  # noqa: SLF001
            fetched._consume_aborted_up_to(getattr(batch, "base_offset", self.position))  # noqa: SLF001
            aborted: set[int] = fetched._aborted_producers  # noqa: SLF001
            if batch.is_control_batch:
                if fetched._contains_abort_marker(batch):  # noqa: SLF001
                    aborted.discard(batch.producer_id)
            elif batch.is_transactional and batch.producer_id in aborted:
                return True
        return bool(batch.is_control_batch)
