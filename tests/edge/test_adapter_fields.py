"""Each source's fields arrive where telemetry has them, in telemetry's units."""

from __future__ import annotations

import json
from typing import Any

import pytest
from adapter_samples import (
    ACCOUNT,
    ADDRESS,
    COMBINED,
    ENVOY,
    GEN_AI,
    KEY,
    KONG,
    LITELLM,
    NGINX,
    OTLP,
    PROMPT,
    REPLY,
    SAMPLES,
    START,
    SYSTEM,
    TELEMETRY,
    USER,
    Spy,
    adapter,
    attribute,
    bad,
    changed,
    export,
    one,
    span,
)

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.contracts.telemetry import Malformed, Telemetry
from siphonwatch.streams.edge.adapters.values import timestamp

MODEL_FORMATS = ("litellm", "otlp", "kong", "envoy")
CONVERSATION = [("system", SYSTEM), ("user", PROMPT)]


@pytest.mark.parametrize("format", MODEL_FORMATS)
def test_a_model_request_reads_alike_from_every_gateway(format: str) -> None:
    record = one(format, SAMPLES[format])
    identity = Identity(KEY)
    assert record.kind == "llm"
    assert record.time == START
    assert record.account == identity.account(ACCOUNT)
    assert (record.provider, record.model, record.op, record.status) == ("openai", "gpt-4o", "chat", 200)
    assert (record.tokens_in, record.tokens_out, record.duration) == (31, 12, 1.25)
    assert record.client == "openai-python"
    assert record.agent == identity.hash64("agent", "OpenAI/Python 1.75.0")
    assert record.ip == identity.hash64("ip", ADDRESS)
    assert record.session == identity.hash64("session", "conversation-9f31")


@pytest.mark.parametrize("format", ["litellm", "otlp", "kong"])
def test_conversation_and_reply_reach_the_sketcher_whole(format: str) -> None:
    spy = Spy()
    one(format, SAMPLES[format], spy)
    assert spy.calls == [(CONVERSATION, REPLY)]


def test_litellm_parameters_limits_and_guardrails_are_read() -> None:
    record = one("litellm", LITELLM)
    assert (record.temperature, record.top_p, record.max_tokens, record.n) == (0.7, 0.9, 256, 2)
    assert (record.logprobs, record.tools, record.structured, record.stream) == (5, 1, True, True)
    assert (record.remaining, record.guardrails, record.finish) == (499, 1, "stop")
    assert record.n_headers == 3
    assert record.user == Identity(KEY).hash64("user", USER)


def test_the_account_falls_back_from_organisation_to_team_to_key() -> None:
    identity = Identity(KEY)
    team = changed(LITELLM, "metadata.user_api_key_org_id", None)
    assert one("litellm", team).account == identity.account("team")
    key = changed(team, "metadata.user_api_key_team_id", "")
    assert one("litellm", key).account == identity.account(LITELLM["metadata"]["user_api_key_hash"])


def test_the_account_field_is_a_setting_and_may_be_one_that_is_not_read_otherwise() -> None:
    record = one("litellm", LITELLM | {"tenant": {"name": "blue"}}, SIPHONWATCH_ACCOUNTS_LITELLM="tenant.name")
    assert record.account == Identity(KEY).account("blue")
    record = one("nginx", NGINX, SIPHONWATCH_ACCOUNTS_NGINX="X-Api-Key")
    assert record.account == Identity(KEY).account(NGINX["http_x_api_key"])


@pytest.mark.parametrize(("code", "status"), [("429", 429), (503, 503), ("", 500), (None, 500), ("teapot", 500)])
def test_a_failed_litellm_request_has_its_error_code_as_status(code: Any, status: int) -> None:
    failed = LITELLM | {"status": "failure", "error_information": {"error_code": code}, "response": {}}
    assert one("litellm", failed).status == status


def test_a_retry_does_not_change_the_header_tuple_but_another_sdk_does() -> None:
    first = one("litellm", LITELLM).headers
    retried = changed(LITELLM, "metadata.requester_custom_headers.x-stainless-retry-count", "2")
    other = changed(LITELLM, "metadata.requester_custom_headers.x-stainless-lang", "js")
    assert one("litellm", retried).headers == first
    assert one("litellm", other).headers != first


def test_redacted_messages_are_no_text_rather_than_one_text() -> None:
    spy = Spy()
    redacted = LITELLM | {
        "messages": [{"role": "user", "content": "redacted-by-litellm"}],
        "response": {"choices": [{"message": {"content": "redacted-by-litellm"}}]},
    }
    one("litellm", redacted, spy)
    assert spy.calls == []


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        (PROMPT, [("user", PROMPT)]),
        (
            [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}, {"text": "b"}]}],
            [("user", "a\nb")],
        ),
        ([{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}], [("assistant", "")]),
        ([{"role": "user", "content": [{"type": "tool_result", "content": "found it"}]}], [("tool", "found it")]),
        ([{"role": "user", "parts": [{"text": "gemini"}]}], [("user", "gemini")]),
        ([{"type": "function_call_output", "output": "7"}], [("tool", "7")]),
        ({"messages": [{"role": "user", "content": "inner"}]}, [("user", "inner")]),
        (["first text", "second text"], [("user", "first text"), ("user", "second text")]),
    ],
)
def test_every_shape_of_content_is_read(messages: Any, expected: list[tuple[str, str]]) -> None:
    spy = Spy()
    one("litellm", LITELLM | {"messages": messages}, spy)
    assert spy.calls == [(expected, REPLY)]


