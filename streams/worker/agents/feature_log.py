"""Logs features as they were when scored: of each alert that is sent, and of accounts once an account-hour.

Records are acknowledged before the checkpoint that covers them, as alerts are; after a crash the same are sent again.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

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
    """The features of one partition, of telemetry or of sightings, on their way to their topic.

    Parameters
    ----------
    scorer
        Whose features they are.
    judges
        Says which version judges.
    outlet
        Takes the records.
    partition
        Its number.
    what
        Of alerts, of account-hours too, or nothing.
    """

    def __init__(self, scorer: Engine[Any, Any], judges: Judges, outlet: Outlet, partition: int, what: What) -> None:
        self._scorer = scorer
        self._judges = judges
        self._outlet = outlet
        self._partition = partition
        self._alerts: dict[int, list[Finding]] = defaultdict(list)
        self.rows = 1
        """How many of the offsets that the scorer was given a record has."""
        if what != "off":
            scorer.stage.vectors = VectorLog(hourly=what == "hourly")

    def sent(self, finding: Finding) -> None:
        """Note that an alert was sent; the end of a case is raised by no request."""
        if finding.kind != "close" and self._scorer.stage.vectors is not None:
            self._alerts[finding.offset].append(finding)

    async def send(self, numbering: Numbering) -> None:
        """Send what the requests just scored have to log; may wait for room."""
        if (kept := self._scorer.stage.vectors) is None:
            return
        alerts, self._alerts = self._alerts, defaultdict(list)
        for vectors in kept.drain():
            for i, offset in enumerate(vectors.offsets.tolist()):
                at: list[Literal["alert", "hourly"]] = ["alert"] if offset in alerts else []
                at += ["hourly"] if vectors.hourly[i] and kept.hourly else []
                if not at:
                    continue  # what it raised was not sent
                raised = alerts.get(offset, [])
                await self._put(
                    (vectors.features[i], vectors.scores[i], vectors.log_e[i]), offset=offset - numbering.base,
                    incarnation=numbering.incarnation, account=vectors.accounts[i], time=float(vectors.times[i]),
                    at=at, alerts=[one.id for one in raised], patterns=[one.pattern for one in raised],
                )  # fmt: skip
        for seen in kept.drain_shared():
            place, row = divmod(seen.offset, self.rows)
            for one in alerts.get(seen.offset, []):
                if one.id == seen.finding:
                    await self._put(
                        (seen.features, seen.scores, seen.log_e), offset=place - numbering.base, row=row,
                        incarnation=numbering.incarnation, account=seen.account, time=seen.time, at=["alert"],
                        alerts=[one.id], patterns=[one.pattern], over="campaign",
                        fingerprint=f"{seen.fingerprint:016x}",
                    )  # fmt: skip

    async def _put(self, said: tuple[npt.NDArray[np.float32], ...], **facts: Any) -> None:
        """Send a record, given features, scores and logarithms of e-values, and what else it says."""
        judge, (features, scores, log_e) = self._scorer.judge, said
        logged = Logged(
            partition=self._partition, version=self._judges.version(), table=table_id(),
            cards={detector.pattern: detector.id for detector in judge.detectors},
            features=features.astype(FLOAT).tobytes(), scores=by_pattern(judge.patterns, scores),
            log_e=by_pattern(judge.patterns, log_e), **facts,
        )  # fmt: skip
        await self._outlet.features(key(logged.partition, logged.offset, logged.over), encode(logged))
