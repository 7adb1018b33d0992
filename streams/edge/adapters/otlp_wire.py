"""OTLP traces and logs as spans and records, whichever encoding they came in: JSON in camel or snake case, or protobuf,
the default of the Collector's Kafka exporter."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from siphonwatch.streams.contracts.telemetry import Malformed
from siphonwatch.streams.edge.adapters.values import count, number, sequence, text, timestamp

MAX_DEPTH = 16
"""Nesting of an attribute's value that is read."""

PROTOBUF = b"\n"
"""First byte of every non-empty export in protobuf: field 1, a message."""

MAX_VARINT = 5
"""Bytes of a length; no export is longer than they can say."""

TRACE_DIGITS = 32
"""Hexadecimal digits of a trace's id; what is no span has something else in its place."""

Attributes = dict[str, Any]


class Event(NamedTuple):
    """Something that happened within a span."""

    name: str
    attributes: Attributes


class Span(NamedTuple):
    """A span, or a log record that stands for one; ids in hexadecimal, times in seconds since 1970."""

    trace: str
    own: str
    parent: str
    name: str
    kind: int
    start: float | None
    end: float | None
    failed: bool
    message: str
    """Of the status; '' where it is no failure."""
    attributes: Attributes
    events: list[Event]
    body: Any = None
    """Of a log record."""


class Group(NamedTuple):
    """What one resource sent in one message."""

    resource: Attributes
    spans: list[Span]
    records: list[Span]
    """Log records; `name` is the event's."""
    bad: list[Malformed]


def from_json(tree: Mapping[str, Any]) -> Iterator[Group]:
    """Yield the groups of an ExportTraceServiceRequest or ExportLogsServiceRequest.

    Raises
    ------
    Malformed
        With reason `schema`, where it is neither.
    """
    spans, logs = _get(tree, "resourceSpans"), _get(tree, "resourceLogs")
    if spans is None and logs is None and _get(tree, "resourceMetrics") is None:
        raise Malformed("schema", "neither `resourceSpans` nor `resourceLogs` is there")
    if not isinstance(spans if spans is not None else [], list):
        raise Malformed("schema", "`resourceSpans` is not an array")
    if not isinstance(logs if logs is not None else [], list):
        raise Malformed("schema", "`resourceLogs` is not an array")
    for groups, scopes, items in ((spans, "scopeSpans", "spans"), (logs, "scopeLogs", "logRecords")):
        for group in sequence(groups):
            yield _group(group, scopes, items)


def _group(group: Any, scopes: str, items: str) -> Group:
    resource = attributes(_get(_get(group, "resource"), "attributes"))
    found = Group(resource, [], [], [])
    scoped = _get(group, scopes)
    if scoped is None:
        scoped = _get(group, "instrumentationLibrarySpans")
    if not isinstance(scoped, list):
        found.bad.append(Malformed("schema", f"`{scopes}` is not an array"))
        return found
    for scope in scoped:
        held = _get(scope, items)
        if not isinstance(held, list):
            found.bad.append(Malformed("schema", f"`{items}` is not an array"))
            continue
        for item in held:
            if not isinstance(item, dict):
                found.bad.append(Malformed("schema", "a span is not an object"))
            elif items == "spans":
                found.spans.append(_span(item))
            else:
                found.records.append(_record(item))
    return found


def _span(item: Mapping[str, Any]) -> Span:
    kind = _get(item, "kind")
    return Span(
        trace=_id(_get(item, "traceId")),
        own=_id(_get(item, "spanId")),
        parent=_id(_get(item, "parentSpanId")),
        name=text(item.get("name")),
        kind=KINDS.get(kind, 0) if isinstance(kind, str) else count(kind),
        start=timestamp(_get(item, "startTimeUnixNano")),
        end=timestamp(_get(item, "endTimeUnixNano")),
        failed=_get(_get(item, "status"), "code") in (2, "2", "STATUS_CODE_ERROR"),
        message=text(_get(_get(item, "status"), "message")),
        attributes=attributes(_get(item, "attributes")),
        events=[
            Event(text(event.get("name")), attributes(_get(event, "attributes")))
            for event in sequence(_get(item, "events"))
            if isinstance(event, dict)
        ],
    )


