"""The judge of campaigns: fingerprints' evidence, who is behind each one, and what is told of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import names
from siphonwatch.models.campaign.evidence import weigh
from siphonwatch.models.campaign.members import NAMED, Campaign
from siphonwatch.models.common.arrays import Parts, as_bytes, below, like, under
from siphonwatch.models.detect import CardError, Detector
from siphonwatch.models.engine.engine import Trace, Watcher
from siphonwatch.models.engine.fingerprints import FORGET, FingerprintBlock, FingerprintStage
from siphonwatch.models.engine.patterns import detectors
from siphonwatch.models.engine.vitals import Bound, Tally, Vitals, cards_id, release_e, spent
from siphonwatch.models.evidence.budget import NUMBERED, RELEASED, bar, make_budget
from siphonwatch.models.evidence.cases import MAX_OPEN, CaseBook, Finding
from siphonwatch.models.evidence.places import ERAS, Change, Place, assign

MEMBERS = 100_000
"""Accounts remembered of all watched fingerprints together, some 300 bytes each; beyond, those of the largest."""
WATCHED = 1024
"""Fingerprints whose accounts are remembered; of more, those with the most evidence."""
SUSPECTS = 100_000
REFRESH = 6 * 3600.0
"""Event-time seconds between findings on an open campaign, unless it becomes graver or grows."""
JOINED_SOON, JOINED = 900.0, 3600.0
"""Event-time seconds after which new accounts are told: many (`GROWTH` of those named), and any."""
GROWTH = 0.2
GRAVER = (0.0, 6.0, 16.0)
"""Natural logarithms beyond the threshold at which a campaign is told of again."""
ENOUGH = 20.0
"""Logarithm of an e-value beyond which more of it makes no account more suspicious."""


class _Kept(msgspec.Struct):
    """What is kept beside the rows."""

    cards: list[Place] = []
    campaigns: dict[int, Campaign] = {}
    suspects: dict[str, float] = {}


class CampaignJudge:
    """Evidence and cases about fingerprints.

    Parameters
    ----------
    stage
        Whose features it reads.
    """

    second_stage = None
    """No model looks closer at campaigns."""

    def __init__(self, stage: FingerprintStage) -> None:
        config = stage.config
        self.card = _only(detectors("campaign"))
        self.patterns: tuple[str, ...] = (self.card.pattern,)
        self.trace: Watcher | None = None
        self.changes: list[Change] = []
        self._closed: list[Finding] = []  # cases of a card that has changed, until somebody asks for them
        self.budget = make_budget(config.budget, [1.0])
        self.cases = CaseBook(config.alpha, config.close_after, config.budget)
        self.kept = _Kept(cards=assign([self._card], (), 1)[0])
        self.tally = Tally(self.patterns)
        self._stage = stage
        self._config = config
        self._threshold = -math.log(config.alpha)
        self._weakest = 0
        self._unwatched = 0

    @property
    def id(self) -> str:
        """8 hexadecimal digits that stand for its card."""
        return cards_id([self.card])

    @property
    def _card(self) -> tuple[str, str]:
        return self.card.pattern, self.card.id

    def judge(self, block: FingerprintBlock) -> list[Finding]:
        """Take a block's features into the fingerprints' evidence; return what came of it."""
        m, which, now, sure, proper = len(block.slots), block.which, block.now, block.sure, block.proper
        scores = self.card.score(block.values)
        self.tally.add(scores[:, None], proper)
        log_e, since, number = np.full(m, np.nan), np.zeros(m), np.zeros(m, np.int64)
        samples = np.zeros((m, 2, block.rows.dtype["samples"].shape[1]), np.uint64)
        weigh(
            block.rows, block.slots, which, block.requests, proper, scores, self.card.null,
            self.kept.cards[0].era % ERAS, self.budget, log_e, since, samples, number,
        )  # fmt: skip
        if self.trace is not None:
            place = block.start + which
            offsets, taken = block.offsets[which], block.slots >= 0
            self.trace(Trace(offsets, place, taken, block.values, scores[:, None], log_e.astype(np.float32)[:, None]))
        findings: list[Finding] = []
        hits = np.flatnonzero(proper & (scores > 0))
        latest = _latest(sure, hits)
        accounts = names(block.requests["account"][which[hits]])
        facts = [array[hits].tolist() for array in (block.edge, block.group, now, log_e, scores)]
        for k, until, account, fingerprint, group, time, evidence, score in zip(
            hits.tolist(), latest.tolist(), accounts, *facts, strict=True
        ):
            findings += self._close_until(until)
            campaign = self._watch(fingerprint, group, time, evidence)
            if campaign is None:
                continue
            campaign.add(account, time)
            if evidence < self._threshold or score <= self.card.null:
                continue
            needed = max(self._threshold, bar(self.budget, number[k], 0))
            if not self._is_due(campaign, account, time, evidence, needed):
                continue
            self.budget.counts[RELEASED] += not campaign.named
            explanation = self.card.explain(block.values[k], self.card.null)
            members = campaign.name()
            campaign.told, campaign.told_log_e = time, evidence
            self._suspect(campaign, evidence, score)
            finding = self.cases.record(
                _name(fingerprint), self.card.pattern, time, card=self.card.id,
                first_seen=float(since[k]), log_e=evidence, score=score, level=self.card.null, bar=needed,
                requests_seen=int(block.seen[k]), signals=explanation.signals[:6],
                counterfactual=explanation.counterfactual, samples=[s for s in names(samples[k]) if s],
            )  # fmt: skip
            findings.append(msgspec.structs.replace(finding, accounts=members))
        if m:
            findings += self._close_until(float(sure[hits[-1] if len(hits) else 0 :].max()))
        return findings

    def _watch(self, edge: int, group: int, now: float, log_e: float) -> Campaign | None:
        """The campaign of a fingerprint, watched from now on; None where too many are that have more evidence."""
        campaigns = self.kept.campaigns
        campaign = campaigns.get(edge)
        if campaign is None:
            if len(campaigns) >= WATCHED:
                self._unwatched += 1
                weakest = campaigns.get(self._weakest)
                if weakest is None or weakest.strength(now) >= log_e:
                    self._weakest = min(campaigns, key=lambda name: campaigns[name].strength(now))
                    weakest = campaigns[self._weakest]
                if weakest.strength(now) >= log_e:
                    return None
                del campaigns[self._weakest]
            campaign = campaigns[edge] = Campaign(group, now)
        campaign.log_e = log_e
        return campaign

    def _is_due(self, campaign: Campaign, account: str, now: float, log_e: float, needed: float) -> bool:
        """Whether there is something to tell of a campaign: it opens, grows, becomes graver or still goes on."""
        if campaign.told >= 0:
            graver = _grade(log_e - self._threshold) > _grade(campaign.told_log_e - self._threshold)
            if graver or now - campaign.told >= REFRESH:
                return True
            if account in campaign.named:
                return False
        elif log_e < needed:
            return False
        if now - campaign.asked < JOINED_SOON and campaign.asked >= 0:
            return False
        campaign.asked = now
        if campaign.told < 0:
            return not self._is_told(campaign)
        joined = sum(account not in campaign.named for account in campaign.fitting())
        return joined > 0 if now - campaign.told >= JOINED else joined > GROWTH * len(campaign.named)

    def _is_told(self, campaign: Campaign) -> bool:
        """Whether another fingerprint of the same group names its accounts already, but for `GROWTH` of them."""
        fitting = campaign.fitting()
        for other in self.kept.campaigns.values():
            if other is not campaign and other.named and other.group == campaign.group:
                if sum(account not in other.named for account in fitting) <= GROWTH * len(fitting):
                    return True
        return False

    def _suspect(self, campaign: Campaign, log_e: float, score: float) -> None:
        """Raise the suspicion of all that a campaign names."""
        suspicion = self.card.trust * min(max(log_e, 0.0), ENOUGH) + score
        suspects = self.kept.suspects
        for account in campaign.named:
            suspects[account] = max(suspects.pop(account, 0.0), suspicion)
        while len(suspects) > SUSPECTS:
            del suspects[next(iter(suspects))]

    def _close_until(self, now: float) -> list[Finding]:
        """Close the cases that had no evidence for long enough, each with the accounts it named."""
        return [self._ended(finding) for finding in self.cases.close_until(now)]

    def _ended(self, closing: Finding) -> Finding:
        """The closing of a case with the accounts of its campaign, which may open another."""
        campaign = self._campaign(closing)
        campaign.told = -1.0
        return msgspec.structs.replace(closing, accounts=campaign.name())

    def _campaign(self, finding: Finding) -> Campaign:
        return self.kept.campaigns[int(finding.accounts[0], 16)]

    def tidy(self, looked: bool) -> None:
        """Forget the campaigns that are idle, and see that all together remember no more accounts than there may be."""
        campaigns = self.kept.campaigns
        if looked:
            before = self._stage.now - FORGET
            for edge in [edge for edge, c in campaigns.items() if c.told < 0 and c.last < before]:
                del campaigns[edge]
        if self._remembered() > MEMBERS:
            for campaign in campaigns.values():
                campaign.trim(MEMBERS // (2 * len(campaigns)))

    def _remembered(self) -> int:
        return sum(len(campaign.members) + len(campaign.named) for campaign in self.kept.campaigns.values())

    def end(self, spared: Callable[[Collection[str]], bool]) -> list[Finding]:
        """Close the campaigns that were told and are of such accounts alone; return what is to be told of it."""
        ended, self._closed = self._closed, []
        ended += self.cases.end(lambda finding: spared(self._campaign(finding).named), self._stage.now)
        return [self._ended(finding) for finding in ended]

    def mute(self, wanted: Callable[[Finding], bool]) -> list[Finding]:
        """Withhold the wanted campaigns that were told; return what tells their end. They stay open."""
        muted = self.cases.mute(lambda finding: wanted(self._as_told(finding)), self._stage.now)
        return [self._as_told(finding) for finding in muted]

    def _as_told(self, finding: Finding) -> Finding:
        """A finding with the accounts that its campaign has named, instead of its fingerprint."""
        return msgspec.structs.replace(finding, accounts=list(self._campaign(finding).named)[-NAMED:])

    def bounds(self) -> list[Bound]:
        """Return what its memory is bounded by."""
        return [
            Bound("watched_fingerprints", len(self.kept.campaigns), WATCHED, self._unwatched),
            Bound("campaign_accounts", self._remembered(), MEMBERS),
            Bound("suspects", len(self.kept.suspects), SUSPECTS),
            Bound("open_cases", len(self.cases), MAX_OPEN, self.cases.crowded_out),
        ]

    def suspicion(self) -> dict[str, float]:
        """Return the highest suspicion that a campaign brought each account it named."""
        return dict(self.kept.suspects)

    def vitals(self) -> Vitals:
        """Return how its detection stands."""
        return Vitals(spent(int(self.budget.counts[NUMBERED])), release_e(self.budget, self.patterns, self._threshold))

    def snapshot(self) -> dict[str, npt.NDArray[Any] | bytes]:
        """Copy what it keeps beside the rows."""
        return {
            "kept": msgspec.msgpack.encode(self.kept),
            "budget": self.budget.counts.copy(),
            **under("cases", self.cases.snapshot()),
        }

    def restore(self, parts: Parts) -> None:
        """Take over a snapshot, whole or not at all.

        Raises
        ------
        ValueError
            Where it does not fit this version.
        """
        known = msgspec.msgpack.decode(as_bytes(parts, "kept"), type=_Kept)
        counts = like(parts, "budget", self.budget.counts)
        book = CaseBook(self._config.alpha, self._config.close_after, self._config.budget)
        book.restore(below("cases", parts))
        known.cards, changes, _ = assign([self._card], known.cards, 1)
        self.kept, self.cases = known, book
        self.budget, self.changes = self.budget._replace(counts=counts), changes
        if changes:
            for campaign in known.campaigns.values():
                campaign.log_e, campaign.told_log_e, campaign.told = 0.0, 0.0, -1.0
            self._closed = book.drop({finding.pattern for finding in book.standing()}, self._stage.now)


def _only(found: Sequence[Detector]) -> Detector:
    """The one card that a fingerprint's row has evidence of."""
    if len(found) != 1:
        names = ", ".join(detector.pattern for detector in found) or "none"
        raise CardError(f"a fingerprint's row holds the evidence of one card over campaigns; installed: {names}")
    return found[0]


def _name(edge: int) -> str:
    """A fingerprint as cases are keyed by it."""
    return f"{edge:016x}"


def _latest(now: npt.NDArray[np.float64], hits: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The latest event time from each hit's predecessor to itself, as the clock may have been set back in between."""
    if not len(hits):
        return np.zeros(0)
    before = np.concatenate([[0], hits[:-1]])
    return np.maximum(np.maximum.reduceat(now[: hits[-1] + 1], before), now[hits])


def _grade(beyond: float) -> int:
    """How many steps of `GRAVER` evidence has taken that is so far beyond the threshold, natural logarithms."""
    return sum(beyond >= step for step in GRAVER)
