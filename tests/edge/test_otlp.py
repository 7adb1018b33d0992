"""Which spans and log records are requests to a model, whose they are, and what they say, in every encoding and
vocabulary."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adapter_samples import ACCOUNT, GEN_AI, KEY, Spy, adapter, attribute, bad, export, one, span

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.contracts.telemetry import Malformed, Telemetry
from siphonwatch.streams.edge.adapters import read_records
from siphonwatch.streams.edge.adapters.otlp import DETAILS, TEXT_VARIABLES

ASK, SAID = "Who moved lot 7?", "The night crew."


def account(name: str) -> str:
    return Identity(KEY).account(name)


def read(message: Any) -> tuple[list[Telemetry], dict[str, int]]:
    """The requests of a message, none refused, and what was passed over."""
    reader = adapter("otlp")
    raw = message if isinstance(message, bytes) else json.dumps(message).encode()
    found = list(reader.records(raw))
    assert not [element for element in found if isinstance(element, Malformed)]
    return [element for element in found if isinstance(element, Telemetry)], dict(reader.passed_over)


def node(number: int, parent: int, attributes: dict[str, Any], kind: int = 3) -> dict[str, Any]:
    ids = {"spanId": f"{number:016x}", "parentSpanId": f"{parent:016x}" if parent else ""}
    return span({"tenant.id": "acme", **attributes}, kind=kind, **ids)


MODEL = {"gen_ai.request.model": "m-1"}
CHAT = MODEL | {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 5}


def test_one_call_whose_model_stands_on_every_span_around_it_is_one_request() -> None:
    found, passed = read(
        export(
            node(1, 0, MODEL | {"http.request.method": "POST"}, kind=2),
            node(2, 1, MODEL, kind=1),
            node(3, 2, MODEL | {"db.system": "postgresql"}),
            node(4, 1, CHAT),
        )
    )
    assert ([record.tokens_in for record in found], sum(passed.values())) == ([5], 3)


def test_spans_that_name_no_operation_count_once_a_call() -> None:
    found, _ = read(export(node(1, 0, MODEL, kind=2), node(2, 1, MODEL, kind=1), node(3, 1, MODEL, kind=1)))
    assert len(found) == 1
    answered = MODEL | {"gen_ai.usage.input_tokens": 7}
    found, _ = read(export(node(1, 0, MODEL, kind=2), node(2, 1, answered), node(3, 2, answered), node(4, 1, answered)))
    assert len(found) == 2, "two calls below one request, one of them told twice"


def test_an_agent_s_sums_are_not_a_request_beside_its_calls() -> None:
    total = {"model_name": "m-1", "gen_ai.usage.input_tokens": 12}
    found, passed = read(
        export(node(1, 0, total), node(2, 1, CHAT), node(3, 1, CHAT | {"gen_ai.usage.input_tokens": 7}))
    )
    assert (sorted(record.tokens_in for record in found), passed) == ([5, 7], {"around a request": 1})


@pytest.mark.parametrize("operation", ["execute_tool", "create_thread", "handoff", "something_invented"])
def test_an_operation_that_is_no_inference_is_passed_over_by_name(operation: str) -> None:
    found, passed = read(export(node(1, 0, MODEL | {"gen_ai.operation.name": operation})))
    assert (found, passed) == ([], {operation if operation != "something_invented" else "other operation": 1})


@pytest.mark.parametrize("operation", ["chat", "generate_content", "text_completion", "embeddings", "acompletion"])
def test_an_inference_is_a_request(operation: str) -> None:
    found, _ = read(export(node(1, 0, MODEL | {"gen_ai.operation.name": operation})))
    assert len(found) == 1


def test_the_tenant_comes_before_any_name_that_a_customer_s_request_chooses() -> None:
    chosen = {"gen_ai.user": "u-1", "enduser.id": "u-2", "user.id": "u-3"}
    attributes = {key: value for key, value in GEN_AI.items() if key not in ("siphonwatch.account", "enduser.id")}
    found = one("otlp", export(span(attributes | chosen | {"tenant.id": "acme"})))
    assert (found.account, found.user) == (account("acme"), Identity(KEY).hash64("user", "u-2"))
    assert bad("otlp", export(span(attributes | chosen))).reason == "account"
    environ = {"SIPHONWATCH_ACCOUNTS_OTLP": "enduser.id"}
    assert one("otlp", export(span(attributes | chosen)), **environ).account == account("u-2")


@pytest.mark.parametrize(
    ("held", "name"),
    [
        ({"metadata.user_api_key_team_id": "red", "metadata.user_api_key_hash": "k"}, "red"),
        ({"metadata.user_api_key_hash": "k"}, "k"),
        ({"metadata": json.dumps({"user_api_key_team_id": "red"})}, "red"),
    ],
)
def test_without_a_tenant_the_gateway_s_key_or_team_is_the_account(held: dict[str, Any], name: str) -> None:
    attributes = {key: value for key, value in GEN_AI.items() if key != "siphonwatch.account"}
    assert one("otlp", export(span(attributes | held))).account == account(name)


def test_a_tenant_on_the_span_around_serves_its_call() -> None:
    inner = {key: value for key, value in GEN_AI.items() if key != "siphonwatch.account"}
    outer = span({"tenant.id": "acme"}, spanId="00000000000000aa", kind=2)
    found, _ = read(export(outer, span(inner, parentSpanId="00000000000000aa")))
    assert found[0].account == account("acme")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("BadRequestError", 400), ("429", 429), ("openai.RateLimitError", 429), ("content_filter", 400),
        ("openai.NotFoundError", 404), ("anthropic.OverloadedError", 529), ("ThrottlingException", 429),
        ("insufficient_quota", 429), ("openai.APITimeoutError", 504), ("AuthenticationError", 401),
        ("PermissionDeniedError", 403), ("api_core.exceptions.ResourceExhausted", 429), ("asyncio.CancelledError", 499),
        ("ContextWindowExceededError", 400), ("openai.InternalServerError", 500), ("APIConnectionError", 503),
        ("_OTHER", 500),
    ],
)  # fmt: skip
def test_an_error_s_class_tells_its_status(error: str, status: int) -> None:
    attributes = {key: value for key, value in GEN_AI.items() if not key.startswith("http")}
    failed = {"status": {"code": 2}}
    assert one("otlp", export(span(attributes | {"error.type": error}, **failed))).status == status
    event = {"name": "exception", "attributes": [attribute("exception.type", error)]}
    assert one("otlp", export(span(attributes, events=[event], **failed))).status == status


def test_an_exception_s_message_may_name_the_status() -> None:
    attributes = {key: value for key, value in GEN_AI.items() if not key.startswith("http")}
    told = [attribute("exception.type", "APIStatusError"), attribute("exception.message", "Error code: 413 - too much")]
    assert (
        one(
            "otlp", export(span(attributes, events=[{"name": "exception", "attributes": told}], status={"code": 2}))
        ).status
        == 413
    )


VOCABULARIES: dict[str, dict[str, Any]] = {
    "vercel": {
        "ai.operationId": "ai.generateText.doGenerate", "gen_ai.request.model": "m-1",
        "ai.response.finishReason": "length", "ai.usage.promptTokens": 5,
        "ai.usage.completionTokens": 3, "ai.settings.temperature": 0,
        "ai.settings.maxOutputTokens": 9, "ai.response.text": SAID,
        "ai.prompt.messages": json.dumps([{"role": "user", "content": [{"type": "text", "text": ASK}]}]),
    },
    "openinference": {
        "openinference.span.kind": "LLM", "llm.model_name": "m-1", "llm.token_count.prompt": 5,
        "llm.token_count.completion": 3, "llm.invocation_parameters": json.dumps({"temperature": 0, "max_tokens": 9}),
        "llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": ASK,
        "llm.output_messages.0.message.role": "assistant", "llm.output_messages.0.message.content": SAID,
        "llm.response.finish_reason": "MAX_TOKENS",
    },
    "openinference, parts": {
        "openinference.span.kind": "LLM", "llm.model_name": "m-1", "llm.token_count.prompt": 5,
        "llm.token_count.completion": 3, "llm.invocation_parameters": json.dumps({"temperature": 0, "max_tokens": 9}),
        "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.contents.0.message_content.text": ASK,
        "output.value": json.dumps({"choices": [{"message": {"content": SAID}, "finish_reason": "length"}]}),
    },
    "traceloop": {
        "llm.request.type": "chat", "gen_ai.request.model": "m-1", "gen_ai.usage.prompt_tokens": 5,
        "gen_ai.usage.completion_tokens": 3, "gen_ai.request.temperature": 0, "gen_ai.request.max_tokens": 9,
        "gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": ASK, "gen_ai.completion.0.role": "assistant",
        "gen_ai.completion.0.content": SAID, "gen_ai.completion.0.finish_reason": "length",
    },
    "logfire": {
        "gen_ai.request.model": "m-1", "gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 3,
        "request_data": json.dumps({"messages": [{"role": "user", "content": ASK}]}), "gen_ai.request.temperature": 0,
        "response_data": json.dumps({"message": {"role": "assistant", "content": SAID}}),
        "gen_ai.request.max_tokens": 9, "gen_ai.response.finish_reasons": '["max_tokens"]',
    },
    "langfuse": {
        "langfuse.observation.type": "generation", "langfuse.observation.model.name": "m-1",
        "langfuse.observation.usage_details": json.dumps({"input": 5, "output": 3}),
        "langfuse.observation.model.parameters": json.dumps({"temperature": 0, "max_tokens": 9}),
        "langfuse.observation.input": json.dumps([{"role": "user", "content": ASK}]),
        "langfuse.observation.output": json.dumps({"content": SAID, "stop_reason": "max_tokens"}),
    },
    "semantic kernel": {
        "gen_ai.operation.name": "chat.completions", "gen_ai.request.model": "m-1",
        "gen_ai.response.prompt_tokens": 5, "gen_ai.response.completion_tokens": 3, "gen_ai.request.temperature": 0,
        "gen_ai.request.max_tokens": 9, "gen_ai.prompt": [ASK], "gen_ai.completion": [SAID],
        "gen_ai.response.finish_reason": "FINISH_REASON_MAX_TOKENS",
    },
}  # fmt: skip


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_every_vocabulary_reads_alike(vocabulary: str) -> None:
    spy = Spy()
    found = one("otlp", export(node(1, 0, VOCABULARIES[vocabulary])), spy)
    assert spy.calls == [([("user", ASK)], SAID)]
    assert (found.model, found.op, found.tokens_in, found.tokens_out, found.finish) == ("m-1", "chat", 5, 3, "length")
    assert (found.temperature, found.max_tokens) == (0.0, 9)


def test_numbered_messages_are_read_around_gaps_and_with_all_of_their_parts() -> None:
    spy = Spy()
    part = "llm.input_messages.2.message.contents.{}.message_content.text"
    held = {"llm.input_messages.2.message.role": "user", part.format(0): ASK, part.format(2): "And lot 8?"}
    one("otlp", export(node(1, 0, {"openinference.span.kind": "LLM", "llm.model_name": "m-1", **held})), spy)
    one("otlp", export(node(1, 0, CHAT | {"gen_ai.prompt.3.role": "user", "gen_ai.prompt.3.content": ASK})), spy)
    assert spy.calls == [([("user", f"{ASK}\nAnd lot 8?")], ""), ([("user", ASK)], "")]


def test_what_the_vercel_sdk_embeds_is_text_of_one_request() -> None:
    spy = Spy()
    held = {"ai.operationId": "ai.embedMany.doEmbed", "ai.model.id": "m-1", "ai.values": ['"lot 7"', '"lot 8"']}
    found = one("otlp", export(node(1, 0, held)), spy)
    assert (found.op, found.turns, spy.calls) == ("embedding", 2, [([("user", "lot 7\nlot 8")], "")])


def test_a_cloud_s_own_rpc_to_a_model_is_a_request() -> None:
    held = {"rpc.system": "aws-api", "gen_ai.system": "aws.bedrock", "gen_ai.request.model": "m-1"}
    assert one("otlp", export(node(1, 0, held | {"gen_ai.usage.input_tokens": 5}))).tokens_in == 5
    assert read(export(node(1, 0, held)))[1] == {"data store": 1}


def test_a_choice_s_event_tells_why_it_ended() -> None:
    told = {"message": json.dumps({"role": "assistant", "content": SAID}), "finish_reason": "length"}
    events = [{"name": "gen_ai.choice", "attributes": [attribute(key, value) for key, value in told.items()]}]
    assert one("otlp", export(node(1, 0, CHAT) | {"events": events})).finish == "length"


def test_a_status_s_message_may_name_the_error() -> None:
    told = {"code": 2, "message": "Error code: 429 - {'error': 'slow down'}"}
    assert one("otlp", export(node(1, 0, CHAT) | {"status": told})).status == 429


def test_attributes_that_are_a_plain_object_are_read() -> None:
    plain = {"traceId": "0A" * 16, "spanId": "0B" * 8, "startTimeUnixNano": "1767571200500000000", "attributes": CHAT}
    groups = [{"resource": {"attributes": {"tenant.id": "acme"}}, "scopeSpans": [{"spans": [plain]}]}]
    found = one("otlp", {"resourceSpans": groups})
    assert (found.account, found.id) == (account("acme"), "0a" * 16 + "/" + "0b" * 8)


def test_spans_that_other_vocabularies_put_around_a_call_are_passed_over() -> None:
    found, passed = read(
        export(
            node(1, 0, {"ai.operationId": "ai.generateText", "ai.model.id": "m-1", "ai.usage.promptTokens": 5}),
            node(2, 1, VOCABULARIES["vercel"]),
            node(3, 0, {"openinference.span.kind": "CHAIN", "llm.model_name": "m-1"}),
            node(4, 0, {"traceloop.span.kind": "workflow", "gen_ai.request.model": "m-1"}),
        )
    )
    assert (len(found), passed) == (1, {"framework": 3})


@pytest.mark.parametrize(
    ("held", "stream", "structured"),
    [
        ({"gen_ai.is_streaming": True}, True, False), ({"gen_ai.request.stream": "true"}, True, False),
        ({"gen_ai.request.structured_output_schema": '{"type": "object"}'}, False, True),
        ({"gen_ai.openai.request.response_format": "json_schema"}, False, True),
        ({"gen_ai.output.type": "text"}, False, False),
        ({"gen_ai.openai.request.response_format": "text"}, False, False),
    ],
)  # fmt: skip
def test_streams_and_structured_output_are_read(held: dict[str, Any], stream: bool, structured: bool) -> None:
    found = one("otlp", export(node(1, 0, CHAT | held)))
    assert (found.stream, found.structured) == (stream, structured)


INPUT = json.dumps([{"role": "user", "parts": [{"type": "text", "content": ASK}]}])
OUTPUT = json.dumps([{"role": "assistant", "parts": [{"type": "text", "content": SAID}], "finish_reason": "length"}])


def log(name: str, attributes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    record = {
        "timeUnixNano": "1767571200500000000", "eventName": name, "traceId": "0a" * 16, "spanId": "0b" * 8,
        "attributes": [attribute(key, value) for key, value in attributes.items()], **fields,
    }  # fmt: skip
    return {"resourceLogs": [{"resource": {"attributes": []}, "scopeLogs": [{"scope": {}, "logRecords": [record]}]}]}


def test_the_event_of_a_whole_request_in_a_log_is_a_request() -> None:
    held = CHAT | {"tenant.id": "acme", "gen_ai.input.messages": INPUT, "gen_ai.output.messages": OUTPUT}
    spy = Spy()
    found = one("otlp", log(DETAILS, held), spy)
    assert spy.calls == [([("user", ASK)], SAID)]
    assert (found.account, found.finish, found.id) == (account("acme"), "length", "0a" * 16 + "/" + "0b" * 8)
    named = log("", {**held, "event.name": DETAILS})
    assert read(named)[0] == [found]


def test_events_of_one_message_each_are_counted_by_name() -> None:
    assert read(log("gen_ai.user.message", {"gen_ai.system": "openai"})) == ([], {"log gen_ai.user.message": 1})
    assert read(log("a line of the application", {})) == ([], {"log record": 1})


def test_requests_that_could_hold_text_and_do_not_are_counted() -> None:
    reader = adapter("otlp")
    list(
        reader.records(
            json.dumps(export(node(1, 0, CHAT), node(2, 0, CHAT | {"gen_ai.input.messages": INPUT}))).encode()
        )
    )
    assert reader.without_text == 1


def snaked(tree: Any) -> Any:
    """The message as encoders write it that keep protobuf's own names, with ids in base64."""
    if isinstance(tree, list):
        return [snaked(item) for item in tree]
    if not isinstance(tree, dict):
        return tree
    found = {}
    for key, value in tree.items():
        if key in ("traceId", "spanId", "parentSpanId") and value:
            value = base64.b64encode(bytes.fromhex(value)).decode()
        found["".join(f"_{c.lower()}" if c.isupper() else c for c in key)] = snaked(value)
    return found


