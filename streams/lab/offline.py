"""Scorers and coordinators of all partitions in one process, as workers over so many partitions run them. No broker.

What differs from workers over Kafka: sightings of several partitions reach a coordinator in the order of the log, where
workers send them as they get to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Self, cast

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.murmur import partitions_of
from siphonwatch.models.account.request import READ_OTHERWISE, Array, names
from siphonwatch.models.campaign.edges import groups
from siphonwatch.models.detect import Detector
from siphonwatch.models.engine.campaigns import CampaignJudge
from siphonwatch.models.engine.coordinator import Coordinator
from siphonwatch.models.engine.engine import Failed, Hear
from siphonwatch.models.engine.fingerprints import FingerprintStage
from siphonwatch.models.engine.judge import AccountJudge
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.engine.stage import AccountStage
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.worker.scoring import make_coordinator, make_scorer
from siphonwatch.streams.worker.state.local import LocalStateLog
from siphonwatch.streams.worker.state.tiers import SLICE, Tiers

FORGET = 32
"""Slices between two looks for accounts to forget: a worker looks at each checkpoint, some seconds of work apart."""


class Offline:
    """Score requests account by account, then campaign by campaign, in partitions; a context manager.

    Memory is bounded as a worker's is, by `[state]` of the settings; accounts beyond wait in temporary files.

    Parameters
    ----------
    settings
        The operator's choices.
    partitions
        Of the telemetry, and of the sightings.
    suspicions
        Keep the suspicion of accounts that leave memory, some 200 bytes each.
    cards
        The detectors of the champion; all installed ones by default.
    """

    def __init__(
        self,
        settings: Settings,
        partitions: int = 1,
        *,
        suspicions: bool = False,
        cards: Sequence[Detector] | None = None,
    ) -> None:
        state = settings.state
        self._forget_after = state.forget_after
        self._scorers = [make_scorer(settings, _over(cards, "account")) for _ in range(partitions)]
        self._coordinators = [make_coordinator(settings, _over(cards, "campaign")) for _ in range(partitions)]
        self._highest: dict[str, float] = {}
        leaving = self._note if suspicions else None
        self._logs = [LocalStateLog() for _ in range(partitions)]
        self._tiers = [
            Tiers(scorer.table, log, state.hot_accounts, state.cold_accounts, state.cold_file_bytes, leaving)
            for scorer, log in zip(self._scorers, self._logs, strict=True)
        ]
        self._slices = 0
        self.told: list[int] = []
        """The partition of each of the findings that `score` gave last."""
        self._runner = asyncio.Runner()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for tiers in self._tiers:
            tiers.close()
        self._runner.close()

    def shadow(self, name: str, cards: Sequence[Detector], hear: Hear) -> None:
        """Let other cards judge beside the champion; `hear` is given what they find."""
        for scorer in self._scorers:
            stage = cast(AccountStage, scorer.stage)
            scorer.shadows[name] = AccountJudge(stage, _over(cards, "account"), shadow=True), hear
        for coordinator in self._coordinators:
            shared = cast(FingerprintStage, coordinator.stage)
            coordinator.shadows[name] = CampaignJudge(shared, _over(cards, "campaign"), shadow=True), hear

    def judges(self, shadow: str = "") -> list[AccountJudge]:
        """Return who judges accounts, one a partition: the champion, or a shadow."""
        return [scorer.shadows[shadow][0] if shadow else scorer.judge for scorer in self._scorers]

    @property
    def partitions(self) -> int:
        """How many there are."""
        return len(self._scorers)

    @property
    def failed(self) -> list[Failed]:
        """Shadows that failed and were switched off."""
        engines: list[Scorer | Coordinator] = [*self._scorers, *self._coordinators]
        return [failed for engine in engines for failed in engine.failed.values()]

    @property
    def late(self) -> int:
        """Requests that came later than the grace."""
        return sum(scorer.late for scorer in self._scorers)

    @property
    def ahead(self) -> int:
        """Requests further ahead of the clock than one may be."""
        return sum(scorer.ahead for scorer in self._scorers)

    @property
    def refused(self) -> int:
        """Requests that were turned away, of accounts that had got nothing before."""
        return sum(scorer.refused for scorer in self._scorers)

    @property
    def accounts(self) -> int:
        """Accounts that are known, in memory and beyond."""
        return sum(
            len(scorer.table) + len(tiers.cold) for scorer, tiers in zip(self._scorers, self._tiers, strict=True)
        )

    def score(self, requests: Array, offsets: npt.NDArray[np.int64]) -> list[Finding]:
        """Take requests, `(n,) REQUEST`, with their increasing offsets, `(n,) int64`; return what came of them."""
        findings: list[Finding] = []
        self.told = []
        for start in range(0, len(requests), SLICE):
            findings += self._runner.run(self._score(requests[start : start + SLICE], offsets[start : start + SLICE]))
        return findings

    async def _score(self, requests: Array, offsets: npt.NDArray[np.int64]) -> list[Finding]:
        findings: list[Finding] = []
        told = len(self.told)
        here = partitions_of(requests["account"], len(self._scorers))
        seen = [np.zeros(0, np.int64)]
        for number, (scorer, tiers) in enumerate(zip(self._scorers, self._tiers, strict=True)):
            mine = np.flatnonzero(here == number)
            own = requests[mine]
            await tiers.admit(own)
            findings += scorer.score(own, offsets[mine])
            self.told += [number] * (len(findings) + told - len(self.told))
            for field in READ_OTHERWISE:  # as the scorer has them, for the coordinators
                requests[field][mine] = own[field]
            await tiers.evict()
            seen.append(mine[scorer.sighted])
        self._slices += 1
        if self._slices % FORGET == 0:
            await self._forget()
        sighted = np.sort(np.concatenate(seen))
        there = groups(requests, sighted) % np.uint64(len(self._coordinators))
        for number, coordinator in enumerate(self._coordinators):
            mine = sighted[there == number]
            findings += coordinator.score(requests[mine], offsets[mine])
            self.told += [number] * (len(findings) + told - len(self.told))
        return findings

    async def _forget(self) -> None:
        for scorer, tiers, log in zip(self._scorers, self._tiers, self._logs, strict=True):
            await log.checkpoint(tiers.forget(scorer.now - self._forget_after), b"", 0)

    def suspicion(self) -> dict[str, float]:
        """Return the highest suspicion each account has reached, on its own or as a campaign's member."""
        highest = dict(self._highest)
        for reached in [s.suspicion() for s in self._scorers] + [c.suspicion() for c in self._coordinators]:
            for account, suspicion in reached.items():
                highest[account] = max(highest.get(account, suspicion), suspicion)
        return highest

    def _note(self, rows: Array) -> None:
        self._highest.update(zip(names(rows["account"]), rows["judged"]["suspicion"].tolist(), strict=True))


def _over(cards: Sequence[Detector] | None, over: str) -> list[Detector] | None:
    """The cards over accounts or over campaigns."""
    return None if cards is None else [detector for detector in cards if detector.card.over == over]
