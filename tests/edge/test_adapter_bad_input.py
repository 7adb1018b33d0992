"""No input crashes an adapter, hides beside a bad one, or gives telemetry that the contract refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from adapter_samples import COMBINED, SAMPLES, adapter, bad, changed, export, one, span
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.streams.common import extensions
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.contracts.telemetry import Malformed, Telemetry, decode, encode
from siphonwatch.streams.edge.adapters import detect
from siphonwatch.streams.edge.sketch import Sketcher

REASONS = {"json", "schema", "size", "account", "time", "encoding", "fields"}
SKETCHER = Sketcher(Identity("a secret of the tests only"))
FORMATS = extensions.names(extensions.ADAPTERS)
ADAPTERS = {format: adapter(format, SKETCHER) for format in FORMATS}

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.sampled_from(["-", "", "NaN", "1e999", "\x00", "\ud83d", "9" * 5000, 10**40, -1, 1e308, "2026-01-01T00:00:00"])
)
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
)


def survives(format: str, raw: bytes) -> list[Telemetry | Malformed]:
    """Adapt, and hold what must hold of any output."""
    found = list(ADAPTERS[format].records(raw))
    for record in found:
        if isinstance(record, Malformed):
            assert record.reason in REASONS
        else:
            assert decode(encode(record)) == record
    return found


def paths(tree: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every path into a tree of objects and arrays."""
    found = [prefix] if prefix else []
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, inner in items:
        found += paths(inner, (*prefix, key))
    return found