def _record(item: Mapping[str, Any]) -> Span:
    found = attributes(_get(item, "attributes"))
    body = _value(_get(item, "body"), 0)
    moment = timestamp(_get(item, "timeUnixNano")) or timestamp(_get(item, "observedTimeUnixNano"))
    return Span(
        trace=_id(_get(item, "traceId")),
        own=_id(_get(item, "spanId")),
        parent="",
        name=text(_get(item, "eventName")) or text(found.get("event.name")),
        kind=0,
        start=moment,
        end=None,
        failed=False,
        message="",
        attributes={**body, **found} if isinstance(body, dict) else found,
        events=[],
        body=body,
    )


KINDS = {f"SPAN_KIND_{name}": i for i, name in enumerate(("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT"))}
SERVER = 2


def _get(tree: Any, key: str) -> Any:
    """A field by its name in camel or in snake case."""
    if not isinstance(tree, dict):
        return None
    found = tree.get(key)
    return found if found is not None else tree.get(SNAKE.get(key, key))


def _snake(key: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in key)


SNAKE = {
    key: _snake(key)
    for key in ("resourceSpans", "resourceLogs", "resourceMetrics", "scopeSpans", "scopeLogs", "logRecords",
                "instrumentationLibrarySpans", "traceId", "spanId", "parentSpanId", "startTimeUnixNano",
                "endTimeUnixNano", "timeUnixNano", "observedTimeUnixNano", "eventName", "intValue", "stringValue",
                "doubleValue", "boolValue", "bytesValue", "arrayValue", "kvlistValue")
}  # fmt: skip


def _id(value: Any) -> str:
    """An id in hexadecimal; encoders that follow protobuf's JSON rather than OTLP's write it in base64."""
    found = text(value)
    if len(found) in (12, 24) and (len(found) == 24 or found.endswith("=")):
        try:
            octets = base64.b64decode(found, validate=True)
        except (binascii.Error, ValueError):
            return found
        return octets.hex() if len(octets) in (8, 16) else found
    return "" if found.strip("0") == "" else found.lower()


def attributes(pairs: Any) -> Attributes:
    """Return OTLP's list of key and typed value as a plain dictionary; one that is a dictionary already, as it is."""
    if isinstance(pairs, dict):
        return {str(key): _value(value, 0) for key, value in pairs.items()}
    return {
        pair["key"]: _value(pair.get("value"), 0)
        for pair in sequence(pairs)
        if isinstance(pair, dict) and isinstance(pair.get("key"), str)
    }


def _value(value: Any, depth: int) -> Any:
    """An AnyValue of opentelemetry/proto/common/v1; 64-bit integers are JSON strings there."""
    if not isinstance(value, dict):  # no AnyValue, but the value itself
        return value if depth == 0 else None
    if depth > MAX_DEPTH:
        return None
    whole = _get(value, "intValue")
    if whole is not None:
        found = number(whole)
        return None if found is None else int(found)
    for scalar in ("stringValue", "doubleValue", "boolValue"):
        if (found := _get(value, scalar)) is not None:
            return found
    if (array := _get(value, "arrayValue")) is not None:
        return [_value(item, depth + 1) for item in sequence(_get(array, "values"))]
    pairs = sequence(_get(_get(value, "kvlistValue"), "values"))
    return {
        pair["key"]: _value(pair.get("value"), depth + 1)
        for pair in pairs
        if isinstance(pair, dict) and isinstance(pair.get("key"), str)
    }


@cache
def _messages() -> tuple[Any, Any]:
    """The classes of TracesData and LogsData, whose strings are bytes: protobuf refuses a whole export for one string
    that is not UTF-8, which any client can bring about by its user agent."""
    from google.protobuf.descriptor_pb2 import FileDescriptorProto  # only where protobuf comes: gateways need it not
    from google.protobuf.descriptor_pool import DescriptorPool
    from google.protobuf.message_factory import GetMessageClass
    from opentelemetry.proto.common.v1 import common_pb2
    from opentelemetry.proto.logs.v1 import logs_pb2
    from opentelemetry.proto.resource.v1 import resource_pb2
    from opentelemetry.proto.trace.v1 import trace_pb2

    pool = DescriptorPool()
    for module in (common_pb2, resource_pb2, trace_pb2, logs_pb2):
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        messages = list(file.message_type)
        while messages:
            message = messages.pop()
            messages.extend(message.nested_type)
            for field in message.field:
                if field.type == field.TYPE_STRING:
                    field.type = field.TYPE_BYTES
        pool.Add(file)
    names = ("opentelemetry.proto.trace.v1.TracesData", "opentelemetry.proto.logs.v1.LogsData")
    traces, logs = (GetMessageClass(pool.FindMessageTypeByName(name)) for name in names)
    return traces, logs


