"""Client software, addresses and identifiers as gateways log them; all are invented.

Addresses come from the ranges set aside for benchmarks (RFC 2544) and carrier NAT (RFC 6598), so they stand for no one.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from siphonwatch.streams.lab.scenario.words import pick


class Software(NamedTuple):
    """A user agent and the client headers it sends."""

    agent: str
    headers: dict[str, str]


def _sdk(r: random.Random, agent: str, lang: str, version: str) -> Software:
    runtime = (
        ("CPython", pick(r, ("3.10.14", "3.11.9", "3.12.4")))
        if lang == "python"
        else ("node", pick(r, ("v18.20.4", "v20.15.0", "v22.4.1")))
    )
    return Software(
        agent.format(version=version),
        {
            "x-stainless-lang": lang,
            "x-stainless-package-version": version,
            "x-stainless-os": pick(r, ("Linux", "Linux", "MacOS", "Windows")),
            "x-stainless-arch": pick(r, ("x64", "x64", "arm64")),
            "x-stainless-runtime": runtime[0],
            "x-stainless-runtime-version": runtime[1],
            "x-stainless-retry-count": "0",
        },
    )


_SDKS = (
    ("OpenAI/Python {version}", "python", ("1.35.7", "1.51.2", "1.68.2", "1.82.0", "1.99.9")),
    ("AsyncOpenAI/Python {version}", "python", ("1.40.6", "1.57.0", "1.75.0", "1.109.1")),
    ("OpenAI/JS {version}", "js", ("4.52.7", "4.77.0", "4.93.0", "4.104.0")),
    ("Anthropic/Python {version}", "python", ("0.34.2", "0.42.0", "0.52.2")),
)
_PLAIN = (
    "python-requests/2.32.3",
    "okhttp/4.12.0",
    "Go-http-client/2.0",
    "axios/1.7.7",
    "curl/8.7.1",
    "python-httpx/0.27.0",
    "Java-http-client/17.0.9",
)
_BROWSERS = tuple(
    f"Mozilla/5.0 ({system}) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{version}.0.0.0 Safari/537.36"
    for system in ("Windows NT 10.0; Win64; x64", "Macintosh; Intel Mac OS X 10_15_7", "X11; Linux x86_64")
    for version in (128, 131, 134)
)
_AGENTS = (
    "claude-cli/1.0.88 (external, cli)",
    "Cline/3.17.5",
    "aider/0.74.1",
    "codex_cli_rs/0.34.0 (Ubuntu 22.4.0; x86_64)",
)


def sdk(r: random.Random) -> Software:
    """Return an official SDK in one of its versions."""
    agent, lang, versions = pick(r, _SDKS)
    return _sdk(r, agent, lang, pick(r, versions))


def upgraded(r: random.Random, software: Software) -> Software:
    """Return the same SDK in another version; as with `pip install -U`, nothing else changes."""
    for agent, _, versions in _SDKS:
        name = agent.partition(" ")[0]
        if software.agent.startswith(name + " "):
            version = pick(r, [v for v in versions if v not in software.agent])
            return Software(agent.format(version=version), {**software.headers, "x-stainless-package-version": version})
    return software


def bare(r: random.Random) -> Software:
    """Return a plain HTTP library: a user agent and no client headers."""
    return Software(pick(r, _PLAIN), {})


def browser(r: random.Random) -> Software:
    """Return a web browser."""
    return Software(pick(r, _BROWSERS), {})


def coding(r: random.Random) -> Software:
    """Return a coding agent's command-line client."""
    return Software(pick(r, _AGENTS), {"x-app": "cli", "x-stainless-lang": "js", "x-stainless-retry-count": "0"})


def address(r: random.Random, *, cloud: bool = False) -> str:
    """Return an IP address; cloud addresses share a few blocks."""
    if cloud:
        return f"198.18.{int(r.random() * 40)}.{int(r.random() * 254) + 1}"
    return f"100.{64 + int(r.random() * 64)}.{int(r.random() * 256)}.{int(r.random() * 254) + 1}"


def neighbours(r: random.Random, base: str, n: int) -> list[str]:
    """Return `n` addresses of the block of `base`."""
    block = base.rpartition(".")[0]
    return [f"{block}.{int(r.random() * 254) + 1}" for _ in range(n)]


def hexid(r: random.Random, digits: int) -> str:
    """Return a random identifier of `digits` hexadecimal digits."""
    return f"{r.getrandbits(4 * digits):0{digits}x}"
