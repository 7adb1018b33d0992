"""Takes verdicts back from analysts' tools: signed messages over HTTP, and polls. It scores nothing and makes no alert.

`POST /v1/verdicts` takes the JSON of a `Claim`, signed as Standard Webhooks has it, and answers with JSON: 200 with
what became of it, 400 unusable, 401 without a good signature, 404 for a case that is not known, 503 while Kafka is
away.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from siphonwatch.streams.common.settings import Settings, SettingsError
from siphonwatch.streams.common.sink_settings import UnusableSecret, secret
from siphonwatch.streams.common.status import Status, StatusServer, process_registry
from siphonwatch.streams.deliver.feedback.book import Answer, CaseBook, Claim
from siphonwatch.streams.deliver.feedback.metrics import WEBHOOK, Metrics
from siphonwatch.streams.deliver.feedback.polls import FIRST_SECONDS, OVERLAP_SECONDS, claims
from siphonwatch.streams.deliver.feedback.topics import NotSent, Topics
from siphonwatch.streams.deliver.make import check, make
from siphonwatch.streams.deliver.recent import Recent
from siphonwatch.streams.deliver.signature import BadSecret, BadSignature, keys, verify
from siphonwatch.streams.deliver.text import clean, clip
from siphonwatch.streams.deliver.trackers.tracker import NotTaken, Tracker

KINDS = ("thehive", "iris", "jira")
"""Kinds of sinks that can be polled."""
STATUS = {"taken": 200, "repeated": 200, "older": 200, "unknown": 404, "unusable": 400}
RETRY_SECONDS = 10
_log = structlog.get_logger(__name__)
_decoder = msgspec.json.Decoder(Claim)


class Intake:
    """Weighs claims and sends what is taken, one at a time.

    Parameters
    ----------
    book
        Of cases.
    send
        Sends a verdict and returns once Kafka has it; blocks, and raises `NotSent`.
    metrics
        The service's.
    clock
        Seconds since 1970.
    """

    def __init__(
        self, book: CaseBook, send: Callable[[Any], None], metrics: Metrics, clock: Callable[[], float] = time.time
    ) -> None:
        self._book = book
        self._send = send
        self._metrics = metrics
        self._clock = clock
        self._turn = asyncio.Lock()

    async def take(self, claim: Claim, source: str) -> Answer:
        """Weigh a claim and send its verdict.

        Raises
        ------
        NotSent
            When Kafka does not take it; the claim is as good as before.
        """
        async with self._turn:
            answer = self._book.weigh(claim, source, self._clock())
            if answer.verdict is not None:
                try:
                    await asyncio.to_thread(self._send, answer.verdict)
                except NotSent:
                    self._metrics.count(source, "unsent")
                    raise
                self._book.sent(answer.verdict)
                _log.info("a verdict came from another tool", source=source, case=claim.case, decision=claim.decision)
            self._metrics.count(source, answer.result)
            return answer


class Server(StatusServer):
    """Serves signed messages, health and metrics.

    Parameters
    ----------
    settings
        `[feedback]`: address and secret.
    intake
        Takes claims.
    ready
        Whether what the topics hold is known.
    metrics, registry
        The service's.
    clock
        Seconds since 1970.
    """

    def __init__(
        self,
        settings: Settings,
        intake: Intake,
        ready: Callable[[], bool],
        metrics: Metrics,
        registry: CollectorRegistry,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(settings.feedback.host, settings.feedback.port, registry)
        self._feedback = settings.feedback
        self._desk = intake
        self._known = ready
        self._counts = metrics
        self._clock = clock
        self._recent = Recent()

    def routes(self, router: web.UrlDispatcher) -> None:
        """Add the address that messages go to, where there is a secret to verify them by."""
        if self._feedback.secret or self._feedback.secret_file:
            router.add_post("/v1/verdicts", self._take)

    def live(self) -> Status:
        """Return good: that this is answered says that the event loop is running."""
        return Status(True, "ok")

    def ready(self) -> Status:
        """Return whether cases are known."""
        return Status(True, "ok") if self._known() else Status(False, "reading the topics of alerts and verdicts")

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        try:
            id = verify(keys(secret(self._feedback, "secret")), request.headers, body, self._clock())
        except BadSignature as error:
            self._counts.count(WEBHOOK, "forged")
            return _say(401, "forged", str(error))
        except (UnusableSecret, BadSecret) as error:
            _log.error("no signature can be verified", reason=str(error))
            return _say(503, "unready", "the receiver's secret cannot be read", RETRY_SECONDS)
        if not self._known():
            return _say(503, "unready", "cases are not known yet", RETRY_SECONDS)
        if id in self._recent:
            self._counts.count(WEBHOOK, "repeated")
            return _say(200, "repeated", "this message was taken before")
        try:
            claim = _decoder.decode(body)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            self._counts.count(WEBHOOK, "unusable")
            return _say(400, "unusable", clip(clean(str(error)), 200))
        if claim.time is None:
            claim = msgspec.structs.replace(claim, time=float(request.headers["webhook-timestamp"]))
        try:
            answer = await self._desk.take(claim, WEBHOOK)
        except NotSent as error:
            _log.warning("a verdict was not sent", reason=str(error))
            return _say(503, "unsent", "Kafka did not take it: send it again", RETRY_SECONDS)
        if answer.result in ("taken", "repeated", "older"):
            self._recent.add(id)
        return _say(STATUS[answer.result], answer.result, answer.detail)


def _say(status: int, result: str, detail: str, retry: int | None = None) -> web.Response:
    headers = {"Retry-After": str(retry)} if retry is not None else {}
    return web.json_response({"result": result, "detail": detail}, status=status, headers=headers)


def pollable(settings: Settings, names: Iterable[str] = ()) -> list[str]:
    """Return the names of the sinks to poll: those given, or all whose kind can be.

    Raises
    ------
    SettingsError
        When one cannot be polled or cannot work as it is set, or there is nothing to do: no such sink and no secret.
    """
    chosen = list(names) or [name for name, sink in settings.sinks.items() if sink.kind in KINDS]
    if chosen:
        check(settings, chosen)
    for name in chosen:
        if settings.sinks[name].kind not in KINDS:
            raise SettingsError(
                f"sinks.{name} is of kind {settings.sinks[name].kind}: only {', '.join(KINDS)} are polled"
            )
    try:
        given = secret(settings.feedback, "secret")
        if given:
            keys(given)
    except (UnusableSecret, BadSecret) as error:
        raise SettingsError(f"feedback.secret: {error}") from None
    if not chosen and not given:
        raise SettingsError(
            f"nothing to listen to: set feedback.secret for signed messages, or a sink of kind {', '.join(KINDS)}"
        )
    return chosen


async def poll(settings: Settings, name: str, intake: Intake, ready: Callable[[], bool], metrics: Metrics) -> None:
    """Ask one tool again and again, until cancelled."""
    channel = make(settings, name)
    tracker = channel.receiver
    assert isinstance(tracker, Tracker)  # noqa: S101 - as `pollable` saw
    since, failures = time.time() - FIRST_SECONDS, 0
    try:
        while True:
            if ready():
                began = time.time()
                try:
                    for claim in await claims(tracker, channel.sink.decisions, since):
                        await intake.take(claim, name)
                except (NotTaken, NotSent, UnusableSecret, LookupError, TypeError, ValueError, AttributeError) as error:
                    failures += 1
                    metrics.went(name, False)
                    _log.warning("a tool cannot be asked", sink=name, reason=clip(clean(str(error)), 300))
                else:
                    since, failures = began - OVERLAP_SECONDS, 0
                    metrics.went(name, True)
            # Never more often than that, and less while it fails, an hour at most.
            await asyncio.sleep(min(settings.feedback.poll * 2.0 ** min(failures, 6), 3600.0) if ready() else 1.0)
    finally:
        await tracker.close()


async def feedback(settings: Settings, names: Iterable[str] = (), stop: asyncio.Event | None = None) -> int:
    """Take verdicts back until stopped; return the exit code.

    Parameters
    ----------
    names
        Of the sinks to poll; all that can be without any.
    stop
        Ends it when set; SIGTERM and SIGINT by default.

    Raises
    ------
    SettingsError
        When a sink or the secret cannot work as it is set.
    KafkaError
        When no broker can be reached at the start.
    OSError
        When the port is taken.
    """
    chosen = pollable(settings, names)
    loop = asyncio.get_running_loop()
    if stop is None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
    registry = process_registry()
    metrics = Metrics(registry)
    for source in (*chosen, WEBHOOK):
        metrics.watch(source)
    book, failed = CaseBook(), asyncio.Event()

    def fail(error: BaseException) -> None:
        _log.error("the topics cannot be followed", reason=f"{type(error).__name__}: {error}")
        loop.call_soon_threadsafe(failed.set)

    topics = await asyncio.to_thread(Topics, settings, book)
    intake = Intake(book, topics.send, metrics)
    server = Server(settings, intake, lambda: topics.ready, metrics, registry)
    thread = threading.Thread(target=topics.read, args=(fail,), daemon=True)
    tasks: list[asyncio.Task[Any]] = []
    try:
        await server.start()
        thread.start()
        _log.info("taking verdicts", polled=chosen, port=server.port)
        tasks = [asyncio.create_task(poll(settings, name, intake, lambda: topics.ready, metrics)) for name in chosen]
        waits = [asyncio.create_task(event.wait()) for event in (stop, failed)]
        tasks += waits
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                fail(error)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.stop()
        await asyncio.to_thread(topics.stop)
        if thread.ident is not None:
            await asyncio.to_thread(thread.join, 5.0)
    return 0 if stop.is_set() else 1
