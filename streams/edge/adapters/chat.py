"""Finds the words in a request to a model, whichever provider's shape they are in, and the parameters beside them. It
hands text on to the sketcher and keeps none.

Knows the bodies of OpenAI (chat, completions, responses), Anthropic, Google Gemini and Vertex AI, Amazon Bedrock
(Converse and the models' own), Cohere, Mistral, Ollama and Hugging Face.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from siphonwatch.streams.edge.adapters.elements import Elements
from siphonwatch.streams.edge.adapters.values import count, load_json, mapping, name, number, sequence, text

Messages = list[tuple[str, str]]

REDACTED = "redacted-by-litellm"
"""What LiteLLM logs in place of every message when message logging is off: no text, not the same text each time."""

MAX_PARTS = 10_000
"""Messages, parts, choices or events read of one request."""

OPERATIONS = {
    "completion": "chat",
    "acompletion": "chat",
    "aadapter_completion": "chat",
    "chat_completion": "chat",
    "chat_completions": "chat",
    "message": "chat",
    "messages": "chat",
    "anthropic_messages": "chat",
    "aanthropic_messages": "chat",
    "generate_content": "chat",
    "agenerate_content": "chat",
    "pass_through_endpoint": "chat",
    "llm_passthrough_route": "chat",
    "allm_passthrough_route": "chat",
    "text_completion": "completion",
    "atext_completion": "completion",
    "text_completions": "completion",
    "text_generation": "completion",
    "completions": "completion",
    "embed": "embedding",
    "embed_content": "embedding",
    "embeddings": "embedding",
    "aembedding": "embedding",
    "aresponses": "responses",
    "acompact_responses": "responses",
    "aocr": "ocr",
    "_aresponses_websocket": "responses",
    "_arealtime": "realtime",
    "image_generation": "image",
    "aimage_generation": "image",
    "image_edit": "image",
    "aimage_edit": "image",
    "create_video": "video",
    "acreate_video": "video",
    "atranscription": "transcription",
    "aspeech": "speech",
    "amoderation": "moderation",
    "arerank": "rerank",
}
"""A gateway's own name of an operation -> ours; others keep theirs."""

ROUTES = (
    ("/chat/completions", "chat"), ("/messages", "chat"), (":generatecontent", "chat"),
    (":streamgeneratecontent", "chat"), (":rawpredict", "chat"), (":streamrawpredict", "chat"), ("/converse", "chat"),
    ("/invoke", "chat"), ("/api/chat", "chat"), ("/v1/chat", "chat"), ("/v2/chat", "chat"),
    ("/completions", "completion"), ("/api/generate", "completion"), ("/embeddings", "embedding"),
    ("/embed", "embedding"), (":embedcontent", "embedding"), ("/responses", "responses"), ("/images/", "image"),
    ("/rerank", "rerank"), ("/audio/transcriptions", "transcription"), ("/audio/speech", "speech"),
    ("/moderations", "moderation"),
)  # fmt: skip
"""Part of a path in lower case -> what was asked for; the first that fits."""

MODEL_ROUTE = re.compile(
    r"(?:/chat/completions|/v\d/completions|/v\d/messages|/v\d/responses|/embeddings|/v\d/rerank|/v\d/moderations"
    r"|/v\d/images/(?:generations|edits|variations)|/v\d/audio/(?:speech|transcriptions|translations)"
    r"|/models/[^/?]+:(?:stream)?(?:generateContent|rawPredict)|/model/[^/?]+/(?:converse|invoke)[a-z-]*"
    r"|/api/(?:chat|generate))/?(?:\?|\Z)",
    re.IGNORECASE,
)
"""Paths that only a model's API has; a request to one that failed early carries no other sign of a model."""

MAX_PATH = 2048
"""Characters of a path that are looked at."""

ROLES = {"model": "assistant", "chatbot": "assistant", "ai": "assistant", "human": "user", "function": "tool"}
"""A provider's name of who speaks, in lower case -> OpenAI's; others keep theirs."""
SPEAKERS = frozenset((*ROLES, "system", "user", "assistant", "tool"))

