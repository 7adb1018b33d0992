"""The records of the state topic: their keys, the frame of a page, the manifest and body of a checkpoint.

Pure bytes in and out. It never decides which snapshot is the right one.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
import zstandard

CLAIM = b"claim"
"""Key of the record by which an owner takes the partition over; the latest is the one that counts."""

LEVEL = -3
"""zstd level of pages: half the time of 1, and 8 % larger."""
BODY_LEVEL = 1
"""Of the models, which are small beside the pages."""

_CRC = struct.Struct("<I")
_FRAME = struct.Struct("<BBII")  # magic, flags, index bytes, raw bytes; the checksum before it covers it too
_HEAD = _CRC.size + _FRAME.size
_MAGIC = 0xA8  # 0xA7: rows turned round byte by byte
_COLD = 1


class Corrupt(ValueError):
    """Bytes are not those that were written."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of account rows.

    Parameters
    ----------
    data
        The rows as raw bytes, about 32 KiB; stored compressed.
    index
        A few bytes that tell which accounts are inside; a restore returns them for cold pages too.
    cold
        A cold page stays in the state topic at a restore; `StateLog.fetch` brings its data.
    """

    data: bytes
    index: bytes = b""
    cold: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """A page as stored: still compressed, its checksum verified."""

    index: bytes
    cold: bool
    size: int
    packed: bytes


class Version(NamedTuple):
    """The place of one page of a snapshot: its owner, its checkpoint and its offset in the state topic."""

    owner: str
    epoch: int
    offset: int


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """Names one complete snapshot; it is written after everything it names was acknowledged."""

    owner: str
    epoch: int
    next_offset: int
    claim: int
    """Offset of the owner's claim in the state topic."""
    chunks: int
    """Records the body is split over."""
    crc: int
    """CRC-32 of the body."""
    meta: dict[str, Any]
    version: int = 1


class _Body(msgspec.Struct, frozen=True, array_like=True):
    owners: list[str]
    pages: bytes
    owner_of: bytes
    epochs: bytes
    models: bytes


def page_key(page: int, owner: str, epoch: int) -> bytes:
    """Return the key of one version of a page; it is never written twice with different content."""
    return f"p/{page}/{owner}/{epoch}".encode()


def page_of(key: bytes) -> int | None:
    """Return the number of the page that a key is of; None where it is of none."""
    kind, _, rest = key.partition(b"/")
    number = rest.partition(b"/")[0]
    return int(number) if kind == b"p" and number.isdigit() else None


def chunk_key(owner: str, epoch: int, index: int) -> bytes:
    """Return the key of one part of a checkpoint's body."""
    return f"b/{owner}/{epoch}/{index}".encode()


def manifest_key(owner: str, epoch: int) -> bytes:
    """Return the key of a checkpoint's manifest."""
    return f"m/{owner}/{epoch}".encode()


def pack_pages(pages: Iterable[Page]) -> list[bytes]:
    """Compress and frame pages."""
    compress = zstandard.ZstdCompressor(level=LEVEL).compress  # to make one takes a fifth of the time of a page
    return [_framed(page, compress(page.data)) for page in pages]


def _framed(page: Page, packed: bytes) -> bytes:
    header = _FRAME.pack(_MAGIC, _COLD if page.cold else 0, len(page.index), len(page.data))
    crc = zlib.crc32(packed, zlib.crc32(page.index, zlib.crc32(header)))
    return b"".join((_CRC.pack(crc), header, page.index, packed))


def read_frame(value: bytes) -> Frame:
    """Take a stored page apart and verify its checksum, without decompressing it.

    Raises
    ------
    Corrupt
        When it is no page or not as written.
    """
    if len(value) < _HEAD:
        raise Corrupt(f"a page of {len(value)} bytes is shorter than its header")
    magic, flags, index_size, size = _FRAME.unpack_from(value, _CRC.size)
    if magic != _MAGIC or zlib.crc32(memoryview(value)[_CRC.size :]) != _CRC.unpack_from(value)[0]:
        raise Corrupt("the page's checksum does not fit its bytes")
    body = _HEAD + index_size
    return Frame(value[_HEAD:body], bool(flags & _COLD), size, value[body:])


def unpack_page(frame: Frame) -> bytes:
    """Decompress one page.

    Raises
    ------
    Corrupt
        When it does not decompress to its size.
    """
    try:
        data = zstandard.ZstdDecompressor().decompress(frame.packed, max_output_size=max(frame.size, 1))
    except zstandard.ZstdError as error:
        raise Corrupt(f"a page does not decompress: {error}") from None
    if len(data) != frame.size:
        raise Corrupt(f"a page decompresses to {len(data)} bytes instead of {frame.size}")
    return data


def pack_body(table: Mapping[int, Version], models: bytes) -> bytes:
    """Compress the table of page versions and the models into one blob, about 3 bytes a page."""
    owners = sorted({version.owner for version in table.values()})
    number = {owner: i for i, owner in enumerate(owners)}
    pages = sorted(table)
    body = _Body(
        owners,
        np.diff(np.array(pages, "<i8"), prepend=0).astype("<i8").tobytes(),
        np.array([number[table[page].owner] for page in pages], "<u4").tobytes(),
        np.array([table[page].epoch for page in pages], "<u8").tobytes(),
        models,
    )
    return zstandard.ZstdCompressor(level=BODY_LEVEL).compress(msgspec.msgpack.encode(body))


def read_body(blob: bytes) -> tuple[dict[int, tuple[str, int]], bytes]:
    """Return the table (page -> owner, epoch) and the models.

    Raises
    ------
    Corrupt
        When the blob is no body.
    """
    try:
        body = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(blob), type=_Body)
        pages = np.cumsum(np.frombuffer(body.pages, "<i8")).tolist()
        owner_of = np.frombuffer(body.owner_of, "<u4").tolist()
        epochs = np.frombuffer(body.epochs, "<u8").tolist()
        table = {p: (body.owners[o], e) for p, o, e in zip(pages, owner_of, epochs, strict=True)}
    except (zstandard.ZstdError, msgspec.DecodeError, ValueError, IndexError) as error:
        raise Corrupt(f"a checkpoint's body cannot be read: {error}") from None
    return table, body.models


def split(blob: bytes, size: int) -> list[bytes]:
    """Split into parts of at most `size` bytes; an empty blob is one empty part."""
    return [blob[i : i + size] for i in range(0, len(blob), size)] or [b""]


def join(parts: Sequence[bytes], crc: int) -> bytes:
    """Put a split blob together.

    Raises
    ------
    Corrupt
        When the checksum does not fit.
    """
    blob = b"".join(parts)
    if zlib.crc32(blob) != crc:
        raise Corrupt("the checksum of a checkpoint's body does not fit its bytes")
    return blob
