"""What a gateway's sender has done with its records, as metrics of the gateway's own Prometheus endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from siphonwatch.streams.edge.sender import Counts

NONE = Counts(0, 0, 0, 0, 0, 0)
OUTCOMES = ("delivered", "dropped", "failed", "malformed")


class GatewayFigures(Collector):
    """Reads the counts at each scrape.

    Parameters
    ----------
    counts
        Of the process' sender; None where it has none.
    """

    def __init__(self, counts: Callable[[], Counts | None]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Yield the two families."""
        counts = self._counts() or NONE
        records = CounterMetricFamily(
            "siphonwatch_gateway_records",
            "Records of this gateway process, by what became of them.",
            labels=["outcome"],
        )
        for outcome in OUTCOMES:
            records.add_metric([outcome], getattr(counts, outcome))
        yield records
        yield GaugeMetricFamily(
            "siphonwatch_gateway_waiting_records", "Records that Kafka has not acknowledged yet.", value=counts.waiting
        )


def export(counts: Callable[[], Counts | None], registry: CollectorRegistry) -> None:
    """Register the figures, once a process: a second sender's are left out; its log lines report it."""
    try:
        registry.register(GatewayFigures(counts))
    except ValueError:
        return
