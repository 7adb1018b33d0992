"""OpenTelemetry's GenAI spans and events in OTLP, as the Collector's Kafka and file exporters write them: many spans a
message, in JSON or protobuf. What is no request to a model (HTTP, databases, tools, agents) is passed over and counted.

Reads the current semantic conventions (gen_ai.input.messages...) and the older forms still in the field (gen_ai.prompt,
its indexed variant, span events), the event gen_ai.client.inference.operation.details of OTLP logs, and the attributes
of Traceloop, OpenInference, the Vercel AI SDK, Logfire and LiteLLM.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from siphonwatch.streams.contracts.telemetry import Malformed, Telemetry
from siphonwatch.streams.edge.adapters import chat, replies
from siphonwatch.streams.edge.adapters.base import Adapter, load_object, require_time
from siphonwatch.streams.edge.adapters.errors import error_status
from siphonwatch.streams.edge.adapters.otlp_wire import (
    PROTOBUF,
    SERVER,
    Attributes,
    Group,
    Span,
    delimited,
    from_json,
    from_protobuf,
)
from siphonwatch.streams.edge.adapters.values import at, count, model_name, name, number, text
from siphonwatch.streams.edge.adapters.values import span as span_seconds
from siphonwatch.streams.edge.adapters.wrapping import clean

MAX_INDEXED = 1000
"""Tools counted of an indexed form."""
MAX_PARTS = 64
"""Parts read of one message of the indexed form `message.contents.<i>.message_content.text`."""

INFERENCE = frozenset(
    ("chat", "completion", "text_completion", "generate_content", "generate", "generation", "embeddings", "embedding",
     "responses", "response", "rerank", "image", "image_generation", "speech", "transcription", "moderation",
     "generate_content_stream", *chat.OPERATIONS)
)  # fmt: skip
"""Operations that ask a model. Any other stands around requests, or beside them: counting it would count one twice."""

KNOWN_OPERATIONS = frozenset(
    ("execute_tool", "invoke_agent", "create_agent", "invoke_workflow", "retrieval", "search_memory", "update_memory",
     "create_memory", "create_thread", "create_message", "process_thread_run", "list_messages", "submit_tool_outputs",
     "plan", "handoff", "guardrail", "evaluate", "framework", "vectordb", "workflow_task")
)  # fmt: skip
"""Operations that are counted under their own names where they are passed over; an application may invent more."""

MODEL = ("gen_ai.request.model", "gen_ai.response.model", "llm.model_name", "embedding.model_name", "ai.model.id",
         "llm.request.model", "llm.response.model", "langfuse.observation.model.name")  # fmt: skip
PROVIDER = ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "llm.system", "ai.model.provider")
TOKENS_IN = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens",
             "llm.token_count.prompt", "ai.usage.promptTokens", "ai.usage.inputTokens", "ai.usage.tokens",
             "gen_ai.response.prompt_tokens")  # fmt: skip
TOKENS_OUT = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens",
              "llm.token_count.completion", "ai.usage.completionTokens", "ai.usage.outputTokens",
              "gen_ai.response.completion_tokens")  # fmt: skip
FINISH = ("gen_ai.response.finish_reasons", "gen_ai.response.finish_reason", "ai.response.finishReason",
          "llm.response.finish_reason", "gen_ai.completion.0.finish_reason")  # fmt: skip
SESSION = ("gen_ai.conversation.id", "session.id", "langfuse.session.id", "ai.telemetry.metadata.sessionId",
           "traceloop.association.properties.session_id")  # fmt: skip
USER = ("enduser.pseudo.id", "enduser.id", "user.id", "gen_ai.user", "gen_ai.request.user", "llm.user",
        "ai.telemetry.metadata.userId", "metadata.user_api_key_end_user_id")  # fmt: skip
STREAM = ("gen_ai.request.stream", "gen_ai.is_streaming", "gen_ai.request.is_stream", "gen_ai.request.streaming",
          "llm.is_streaming")  # fmt: skip
STRUCTURE = ("gen_ai.request.structured_output_schema", "llm.request.structured_output_schema",
             "gen_ai.openai.request.response_format", "gen_ai.request.response_format", "ai.schema")  # fmt: skip
DATA = ("db.system", "db.system.name", "messaging.system", "rpc.system", "cache.system")
"""Marks of spans about something else, whatever model their request is for."""

DETAILS = "gen_ai.client.inference.operation.details"
"""The event that holds a whole request, text too."""
LEGACY_EVENTS = frozenset(
    ("gen_ai.system.message", "gen_ai.user.message", "gen_ai.assistant.message", "gen_ai.tool.message", "gen_ai.choice")
)
"""Events of one message each, beside a span without text."""

TEXT_VARIABLES = (
    "OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental",
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT=span_only",
)
"""What an application's environment must hold for OpenTelemetry's own instrumentations to put text into spans."""

_ERROR_CODE = re.compile(r"(?:Error code|status(?: code)?|HTTP(?:/[\d.]{1,3})?)[: ]{1,3}([45]\d\d)\b", re.IGNORECASE)

HEADER = "http.request.header."

WHO = {
    "plan": ("siphonwatch.plan", "tenant.plan"),
    "account_age": ("siphonwatch.account_age", "siphonwatch.account_created"),
    "country": ("client.geo.country_iso_code", "geo.country.iso_code"),
    "asn": ("client.as.number", "siphonwatch.asn"),
    "payment": ("siphonwatch.payment_fingerprint",),
}
"""The Elastic Common Schema's names where OpenTelemetry's conventions have none."""


class Otlp(Adapter):
    """One export of traces or logs an element."""

    name = "otlp"
    who = WHO
    marks = frozenset(("resourceSpans", "resource_spans", "resourceLogs", "resource_logs"))

    def _each(self, raw: bytes) -> Iterator[Telemetry | Malformed]:
        groups = from_protobuf(raw) if raw[:1] == PROTOBUF else None
        start = clean(raw)[:1]
        if groups is not None and any(group.spans or group.records for group in groups):
            yield from self._groups(groups, raw)
        elif groups is None and (exports := delimited(raw)):
            for export in exports:
                yield from self._groups(from_protobuf(export) or (), export)
        elif start in (b"{", b"[", b'"') or (start.isascii() and start.isalnum()) or start == b"<":  # JSON, or a prefix
            yield from super()._each(raw)
        elif groups:
            self.pass_over("export without spans or log records")
        elif raw[:1] == PROTOBUF:
            yield Malformed("encoding", "an OTLP export in protobuf (encoding otlp_proto) that is cut off or damaged")
        else:
            yield Malformed("json", "neither JSON (encoding otlp_json) nor an OTLP export in protobuf (otlp_proto)")

    def element(self, raw: bytes) -> Iterator[Telemetry | Malformed]:
        yield from self._groups(from_json(load_object(raw)), raw)

    def _groups(self, groups: Iterable[Group], raw: bytes) -> Iterator[Telemetry | Malformed]:
        for group in groups:
            yield from group.bad
            chosen, passed = requests(group.spans)
            for what in passed:
                self.pass_over(what)
            known = {(span.trace, span.own): span for span in group.spans}
            for span in chosen:
                yield from self._one(span, _ancestors(span, known), group.resource, raw)
            for record in group.records:
                if record.name == DETAILS and text(record.attributes.get("gen_ai.operation.name")) in INFERENCE:
                    yield from self._one(record, (), group.resource, raw)
                else:
                    self.pass_over(f"log {record.name}" if record.name in (DETAILS, *LEGACY_EVENTS) else "log record")

    def _one(
        self, span: Span, around: Iterable[Span], resource: Attributes, raw: bytes
    ) -> Iterator[Telemetry | Malformed]:
        try:
            yield self._telemetry(span, [span.attributes, *(outer.attributes for outer in around), resource], raw)
        except Malformed as bad:
            yield bad

    def _telemetry(self, span: Span, sources: Sequence[Attributes], raw: bytes) -> Telemetry:
        """`sources` are the attributes of the span, of those around it, the nearest first, and of the resource."""

        def find(path: str) -> str:
            return next((said for source in sources if (said := text(_at(source, path)))), "")

        identity = self.identity
        account = next((who for path in self.accounts if (who := find(path))), "")
        found = span.attributes
        start = require_time(span.start, "startTimeUnixNano")
        operation = chat.operation(_operation(found)) or "chat"
        usage = chat.body(found.get("langfuse.observation.usage_details"))
        asked, reply, ended = _content(span)
        if not asked and not reply:
            self.without_text += 1
        agent, client = self.clients.agent(found.get("user_agent.original") or found.get("http.user_agent"))
        ip, net = self.clients.address(found.get("client.address") or found.get("client.ip"))
        headers, n_headers = self.clients.headers(
            {key.removeprefix(HEADER): value for key, value in found.items() if key.startswith(HEADER)}
        )
        return Telemetry(
            id=self.request_id(f"{span.trace}/{span.own}" if span.own else text(found.get("gen_ai.response.id")), raw),
            time=start,
            account=self.account(account),
            key=identity.hash64("key", text(_first(found, ("gen_ai.api_key.id", "metadata.user_api_key_hash")))),
            user=identity.hash64("user", next((w for k in USER if (w := text(_at(found, k))) and w != account), "")),
            session=identity.hash64("session", text(_first(found, SESSION))),
            ip=ip,
            net=net,
            agent=agent,
            headers=headers,
            client=client,
            n_headers=n_headers,
            provider=name(_first(found, PROVIDER), 32),
            model=model_name(_first(found, MODEL)),
            op=operation,
            status=_status(span),
            **_parameters(found),
            tokens_in=count(_first(found, TOKENS_IN)) or count(usage.get("input")),
            tokens_out=count(_first(found, TOKENS_OUT)) or count(usage.get("output")),
            duration=span_seconds(start, span.end),
            finish=next((why for key in FINISH if (why := replies.finish_reason(found.get(key)))), ended),
            **self.standing(find, start),
            **self.sketch(asked, reply, operation),
        )


def requests(spans: list[Span]) -> tuple[list[Span], list[str]]:
    """Return the spans that are requests to a model, and what each other one is.

    A span that names its operation, in any vocabulary, is what it says. Others carry a model because their request is
    for one: in a trace where a span names an inference they are passed over; elsewhere those with an answer's tokens
    count, else the outermost. Of spans within each other only the innermost counts.
    """
    named: list[Span] = []
    unnamed: list[Span] = []
    passed: list[str] = []
    for span in spans:
        operation = _operation(span.attributes)
        if operation in INFERENCE:
            named.append(span)
        elif operation:
            passed.append(operation if operation in KNOWN_OPERATIONS else "other operation")
        elif _first(span.attributes, MODEL) is None and _first(span.attributes, TOKENS_IN) is None:
            passed.append("no model")
        elif any(key in span.attributes for key in DATA) and not _of_model(span.attributes):
            passed.append("data store")
        else:
            unnamed.append(span)
    known = {(span.trace, span.own): span for span in spans}
    traces = {span.trace for span in named if span.trace}
    answered = [span for span in unnamed if span.trace not in traces and _answered(span.attributes)]
    answering = {span.trace for span in answered if span.trace}
    alone = [span for span in unnamed if span.trace not in traces and not _answered(span.attributes)]
    alone = [span for span in alone if span.trace not in answering]
    chosen = _innermost(named, known) + _innermost(answered, known) + _outermost(alone, known)
    kept = {id(span) for span in chosen}
    passed += ["around a request" for span in (*named, *unnamed) if id(span) not in kept]
    return [span for span in spans if id(span) in kept], passed


def _of_model(found: Attributes) -> bool:
    """Tell whether a call that is a cloud's own RPC, such as to Bedrock, names a model's provider and its tokens."""
    return _first(found, PROVIDER) is not None and _first(found, TOKENS_IN) is not None


def _answered(found: Attributes) -> bool:
    return (
        any(_first(found, keys) is not None for keys in (TOKENS_IN, TOKENS_OUT, FINISH))
        or "gen_ai.response.model" in found
    )


def _ancestors(span: Span, known: Mapping[tuple[str, str], Span]) -> list[Span]:
    """The spans of this message around one, the nearest first."""
    found: list[Span] = []
    seen = {span.own}
    while (outer := known.get((span.trace, span.parent))) is not None and outer.own not in seen and span.parent:
        found.append(outer)
        seen.add(outer.own)
        span = outer
    return found


def _innermost(spans: list[Span], known: Mapping[tuple[str, str], Span]) -> list[Span]:
    around = {id(outer) for span in spans for outer in _ancestors(span, known)}
    return [span for span in spans if id(span) not in around]


def _outermost(spans: list[Span], known: Mapping[tuple[str, str], Span]) -> list[Span]:
    among = {id(span) for span in spans}
    top = [span for span in spans if not any(id(outer) in among for outer in _ancestors(span, known))]
    servers = {span.trace for span in top if span.kind == SERVER and span.trace}
    return [span for span in top if span.kind == SERVER or span.trace not in servers]


def _operation(found: Attributes) -> str:
    """What a span says it does, in OpenTelemetry's words where it asks a model; '' where it does not say."""
    named = text(found.get("gen_ai.operation.name"))
    if named:  # Semantic Kernel says chat.completions
        return named.lower().replace(".", "_").replace("-", "_").replace(" ", "_")
    if sdk := text(found.get("ai.operationId")):  # Vercel: ai.generateText around ai.generateText.doGenerate
        inner = sdk.rpartition(".")[2]
        return {"doGenerate": "chat", "doStream": "chat", "doEmbed": "embeddings"}.get(inner, "framework")
    if kind := text(found.get("openinference.span.kind")):
        return {"LLM": "chat", "EMBEDDING": "embeddings", "RERANKER": "rerank"}.get(kind.upper(), "framework")
    if kind := text(found.get("llm.request.type")):  # Traceloop
        return kind.lower()
    if kind := text(found.get("langfuse.observation.type")):
        return {"generation": "chat", "embedding": "embeddings"}.get(kind.lower(), "framework")
    return "framework" if text(found.get("traceloop.span.kind")) else ""


