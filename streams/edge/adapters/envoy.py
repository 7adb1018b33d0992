"""Envoy's access logs: Envoy AI Gateway's and Envoy Gateway's JSON, Envoy's and Istio's text lines, and entries of the
access log service as JSON. The field names of JSON are the operator's choice; this reads those of the documentations. A
line without any model field is a plain REST request, unless it stands on a model's route."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from siphonwatch.streams.contracts.telemetry import Malformed, Telemetry
from siphonwatch.streams.edge.adapters import chat, replies, rest
from siphonwatch.streams.edge.adapters.base import Adapter, load_flat, require_time
from siphonwatch.streams.edge.adapters.values import (
    at,
    count,
    mapping,
    model_name,
    name,
    number,
    sequence,
    text,
    timestamp,
)

MODEL = ("gen_ai.request.model", "gen_ai.response.model", "x-ai-eg-model", "model", "response_model",
         "genai_model_name_override", "genai_model_name", "model_name_override", "model_name", "llm_model_name",
         "request_model", "genai_response_model")  # fmt: skip
PROVIDER = ("gen_ai.provider.name", "backend_name", "provider", "genai_backend_name", "genai_provider_name")
TOKENS_IN = ("gen_ai.usage.input_tokens", "llm_input_token", "input_tokens", "prompt_tokens", "genai_tokens_input",
             "llm_input_tokens", "genai_input_tokens", "tokens_input")  # fmt: skip
TOKENS_OUT = ("gen_ai.usage.output_tokens", "llm_output_token", "output_tokens", "completion_tokens",
              "genai_tokens_output", "llm_output_tokens", "genai_output_tokens", "tokens_output")  # fmt: skip
_OWNER = r"(?:x_ai_eg_|gen_?ai_|llm_|ai_|openai_)"
_TOKENS = _OWNER + r"?(?:usage_)?(?:(?:{0})_tokens?(?:_count)?|tokens?_(?:{0}))\Z"
FORMS = (
    ("model", re.compile(_OWNER + r"(?:request(?:ed)?_|response_|original_|backend_)?model(?:_name)?\Z")),
    ("tokens_in", re.compile(_TOKENS.format("input|prompt"))),
    ("tokens_out", re.compile(_TOKENS.format("output|completion"))),
)
"""Forms of further names that operators give to model and tokens, as `_plain` writes them."""
TIME = ("start_time", "timestamp", "time")
PATH = ("x-envoy-origin-path", "x-envoy-original-path", "path")
STATUS = ("response_code", "status")
DURATION = ("duration", "duration_ms")
AGENT = ("user-agent", "user_agent")
FORWARDED = ("x-forwarded-for", "x_forwarded_for")
PEER = ("downstream_remote_address", "downstream_direct_remote_address")
ID = ("x-request-id", "request_id", "x_request_id")
SESSION = ("session.id", "session_id", "x-session-id")
REMAINING = ("x-ratelimit-remaining", "x-ratelimit-remaining-requests")
STREAM = ("gen_ai.is_streaming", "genai_is_streaming", "gen_ai.request.stream", "stream", "is_streaming")

HEADERS = ("x-stainless-", "x-client-", "x-app")
"""Prefixes of logged request headers that the client set."""

LINE = re.compile(
    r"\[(?P<start_time>\d{4}-\d\d-\d\d[T ][^\]\s]{5,40})\] "
    r'"(?P<method>[^\s"]{1,32}) (?P<path>\S{0,65536}) (?:HTTP/[\d.]{1,5}|-)" (?P<response_code>\d{1,3}) (?P<rest>.*)',
    re.DOTALL,
)
"""Envoy's default text format, and Istio's, which has more behind. A path has no spaces, so no client can end it."""
NUMBERS = re.compile(r"(?:^|(?<= ))(?:\d{1,12}|-) (?:\d{1,12}|-) (?P<duration>\d{1,12}|-) \S{1,20} \"")
"""Bytes received and sent, milliseconds, and those of the upstream, before the first header."""


_CAPITAL = re.compile(r"[A-Z]")

WHO = {
    "plan": ("x-plan", "plan"),
    "account_age": ("x-account-age", "account_age", "account_created"),
    "country": ("x-geo-country", "country"),
    "asn": ("x-geo-asn", "asn"),
    "payment": ("x-payment-fingerprint", "payment_fingerprint"),
}
"""As the operator names them in the log's format. `x-geo-` are headers that Envoy's GeoIP filter writes, over what
a client sends."""


class Envoy(Adapter):
    """One access-log line an element."""

    name = "envoy"
    who = WHO
    marks = frozenset(("start_time", "response_code", "x-request-id", "upstream_cluster", "method"))

    def element(self, raw: bytes) -> Iterator[Telemetry | Malformed]:
        if raw[:1] == b"[":
            match = LINE.match(raw.decode("utf-8", "replace"))
            if match is None:
                raise Malformed("fields", "neither JSON nor a line of Envoy's default text format")
            yield self._telemetry(_text_line(match), raw)
            return
        line = load_flat(raw, self.marks)
        for found in _service_entries(line):
            try:
                yield self._telemetry(found, raw)
            except Malformed as bad:
                yield bad

    def _telemetry(self, line: Mapping[str, Any], raw: bytes) -> Telemetry:
        identity = self.identity
        time = require_time(next((t for key in TIME if (t := timestamp(at(line, key))) is not None), None), TIME[0])
        agent, client = self.clients.agent(_any(line, AGENT))
        address = self.addresses.client(text(_any(line, PEER)), text(_any(line, FORWARDED)))
        ip, net = self.clients.address(address)
        headers, n_headers = self.clients.headers(
            {key: value for key, value in line.items() if key.lower().startswith(HEADERS) and text(value)}
        )
        path = text(_any(line, PATH))[: rest.PATH_CHARS]
        model = text(_any(line, MODEL))
        status = count(_any(line, STATUS))
        remaining = _any(line, REMAINING)
        further = _further(line)
        model = model or text(further.get("model"))
        tokens_in = _any(line, TOKENS_IN) or further.get("tokens_in")
        if model or text(tokens_in) or chat.asks_model(text(line.get("method")), path):
            fields: dict[str, Any] = {
                "provider": name(_any(line, PROVIDER), 32),
                "model": model_name(model),
                "op": chat.route(path),
                "stream": chat.truth(_flag(line)),
                "tokens_in": count(tokens_in),
                "tokens_out": count(_any(line, TOKENS_OUT) or further.get("tokens_out")),
                "finish": replies.finish_reason(_any(line, ("gen_ai.response.finish_reasons", "finish_reason"))),
            }
        else:
            fields = rest.fields(text(line.get("method")), path, identity)
        account = next((who for key in self.accounts if (who := self._account(line, key, address))), "")
        return Telemetry(
            id=self.request_id(text(_any(line, ID)), raw),
            time=time,
            account=self.account(account),
            user=identity.hash64("user", text(_any(line, ("x-user-id", "enduser.id", "user_id")))),
            session=identity.hash64("session", text(_any(line, SESSION))),
            ip=ip,
            net=net,
            agent=agent,
            headers=headers,
            client=client,
            n_headers=n_headers,
            status=status if 100 <= status <= 999 else 0,
            duration=min(max(_milliseconds(_any(line, DURATION)), 0.0) / 1e3, 1e7),
            remaining=count(remaining) if number(remaining) is not None else -1,
            **self.standing(lambda path: at(line, path), time),
            **fields,
        )

    def _account(self, line: Mapping[str, Any], key: str, address: str) -> str:
        if key in FORWARDED:
            return address if text(_any(line, FORWARDED)) else ""
        found = text(at(line, key))
        if not found:  # the operator's other spelling of a header's name
            found = next((text(value) for other, value in line.items() if _plain(other) == _plain(key)), "")
        return found


_NOT_LETTERS = re.compile(r"[^a-z]+")


@lru_cache(4096)
def _plain(field: str) -> str:
    """A field's name in lower case, with one sign between its words."""
    return _NOT_LETTERS.sub("_", field[:128].lower()).strip("_")


