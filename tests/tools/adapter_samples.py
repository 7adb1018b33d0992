"""Records in the shape each source writes, with secrets that must not come out again, and an adapter to read them."""

from __future__ import annotations

import copy
import json
from typing import Any

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.contracts.telemetry import Malformed, Telemetry, decode, encode
from siphonwatch.streams.edge.adapters import Adapter, make_adapter

KEY = "a secret of the tests only"
PROMPT = "Summarise why the quarterly revenue of Zanzibar Widgets fell after the merger with Nimbus."
SYSTEM = "You are Quillfeather, the accountant of the Zanzibar group."
REPLY = "Nimbus brought forty-two unprofitable warehouses with it."
ACCOUNT = "acme-research-organisation"
USER = "jane.doe@zanzibar.example"
SESSION = "conversation-9f31"
ADDRESS = "203.0.113.77"
API_KEY = "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b"
SECRETS = (PROMPT, SYSTEM, REPLY, "Zanzibar", "Nimbus", "Quillfeather", ACCOUNT, USER, SESSION, ADDRESS, API_KEY)
AGENT = "OpenAI/Python 1.75.0"
START = 1767571200.5

LITELLM: dict[str, Any] = {
    "id": "chatcmpl-1",
    "trace_id": "trace-1",
    "session_id": SESSION,
    "call_type": "acompletion",
    "stream": None,
    "status": "success",
    "startTime": START,
    "endTime": START + 1.25,
    "response_time": 1.25,
    "model": "gpt-4o",
    "custom_llm_provider": "openai",
    "prompt_tokens": 31,
    "completion_tokens": 12,
    "response_cost": 0.0002,
    "metadata": {
        "user_api_key_hash": API_KEY,
        "user_api_key_org_id": ACCOUNT,
        "user_api_key_team_id": "team",
        "user_api_key_end_user_id": USER,
        "requester_ip_address": ADDRESS,
        "requester_custom_headers": {"x-stainless-lang": "python", "x-stainless-retry-count": "0", "x-app-id": ACCOUNT},
        "applied_guardrails": ["presidio-pii-mask"],
    },
    "end_user": USER,
    "requester_ip_address": ADDRESS,
    "user_agent": AGENT,
    "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": PROMPT}],
    "response": {
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": REPLY}}],
    },
    "model_parameters": {
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 256,
        "n": 2,
        "stream": True,
        "logprobs": True,
        "top_logprobs": 5,
        "tools": [{"type": "function"}],
        "response_format": {"type": "json_object"},
    },
    "error_information": {"error_code": "", "error_class": ""},
    "hidden_params": {"additional_headers": {"x_ratelimit_remaining_requests": 499}},
}


def attribute(key: str, value: Any) -> dict[str, Any]:
    """One OTLP attribute; 64-bit integers are strings in OTLP/JSON."""
    if isinstance(value, bool):
        return {"key": key, "value": {"boolValue": value}}
    if isinstance(value, int):
        return {"key": key, "value": {"intValue": str(value)}}
    if isinstance(value, float):
        return {"key": key, "value": {"doubleValue": value}}
    if isinstance(value, list):
        values = [attribute("", item)["value"] for item in value]
        return {"key": key, "value": {"arrayValue": {"values": values}}}
    return {"key": key, "value": {"stringValue": value}}


def span(attributes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """One OTLP span of a model request that took 1.25 seconds."""
    begin = int(START * 1e9)
    return {
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": "eee19b7ec3c1b174",
        "name": "chat gpt-4o",
        "kind": 3,
        "startTimeUnixNano": str(begin),
        "endTimeUnixNano": str(begin + 1_250_000_000),
        "attributes": [attribute(key, value) for key, value in attributes.items()],
        **fields,
    }


def export(*spans: Any) -> dict[str, Any]:
    """One ExportTraceServiceRequest."""
    resource = {"attributes": [attribute("service.name", "checkout")]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {}, "spans": list(spans)}]}]}


GEN_AI: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.request.temperature": 0.7,
    "gen_ai.request.max_tokens": 256,
    "gen_ai.request.choice.count": 2,
    "gen_ai.output.type": "json",
    "gen_ai.usage.input_tokens": 31,
    "gen_ai.usage.output_tokens": 12,
    "gen_ai.response.finish_reasons": ["stop"],
    "gen_ai.conversation.id": SESSION,
    "siphonwatch.account": ACCOUNT,
    "enduser.id": USER,
    "client.address": ADDRESS,
    "user_agent.original": AGENT,
    "http.response.status_code": 200,
}
OTLP = export(
    span(
        {
            **GEN_AI,
            "gen_ai.system_instructions": json.dumps([{"type": "text", "content": SYSTEM}]),
            "gen_ai.input.messages": json.dumps([{"role": "user", "parts": [{"type": "text", "content": PROMPT}]}]),
            "gen_ai.output.messages": json.dumps(
                [{"role": "assistant", "parts": [{"type": "text", "content": REPLY}], "finish_reason": "stop"}]
            ),
        }
    )
)

