"""Takes the packing off bytes: gzip, zstandard, bzip2 and xz, UTF-16 and UTF-32, and the header that Confluent's
serializers write before JSON. Told by content, never by name; what is unpacked is bounded."""

from __future__ import annotations

import bz2
import codecs
import io
import lzma
import re
import zlib
from collections.abc import Callable
from typing import Any, cast

import zstandard

from siphonwatch.streams.contracts.telemetry import Malformed

GZIP = b"\x1f\x8b"
ZSTD = b"\x28\xb5\x2f\xfd"
ZSTD_SKIPPABLE = b"\x2a\x4d\x18"
"""Bytes 1 to 3 of a frame that holds no data, with which pzstd begins (RFC 8878, 3.1.2)."""
BZIP2 = b"BZh"
XZ = b"\xfd7zXZ\x00"
MAGIC = 6
"""Bytes looked at."""
MAX_PACKINGS = 2
"""Packings around each other that are taken off."""

PACKED_CHUNK = 4096
"""Packed bytes unpacked at once: even the worst of zstandard, 4 bytes for a block of 128 KB, give 128 MB, and of many
small members the rest is copied that is within so many bytes."""

CHUNK = 1 << 18
GZIP_BITS = 31
"""Tells zlib that a gzip header stands in front."""

BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
"""The longer ones first: that of UTF-16 begins that of UTF-32."""

DAMAGED: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error, zstandard.ZstdError, lzma.LZMAError)
"""What reading packed bytes raises that are cut off or damaged."""

STARTS = frozenset(b"\x00\x1f\x28\xfe\xff")
"""First bytes of a message that `unpacked` may change; no other is looked at."""

CONFLUENT = 5
"""Bytes before the JSON: a zero, and the schema's number in four."""
_OBJECT = re.compile(rb'\{\s{0,64}["}]')
"""How a JSON object begins."""


def plain(stream: io.BufferedReader, enter: Callable[[Any], Any]) -> io.BufferedReader:
    """Return a stream of a packed one's content in UTF-8; the stream itself where nothing packs it.

    Parameters
    ----------
    stream
        Its first bytes are looked at, not taken.
    enter
        Is given what must be closed, and returns it.
    """
    for _ in range(MAX_PACKINGS):
        magic = stream.peek(MAGIC)[:MAGIC]
        inner: Any = None
        if magic[:2] == GZIP:
            inner = _Gzip(stream)
        elif magic[:4] == ZSTD or (magic[1:4] == ZSTD_SKIPPABLE and 0x50 <= magic[0] <= 0x5F):
            inner = _Zstandard(stream)
        elif magic[:3] == BZIP2 and magic[3:4].isdigit():
            inner = bz2.BZ2File(stream)
        elif magic == XZ:
            inner = lzma.LZMAFile(stream)
        if inner is None:
            break
        stream = enter(io.BufferedReader(cast(Any, inner), CHUNK))
    encoding = _encoding(stream.peek(4)[:4])
    return enter(io.BufferedReader(_Recoded(stream, encoding), CHUNK)) if encoding else stream


def unpacked(raw: bytes, limit: int) -> bytes:
    """Return the content of one message.

    Raises
    ------
    Malformed
        With reason `encoding` where it is packed and damaged, `size` where more than `limit` bytes come of it.
    """
    if raw[:2] == GZIP or raw[:4] == ZSTD:
        packing = "gzip" if raw[:2] == GZIP else "zstandard"
        try:
            stream = plain(io.BufferedReader(io.BytesIO(raw)), lambda opened: opened)
            raw = stream.read(limit + 1)
        except DAMAGED:
            raise Malformed("encoding", f"compressed with {packing}, and cut off or damaged") from None
        if len(raw) > limit:
            raise Malformed("size", f"more than {limit} bytes when unpacked, which is ingest.max_record_bytes")
    elif encoding := _encoding(raw[:4]):
        raw = raw.decode(encoding, "replace").encode("utf-8", "replace")
    elif raw[:1] == b"\0" and _OBJECT.match(raw, CONFLUENT) and raw.rstrip().endswith(b"}"):
        raw = raw[CONFLUENT:]
    return raw


def _encoding(start: bytes) -> str:
    return next((encoding for bom, encoding in BOMS if start.startswith(bom)), "")


class _Raw(io.RawIOBase):
    """Bytes that come in parts of any size."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            part = self._part()
            if part is None:
                return 0
            self._ready = memoryview(part)
        size = min(len(buffer), len(self._ready))
        buffer[:size] = self._ready[:size]
        self._ready = self._ready[size:]
        return size

    def _part(self) -> bytes | None:
        """The next bytes, perhaps none yet; None at the end."""
        raise NotImplementedError


class _Gzip(_Raw):
    """Unpacks gzip members; unlike the library's reader it gives all that stands before damage."""

    def __init__(self, stream: io.BufferedReader) -> None:
        super().__init__(stream)
        self._member = zlib.decompressobj(GZIP_BITS)
        self._rest = b""

    def _part(self) -> bytes | None:
        packed = self._rest or self._stream.read(PACKED_CHUNK)
        if not packed:
            if not self._member.eof:
                raise EOFError("the compressed data ends before its end marker was reached")
            return None
        self._rest = b""
        if self._member.eof:
            packed = packed.lstrip(b"\0")  # a tape's padding
            if not packed:
                return b""
            if not packed.startswith(GZIP[:1]):
                raise OSError("what follows the compressed data is not compressed")
            self._member = zlib.decompressobj(GZIP_BITS)
        part = self._member.decompress(packed, CHUNK)
        self._rest = self._member.unconsumed_tail or self._member.unused_data
        return part


class _Zstandard(_Raw):
    """Unpacks zstandard frames; unlike the library's reader it notices a truncated file."""

    def __init__(self, stream: io.BufferedReader) -> None:
        super().__init__(stream)
        self._frame = zstandard.ZstdDecompressor().decompressobj()

    def _part(self) -> bytes | None:
        packed = self._stream.read(PACKED_CHUNK)
        if not packed:
            if not self._frame.eof:
                raise EOFError("the compressed data ends before its end marker was reached")
            return None
        parts = []
        while packed:
            if self._frame.eof:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            parts.append(self._frame.decompress(packed))
            packed = self._frame.unused_data if self._frame.eof else b""
        return b"".join(parts)


class _Recoded(_Raw):
    """Text in another encoding as UTF-8."""

    def __init__(self, stream: io.BufferedReader, encoding: str) -> None:
        super().__init__(stream)
        self._decode = codecs.getincrementaldecoder(encoding)("replace").decode

    def _part(self) -> bytes | None:
        read = self._stream.read1(CHUNK)
        words = self._decode(read, not read)
        return words.encode("utf-8", "replace") if read or words else None
