"""Takes off what log shippers put around a line: byte-order marks, NULs, prefixes of container runtimes and syslog,
and JSON envelopes of shippers, cloud loggers, Kafka Connect and others."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from siphonwatch.streams.contracts.telemetry import Malformed
from siphonwatch.streams.edge.adapters.otlp_wire import Group, from_json
from siphonwatch.streams.edge.adapters.values import NotJson, load_json

BLANK = b" \t\r\n\x00\x1e"
"""Around a record; NULs are what a file holds in front after it was copied and truncated while written, and RFC 7464
puts a separator of records before each."""

BOM = b"\xef\xbb\xbf"

_COLOURS = re.compile(rb"\x1b\[[0-9;]{0,16}m")
MAX_COLOURED = 300
"""Bytes of a line in which a terminal's colours are looked for."""

MAX_WRAPPERS = 4
"""Envelopes around envelopes that are opened: Docker's in Filebeat's in Connect's, and one to spare."""

_ISO = rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"
_BSD = rb"[A-Z][a-z]{2} [ \d]\d (?:\d{4} )?\d\d:\d\d:\d\d(?:[.,]\d{1,9})?"
_SENDER = rb"(?:[^\s:\[\]\"{]{1,255}|[0-9a-fA-F:.]{2,45})"
_TAG = rb"[^\s:\[\]\"{]{1,64}(?:\[\d{1,10}\])?:(?=[ {\"])"  # what follows tells it from an IPv6 address
PREFIX = re.compile(
    rb"(?:"
    rb"\[pod/[^\]\s]{1,300}\] |"  # kubectl logs --prefix
    rb"[A-Za-z0-9._-]{1,100} {1,60}\| |"  # docker compose logs
    + _ISO + rb" (?:stdout|stderr) [FP] |"  # CRI: containerd, CRI-O
    rb"\d{1,7} (?=<\d{1,3}>)|"  # syslog over TCP: how many bytes follow (RFC 6587)
    rb"<\d{1,3}>1 (?:" + _ISO + rb"|-) \S{1,255} \S{1,48} \S{1,128} \S{1,32} "
    rb"(?:-|(?:\[(?:[^\]\\\"]|\"(?:[^\"\\]|\\.){0,4096}+\"){0,4096}+\]){1,8}+) ?|"  # RFC 5424
    rb"(?:<\d{1,3}>)?(?:" + _BSD + rb"|" + _ISO + rb") (?:" + _SENDER + rb" )?" + _TAG + rb" ?|"  # RFC 3164
    rb"<\d{1,3}>(?:" + _TAG + rb" ?)?|"  # a priority alone
    + _ISO + rb"[ \t]"  # kubectl logs --timestamps
    rb")"
)  # fmt: skip
"""One prefix; each part is bounded, so that no line costs more than its length."""

_BRACKET_LINE = re.compile(rb"\[(?:\d{4}-\d\d-\d\d[T ]|pod/|[0-9a-fA-F]{0,4}:[0-9a-fA-F:.]{1,60}\] )")
"""A line, not a JSON array: Envoy's text format, kubectl's prefix and an IPv6 address begin with a bracket too."""

ENVELOPE = ("log", "message", "MESSAGE", "msg", "line", "payload", "textPayload", "jsonPayload", "log_processed",
            "structured", "Message", "properties", "event.original", "_raw", "full_message", "short_message", "body",
            "entry", "event", "result", "after", "value", "data", "standard_logging_object", "kwargs", "logEvents",
            "records", "Records", "entries", "logs", "values", "items", "events")  # fmt: skip
"""Keys under which an envelope holds the line, as text or already parsed, or many of them: of Docker, Filebeat, Vector,
journald, cloud loggers, Splunk, GELF, Loki, CloudWatch, CloudEvents, Kafka Connect, Debezium and REST proxies."""


def clean(raw: bytes) -> bytes:
    """Return the bytes without blanks, NULs and byte-order marks around them."""
    raw = raw.strip(BLANK)
    while raw.startswith(BOM):
        raw = raw[len(BOM) :].lstrip(BLANK)
    return raw