def varint(raw: bytes, at: int = 0) -> tuple[int, int]:
    """Return protobuf's integer of variable length that begins at a place, and the place behind it.

    Examples
    --------
    >>> varint(bytes((0xAC, 0x02)))
    (300, 2)
    """
    value = 0
    for i, octet in enumerate(raw[at : at + MAX_VARINT]):
        value |= (octet & 0x7F) << (7 * i)
        if octet < 0x80:
            return value, at + i + 1
    return 0, len(raw)


def delimited(raw: bytes) -> list[bytes]:
    """Return the exports of a message that has the length in front of each, in four bytes or as a varint; none
    where it is no such message."""
    for size_at in (lambda at: (int.from_bytes(raw[at : at + 4], "big"), at + 4), lambda at: varint(raw, at)):
        found: list[bytes] = []
        at = 0
        while at < len(raw):
            size, begin = size_at(at)
            at = begin + size
            if at > len(raw) or raw[begin : begin + 1] != PROTOBUF:
                break
            found.append(raw[begin:at])
        else:
            return found
    return []


def from_protobuf(raw: bytes) -> list[Group] | None:
    """Return the groups of an export in protobuf; None where the bytes are none. Metrics give groups of nothing."""
    if raw[:1] != PROTOBUF:
        return None
    from google.protobuf.message import DecodeError

    traces_data, logs_data = _messages()
    found: list[Group] | None = None
    try:  # bytes of one kind read as the other are damaged or empty
        traces = traces_data.FromString(raw)
        found = [_proto_group(group, group.scope_spans) for group in traces.resource_spans]
        found = [
            group._replace(spans=[span for span in group.spans if len(span.trace) == TRACE_DIGITS]) for group in found
        ]
    except DecodeError:
        pass
    if not any(group.spans for group in found or ()):
        try:
            logs = logs_data.FromString(raw)
            found = [_proto_group(group, group.scope_logs) for group in logs.resource_logs]
            found = [group._replace(records=[one for one in group.records if one.start or one.name]) for group in found]
        except DecodeError:
            pass
    return found


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "replace")


def _proto_group(group: Any, scopes: Any) -> Group:
    found = Group(_proto_attributes(group.resource.attributes), [], [], [])
    for scope in scopes:
        if hasattr(scope, "spans"):
            found.spans.extend(map(_proto_span, scope.spans))
        else:
            found.records.extend(map(_proto_record, scope.log_records))
    return found


def _proto_span(span: Any) -> Span:
    return Span(
        trace=span.trace_id.hex(),
        own=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        name=_text(span.name),
        kind=span.kind,
        start=timestamp(span.start_time_unix_nano) if span.start_time_unix_nano else None,
        end=timestamp(span.end_time_unix_nano) if span.end_time_unix_nano else None,
        failed=span.status.code == 2,
        message=_text(span.status.message),
        attributes=_proto_attributes(span.attributes),
        events=[Event(_text(event.name), _proto_attributes(event.attributes)) for event in span.events],
    )


def _proto_record(record: Any) -> Span:
    found = _proto_attributes(record.attributes)
    body = _proto_value(record.body, 0)
    return Span(
        trace=record.trace_id.hex(),
        own=record.span_id.hex(),
        parent="",
        name=_text(record.event_name) or text(found.get("event.name")),
        kind=0,
        start=timestamp(record.time_unix_nano or record.observed_time_unix_nano),
        end=None,
        failed=False,
        message="",
        attributes={**body, **found} if isinstance(body, dict) else found,
        events=[],
        body=body,
    )


def _proto_attributes(pairs: Any) -> Attributes:
    return {_text(pair.key): _proto_value(pair.value, 0) for pair in pairs}


def _proto_value(value: Any, depth: int) -> Any:
    kind = value.WhichOneof("value")
    if kind is None or kind == "bytes_value" or depth > MAX_DEPTH:
        return None
    found = getattr(value, kind)
    if kind == "array_value":
        return [_proto_value(item, depth + 1) for item in found.values]
    if kind == "kvlist_value":
        return {_text(pair.key): _proto_value(pair.value, depth + 1) for pair in found.values}
    return _text(found) if kind == "string_value" else found
