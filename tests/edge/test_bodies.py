"""Bodies of every provider's API give the same conversation, reply, ending and parameters."""

from __future__ import annotations

import json
from typing import Any

import pytest
from adapter_samples import LITELLM, Spy, adapter, bad, one

from siphonwatch.streams.edge.adapters import chat, replies
from siphonwatch.streams.edge.adapters.values import model_name

ASK, RULE, SAID = "Who moved lot 7?", "You keep the ledger.", "The night crew."

BODIES: dict[str, tuple[dict[str, Any], Any]] = {
    "openai": (
        {"messages": [{"role": "developer", "content": RULE}, {"role": "user", "content": ASK}], "temperature": 0,
         "max_completion_tokens": 9, "response_format": {"type": "json_object"}},
        {"choices": [{"message": {"content": SAID}, "finish_reason": "length"}]},
    ),
    "responses": (
        {"instructions": RULE, "input": [{"role": "user", "content": [{"type": "input_text", "text": ASK}]}],
         "max_output_tokens": 9, "temperature": 0, "text": {"format": {"type": "json_schema"}}},
        {"output": [{"type": "reasoning", "summary": []}, {"content": [{"type": "output_text", "text": SAID}]}],
         "incomplete_details": {"reason": "max_output_tokens"}},
    ),
    "anthropic": (
        {"system": [{"type": "text", "text": RULE}], "messages": [{"role": "user", "content": ASK}], "max_tokens": 9,
         "temperature": 0, "output_format": {"type": "json_schema"}},
        {"content": [{"type": "thinking", "thinking": "hm"}, {"text": SAID}], "stop_reason": "max_tokens"},
    ),
    "gemini": (
        {"systemInstruction": {"parts": [{"text": RULE}]}, "contents": [{"role": "user", "parts": [{"text": ASK}]}],
         "generationConfig": {"temperature": 0, "maxOutputTokens": 9, "responseMimeType": "application/json"}},
        {"candidates": [{"content": {"role": "model", "parts": [{"text": SAID}]}, "finishReason": "MAX_TOKENS"}]},
    ),
    "gemini, streamed as a list": (
        {"system_instruction": {"parts": [{"text": RULE}]}, "contents": [{"parts": [{"text": ASK}]}],
         "generation_config": {"temperature": 0, "maxOutputTokens": 9, "response_schema": {"type": "OBJECT"}}},
        [{"candidates": [{"content": {"parts": [{"text": "The night "}]}}]},
         {"candidates": [{"content": {"parts": [{"text": "crew."}]}, "finishReason": "MAX_TOKENS"}]}],
    ),
    "bedrock converse": (
        {"system": [{"text": RULE}], "messages": [{"role": "user", "content": [{"text": ASK}]}],
         "inferenceConfig": {"temperature": 0, "maxTokens": 9}, "response_format": {"type": "json_object"}},
        {"output": {"message": {"role": "assistant", "content": [{"text": SAID}]}}, "stopReason": "max_tokens"},
    ),
    "cohere": (
        {"preamble": RULE, "message": ASK, "chat_history": [], "temperature": 0, "max_tokens": 9,
         "response_format": {"type": "json_object"}},
        {"text": SAID, "finish_reason": "MAX_TOKENS"},
    ),
    "ollama": (
        {"system": RULE, "messages": [{"role": "user", "content": ASK}], "format": "json",
         "options": {"temperature": 0, "num_predict": 9}},
        {"message": {"role": "assistant", "content": SAID}, "done_reason": "length"},
    ),
    "ollama generate": (
        {"system": RULE, "prompt": ASK, "format": {"type": "object"}, "options": {"temperature": 0, "num_predict": 9}},
        {"response": SAID, "done": True, "done_reason": "length"},
    ),
    "vertex": (
        {"instances": [{"messages": [{"role": "user", "content": ASK}]}], "system": RULE,
         "parameters": {"temperature": 0, "maxOutputTokens": 9, "responseMimeType": "application/json"}},
        {"predictions": [{"content": SAID, "finishReason": "MAX_TOKENS"}]},
    ),
    "huggingface": (
        {"inputs": ASK, "system": RULE,
         "parameters": {"temperature": 0, "max_new_tokens": 9, "grammar": {"type": "json"}}},
        [{"generated_text": SAID, "details": {"finish_reason": "length"}}],
    ),
}  # fmt: skip