def _at(found: Attributes, path: str) -> Any:
    """An attribute by its name or as a dotted path, into JSON text too."""
    value = at(found, path)
    if value is None and "." in path:
        head, _, rest = path.partition(".")
        if isinstance(found.get(head), str):
            value = at(chat.body(found[head]), rest)
    return value


def _first(found: Attributes, keys: tuple[str, ...]) -> Any:
    return next((value for key in keys if (value := found.get(key)) is not None), None)


def _status(span: Span) -> int:
    found = span.attributes
    code = count(found.get("http.response.status_code") or found.get("http.status_code"))
    if 100 <= code <= 999:
        return code
    thrown = next((event.attributes for event in span.events if event.name == "exception"), {})
    failure = text(found.get("error.type")) or text(found.get("exception.type")) or text(thrown.get("exception.type"))
    if not span.failed and not text(found.get("error.type")):
        return 200
    code = count(failure)
    if 100 <= code <= 999:
        return code
    said = _ERROR_CODE.search(text(thrown.get("exception.message"))[:4096])
    if said := said or _ERROR_CODE.search(span.message[:4096]):
        return int(said.group(1))
    return error_status(failure or span.message.partition(":")[0])


def _parameters(found: Attributes) -> dict[str, Any]:
    asked = chat.body(found.get("llm.invocation_parameters") or found.get("langfuse.observation.model.parameters"))
    settings = {key[12:]: value for key, value in found.items() if key.startswith("ai.settings.")}
    fields = chat.parameters({**settings, **asked})
    tools = chat.embedded(found.get("gen_ai.tool.definitions") or found.get("ai.prompt.tools"))
    for field, names in (
        ("temperature", ("gen_ai.request.temperature", "llm.temperature")),
        ("top_p", ("gen_ai.request.top_p", "llm.top_p")),
    ):
        if (value := number(_first(found, names))) is not None:
            fields[field] = value
    for field, keys, absent in (
        ("max_tokens", ("gen_ai.request.max_tokens", "llm.request.max_tokens"), 0),
        ("n", ("gen_ai.request.choice.count",), 1),
        ("logprobs", ("gen_ai.request.top_logprobs",), 0),
    ):
        if value := count(_first(found, keys), absent):
            fields[field] = value if value != absent else fields[field]
    fields["stream"] = (
        fields["stream"]
        or any(chat.truth(found.get(key)) for key in STREAM)
        or text(found.get("ai.operationId")).endswith("doStream")
    )
    fields["tools"] = fields["tools"] or (len(tools) if isinstance(tools, list) else _counted(found))
    fields["structured"] = (
        fields["structured"]
        or text(found.get("gen_ai.output.type")) in ("json", "json_object", "json_schema")
        or chat.structured({"response_format": _first(found, STRUCTURE)})
    )
    return fields


