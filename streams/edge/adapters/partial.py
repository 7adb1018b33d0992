"""Puts lines together again that a container's runtime cut: containerd and CRI-O mark each part, Docker ends a part
without a line's end. No part is kept beyond the limit of a record."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from siphonwatch.streams.contracts.telemetry import Malformed

CRI = re.compile(rb"\d{4}-\d\d-\d\d[T ]\S{8,40} (?P<stream>stdout|stderr) (?P<flag>[FP])(?::\S{0,64})? ")
"""Before each part of a line: `P` of all but the last."""

DOCKER = re.compile(rb'\{"log":"(?P<words>(?:[^"\\]++|\\.)*+)","stream":"(?P<stream>stdout|stderr)"')
DOCKER_PART = 16_384
"""Bytes of a part (docker/daemon/logger/copier.go); shorter ones without a line's end were stripped of it."""

MARKS = (b"2", b"{")
"""First bytes of a line that either wrote; the years of CRI's lines begin with a 2."""


def joined(lines: Iterable[bytes | Malformed], limit: int) -> Iterator[bytes | Malformed]:
    """Yield the lines, those put together that came in parts.

    Parameters
    ----------
    lines
        Of one file.
    limit
        Bytes of a line; what is longer becomes `Malformed("size")`.

    Examples
    --------
    >>> parts = [b"2026-01-05T00:00:00Z stdout P ab", b"2026-01-05T00:00:00Z stdout F c", b"d"]
    >>> list(joined(parts, 100))
    [b'abc', b'd']
    """
    kept: dict[bytes, bytearray] = {}
    for line in lines:
        if isinstance(line, Malformed) or not line.startswith(MARKS):
            yield line
            continue
        part = CRI.match(line) if line[:1] != b"{" else None
        if part is not None:
            stream, last = part["stream"], part["flag"] == b"F"
            words, front, behind = line[part.end() :], b"", b""
        elif (part := DOCKER.match(line) if line.startswith(b'{"log":"') else None) is not None:
            words, stream = part["words"], b"docker " + part["stream"]
            last = len(words) < DOCKER_PART or words.endswith(b"\\n")
            front, behind = b'{"log":"', line[part.end("words") :]
        else:
            yield line
            continue
        if last and stream not in kept:
            yield line
            continue
        held = kept.setdefault(stream, bytearray())
        if len(held) <= limit:
            held += words
        if last:
            del kept[stream]
            yield _whole(front, held, behind, limit)
    for stream, held in kept.items():  # the file ends within a line
        front, behind = (b'{"log":"', b'"}') if stream.startswith(b"docker") else (b"", b"")
        yield _whole(front, held, behind, limit)


def _whole(front: bytes, held: bytearray, behind: bytes, limit: int) -> bytes | Malformed:
    if len(held) > limit:
        return Malformed("size", f"a line in parts is longer than {limit} bytes")
    return front + bytes(held) + behind
