"""Posts to a receiver over HTTP, once, and says what became of it. It follows no redirect, repeats nothing, and is
bounded in time and in what it reads.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

import aiohttp
import msgspec

from streams.sinks.outcome import Outcome, Verdict, judge, retry_after
from streams.sinks.text import clean, clip

ANSWER_BYTES = 4096
"""Read of an answer; a receiver has no more to say that matters."""
SHOWN = 200
"""Characters of an answer that are logged."""
AGENT = "siphonwatch"
Judge = Callable[[int, bytes], Verdict]


class Message(msgspec.Struct, frozen=True):
    """One request."""

    url: str
    body: bytes
    headers: dict[str, str]


class BadUrl(ValueError):
    """A sink's URL cannot be used; the message does not show it, as it may be a secret."""


def check_url(url: str) -> bool:
    """Return whether alerts and secrets travel to a URL unencrypted over a network.

    Raises
    ------
    BadUrl
        When it is not an http or https URL with a host.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise BadUrl(str(error)) from None
    if parts.scheme not in ("http", "https") or not host or clean(url) != url or " " in url:
        raise BadUrl("write https://host/path")
    return parts.scheme == "http" and not _loopback(host)


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return host == "localhost"


def tls(cafile: str) -> ssl.SSLContext | bool:
    """Return how to verify a receiver: against the certificates in a file, or the system's where it is empty.

    Raises
    ------
    OSError
        When the file cannot be loaded.
    """
    return ssl.create_default_context(cafile=cafile) if cafile else True


class Poster:
    """Posts to the receivers of one sink; close it.

    Parameters
    ----------
    timeout
        Seconds of one attempt, from connecting to the answer's end.
    verify
        As `tls` gives it.
    proxy
        URL of an HTTP proxy; empty for none.
    clock
        Seconds since 1970.
    """

    def __init__(
        self, timeout: float, verify: ssl.SSLContext | bool, proxy: str = "", clock: Callable[[], float] = time.time
    ) -> None:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"User-Agent": AGENT},
            connector=aiohttp.TCPConnector(ssl=verify),
        )
        self._timeout = timeout
        self._proxy = proxy or None
        self._clock = clock

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def post(self, message: Message, judged: Judge = lambda status, _: judge(status)) -> Outcome:
        """Post once; every failure is an outcome."""
        try:
            async with self._session.post(
                message.url, data=message.body, headers=message.headers, allow_redirects=False, proxy=self._proxy
            ) as answer:
                said = await answer.content.read(ANSWER_BYTES)
                verdict = judged(answer.status, said)
                detail = _told(answer.status, said, answer.headers, message.url)
                wait = retry_after(answer.headers.get("Retry-After"), self._clock())
                return Outcome(verdict, detail, None if verdict == "delivered" else wait)
        except TimeoutError:
            return Outcome("failed", f"no answer within {self._timeout:g} s")
        except aiohttp.ClientConnectorCertificateError as error:
            return Outcome("failed", _without(message.url, f"its certificate is not trusted: {error}"))
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError, ValueError) as error:
            return Outcome("failed", _without(message.url, f"{type(error).__name__}: {error}"))


def _told(status: int, said: bytes, headers: Mapping[str, str], url: str) -> str:
    text = f"status {status}"
    if 300 <= status < 400:
        return f"{text}, a redirect, which is not followed: set the URL it leads to"
    answer = clip(clean(said.decode(errors="replace")).strip(), SHOWN)
    return _without(url, f"{text}: {answer}" if answer and status >= 300 else text)


def _without(url: str, text: str) -> str:
    """Text without the URL or its path, which are secrets of some receivers."""
    parts = urlsplit(url)
    for secret in (url, parts.path + (f"?{parts.query}" if parts.query else ""), parts.path, parts.query):
        if len(secret) > 1:
            text = text.replace(secret, "<hidden>")
    return clip(clean(text), SHOWN * 2)