TOOLS = ("llm.tools.{}.tool.json_schema", "llm.request.functions.{}.name")


def _counted(found: Attributes) -> int:
    """How many tools stand under numbered names."""
    return next((i for i in range(MAX_INDEXED) if not any(form.format(i) in found for form in TOOLS)), MAX_INDEXED)


def _content(span: Span) -> tuple[chat.Messages, str, str]:
    """Return (messages, reply, finish reason) from the newest form that the span has."""
    content = dict(span.attributes)
    events = [(event.name, event.attributes) for event in span.events[: chat.MAX_PARTS]]
    told = chat.embedded(content.get("events") or content.get("all_messages_events"))  # Logfire
    if isinstance(told, list):
        events += [
            (text(event.get("event.name")), event) for event in told[: chat.MAX_PARTS] if isinstance(event, dict)
        ]
    asked: chat.Messages = []
    spoken: list[str] = []
    chosen = ""
    for label, fields in events:
        if label in LEGACY_EVENTS and label != "gen_ai.choice":
            words = fields.get("content", fields.get("gen_ai.event.content"))
            asked.append((label.split(".")[1], chat.content_text(chat.embedded(words))))
        elif label == "gen_ai.choice":
            words = chat.embedded(fields.get("message", fields.get("gen_ai.event.content")))
            words, why = replies.reply([words] if isinstance(words, dict) else words)
            spoken.append(words)
            chosen = chosen or replies.finish_reason(fields.get("finish_reason")) or why
        else:
            content.update({key: value for key, value in fields.items() if key.startswith("gen_ai.")})
    system = chat.content_text(chat.embedded(content.get("gen_ai.system_instructions")))
    messages = (
        _said(content, ("gen_ai.input.messages", "gen_ai.prompt", "ai.prompt.messages", "ai.prompt"))
        or asked
        or next((said for form in INDEXED if (said := _indexed(content, *form))), [])
        or _said(content, ("request_data", "input.value", "traceloop.entity.input", "langfuse.observation.input"))
        or _values(content)
    )
    reply, ended = replies.answer(content.get("gen_ai.output.messages") or content.get("gen_ai.completion"))
    if not reply:
        spoken += [words for form in REPLIES for _, words in _indexed(content, *form)]
        reply = "\n".join(words for words in spoken if words)
    for key in ("ai.response.text", "response_data", "output.value", "langfuse.observation.output"):
        if not reply and content.get(key):
            reply, why = _answered_text(content[key])
            ended = ended or why
    reply = reply or text(content.get("ai.response.object"))
    if system and messages[:1] != [("system", system)]:
        messages = [("system", system), *messages]
    return messages, reply, ended or chosen


