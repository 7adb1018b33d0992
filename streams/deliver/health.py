"""Whether the deliverer is live and ready. A sink that is down fails neither, as a restart would not help:
`siphonwatch_failing_seconds` reports it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry

from siphonwatch.streams.common.answers import silent
from siphonwatch.streams.common.sink_settings import Deliver
from siphonwatch.streams.common.status import Status, StatusServer


class DelivererHealth(StatusServer):
    """Serves the deliverer's liveness, readiness and metrics.

    Parameters
    ----------
    settings
        Address; port 0 picks a free one.
    waiting
        Names of the sinks that do not deliver yet.
    ages
        Returns for how many seconds each broker has not answered.
    registry
        Metrics.
    """

    def __init__(
        self,
        settings: Deliver,
        waiting: Callable[[], list[str]],
        registry: CollectorRegistry,
        ages: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        super().__init__(settings.host, settings.port, registry)
        self._waiting = waiting
        self._ages = ages

    def live(self) -> Status:
        """Return good: that this is answered says that the event loop, which all deliveries share, is running."""
        return Status(True, "ok")

    def ready(self) -> Status:
        """Return whether brokers answer and every sink has its partitions."""
        if unanswered := silent(self._ages()):
            return Status(False, unanswered)
        if waiting := self._waiting():
            return Status(False, f"waiting for partitions of the alerts topic: {', '.join(waiting)}")
        return Status(True, "ok")
