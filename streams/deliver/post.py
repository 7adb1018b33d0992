"""Asks a receiver over HTTP, once, and returns the outcome. It follows no redirect, repeats nothing, and is bounded in
time and in what it reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
import time
from collections.abc import Callable, Mapping
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
HTTP = {"http": False, "https": True}
"""Schemes of addresses, and whether each encrypts."""
Judge = Callable[[int, bytes], Verdict]


class Message(msgspec.Struct, frozen=True):
    """One request."""

    url: str
    body: bytes
    headers: dict[str, str]
    method: str = "POST"


class Answer(msgspec.Struct, frozen=True):
    """What came back."""

    outcome: Outcome
    status: int = 0
    """Of HTTP; 0 where there was no answer."""
    said: bytes = b""
    """The body's beginning."""


class BadUrl(ValueError):
    """A sink's URL cannot be used; the message does not show it, as it may be a secret."""


def check_url(url: str, schemes: Mapping[str, bool] = HTTP) -> bool:
    """Return whether alerts and secrets travel to a URL unencrypted over a network.

    Parameters
    ----------
    schemes
        What it may begin with, and whether that encrypts.

    Raises
    ------
    BadUrl
        When it is another URL, or has no host.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise BadUrl(str(error)) from None
    if parts.scheme not in schemes or not host or clean(url) != url or " " in url:
        raise BadUrl("write https://host/path" if schemes is HTTP else f"write one of {', '.join(schemes)}://host:port")
    return not schemes[parts.scheme] and not loopback(host)


def loopback(host: str) -> bool:
    """Whether a host is this machine."""
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
        """Send once what needs no answer but its status; every failure is an outcome."""
        return (await self.ask(message, judged, 0)).outcome

    async def ask(
        self, message: Message, judged: Judge = lambda status, _: judge(status), most: int = ANSWER_BYTES
    ) -> Answer:
        """Send once; every failure is an outcome.

        Parameters
        ----------
        judged
            What a status and an answer's beginning mean.
        most
            Bytes to read of an answer that says yes; with 0 yes is yes, whatever becomes of the rest of the answer.
        """
        try:
            async with self._session.request(
                message.method, message.url, data=message.body, headers=message.headers, allow_redirects=False,
                proxy=self._proxy,
            ) as answer:  # fmt: skip
                said = await _beginning(answer.content, ANSWER_BYTES if answer.status >= 300 else most)
                verdict = judged(answer.status, said)
                detail = _detail(answer.status, said if answer.status >= 300 else b"", message)
                wait = retry_after(answer.headers.get("Retry-After"), self._clock())
                return Answer(Outcome(verdict, detail, None if verdict == "delivered" else wait), answer.status, said)
        except TimeoutError:
            return Answer(Outcome("failed", f"no answer within {self._timeout:g} s"))
        except aiohttp.ClientConnectorCertificateError as error:
            return Answer(Outcome("failed", _without(message, f"its certificate is not trusted: {error}")))
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError, ValueError) as error:
            return Answer(Outcome("failed", _without(message, f"{type(error).__name__}: {error}")))


async def _beginning(content: aiohttp.StreamReader, most: int) -> bytes:
    """An answer's first bytes, in however many parts they come."""
    said = b""
    with contextlib.suppress(aiohttp.ClientPayloadError):  # cut off: what was read has to do
        while len(said) < most and (part := await content.read(most - len(said))):
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
    token = message.headers.get("Authorization", "").partition(" ")[2]
    for secret in (message.url, path, parts.path, parts.query, token):
        if len(secret) > 1:
            text = text.replace(secret, "<hidden>")
    return clip(clean(text), SHOWN * 2)