@pytest.mark.parametrize(
    "response",
    [
        REPLY,
        {"choices": [{"text": REPLY}]},
        {"content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": REPLY}], "stop_reason": "end"},
        {"output": [{"type": "message", "content": [{"type": "output_text", "text": REPLY}]}]},
        {"candidates": [{"content": {"parts": [{"text": REPLY}]}}]},
    ],
)
def test_every_shape_of_reply_is_read(response: Any) -> None:
    spy = Spy()
    one("litellm", LITELLM | {"response": response}, spy)
    assert spy.calls[0][1] == REPLY


def test_a_fine_tuned_model_does_not_name_its_owner() -> None:
    assert one("litellm", LITELLM | {"model": "ft:gpt-4o-mini:zanzibar:books:x1"}).model == "ft:gpt-4o-mini"


def test_words_where_a_model_name_belongs_do_not_stay_in_the_clear() -> None:
    assert one("litellm", LITELLM | {"model": PROMPT}).model == "other"


def test_spans_of_tools_and_http_are_passed_over_without_complaint() -> None:
    tool = span({**GEN_AI, "gen_ai.operation.name": "execute_tool"})
    http = span({"http.request.method": "GET"})
    found = list(adapter("otlp").records(json.dumps(export(tool, span(GEN_AI), http)).encode()))
    assert [type(record) for record in found] == [Telemetry]


@pytest.mark.parametrize(
    "form",
    [
        {"attributes": {"gen_ai.prompt": PROMPT, "gen_ai.completion": REPLY}},
        {
            "attributes": {
                "gen_ai.prompt.0.role": "user",
                "gen_ai.prompt.0.content": PROMPT,
                "gen_ai.completion.0.content": REPLY,
            }
        },
        {
            "events": [
                {"name": "gen_ai.user.message", "attributes": [attribute("content", PROMPT)]},
                {
                    "name": "gen_ai.choice",
                    "attributes": [attribute("message", json.dumps({"role": "assistant", "content": REPLY}))],
                },
            ]
        },
        {
            "events": [
                {
                    "name": "gen_ai.content.prompt",
                    "attributes": [attribute("gen_ai.prompt", json.dumps([{"role": "user", "content": PROMPT}]))],
                },
                {
                    "name": "gen_ai.content.completion",
                    "attributes": [
                        attribute("gen_ai.completion", json.dumps([{"role": "assistant", "content": REPLY}]))
                    ],
                },
            ]
        },
    ],
)
def test_older_forms_of_genai_content_are_read(form: dict[str, Any]) -> None:
    spy = Spy()
    one("otlp", export(span(GEN_AI | form.get("attributes", {}), events=form.get("events", []))), spy)
    assert spy.calls == [([("user", PROMPT)], REPLY)]


@pytest.mark.parametrize(
    ("fields", "error", "status"),
    [
        ({"status": {"code": 2}}, "429", 429),
        ({"status": {"code": "STATUS_CODE_ERROR"}}, "RateLimitError", 429),
        ({"status": {"code": 2}}, "unheard of", 500),
    ],
)
def test_a_failed_span_has_a_status(fields: dict[str, Any], error: str, status: int) -> None:
    attributes = {key: value for key, value in GEN_AI.items() if not key.startswith("http")} | {"error.type": error}
    assert one("otlp", export(span(attributes, **fields))).status == status


def test_an_account_on_the_resource_serves_its_spans() -> None:
    attributes = {key: value for key, value in GEN_AI.items() if key not in ("siphonwatch.account", "enduser.id")}
    message = export(span(attributes))
    assert bad("otlp", message).reason == "account", "the service's name is the gateway, not who pays"
    message["resourceSpans"][0]["resource"]["attributes"].append(attribute("tenant.id", "acme"))
    assert one("otlp", message).account == Identity(KEY).account("acme")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("20260105T000000Z", 1767571200.0), ("Mon, 05 Jan 2026 00:00:00 GMT", 1767571200.0),
        ("2026-01-05 02:00:00.5 +0200 EET", 1767571200.5), ("2026-01-05 00:00:00 UTC", 1767571200.0),
        (0, None), ("0", None), (True, None), (-1, None), ("1969-07-20T20:17:40Z", None), ("Thursday", None),
        ("1e400", None), (12.5, None),
    ],
)  # fmt: skip
def test_a_time_is_read_in_every_form_and_zero_is_none(value: Any, found: float | None) -> None:
    assert timestamp(value) == found


