"""Logs the features of requests as they were when scored: of each alert that is sent, and once an account-hour.

Records are acknowledged before the checkpoint that covers them, as alerts are; after a crash the same are sent again.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Literal

from siphonwatch.models.engine.engine import Engine
from siphonwatch.models.engine.vectors import VectorLog
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.models.learn.version import table_id
from siphonwatch.streams.contracts.features import FLOAT, Logged, by_pattern, encode, key
from siphonwatch.streams.worker.agents.judges import Judges
from siphonwatch.streams.worker.agents.numbering import Numbering
from siphonwatch.streams.worker.outlet import Outlet

What = Literal["off", "alerts", "hourly"]


class FeatureLog:
    """The features of one partition of telemetry, on their way to their topic.

    Parameters
    ----------
    scorer
        Whose features they are.
    judges
        Says which version judges.
    outlet
        Takes the records.
    partition
        Of telemetry.
    what
        Of alerts, of account-hours too, or nothing.
    """

    def __init__(self, scorer: Engine[Any, Any], judges: Judges, outlet: Outlet, partition: int, what: What) -> None:
        self._scorer = scorer
        self._judges = judges
        self._outlet = outlet
        self._partition = partition
        self._alerts: dict[int, list[str]] = defaultdict(list)
        if what != "off":
            scorer.stage.vectors = VectorLog(hourly=what == "hourly")

    def sent(self, finding: Finding) -> None:
        """Note that an alert was sent; the end of a case is raised by no request."""
        if finding.kind != "close" and self._scorer.stage.vectors is not None:
            self._alerts[finding.offset].append(finding.id)

    async def send(self, numbering: Numbering) -> None:
        """Send what the requests just scored have to log; may wait for room."""
        if (kept := self._scorer.stage.vectors) is None:
            return
        alerts, judge = self._alerts, self._scorer.judge
        self._alerts = defaultdict(list)
        for vectors in kept.drain():
            cards = {detector.pattern: detector.id for detector in judge.detectors}
            for i, offset in enumerate(vectors.offsets.tolist()):
                at: list[Literal["alert", "hourly"]] = ["alert"] if offset in alerts else []
                at += ["hourly"] if vectors.hourly[i] and kept.hourly else []
                place = offset - numbering.base
                if not at:
                    continue  # what it raised was not sent
                logged = Logged(
                    partition=self._partition, offset=place, incarnation=numbering.incarnation,
                    account=vectors.accounts[i], time=float(vectors.times[i]), at=at, alerts=alerts.get(offset, []),
                    version=self._judges.version(), cards=cards, table=table_id(),
                    features=vectors.features[i].astype(FLOAT).tobytes(),
                    scores=by_pattern(judge.patterns, vectors.scores[i]),
                    log_e=by_pattern(judge.patterns, vectors.log_e[i]),
                )  # fmt: skip
                await self._outlet.features(key(self._partition, place), encode(logged))
