"""A test alert for every sink, clearly marked as one, and its outcome. It reads no topic and commits nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable

import msgspec

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.deliver.make import check, make
from siphonwatch.streams.deliver.outcome import Outcome
from siphonwatch.streams.deliver.sample import make_alerts


class Trial(msgspec.Struct, frozen=True):
    """What became of one sink's test alerts."""

    sink: str
    kind: str
    opened: Outcome
    closed: Outcome | None
    """None where the opening did not arrive."""
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether both arrived."""
        return self.opened.verdict == "delivered" and self.closed is not None and self.closed.verdict == "delivered"


async def trials(
    settings: Settings, names: Iterable[str] = (), clock: Callable[[], float] = time.time
) -> AsyncIterator[Trial]:
    """Send each sink the opening and the closing of a test case, once, whatever its filters; give the outcome.

    Raises
    ------
    SettingsError
        When a sink cannot work as it is set.
    """
    for name in check(settings, names):
        receiver = make(settings, name, clock).receiver
        try:
            began = clock()
            opening, closing = make_alerts(began, settings.links.runbook)
            opened = await receiver.deliver(opening)
            closed = await receiver.deliver(closing) if opened.verdict == "delivered" else None
            yield Trial(name, settings.sinks[name].kind, opened, closed, clock() - began)
        finally:
            await receiver.close()