FULL = export(
    span(GEN_AI | {"gen_ai.input.messages": INPUT, "gen_ai.output.messages": OUTPUT}),
    span(GEN_AI | {"gen_ai.operation.name": "execute_tool"}, spanId="0c" * 8, parentSpanId="eee19b7ec3c1b174"),
)


def test_snake_case_reads_like_camel_case() -> None:
    assert read(snaked(FULL)) == read(FULL)
    logs = log(DETAILS, CHAT | {"tenant.id": "acme"})
    assert read(snaked(logs)) == read(logs)


def encoded(message: Any, logs: bool = False) -> bytes:
    """The message in protobuf, by protobuf's own reading of JSON."""
    from google.protobuf.json_format import ParseDict
    from opentelemetry.proto.logs.v1.logs_pb2 import LogsData
    from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

    def based(tree: Any) -> Any:
        if isinstance(tree, list):
            return [based(item) for item in tree]
        if not isinstance(tree, dict):
            return tree
        ids = ("traceId", "spanId", "parentSpanId")
        return {
            key: base64.b64encode(bytes.fromhex(value)).decode() if key in ids and value else based(value)
            for key, value in tree.items()
        }

    return ParseDict(based(message), LogsData() if logs else TracesData()).SerializeToString()  # type: ignore[no-any-return]


