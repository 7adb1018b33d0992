"""Bounded decompression: no record batch becomes more than `MOST` bytes, however small it is compressed.

aiokafka and kafka-python decompress a record batch at once and to any size; 300 KB of zstd can be 1.2 GB. Their
decoders are replaced by ones that raise, so that the batch is passed over like any other that cannot be read.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from types import ModuleType

import zstandard
from aiokafka import codec
from aiokafka.errors import CorruptRecordException
from aiokafka.record import default_records, legacy_records
from aiokafka.record._crecords import default_records as compiled_default
from aiokafka.record._crecords import legacy_records as compiled_legacy
from kafka.record import default_records as plain_default
from kafka.record import legacy_records as plain_legacy

MOST = 64 * 1024 * 1024
"""Bytes: eight of the largest records that `ingest.max_record_bytes` allows by default. Producers batch some 1 MB
before they compress, and brokers take 1 MB after that."""
PART = 1024 * 1024
WINDOW = 4096
"""Bytes of gzip given at a time: each member's decoder copies what is left of them behind it, and a megabyte holds
50,000 empty members."""
_LZ4_MAGIC, _LZ4_BLOCK = 0x184D2204, {4: 64 * 1024, 5: 256 * 1024, 6: 1024 * 1024, 7: 4 * 1024 * 1024}
_XERIAL_HEAD = 16

Decode = Callable[[bytes], bytes]


class TooLarge(CorruptRecordException):
    """A record batch would become more than `MOST` bytes."""


def zstd_decode(payload: bytes) -> bytes:
    """Decompress zstd frames."""
    parts, size = [], 0
    with zstandard.ZstdDecompressor().stream_reader(io.BytesIO(payload), read_across_frames=True) as reader:
        while part := reader.read(PART):
            size += len(part)
            _check(size)
            parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def gzip_decode(payload: bytes) -> bytes:
    """Decompress gzip members."""
    data, parts, size, at = memoryview(payload), [], 0, 0
    while at < len(data):
        member = zlib.decompressobj(wbits=31)
        while not member.eof:
            given = bytes(data[at : at + WINDOW])
            if not given:
                raise CorruptRecordException("a gzip member ends early")
            part = member.decompress(given, MOST + 1 - size)
            size += len(part)
            _check(size)
            parts.append(part)
            at += len(given) - len(member.unused_data)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def lz4_decode(payload: bytes) -> bytes:
    """Decompress LZ4 frames; their blocks say beforehand how much they may become."""
    data = memoryview(payload)
    at = size = 0
    while at + 7 <= len(data):
        magic, flags, descriptor = struct.unpack_from("<IBB", data, at)
        most = _LZ4_BLOCK.get(descriptor >> 4 & 7)
        if magic != _LZ4_MAGIC or most is None:
            break  # no frame that we know: the library says so
        at += 7 + (8 if flags & 8 else 0) + (4 if flags & 1 else 0)
        while at + 4 <= len(data):
            (length,) = struct.unpack_from("<I", data, at)
            at += 4
            if not length:
                at += 4 if flags & 4 else 0
                break
            stored = length & 0x7FFFFFFF
            size += stored if length & 0x80000000 else min(most, 255 * stored)
            _check(size)
            at += stored + (4 if flags & 16 else 0)
    return _lz4(payload)


def snappy_decode(payload: bytes) -> bytes:
    """Decompress snappy, raw or in the blocks of xerial's library, each of which says what it becomes."""
    data = memoryview(payload)
    if not codec._detect_xerial_stream(payload):  # noqa: SLF001 - no public name
        _check(_snappy_size(data))
        return _snappy(payload)
    at, size = _XERIAL_HEAD, 0
    while at + 4 <= len(data):
        (length,) = struct.unpack_from("!i", data, at)
        if length < 0:
            raise CorruptRecordException("a snappy block of negative length")
        size += _snappy_size(data[at + 4 : at + 4 + length])
        _check(size)
        at += 4 + length
    return _snappy(payload)


def bound() -> None:
    """Have every client of this process, aiokafka's and kafka-python's, decompress by these functions."""
    for module in (default_records, legacy_records, compiled_default, compiled_legacy, plain_default, plain_legacy):
        _replace(module, "gzip_decode", gzip_decode)
        _replace(module, "lz4_decode", lz4_decode)
        _replace(module, "snappy_decode", snappy_decode)
        _replace(module, "zstd_decode", zstd_decode)


_lz4: Decode = codec.lz4_decode
_snappy: Decode = codec.snappy_decode


def _replace(module: ModuleType, name: str, decode: Decode) -> None:
    if hasattr(module, name):
        setattr(module, name, decode)


def _check(size: int) -> None:
    if size > MOST:
        raise TooLarge(f"a record batch would become more than {MOST} bytes")


def _snappy_size(data: memoryview) -> int:
    """What a raw block says it becomes: its first bytes, 7 bits each, the lowest first."""
    size = 0
    for shift, byte in enumerate(data[:5]):
        size |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            break
    return size