def is_array(start: bytes) -> bool:
    """Tell whether what begins so is a JSON array."""
    return start[:1] == b"[" and _BRACKET_LINE.match(start) is None


def without_prefix(line: bytes) -> bytes:
    """Return a line without the prefixes of what carried it; the line itself where none is known.

    Examples
    --------
    >>> without_prefix(b"2026-01-15T00:00:00.5Z stdout F {}"), without_prefix(b"<190>Jan 15 00:00:00 web1 nginx: x")
    (b'{}', b'x')
    """
    for _ in range(MAX_WRAPPERS):
        if line[:1] == b"\x1b":  # a terminal's colours
            line = _COLOURS.sub(b"", line[:MAX_COLOURED]) + line[MAX_COLOURED:]
        if line[:1] == b"{" or (match := PREFIX.match(line)) is None:
            break
        line = clean(line[match.end() :])
    return line[:-1] if line.endswith(b"},") else line  # a line of an array


def unwrapped(raw: bytes, marks: frozenset[str]) -> Iterator[bytes]:
    """Yield what an envelope holds, opened one layer after the other; nothing where `raw` is no envelope.

    Parameters
    ----------
    raw
        A JSON value.
    marks
        Keys of a record itself: an object that has one is no envelope.
    """
    try:
        tree = load_json(raw)
    except NotJson:
        return
    yield from _opened(tree, marks, MAX_WRAPPERS)


def _opened(tree: Any, marks: frozenset[str], left: int) -> Iterator[bytes]:
    if isinstance(tree, str):
        tree = without_prefix(clean(tree.encode("utf-8", "replace")))
        if left and tree[:1] in (b"{", b'"', b"["):
            try:
                inner = load_json(tree)
            except NotJson:
                yield tree
                return
            if isinstance(inner, str | list) or (isinstance(inner, dict) and not marks & inner.keys()):
                yield from _opened(inner, marks, left - 1)
                return
        yield tree
    elif isinstance(tree, list):
        for item in tree if left else ():
            yield from _held(item, marks, left - 1)
    elif isinstance(tree, dict) and left and not marks & tree.keys():
        if isinstance(streams := tree.get("streams"), list):  # Loki's push: many lines in one
            for stream in streams:
                for value in stream.get("values", ()) if isinstance(stream, dict) else ():
                    if isinstance(value, list) and len(value) > 1 and isinstance(value[1], str):
                        yield from _opened(value[1], marks, left - 1)
            return
        if "resourceLogs" in tree or "resource_logs" in tree:  # the Collector's, of a file
            for group in _groups(tree):
                for record in group.records:
                    yield from _held(record.body, marks, left - 1)
            return
        yield from _held(_inner(tree), marks, left - 1)


def _held(value: Any, marks: frozenset[str], left: int) -> Iterator[bytes]:
    """Yield a value within an envelope if it is a record, what it holds if it is another envelope."""
    if isinstance(value, dict) and marks & value.keys():
        yield msgspec.json.encode(value)
    elif isinstance(value, str | dict | list):
        yield from _opened(value, marks, left)


def _groups(tree: Any) -> Iterable[Group]:
    try:
        return list(from_json(tree))
    except Malformed:
        return ()


def _inner(tree: dict[str, Any]) -> Any:
    """What an envelope holds: rather text than an object, rather an object than a list."""
    if isinstance(octets := tree.get("MESSAGE"), list):  # journald, a line that is not UTF-8
        if all(isinstance(octet, int) and 0 <= octet < 256 for octet in octets):
            return bytes(octets).decode("utf-8", "replace")
    if isinstance(nested := tree.get("event"), dict) and isinstance(nested.get("original"), str):  # ECS
        return nested["original"]
    held = [tree[key] for key in ENVELOPE if tree.get(key)]
    return next((value for kind in (str, dict, list) for value in held if isinstance(value, kind)), None)
