"""Takes off what log shippers put around a line: byte-order marks, NULs, prefixes of container runtimes and syslog,
and JSON envelopes of Docker, Filebeat, Fluent Bit, Vector, journald, Loki, cloud loggers and Kafka Connect."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from siphonwatch.streams.edge.adapters.values import NotJson, load_json

BLANK = b" \t\r\n\x00"
"""Around a record; NULs are what a file holds in front after it was copied and truncated while written."""

BOM = b"\xef\xbb\xbf"

MAX_WRAPPERS = 4
"""Envelopes around envelopes that are opened: Docker's in Filebeat's in Connect's, and one to spare."""

_ISO = rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?"
_BSD = rb"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d"
_TAG = rb"[^\s:\[\]\"{]{1,64}(?:\[\d{1,10}\])?:(?=[ {\"])"  # what follows tells it from an IPv6 address
PREFIX = re.compile(
    rb"(?:"
    rb"\[pod/[^\]\s]{1,300}\] |"  # kubectl logs --prefix
    rb"[A-Za-z0-9._-]{1,100} {1,60}\| |"  # docker compose logs
    + _ISO + rb" (?:stdout|stderr) [FP] |"  # CRI: containerd, CRI-O
    rb"<\d{1,3}>1 (?:" + _ISO + rb"|-) \S{1,255} \S{1,48} \S{1,128} \S{1,32} "
    rb"(?:-|(?:\[(?:[^\]\\\"]|\"(?:[^\"\\]|\\.){0,4096}+\"){0,4096}+\]){1,8}+) ?|"  # RFC 5424
    rb"(?:<\d{1,3}>)?(?:" + _BSD + rb"|" + _ISO + rb") (?:[^\s:\[\]\"{]{1,255} )?" + _TAG + rb" ?|"  # RFC 3164
    rb"<\d{1,3}>(?:" + _TAG + rb" ?)?|"  # a priority alone
    + _ISO + rb"[ \t]"  # kubectl logs --timestamps
    rb")"
)  # fmt: skip
"""One prefix; each part is bounded, so that no line costs more than its length."""

_BRACKET_LINE = re.compile(rb"\[(?:\d{4}-\d\d-\d\d[T ]|pod/|[0-9a-fA-F]{0,4}:[0-9a-fA-F:.]{1,60}\] )")
"""A line, not a JSON array: Envoy's text format, kubectl's prefix and an IPv6 address begin with a bracket too."""

ENVELOPE = ("log", "message", "MESSAGE", "msg", "line", "payload", "textPayload", "jsonPayload", "log_processed",
            "structured", "event.original", "_raw", "body")  # fmt: skip
"""Keys under which an envelope holds the line, as text or already parsed."""


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
        if line[:1] == b"{" or (match := PREFIX.match(line)) is None:
            break
        line = clean(line[match.end() :])
    return line


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


def _bodies(groups: Any) -> Iterator[str]:
    """The texts of OTLP's log records."""
    for key, snake in (("scopeLogs", "scope_logs"), ("logRecords", "log_records")):
        groups = [
            inner
            for group in (groups if isinstance(groups, list) else ())
            if isinstance(group, dict) and isinstance(held := group.get(key, group.get(snake)), list)
            for inner in held
        ]
    for record in groups:
        body = record.get("body") if isinstance(record, dict) else None
        words = body.get("stringValue", body.get("string_value")) if isinstance(body, dict) else None
        if isinstance(words, str):
            yield words


def _opened(tree: Any, marks: frozenset[str], left: int) -> Iterator[bytes]:
    if isinstance(tree, str):
        tree = without_prefix(clean(tree.encode("utf-8", "replace")))
        if left and tree[:1] in (b"{", b'"'):
            try:
                inner = load_json(tree)
            except NotJson:
                yield tree
                return
            if isinstance(inner, str) or (isinstance(inner, dict) and not marks & inner.keys()):
                yield from _opened(inner, marks, left - 1)
                return
        yield tree
    elif isinstance(tree, dict) and left and not marks & tree.keys():
        if isinstance(streams := tree.get("streams"), list):  # Loki's push: many lines in one
            for stream in streams:
                for value in stream.get("values", ()) if isinstance(stream, dict) else ():
                    if isinstance(value, list) and len(value) > 1 and isinstance(value[1], str):
                        yield from _opened(value[1], marks, left - 1)
            return
        if (groups := tree.get("resourceLogs", tree.get("resource_logs"))) is not None:  # the Collector's, of a file
            for body in _bodies(groups):
                yield from _opened(body, marks, left - 1)
            return
        held = [tree[key] for key in ENVELOPE if tree.get(key)]
        found = next((value for kind in (str, dict) for value in held if isinstance(value, kind)), None)
        if isinstance(nested := tree.get("event"), dict) and isinstance(nested.get("original"), str):  # ECS
            found = nested["original"]
        if isinstance(octets := tree.get("MESSAGE"), list):  # journald, a line that is not UTF-8
            if all(isinstance(octet, int) and 0 <= octet < 256 for octet in octets):
                found = bytes(octets).decode("utf-8", "replace")
        if isinstance(found, dict) and marks & found.keys():
            yield msgspec.json.encode(found)
        elif isinstance(found, str | dict):
            yield from _opened(found, marks, left - 1)
