"""What Kong and Envoy write beside the plain case: streams, failures before a model, text lines, other field names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from adapter_samples import ENVOY, KEY, KONG, Spy, adapter, bad, changed, one

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.contracts.telemetry import Malformed
from siphonwatch.streams.edge.adapters import detect, read_records


def account(name: str) -> str:
    return Identity(KEY).account(name)


def test_a_streamed_payload_is_put_together() -> None:
    spy = Spy()
    events = [{"choices": [{"delta": {"content": part}}]} for part in ("It ", "left.")]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    body += 'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    found = one("kong", changed(KONG, "ai.proxy.payload.response", body), spy)
    assert (spy.calls[0][1], found.finish) == ("It left.", "stop")
    assert one("kong", changed(KONG, "ai.proxy.meta.request_mode", "stream")).stream


@pytest.mark.parametrize("ai", [{"mcp": {"rpc": []}}, {"prompt-guard": {"blocked": True}}, {"semantic-cache": {}}])
def test_an_entry_of_guards_or_tools_alone_is_passed_over(ai: dict[str, Any]) -> None:
    reader = adapter("kong")
    assert list(reader.records(json.dumps(KONG | {"ai": ai}).encode())) == []
    assert reader.passed_over == {next(iter(ai)): 1}


@pytest.mark.parametrize("status", [401, 429, 503])
@pytest.mark.parametrize(
    ("uri", "op"),
    [
        ("/v1/chat/completions", "chat"), ("/openai/v1/embeddings?x=1", "embedding"), ("/v1/messages", "chat"),
        ("/v1beta/models/gemini-2.5-pro:streamGenerateContent", "chat"), ("/model/m-1/converse", "chat"),
    ],
)  # fmt: skip
def test_a_request_that_failed_before_a_model_is_one_to_a_model(uri: str, op: str, status: int) -> None:
    plain = {key: value for key, value in KONG.items() if key != "ai"}
    found = one("kong", changed(changed(plain, "request.uri", uri), "response.status", status))
    assert (found.kind, found.op, found.status) == ("llm", op, status)
    line = {key: value for key, value in ENVOY.items() if not key.startswith("gen_ai")}
    found = one("envoy", line | {"x-envoy-origin-path": uri, "response_code": status})
    assert (found.kind, found.op, found.status) == ("llm", op, status)


@pytest.mark.parametrize("uri", ["/v1/images/generations", "/v1/audio/speech", "/v1/rerank", "/v1/moderations"])
def test_only_what_is_posted_to_a_model_s_route_asks_it(uri: str) -> None:
    plain = {key: value for key, value in KONG.items() if key != "ai"}
    routed = changed(plain, "request.uri", uri)
    assert one("kong", changed(routed, "request.method", "POST")).kind == "llm"
    assert one("kong", changed(routed, "request.method", "GET")).kind == "rest"


@pytest.mark.parametrize(
    "names",
    [
        ("gen_ai_request_model", "gen_ai_usage_input_tokens", "gen_ai_usage_output_tokens"),
        ("llm_requested_model", "llm_prompt_tokens", "llm_completion_tokens"),
        ("genai.model", "genai.tokens_input", "genai.tokens_output"), ("AI_Model", "Input_Token", "Output_Token"),
    ],
)  # fmt: skip
def test_names_of_model_and_tokens_are_read_by_their_form(names: tuple[str, str, str]) -> None:
    line = {key: value for key, value in ENVOY.items() if not key.startswith("gen_ai")}
    found = one("envoy", line | dict(zip(names, ("m-1", "12", 30), strict=True)))
    assert (found.kind, found.model, found.tokens_in, found.tokens_out) == ("llm", "m-1", 12, 30)


@pytest.mark.parametrize("field", ["X-Account-Id", "x_account_id"])
def test_an_account_is_found_in_the_operator_s_spelling(field: str) -> None:
    line = {key: value for key, value in ENVOY.items() if key != "x-account-id"}
    assert one("envoy", line | {field: "acme", "downstream_remote_address": "10.0.0.4:1"}).account == account("acme")


@pytest.mark.parametrize(("value", "seconds"), [("2.5s", 2.5), ("2500ms", 2.5), ("2500", 2.5), ("soon", 0.0)])
def test_a_duration_may_name_its_unit(value: str, seconds: float) -> None:
    assert one("envoy", ENVOY | {"duration": value}).duration == seconds


def test_a_client_without_credentials_is_its_address() -> None:
    anonymous = {key: value for key, value in KONG.items() if key not in ("consumer", "authenticated_entity")}
    assert one("kong", anonymous | {"client_ip": "2001:db8:5:6::7"}).account == account("2001:db8:5:6::/64")
    line = {key: value for key, value in ENVOY.items() if key != "x-account-id"}
    assert one("envoy", line | {"downstream_remote_address": "198.51.100.4:60052"}).account == account("198.51.100.4")
    assert bad("envoy", line).reason == "account", "X-Forwarded-For alone is the client's own"
    environ = {"SIPHONWATCH_ACCOUNTS_ENVOY": "x-forwarded-for"}
    line["x-forwarded-for"] = "1.2.3.4, 203.0.113.9, 10.0.0.1"
    assert one("envoy", line, **environ).account == account("203.0.113.9")


@pytest.mark.parametrize(
    "names",
    [
        {"genai_model_name": "gpt-4o", "genai_tokens_input": 31, "genai_tokens_output": 12},
        {"x-ai-eg-model": "gpt-4o", "llm_input_token": "31", "llm_output_token": "12"},
        {"gen_ai": {"request": {"model": "gpt-4o"}, "usage": {"input_tokens": 31, "output_tokens": 12}}},
    ],
)
def test_every_gateway_s_names_of_model_and_tokens_are_read(names: dict[str, Any]) -> None:
    line = {key: value for key, value in ENVOY.items() if not key.startswith("gen_ai")} | names
    found = one("envoy", line | {"gen_ai.is_streaming": "true"})
    assert (found.kind, found.model, found.tokens_in, found.tokens_out, found.stream) == ("llm", "gpt-4o", 31, 12, True)


TEXT = (
    '[2026-01-05T00:00:00.500Z] "GET /v1/parts/12 HTTP/1.1" 200 - 0 31 1250 9 "203.0.113.9" "curl/8.7.1" '
    '"5f3c-1" "api.example" "10.0.0.9:443"'
)
ISTIO = (
    '[2026-01-05T00:00:00.500Z] "GET /v1/parts/12 HTTP/1.1" 200 - via_upstream - "-" 0 31 1250 9 "203.0.113.9" '
    '"curl/8.7.1" "5f3c-1" "api.example" "10.0.0.9:443" '
    "inbound|80|| 127.0.0.6:5 10.0.0.9:80 198.51.100.4:60052 - default"
)


def test_a_text_line_is_read_once(tmp_path: Path) -> None:
    environ = {"SIPHONWATCH_ACCOUNTS_ENVOY": "x-forwarded-for"}
    found = one("envoy", TEXT, **environ)
    assert (found.account, found.id, found.op, found.status, found.duration, found.client) == (
        account("203.0.113.9"), "5f3c-1", "get", 200, 1.25, "curl"
    )  # fmt: skip
    assert one("envoy", ISTIO).account == account("198.51.100.4")
    (tmp_path / "log").write_text(f"{TEXT}\n{TEXT}\n")
    records = read_records(tmp_path / "log")
    assert records.format == detect(TEXT.encode()) == "envoy"
    assert len(list(records)) == 2
    assert [str(element) for element in adapter("envoy").records(f"{TEXT}\n{TEXT}".encode())] == 2 * [
        "account: none of x-account-id, account, client_id, downstream_remote_address is present (accounts.envoy)"
    ]


@pytest.mark.parametrize("agent", ['say "hi"', '" "x" "y', "[x] ", 'a" "', "\\"])
def test_no_header_of_a_client_hides_a_text_line(agent: str) -> None:
    found = one("envoy", ISTIO.replace("curl/8.7.1", agent))
    assert (found.account, found.id, found.status) == (account("198.51.100.4"), "5f3c-1", 200)


ENTRY = {
    "commonProperties": {
        "startTime": "2026-01-05T00:00:00.500Z",
        "downstreamRemoteAddress": {"socketAddress": {"address": "198.51.100.4", "portValue": 60052}},
        "timeToLastDownstreamTxByte": "1.250s",
        "metadata": {
            "filterMetadata": {"io.envoy.ai_gateway": {"llm_input_token": 31, "model_name_override": "gpt-4o"}}
        },
    },
    "request": {"requestMethod": "POST", "path": "/v1/chat/completions", "userAgent": "curl/8.7.1", "requestId": "e-7"},
    "response": {"responseCode": 200},
}


def snaked(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    return {
        key if "." in key or key == "io" else "".join(f"_{c.lower()}" if c.isupper() else c for c in key): snaked(value)
        for key, value in tree.items()
    }


@pytest.mark.parametrize("entry", [ENTRY, snaked(ENTRY)], ids=["camel", "snake"])
@pytest.mark.parametrize("wrap", [lambda entry: entry, lambda entry: {"httpLogs": {"logEntry": [entry]}}])
def test_an_entry_of_the_access_log_service_is_read(entry: Any, wrap: Any) -> None:
    raw = wrap(entry)
    assert detect(json.dumps(raw).encode()) == "envoy"
    found = one("envoy", raw)
    assert (found.account, found.model, found.tokens_in, found.duration, found.id, found.status) == (
        account("198.51.100.4"), "gpt-4o", 31, 1.25, "e-7", 200
    )  # fmt: skip


def test_a_bad_text_line_is_refused_once_by_name() -> None:
    found = list(adapter("envoy").records(b"[2026-01-05T00:00:00.500Z] nothing of it"))
    assert [element.reason for element in found if isinstance(element, Malformed)] == ["fields"]
