"""A process's HTTP endpoints about itself: /healthz, /readyz and /metrics; every other path is 404.

It shows no state, topic content or settings. Whoever reaches the port can neither fill the log nor hold connections:
prometheus_client's own server bounds neither, and serves metrics alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.registry import Collector

_log = logging.getLogger(__name__)

SECONDS = 10.0
"""How long a request may take to arrive, a connection may idle and an answer may take to be read: Prometheus' own
time-out of a scrape, and longer than any probe's."""
MOST = 128
"""Connections; a Prometheus and a prober hold a few. Beyond that the oldest are closed."""
MOST_BYTES = 64 * 1024
"""Of a request."""
LOOK_SECONDS = 1.0
SAID_SECONDS = 60.0
"""Between two log lines about requests that are none."""


def process_registry() -> CollectorRegistry:
    """Return a registry with metrics of the process itself: memory, processor time, open files, garbage collection.

    No series of this process tells when it was created any more: a fifth of a scrape, and nobody reads it.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


class Status(NamedTuple):
    """An answer to a probe."""

    good: bool
    text: str


class Log(logging.LoggerAdapter[logging.Logger]):
    """What the HTTP server logs, without a traceback for what a client did wrong, and of that one line a minute.

    Parameters
    ----------
    logger
        Takes the lines.
    clock
        Monotonic seconds.
    """

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logger)
        self._clock = clock
        self._said: float | None = None
        self._unsaid = 0

    def log(self, level: int, msg: object, *args: object, exc_info: Any = None, **kwargs: Any) -> None:
        """Log, or count what a client did wrong."""
        if not isinstance(exc_info, (HttpProcessingError, web.RequestPayloadError)):
            super().log(level, msg, *args, exc_info=exc_info, **kwargs)
            return
        now = self._clock()
        if self._said is not None and now - self._said < SAID_SECONDS:
            self._unsaid += 1
            return
        # What the client sent is not repeated: it may be long, or hold a secret.
        more = f", {self._unsaid} more before" if self._unsaid else ""
        super().log(logging.WARNING, f"not a request that can be answered: {type(exc_info).__name__}{more}")
        self._said, self._unsaid = now, 0


class StatusServer:
    """Serves liveness, readiness and metrics; a subclass decides what is live and ready.

    Parameters
    ----------
    host, port
        Address; port 0 picks a free one.
    registry
        Metrics.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry) -> None:
        self._host = host
        self._registry = registry
        self._runner: web.AppRunner | None = None
        self._looking: asyncio.Task[None] | None = None
        self._unread: dict[Any, float] = {}  # connections whose answer waits to be read, and since when
        self.port = port
        """Port in use once started."""

    def live(self) -> Status:
        """Return whether a restart is not called for."""
        raise NotImplementedError

    def ready(self) -> Status:
        """Return whether the process does its work."""
        raise NotImplementedError

    async def latest(self, registry: Collector) -> bytes:
        """Return metrics as Prometheus reads them."""
        return generate_latest(registry)

    def routes(self, router: web.UrlDispatcher) -> None:
        """Add what a subclass serves besides."""

    async def start(self) -> None:
        """Listen.

        Raises
        ------
        OSError
            When the port is taken.
        """
        app = web.Application(client_max_size=MOST_BYTES)
        self.routes(app.router)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, keepalive_timeout=SECONDS, logger=Log(_log))
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, self.port).start()
        self.port = self._runner.addresses[0][1]
        self._looking = asyncio.create_task(self._keep_looking())

    async def stop(self) -> None:
        """Stop listening."""
        if self._looking is not None:
            self._looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._looking
        if self._runner is not None:
            await self._runner.cleanup()

    async def _keep_looking(self) -> None:
        """Close what the server itself holds for ever: connections that do not read their answer, and too many."""
        assert self._runner is not None and self._runner.server is not None  # noqa: S101 - set by `start`
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            open_now = [(c, c.transport) for c in self._runner.server.connections if c.transport is not None]
            now = time.monotonic()
            since = self._unread
            self._unread = {c: since.get(c, now) for c, transport in open_now if transport.get_write_buffer_size()}
            late = [transport for c, transport in open_now if now - self._unread.get(c, now) > SECONDS]
            for transport in late + [transport for _, transport in open_now[:-MOST]]:
                transport.abort()

    async def _healthz(self, _: web.Request) -> web.Response:
        return _answer(self.live())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _answer(self.ready())

    async def _metrics(self, request: web.Request) -> web.Response:
        names = request.query.getall("name[]", [])  # Prometheus' own clients answer so to whoever wants but a few
        registry = self._registry.restricted_registry(names) if names else self._registry
        return web.Response(body=await self.latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _answer(status: Status) -> web.Response:
    return web.Response(status=200 if status.good else 503, text=f"{status.text}\n")
