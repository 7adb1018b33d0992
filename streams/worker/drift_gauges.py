"""Gauges of drift: what a worker's accounts look like this week against before, over all its partitions of telemetry,
and how often cases open, those of campaigns over its partitions of sightings.

Partitions are taken together, so the number of series depends on the features that cards read and on nothing else, and
a rebalance, in which they move with their counts, is no change. At most 3 cohorts times the features that cards
may read (93) of `siphonwatch_feature_psi` and of `siphonwatch_feature_moved`, the former for the 58 features of the
installed cards; 3 cohorts times patterns of all else. The comparison is made once for each day that closes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from siphonwatch.models.engine.case_hours import CaseHours
from siphonwatch.models.engine.engine import Engine
from siphonwatch.models.engine.fingerprints import FingerprintStage
from siphonwatch.models.engine.population import Population
from siphonwatch.models.engine.stage import AccountStage
from siphonwatch.models.evidence.calibration import COHORTS
from siphonwatch.models.learn.live_drift import Standing, standing

TEXTS = {
    "drift_accounts": ("Accounts of the last week that are compared; 0 while there is no comparison", ("cohort",)),
    "feature_psi": (
        "Population stability index of a feature, this week's accounts against those before, beyond chance",
        ("feature", "cohort"),
    ),
    "feature_moved": ("1 where chance does not explain the change of a feature", ("feature", "cohort")),
    "moved_features": (
        "Features that a pattern's card reads, which chance does not explain and whose index is .2 or more",
        ("pattern", "cohort"),
    ),
    "cases_a_day": ("Cases that open a day: in the last week, and before it", ("pattern", "cohort", "span")),
    "case_rate_moved": ("1 where ADWIN sees the rate of cases change in the last week", ("pattern", "cohort")),
}
Scorer = Engine[Any, Any]
"""One over accounts, or a coordinator of campaigns."""


class DriftGauges(Collector):
    """Compares at a scrape, where a day has closed since the one before."""

    def __init__(self) -> None:
        self._scorers: dict[tuple[bool, int], Scorer] = {}
        """By partition, those over accounts first."""
        self._of: Hashable = None
        self._standing: Standing | None = None

    def add(self, partition: int, scorer: Scorer) -> None:
        """Watch the scorer of a partition that was restored."""
        self._scorers[_is_campaigns(scorer), partition] = scorer

    def remove(self, partition: int, scorer: Scorer) -> None:
        """Watch a scorer no more; one that came in its place stays."""
        place = _is_campaigns(scorer), partition
        if self._scorers.get(place) is scorer:
            del self._scorers[place]

    def describe(self) -> list[Metric]:
        """Return the metrics without values."""
        return list(_families().values())

    def collect(self) -> Iterator[Metric]:
        """Give every metric with the values of now."""
        families = _families()
        if self._scorers:
            found = self._compared()
            for cohort, accounts in found.accounts.items():
                families["drift_accounts"].add_metric([cohort], accounts)
            for column in found.columns:
                families["feature_psi"].add_metric([column.feature, column.cohort], column.psi)
                families["feature_moved"].add_metric([column.feature, column.cohort], float(column.apart))
            if found.columns:
                for pattern in self._reads():
                    for cohort in COHORTS:
                        families["moved_features"].add_metric([pattern, cohort], found.moved[pattern, cohort])
            for rate in found.rates:
                for span, value in (("week", rate.now), ("before", rate.before)):
                    families["cases_a_day"].add_metric([rate.pattern, rate.cohort, span], value)
                families["case_rate_moved"].add_metric([rate.pattern, rate.cohort], float(rate.moved))
        yield from families.values()

    def _compared(self) -> Standing:
        stages = [scorer.stage for _, scorer in sorted(self._scorers.items())]
        populations = [stage.population for stage in stages if isinstance(stage, AccountStage)]
        campaigns = [stage.hours for stage in stages if isinstance(stage, FingerprintStage)]
        reads = self._reads()
        kept: list[Population | CaseHours] = [*populations, *campaigns]
        of = tuple((id(one), one.day) for one in kept), tuple(reads.items())
        if self._standing is None or of != self._of:
            self._of, self._standing = of, standing(populations, reads, campaigns)
        return self._standing

    def _reads(self) -> Mapping[str, frozenset[str]]:
        """Which features the cards of the champion read, by pattern."""
        judges = [scorer.judge for scorer in self._scorers.values() if not _is_campaigns(scorer)]
        return {detector.pattern: frozenset(detector.needs) for judge in judges[:1] for detector in judge.detectors}


def _is_campaigns(scorer: Scorer) -> bool:
    return isinstance(scorer.stage, FingerprintStage)


def _families() -> dict[str, GaugeMetricFamily]:
    """Every metric, without values."""
    return {
        name: GaugeMetricFamily(f"siphonwatch_{name}", text, labels=labels) for name, (text, labels) in TEXTS.items()
    }
