"""The archiver as a process that is watched: follows the topics and serves health and metrics, until it is stopped."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from siphonwatch.streams.common.answers import AnswerGauge, silent
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.status import Status, StatusServer, process_registry
from siphonwatch.streams.lab.archive.follow import Follower
from siphonwatch.streams.lab.archive.layout import Manifest
from siphonwatch.streams.lab.archive.metrics import Metrics
from siphonwatch.streams.lab.archive.store import Store


class CannotListenError(RuntimeError):
    """The port of health and metrics is taken; the message names it."""


class ArchiverHealth(StatusServer):
    """Serves the archiver's liveness, readiness and metrics.

    Parameters
    ----------
    host, port
        Address; port 0 picks a free one.
    follower
        Whose health it is.
    """

    def __init__(self, host: str, port: int, follower: Follower) -> None:
        registry = process_registry()
        super().__init__(host, port, registry)
        self._follower = follower
        self.metrics = Metrics(registry, follower.behind)
        registry.register(AnswerGauge(follower.broker_ages))

    def live(self) -> Status:
        """Return good: that this is answered says that the event loop is running, and a store that fails ends it."""
        return Status(True, "ok")

    def ready(self) -> Status:
        """Return whether brokers answer and every partition is being read."""
        if unanswered := silent(self._follower.broker_ages()):
            return Status(False, unanswered)
        if waiting := self._follower.waiting:
            return Status(False, waiting)
        return Status(True, "ok")


async def archive(
    settings: Settings,
    store: Store,
    *,
    once: bool,
    step_rows: int,
    step_seconds: float,
    on_step: Callable[[Manifest], None],
    address: tuple[str, int] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Archive the topics until stopped, or with `once` what they hold now.

    Parameters
    ----------
    address
        Host and port of health and metrics; none are served without one.
    stop
        Ends it when set; SIGTERM and SIGINT by default.

    Raises
    ------
    CannotListenError
        When the port is taken.
    StoreError
        When the archive cannot be read or written.
    KafkaError, TailError
        When the topics cannot be read, and `once` is set.
    """
    if stop is None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    health: ArchiverHealth | None = None

    def closed(manifest: Manifest) -> None:
        if health is not None:
            health.metrics.step(manifest)
        on_step(manifest)

    def begun(newest: Manifest) -> None:
        if health is not None:
            health.metrics.begun(newest)

    follower = Follower(
        settings, store, step_rows=step_rows, step_seconds=step_seconds, on_step=closed, on_begin=begun
    )  # fmt: skip
    if address is not None:
        health = ArchiverHealth(*address, follower)
        try:
            await health.start()
        except OSError as error:
            raise CannotListenError(f"cannot listen on {address[0]}:{address[1]}: {error.strerror or error}") from None
    try:
        await follower.run(stop, once=once)
    finally:
        if health is not None:
            await health.stop()
