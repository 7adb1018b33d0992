"""Whoever reaches the status port can neither hold connections, nor fill the log, nor keep others from an answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge

from siphonwatch.streams.common import status
from siphonwatch.streams.common.status import Log, Status, StatusServer

GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
BAD = {
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a long line": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
    "a long header": GET + b"X: " + b"a" * 20_000 + b"\r\n\r\n",
    "many headers": GET + b"".join(b"x%d: 1\r\n" % i for i in range(500)) + b"\r\n",
    "a zero byte": GET + b"X: \0\r\n\r\n",
    "no host": b"GET /healthz HTTP/1.1\r\n\r\n",
    "no length": b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
    "two lengths": b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
    "no chunk": b"POST /healthz HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    "no gzip": b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    "no address": b"GET http://[::1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "a port that is none": b"GET http://a:99999999/x HTTP/1.1\r\nHost: a\r\n\r\n",
    "an upgrade": GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x00\x01\xff",
    "what nobody expects": b"POST /healthz HTTP/1.1\r\nHost: a\r\nExpect: x\r\nContent-Length: 3\r\n\r\nabc",
}
HALF = {
    "nothing": b"",
    "half a line": b"GET /heal",
    "half the headers": GET,
    "half a body": b"POST /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc",
    "a request, and half of the next": GET + b"\r\nGET /heal",
}


class Fine(StatusServer):
    """A server of which all is well."""

    def live(self) -> Status:
        return Status(True, "ok")

    def ready(self) -> Status:
        return Status(True, "ok")


@asynccontextmanager
async def served(registry: CollectorRegistry | None = None) -> AsyncIterator[int]:
    server = Fine("127.0.0.1", 0, registry or CollectorRegistry())
    await server.start()
    try:
        yield server.port
    finally:
        await server.stop()


@asynccontextmanager
async def connected(port: int, **options: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client's connection, which is gone after the block whatever became of it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, **options)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


async def answered(port: int) -> bool:
    """Whether an ordinary request gets its answer."""
    async with connected(port) as (reader, writer):
        writer.write(GET + b"Connection: close\r\n\r\n")
        answer = await asyncio.wait_for(reader.read(), 300)
    return answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"ok\n")


@pytest.mark.parametrize("sent", BAD.values(), ids=BAD.keys())
async def test_a_bad_request_is_answered_without_a_traceback(sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with served() as port:
        async with connected(port) as (reader, writer):
            writer.write(sent)
            answer = await asyncio.wait_for(reader.read(200), 300)
        assert answer.startswith((b"HTTP/1.0 400", b"HTTP/1.1 405", b"HTTP/1.1 417", b"HTTP/1.1 200"))
        assert await answered(port)
    assert not [record for record in caplog.records if record.exc_info and record.levelno > logging.DEBUG]
    assert "Traceback" not in caplog.text
    assert "a" * 100 not in caplog.text


def test_bad_requests_are_one_line_a_minute_and_faults_of_ours_each_have_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    log = Log(logging.getLogger("siphonwatch.streams.common.status"), lambda: now[0])
    from aiohttp.http_exceptions import BadHttpMessage

    for second in range(90):
        now[0] = float(second)
        log.exception("Error handling request from %s", "::1", exc_info=BadHttpMessage("a secret"))
    assert [record.getMessage() for record in caplog.records] == [
        "not a request that can be answered: BadHttpMessage",
        "not a request that can be answered: BadHttpMessage, 59 more before",
    ]
    log.exception("Error handling request from %s", "::1", exc_info=ValueError("ours"))
    assert caplog.records[-1].exc_info
    assert caplog.records[-1].levelno == logging.ERROR


@pytest.mark.parametrize("sent", HALF.values(), ids=HALF.keys())
async def test_half_a_request_is_closed(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "SECONDS", 1.0)
    async with served() as port:
        async with connected(port) as (reader, writer):
            writer.write(sent)
            await asyncio.wait_for(reader.read(), 300)  # to its end: the server closes
        assert await answered(port)


async def test_a_request_that_drips_is_closed_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "SECONDS", 1.0)
    async with served() as port, connected(port) as (reader, writer):
        ended = asyncio.ensure_future(reader.read())
        begun = time.monotonic()
        while not ended.done():
            assert time.monotonic() - begun < 300
            writer.write(b"X")
            await asyncio.sleep(0.1)
        ended.exception()


async def test_an_answer_that_nobody_reads_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "SECONDS", 1.0)
    registry = CollectorRegistry()
    large = Gauge("large", "Of a label each.", ["label"], registry=registry)
    for number in range(10_000):
        large.labels("x" * 1000 + str(number))
    async with served(registry) as port:
        async with connected(port, limit=1024) as (reader, writer):
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n")  # more than the kernel's buffers hold
            read = len(await asyncio.wait_for(reader.read(1), 300))  # the answer has begun, and fills the buffers
            await asyncio.sleep(10)
            with suppress(OSError):
                while part := await asyncio.wait_for(reader.read(65536), 300):
                    read += len(part)
        assert read < 10_000_000, "cut short"
        assert await answered(port)


async def test_connections_beyond_the_most_close_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "MOST", 5)
    monkeypatch.setattr(status, "SECONDS", 3600.0)  # idleness closes none of them
    async with served() as port:
        async with AsyncExitStack() as held:
            readers = [(await held.enter_async_context(connected(port)))[0] for _ in range(20)]
            ends = asyncio.gather(*(reader.read() for reader in readers[:14]), return_exceptions=True)
            await asyncio.wait_for(ends, 300)
        assert await answered(port)


async def test_who_asks_for_some_metrics_by_name_gets_those_alone() -> None:
    registry = CollectorRegistry()
    Counter("asked", "Wanted.", registry=registry).inc(3)
    Gauge("other", "Not wanted.", registry=registry)
    async with served(registry) as port, connected(port) as (reader, writer):
        writer.write(b"GET /metrics?name%5B%5D=asked_total HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        answer = (await asyncio.wait_for(reader.read(), 300)).decode()
    assert "\nasked_total 3.0" in answer
    assert "other" not in answer
