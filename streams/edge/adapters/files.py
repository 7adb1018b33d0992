"""Reads log files into raw records: lines, a JSON array, or objects one behind the other; plain or packed; a path or an
open stream. It holds one record at a time, and never parses more than it needs to tell the format."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

from siphonwatch.streams.common.extensions import ADAPTERS, names
from siphonwatch.streams.contracts.telemetry import Malformed
from siphonwatch.streams.edge.adapters.detect import SAMPLE_RECORDS, detect
from siphonwatch.streams.edge.adapters.elements import Elements, several
from siphonwatch.streams.edge.adapters.otlp_wire import MAX_VARINT, PROTOBUF, varint
from siphonwatch.streams.edge.adapters.packed import CHUNK, DAMAGED, plain
from siphonwatch.streams.edge.adapters.partial import joined
from siphonwatch.streams.edge.adapters.wrapping import BLANK, clean, is_array

LIMIT = 8 * 1024 * 1024
"""Bytes of one record, as `ingest.max_record_bytes` is by default."""

SAMPLE_BYTES = 1 << 20
"""Bytes read ahead, at most and one record, to tell the format."""


class Unreadable(OSError):
    """A file cannot be opened or ends within its compressed data; the records before were read."""


class Records:
    """The raw records of one file, iterated once.

    Attributes
    ----------
    format
        One of `siphonwatch.streams.edge.adapters.formats`.
    """

    def __init__(
        self, format: str, records: Iterator[bytes | Malformed], close: Callable[[], None] = lambda: None
    ) -> None:
        self.format = format
        self._records = records
        self._close = close

    def __iter__(self) -> Iterator[bytes | Malformed]:
        return self._records

    def close(self) -> None:
        """Close the file before its end; at its end it is closed anyway."""
        self._close()


def read_records(source: Path | str | IO[bytes], format: str = "auto", limit: int = LIMIT) -> Records:
    """Split a log into the records an adapter takes.

    Parameters
    ----------
    source
        A path, `-` for standard input, or a binary stream. Compression is told by content, not by name.
    format
        One of `siphonwatch.streams.edge.adapters.formats`, or `auto`.
    limit
        Bytes of one record; a longer one is passed over as `Malformed("size")`.

    Raises
    ------
    Unreadable
        When the source cannot be opened or read; while iterating too.
    ValueError
        When `format` is not known, or `auto` recognises none.
    """
    if format != "auto" and format not in (known := names(ADAPTERS)):
        raise ValueError(f"format {format!r} is not known: use auto, {', '.join(known)}")
    title = str(source) if isinstance(source, str | Path) else str(getattr(source, "name", "the stream"))
    closing = ExitStack()
    try:
        stream = _open(source, closing, title)
    except BaseException:
        closing.close()
        raise
    records = _guard(_records(stream, limit, closing), title)
    if format != "auto":
        return Records(format, records, closing.close)
    head: list[bytes | Malformed] = []
    size = 0
    try:
        while len(head) < SAMPLE_RECORDS and size < SAMPLE_BYTES and (record := next(records, None)) is not None:
            head.append(record)
            size += len(record) if isinstance(record, bytes) else 0
    except Unreadable as error:
        if not head:
            raise
        records = _raising(error)  # behind what could be read
    if not head:
        return Records("telemetry", iter(()))  # nothing in it: nothing to refuse
    if isinstance(head[0], bytes) and head[0][:1] == PROTOBUF:
        return Records("otlp", itertools.chain(head, records), closing.close)
    sample = b"\n".join(b" ".join(record.splitlines()) for record in head if isinstance(record, bytes))
    try:
        found = detect(sample)
    except ValueError as error:
        closing.close()
        raise ValueError(f"{title}: {error}") from None
    return Records(found, itertools.chain(head, records), closing.close)


def _open(source: Path | str | IO[bytes], closing: ExitStack, title: str) -> io.BufferedReader:
    """Open and unpack; `closing` closes what was opened here, not a stream that was handed in."""
    if isinstance(source, str | Path):
        path = Path("/dev/stdin") if str(source) == "-" else Path(source)
        try:
            stream = closing.enter_context(path.open("rb"))
        except OSError as error:
            raise Unreadable(f"cannot open {source}: {error.strerror}") from None
    else:
        stream = io.BufferedReader(_Raw(source), CHUNK)
    try:
        return plain(stream, closing.enter_context)
    except DAMAGED as error:
        raise Unreadable(f"{title} cannot be read: {error}") from None


class _Raw(io.RawIOBase):
    """Any object with `read(n)` as a raw stream."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._stream.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)


def _raising(error: Exception) -> Iterator[bytes | Malformed]:
    yield from ()
    raise error


