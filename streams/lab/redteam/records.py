"""One record of a gateway's log, read and changed by what it says instead of by where its format keeps it. LiteLLM's
StandardLoggingPayload and NGINX's JSON lines; of other formats there is none."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

import msgspec

from siphonwatch.streams.edge.adapters.chat import content_text
from siphonwatch.streams.edge.adapters.errors import error_status
from siphonwatch.streams.edge.adapters.values import at, count, mapping, sequence, text, timestamp

TOKENS_PER_CHAR = 0.25
"""Where a record has no tokens or no text to tell by: the rule of thumb of OpenAI's documentation for English."""
Messages = list[dict[str, Any]]


class Client(NamedTuple):
    """What identifies the software that sent a request."""

    agent: str
    headers: dict[str, Any]


class Record(ABC):
    """A record and the fields that tricks read and change.

    Parameters
    ----------
    tree
        The record, parsed; changed in place.
    accounts
        Where the account stands, as in the settings: dotted paths, the first present one wins.
    """

    format: str

    def __init__(self, tree: dict[str, Any], accounts: Sequence[str]) -> None:
        self.tree = tree
        self._accounts = accounts

    def copy(self) -> Self:
        """Return a record of its own, as it is now."""
        return type(self)(copy.deepcopy(self.tree), self._accounts)

    def encode(self) -> bytes:
        """Return it as one line of a log."""
        return msgspec.json.encode(self.tree)

    @property
    def account(self) -> str:
        """Who pays."""
        return next((found for path in self._accounts if (found := text(at(self.tree, path)))), "")

    @account.setter
    def account(self, name: str) -> None:
        path = next((path for path in self._accounts if text(at(self.tree, path))), self._accounts[0])
        *parents, last = path.split(".")
        inner = self.tree
        for parent in parents:
            inner = inner.setdefault(parent, {})
        inner[last] = name

    id: str
    """The gateway's id of the request."""
    time: float
    """When the request arrived, seconds; 0 where the record does not say."""
    key: str
    """The hash of the API key."""
    client: Client
    """The software that sent it; an access log has no more of it than its user agent."""
    address: str
    """The address it came from."""

    @property
    @abstractmethod
    def status(self) -> int:
        """HTTP status."""

    @abstractmethod
    def refuse(self, status: int) -> None:
        """Make it a request that was turned away: nothing came back, and nothing was paid."""

    @property
    def tokens(self) -> tuple[int, int]:
        """Tokens in and out; 0 where the format has none."""
        return 0, 0


