"""Invented findings as alerts, and a topic full of them."""

from __future__ import annotations

from siphonwatch.models.detect import Signal
from siphonwatch.models.evidence.cases import CaseBook, Finding
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.alert import Alert, encode, to_alert
from siphonwatch.streams.edge.producer import connect
from siphonwatch.streams.operate.topics import connect as admin_of
from siphonwatch.streams.operate.topics import create

START = 1_767_571_200.0
SIGNALS = [
    Signal("sweep_1d", 0.94, 0.35, "above", "share", "new content, asked once", 0.5),
    Signal("breadth", 0.73, 0.35, "above", "0..1", "how little the texts have in common", 0.4),
    Signal("single_turn_1d", 0.98, 0.5, "above", "share", "goes on with no conversation", 0.2),
    Signal("quick_1h", 0.69, 0.05, "above", "share", "sent at once", 0.1),
]


def findings(count: int, pattern: str = "extraction", log_e: float = 7.0, start: float = START) -> list[Finding]:
    """One opened case an account, an hour apart."""
    book = CaseBook(1e-3, 86_400.0)
    return [
        book.record(
            f"org-{pattern}-{i}", pattern, start + 3600.0 * i, first_seen=start, log_e=log_e, score=0.5, level=0.4,
            requests_seen=100 + i, signals=SIGNALS, counterfactual="", samples=[f"r-{i}"],
        )
        for i in range(count)
    ]  # fmt: skip


def alerts(found: list[Finding]) -> list[Alert]:
    return [to_alert(finding) for finding in found]


def fill(settings: Settings, found: list[Finding], junk: bytes = b"") -> list[bytes]:
    """Create the topics and send the findings as a worker does; return their bytes."""
    with admin_of(settings.kafka) as admin:
        create(settings, admin)
    send(settings, found)
    if junk:
        producer = connect(settings, "tests")
        producer.send(settings.topic("alerts"), value=junk)
        producer.close(10)
    return [encode(to_alert(finding)) for finding in found]


def send(settings: Settings, found: list[Finding]) -> None:
    producer = connect(settings, "tests")
    futures = [
        producer.send(settings.topic("alerts"), key=finding.case.encode(), value=encode(to_alert(finding)))
        for finding in found
    ]
    producer.flush()
    for future in futures:
        future.get(timeout=300)
    producer.close(10)
