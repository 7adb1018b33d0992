"""aiokafka's view of what it fetched, without what no client can read: a record whose header's name is no UTF-8, one
that claims an offset outside its record batch, a batch that does not decompress. aiokafka raises on it at every poll,
or reads on behind the offset that was claimed.

What is passed over, with what is behind it in its record batch, is logged. The worker's own transport does the same by
itself and counts it, see `siphonwatch.streams.worker.transport.unpack`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import structlog
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import CorruptRecordException

_log = structlog.get_logger(__name__)


class _One:
    """A record batch as aiokafka reads several."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch

    def has_next(self) -> bool:
        return self._batch is not None

    def next_batch(self) -> Any:
        batch, self._batch = self._batch, None
        return batch


class Readable(PartitionRecords):
    """The records of one partition in one response, those that can be read."""

    _records: Any

    def _unpack_records(self) -> Iterator[Any]:
        records = self._records
        while records.has_next():
            batch = records.next_batch()
            if self._check_crcs and not batch.validate_crc():  # changed on its way: another fetch may bring it whole
                raise CorruptRecordException(f"wrong checksum in {self._tp}")
            self._records = _One(batch)
            try:
                for record in super()._unpack_records():
                    if record.offset >= batch.next_offset:
                        raise CorruptRecordException("offsets out of order")
                    yield record
            except Exception as error:  # noqa: BLE001 - codecs and decoders raise what they like on what a client wrote
                _log.error(
                    "a record cannot be read by any client: passed over, with what is behind it in its batch",
                    topic=self._tp.topic, partition=self._tp.partition, next_offset=batch.next_offset,
                    error=type(error).__name__,
                )  # fmt: skip
                self.next_fetch_offset = batch.next_offset


def install() -> None:
    """Have every aiokafka consumer of this process read so."""
    fetcher.PartitionRecords = Readable