@pytest.mark.parametrize("provider", BODIES)
def test_every_provider_s_body_reads_alike(provider: str) -> None:
    asked, answered = BODIES[provider]
    system, user = chat.request(asked)
    assert (system[0] in ("system", "developer"), system[1], user) == (True, RULE, ("user", ASK))
    assert replies.answer(answered) == replies.answer(json.dumps(answered)) == (SAID, "length")
    found = chat.parameters(asked)
    assert (found["temperature"], found["max_tokens"], found["structured"]) == (0.0, 9, True)


@pytest.mark.parametrize(
    "answered",
    [
        {"outputs": [{"text": SAID, "stop_reason": "length"}]},
        {"results": [{"outputText": SAID, "completionReason": "LENGTH"}]},
        {"generation": SAID, "stop_reason": "length"},
        {"generations": [{"text": SAID, "finish_reason": "MAX_TOKENS"}]},
        {"completion": SAID, "stop_reason": "max_tokens"},
        {"generations": [[{"generation_info": {"finish_reason": "length"}, "message": {"kwargs": {"content": SAID}}}]]},
        {"response": json.dumps({"choices": [{"message": {"content": SAID}, "finish_reason": "length"}]})},
        {"results": [
            {"type": "session.created", "session": {}},
            {"type": "response.done", "response": {
                "status": "incomplete", "status_details": {"reason": "max_output_tokens"},
                "output": [{"type": "message", "content": [{"type": "audio", "transcript": SAID}]}]}},
        ]},
        {"message": {"content": [{"type": "text", "text": SAID}]}, "finish_reason": "MAX_TOKENS"},
        {
            "response": {
                "output": [{"content": [{"text": SAID}]}],
                "incomplete_details": {"reason": "max_output_tokens"},
            }
        },
    ],
)  # fmt: skip
def test_further_shapes_of_a_reply_are_read(answered: Any) -> None:
    assert replies.answer(answered) == (SAID, "length")


STREAMS: dict[str, list[Any]] = {
    "openai": [
        {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
        {"choices": [{"delta": {"content": "The night "}}]},
        {"choices": [{"delta": {"content": "crew."}, "finish_reason": None}]},
        {"choices": [{"delta": {}, "finish_reason": "length"}]},
        {"choices": [], "usage": {"completion_tokens": 3}},
    ],
    "anthropic": [
        {"type": "message_start", "message": {"role": "assistant", "content": []}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "The night "}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "crew."}},
        {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}},
    ],
    "responses": [
        {"type": "response.created", "response": {"status": "in_progress", "output": []}},
        {"type": "response.output_text.delta", "delta": "The night "},
        {"type": "response.output_text.delta", "delta": "crew."},
        {"type": "response.incomplete", "response": {"output": [{"content": [{"type": "output_text", "text": SAID}]}],
                                                     "incomplete_details": {"reason": "max_output_tokens"}}},
    ],
    "gemini": [
        {"candidates": [{"content": {"parts": [{"text": "The night "}]}}]},
        {"candidates": [{"content": {"parts": [{"text": "crew."}]}, "finishReason": "MAX_TOKENS"}]},
    ],
    "ollama": [
        {"message": {"content": "The night "}, "done": False},
        {"message": {"content": "crew."}, "done": True, "done_reason": "length"},
    ],
    "cohere": [
        {"type": "content-delta", "delta": {"message": {"content": {"text": "The night "}}}},
        {"type": "content-delta", "delta": {"message": {"content": {"text": "crew."}}}},
        {"type": "message-end", "delta": {"finish_reason": "MAX_TOKENS"}},
    ],
    "cohere, version 1": [
        {"event_type": "text-generation", "text": "The night "},
        {"event_type": "stream-end", "finish_reason": "MAX_TOKENS", "response": {"text": SAID}},
    ],
    "bedrock converse": [
        {"contentBlockDelta": {"delta": {"text": "The night "}}},
        {"contentBlockDelta": {"delta": {"text": "crew."}}},
        {"messageStop": {"stopReason": "max_tokens"}},
    ],
}  # fmt: skip


