"""Kong Gateway's log entries as `kafka-log` and `http-log` write them, one or an array of them (max_batch_size > 1).

With the report of an AI proxy in its `ai` object an entry is a model request, and so is one on a model's route that
failed before a model was asked; one of guardrails or MCP tools alone is passed over, any other is a plain REST request.
Reads the entries of AI
Gateway 2 (`ai.proxy`) and those of Kong 3.6 on (`ai.<plugin name>`, `ai.payload.request`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from siphonwatch.streams.contracts.telemetry import Malformed, Telemetry
from siphonwatch.streams.edge.adapters import chat, replies, rest
from siphonwatch.streams.edge.adapters.base import Adapter, load_object, require_time
from siphonwatch.streams.edge.adapters.values import (
    at,
    count,
    first,
    mapping,
    model_name,
    name,
    number,
    text,
    timestamp,
)

PROXIES = ("proxy", "ai-proxy", "ai-proxy-advanced", "ai-request-transformer", "ai-response-transformer")
"""Names under which `ai` holds the plugin that called the model, the likeliest first."""

GUARDS = ("guard", "sanitizer", "safety", "armor", "dlp")
"""Part of the name under which a guardrail plugin reports in `ai`."""

REMAINING = ("ratelimit-remaining", "x-ratelimit-remaining-requests", "x-ratelimit-remaining-minute")

WHO = {
    "plan": ("plan",),
    "account_age": ("account_age", "account_created", "consumer.created_at"),
    "country": ("country",),
    "asn": ("asn",),
    "payment": ("payment_fingerprint",),
}
"""`consumer` is Kong's own; the others are what `custom_fields_by_lua` adds."""


class Kong(Adapter):
    """One log entry an element."""

    name = "kong"
    marks = frozenset(("request", "started_at", "latencies"))
    who = WHO

    def element(self, raw: bytes) -> Iterator[Telemetry]:
        entry = load_object(raw)
        request, response = mapping(entry.get("request")), mapping(entry.get("response"))
        if not request:
            raise Malformed("schema", "`request` is not an object")
        identity = self.identity
        time = require_time(timestamp(entry.get("started_at")), "started_at")
        sent = {str(key).lower(): value for key, value in mapping(request.get("headers")).items()}
        agent, client = self.clients.agent(sent.get("user-agent"))
        ip, net = self.clients.address(entry.get("client_ip"))
        headers, n_headers = self.clients.headers(sent)
        latency = number(mapping(entry.get("latencies")).get("request"))
        status = count(response.get("status"))
        ai = mapping(entry.get("ai"))
        path = text(request.get("uri")) or text(entry.get("upstream_uri"))
        called = _proxy(ai)
        if ai and not called:
            self.pass_over(name(next(iter(ai)), 64))
            return
        if called:
            fields = self._model(ai, called, path)
        elif chat.asks_model(text(request.get("method")), path):
            fields = {"op": chat.route(path)}
        else:
            fields = rest.fields(text(request.get("method")), path, identity)
        yield Telemetry(
            id=self.request_id(text(request.get("id")) or text(sent.get("x-request-id")), raw),
            time=time,
            account=self.account(first(entry, self.accounts)),
            key=identity.hash64("key", first(entry, ("authenticated_entity.id", "credential.id"))),
            session=identity.hash64("session", text(sent.get("x-session-id"))),
            ip=ip,
            net=net,
            agent=agent,
            headers=headers,
            client=client,
            n_headers=n_headers,
            status=status if 100 <= status <= 999 else 0,
            duration=min(max(latency or 0.0, 0.0) / 1e3, 1e7),
            remaining=_remaining(mapping(response.get("headers"))),
            **self.standing(lambda path: at(entry, path), time),
            **fields,
        )

    def _model(self, ai: Mapping[str, Any], called: Mapping[str, Any], path: str) -> dict[str, Any]:
        meta, usage = mapping(called.get("meta")), mapping(called.get("usage"))
        payload, shared = mapping(called.get("payload")), mapping(ai.get("payload"))
        body = chat.embedded(payload.get("request") or shared.get("request"))
        asked = mapping(body)
        said = chat.request(asked) if asked else chat.messages(body) if isinstance(body, list) else []
        operation = chat.route(path)
        reply, finish = replies.answer(payload.get("response") or shared.get("response"))
        parameters = chat.parameters(asked)
        parameters["stream"] = parameters["stream"] or meta.get("request_mode") == "stream"
        return {
            "provider": name(meta.get("provider_name"), 32),
            "model": model_name(meta.get("request_model") or meta.get("response_model") or asked.get("model")),
            "op": operation,
            "user": self.identity.hash64("user", text(asked.get("user"))),
            "tokens_in": count(usage.get("prompt_tokens", usage.get("prompt_token"))),
            "tokens_out": count(usage.get("completion_tokens", usage.get("completion_token"))),
            "finish": finish,
            "guardrails": sum(1 for plugin in ai if any(part in plugin for part in GUARDS)),
            **parameters,
            **self.sketch(said, reply, operation),
        }


def _proxy(ai: Mapping[str, Any]) -> Mapping[str, Any]:
    """The report of the plugin that called the model; an empty one where none did."""
    for plugin in PROXIES:
        if isinstance(ai.get(plugin), dict):
            return mapping(ai[plugin])
    return next((mapping(value) for value in ai.values() if "meta" in mapping(value) or "usage" in mapping(value)), {})


def _remaining(headers: Mapping[str, Any]) -> int:
    for header in REMAINING:
        if number(headers.get(header)) is not None:
            return count(headers[header])
    return -1