@lru_cache(4096)
def _meaning(field: str) -> str:
    return next((meaning for meaning, form in FORMS if form.match(_plain(field))), "")


def _further(line: Mapping[str, Any]) -> dict[str, Any]:
    """Model and tokens under names that have one of `FORMS`, the first present of each."""
    found: dict[str, Any] = {}
    for key, value in line.items():
        if (meaning := _meaning(key)) and meaning not in found and text(value):
            found[meaning] = value
    return found


def _milliseconds(value: Any) -> float:
    """A duration that is a number of milliseconds, or text with its unit."""
    if isinstance(value, str) and (found := _DURATION.match(value)):
        return (number(found[1]) or 0.0) * UNITS[found[2]]
    return number(value) or 0.0


_DURATION = re.compile(r"([\d.]{1,20})(us|ms|s)\Z")
UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
"""Milliseconds in each."""


def _flag(line: Mapping[str, Any]) -> Any:
    return next((found for key in STREAM if (found := at(line, key)) is not None), None)


def _text_line(match: re.Match[str]) -> dict[str, Any]:
    """The fields of a text line under their names in JSON; headers are read from the end, which no client writes."""
    found: dict[str, Any] = match.groupdict()
    behind = found.pop("rest")
    numbers = NUMBERS.search(behind)
    if numbers is not None:
        found["duration"] = numbers["duration"]
        headers, _, tail = behind[numbers.end() :].rpartition('"')
        fields = ["", "", "", *headers.rsplit('" "', 3)][-4:]
        found["x-forwarded-for"], _, found["user-agent"] = fields[0].partition('" "')
        found["x-request-id"] = fields[1]
        addresses = tail.split()
        if len(addresses) > 3:  # Istio: cluster, upstream local, downstream local, downstream remote
            found["downstream_remote_address"] = addresses[3]
    return found