def test_protobuf_reads_like_json(tmp_path: Path) -> None:
    raw = encoded(FULL)
    assert read(raw) == read(FULL)
    logs = log(DETAILS, CHAT | {"tenant.id": "acme", "gen_ai.input.messages": INPUT})
    assert read(encoded(logs, logs=True)) == read(logs)
    for name, content in (("one", raw), ("framed", (struct.pack(">I", len(raw)) + raw) * 3)):
        (tmp_path / name).write_bytes(content)
        records = read_records(tmp_path / name)
        assert (records.format, [*records]) == ("otlp", [raw] * (1 if name == "one" else 3))


def test_one_string_that_is_not_utf8_costs_no_export() -> None:
    raw = encoded(FULL).replace(b"OpenAI/Python", b"OpenAI\xff\xfe\x80thon")
    found, _ = read(raw)
    assert [record.account for record in found] == [account(ACCOUNT)]


@pytest.mark.parametrize("cut", [1, 2, 30, 200])
def test_protobuf_that_is_cut_off_is_refused_by_its_name(cut: int) -> None:
    found = list(adapter("otlp").records(encoded(FULL)[:-cut]))
    assert [element.reason for element in found if isinstance(element, Malformed)] == ["encoding"]
    assert "otlp_proto" in str(found[0])


