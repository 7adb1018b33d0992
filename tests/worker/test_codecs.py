"""A record batch becomes no more than so many bytes, whatever a few kilobytes claim; others stay as they were."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import zstandard
from aiokafka import TopicPartition, codec
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record import default_records
from aiokafka.record._crecords import default_records as compiled
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords

from siphonwatch.streams.worker.transport import Lease, Limits, codecs
from siphonwatch.streams.worker.transport.unpack import Gap, Unpacker

GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
ENCODE: dict[int, Callable[[bytes], bytes]] = {
    GZIP: codec.gzip_encode, SNAPPY: codec.snappy_encode, LZ4: codec.lz4_encode, ZSTD: codec.zstd_encode,
}  # fmt: skip
DECODE = {
    GZIP: codecs.gzip_decode, SNAPPY: codecs.snappy_decode, LZ4: codecs.lz4_decode, ZSTD: codecs.zstd_decode,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _bounded() -> Iterator[None]:
    """As in a worker, put back after the test."""
    names = ("gzip_decode", "lz4_decode", "snappy_decode", "zstd_decode")
    before = [(module, name, getattr(module, name)) for module in (compiled, default_records) for name in names]
    codecs.bound()
    yield
    for module, name, function in before:
        setattr(module, name, function)


def texts() -> list[bytes]:
    r = Random(3)
    return [
        b"a", b"0" * 3_000_000, r.randbytes(200_000), b"".join(b"%d," % r.randrange(999) for _ in range(200_000)),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ENCODE)
def test_what_producers_write_comes_as_it_was(kind: int) -> None:
    for text in texts():
        assert DECODE[kind](ENCODE[kind](text)) == text
    assert codecs.snappy_decode(codec.snappy_encode(b"raw" * 99, xerial_compatible=False)) == b"raw" * 99


@pytest.mark.parametrize("kind", ENCODE)
def test_more_than_the_bound_is_refused(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "MOST", 1_000_000)
    assert len(DECODE[kind](ENCODE[kind](bytes(900_000)))) == 900_000
    with pytest.raises(codecs.TooLarge):
        DECODE[kind](ENCODE[kind](bytes(1_200_000)))


@pytest.mark.parametrize("kind", [GZIP, LZ4, ZSTD])
def test_several_frames_count_together(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "MOST", 1_000_000)
    with pytest.raises(codecs.TooLarge):
        DECODE[kind](ENCODE[kind](bytes(600_000)) * 2)


def test_a_member_of_gzip_costs_no_copy_of_all_those_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []

    def decoder(**chosen: int) -> Any:
        made.append(zlib.decompressobj(**chosen))
        return made[-1]

    monkeypatch.setattr(codecs, "zlib", SimpleNamespace(decompressobj=decoder))
    assert codecs.gzip_decode(codec.gzip_encode(b"a") * 2000) == b"a" * 2000
    assert len(made) == 2000
    assert max(len(one.unused_data) for one in made) <= codecs.WINDOW


@pytest.mark.parametrize("kind", ENCODE)
def test_what_is_cut_short_raises(kind: int) -> None:
    whole = ENCODE[kind](Random(1).randbytes(5000))
    with pytest.raises(Exception, match=r"."):
        assert len(DECODE[kind](whole[:-900])) == 5000


def test_a_gigabyte_in_a_few_kilobytes_is_never_in_memory() -> None:
    packer = zstandard.ZstdCompressor().compressobj()
    part = bytes(1024 * 1024)
    bomb = b"".join(packer.compress(part) for _ in range(1200)) + packer.flush()
    assert len(bomb) < 400_000
    tracemalloc.start()
    try:
        with pytest.raises(codecs.TooLarge):
            codecs.zstd_decode(bomb)
        assert tracemalloc.get_traced_memory()[1] < 2 * codecs.MOST
    finally:
        tracemalloc.stop()


def record_batch(kind: int, values: list[bytes], base: int = 0) -> bytes:
    builder = DefaultRecordBatchBuilder(2, kind, 0, -1, -1, -1, 1 << 30)
    for i, value in enumerate(values):
        builder.append(i, 1000 + i, None, value, [])
    raw = bytearray(builder.build())
    raw[0:8] = base.to_bytes(8, "big")
    return bytes(raw)


@pytest.mark.parametrize("kind", ENCODE)
def test_a_record_batch_too_large_to_unpack_is_passed_over_and_named(
    kind: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codecs, "MOST", 1_000_000)
    raw = record_batch(kind, [bytes(400_000)] * 3) + record_batch(kind, [b"next"], base=3)
    fetched = PartitionRecords(TopicPartition("t", 0), MemoryRecords(raw), [], 0, None, None, True, 1)
    unpacker = Unpacker(fetched, 0)
    lease = Lease("t", 0, 1, lambda _: None)
    assert unpacker.take(lease, Limits()) is None
    assert unpacker.gap == Gap(0, 3, "TooLarge")
    unpacker.skip()
    batch = unpacker.take(lease, Limits())
    assert batch is not None and batch.values == [b"next"]


def test_large_records_end_a_batch_soon_after_its_limit() -> None:
    raw = record_batch(0, [bytes(100_000)] * 300)
    fetched = PartitionRecords(TopicPartition("t", 0), MemoryRecords(raw), [], 0, None, None, True, 1)
    unpacker, sizes = Unpacker(fetched, 0), []
    while (batch := unpacker.take(Lease("t", 0, 1, lambda _: None), Limits(max_bytes=1_000_000))) is not None:
        sizes.append(batch.size)
    assert sum(sizes) == 30_000_000
    assert max(sizes) <= 1_700_000
