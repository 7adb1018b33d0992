"""Who calls: the family of a user agent, the tuple of client headers and the address block. Nothing that names a
person or a machine leaves here unhashed.

The families are our own: of 14 clients of APIs tried, ua-parser 1.0 (data of 2026-10) names 5, all plain HTTP clients,
and no SDK or agent of a language model, which are what matters here.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from siphonwatch.streams.common.addresses import without_port
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.edge.adapters.values import text

FAMILIES = (
    # First match wins, so an SDK stands before the HTTP library it is built on. Matched in lower case.
    ("claude-cli", "claude-cli"),
    ("openai/python", "openai-python"),
    ("openai/js", "openai-js"),
    ("openai/", "openai"),
    ("anthropic/python", "anthropic-python"),
    ("anthropic/js", "anthropic-js"),
    ("anthropic", "anthropic"),
    ("litellm", "litellm"),
    ("langchain", "langchain"),
    ("llamaindex", "llamaindex"),
    ("cline/", "coding-agent"),
    ("cursor/", "coding-agent"),
    ("codex", "coding-agent"),
    ("python-requests", "python-requests"),
    ("python-httpx", "httpx"),
    ("aiohttp", "aiohttp"),
    ("python-urllib", "python-urllib"),
    ("scrapy", "scrapy"),
    ("python", "python"),
    ("curl/", "curl"),
    ("wget", "wget"),
    ("node-fetch", "node-fetch"),
    ("undici", "node-fetch"),
    ("axios", "axios"),
    ("got (", "node-fetch"),
    ("go-http-client", "go-http-client"),
    ("go-resty", "go-http-client"),
    ("okhttp", "java"),
    ("apache-httpclient", "java"),
    ("java", "java"),
    ("postman", "postman"),
    ("insomnia", "postman"),
    ("headlesschrome", "headless"),
    ("phantomjs", "headless"),
    ("bot", "crawler"),
    ("spider", "crawler"),
    ("crawler", "crawler"),
    ("slurp", "crawler"),
    ("mozilla/", "browser"),
    ("opera/", "browser"),
    ("dalvik", "mobile"),
    ("cfnetwork", "mobile"),
    ("ruby", "ruby"),
    ("php", "php"),
    ("guzzle", "php"),
    ("dotnet", "dotnet"),
    ("perl", "perl"),
)
"""(part of the user agent, family)."""

AGENT_CHARS = 512
"""A family shows in the first words; a client may send megabytes."""

MAX_HEADERS = 256
"""Names hashed into the tuple; no HTTP server accepts more by default."""

SDK_HEADERS = "x-stainless-"
"""Prefix of the headers in which the OpenAI and Anthropic SDKs say their language, version and platform."""

VOLATILE = frozenset(("x-stainless-retry-count", "x-stainless-timeout", "x-stainless-read-timeout"))
"""SDK headers whose value changes from call to call: their name counts, their value does not."""


def family(agent: str) -> str:
    """Return the family of a user agent from a small fixed vocabulary, `other` if unknown, '' if absent.

    Examples
    --------
    >>> family("AsyncOpenAI/Python 1.75.0"), family("Frobnicator/2"), family("")
    ('openai-python', 'other', '')
    """
    if not agent:
        return ""
    lowered = agent[:AGENT_CHARS].lower()
    for part, found in FAMILIES:
        if part in lowered:
            return found
    return "other"


CACHED = 1 << 14
"""Agents, header tuples and addresses kept with their hashes; they recur on most requests."""


class Clients:
    """Reads what identifies a client's software and place, under one deployment's key.

    Examples
    --------
    >>> clients = Clients(Identity("a secret of the deployment"))
    >>> clients.address("192.0.2.7")[1] == clients.address("192.0.2.8:443")[1]
    True
    >>> clients.headers({"X-App": "a", "User-Agent": "b"})[1]
    1
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._addresses = lru_cache(CACHED)(self._address)
        self._tuples = lru_cache(CACHED)(self._tuple)
        self._families = lru_cache(CACHED)(family)

    def agent(self, value: Any) -> tuple[str, str]:
        """Return a user agent's hash and family."""
        found = text(value)[:AGENT_CHARS]
        return self._identity.hash64("agent", found), self._families(found)

    def headers(self, headers: Mapping[str, Any]) -> tuple[str, int]:
        """Return the hash of what one piece of software sends alike, and how many headers beyond the user agent."""
        if not headers:
            return "", 0
        found = tuple(headers.items())
        try:
            small = len(found) < 32 and sum(map(len, headers)) < 2048 and sum(map(len, headers.values())) < 4096
            return self._tuples(found) if small else self._tuple(found)
        except TypeError:  # a value that is no string: nothing to measure or remember, still a header
            return self._tuple(found)

    def address(self, value: Any) -> tuple[str, str]:
        """Return the hashes of an address and of its block (/24 of IPv4, /48 of IPv6); no block for what is neither.

        Takes `host`, `host:port`, `[host]:port` and the first of an X-Forwarded-For list.
        """
        found = text(value)
        return self._addresses(found[:AGENT_CHARS]) if found else ("", "")

    def _tuple(self, headers: tuple[tuple[str, Any], ...]) -> tuple[str, int]:
        found = sorted(((header.lower()[:AGENT_CHARS], text(value)) for header, value in headers))
        names = [header for header, _ in found if header != "user-agent"]
        if not names:
            return "", 0
        parts = names[:MAX_HEADERS] + [
            f"{header}={value[:AGENT_CHARS]}"
            for header, value in found[:MAX_HEADERS]
            if header.startswith(SDK_HEADERS) and header not in VOLATILE
        ]
        return self._identity.hash64("headers", "\n".join(parts)), len(names)

    def _address(self, found: str) -> tuple[str, str]:
        hash64 = self._identity.hash64
        found = without_port(found.partition(",")[0])
        try:
            host = ipaddress.ip_address(found.partition("%")[0])
        except ValueError:
            return hash64("ip", found), ""
        if isinstance(host, ipaddress.IPv6Address):
            if host.ipv4_mapped is None:
                return hash64("ip", str(host)), hash64("net", host.packed[:6].hex())
            host = host.ipv4_mapped
        return hash64("ip", str(host)), hash64("net", host.packed[:3].hex())
