"""The desk as a process: its pages, and apart from them its health and metrics, until it is stopped. Workers never
notice it: it is in no consumer group, and what it decides it sends as any command does.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from siphonwatch.streams.common.desk_access import check
from siphonwatch.streams.common.desk_settings import Desk as DeskSettings
from siphonwatch.streams.common.status import Log, Status, StatusServer, process_registry
from siphonwatch.streams.desk.index.store import IndexAway
from siphonwatch.streams.desk.views import Acts, Looks, Reading
from siphonwatch.streams.desk.web.desk import Desk
from siphonwatch.streams.desk.web.doors import Door, Loopback, Proxy, Tokens
from siphonwatch.streams.desk.web.oidc import Oidc
from siphonwatch.streams.desk.web.routes import make_app
from siphonwatch.streams.desk.web.session import Sessions
from siphonwatch.streams.desk.web.sharing import Tables

END_SECONDS = 10.0
"""For answers under way when the desk is stopped."""
SKIPPED = ("unreadable", "failed")
"""Why the index passes records."""
_log = structlog.get_logger(__name__)


class IndexGauges(Collector):
    """How far the index is behind the topics, and what of them it could not read, at a scrape.

    Parameters
    ----------
    reading
        Returns that.
    """

    def __init__(self, reading: Callable[[], Reading]) -> None:
        self._reading = reading

    def describe(self) -> Iterator[Metric]:
        """Give the metrics without values."""
        yield from _families()

    def collect(self) -> Iterator[Metric]:
        """Give their values by topic."""
        records, seconds, skipped = _families()
        try:
            topics = self._reading().topics
        except IndexAway:  # `/readyz` says so
            topics = []
        for one in topics:
            records.add_metric([one.topic], one.behind)
            seconds.add_metric([one.topic], one.seconds)
            for reason, count in zip(SKIPPED, (one.unreadable, one.failed), strict=True):
                skipped.add_metric([one.topic, reason], count)
        yield from (records, seconds, skipped)


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily, CounterMetricFamily]:
    return (
        GaugeMetricFamily(
            "siphonwatch_desk_behind_records",
            "Records of a kind of topic that the desk's index has not.",
            labels=["kind"],
        ),
        GaugeMetricFamily(
            "siphonwatch_desk_behind_seconds",
            "For how long the desk's index may have lacked something of a kind of topic.",
            labels=["kind"],
        ),
        CounterMetricFamily(
            "siphonwatch_desk_skipped_records",
            "Records that the desk's index passed: unreadable ones, and those that it failed to take in.",
            labels=["kind", "reason"],
        ),
    )


class DeskHealth(StatusServer):
    """Serves the desk's liveness, readiness and metrics, on a port of their own.

    Parameters
    ----------
    settings
        Address; port 0 picks a free one.
    registry
        Metrics.
    trouble
        Returns why the index is not being fed; empty where it is.
    """

    def __init__(self, settings: DeskSettings, registry: CollectorRegistry, trouble: Callable[[], str]) -> None:
        super().__init__(settings.status_host, settings.status_port, registry)
        self._trouble = trouble
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="desk-metrics")

    async def latest(self, registry: Collector) -> bytes:
        """Return the metrics, without holding up pages and probes while the index is asked."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, generate_latest, registry)

    async def stop(self) -> None:
        """Stop listening."""
        await super().stop()
        self._thread.shutdown(wait=False)

    def live(self) -> Status:
        """Return good: that this is answered says that the event loop, which serves the pages, is running."""
        return Status(True, "ok")

    def ready(self) -> Status:
        """Return whether all cases were read and the topics are. Pages are served all the same, of what was read."""
        trouble = self._trouble()
        return Status(not trouble, trouble or "ok")


class Serving:
    """A desk that serves, from `start` to `stop`.

    Parameters
    ----------
    settings
        Addresses and who may do what.
    looks, acts
        What can be asked, and decided.
    trouble
        Returns why the index is not being fed; empty where it is.
    login
        Who started it: on loopback everybody is that.
    tables
        What desks of one database share.

    Raises
    ------
    SettingsError
        Where it would be open to whoever reaches it, or nobody could use it.
    """

    def __init__(
        self,
        settings: DeskSettings,
        looks: Looks,
        acts: Acts,
        trouble: Callable[[], str],
        login: str = "me",
        tables: Tables | None = None,
    ) -> None:
        check(settings)
        self._settings = settings
        secure = urlsplit(settings.address).scheme == "https"
        sessions = Sessions(
            settings.secret or secrets.token_hex(32), settings.session_hours * 3600.0, secure, time.time
        )
        door: Door = Loopback(login)
        if settings.login == "proxy":
            door = Proxy(settings)
        elif settings.login == "oidc":
            door = Oidc(settings, sessions, time.time)
        registry = process_registry()
        registry.register(IndexGauges(looks.reading))
        address = settings.address if settings.login else ""
        self.desk = Desk(
            looks, acts, door, Tokens(settings.tokens), sessions, address, registry, tables=tables
        )  # fmt: skip
        self._health = DeskHealth(settings, registry, trouble)
        self._runner = web.AppRunner(
            make_app(self.desk), access_log=None, keepalive_timeout=75.0, shutdown_timeout=END_SECONDS,
            logger=Log(logging.getLogger("siphonwatch.desk.server")),
        )  # fmt: skip
        self.address = ""
        """Where a browser opens it, once started."""

    async def start(self) -> None:
        """Listen.

        Raises
        ------
        OSError
            When a port is taken.
        """
        await self._health.start()
        if self.desk.sharing is not None:
            self.desk.sharing.start()
        await self._runner.setup()
        await web.TCPSite(self._runner, self._settings.host, self._settings.port).start()
        port = self._runner.addresses[0][1]
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        self.address = self.desk.address or f"http://{host}:{port}"
        _log.info("the desk is open", address=self.address, login=self._settings.login or "loopback",
                  status_port=self._health.port)  # fmt: skip

    async def stop(self) -> None:
        """Take no more requests, answer those under way, and end."""
        await self._runner.cleanup()
        if self.desk.sharing is not None:
            await self.desk.sharing.stop()
        await self._health.stop()

    @property
    def status_port(self) -> int:
        """Port of health and metrics, once started."""
        return self._health.port


async def serve(
    serving: Serving, stop: asyncio.Event | None = None, opened: Callable[[str], None] | None = None
) -> None:
    """Serve until stopped, by SIGTERM or SIGINT without an event of one's own.

    Parameters
    ----------
    opened
        Is told the address.
    """
    if stop is None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await serving.start()
        if opened is not None:
            opened(serving.address)
        await stop.wait()
    finally:
        await serving.stop()
