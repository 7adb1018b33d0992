"""LiteLLM's StandardLoggingPayload, as its file, Kafka and callback loggers write it (litellm/types/utils.py), and rows
of its table of spend logs. Calls that ask no model, such as those about files and batches, are passed over."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from siphonwatch.streams.common.addresses import Addresses
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.contracts.telemetry import Malformed, Telemetry
from siphonwatch.streams.edge.adapters import chat, replies, standing
from siphonwatch.streams.edge.adapters.base import MAX_ID, Adapter, TextSketcher, load_object, require_time
from siphonwatch.streams.edge.adapters.errors import error_status
from siphonwatch.streams.edge.adapters.values import (
    at,
    count,
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

REMAINING = (
    "x_ratelimit_remaining_requests",
    "x-ratelimit-remaining-requests",
    "llm_provider-x-ratelimit-remaining-requests",
)

NOT_INFERENCE = re.compile(
    r"_?a?_?(?:(?:retrieve|list|delete|cancel|get|upload|create_(?:batch|file|fine|assistant|thread|container|sandbox|skill|realtime))"
    r"|(?:file|vector_store|container|batch|assistants?|thread|fine_tuning|prompt|skill)s?_|add_message|search\Z|ingest"
    r"|query|call_mcp|list_mcp|mcp|run_code|code_interpreter|video_(?!remix|edit|extension)|health|count_tokens)"
)
"""Beginnings of the types of calls that ask no model (litellm.types.utils.CallTypes): LiteLLM's own administration,
files, batches, vector stores, containers and tools."""

PASSED_THROUGH = frozenset(("pass_through_endpoint", "llm_passthrough_route", "allm_passthrough_route"))
"""Types of calls whose one message is the request's whole body as JSON text, and whose reply is the provider's."""
FAILED = frozenset(("failure", "failed", "error"))
NO_MODEL = frozenset(("", "unknown"))
"""What stands for the model where a body that is passed through names none."""
PLACEHOLDERS = frozenset(("default-message-value", "WebSocket connection"))
"""What LiteLLM logs as the message of calls that have none (litellm/utils.py, pass_through_endpoints.py)."""

AUTH = "user_api_key_auth_metadata"
AUTH_METADATA = f"metadata.{AUTH}"
"""What the operator has set on a key or its team; `requester_metadata` is the customer's own words."""
WHO = {
    "plan": (f"{AUTH_METADATA}.plan", f"{AUTH_METADATA}.tier"),
    "account_age": (f"{AUTH_METADATA}.account_age", f"{AUTH_METADATA}.account_created"),
    "country": (f"{AUTH_METADATA}.country",),
    "asn": (f"{AUTH_METADATA}.asn",),
    "payment": (f"{AUTH_METADATA}.payment_fingerprint",),
}


class Payload(msgspec.Struct, gc=False):
    """The fields read; any type is let in, so that one odd field never loses the record."""

    id: Any = None
    request_id: Any = None
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
    error_str: Any = None
    api_key: Any = None
    team_id: Any = None
    organization_id: Any = None
    proxy_server_request: Any = None
    request_duration_ms: Any = None
    hidden_params: Any = None


FIELDS = frozenset(Payload.__struct_fields__)


class LiteLLM(Adapter):
    """One StandardLoggingPayload an element."""

    name = "litellm"
    marks = frozenset(("call_type", "startTime", "model"))
    who = WHO

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
        self._beyond = _beyond(accounts)
        """Something is looked for in a field that `Payload` does not read, so the whole object is parsed."""
        self._look()

    def look_for(self, who: standing.Paths) -> None:
        super().look_for(who)
        self._beyond = self._beyond or any(map(_beyond, who.values()))
        self._look()

    def _look(self) -> None:
        paths = [path for found in self.who.values() for path in found]
        self._elsewhere = not all(path.startswith(f"{AUTH_METADATA}.") for path in paths)
        """Something about the customer is looked for beside what the operator has set on a key."""
        self._dotted = frozenset(path.partition(".")[2] for path in paths)

    def element(self, raw: bytes) -> Iterator[Telemetry]:
        tree: Mapping[str, Any] | None = None
        try:
            if self._beyond:
                tree = load_object(raw)
            payload = self._decode(raw)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            tree = load_object(raw)
            payload = msgspec.convert(tree, Payload)
        if payload.startTime is None and payload.call_type is None and payload.model is None:
            raise Malformed("fields", "no field of a LiteLLM log is there, such as startTime, call_type or model")
        if type(payload.call_type) is str and NOT_INFERENCE.match(payload.call_type):
            require_time(timestamp(payload.startTime), "startTime")
            self.pass_over(name(payload.call_type, 64))
            return
        if type(payload.metadata) is not dict:
            payload.metadata = chat.body(payload.metadata)
        if payload.api_key or payload.team_id or payload.request_id:
            payload.metadata = _row_metadata(payload)
        if type(payload.call_type) is str and payload.call_type in PASSED_THROUGH:
            _pass_through(payload)
            if not payload.messages and not count(payload.prompt_tokens) and text(payload.model) in NO_MODEL:
                require_time(timestamp(payload.startTime), "startTime")
                self.pass_over(f"{payload.call_type} without a model")
                return
        if payload.proxy_server_request and (not payload.messages or payload.messages == "{}"):
            _take_body(payload, chat.body(payload.proxy_server_request))
        whole = {**tree, "metadata": payload.metadata} if tree is not None else None

        def find(path: str) -> Any:
            if whole is not None:
                return at(whole, path)
            root, _, rest = path.partition(".")
            value = getattr(payload, root)
            return at(value, rest) if rest else value

        auth = payload.metadata.get(AUTH) or not self._dotted.isdisjoint(payload.metadata)
        yield self._telemetry(payload, find, raw, auth or self._elsewhere or whole is not None)

    def _telemetry(self, payload: Payload, find: Callable[[str], Any], raw: bytes, known: bool) -> Telemetry:
        """Return the request's telemetry; `known` says whether more about the customer may be found."""
        identity = self.identity
        metadata = payload.metadata
        wanted = payload.model_parameters
        if type(wanted) is not dict:
            wanted = chat.body(wanted)
        start = require_time(timestamp(payload.startTime), "startTime")
        agent, client = self.clients.agent(payload.user_agent or metadata.get("user_agent"))
        ip, net = self.clients.address(payload.requester_ip_address or metadata.get("requester_ip_address"))
        headers, n_headers = self.clients.headers(mapping(metadata.get("requester_custom_headers")))
        words, finish = replies.answer(payload.response)
        asked = chat.parameters(wanted)
        asked["stream"] = asked["stream"] or chat.truth(payload.stream) or text(payload.call_type).endswith("_stream")
        operation = chat.operation(payload.call_type) or "chat"
        said = payload.messages
        said = chat.messages(chat.embedded(said) if type(said) is str else said)
        if operation == "transcription" or (len(said) == 1 and said[0][1] in PLACEHOLDERS):
            said = []  # of a recording LiteLLM logs a hash
        system = "" if said and said[0][0] == "system" else _system(wanted)
        sketched = self.sketch([("system", system), *said] if system else said, words, operation)
        return Telemetry(
            id=self.request_id(_id(payload), raw),
            time=start,
            account=self.account(next((found for path in self.accounts if (found := text(find(path)))), "")),
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
            op=operation,
            status=_status(payload, metadata),
            tokens_in=count(payload.prompt_tokens),
            tokens_out=count(payload.completion_tokens),
            duration=_duration(payload, start),
            finish=finish,
            remaining=_remaining(payload),
            guardrails=len(sequence(metadata.get("applied_guardrails"))),
            **(self.standing(find, start) if known else {}),
            **asked,
            **sketched,
        )