CONFIGURATIONS = frozenset(
    ("generationConfig", "generation_config", "inferenceConfig", "parameters", "textGenerationConfig", "options",
     "additionalModelRequestFields", "additional_model_request_fields")
)  # fmt: skip
"""Objects within a body that hold its parameters."""

MAX_TOKENS = frozenset(
    ("max_tokens", "max_completion_tokens", "max_output_tokens", "maxOutputTokens", "maxTokens",
     "max_tokens_to_sample", "max_new_tokens", "max_gen_len", "maxTokenCount", "num_predict")
)  # fmt: skip
STRUCTURES = frozenset(
    ("response_format", "responseMimeType", "response_mime_type", "responseSchema", "response_schema",
     "responseJsonSchema", "response_json_schema", "guided_json", "guided_grammar", "guided_regex", "grammar",
     "output_format")
)  # fmt: skip
"""Parameters that hold the reply to a form."""
_RARE = STRUCTURES | frozenset(
    ("n", "candidateCount", "num_generations", "top_logprobs", "logprobs", "responseLogprobs", "tools", "functions",
     "toolConfig", "text", "output_config", "format")
)  # fmt: skip
"""Parameters that most requests leave out; without any, `_DEFAULTS` are what `_rare` returns."""
_DEFAULTS = {"n": 1, "logprobs": 0, "tools": 0, "structured": False}
PLAIN = ("", "text", "text/plain", "none", "auto", False, None)

SILENT = ("reasoning", "thinking", "redacted_thinking", "tool_call", "tool_use", "function_call", "blob", "uri", "file")
"""Parts that are not said to anybody, and those whose content is a file or its address."""


def operation(value: Any) -> str:
    """Return what was asked for: chat, completion, embedding, responses..."""
    found = text(value)
    return OPERATIONS.get(found) or OPERATIONS.get(found.removesuffix("_stream")) or name(found, 16).lower()


def route(path: str) -> str:
    """Return what a path asks a model for; chat where it does not say."""
    lowered = path.partition("?")[0].lower()
    return next((op for part, op in ROUTES if part in lowered), "chat")


def asks_model(method: str, path: str) -> bool:
    """Tell whether a request that carries no other sign of a model is one to a model; other methods only list them."""
    return method.upper() in ("POST", "") and MODEL_ROUTE.search(path[:MAX_PATH]) is not None


def content_text(content: Any) -> str:
    """Return the text of a message's content: a string, or parts of which the text ones are joined by newlines.

    Images, audio and tool calls have none. Knows the parts of every provider above and of OpenTelemetry.
    """
    if isinstance(content, str):
        return "" if content == REDACTED else content
    if isinstance(content, dict):
        content = [content]
    found = []
    for part in sequence(content)[:MAX_PARTS]:
        if isinstance(part, dict):
            if part.get("type") in SILENT or part.get("thought") is True:
                continue
            part = _part(part)
        if isinstance(part, str) and part != REDACTED:
            found.append(part)
    return "\n".join(found)


def _part(part: Mapping[str, Any]) -> Any:
    """The text of one part; that of a tool's result is as deep as three objects."""
    for key in ("text", "content", "response", "output", "result", "parts", "transcript"):
        inner = part.get(key)
        if not inner:
            continue
        if isinstance(inner, dict):
            said = inner.get("text") or inner.get("content") or inner.get("output") or inner.get("result")
            inner = said or (msgspec.json.encode(inner).decode() if part.get("type") == "tool_call_response" else None)
        if isinstance(inner, list):
            inner = "\n".join(
                found if isinstance(found, str) else text(mapping(found).get("text")) for found in inner[:MAX_PARTS]
            )
        return inner
    for key in ("toolResult", "functionResponse", "function_response"):
        if isinstance(part.get(key), dict):
            return _part(part[key])
    return None