@pytest.mark.parametrize("provider", STREAMS)
@pytest.mark.parametrize("layout", ["events", "lines"])
def test_a_streamed_reply_is_put_together(provider: str, layout: str) -> None:
    lines = [json.dumps(event) for event in STREAMS[provider]]
    events = "".join(f"event: x\ndata: {line}\n\n" for line in lines) + "data: [DONE]\n\n"
    assert replies.answer(events if layout == "events" else "\n".join(lines)) == (SAID, "length")


def test_a_stream_that_ends_early_gives_what_was_said_once_and_no_thoughts() -> None:
    events = [
        {"type": "response.reasoning_summary_text.delta", "delta": "Let me think."},
        {"type": "response.output_text.delta", "delta": "The night "},
        {"type": "response.output_text.delta", "delta": "crew."},
        {"type": "response.output_text.done", "text": SAID},
    ]
    assert replies.streamed(events) == (SAID, "")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_separator_of_lines_within_a_streamed_word_ends_no_event(end: str) -> None:
    line = json.dumps({"choices": [{"delta": {"content": "a\u2028b\x85c"}}]}, ensure_ascii=False)
    assert replies.answer(f"data: {line}{end}{end}data: [DONE]{end}") == ("a\u2028b\x85c", "")
    assert replies.answer('data: {"choices": [{"del') == ("", ""), "never raw JSON"
    assert replies.answer("data: none yet") == ("data: none yet", ""), "a reply may begin so"


@pytest.mark.parametrize(("item", "reason"), [("web_search_call", "stop"), ("function_call", "tool_calls")])
def test_a_whole_reply_of_the_responses_api_has_a_reason(item: str, reason: str) -> None:
    assert replies.answer({"status": "completed", "output": [{"type": item}]})[1] == reason


def test_messages_that_langchain_serialised_are_read() -> None:
    def made(kind: str, words: str) -> dict[str, Any]:
        return {"lc": 1, "type": "constructor", "kwargs": {"type": kind, "content": words}}

    prompt = {"messages": [[made("system", RULE), made("human", ASK), made("ai", SAID)]]}
    assert chat.messages(prompt) == [("system", RULE), ("user", ASK), ("assistant", SAID)]


def test_a_file_in_a_message_is_no_text_and_a_tool_s_object_is() -> None:
    parts = [{"type": "blob", "content": "QUJD"}, {"type": "uri", "content": "x"}, {"type": "text", "content": ASK}]
    result = [{"type": "tool_call_response", "id": "1", "response": {"moved": 7}}]
    said = [{"role": "user", "parts": parts}, {"role": "tool", "parts": result}]
    assert chat.messages(said) == [("user", ASK), ("tool", '{"moved":7}')]


def test_choices_of_one_stream_stay_apart() -> None:
    events = [
        {"choices": [{"index": i, "delta": {"content": words}}]}
        for i, words in ((0, "a"), (1, "x"), (0, "b"), (1, "y"))
    ]
    assert replies.streamed(events) == ("ab\nxy", "")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("max_tokens", "length"), ("MAX_TOKENS", "length"), ("max_output_tokens", "length"), (["length"], "length"),
        ('["max_tokens"]', "length"), ("['length', 'stop']", "length"), ("FINISH_REASON_MAX_TOKENS", "length"),
        ("FinishReason.MAX_TOKENS", "length"), ("model_length", "length"),
        ("end_turn", "stop"), ("STOP", "stop"), ("stop_sequence", "stop"), ("tool_use", "tool_calls"),
        ("SAFETY", "content_filter"), ("refusal", "content_filter"), ("pause_turn", "pause_turn"), (None, ""), ([], ""),
    ],
)  # fmt: skip
def test_a_reason_to_end_has_one_name_whoever_gives_it(value: Any, reason: str) -> None:
    assert replies.finish_reason(value) == reason