def _beyond(paths: Sequence[str]) -> bool:
    return any(path.partition(".")[0] not in FIELDS for path in paths)


def _row_metadata(payload: Payload) -> dict[str, Any]:
    """A spend log's metadata, with what its own columns hold: the hash of the key, the team and the organisation."""
    found = dict(payload.metadata)
    for field, value in (
        ("user_api_key_hash", text(found.get("user_api_key")) or payload.api_key),
        ("user_api_key_team_id", payload.team_id),
        ("user_api_key_org_id", payload.organization_id),
    ):
        found[field] = text(found.get(field)) or text(value) or None
    return found


def _pass_through(payload: Payload) -> None:
    """Read the body that the one message of a call that is passed through holds as JSON text."""
    said = sequence(payload.messages)
    held = chat.embedded(mapping(said[0]).get("content")) if len(said) == 1 else None
    if isinstance(held, dict):
        payload.messages = []
        _take_body(payload, held)
    elif held is None or isinstance(held, list):  # cut off: the whole messages of it
        payload.messages = held


def _take_body(payload: Payload, body: Mapping[str, Any]) -> None:
    """Take conversation and parameters from the request's own body, where the log has them nowhere else."""
    body = mapping(body.get("body")) or body
    payload.messages = [{"role": role, "content": words} for role, words in chat.request(body)]
    payload.model_parameters = {**body, **mapping(payload.model_parameters)}


def _id(payload: Payload) -> str:
    """The first id that telemetry can hold: those of the Responses API are longer, and LiteLLM's own is not."""
    ids = [text(found) for found in (payload.id, payload.litellm_call_id, payload.request_id)]
    return next((found for found in ids if 0 < len(found) <= MAX_ID), ids[0])


def _system(wanted: Mapping[str, Any]) -> str:
    """The system prompt where the call gives it beside its messages."""
    return next((words for key in ("instructions", "system") if (words := chat.content_text(wanted.get(key)))), "")


def _user(payload: Payload, metadata: Any, wanted: Any) -> str:
    return text(payload.end_user) or text(metadata.get("user_api_key_end_user_id")) or text(wanted.get("user"))


def _session(payload: Payload, metadata: Any) -> str:
    """The conversation; a session id that only repeats the call's own id says nothing."""
    session = text(payload.session_id)
    if session and session not in (payload.trace_id, payload.id, payload.litellm_call_id):
        return session
    return text(mapping(metadata.get("requester_metadata")).get("session_id"))


def _status(payload: Payload, metadata: Mapping[str, Any]) -> int:
    if text(payload.status or metadata.get("status")).lower() not in FAILED:
        return 200
    error = mapping(payload.error_information) or mapping(metadata.get("error_information"))
    code = count(error.get("error_code"))
    if 100 <= code <= 999:
        return code
    return error_status(text(error.get("error_class")) or text(payload.error_str).partition(":")[0])


def _duration(payload: Payload, start: float) -> float:
    """From the start to the end; `response_time` of a streamed call ends with its first token."""
    end = timestamp(payload.endTime)
    if end is not None:
        return span(start, end)
    return seconds(payload.response_time) or (seconds(payload.request_duration_ms) or 0.0) / 1e3


def _remaining(payload: Payload) -> int:
    headers = mapping(mapping(payload.hidden_params).get("additional_headers"))
    for header in REMAINING:
        if number(headers.get(header)) is not None:
            return count(headers[header])
    return -1
