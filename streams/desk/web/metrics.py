"""What the desk counts of its use: requests, decisions, refusals. Names no person, case or account."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
"""Around what a page (0.3) and a search (1) may take."""


class Metrics:
    """Metrics of one desk's pages and API.

    Parameters
    ----------
    registry
        Where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "siphonwatch_desk_requests_total", "Requests to the desk, by route and status.", ["route", "status"],
            registry=registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "siphonwatch_desk_request_seconds", "Seconds that the desk took to answer.", ["route"], buckets=SECONDS,
            registry=registry,
        )  # fmt: skip
        self.decisions = Counter(
            "siphonwatch_desk_decisions_total", "Decisions at the desk, by kind and outcome.", ["kind", "outcome"],
            registry=registry,
        )  # fmt: skip
        self.refused = Counter(
            "siphonwatch_desk_refused_total", "Requests that the desk refused, by reason.", ["reason"],
            registry=registry,
        )  # fmt: skip