def messages(value: Any) -> Messages:
    """Return (role, text) of each message; a plain string, or a list of strings, is one user's.

    A tool call without text keeps its turn, with empty text. A redacted conversation has no messages at all.
    """
    if isinstance(value, str):
        return [("user", value)] if value and value != REDACTED else []
    if isinstance(value, dict):
        return request(value) if any(key in value for key in CONVERSATIONS) else _listed([value] if value else [])
    return _listed(sequence(value))


SPOKEN = ("content", "parts", "message", "output", "text")
"""Where an item of a conversation holds its words."""


def flat(items: Sequence[Any]) -> Sequence[Any]:
    """Return the items of a list, and those of the lists in it: LangChain logs one list for each of several prompts."""
    if not any(isinstance(item, list) for item in items):
        return items
    return [inner for item in items for inner in (item if isinstance(item, list) else (item,))]


def constructed(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a message of LangChain was made from, where it was serialised; any other item itself."""
    made = item.get("kwargs") or item.get("data")
    return made if isinstance(made, dict) and "content" in made else item


def _listed(items: Any) -> Messages:
    found: Messages = []
    redacted = False
    for item in flat(items)[:MAX_PARTS]:
        if type(item) is dict and type(words := item.get("content")) is str and type(role := item.get("role")) is str:
            redacted = redacted or words == REDACTED  # what most are: the rest is for other shapes
            found.append((ROLES.get(lowered := role.lower(), lowered), "" if words == REDACTED else words))
        elif isinstance(item, str):
            found.append(("user", item))
        elif isinstance(item, dict):
            if (made := constructed(item)) is not item:
                item = {**item, **made}
            content = item.get("content")
            if content is None and "content" not in item:
                content = next((item[key] for key in SPOKEN if key in item), None)
            redacted = redacted or content == REDACTED
            found.append((_role(item, content), content_text(content)))
    return [] if redacted and not any(words for _, words in found) else found


def _role(item: Mapping[str, Any], content: Any) -> str:
    """Who speaks. A tool's result is a tool's words, though Anthropic's API sends it as the user's."""
    if isinstance(content, list) and content:
        parts = [part for part in content if isinstance(part, dict)]
        if parts and all(
            part.get("type") in ("tool_result", "tool_call_response")
            or "toolResult" in part
            or "functionResponse" in part
            or "function_response" in part
            for part in parts
        ):
            return "tool"
    role = item.get("role")
    if isinstance(role, str):
        return ROLES.get(lowered := role.lower(), lowered)
    kind = text(item.get("type")) or "message"
    if kind.endswith("_output"):
        return "tool"
    if kind in SPEAKERS:  # LangChain
        return ROLES.get(kind, kind)
    return "user" if kind == "message" or kind.startswith("input_") else "assistant"


CONVERSATIONS = ("messages", "contents", "input", "prompt", "inputs", "inputText", "message", "chat_history",
                 "instances", "texts", "query")  # fmt: skip
"""Where a request's body holds what was said."""
SYSTEMS = ("system", "instructions", "systemInstruction", "system_instruction", "preamble", "system_prompt")


def request(body: Mapping[str, Any]) -> Messages:
    """Return the conversation of a request's body, its system prompt in front."""
    found: Messages = []
    if isinstance(body.get("chat_history"), list):  # Cohere: what came before, then the message
        found += _listed(body["chat_history"])
    for key in CONVERSATIONS:
        said = body.get(key)
        if not said or key == "chat_history":
            continue
        if key == "instances":  # Vertex AI
            first = next((item for item in sequence(said) if isinstance(item, dict)), {})
            said = first.get("messages") or first.get("prompt") or first.get("content")
        found += messages(said)
        break
    if not found and isinstance(body.get("content"), dict):  # an embedding's
        found += _listed([body["content"]])
    system = next((words for key in SYSTEMS if (words := content_text(parts(body.get(key))))), "")
    return [("system", system), *found] if system else found


def parts(value: Any) -> Any:
    """The parts of a content object, or the content itself."""
    return value.get("parts", value) if isinstance(value, dict) else value


def parameters(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sampling parameters of a request's body as telemetry fields."""
    if not CONFIGURATIONS.isdisjoint(body):
        for key in CONFIGURATIONS & body.keys():
            if isinstance(body[key], dict):
                body = {**body[key], **body}
    found = {
        "stream": truth(body.get("stream")),
        "temperature": number(body.get("temperature")),
        "top_p": number(body.get("top_p", body.get("topP", body.get("p")))),
        "max_tokens": 0 if MAX_TOKENS.isdisjoint(body) else max(count(body[key]) for key in MAX_TOKENS & body.keys()),
    }
    return found | (_DEFAULTS if _RARE.isdisjoint(body) else _rare(body))


def _rare(body: Mapping[str, Any]) -> dict[str, Any]:
    logprobs = body.get("top_logprobs") or body.get("logprobs") or body.get("responseLogprobs")
    return {
        "n": count(body.get("n", body.get("candidateCount", body.get("num_generations"))), 1),
        "logprobs": count(logprobs),
        "tools": _tools(body),
        "structured": structured(body),
    }


def truth(value: Any) -> bool:
    """Tell whether a flag is set, as such or as text."""
    return value is True or (isinstance(value, str) and value.lower() in ("true", "1", "yes"))


def _tools(body: Mapping[str, Any]) -> int:
    tools = body.get("tools") or body.get("functions") or mapping(body.get("toolConfig")).get("tools")
    if not isinstance(tools, list):
        return 0
    declared = [mapping(tool).get("functionDeclarations", mapping(tool).get("function_declarations")) for tool in tools]
    return sum(len(found) if isinstance(found, list) else 1 for found in declared)


def structured(body: Mapping[str, Any]) -> bool:
    """Tell whether a request's body holds the reply to JSON, a schema or a grammar."""
    if not STRUCTURES.isdisjoint(body) and any(_form(body[key]) for key in STRUCTURES & body.keys()):
        return True
    held = mapping(body.get("text")).get("format") or mapping(body.get("output_config")).get("format")
    return _form(held) or ("format" in body and _form(body["format"]))


def _form(value: Any) -> bool:
    value = embedded(value)
    if isinstance(value, dict):
        value = value.get("type", "schema") if value else None
    return isinstance(value, bool | str) and value not in PLAIN


def body(value: Any) -> Mapping[str, Any]:
    """Return a request or response body that a log holds as an object or as its JSON text."""
    if isinstance(value, str):
        try:
            value = load_json(value)
        except ValueError:
            return {}
    return mapping(value)


_JSON = re.compile(r"\s*(?:(?:\[\s*)?\{\s*(?:[\"'}]|\Z)|\[\s*(?:\]|\Z))")
_LIST = re.compile(r'"(?:messages|contents|input|parts)"\s{0,8}:\s{0,8}\[')


def embedded(value: Any) -> Any:
    """Return an attribute that may hold JSON text: the parsed value, or the text itself where it is none.

    Of JSON that a length limit cut off, the whole messages in front of the cut; None where there are none.
    """
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return load_json(value)
    except ValueError:
        return _salvaged(value) if _JSON.match(value) else value


def embedded_text(value: Any) -> str:
    """Return text that a log may hold as JSON text, between quotes."""
    if isinstance(value, str) and value[:1] == '"':
        try:
            value = load_json(value)
        except ValueError:
            return ""
    return text(value)


def _salvaged(value: str) -> list[Any] | None:
    start = value.find("[") if value.lstrip()[:1] == "[" else next((m.end() - 1 for m in _LIST.finditer(value)), -1)
    if start < 0:
        return None
    found: list[Any] = []
    raw = value[start:].encode("utf-8", "replace")
    for element in Elements(len(raw), array=True).feed(raw):
        if isinstance(element, bytes) and len(found) < MAX_PARTS:
            try:
                found.append(load_json(element))
            except ValueError:
                break
    return found or None
