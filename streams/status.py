"""What a process says of itself over HTTP: /healthz, /readyz and /metrics; every other path is 404.

It shows no state, topic content or settings.
"""

from __future__ import annotations

from typing import NamedTuple

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest


class Status(NamedTuple):
    """An answer to a probe."""

    good: bool
    text: str


class StatusServer:
    """Serves liveness, readiness and metrics; a subclass knows what is live and ready.

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
        self.port = port
        """Port in use once started."""

    def live(self) -> Status:
        """Return whether a restart is not called for."""
        raise NotImplementedError

    def ready(self) -> Status:
        """Return whether the process does its work."""
        raise NotImplementedError

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
        await web.TCPSite(self._runner, self._host, self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _healthz(self, _: web.Request) -> web.Response:
        return _answer(self.live())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _answer(self.ready())

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _answer(status: Status) -> web.Response:
    return web.Response(status=200 if status.good else 503, text=f"{status.text}\n")
