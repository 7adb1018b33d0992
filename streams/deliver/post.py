"""Posts to a receiver over HTTP, once, and returns the outcome. It follows no redirect, repeats nothing, and is
bounded in time and in what it reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import aiohttp
import msgspec

from siphonwatch.streams.deliver.outcome import Outcome, Verdict, judge, retry_after
from siphonwatch.streams.deliver.text import clean, clip

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
            headers={"User-Agent": AGENT, "Accept-Encoding": "identity"},  # answers are judged and logged as they come
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
                # Taken is taken, whatever becomes of the rest of the answer.
                said = await _beginning(answer.content) if answer.status >= 300 else b""
                verdict = judged(answer.status, said)
                detail = _detail(answer.status, said, message)
                wait = retry_after(answer.headers.get("Retry-After"), self._clock())
                return Outcome(verdict, detail, None if verdict == "delivered" else wait)
        except TimeoutError:
            return Outcome("failed", f"no answer within {self._timeout:g} s")
        except aiohttp.ClientConnectorCertificateError as error:
            return Outcome("failed", _without(message, f"its certificate is not trusted: {error}"))
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError, ValueError) as error:
            return Outcome("failed", _without(message, f"{type(error).__name__}: {error}"))


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """An answer's first bytes, in however many parts they come."""
    said = b""
    with contextlib.suppress(aiohttp.ClientPayloadError):  # cut off: what was read has to do
        while len(said) < ANSWER_BYTES and (part := await content.read(ANSWER_BYTES - len(said))):
            said += part
    return said


def _detail(status: int, said: bytes, message: Message) -> str:
    text = f"status {status}"
    if 300 <= status < 400:
        return f"{text}, a redirect, which is not followed: set the URL it leads to"
    answer = clip(_without(message, said.decode(errors="replace")).strip(), SHOWN)
    return f"{text}: {answer}" if answer else text


def _without(message: Message, text: str) -> str:
    """Text without the URL or its path, which are secrets of some receivers, and without the token."""
    parts = urlsplit(message.url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    token = message.headers.get("Authorization", "").removeprefix("Bearer ")
    for secret in (message.url, path, parts.path, parts.query, token):
        if len(secret) > 1:
            text = text.replace(secret, "<hidden>")
    return clip(clean(text), SHOWN * 2)
