"""Tells which format a log is in from its first records; it never guesses when nothing fits."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from siphonwatch.streams.common.extensions import ADAPTERS, added, load, names
from siphonwatch.streams.contracts.telemetry import Malformed
from siphonwatch.streams.edge.adapters.elements import several, split
from siphonwatch.streams.edge.adapters.envoy import LINE
from siphonwatch.streams.edge.adapters.nginx import combined
from siphonwatch.streams.edge.adapters.parsed import under_our_names
from siphonwatch.streams.edge.adapters.values import NotJson, load_json
from siphonwatch.streams.edge.adapters.wrapping import clean, is_array, unwrapped, without_prefix

SAMPLE_RECORDS = 20
"""Records looked at; the first that fits decides, so that a broken first line does not."""

OTLP = frozenset(("resourceSpans", "resource_spans", "resourceLogs", "resource_logs"))
LITELLM = frozenset(("call_type", "model_parameters", "hidden_params", "custom_llm_provider", "response_cost"))
ENVOY = frozenset(
    ("response_code", "response_flags", "x-request-id", "x-envoy-upstream-service-time", "upstream_cluster",
     "upstream_host", "downstream_remote_address", "route_name", "duration_ms")
)  # fmt: skip
ENVOY_SERVICE = frozenset(("commonProperties", "common_properties", "httpLogs", "http_logs"))
NGINX = frozenset(("remote_addr", "request", "request_uri", "uri", "request_method", "body_bytes_sent"))
NGINX_TIME = frozenset(("time_local", "time_iso8601", "msec", "time", "timestamp", "@timestamp"))
MARKS = frozenset(("resourceSpans", "resource_spans", "resourceLogs", "resource_logs", "startTime", "started_at",
                   "start_time", "remote_addr", "request"))  # fmt: skip
"""Keys of records of some format: an object with one is no envelope. Telemetry's `account` is tried last, as envelopes
may have such a key too."""
NOT_TELEMETRY = frozenset(("remote_addr", "request", "request_uri", "messages", "metadata", "response"))


def detect(sample: bytes) -> str:
    """Return the format of a log's first complete records.

    Parameters
    ----------
    sample
        Lines, or a JSON array, or the start of one; the last record may be cut off.

    Raises
    ------
    ValueError
        When no record fits any format; the message lists them.
    """
    seen = 0
    body = clean(sample)
    records = split(sample, len(sample)) if is_array(body) else iter(body.splitlines())
    for record in records:
        if seen == SAMPLE_RECORDS:
            break
        if isinstance(record, Malformed) or not record.strip():
            continue
        seen += 1
        found = recognise(record) or _added(record)
        if found:
            return found
    found = recognise(body) or _added(body)  # one object over several lines
    if found:
        return found
    raise ValueError(
        f"none of the first {seen} records looks like a known format ({', '.join(names(ADAPTERS))}): "
        "name it with --format, or check that the file is a gateway's log"
    )


def recognise(record: bytes) -> str:
    """Return the format of one record, in whatever envelope, '' when it fits none."""
    record = without_prefix(clean(record))
    if record[:1] not in (b"{", b'"'):
        return _of_line(record)
    try:
        tree = load_json(record)
    except NotJson:
        return recognise(first) if (parts := several(record)) and isinstance(first := parts[0], bytes) else ""
    found = _of_object(tree) if isinstance(tree, dict) else ""
    for inner in itertools.chain(unwrapped(record, MARKS), unwrapped(record, MARKS | {"account"})) if not found else ():
        found = recognise(inner) if inner != record else ""
        if found:
            break
    return found


def _added(record: bytes) -> str:
    """The format of another distribution that says the record is its own; ours go first."""
    for name in added(ADAPTERS):
        if load(ADAPTERS, name).recognises(record):
            return name
    return ""


def _of_line(line: bytes) -> str:
    if line[:1] == b"[" and LINE.match(line.decode("utf-8", "replace")):
        return "envoy"
    try:
        return "nginx" if combined(line.decode("utf-8", "replace")) else ""
    except Malformed:
        return "nginx"  # which says what is wrong with its beginning


def _of_object(tree: Mapping[str, Any]) -> str:
    keys = tree.keys()
    if keys & OTLP:
        return "otlp"
    if "startTime" in keys and keys & LITELLM:
        return "litellm"
    if "started_at" in keys and isinstance(tree.get("request"), dict):
        return "kong"
    if keys & ENVOY_SERVICE:
        return "envoy"
    if {"id", "time", "account"} <= keys and isinstance(tree["time"], int | float) and not keys & NOT_TELEMETRY:
        return "telemetry"
    if "start_time" in keys and (
        keys & ENVOY or any(key.startswith(("gen_ai.", "genai_", "x-ai-eg-")) for key in keys)
    ):
        return "envoy"
    if keys & NGINX and keys & NGINX_TIME and ("status" in keys or "request" in keys):
        return "nginx"
    if (parsed := under_our_names(tree)) is not tree and "status" in parsed and parsed.keys() & NGINX_TIME:
        return "nginx"
    return ""
