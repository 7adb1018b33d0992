"""What the deliverer says of itself over HTTP: /healthz, /readyz and /metrics; every other path is 404.

A sink that is down fails neither: a restart would not mend it. `siphonwatch_failing_seconds` tells of it.
"""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from streams.sinks.settings import Deliver


class DelivererHealth:
    """Serves liveness, readiness and metrics.

    Parameters
    ----------
    settings
        Address; port 0 picks a free one.
    waiting
        Names of the sinks that do not deliver yet.
    registry
        Metrics.
    """

    def __init__(self, settings: Deliver, waiting: Callable[[], list[str]], registry: CollectorRegistry) -> None:
        self._settings = settings
        self._waiting = waiting
        self._registry = registry
        self._runner: web.AppRunner | None = None
        self.port = settings.port
        """Port in use once started."""

    async def start(self) -> None:
        """Listen.

        Raises
        ------
        OSError
            When the port is taken.
        """
        app = web.Application()
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._settings.host, self._settings.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        """That this is answered says that the event loop, which all deliveries share, is running."""
        return web.Response(text="ok\n")

    async def _readyz(self, _: web.Request) -> web.Response:
        if waiting := self._waiting():
            return web.Response(status=503, text=f"waiting for partitions of the alerts topic: {', '.join(waiting)}\n")
        return web.Response(text="ok\n")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
