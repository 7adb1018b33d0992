"""Cuts a JSON array, or objects one after the other, into its elements as the bytes arrive, without parsing them: one
broken element takes none of its neighbours with it, and an array of any size needs the memory of one element.

Incremental parsers such as ijson end at the first byte that is no JSON; this goes on behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from siphonwatch.streams.contracts.telemetry import Malformed
from siphonwatch.streams.edge.adapters.wrapping import BLANK, clean, is_array

_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+("?)|[\[\]{},]', re.DOTALL)
_REST_OF_STRING = re.compile(rb'(?:[^"\\]++|\\.)*+("?)', re.DOTALL)
_OPEN = b"[{"
_BETWEEN = re.compile(rb"\}[ \t]{0,8}\{")


class Elements:
    """Feed it bytes, take out elements.

    Parameters
    ----------
    limit
        Bytes of one element; a longer one gives `Malformed("size")` and is passed over without being kept.
    array
        The input is one array (or several); otherwise values one after the other.

    Examples
    --------
    >>> cutter = Elements(limit=1000, array=True)
    >>> [*cutter.feed(b'[{"a": "]"}, {"b'), *cutter.feed(b'": 2}]'), *cutter.close()]
    [b'{"a": "]"}', b'{"b": 2}']
    """

    def __init__(self, limit: int, *, array: bool) -> None:
        self._limit = limit
        self._base = 1 if array else 0
        self._depth = 0
        self._string = False
        self._escaped = False
        self._kept = bytearray()
        self._oversize = False

    def feed(self, chunk: bytes) -> Iterator[bytes | Malformed]:
        """Yield the elements that `chunk` completes."""
        at = start = 0
        if self._escaped:
            at = 1
            self._escaped = False
        while at < len(chunk):
            if self._string:
                match = _REST_OF_STRING.match(chunk, at)
            else:
                match = _STRUCTURE.search(chunk, at)
            if match is None:
                break
            at = match.end()
            if match.group(1) is not None:
                self._string = not match.group(1)
                if self._string:  # the chunk ends within this string, perhaps between a backslash and its character
                    self._escaped = at < len(chunk)
                    break
                continue
            token = match.group()
            if token in _OPEN:
                self._depth += 1
                if self._depth == 1 == self._base:
                    yield from self._between(chunk[start : at - 1])
                    start = at
            elif token == b",":
                if self._depth == self._base:
                    self._keep(chunk[start : at - 1])
                    yield from self._take()
                    start = at
            elif self._depth:
                self._depth -= 1
                if self._depth == 0:  # the end of the array, which is no part of its last element, or of an object
                    self._keep(chunk[start : at - self._base])
                    yield from self._take()
                    start = at
        self._keep(chunk[start:])

    def close(self) -> Iterator[bytes | Malformed]:
        """Yield what is left when the input ends: nothing, or what was cut off."""
        if self._depth or self._string:
            size = len(self._kept)
            self._kept.clear()
            yield Malformed("json", f"the input ends within an array or object, {size} bytes are left over")
        elif self._base:
            yield from self._between(b"")
        else:
            yield from self._take()

    def _between(self, part: bytes) -> Iterator[Malformed]:
        """Before, between and after arrays nothing but blanks may stand."""
        self._keep(part)
        if self._oversize or self._kept.strip(BLANK):
            yield Malformed("json", "text outside the array")
        self._kept.clear()
        self._oversize = False

    def _keep(self, part: bytes) -> None:
        if self._oversize:
            return
        self._kept += part
        if len(self._kept) > self._limit + 2:
            self._oversize = True
            self._kept.clear()

    def _take(self) -> Iterator[bytes | Malformed]:
        element = bytes(self._kept.strip(BLANK))
        self._kept.clear()
        if self._oversize or len(element) > self._limit:
            self._oversize = False
            yield Malformed("size", f"an array element is longer than {self._limit} bytes")
        elif element:
            yield element


def several(raw: bytes) -> list[bytes | Malformed]:
    """Return the objects that stand one behind the other without a line's end between, as Firehose writes them, and
    what is cut off at the end; nothing where there are not two whole ones.

    Examples
    --------
    >>> several(b'{"a":1}{"a":2}'), several(b'{"a":"}{"}'), len(several(b'{"a":1}{"a":2} {"a":'))
    ([b'{"a":1}', b'{"a":2}'], [], 3)
    """
    if raw[:1] != b"{" or not _BETWEEN.search(raw):
        return []
    cutter = Elements(len(raw), array=False)
    found = list(cutter.feed(raw))
    return [*found, *cutter.close()] if len(found) > 1 else []


def split(raw: bytes, limit: int) -> Iterator[bytes | Malformed]:
    """Yield the records of one message: of an array its elements, of several lines its lines, else the whole.

    An object is not scanned: it may stand over several lines, but then its first one does not end in a brace.
    """
    body = clean(raw)
    if body[:1] == b"{" and b"\n" not in body:
        yield body
        return
    line = body.partition(b"\n")[0].rstrip(BLANK)
    if is_array(body):
        cutter = Elements(limit, array=True)
        yield from cutter.feed(body)
        yield from cutter.close()
    elif len(line) < len(body) and (line[:1] != b"{" or line.endswith(b"}")):
        yield from (line for line in map(clean, body.splitlines()) if line)
    elif body:
        yield body
