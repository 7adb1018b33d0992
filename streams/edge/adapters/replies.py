"""Finds the words in a model's reply and why it ended, whichever provider's shape it is in, whole or streamed as
server-sent events or lines. It keeps no text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from siphonwatch.streams.edge.adapters.chat import (
    MAX_PARTS,
    REDACTED,
    SILENT,
    constructed,
    content_text,
    embedded,
    flat,
    parts,
)
from siphonwatch.streams.edge.adapters.values import load_json, mapping, name, sequence, text

FINISHES = {
    **dict.fromkeys(
        ("length", "max_tokens", "max_output_tokens", "max_completion_tokens", "max_length", "model_length",
         "token_limit", "token_limit_reached", "model_context_window_exceeded", "context_length", "truncated"),
        "length",
    ),
    **dict.fromkeys(
        ("stop", "end_turn", "stop_sequence", "eos_token", "eos", "complete", "completed", "finish", "finished", "end",
         "endoftext"),
        "stop",
    ),
    **dict.fromkeys(("tool_calls", "tool_call", "tool_use", "function_call"), "tool_calls"),
    **dict.fromkeys(
        ("content_filter", "content_filtered", "contentfiltered", "safety", "recitation", "blocklist",
         "prohibited_content", "spii", "refusal", "guardrail_intervened", "error_toxic", "image_safety"),
        "content_filter",
    ),
}  # fmt: skip
"""A provider's reason, in lower case -> OpenAI's name of it; others keep theirs."""


MAX_REASON = 64
"""Characters of a reason that are looked at; no provider's is longer."""


def finish_reason(value: Any) -> str:
    """Return why a reply ended: stop, length, tool_calls, content_filter, or the provider's own word in lower case.

    Takes the reason, a list of them, or such a list as text.
    """
    if not value:
        return ""
    found = embedded(value)
    while isinstance(found, list):
        found = next((reason for reason in found if text(reason)), None)
    return _named(text(found)[:MAX_REASON])


@lru_cache(1024)
def _named(reason: str) -> str:
    if reason[:1] == "[":  # a list as Python writes it
        reason = reason.strip("[]").partition(",")[0].strip("'\" ")
    lowered = reason.rpartition(".")[2].lower().replace("-", "_").replace(" ", "_").removeprefix("finish_reason_")
    return FINISHES.get(lowered) or name(lowered, 16)


def reply(value: Any) -> tuple[str, str]:
    """Return (text, finish reason) of a response of any provider; the texts of several choices are joined."""
    if (plain := _plain(value)) is not None:
        return plain
    if isinstance(value, str):
        return ("" if value == REDACTED else value), ""
    if isinstance(value, list):
        value = flat(value)[:MAX_PARTS]
        if any("candidates" in mapping(item) for item in value) or _events_of_session(value):
            return streamed(value)
        value = {"choices": value}
    body = mapping(value)
    results = body.get("results")
    if isinstance(results, list) and _events_of_session(results):
        return streamed(results[:MAX_PARTS])
    inner = body.get("response")
    if isinstance(inner, dict):  # an envelope of the Responses API's last event
        body = inner
    elif isinstance(inner, str) and len(body) == 1:  # LiteLLM's of a reply that it passed through
        return answer(inner)
    texts: list[str] = []
    finish = ""
    answers = flat(sequence(_answers(body))[:MAX_PARTS])
    for choice in answers:
        if isinstance(choice, dict):
            message = choice.get("message") or choice.get("delta") or choice
            texts.append(message if isinstance(message, str) else _said(constructed(mapping(message))) or _said(choice))
            finish = finish or _finish(choice)
        elif isinstance(choice, str):
            texts.append("" if choice == REDACTED else choice)
    if not texts or not any(texts):
        texts.append(_said(body))
    finish = _incomplete(body) or finish or _finish(body) or _completed(body)
    return "\n".join(words for words in texts if words), finish


def _events_of_session(items: Iterable[Any]) -> bool:
    """Tell whether these are the events of a realtime session, as LiteLLM logs them."""
    return any(isinstance(mapping(item).get("response"), dict) for item in items)


def _incomplete(body: Mapping[str, Any]) -> str:
    """Why a reply of the Responses API or of a realtime session is not whole."""
    if body.get("status") == "completed":
        return ""
    return finish_reason(mapping(body.get("incomplete_details") or body.get("status_details")).get("reason"))


CLIENT_S_CALLS = ("function_call", "custom_tool_call", "computer_call", "local_shell_call")
"""Of the Responses API's items, the calls that the client is to make; others the provider has made already."""


def _completed(body: Mapping[str, Any]) -> str:
    """Why a whole reply of the Responses API ended, which has no reason of its own."""
    if body.get("status") != "completed":
        return ""
    calls = any(text(item.get("type")) in CLIENT_S_CALLS for item in _objects(body.get("output")))
    return "tool_calls" if calls else "stop"