class ModelCall(Record):
    """A StandardLoggingPayload: a call of a language model."""

    format = "litellm"

    def __init__(self, tree: dict[str, Any], accounts: Sequence[str]) -> None:
        super().__init__(tree, accounts)
        if not isinstance(tree.get("metadata"), dict):
            tree["metadata"] = {}
        if not isinstance(tree.get("model_parameters"), dict):
            tree["model_parameters"] = {}

    @property
    def id(self) -> str:
        return text(self.tree.get("id"))

    @id.setter
    def id(self, value: str) -> None:
        old = self.tree.get("id")
        for field in ("trace_id", "litellm_call_id"):
            if self.tree.get(field) == old:
                self.tree[field] = value
        self.tree["id"] = value
        if isinstance(self.tree.get("response"), dict):
            self.tree["response"]["id"] = value

    @property
    def time(self) -> float:
        return timestamp(self.tree.get("startTime")) or 0.0

    @time.setter
    def time(self, value: float) -> None:
        by = value - self.time
        for field in ("startTime", "endTime", "completionStartTime"):
            moment = timestamp(self.tree.get(field))
            if moment is not None:
                self.tree[field] = round(moment + by, 3)

    @property
    def key(self) -> str:
        return text(self.tree["metadata"].get("user_api_key_hash"))

    @key.setter
    def key(self, value: str) -> None:
        self.tree["metadata"]["user_api_key_hash"] = value

    @property
    def client(self) -> Client:
        metadata = self.tree["metadata"]
        agent = text(self.tree.get("user_agent")) or text(metadata.get("user_agent"))
        return Client(agent, dict(mapping(metadata.get("requester_custom_headers"))))

    @client.setter
    def client(self, value: Client) -> None:
        self.tree["user_agent"] = self.tree["metadata"]["user_agent"] = value.agent
        self.tree["metadata"]["requester_custom_headers"] = dict(value.headers)

    @property
    def address(self) -> str:
        metadata = self.tree["metadata"]
        return text(self.tree.get("requester_ip_address")) or text(metadata.get("requester_ip_address"))

    @address.setter
    def address(self, value: str) -> None:
        self.tree["requester_ip_address"] = self.tree["metadata"]["requester_ip_address"] = value

    @property
    def end_user(self) -> str:
        """The customer's own user, as the request names it."""
        return text(self.tree.get("end_user")) or text(self.tree["metadata"].get("user_api_key_end_user_id"))

    @end_user.setter
    def end_user(self, value: str) -> None:
        self.tree["end_user"] = self.tree["metadata"]["user_api_key_end_user_id"] = value or None

    @property
    def status(self) -> int:
        if self.tree.get("status") != "failure":
            return 200
        error = mapping(self.tree.get("error_information"))
        return count(error.get("error_code")) or error_status(text(error.get("error_class")))

    def refuse(self, status: int) -> None:
        self.tree |= {
            "status": "failure", "response": {}, "completion_tokens": 0, "prompt_tokens": 0, "total_tokens": 0,
            "error_information": {"error_code": str(status), "error_class": REFUSALS[status]},
        }  # fmt: skip

    @property
    def tokens(self) -> tuple[int, int]:
        return count(self.tree.get("prompt_tokens")), count(self.tree.get("completion_tokens"))

    @property
    def parameters(self) -> dict[str, Any]:
        """Sampling parameters, to read and to change."""
        found: dict[str, Any] = self.tree["model_parameters"]
        return found

    @property
    def messages(self) -> Messages:
        """The conversation; empty where the log holds none, or only text."""
        found = self.tree.get("messages")
        return found if isinstance(found, list) and all(isinstance(item, dict) for item in found) else []

    @messages.setter
    def messages(self, value: Messages) -> None:
        """Give another conversation; its tokens follow by the characters that the old one had to a token."""
        before, tokens = _chars(self.messages), count(self.tree.get("prompt_tokens"))
        per_char = tokens / before if before and tokens else TOKENS_PER_CHAR
        self.tree["messages"] = value
        self.tree["prompt_tokens"] = max(0, round(tokens + (_chars(value) - before) * per_char))
        self.tree["total_tokens"] = self.tree["prompt_tokens"] + count(self.tree.get("completion_tokens"))

    @property
    def system(self) -> str:
        """The system prompt; empty where there is none."""
        first = self.messages[0] if self.messages else {}
        return content_text(first.get("content")) if first.get("role") == "system" else ""

    @system.setter
    def system(self, value: str) -> None:
        rest = [message for message in self.messages if message.get("role") != "system"]
        if rest:
            self.messages = [{"role": "system", "content": value}, *rest] if value else rest

    @property
    def reply(self) -> str:
        """What the model answered, where it is one text."""
        choices = sequence(mapping(self.tree.get("response")).get("choices"))
        message = mapping(mapping(choices[0]).get("message")) if choices else {}
        return content_text(message.get("content"))

    def answer(self, reply: str) -> None:
        """Give another answer; its tokens follow by its characters."""
        tokens = max(1, round(len(reply) * TOKENS_PER_CHAR))
        self.tree["response"] = dict(mapping(self.tree.get("response"))) | {
            "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": reply}}]
        }
        self.tree["completion_tokens"] = tokens
        self.tree["total_tokens"] = count(self.tree.get("prompt_tokens")) + tokens


REFUSALS = {401: "AuthenticationError", 403: "PermissionDeniedError", 429: "RateLimitError"}
"""LiteLLM's names of what turns a request away."""


class AccessLine(Record):
    """A line of an access log in JSON whose fields carry the names of NGINX's variables: a call of a REST API."""

    format = "nginx"

    @property
    def id(self) -> str:
        return text(self.tree.get("request_id"))

    @id.setter
    def id(self, value: str) -> None:
        self.tree["request_id"] = value

    @property
    def time(self) -> float:
        return next((t for field in ("msec", "time_iso8601") if (t := timestamp(self.tree.get(field)))), 0.0)

    @time.setter
    def time(self, value: float) -> None:
        if "msec" in self.tree:
            self.tree["msec"] = round(value, 3)
        if "time_iso8601" in self.tree or "msec" not in self.tree:
            self.tree["time_iso8601"] = datetime.fromtimestamp(value, UTC).isoformat(timespec="seconds")

    @property
    def key(self) -> str:
        return text(self.tree.get("api_key"))

    @key.setter
    def key(self, value: str) -> None:
        self.tree["api_key"] = value

    @property
    def client(self) -> Client:
        return Client(text(self.tree.get("http_user_agent")), {})

    @client.setter
    def client(self, value: Client) -> None:
        self.tree["http_user_agent"] = value.agent

    @property
    def address(self) -> str:
        return text(self.tree.get("remote_addr"))

    @address.setter
    def address(self, value: str) -> None:
        self.tree["remote_addr"] = value

    @property
    def status(self) -> int:
        return count(self.tree.get("status"))

    def refuse(self, status: int) -> None:
        self.tree |= {"status": status, "body_bytes_sent": 0}


KINDS: Mapping[str, type[Record]] = {kind.format: kind for kind in (ModelCall, AccessLine)}
"""Formats whose records can be rewritten."""


def _chars(messages: Messages) -> int:
    return sum(len(content_text(message.get("content"))) for message in messages)
