"""What no client can read costs a reader the rest of its record batch, and nothing before or behind that."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import CorruptRecordException, KafkaError
from aiokafka.record import default_records
from aiokafka.record._crecords import default_records as compiled
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from kafka.consumer.fetcher import Fetcher
from kafka.record import default_records as plain
from kafka.record.memory_records import MemoryRecords as PlainRecords

from siphonwatch.streams.common.readable import Readable, reading_on
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.archive.follow import Follower
from siphonwatch.streams.lab.archive.store import Store
from siphonwatch.streams.worker.transport import codecs

ZSTD = 4
Reads = Callable[[bytes], tuple[list[tuple[int, bytes]], int]]
BAD = "poison"
"""A header of this name is sent under one of as many bytes that are no UTF-8."""


def record_batch(
    base: int, values: Sequence[bytes], *, codec: int = 0, deltas: Sequence[int] = (), bad: int = -1
) -> bytes:
    """A record batch; the record at place `bad` has a header that is none, and `deltas` are the offsets it claims."""
    builder = DefaultRecordBatchBuilder(2, codec, 0, -1, -1, -1, 1 << 20)
    for i, value in enumerate(values):
        builder.append(deltas[i] if deltas else i, 1000, None, value, [(BAD, b"")] if i == bad else [])
    raw = bytearray(builder.build().replace(BAD.encode(), b"\xff" * len(BAD)))
    raw[0:8] = base.to_bytes(8, "big")
    raw[23:27] = (len(values) - 1).to_bytes(4, "big")
    raw[17:21] = calc_crc32c(bytes(raw[21:])).to_bytes(4, "big")
    return bytes(raw)


def read(raw: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """Offsets and values of a response, and where the next fetch begins."""
    view = Readable(TopicPartition("t", 0), MemoryRecords(raw), [], 0, None, None, True, 1)
    return [(record.offset, record.value) for record in view], view.next_fetch_offset


def read_plain(raw: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """The same by kafka-python."""
    consumer: Any = SimpleNamespace(_fetcher=SimpleNamespace(PartitionRecords=Fetcher.PartitionRecords))
    reading_on(consumer)
    view = consumer._fetcher.PartitionRecords(0, TopicPartition("t", 0), PlainRecords(raw))
    return [(record.offset, record.value) for record in view.take()], view.next_fetch_offset


@pytest.fixture(params=[read, read_plain], ids=["aiokafka", "kafka-python"])
def reads(request: pytest.FixtureRequest) -> Reads:
    found: Reads = request.param
    return found


GOOD = [(3, b"y"), (4, b"z")]


@pytest.mark.parametrize(
    ("middle", "found"),
    [
        (record_batch(0, [b"a", b"b", b"c"]), [(0, b"a"), (1, b"b"), (2, b"c")]),
        (record_batch(0, [b"a", b"b", b"c"], bad=1), [(0, b"a")]),
        (record_batch(0, [b"a", b"b", b"c"], deltas=[0, 10**6, 2]), [(0, b"a")]),
    ],
    ids=["good", "header", "offset"],
)
def test_what_cannot_be_read_takes_the_rest_of_its_batch_alone(
    reads: Reads, middle: bytes, found: list[tuple[int, bytes]]
) -> None:
    assert reads(middle + record_batch(3, [b"y", b"z"])) == (found + GOOD, 5)
    assert reads(middle) == (found, 3), "the next fetch begins behind it"


def test_a_batch_that_becomes_too_large_is_passed_over(reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "MOST", 1000)
    for module in (compiled, default_records, plain):
        if hasattr(module, "zstd_decode"):
            monkeypatch.setattr(module, "zstd_decode", codecs.zstd_decode)
    assert reads(record_batch(0, [bytes(2000)] * 3, codec=ZSTD) + record_batch(3, [b"y", b"z"])) == (GOOD, 5)


async def test_an_archiver_bounds_what_batches_become(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (compiled, default_records, plain):
        for name in ("gzip_decode", "lz4_decode", "snappy_decode", "zstd_decode"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, None)  # put back after the test
    settings = Settings()
    settings.kafka.bootstrap = "127.0.0.1:1"
    with pytest.raises(KafkaError):
        await Follower(settings, Store(str(tmp_path))).run(asyncio.Event(), once=True)
    assert compiled.zstd_decode is plain.zstd_decode is codecs.zstd_decode


def test_a_batch_that_was_changed_on_its_way_is_fetched_again() -> None:
    raw = bytearray(record_batch(0, [b"a", b"b", b"c"]))
    raw[-1] ^= 1
    with pytest.raises(CorruptRecordException):
        read(bytes(raw))
