"""The opening and the closing of a case that is none, clearly marked as a test. Sends nothing."""

from __future__ import annotations

import hashlib

from msgspec.structs import replace

from siphonwatch.models.detect import Signal
from siphonwatch.models.engine.patterns import patterns
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.streams.common.settings import DEFAULT_RUNBOOK
from siphonwatch.streams.contracts.alert import Unmapped, encode, to_alert
from siphonwatch.streams.deliver.alert import AlertRecord, read

TITLE = "TEST of alert delivery"
ACCOUNT = "test-account-nobody"


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