def _values(content: Attributes) -> chat.Messages:
    """What the Vercel AI SDK embeds: one value or several, each as JSON text."""
    held = content.get("ai.values") or content.get("ai.value")
    values = [chat.embedded_text(value) for value in (held if isinstance(held, list) else [held])]
    return [("user", words) for words in values if words]


INDEXED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("gen_ai.prompt.", "role", ("content",)),
    ("llm.prompts.", "role", ("content", "prompt.text")),
    ("llm.input_messages.", "message.role", ("message.content", "message.contents.{}.message_content.text")),
    ("embedding.embeddings.", "", ("embedding.text",)),
)
"""Forms of a message a number: what stands before the number, and behind it for the role and for the words."""
REPLIES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("gen_ai.completion.", "role", ("content",)),
    ("llm.completions.", "role", ("content",)),
    ("llm.choices.", "", ("completion.text",)),
    ("llm.output_messages.", "message.role", ("message.content", "message.contents.{}.message_content.text")),
)


def _said(content: Attributes, keys: tuple[str, ...]) -> chat.Messages:
    for key in keys:
        if value := content.get(key):
            found = chat.embedded(value)
            if isinstance(found, dict) and key == "request_data":
                found = chat.request(found)
                if found:
                    return found
            elif (said := chat.messages(found)) and any(words for _, words in said):
                return said
    return []


