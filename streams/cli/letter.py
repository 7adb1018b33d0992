"""A dead letter as people see it: where it came from, why, and which fields it has. It never shows what is in one,
and no control character.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator
from typing import Any

import msgspec

from siphonwatch.streams.contracts.dead_letter import DeadLetter
from siphonwatch.streams.contracts.sighting import MAGIC

FIELDS, DEPTH = 40, 3
"""Fields of one object that are named, and objects inside objects that are looked into."""
LARGEST = 8 * 1024 * 1024
"""Bytes of a value that is parsed: the default of `ingest.max_record_bytes`."""
LATEST = 253_402_300_799_000
"""Milliseconds since 1970 up to the year 9999."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")
"""Names of fields as programs choose them; others may be what somebody wrote."""
_KINDS = {str: "text", int: "number", float: "number", bool: "yes or no", type(None): "null"}


def printable(text: str) -> str:
    """Return a text with each control character replaced by a question mark."""
    return "".join(c if c.isprintable() else "?" for c in text)


def origin(letter: DeadLetter) -> str:
    """Return the place of a letter's record, and the reason."""
    element = f", element {letter.index}" if letter.index else ""
    return f"{letter.topic}[{letter.partition}] offset {letter.offset}{element} ({letter.reason})"


def describe(letter: DeadLetter) -> Iterator[str]:
    """Give what `redrive --show` prints of a letter, line by line.

    Examples
    --------
    >>> value = b'{"id": "r1", "messages": [{"role": "user", "content": "a secret"}], "the user wrote this": 1}'
    >>> letter = DeadLetter(b"key", value, "time", "time: `startTime` holds no time", "raw", 0, 7, 1_767_225_600_000)
    >>> print(*describe(letter), sep="\\n")
    raw[0] offset 7 (time), written 2026-01-01T00:00:00Z
      time: `startTime` holds no time
      value of 93 bytes, key of 3
      fields: id text, messages list of 1 {role text, content text}, and 1 more
    """
    sent = f", sent again {letter.redriven} times" if letter.redriven else ""
    yield printable(f"{origin(letter)}, written {_moment(letter.timestamp)}{sent}")
    yield printable(f"  {letter.detail or 'no detail'}")
    held = {"value": letter.value, "key": letter.key}
    sizes = [f"{what} of {len(data)}" for what, data in held.items() if data is not None]
    sizes[:1] = [f"{sizes[0]} bytes"] if sizes else ["neither value nor key"]
    names = [name if _NAME.fullmatch(name) else "?" for name, _ in letter.headers]
    headers = [f"headers {', '.join(names[:FIELDS])}{_more(len(names) - FIELDS)}"] if names else []
    cut = [f"not kept whole: {letter.shortened}"] if letter.shortened else []
    yield printable(f"  {', '.join([*sizes, *headers, *cut])}")
    yield f"  fields: {fields(letter.value)}"


def fields(value: bytes | None) -> str:
    """Return which fields a record's value has, with their kinds."""
    if not value:
        return "none, it is empty"
    if value.startswith(MAGIC):
        return "packed sightings"
    if len(value) > LARGEST:
        return f"not looked at, above {LARGEST} bytes"
    try:
        tree = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return "none, it is no JSON"
    return _shown(tree, DEPTH).removeprefix("{").removesuffix("}") if isinstance(tree, dict) else _shown(tree, DEPTH)


def _shown(node: Any, depth: int) -> str:
    if isinstance(node, dict):
        named = [name for name in node if _NAME.fullmatch(name)][:FIELDS]
        inside = [f"{name} {_shown(node[name], depth - 1)}" for name in named] if depth > 0 else []
        rest = len(node) - len(inside)
        return "{" + (", ".join([*inside, f"and {rest} more"]) if rest else ", ".join(inside)) + "}"
    if isinstance(node, list):
        first = f" {_shown(node[0], depth)}" if node and isinstance(node[0], dict) else ""
        return f"list of {len(node)}{first}"
    return _KINDS.get(type(node), "other")


def _more(count: int) -> str:
    return f" and {count} more" if count > 0 else ""


def _moment(stamp: int) -> str:
    if not 0 <= stamp <= LATEST:
        return f"at no time ({stamp})"
    return f"{datetime.datetime.fromtimestamp(stamp / 1000, datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"
