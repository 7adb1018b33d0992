"""Damage to any shape that an adapter knows is no exception, and gives nothing that the contract refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest
from adapter_samples import ENVOY, KONG, LITELLM, SAMPLES, adapter
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.contracts.telemetry import Malformed, decode, encode
from siphonwatch.streams.edge.adapters import chat, replies
from siphonwatch.streams.edge.adapters.values import NotJson, flat_fields, load_json, model_name
from siphonwatch.streams.edge.adapters.wrapping import unwrapped, without_prefix
from siphonwatch.streams.edge.sketch import Sketcher

SKETCHER = Sketcher(Identity("a secret of the tests only"))
LINE = b'192.0.2.44 - - [05/Jan/2026:00:00:00 +0000] "GET /v1/parts/12 HTTP/1.1" 200 31 "-" "curl/8.7.1"'
TEXT = b'[2026-01-05T00:00:00Z] "GET / HTTP/1.1" 200 - 0 3 12 9 "192.0.2.1" "x" "r" "h" "u:1"'
SHAPES = {
    "nginx": [LINE, b"<190>Jan  5 00:00:07 web1 nginx: " + LINE, json.dumps({"log": LINE.decode()}).encode()],
    "envoy": [TEXT, json.dumps({"commonProperties": {"startTime": 1.8e9}, "request": {}, "response": {}}).encode()],
    "otlp": [json.dumps({"resource_logs": [{"scope_logs": [{"log_records": [{"event_name": "x"}]}]}]}).encode()],
    "kong": [json.dumps(KONG | {"ai": {"proxy": {"payload": {"response": "data: {}\n\n"}}}}).encode()],
    "litellm": [json.dumps(LITELLM | {"metadata": "{}", "messages": "[{", "response": "data: 1"}).encode()],
    "telemetry": [json.dumps(json.dumps(SAMPLES["telemetry"])).encode()],
}
ADAPTERS = {format: adapter(format, SKETCHER) for format in SHAPES}
tokens = st.sampled_from(
    [b"", b"\0", b"\xff", b'"', b"\\", b"\\x", b"\\u12", b"[", b"]", b"{", b"}", b":", b",", b" ", b"\n",
     b"\xef\xbb\xbf", b'] "', b"null", b"1e999", b"-", b"<34>1 ", b"2026-01-05T00:00:00Z ",
     b"data: ", b"\x0a\x00", b'{"payload":']
)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["content", "parts", "text", "message", "delta", "choices", "candidates", "output", "response", "tools", "role",
         "generationConfig", "finish_reason", "instances", "messages", "input", "system", "chat_history"]
    ), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@pytest.mark.parametrize("format", SHAPES)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_damage_to_any_shape_is_no_exception(format: str, data: st.DataObject) -> None:
    raw = data.draw(st.sampled_from([*SHAPES[format], json.dumps(SAMPLES[format]).encode()]))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw)))
        raw = raw[:at] + data.draw(tokens) + raw[at + data.draw(st.integers(0, 3)) :]
    for record in ADAPTERS[format].records(raw):
        if not isinstance(record, Malformed):
            assert decode(encode(record)) == record


@settings(deadline=None)
@given(value=values)
def test_no_body_of_any_shape_is_an_exception(value: Any) -> None:
    assert all(isinstance(words, str) for turn in chat.messages(value) for words in turn)
    body = value if isinstance(value, dict) else {"x": value}
    chat.request(body)
    chat.parameters(body)
    for answer in (value, [value], {"choices": value}):
        words, ended = replies.answer(answer)
        assert isinstance(words, str) and len(ended) <= 16
    replies.streamed([value, {"delta": value}, {"response": value}])


@settings(deadline=None)
@given(raw=st.text(max_size=80))
def test_no_text_is_an_exception(raw: str) -> None:
    flat_fields(raw)
    model_name(raw)
    chat.embedded(raw)
    without_prefix(raw.encode("utf-8", "replace"))
    list(unwrapped(raw.encode("utf-8", "replace"), frozenset(("x",))))
    try:
        load_json(raw)
    except NotJson as error:
        assert "\n" not in str(error)


def test_an_envelope_without_end_is_no_recursion() -> None:
    raw: Any = ENVOY
    for _ in range(50):
        raw = {"message": json.dumps(raw)} if len(json.dumps(raw)) < 50_000 else {"message": raw}
    assert [type(record) for record in adapter("envoy").records(json.dumps(raw).encode())] == [Malformed]