def _plain(value: Any) -> tuple[str, str] | None:
    """What `reply` returns of OpenAI's response with one choice, which most are; None for any other."""
    if type(value) is not dict or value.get("incomplete_details") or type(value.get("response")) is dict:
        return None
    choices = value.get("choices")
    if type(choices) is not list or len(choices) != 1 or type(choice := choices[0]) is not dict:
        return None
    message, reason = choice.get("message"), choice.get("finish_reason")
    if type(message) is not dict or "type" in message or type(reason) is not str:
        return None
    words = message.get("content")
    finish = finish_reason(reason)
    return (words, finish) if type(words) is str and words and words != REDACTED and finish else None


ANSWERS = ("choices", "candidates", "output", "outputs", "results", "generations", "predictions", "message")


def _answers(body: Mapping[str, Any]) -> Any:
    for key in ANSWERS:
        found = body.get(key)
        if isinstance(found, dict):  # Bedrock's output.message, Ollama's and Cohere's message
            return [found]
        if isinstance(found, list) and found:
            return found
    return []


def _said(message: Mapping[str, Any]) -> str:
    if message.get("type") in SILENT:
        return ""
    for key in ("content", "parts", "text", "generated_text", "outputText", "generation", "completion", "output_text",
                "response", "refusal", "delta"):  # fmt: skip
        if message.get(key):
            return content_text(parts(message[key]))
    return ""


def _finish(item: Mapping[str, Any]) -> str:
    for key in ("finish_reason", "finishReason", "stop_reason", "stopReason", "done_reason", "completionReason",
                "finish_details"):  # fmt: skip
        found = item.get(key)
        if isinstance(found, dict):
            found = found.get("type")
        if text(found):
            return finish_reason(found)
    held = item.get("details") or item.get("generation_info") or item.get("messageStop")
    return _finish(held) if isinstance(held, dict) else ""


def _objects(value: Any) -> Iterable[dict[str, Any]]:
    return (item for item in sequence(value)[:MAX_PARTS] if isinstance(item, dict))


def answer(value: Any) -> tuple[str, str]:
    """Return (text, finish reason) of a response body that a log holds as an object, as JSON text, or as the events or
    lines of a stream."""
    if not isinstance(value, str):
        return reply(value)
    stripped = value.lstrip()
    if stripped.startswith(("data:", "event:", ":", "id:")) or (stripped[:1] == "{" and "}\n{" in stripped):
        events = list(_events(value))
        if events or _CUT_OFF.match(stripped):
            return streamed(events)
    found = embedded(value)
    return reply(found) if found is not None else ("", "")


_CUT_OFF = re.compile(r"data: ?[{\[]")
"""How a stream of server-sent events begins, even where no event of it is whole."""
_LINE_END = re.compile(r"\r\n?|\n")
"""Where a line of such a stream ends; JSON may have other line separators within a string."""


def _events(stream: str) -> Iterator[Any]:
    for line in _LINE_END.split(stream, maxsplit=MAX_PARTS)[:MAX_PARTS]:
        data = line.removeprefix("data:").strip() if line.startswith("data:") else line.strip()
        if data[:1] in ("{", "["):
            try:
                yield load_json(data)
            except ValueError:
                continue


def streamed(events: Iterable[Any]) -> tuple[str, str]:
    """Return (text, finish reason) of a reply that came in pieces: those of one choice belong together."""
    pieces: dict[Any, list[str]] = {}
    wholes: list[str] = []
    finish = ""
    for event in events:
        for body in event if isinstance(event, list) else (event,):
            body = mapping(body)
            if isinstance(body.get("response"), dict):  # the Responses API tells the whole at its end
                words, why = reply(body)
                if words and words not in wholes[-1:]:
                    wholes.append(words)
                finish = why or _finish(body) or finish
                continue
            delta = body.get("delta")
            kind = text(body.get("type"))
            if isinstance(delta, str):  # response.output_text.delta
                if not kind or ("text" in kind and "reasoning" not in kind):
                    pieces.setdefault(body.get("output_index"), []).append(delta)
                continue
            if kind.startswith("response."):  # response.output_text.done repeats its deltas
                continue
            if isinstance(body.get("contentBlockDelta"), dict):  # Bedrock
                delta = mapping(body["contentBlockDelta"]).get("delta")
            if isinstance(delta, dict):  # Anthropic and Cohere
                if delta.get("type") != "thinking_delta":
                    said = delta.get("message", delta)
                    pieces.setdefault(0, []).append(_said(said) if isinstance(said, dict) else "")
                finish = _finish(delta) or finish
                continue
            answers = list(_objects(_answers(body)))
            for place, choice in enumerate(answers):
                message = choice.get("delta") or choice.get("message") or choice
                if isinstance(message, dict):
                    key = choice.get("index", place)
                    pieces.setdefault(key if isinstance(key, int) else place, []).append(_said(message))
                finish = _finish(choice) or finish
            if not answers:
                pieces.setdefault(0, []).append(_said(body))
            finish = _finish(body) or finish
    said = wholes or ["".join(found) for found in pieces.values()]
    return "\n".join(words for words in said if words), finish