def test_kong_reports_its_older_ai_entries_and_counts_guardrails() -> None:
    old = dict(KONG["ai"]["proxy"], usage={"prompt_token": 31, "completion_token": 12})
    record = one("kong", KONG | {"ai": {"ai-proxy-advanced": old, "ai-prompt-guard": {}}})
    assert (record.tokens_in, record.tokens_out, record.guardrails, record.remaining) == (31, 12, 1, 499)


def test_a_kong_or_envoy_entry_without_a_model_is_a_rest_request() -> None:
    plain = {key: value for key, value in KONG.items() if key != "ai"}
    kong = one("kong", changed(changed(plain, "request.uri", "/v1/items/7"), "request.method", "GET"))
    envoy = one(
        "envoy",
        {key: value for key, value in ENVOY.items() if not key.startswith("gen_ai")}
        | {"method": "GET", "x-envoy-origin-path": "/v1/items/9"},
    )
    assert (kong.kind, envoy.kind) == ("rest", "rest")
    assert kong.route == envoy.route != ""
    assert envoy.item - kong.item == 2


def test_a_batch_of_kong_entries_in_one_message_gives_one_record_each() -> None:
    found = list(adapter("kong").records(json.dumps([KONG, KONG]).encode()))
    assert [type(record) for record in found] == [Telemetry, Telemetry]


def test_envoy_writes_a_dash_for_nothing() -> None:
    record = one("envoy", ENVOY | {"user-agent": "-", "session.id": "-", "gen_ai.usage.output_tokens": "-"})
    assert (record.agent, record.client, record.session, record.tokens_out) == ("", "", "", 0)


@pytest.mark.parametrize("record", [NGINX, COMBINED])
def test_nginx_requests_are_read_from_json_and_combined_lines(record: Any) -> None:
    found = one("nginx", record)
    assert (found.kind, found.op, found.status, found.page, found.time) == ("rest", "get", 200, 3, 1767571200.0)
    assert found.item >= 1041
    assert found.route
    assert found.resource
    assert found.user == Identity(KEY).hash64("user", USER)


def test_a_combined_line_without_a_user_belongs_to_its_address() -> None:
    line = COMBINED.replace(USER, "-")
    assert one("nginx", line).account == Identity(KEY).account(ADDRESS)


@pytest.mark.parametrize("request_line", ["-", "", r"\x16\x03\x01", "GARBAGE"])
def test_a_broken_request_line_is_still_a_request(request_line: str) -> None:
    record = one("nginx", NGINX | {"request": request_line, "status": "400"})
    assert (record.status, record.route, record.op) == (400, "", "")


def test_neighbours_share_a_block_and_mapped_addresses_are_ipv4() -> None:
    def at(address: str) -> Telemetry:
        return one("litellm", LITELLM | {"requester_ip_address": address})

    assert at("203.0.113.1").net == at("203.0.113.200").net != at("203.0.114.1").net
    assert at("::ffff:203.0.113.1").ip == at("203.0.113.1").ip == at("203.0.113.1:443").ip
    assert at("2001:db8:1::1").net == at("[2001:db8:1:ffff::2]:443").net != at("2001:db8:2::1").net


def test_telemetry_passes_through_as_it_is() -> None:
    record = one("telemetry", TELEMETRY)
    assert (record.id, record.account, record.model) == ("r-1", "0" * 32, "gpt-4o")


@pytest.mark.parametrize(
    ("format", "path", "reason"),
    [
        ("litellm", "startTime", "time"),
        ("litellm", "metadata", "account"),
        ("kong", "started_at", "time"),
        ("kong", "consumer", "account"),
        ("kong", "request", "schema"),
        ("envoy", "start_time", "time"),
        ("envoy", "x-account-id", "account"),
        ("nginx", "time_iso8601", "time"),
        ("otlp", "resourceSpans", "schema"),
        ("telemetry", "time", "schema"),
    ],
)
def test_a_record_that_lacks_what_it_needs_is_refused_by_name(format: str, path: str, reason: str) -> None:
    sample = {key: value for key, value in SAMPLES[format].items() if key not in ("authenticated_entity", "client_ip")}
    assert bad(format, changed(sample, path, None)).reason == reason


def test_bad_spans_are_refused_beside_good_ones() -> None:
    anonymous = {key: value for key, value in GEN_AI.items() if "account" not in key and "enduser" not in key}
    message = export(span(GEN_AI), "no span", span(GEN_AI, startTimeUnixNano="soon"), span(anonymous))
    del message["resourceSpans"][0]["resource"]
    found = list(adapter("otlp").records(json.dumps(message).encode()))
    reasons = [record.reason if isinstance(record, Malformed) else "" for record in found]
    assert sorted(reasons) == ["", "account", "schema", "time"]


def test_an_otlp_record_is_found_by_its_trace_and_span() -> None:
    assert one("otlp", OTLP).id == "5b8efff798038103d269b633813fc60c/eee19b7ec3c1b174"