@pytest.mark.parametrize("size", [lambda n: n.to_bytes(4, "big"), lambda n: bytes(((n & 127) | 128, n >> 7))])
def test_exports_behind_their_lengths_are_read_from_files_and_topics(size: Any, tmp_path: Path) -> None:
    raw = b"".join(size(len(one)) + one for one in (encoded(FULL), encoded(FULL)))
    (tmp_path / "log").write_bytes(raw)
    records = read_records(tmp_path / "log")
    assert records.format == "otlp"
    whole = read(FULL)[0]
    assert [item for record in records for item in adapter("otlp").records(record)] == whole * 2
    assert list(adapter("otlp").records(raw)) == whole * 2


def test_metrics_are_passed_over() -> None:
    from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

    metrics = MetricsData()
    metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="x").gauge.data_points.add(as_int=3)
    assert read(metrics.SerializeToString()) == ([], {"export without spans or log records": 1})


@pytest.fixture
def openai_server() -> Iterator[str]:
    """A server on loopback that answers chat completions."""
    import threading
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps({
                "id": "c-1", "object": "chat.completion", "created": 1, "model": "m-1",
                "choices": [{"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": SAID}}],
                "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
            }).encode()  # fmt: skip
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


PROGRAM = """
import sys, openai
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

resource = Resource({"tenant.id": "acme"})
spans, logs = InMemorySpanExporter(), InMemoryLogRecordExporter()
tracing, logging = TracerProvider(resource=resource), LoggerProvider(resource=resource)
tracing.add_span_processor(SimpleSpanProcessor(spans))
logging.add_log_record_processor(SimpleLogRecordProcessor(logs))
OpenAIInstrumentor().instrument(tracer_provider=tracing, logger_provider=logging)
client = openai.OpenAI(base_url=sys.argv[1], api_key="k", max_retries=0)
client.chat.completions.create(model="m-1", max_tokens=9, messages=[{"role": "user", "content": "Who moved lot 7?"}])
open(sys.argv[2], "wb").write(encode_spans(spans.get_finished_spans()).SerializeToString())
finished = logs.get_finished_logs()
open(sys.argv[3], "wb").write(encode_logs(finished).SerializeToString() if finished else b"")
"""