def mutated(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """A copy of the tree with what stands at the path replaced."""
    if not path:
        return value
    copied = tree.copy()
    copied[path[0]] = mutated(tree[path[0]], path[1:], value)
    return copied


@pytest.mark.parametrize("format", FORMATS)
@settings(deadline=None)
@given(raw=st.binary(max_size=300))
def test_arbitrary_bytes_never_crash_an_adapter(format: str, raw: bytes) -> None:
    survives(format, raw)


@pytest.mark.parametrize("format", FORMATS)
@settings(deadline=None)
@given(tree=trees)
def test_arbitrary_json_never_crashes_an_adapter(format: str, tree: Any) -> None:
    survives(format, json.dumps(tree).encode())


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_field_replaced_by_anything_never_crashes_an_adapter(format: str, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(paths(SAMPLES[format])))
    survives(format, json.dumps(mutated(SAMPLES[format], path, data.draw(trees))).encode())


@settings(deadline=None)
@given(line=st.text(max_size=200), cut=st.integers(0, 200))
def test_a_damaged_combined_line_never_crashes_the_adapter(line: str, cut: int) -> None:
    survives("nginx", (COMBINED[:cut] + line + COMBINED[cut:]).encode("utf-8", "replace"))


@pytest.mark.parametrize("format", FORMATS)
@settings(deadline=None)
@given(junk=st.sampled_from([b"{", b"nope", b'{"a":', b'{"a":}', b"[1,", b"\xff\xfe", b'"text"', b"{}"]))
def test_good_lines_beside_a_bad_one_survive(format: str, junk: bytes) -> None:
    good = json.dumps(SAMPLES[format]).encode()
    found = survives(format, b"\n".join((good, junk, good)))
    assert [type(record) for record in found].count(Telemetry) == 2
    assert any(isinstance(record, Malformed) for record in found)


@pytest.mark.parametrize("format", FORMATS)
@settings(deadline=None)
@given(junk=st.sampled_from([b"nope", b"{}", b"3", b'{"a":}', b"[]", b"\xff", b"null"]))
def test_good_elements_beside_a_bad_one_in_an_array_survive(format: str, junk: bytes) -> None:
    good = json.dumps(SAMPLES[format]).encode()
    found = survives(format, b"[" + b",".join((good, junk, good)) + b"]")
    assert [type(record) for record in found] in ([Telemetry, Malformed, Telemetry], [Telemetry, Telemetry])
    assert junk == b"[]" or len(found) == 3


@pytest.mark.parametrize("format", ["litellm", "otlp", "kong", "envoy", "nginx"])
@pytest.mark.parametrize("damage", [b"\\ud83d", b"\xff", b"\xed\xa0\x80", b"\\u0000"])
def test_a_client_cannot_hide_its_request_behind_broken_text(format: str, damage: bytes) -> None:
    raw = json.dumps(SAMPLES[format]).encode().replace(b"gpt-4o", b"gpt" + damage)
    raw = raw.replace(b"HTTP/1.1", damage)
    assert damage in raw
    assert [type(record) for record in survives(format, raw)] == [Telemetry]


def test_telemetry_that_is_not_utf8_is_refused_for_its_encoding() -> None:
    assert (
        bad("telemetry", json.dumps(SAMPLES["telemetry"]).encode().replace(b"gpt-4o", b"gpt\xff")).reason == "encoding"
    )


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999", "9" * 6000])
def test_a_number_out_of_range_elsewhere_does_not_lose_the_request(number: str) -> None:
    raw = json.dumps(SAMPLES["litellm"]).replace("0.0002", number).encode()
    assert number.encode() in raw
    assert [type(record) for record in survives("litellm", raw)] == [Telemetry]


@pytest.mark.parametrize("format", FORMATS)
def test_nesting_without_end_is_refused_as_json(format: str) -> None:
    assert bad(format, b'{"a":' * 100_000).reason == "json"


def test_a_nested_attribute_is_read_to_a_bounded_depth() -> None:
    value: dict[str, Any] = {"stringValue": "x"}
    for _ in range(200):
        value = {"arrayValue": {"values": [value]}}
    deep = span({"gen_ai.request.model": "m", "tenant.id": "u"})
    deep["attributes"].append({"key": "gen_ai.input.messages", "value": value})
    assert one("otlp", export(deep)).chars == 0


@pytest.mark.parametrize("format", FORMATS)
def test_a_record_beyond_the_size_limit_is_refused_unread(format: str) -> None:
    small = adapter(format, SIPHONWATCH_INGEST_MAX_RECORD_BYTES="1000")
    found = list(small.records(b"x" * 1001))
    assert [getattr(record, "reason", "") for record in found] == ["size"]


@pytest.mark.parametrize("format", FORMATS)
def test_a_message_of_nothing_but_junk_gives_few_reasons_and_the_good_record_in_it(format: str) -> None:
    good = json.dumps(SAMPLES[format]).encode()
    found = survives(format, b"[" + b"1," * 5000 + good + b"]")
    reasons = [str(record) for record in found if isinstance(record, Malformed)]
    assert len(reasons) == 101
    assert reasons[-1] == "schema: 4900 more elements of this message are malformed"
    assert [type(record) for record in found].count(Telemetry) == 1


def test_a_field_of_ten_megabytes_is_cut_and_not_a_crash() -> None:
    big = adapter("litellm", SKETCHER, SIPHONWATCH_INGEST_MAX_RECORD_BYTES=str(1 << 26))
    sample = changed(SAMPLES["litellm"], "model", "m" * 10_000_000) | {"user_agent": "ü" * 1_000_000}
    (record,) = big.records(json.dumps(sample).encode())
    assert isinstance(record, Telemetry)
    assert len(encode(record)) < 2000


@pytest.mark.parametrize("format", FORMATS)
def test_the_reason_never_quotes_the_record(format: str) -> None:
    secret = b"swordfish"
    for raw in (secret, b'{"swordfish": "swordfish"}', b'["swordfish"]', b'{"swordfish', b'{"time":"swordfish"}'):
        for record in survives(format, raw):
            assert isinstance(record, Malformed)
            assert "swordfish" not in str(record)


@pytest.mark.parametrize("format", FORMATS)
def test_auto_recognises_each_format(format: str) -> None:
    good = json.dumps(SAMPLES[format]).encode()
    assert detect(good) == format
    assert detect(b"\n".join((b"garbage", good, good[:50]))) == format
    assert detect(b"[" + good + b"," + good[:50]) == format
    assert detect(json.dumps(SAMPLES[format], indent=2).encode()) == format


def test_auto_recognises_combined_lines() -> None:
    assert detect(COMBINED.encode()) == "nginx"


@given(raw=st.binary(max_size=100))
def test_auto_says_which_formats_there_are_when_none_fits(raw: bytes) -> None:
    with pytest.raises(ValueError, match="envoy, kong, litellm, nginx, otlp, telemetry"):
        detect(raw)
