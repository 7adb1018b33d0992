"""Alerts for the tests of sinks: as a worker would send them, with whatever accounts and texts a test wants."""

from __future__ import annotations

import math
from typing import Any

from msgspec.structs import replace

from siphonwatch.models.detect import Signal
from siphonwatch.models.evidence.cases import CaseBook, Finding
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.alert import Unmapped, encode, to_alert
from siphonwatch.streams.deliver.alert import AlertRecord, read
from siphonwatch.streams.edge.producer import connect
from siphonwatch.streams.operate.topics import connect as admin_of
from siphonwatch.streams.operate.topics import create

START = 1_790_000_000.0
SIGNALS = [
    Signal("sweep_1d", 0.94, 0.35, "above", "share", "new content, asked once", 0.5),
    Signal("job_requests", 5.02, 1.95, "above", "log(1 + requests)", "requests of the job", 0.4),
    Signal("user_shift", -0.5, 0.0, "below", "share", "user ids gone", 0.2),
    Signal("quick_1h", 0.69, 0.05, "above", "share", "sent at once", 0.1),
]
SECRET = "whsec_c2VjcmV0cyBvZiB0aGUgdGVzdHMgb2Ygc2lua3Mh"


def life(account: str, steps: int = 3, *, pattern: str = "extraction", log_e: float = 7.0) -> list[Finding]:
    """A case from its opening to its closing, an hour between findings: `steps` of them."""
    return _case(account, pattern, [log_e] * max(steps - 1, 1))[:steps]


def grows_graver(account: str) -> list[Finding]:
    """A case that opens at medium severity, becomes high and closes."""
    return _case(account, "extraction", [7.0, 14.0])


def _case(account: str, pattern: str, evidence: list[float]) -> list[Finding]:
    book = CaseBook(1e-3, 86_400.0)
    found = [
        book.record(
            account, pattern, START + 3600.0 * i, first_seen=START - 7200.0, log_e=log_e, score=0.5, level=0.4,
            requests_seen=321, signals=SIGNALS, counterfactual="would not fire if sweep_1d were below 0.35",
            samples=["r-1", "r-2"],
        )
        for i, log_e in enumerate(evidence)
    ]  # fmt: skip
    return found + book.close_until(math.inf)


def told(finding: Finding, sent: float = START, **own: Any) -> AlertRecord:
    """A finding as sinks see it; `own` replaces what `data.unmapped.siphonwatch` says."""
    alert = to_alert(finding)
    data = replace(alert.data, unmapped=Unmapped(replace(alert.own, **own)))
    return read(encode(replace(alert, data=data)), sent)


def of_severity(alert: AlertRecord, severity: Any) -> AlertRecord:
    """The same alert at another severity, as its event spells it."""
    return replace(alert, event=replace(alert.event, data=replace(alert.event.data, severity=severity)))


def records(findings: list[Finding]) -> list[tuple[bytes, bytes]]:
    """Key and value of each record, as a worker sends them."""
    return [(finding.case.encode(), encode(to_alert(finding))) for finding in findings]


def prepare(settings: Settings) -> None:
    """Create the topics; a deliverer on any free port that retries soon."""
    settings.deliver.port = 0
    settings.deliver.backoff = 0.05
    settings.deliver.backoff_max = 0.2
    settings.deliver.backoff_misconfigured = 0.2
    with admin_of(settings.kafka) as admin:
        create(settings, admin)


def send(settings: Settings, messages: list[tuple[bytes, bytes]]) -> None:
    """Put records on the alerts topic, in their order."""
    producer = connect(settings, "tests")
    for future in [producer.send(settings.topic("alerts"), key=key, value=value) for key, value in messages]:
        future.get(timeout=300)
    producer.close(10)