KONG: dict[str, Any] = {
    "started_at": int(START * 1000),
    "client_ip": ADDRESS,
    "latencies": {"request": 1250, "kong": 3, "proxy": 1247},
    "consumer": {"id": ACCOUNT, "username": USER},
    "authenticated_entity": {"id": API_KEY},
    "request": {
        "id": "9ec9264afbbbad5f",
        "method": "POST",
        "uri": "/v1/chat/completions",
        "headers": {"user-agent": AGENT, "x-session-id": SESSION, "accept": "*/*"},
    },
    "response": {"status": 200, "headers": {"x-ratelimit-remaining-minute": "499"}},
    "ai": {
        "proxy": {
            "usage": {"prompt_tokens": 31, "completion_tokens": 12, "total_tokens": 43},
            "meta": {"provider_name": "openai", "request_model": "gpt-4o", "llm_latency": 1200},
            "payload": {
                "request": json.dumps({"messages": LITELLM["messages"], "temperature": 0.7, "user": USER}),
                "response": json.dumps(LITELLM["response"]),
            },
        },
        "sanitizer": {"pii_identified": 1},
    },
}

ENVOY: dict[str, Any] = {
    "start_time": "2026-01-05T00:00:00.500Z",
    "method": "POST",
    "x-envoy-origin-path": "/v1/chat/completions",
    "response_code": 200,
    "duration": "1250",
    "user-agent": AGENT,
    "x-request-id": "0b8f3f0a-1",
    "x-forwarded-for": f"{ADDRESS}, 10.0.0.1",
    "x-account-id": ACCOUNT,
    "upstream_cluster": "backend",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.provider.name": "openai",
    "gen_ai.usage.input_tokens": "31",
    "gen_ai.usage.output_tokens": 12,
    "session.id": SESSION,
}

NGINX: dict[str, Any] = {
    "time_iso8601": "2026-01-05T00:00:00+00:00",
    "remote_addr": ADDRESS,
    "remote_user": USER,
    "account": ACCOUNT,
    "request": "GET /v1/customers/1041/orders?page=3 HTTP/1.1",
    "status": "200",
    "request_time": "0.250",
    "http_user_agent": "curl/8.7.1",
    "http_x_api_key": API_KEY,
    "request_id": "r-1",
}

COMBINED = (
    f'{ADDRESS} - {USER} [05/Jan/2026:00:00:00 +0000] "GET /v1/customers/1041?page=3 HTTP/1.1" 200 512 '
    '"https://zanzibar.example/" "Mozilla/5.0 (X11; Linux x86_64)"'
)

TELEMETRY: dict[str, Any] = {"id": "r-1", "time": START, "account": "0" * 32, "model": "gpt-4o"}

SAMPLES: dict[str, Any] = {
    "telemetry": TELEMETRY,
    "litellm": LITELLM,
    "otlp": OTLP,
    "kong": KONG,
    "envoy": ENVOY,
    "nginx": NGINX,
}
"""One good record of each format."""


def settings(**environ: str) -> Settings:
    """Settings with a key, and what a test sets."""
    return load({"SIPHONWATCH_IDENTITY_KEY": KEY, **environ}).settings


class Spy:
    """A sketcher that remembers what text it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[tuple[str, str]], str]] = []

    def sketch(self, messages: Any, reply: str = "") -> dict[str, object]:
        self.calls.append((list(messages), reply))
        return {"chars": sum(len(words) for _, words in messages)}


def adapter(format: str, sketcher: Any = None, **environ: str) -> Adapter:
    """An adapter of the format; text goes to a spy unless a sketcher is given."""
    return make_adapter(format, settings(**environ), sketcher or Spy(), Identity(KEY))


def one(format: str, record: Any, sketcher: Any = None, **environ: str) -> Telemetry:
    """The telemetry of one good record, having passed the contract."""
    raw = record.encode() if isinstance(record, str) else json.dumps(record).encode()
    found = list(adapter(format, sketcher, **environ).records(raw))
    assert len(found) == 1
    assert isinstance(found[0], Telemetry), found[0]
    assert decode(encode(found[0])) == found[0]
    return found[0]


def bad(format: str, record: Any) -> Malformed:
    """Why one record is refused."""
    raw = record if isinstance(record, bytes) else json.dumps(record).encode()
    found = list(adapter(format).records(raw))
    assert len(found) == 1
    assert isinstance(found[0], Malformed)
    return found[0]


def changed(record: Any, path: str, value: Any) -> Any:
    """A copy of the record with one field of a dotted path replaced."""
    copied = copy.deepcopy(record)
    *parents, last = path.split(".")
    inner = copied
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    return copied
