"""The coordinator of one partition of sightings: requests of many accounts in, findings about campaigns out.

It has a scorer's shape (`score`, `table`, `dump`, `load`), so a worker's partition, checkpoint and restore serve it
too. Sightings are taken strictly in order, and no result depends on how they are cut into batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.clock import make_clock, settled
from siphonwatch.models.account.request import Array, names
from siphonwatch.models.account.table import AccountTable
from siphonwatch.models.campaign.edges import EDGES, fingerprints
from siphonwatch.models.campaign.evidence import weigh
from siphonwatch.models.campaign.features import WIDTH
from siphonwatch.models.campaign.members import Campaign
from siphonwatch.models.campaign.row import CAMPAIGN, as_accounts
from siphonwatch.models.campaign.windows import observe_all
from siphonwatch.models.common.arrays import pack, unpack
from siphonwatch.models.detect import CardError, Detector
from siphonwatch.models.engine.patterns import detectors
from siphonwatch.models.engine.scorer import ScorerConfig
from siphonwatch.models.engine.vitals import Bound, Tally, Vitals, cards_id, release_e, spent
from siphonwatch.models.evidence.budget import NUMBERED, RELEASED, bar, make_budget
from siphonwatch.models.evidence.cases import MAX_OPEN, CaseBook, Finding
from siphonwatch.models.evidence.places import ERAS, Change, Place, assign

BLOCK = 512
PRUNE_BLOCKS = 128
"""Blocks between two looks for what may be forgotten."""
FORGET = 5 * 86_400.0
"""Event-time seconds after which an idle fingerprint is forgotten: its windows have faded by then."""
FINGERPRINTS = 200_000
"""Fingerprints that have a row, 2 KB each; beyond, the longest idle ones are forgotten."""
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
FORMAT = 3


class _Kept(msgspec.Struct):
    """What is kept beside the rows."""

    format: int = FORMAT
    requests: int = 0
    skipped: int = 0
    cards: list[Place] = []
    campaigns: dict[int, Campaign] = {}
    suspects: dict[str, float] = {}


class Coordinator:
    """Fingerprints, their evidence and their cases.

    Parameters
    ----------
    config
        The operator's choices, the scorer's own.
    most
        Fingerprints that may have a row.

    Examples
    --------
    >>> from siphonwatch.models.account.request import blank
    >>> coordinator = Coordinator(ScorerConfig())
    >>> request = blank()
    >>> request["template"], request["turns"], request["agent"] = 1, 1, 2
    >>> coordinator.score(request, np.array([0])), len(coordinator.table)
    ([], 1)
    """

    def __init__(self, config: ScorerConfig, most: int = FINGERPRINTS) -> None:
        self.config = config
        self.relay = _only(detectors("campaign"))
        self.second_stage = None
        self.table = AccountTable()
        self.table.reserve(most + EDGES * 2 * BLOCK)  # a block's new ones are counted at its end
        self._most = most
        self._forgotten = 0  # fingerprints that had to go because there were too many
        self.clock = make_clock()
        self.budget = make_budget(config.budget, [1.0])
        self.cases = CaseBook(config.alpha, config.close_after, config.budget)
        self.kept = _Kept(cards=assign([self._card], (), 1)[0])
        self.changes: list[Change] = []
        """The card, where it was another when the state that was loaded last was written."""
        self._closed: list[Finding] = []  # cases of such a card, until somebody asks for them
        self.patterns = (self.relay.pattern,)
        """Names of the patterns it finds."""
        self.tally = Tally(self.patterns)
        """How the fingerprints since it was last taken have scored."""
        self._threshold = -math.log(config.alpha)
        self._weakest = 0
        self._unwatched = 0

    def end(self, spared: Callable[[Collection[str]], bool]) -> list[Finding]:
        """Close the campaigns that were told and are of such accounts alone; return what is to be told of it."""
        ended, self._closed = self._closed, []
        ended += self.cases.end(lambda finding: spared(self._campaign(finding).named), self.now)
        return [self._ended(finding) for finding in ended]

    @property
    def now(self) -> float:
        """The partition's event time that no single account can have brought about, seconds since 1970."""
        return float(settled(self.clock[0], self.config.max_ahead))

    @property
    def late(self) -> int:
        """Sightings that came later than the grace; they were counted all the same."""
        return int(self.clock["late"][0])

    @property
    def refused(self) -> int:
        """Sightings that count nowhere: none."""
        return 0

    @property
    def ahead(self) -> int:
        """Sightings further ahead of the clock than one may be."""
        return int(self.clock["ahead"][0])

    def vitals(self) -> Vitals:
        """Return how its detection stands."""
        return Vitals(spent(int(self.budget.counts[NUMBERED])), release_e(self.budget, self.patterns, self._threshold))

    @property
    def identity(self) -> tuple[str, str]:
        """What its state rests on: the state's format, and its card."""
        return str(FORMAT), cards_id([self.relay])

    @property
    def _card(self) -> tuple[str, str]:
        return self.relay.pattern, self.relay.id

    def score(
        self, requests: Array, offsets: npt.NDArray[np.int64], arrived: npt.NDArray[np.float64] | None = None
    ) -> list[Finding]:
        """Take sightings, `(n,) REQUEST`, with their increasing offsets, `(n,) int64`; return what came of them.

        `arrived`, `(n,)` seconds, is when the broker had each one, where that is known.
        """
        if arrived is None:
            arrived = np.full(len(requests), np.inf)
        findings: list[Finding] = []
        start = 0
        while start < len(requests):
            room = BLOCK - self.kept.requests % BLOCK
            end = min(start + room, len(requests))
            before, skipped = self.kept.requests, self.kept.skipped
            findings += self._block(requests[start:end], offsets[start:end], arrived[start:end])
            self.kept.requests += end - start - (self.kept.skipped - skipped)
            if self.kept.requests // BLOCK > before // BLOCK:
                if self.kept.requests // BLOCK % PRUNE_BLOCKS == 0 or len(self.table) > self._most:
                    self._prune()
                self._trim()
            start = end
        return findings

    def _block(
        self, requests: Array, offsets: npt.NDArray[np.int64], arrived: npt.NDArray[np.float64]
    ) -> list[Finding]:
        group, edges = fingerprints(requests)
        places = np.flatnonzero(edges)
        edge, which = edges.ravel()[places], places // EDGES
        slots = self.table.locate(as_accounts(edge))
        m = len(slots)
        values = np.zeros((m, WIDTH), np.float32)
        now, sure, log_e, since = np.zeros(m), np.zeros(m), np.zeros(m), np.zeros(m)
        proper, seen, number = np.zeros(m, np.bool_), np.zeros(m, np.int64), np.zeros(m, np.int64)
        rows = self.table.rows.view(CAMPAIGN)
        self.kept.skipped += observe_all(
            rows, slots, which, requests, offsets, arrived, self.clock, self.config.grace, self.config.max_ahead,
            values, now, sure, proper, seen,
        )  # fmt: skip
        scores = self.relay.score(values)
        self.tally.add(scores[:, None], proper)
        samples = np.zeros((m, 2, rows.dtype["samples"].shape[1]), np.uint64)
        weigh(
            rows, slots, which, requests, proper, scores, self.relay.null, self.kept.cards[0].era % ERAS, self.budget,
            log_e, since, samples, number,
        )  # fmt: skip
        findings: list[Finding] = []
        hits = np.flatnonzero(proper & (scores > 0))
        latest = _latest(sure, hits)
        accounts = names(requests["account"][which[hits]])
        facts = [array[hits].tolist() for array in (edge, group[which], now, log_e, scores)]
        for k, until, account, fingerprint, group_of, time, evidence, score in zip(
            hits.tolist(), latest.tolist(), accounts, *facts, strict=True
        ):
            findings += self._close_until(until)
            campaign = self._watch(fingerprint, group_of, time, evidence)
            if campaign is None:
                continue
            campaign.add(account, time)
            if evidence < self._threshold or score <= self.relay.null:
                continue
            needed = max(self._threshold, bar(self.budget, number[k], 0))
            if not self._is_due(campaign, account, time, evidence, needed):
                continue
            self.budget.counts[RELEASED] += not campaign.named
            explanation = self.relay.explain(values[k], self.relay.null)
            members = campaign.name()
            campaign.told, campaign.told_log_e = time, evidence
            self._suspect(campaign, evidence, score)
            finding = self.cases.record(
                _name(fingerprint), self.relay.pattern, time, card=self.relay.id,
                first_seen=float(since[k]), log_e=evidence, score=score, level=self.relay.null, bar=needed,
                requests_seen=int(seen[k]), signals=explanation.signals[:6],
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
        """Whether most of its accounts are named already by another fingerprint of the same group."""
        fitting = campaign.fitting()
        for other in self.kept.campaigns.values():
            if other is not campaign and other.named and other.group == campaign.group:
                if 2 * sum(account in other.named for account in fitting) >= len(fitting):
                    return True
        return False

    def _suspect(self, campaign: Campaign, log_e: float, score: float) -> None:
        """Raise the suspicion of all that a campaign names."""
        suspicion = self.relay.trust * min(max(log_e, 0.0), ENOUGH) + score
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

    def _prune(self) -> None:
        """Forget what is idle, and of more rows than there may be those that are idle longest."""
        used = self.table.used()
        last = self.table.rows["last_time"][used]
        gone = last < self.now - FORGET
        if len(used) > self._most:
            before = int(gone.sum())
            gone[np.argsort(last, kind="stable")[: len(used) - self._most * 9 // 10]] = True
            self._forgotten += int(gone.sum()) - before
        if gone.any():
            self.table.free(used[gone])
            self.table.shrink()
        idle = [edge for edge, c in self.kept.campaigns.items() if c.told < 0 and c.last < self.now - FORGET]
        for edge in idle:
            del self.kept.campaigns[edge]

    def _trim(self) -> None:
        """See that all campaigns together remember no more accounts than there may be."""
        campaigns = self.kept.campaigns.values()
        if sum(len(campaign.members) + len(campaign.named) for campaign in campaigns) > MEMBERS:
            for campaign in campaigns:
                campaign.trim(MEMBERS // (2 * len(campaigns)))

    def bounds(self) -> list[Bound]:
        """Return what memory is bounded by."""
        campaigns = self.kept.campaigns.values()
        remembered = sum(len(campaign.members) + len(campaign.named) for campaign in campaigns)
        return [
            Bound("fingerprints", len(self.table), self._most, self._forgotten),
            Bound("watched_fingerprints", len(campaigns), WATCHED, self._unwatched),
            Bound("campaign_accounts", remembered, MEMBERS),
            Bound("suspects", len(self.kept.suspects), SUSPECTS),
            Bound("open_cases", len(self.cases), MAX_OPEN, self.cases.crowded_out),
        ]

    def suspicion(self) -> dict[str, float]:
        """Return the highest suspicion that a campaign brought each account it named."""
        return dict(self.kept.suspects)

    def dump(self) -> bytes:
        """Serialise everything but the rows."""
        return pack(
            {
                "kept": msgspec.msgpack.encode(self.kept),
                "clock": self.clock,
                "budget": self.budget.counts,
                "cases": self.cases.dump(),
            }
        )

    def load(self, data: bytes) -> None:
        """Take over what `dump` wrote.

        Raises
        ------
        ValueError
            Where it is of another format or does not fit this version.
        """
        parts = unpack(data)
        try:
            kept, cases = parts["kept"], parts["cases"]
            if not isinstance(kept, bytes) or not isinstance(cases, bytes):
                raise ValueError("the coordinator's state does not fit this version: a part is an array, not bytes")
            known = msgspec.msgpack.decode(kept, type=_Kept)
            if known.format != FORMAT:
                raise ValueError(f"the coordinator's state has format {known.format}, this version reads {FORMAT}")
            clock, counts = _like(parts["clock"], self.clock), _like(parts["budget"], self.budget.counts)
            book = CaseBook(self.config.alpha, self.config.close_after, self.config.budget)
            book.load(cases)
            known.cards, changes, _ = assign([self._card], known.cards, 1)
        except (KeyError, msgspec.DecodeError) as error:
            raise ValueError(f"the coordinator's state does not fit this version: {error}") from None
        self.kept, self.clock, self.cases = known, clock, book
        self.budget, self.changes = self.budget._replace(counts=counts), changes
        if changes:
            for campaign in known.campaigns.values():
                campaign.log_e, campaign.told_log_e, campaign.told = 0.0, 0.0, -1.0
            self._closed = book.drop({finding.pattern for finding in book.standing()}, self.now)


def _only(found: Sequence[Detector]) -> Detector:
    """The one card that a fingerprint's row has evidence of."""
    if len(found) != 1:
        names = ", ".join(detector.pattern for detector in found) or "none"
        raise CardError(f"a fingerprint's row holds the evidence of one card over campaigns; installed: {names}")
    return found[0]


def _like(part: npt.NDArray[np.generic] | bytes, expected: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A part that is an array like the expected one."""
    if isinstance(part, bytes) or (part.dtype, part.shape) != (expected.dtype, expected.shape):
        raise ValueError(
            f"the coordinator's state does not fit this version: expected {expected.dtype}{expected.shape}"
        )
    return part


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
