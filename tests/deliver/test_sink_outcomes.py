"""What an answer means, how long to wait, and an attempt over HTTP that never raises, follows or reads on and on."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from sink_receiver import Receiver

from siphonwatch.streams.deliver.outcome import RETRY_AFTER_MAX, Backoff, Outcome, judge, retry_after
from siphonwatch.streams.deliver.post import SHOWN, BadUrl, Message, Poster, check_url
from siphonwatch.streams.lab.broker.process import free_port

NOW = 1_790_000_000.0


def most(_: float, high: float) -> float:
    return high


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (200, "delivered"), (202, "delivered"), (204, "delivered"),
        (408, "failed"), (425, "failed"), (429, "failed"), (500, "failed"), (502, "failed"), (503, "failed"),
        (301, "misconfigured"), (307, "misconfigured"), (401, "misconfigured"), (403, "misconfigured"),
        (404, "misconfigured"), (405, "misconfigured"), (410, "misconfigured"),
        (400, "refused"), (409, "refused"), (413, "refused"), (415, "refused"), (422, "refused"),
    ],
)  # fmt: skip
def test_a_status_says_whether_to_repeat_slowly_repeat_or_give_an_alert_up(status: int, verdict: str) -> None:
    assert judge(status) == verdict


def test_waits_double_up_to_the_cap_and_a_misconfigured_sink_waits_longest() -> None:
    backoff = Backoff(1.0, 60.0, 300.0, most)
    failed = Outcome("failed", "")
    assert [backoff.wait(failed, n) for n in (1, 2, 3, 6, 7, 8, 100_000)] == [1, 2, 4, 32, 60, 60, 60]
    assert backoff.wait(Outcome("misconfigured", ""), 1) == 300.0


@given(draw=st.floats(0, 1), failures=st.integers(1, 10_000), asked=st.none() | st.floats(0, RETRY_AFTER_MAX))
def test_a_wait_is_jittered_in_full_and_never_shorter_than_the_receiver_asked(
    draw: float, failures: int, asked: float | None
) -> None:
    backoff = Backoff(1.0, 60.0, 300.0, lambda low, high: low + draw * (high - low))
    wait = backoff.wait(Outcome("failed", "", asked), failures)
    assert wait == max(draw * min(60.0, 2.0 ** min(failures - 1, 40)), asked or 0.0)
    assert backoff.wait(Outcome("misconfigured", "", asked), failures) >= max(150.0, asked or 0.0)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0), ("17", 17.0), (" 17 ", 17.0), ("999999999999999999999", RETRY_AFTER_MAX), (None, None), ("", None),
        ("soon", None), ("-5", None), ("1.5", None), ("٣", None), ("Wed, 99 Foo 2026 00:00:00 GMT", None),
        (format_datetime(datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(datetime.fromtimestamp(NOW, UTC) - timedelta(days=9), usegmt=True), 0.0),
        (format_datetime(datetime.fromtimestamp(NOW, UTC) + timedelta(days=9), usegmt=True), RETRY_AFTER_MAX),
    ],
)  # fmt: skip
def test_retry_after_is_read_as_seconds_or_a_date_and_bounded(header: str | None, seconds: float | None) -> None:
    assert retry_after(header, NOW) == seconds


@given(st.text(max_size=40))
def test_no_retry_after_header_is_too_odd(header: str) -> None:
    wait = retry_after(header, NOW)
    assert wait is None or 0 <= wait <= RETRY_AFTER_MAX


@pytest.mark.parametrize(
    ("url", "exposed"),
    [
        ("https://hooks.example/x", False), ("http://hooks.example/x", True), ("http://127.0.0.1:9093", False),
        ("http://localhost/x", False), ("http://[::1]:9093/", False), ("http://alertmanager:9093", True),
        ("http://127.0.0.1.evil.example/", True),
    ],
)  # fmt: skip
def test_an_address_that_sends_alerts_unencrypted_over_a_network_is_noticed(url: str, exposed: bool) -> None:
    assert check_url(url) is exposed


@pytest.mark.parametrize(
    "url", ["hooks.example", "ftp://a", "https://", "https://a:b/", "https://a b", "https://a/\n", "file:///etc"]
)
def test_what_is_no_address_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(BadUrl) as caught:
        check_url(url)
    assert "etc" not in str(caught.value)


async def attempt(
    url: str, within: float = 5.0, verify: ssl.SSLContext | bool = True, headers: dict[str, str] | None = None
) -> Outcome:
    poster = Poster(within, verify)
    try:
        return await poster.post(Message(url, b'{"id": "x"}', headers or {}))
    finally:
        await poster.close()


async def test_a_redirect_is_not_followed() -> None:
    async with Receiver(secret=None) as other, Receiver(secret=None) as first:
        first.answer = lambda *_: web.Response(status=307, headers={"Location": other.url})
        outcome = await attempt(first.url)
        assert outcome.verdict == "misconfigured" and "redirect" in outcome.detail
        assert other.taken == []


async def test_an_endless_answer_is_read_a_little_and_told_in_short() -> None:
    async with Receiver(secret=None) as receiver:
        receiver.answer = lambda *_: web.Response(status=422, body=b"\x1b[31mno\r\n" + b"x" * 50_000_000)
        outcome = await asyncio.wait_for(attempt(receiver.url), 300)
    assert outcome.verdict == "refused"
    assert outcome.detail.startswith("status 422: [31mno xxx") and len(outcome.detail) <= SHOWN + 12


async def test_an_answer_that_quotes_the_secret_path_is_told_without_it() -> None:
    async with Receiver(secret=None) as receiver:
        receiver.answer = lambda request, _: web.Response(status=404, text=f"no {request.path} here")
        outcome = await attempt(receiver.url)
    assert outcome.detail == "status 404: no <hidden> here"


async def test_an_answer_that_quotes_the_token_or_cuts_a_secret_is_told_without_any_of_it() -> None:
    async with Receiver(secret=None) as receiver:
        receiver.answer = lambda request, _: web.Response(status=422, text=request.headers["Authorization"])
        outcome = await attempt(receiver.url, headers={"Authorization": "Bearer t0ken-of-the-sink"})
        assert outcome.detail == "status 422: Bearer <hidden>"
        receiver.answer = lambda request, _: web.Response(status=422, text="x" * (SHOWN - 8) + request.path)
        assert "s3c" not in (await attempt(receiver.url)).detail


async def test_an_answer_in_parts_or_cut_off_is_judged_by_what_came_and_never_compressed() -> None:
    status, ended = "400 Bad Request", asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 99\r\n\r\nbad ".encode())
        await asyncio.sleep(0.1)
        writer.write(b"routing_key!" if b"accept-encoding: identity" in asked.lower() else b"\x1f\x8b" * 6)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        assert (await attempt(url)).detail == "status 400: bad routing_key!"
        status = "202 Accepted"
        ended.clear()
        assert await attempt(url) == Outcome("delivered", "status 202")
        await ended.wait()


async def test_a_receiver_that_hangs_closes_or_is_away_makes_the_attempt_fail_in_time() -> None:
    async with Receiver(secret=None) as receiver:
        receiver.hang = True
        assert (await attempt(receiver.url, within=0.3)).detail == "no answer within 0.3 s"
    away = await attempt(f"http://127.0.0.1:{free_port()}/s3cret")
    assert away.verdict == "failed" and "s3cret" not in away.detail

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    assert (await attempt(f"http://127.0.0.1:{port}/s3cret")).verdict == "failed"
    server.close()
    await server.wait_closed()


async def test_retry_after_of_a_busy_receiver_is_passed_on() -> None:
    async with Receiver(secret=None) as receiver:
        receiver.answer = lambda *_: web.Response(status=429, headers={"Retry-After": "7"})
        assert (await attempt(receiver.url)).retry_after == 7.0


async def test_a_receiver_that_speaks_no_tls_is_not_trusted() -> None:
    async with Receiver(secret=None) as receiver:
        outcome = await attempt(receiver.url.replace("http:", "https:"))
    assert outcome.verdict == "failed" and receiver.taken == []
