"""LiteLLM's StandardLoggingPayload, as its file, Kafka and callback loggers write it (litellm/types/utils.py)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from streams.adapters import chat
from streams.adapters.base import Adapter, TextSketcher, load_object, require_time
from streams.adapters.values import (
    at,
    count,
    first,
    mapping,
    model_name,
    name,
    number,
    seconds,
    sequence,
    span,
    text,
    timestamp,
)
from streams.addresses import Addresses
from streams.contract import Telemetry
from streams.identity import Identity

REMAINING = (
    "x_ratelimit_remaining_requests",
    "x-ratelimit-remaining-requests",
    "llm_provider-x-ratelimit-remaining-requests",
)


class Payload(msgspec.Struct, gc=False):
    """The fields read; any type is let in, so that one odd field never loses the record."""

    id: Any = None
    litellm_call_id: Any = None
    trace_id: Any = None
    session_id: Any = None
    call_type: Any = None
    stream: Any = None
    status: Any = None
    startTime: Any = None
    endTime: Any = None
    response_time: Any = None
    model: Any = None
    custom_llm_provider: Any = None
    prompt_tokens: Any = None
    completion_tokens: Any = None
    metadata: Any = None
    end_user: Any = None
    requester_ip_address: Any = None
    user_agent: Any = None
    messages: Any = None
    response: Any = None
    model_parameters: Any = None
    error_information: Any = None
    hidden_params: Any = None


FIELDS = frozenset(Payload.__struct_fields__)


class LiteLLM(Adapter):
    """One StandardLoggingPayload an element."""

    name = "litellm"

    def __init__(
        self,
        accounts: Sequence[str],
        identity: Identity,
        sketcher: TextSketcher,
        limit: int,
        addresses: Addresses | None = None,
    ) -> None:
        super().__init__(accounts, identity, sketcher, limit, addresses)
        self._decode = msgspec.json.Decoder(Payload).decode
        self._beyond = any(path.partition(".")[0] not in FIELDS for path in accounts)
        """An account is looked for in a field that `Payload` does not read, so the whole object is parsed."""

    def element(self, raw: bytes) -> Iterator[Telemetry]:
        if not self._beyond:
            try:
                payload = self._decode(raw)
                yield self._telemetry(payload, self._account(payload), raw)
                return
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                pass  # parsed again, leniently
        tree = load_object(raw)
        yield self._telemetry(msgspec.convert(tree, Payload), first(tree, self.accounts), raw)

    def _account(self, payload: Payload) -> str:
        for path in self.accounts:
            root, _, rest = path.partition(".")
            value = getattr(payload, root)
            found = text(at(value, rest) if rest else value)
            if found:
                return found
        return ""

    def _telemetry(self, payload: Payload, account: str, raw: bytes) -> Telemetry:
        identity = self.identity
        metadata = mapping(payload.metadata)
        wanted = mapping(payload.model_parameters)
        start = require_time(timestamp(payload.startTime), "startTime")
        agent, client = self.clients.agent(payload.user_agent or metadata.get("user_agent"))
        ip, net = self.clients.address(payload.requester_ip_address or metadata.get("requester_ip_address"))
        headers, n_headers = self.clients.headers(mapping(metadata.get("requester_custom_headers")))
        reply, finish = chat.reply(payload.response)
        asked = chat.parameters(wanted)
        asked["stream"] = asked["stream"] or payload.stream is True
        return Telemetry(
            id=self.request_id(text(payload.id) or text(payload.litellm_call_id), raw),
            time=start,
            account=self.account(account),
            key=identity.hash64("key", text(metadata.get("user_api_key_hash"))),
            user=identity.hash64("user", _user(payload, metadata, wanted)),
            session=identity.hash64("session", _session(payload, metadata)),
            ip=ip,
            net=net,
            agent=agent,
            headers=headers,
            client=client,
            n_headers=n_headers,
            provider=name(payload.custom_llm_provider, 32),
            model=model_name(payload.model),
            op=chat.operation(payload.call_type),
            status=_status(payload),
            tokens_in=count(payload.prompt_tokens),
            tokens_out=count(payload.completion_tokens),
            duration=_duration(payload, start),
            finish=finish,
            remaining=_remaining(payload),
            guardrails=len(sequence(metadata.get("applied_guardrails"))),
            **asked,
            **self.sketch(chat.messages(payload.messages), reply),
        )


def _user(payload: Payload, metadata: Any, wanted: Any) -> str:
    return text(payload.end_user) or text(metadata.get("user_api_key_end_user_id")) or text(wanted.get("user"))


def _session(payload: Payload, metadata: Any) -> str:
    """The conversation; a session id that only repeats the call's own id says nothing."""
    session = text(payload.session_id)
    if session and session not in (payload.trace_id, payload.id, payload.litellm_call_id):
        return session
    return text(mapping(metadata.get("requester_metadata")).get("session_id"))


def _status(payload: Payload) -> int:
    if payload.status != "failure":
        return 200
    code = count(mapping(payload.error_information).get("error_code"))
    return code if 100 <= code <= 999 else 500


def _duration(payload: Payload, start: float) -> float:
    found = seconds(payload.response_time)
    return span(start, timestamp(payload.endTime)) if found is None else found


def _remaining(payload: Payload) -> int:
    headers = mapping(mapping(payload.hidden_params).get("additional_headers"))
    for header in REMAINING:
        if number(headers.get(header)) is not None:
            return count(headers[header])
    return -1
