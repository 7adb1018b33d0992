"""Counts what happens to one partition, under its labels. Decides nothing; what it counted stays when one leaves.

A process has one for each partition it ever had: its worker, what it sends by and its commits count by the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized

import numpy as np
import numpy.typing as npt
import structlog

from siphonwatch.models.engine.patterns import patterns
from siphonwatch.models.engine.vitals import STEPS
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.models.evidence.places import Change
from siphonwatch.streams.contracts.telemetry import REASONS, Malformed
from siphonwatch.streams.worker.metrics import COMMITS, OUTCOMES, STAGES, Labels, Metrics

_log = structlog.get_logger(__name__)

MAX_KINDS = 256
"""Kinds of what is no request that are logged; a gateway's plug-ins may have any name."""

_EDGES = np.arange(STEPS + 1) / STEPS


class Meter:
    """The metrics of one partition.

    Parameters
    ----------
    metrics
        The worker's.
    stream, topic, partition
        Its labels, see `siphonwatch.streams.worker.metrics.PARTITION`.
    """

    def __init__(self, metrics: Metrics, stream: str, topic: str, partition: int) -> None:
        self._metrics = metrics
        self.labels: Labels = (stream, topic, str(partition))
        self.stream, self.topic, self.partition = stream, topic, partition
        self._late = self._ahead = 0
        self._said_unopened = False
        self._named: set[str] = set()
        self._kinds: set[str] = set()
        plain = (
            metrics.requests, metrics.skipped, metrics.late, metrics.ahead, metrics.checkpoint_bytes,
            metrics.lost_letters, metrics.misplaced, metrics.forged, metrics.unopened, metrics.erased,
            metrics.shadow_seconds, metrics.passed_over, metrics.recreated,
        )  # fmt: skip
        for counter in plain:
            counter.labels(*self.labels)
        for pattern in (p.pattern for p in patterns()):
            metrics.card_restarts.labels(*self.labels, pattern)
        for counter, values in ((metrics.dead_letters, REASONS), (metrics.stages, STAGES), (metrics.commits, COMMITS)):
            for value in values:
                counter.labels(*self.labels, value)

    def begin(self) -> None:
        """Take note that another scorer begins, whose own totals begin at zero."""
        self._late = self._ahead = 0

    def restored(self, seconds: float, late: int, ahead: int) -> None:
        """Count a restore; `late` and `ahead` requests were counted before it."""
        self._metrics.restore.labels(self.labels[0]).observe(seconds)
        self._late, self._ahead = late, ahead

    def changed(self, change: Change) -> None:
        """Count and log a card that is another one than that of the state."""
        self._metrics.card_restarts.labels(*self.labels, change.pattern).inc()
        stream, topic, partition = self.labels
        _log.warning("card changed", stream=stream, topic=topic, partition=partition, what=str(change))

    def shadows(self, seconds: float) -> None:
        """Count the time that the judges beside the champion took."""
        self._metrics.shadow_seconds.labels(*self.labels).inc(seconds)

    def skipped(self, requests: int) -> None:
        """Count requests that were applied before."""
        self._metrics.skipped.labels(*self.labels).inc(requests)

    def misplaced(self, requests: int) -> None:
        """Count requests that belong to another partition."""
        self._metrics.misplaced.labels(*self.labels).inc(requests)

    def refused(self, requests: int) -> None:
        """Count requests that were turned away, of accounts that had got nothing before."""
        self._metrics.refused.labels(*self.labels).inc(requests)

    def forged(self, records: int) -> None:
        """Count records that claim an origin without the seal that goes with it."""
        self._metrics.forged.labels(*self.labels).inc(records)

    def erased(self, requests: int) -> None:
        """Count requests of accounts that were erased, from before that."""
        self._metrics.erased.labels(*self.labels).inc(requests)

    def unopened(self, requests: int) -> None:
        """Count requests with sealed parts that no key opens; log the first."""
        self._metrics.unopened.labels(*self.labels).inc(requests)
        if requests and not self._said_unopened:
            self._said_unopened = True
            stream, topic, partition = self.labels
            _log.warning(
                "sealed parts of requests cannot be opened, and are missing in what is found; the first",
                stream=stream, topic=topic, partition=int(partition),
                remedy="set identity.seal_key to what `siphonwatch doctor --seal-key` prints at the gateway",
            )  # fmt: skip

    def dead_letter(self, bad: Malformed) -> None:
        """Count a record that went to the dead-letter topic; log the first of each reason."""
        self._metrics.dead_letters.labels(*self.labels, bad.reason).inc()
        if bad.reason not in self._named:
            self._named.add(bad.reason)
            stream, topic, partition = self.labels
            _log.warning(
                "a record cannot be read and goes to the dead-letter topic; the first for this reason",
                stream=stream, topic=topic, partition=int(partition), reason=bad.reason,
                detail=str(bad).partition(": ")[2],
            )  # fmt: skip

    def passed_over(self, what: Mapping[str, int]) -> None:
        """Count elements that are no requests; log the first of each kind."""
        self._metrics.passed_over.labels(*self.labels).inc(sum(what.values()))
        stream, topic, partition = self.labels
        for kind in what.keys() - self._kinds if len(self._kinds) < MAX_KINDS else ():
            self._kinds.add(kind)
            _log.info(
                "passed over what is no request; the first of this kind",
                stream=stream, topic=topic, partition=int(partition), kind=kind,
            )  # fmt: skip

    def lost_letters(self, letters: Sized) -> None:
        """Count records that cannot be kept even as dead letters."""
        self._metrics.lost_letters.labels(*self.labels).inc(len(letters))

    def made_anew(self, incarnation: str) -> None:
        """Count and log a topic that was made anew, and is read from its start."""
        self._metrics.recreated.labels(*self.labels).inc()
        _, topic, partition = self.labels
        _log.warning(
            "the topic was made anew: reading the new one from its start; what was not read of the old one is gone",
            topic=topic, partition=int(partition), topic_id=incarnation,
        )  # fmt: skip

    def send_failure(self, topic: str) -> None:
        """Count an attempt to send to a topic that failed."""
        self._metrics.send_failures.labels(*self.labels, topic).inc()

    def alert(self, finding: Finding) -> None:
        """Count an alert that is sent."""
        self._metrics.alerts.labels(finding.pattern, finding.severity, OUTCOMES[finding.kind]).inc()

    def suppressed(self, finding: Finding, reason: str) -> None:
        """Count an alert that is not sent; reasons are `siphonwatch.streams.worker.metrics.WITHHELD`."""
        self._metrics.suppressed.labels(finding.pattern, reason).inc()

    def batch(self, ages: npt.NDArray[np.float64]) -> None:
        """Count the requests of a batch by their ages at its end, `(n,)` seconds since the broker had them."""
        stream = self.labels[0]
        self._metrics.requests.labels(*self.labels).inc(len(ages))
        self._metrics.batch.labels(stream).observe(len(ages))
        self._metrics.freshness.observe(stream, np.maximum(ages, 0.0))  # clocks differ

    def scored(
        self,
        seconds: Sequence[float],
        late: int,
        ahead: int,
        scores: Mapping[str, tuple[npt.NDArray[np.int64], float]],
    ) -> None:
        """Count seconds by stage, late and far-ahead requests so far, and scores as `Tally.take` has them."""
        for stage, spent in zip(STAGES, seconds, strict=True):
            self._metrics.stages.labels(*self.labels, stage).inc(spent)
        self._metrics.late.labels(*self.labels).inc(late - self._late)
        self._metrics.ahead.labels(*self.labels).inc(ahead - self._ahead)
        self._late, self._ahead = late, ahead
        for pattern, (counts, total) in scores.items():
            self._metrics.scores.add(pattern, _EDGES, counts, total)

    def checkpoint(self, seconds: float, size: int) -> None:
        """Count a checkpoint of `size` bytes."""
        self._metrics.checkpoint.labels(self.labels[0]).observe(seconds)
        self._metrics.checkpoint_bytes.labels(*self.labels).inc(size)

    def commit(self, outcome: str) -> None:
        """Count a commit; outcomes are `siphonwatch.streams.worker.metrics.COMMITS`."""
        self._metrics.commits.labels(*self.labels, outcome).inc()