@pytest.mark.parametrize("mode", ["default", "span_only", "event_only"])
def test_opentelemetry_s_own_instrumentation_of_openai_is_read(mode: str, openai_server: str, tmp_path: Path) -> None:
    import os
    import subprocess
    import sys

    pytest.importorskip("opentelemetry.instrumentation.openai_v2", reason="the instrumentation is not installed")
    pytest.importorskip("openai", reason="OpenAI's client is not installed")
    environ = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
    if mode != "default":
        environ |= dict(pair.split("=") for pair in TEXT_VARIABLES)
        environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = mode
    paths = tmp_path / "spans", tmp_path / "logs"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, openai_server, *paths],
        env=environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    spy = Spy()
    reader = adapter("otlp", spy)
    (found,) = reader.records(paths[0].read_bytes())
    assert isinstance(found, Telemetry), found
    assert (found.account, found.model, found.tokens_in, found.max_tokens) == (account("acme"), "m-1", 5, 9)
    assert (found.finish, found.status, found.op) == ("length", 200, "chat")
    if mode == "span_only":
        assert spy.calls == [([("user", ASK)], SAID)]
        return
    assert (spy.calls, reader.without_text) == ([], 1)
    raw = paths[1].read_bytes()
    if mode == "default" and not raw:  # versions differ: nothing, or an event for each message
        return
    told = list(reader.records(raw))
    if mode == "default":
        assert (told, sorted(reader.passed_over)) == ([], ["log gen_ai.choice", "log gen_ai.user.message"])
    else:
        (event,) = told
        assert isinstance(event, Telemetry)
        assert (event.account, event.model, event.id) == (found.account, "m-1", found.id)
        assert spy.calls == [([("user", ASK)], SAID)]