def test_messages_that_a_length_limit_cut_give_the_whole_ones_and_never_raw_json() -> None:
    whole = json.dumps([{"role": "system", "content": RULE}, {"role": "user", "content": ASK * 20}])
    for cut in range(2, len(whole)):
        found = chat.messages(chat.embedded(whole[:cut]))
        assert found in ([], [("system", RULE)]), cut
    body = json.dumps(
        {"model": "m", "messages": [{"role": "user", "content": ASK}, {"role": "user", "content": "x" * 99}]}
    )
    assert chat.messages(chat.embedded(body[:-40])) == [("user", ASK)]
    assert chat.messages(chat.embedded("[INST] plain words [/INST]")) == [("user", "[INST] plain words [/INST]")]


def test_a_stream_s_time_to_the_first_token_is_not_its_duration() -> None:
    start = LITELLM["startTime"]
    assert one("litellm", LITELLM | {"stream": True, "endTime": start + 9.5, "response_time": 0.25}).duration == 9.5
    assert one("litellm", LITELLM | {"endTime": None, "response_time": 0.25}).duration == 0.25


def test_a_call_s_first_id_that_fits_is_its_id() -> None:
    assert one("litellm", LITELLM | {"id": "resp_" + "x" * 172, "litellm_call_id": "call-5"}).id == "call-5"


def test_a_row_of_spend_logs_has_an_account_and_no_text() -> None:
    spy = Spy()
    row = {
        "request_id": "row-1", "call_type": "acompletion", "api_key": "hashed", "team_id": None,
        "startTime": "2026-01-05 00:00:00.500000", "endTime": "2026-01-05 00:00:02.500000",
        "model": "gpt-4o", "messages": "{}", "response": "{}",
        "metadata": '{"user_api_key": "hashed", "status": "failure", "error_information": {"error_code": "429"}}',
    }  # fmt: skip
    found = one("litellm", row, spy)
    assert (found.id, found.status, found.duration, spy.calls) == ("row-1", 429, 2.0, [])
    assert found.account == one("litellm", LITELLM | {"metadata": {"user_api_key_hash": "hashed"}}).account


def test_a_row_belongs_to_its_organisation_and_has_the_body_that_the_proxy_was_sent() -> None:
    body = {"messages": [{"role": "system", "content": RULE}, {"role": "user", "content": ASK}], "temperature": 0.3}
    row = {
        "request_id": "row-2", "call_type": "acompletion", "api_key": "hashed", "team_id": "t", "organization_id": "o",
        "startTime": "2026-01-05 00:00:00", "model": "gpt-4o", "metadata": "{}", "messages": "{}", "response": "{}",
        "proxy_server_request": json.dumps(body), "request_duration_ms": 2500,
    }  # fmt: skip
    spy = Spy()
    found = one("litellm", row, spy)
    assert (found.temperature, found.duration, spy.calls) == (0.3, 2.5, [([("system", RULE), ("user", ASK)], "")])
    assert found.account == one("litellm", LITELLM | {"metadata": {"user_api_key_org_id": "o"}}).account


PASSED = LITELLM | {"call_type": "pass_through_endpoint", "model_parameters": {}}


def test_a_body_that_is_passed_through_is_a_conversation_and_never_raw_json() -> None:
    spy = Spy()
    body = json.dumps(BODIES["anthropic"][0])
    reply = {"response": json.dumps(BODIES["anthropic"][1])}
    found = one("litellm", PASSED | {"messages": [{"role": "user", "content": body}], "response": reply}, spy)
    assert spy.calls == [([("system", RULE), ("user", ASK)], SAID)]
    assert (found.temperature, found.max_tokens, found.structured, found.finish) == (0.0, 9, True, "length")
    cut = PASSED | {"messages": [{"role": "user", "content": body[: body.index("max_tokens")]}], "response": {}}
    one("litellm", cut, spy)
    assert spy.calls[1:] == [([("user", ASK)], "")]