def _answered_text(value: Any) -> tuple[str, str]:
    parsed = chat.body(value) if isinstance(value, str) else value
    if isinstance(parsed, dict) and parsed:
        reply, ended = replies.reply(parsed)
        if reply:
            return reply, ended
    return (value, "") if isinstance(value, str) and not parsed else ("", "")


def _indexed(found: Attributes, front: str, role: str, words: tuple[str, ...]) -> chat.Messages:
    """Messages that stand under numbered names, such as gen_ai.prompt.0.content; a limit on attributes leaves gaps."""
    begun = {key[len(front) :].partition(".")[0] for key in found if key.startswith(front)}
    messages: chat.Messages = []
    for i in sorted(int(place) for place in begun if place.isascii() and place.isdigit() and len(place) < 5):
        at_number = f"{front}{i}."
        content = next((said for form in words if (said := _numbered(found, at_number + form)) is not None), None)
        who = found.get(at_number + role) if role else None
        if content is None and who is None:
            continue
        speaker = text(who).lower() or "user"
        messages.append((chat.ROLES.get(speaker, speaker), chat.content_text(chat.embedded(content))))
    return messages


def _numbered(found: Attributes, form: str) -> Any:
    """An attribute, or the list of those whose name has a number in the form's braces."""
    if "{}" not in form:
        return found.get(form)
    front, _, behind = form.partition("{}")
    values = [found[key] for i in range(MAX_PARTS) if (key := f"{front}{i}{behind}") in found]
    return values or None
