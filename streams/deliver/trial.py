"""A test alert for every sink, clearly marked as one, and its outcome. It reads no topic and commits nothing."""

from __future__ import annotations

import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterable

import msgspec
from msgspec.structs import replace

from siphonwatch.models.detect import Signal
from siphonwatch.models.engine.patterns import patterns
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.streams.common.settings import DEFAULT_RUNBOOK, Settings
from siphonwatch.streams.contracts.alert import Unmapped, encode, to_alert
from siphonwatch.streams.deliver.alert import AlertRecord, read
from siphonwatch.streams.deliver.make import check, make
from siphonwatch.streams.deliver.outcome import Outcome

TITLE = "TEST of alert delivery"
ACCOUNT = "test-account-nobody"


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


def make_alerts(now: float, runbook: str = DEFAULT_RUNBOOK) -> tuple[AlertRecord, AlertRecord]:
    """Return the opening and the closing of a case that is none, of its own id each time.

    Parameters
    ----------
    now
        Seconds since 1970.
    runbook
        Beginning of the link to the runbook.
    """
    pattern = next(iter(patterns())).pattern
    opening = Finding(
        kind="open", case=_case(now), sequence=0, pattern=pattern, accounts=[ACCOUNT], time=now,
        opened=now, first_seen=now, log_e=7.0, alpha=1e-3, score=0.0, level=0.0, bar=0.0, budget=1.0,
        requests_seen=1, severity="low",
        signals=[Signal("test", 1.0, 0.0, "above", "", "nothing was detected", 0.0)],
        counterfactual="This is a test that an operator asked for: nothing was detected.", samples=[],
    )  # fmt: skip
    closing = replace(opening, kind="close", sequence=1)
    return _marked(opening, now, runbook), _marked(closing, now, runbook)


def _case(now: float) -> str:
    """Return a case id of the form that real ones have, another one each time."""
    return hashlib.blake2b(f"test {now!r}".encode(), digest_size=8).hexdigest()


def _marked(finding: Finding, now: float, runbook: str) -> AlertRecord:
    alert = to_alert(finding, runbook=runbook)
    data = replace(
        alert.data,
        message=f"{TITLE}: nothing was detected, nobody needs to do anything",
        finding_info=replace(alert.data.finding_info, title=TITLE),
        unmapped=Unmapped(replace(alert.own, test=True)),
    )
    return read(encode(replace(alert, data=data)), now)


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