def test_what_is_passed_through_to_no_model_is_passed_over() -> None:
    reader = adapter("litellm")
    held = {"messages": [{"role": "user", "content": "{}"}], "model": "unknown", "prompt_tokens": 0}
    assert list(reader.records(json.dumps(PASSED | held).encode())) == []
    assert reader.passed_over == {"pass_through_endpoint without a model": 1}


@pytest.mark.parametrize(
    ("call", "messages"),
    [
        ("aimage_edit", "default-message-value"),
        ("pass_through_endpoint", [{"role": "user", "content": "WebSocket connection"}]),
        ("atranscription", "9f86d081884c7d65"),
    ],
)
def test_what_stands_for_a_message_that_is_not_there_is_no_text(call: str, messages: Any) -> None:
    spy = Spy()
    one("litellm", LITELLM | {"call_type": call, "messages": messages, "response": {}}, spy)
    assert spy.calls == []


def test_an_object_without_a_field_of_litellm_is_refused_as_such() -> None:
    assert bad("litellm", {"level": "info", "text": "started"}).reason == "fields"


def test_a_failure_without_a_code_is_told_by_its_class() -> None:
    told = {"status": "failure", "error_information": None, "error_str": "litellm.RateLimitError: RateLimitError: x"}
    assert one("litellm", LITELLM | told).status == 429
    failed = {"status": "failure", "error_information": {"error_code": "", "error_class": "RateLimitError"}}
    assert one("litellm", LITELLM | failed).status == 429


def test_metadata_and_parameters_may_be_text() -> None:
    sample = LITELLM | {key: json.dumps(LITELLM[key]) for key in ("metadata", "model_parameters")}
    assert one("litellm", sample) == one("litellm", LITELLM)
    flags = {"temperature": "0", "max_tokens": "64", "n": "2", "stream": "true", "top_p": "1"}
    found = one("litellm", LITELLM | {"model_parameters": flags, "stream": None})
    assert (found.temperature, found.max_tokens, found.n, found.stream, found.top_p) == (0.0, 64, 2, True, 1.0)


@pytest.mark.parametrize(
    "call",
    ["aretrieve_batch", "acreate_file", "call_mcp_tool", "alist_input_items", "avector_store_search", "get_thread"],
)
def test_a_call_that_asks_no_model_is_passed_over_and_counted(call: str) -> None:
    reader = adapter("litellm")
    assert list(reader.records(json.dumps(LITELLM | {"call_type": call}).encode())) == []
    assert reader.passed_over == {call: 1}


@pytest.mark.parametrize(
    ("call", "op"),
    [
        ("agenerate_content_stream", "chat"), ("generate_content", "chat"), ("responses", "responses"), (None, "chat"),
        ("aresponses", "responses"), ("pass_through_endpoint", "chat"), ("aembedding", "embedding"),
        ("aimage_edit", "image"), ("rerank", "rerank"), ("acompletion", "chat"), ("arun_thread", "arun_thread"),
    ],
)  # fmt: skip
def test_a_call_that_asks_a_model_is_a_request(call: Any, op: str) -> None:
    assert one("litellm", LITELLM | {"call_type": call}).op == op


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("@cf/meta/llama-3.1-8b-instruct", "@cf/meta/llama-3.1-8b-instruct"),
        (
            "arn:aws:bedrock:eu-west-1:111122223333:application-inference-profile/q1w2e3",
            "application-inference-profile/q1w2e3",
        ),
        ("bedrock/converse/arn:aws:bedrock:eu-west-1:111122223333:inference-profile/eu.m-v1:0", "eu.m-v1:0"),
        ("arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/anthropic.m-v1:0", "anthropic.m-v1:0"),
        ("projects/acme-prod/locations/europe-west4/publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("accounts/acme/models/tuned", "models/tuned"),
        ("openai/ft:gpt-4o:acme::1", "openai/ft:gpt-4o"),
        ("a model of many words", "other"),
    ],
)
def test_a_model_s_name_tells_the_model_and_no_owner(value: str, expected: str) -> None:
    assert model_name(value) == expected