def _service_entries(line: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Entries of the access log service (envoy.data.accesslog.v3) under the names of the file log; others unchanged."""
    logs = line.get("httpLogs", line.get("http_logs"))
    if isinstance(logs, dict):
        for entry in sequence(logs.get("logEntry", logs.get("log_entry"))):
            yield _service_entry(mapping(entry))
    elif "commonProperties" in line or "common_properties" in line:
        yield _service_entry(line)
    else:
        yield line


def _service_entry(entry: Mapping[str, Any]) -> dict[str, Any]:
    common = _snake(entry.get("commonProperties", entry.get("common_properties")))
    request, response = _snake(entry.get("request")), _snake(entry.get("response"))
    peer = _snake(_snake(common.get("downstream_remote_address")).get("socket_address"))
    found: dict[str, Any] = {}
    for values in mapping(_snake(common.get("metadata")).get("filter_metadata")).values():
        found.update(mapping(values))
    headers = mapping(request.get("request_headers"))
    return {
        **found,
        **{str(key).lower(): value for key, value in headers.items()},
        "start_time": common.get("start_time"),
        "duration": 1e3 * (number(text(common.get("time_to_last_downstream_tx_byte")).rstrip("s")) or 0.0),
        "downstream_remote_address": peer.get("address"),
        "method": request.get("request_method"),
        "path": request.get("original_path") or request.get("path"),
        "user-agent": request.get("user_agent"),
        "x-forwarded-for": request.get("forwarded_for"),
        "x-request-id": request.get("request_id"),
        "response_code": response.get("response_code"),
    }


def _snake(value: Any) -> dict[str, Any]:
    """An object of protobuf's JSON with its names in snake case, as some encoders write them."""
    return {_CAPITAL.sub(lambda c: "_" + c.group().lower(), str(key)): inner for key, inner in mapping(value).items()}


def _any(line: Mapping[str, Any], keys: tuple[str, ...]) -> Any:
    """Return the first present value; a dash is absent."""
    return next((found for key in keys if text(found := at(line, key))), None)
