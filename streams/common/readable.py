"""Clients' views of what they fetched, without what no client can read: a record whose header's name is no UTF-8, one
that claims an offset outside its record batch, a batch that does not decompress. aiokafka and kafka-python raise on it
at every poll, or take the offset that was claimed for their place.

What is passed over, with what is behind it in its record batch, is logged. The worker's own transport does the same by
itself and counts it, see `siphonwatch.streams.worker.transport.unpack`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import structlog
from aiokafka.consumer import fetcher
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.errors import CorruptRecordException

if TYPE_CHECKING:
    from kafka import KafkaConsumer

V2 = 2
"""The format of record batches since Kafka 0.11."""

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
                _passed(self._tp, batch, error)
                self.next_fetch_offset = batch.next_offset


class _Begun:
    """A record batch of kafka-python, as far as it can be read."""

    def __init__(self, tp: Any, batch: Any) -> None:
        self._tp = tp
        self._batch = batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    def __next__(self) -> Any:
        return next(self._batch)

    def __iter__(self) -> Iterator[Any]:
        batch = self._batch
        last = batch.base_offset - 1 if batch.magic == V2 else -1  # formats before do not say
        try:
            for record in batch:
                if not last < record.offset < batch.next_offset:
                    raise CorruptRecordException("offsets out of order")
                last = record.offset
                yield record
        except Exception as error:  # noqa: BLE001 - as above
            _passed(self._tp, batch, error)


class _Batches:
    """The record batches of a response as kafka-python reads them."""

    def __init__(self, tp: Any, records: Any) -> None:
        self._tp = tp
        self._records = records

    def next_batch(self) -> Any:
        batch = self._records.next_batch()
        return None if batch is None else _Begun(self._tp, batch)


def reading_on(consumer: KafkaConsumer) -> None:
    """Have a kafka-python consumer pass over what it cannot read."""
    fetcher: Any = consumer._fetcher  # noqa: SLF001 - nothing public is asked about records

    class Records(fetcher.PartitionRecords):
        def _unpack_records(self, tp: Any, records: Any, *deserializers: Any) -> Any:
            return super()._unpack_records(tp, _Batches(tp, records), *deserializers)

    fetcher.PartitionRecords = Records


def _passed(tp: Any, batch: Any, error: Exception) -> None:
    _log.error(
        "a record cannot be read by any client: passed over, with what is behind it in its batch",
        topic=tp.topic, partition=tp.partition, next_offset=batch.next_offset, error=type(error).__name__,
    )  # fmt: skip


def install() -> None:
    """Have every aiokafka consumer of this process read so."""
    fetcher.PartitionRecords = Readable