def _guard(records: Iterator[bytes | Malformed], title: str) -> Iterator[bytes | Malformed]:
    count = itertools.count()
    try:
        yield from map(itemgetter(0), zip(records, count, strict=False))
    except DAMAGED as error:
        raise Unreadable(f"{title} cannot be read beyond record {next(count)}: {error}") from None


def _records(stream: io.BufferedReader, limit: int, closing: ExitStack) -> Iterator[bytes | Malformed]:
    with closing:
        if framed := _protobuf(stream.peek(64)):
            yield from _whole(stream, limit) if framed == BARE else _exports(stream, limit, _SIZES[framed])
            return
        start = b""
        while not start:
            line = stream.readline(CHUNK)
            if not line:
                return
            start = clean(line) + line[len(line.rstrip(BLANK)) :]
            start = b"" if not start.strip(BLANK) else start
        array = is_array(start)
        if array or start.rstrip() == b"{" or (b"\n" not in start and several(start)):
            chunks: Iterable[bytes] = itertools.chain((start,), iter(lambda: stream.read(CHUNK), b""))
            cutter = Elements(limit, array=array)
            for chunk in chunks:
                yield from cutter.feed(chunk)
            yield from cutter.close()
        else:
            yield from joined(_lines(start, stream, limit), limit)


FRAMED, DELIMITED, BARE = "framed", "delimited", "bare"
_NOT_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1f]")


def _protobuf(head: bytes) -> str:
    """Tell whether a file holds OTLP in protobuf: exports one behind the other, or each behind its length, as the
    Collector's file exporter (four bytes) or protobuf's own libraries write it."""
    if not _NOT_TEXT.search(head[:64]):
        return ""
    if head[:1] == PROTOBUF:
        return BARE
    if head[:1] in (b"\0", b"\1") and head[4:5] == PROTOBUF and any(head[:4]):
        return FRAMED
    size, at = varint(head)
    inner, begin = varint(head, at + 1)
    return DELIMITED if head[at : at + 1] == PROTOBUF and inner + begin - at <= size else ""


def _four(stream: io.BufferedReader) -> tuple[int, bool]:
    head = stream.read(4)
    return int.from_bytes(head, "big"), len(head) == 4


def _variable(stream: io.BufferedReader) -> tuple[int, bool]:
    head = b""
    while (octet := stream.read(1)) and len(head) < MAX_VARINT:
        head += octet
        if octet[0] < 0x80:
            return varint(head)[0], True
    return 0, False


_SIZES = {FRAMED: _four, DELIMITED: _variable}
"""Read the size that stands in front of an export, and whether it is whole."""


def _whole(stream: io.BufferedReader, limit: int) -> Iterator[bytes | Malformed]:
    found = stream.read(limit + 1)
    yield found if len(found) <= limit else _too_long(limit)


def _exports(
    stream: io.BufferedReader, limit: int, read_size: Callable[[io.BufferedReader], tuple[int, bool]]
) -> Iterator[bytes | Malformed]:
    while stream.peek(1):
        size, known = read_size(stream)
        left = size
        found = b"" if size > limit else stream.read(size)
        left -= len(found)
        while left > 0 and (passed := stream.read(min(left, CHUNK))):
            left -= len(passed)
        if not known or left:
            yield Malformed("json", "the file ends within an OTLP export")
        else:
            yield found if size <= limit else _too_long(limit)


def _lines(start: bytes, stream: io.BufferedReader, limit: int) -> Iterator[bytes | Malformed]:
    """Cut the stream into lines, a chunk of them at a time; a line that is too long is passed over as it streams by."""
    rest, chunk = b"", start
    old = b"\n" not in start and b"\r" in start.strip(BLANK)  # a line's end of old: a return alone
    while chunk:
        if old:
            chunk = chunk.replace(b"\r", b"\n")
        *lines, rest = (rest + chunk).split(b"\n")
        rest = rest.lstrip(BLANK)  # the hole that copying and truncating leaves may be longer than any line
        yield from _checked(lines, limit)
        if len(rest) > limit:
            yield _too_long(limit)
            rest, chunk = b"", _behind_line(stream)
        else:
            chunk = stream.read1(CHUNK)
    yield from _checked([rest], limit)


def _checked(lines: Iterable[bytes], limit: int) -> list[bytes | Malformed]:
    return [line if len(line) <= limit else _too_long(limit) for line in map(clean, lines) if line]


def _too_long(limit: int) -> Malformed:
    return Malformed("size", f"a line is longer than {limit} bytes")


def _behind_line(stream: io.BufferedReader) -> bytes:
    """The chunk behind the end of the present line; empty at the end of the stream."""
    while chunk := stream.read1(CHUNK):
        _, newline, rest = chunk.partition(b"\n")
        if newline:
            return rest or stream.read1(CHUNK)
    return b""
