"""The judge of campaigns: fingerprints' evidence, who is behind each one, and what is told of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import Array, names
from siphonwatch.models.campaign.evidence import weigh
from siphonwatch.models.campaign.features import INDEX
from siphonwatch.models.campaign.members import Campaign, as_member
from siphonwatch.models.campaign.row import CAMPAIGN, MAX_CARDS
from siphonwatch.models.campaign.shared import INSIDE, alike, in_words, parts_of
from siphonwatch.models.common.arrays import Parts, as_bytes, below, like, under
from siphonwatch.models.detect import Detector
from siphonwatch.models.detect.indicators import present
from siphonwatch.models.detect.registry import current
from siphonwatch.models.engine.beside import Beside
from siphonwatch.models.engine.engine import Trace, Watcher
from siphonwatch.models.engine.erase import CAMPAIGNS, Erased
from siphonwatch.models.engine.erase import SUSPECTS as SUSPECTED
from siphonwatch.models.engine.fingerprints import FORGET, FingerprintBlock, FingerprintStage
from siphonwatch.models.engine.named import carriers, parts
from siphonwatch.models.engine.patterns import detectors
from siphonwatch.models.engine.vectors import Shared
from siphonwatch.models.engine.vitals import Bound, Tally, Vitals, cards_id, release_e, spent
from siphonwatch.models.evidence.budget import NUMBERED, RELEASED, bar, make_budget
from siphonwatch.models.evidence.cases import MAX_OPEN, CaseBook, Finding
from siphonwatch.models.evidence.places import ERAS, Change, Place, assign, common, seats

MEMBERS = 100_000
"""Accounts remembered of all watched fingerprints together, some 300 bytes each; beyond, those of the largest."""
WATCHED = 1024
"""Fingerprints whose accounts are remembered; of more, those with the most evidence."""
BEYOND = 1.0
"""What all evidence beyond `ENOUGH` adds to a suspicion: campaigns with the more of it rank before others."""
LEAST = 0.85
"""Share of a campaign's suspicion that a member has whose part in it is next to nothing. A bystander's is small, and
members' parts are alike."""
SUSPECTS = 100_000
REFRESH = 6 * 3600.0
"""Event-time seconds between findings on an open campaign, unless it becomes graver or grows."""
JOINED_SOON, JOINED = 900.0, 3600.0
"""Event-time seconds after which new accounts are told: many (`GROWTH` of those named), and any."""
GROWTH = 0.2
ALIKE = 2
"""Parts (client, system prompt, model, parameters, wrapper) that a pool has in common with the one it follows."""
WEIGHED = np.dtype(
    [(name, CAMPAIGN[name]) for name in ("first_seen", "log_e", "bets", "era", "number", "samples")], align=True
)
"""What a shadow keeps of a fingerprint: its evidence, and what a finding says with it."""
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
    chosen
        The cards, in the order of the columns of scores; all installed ones by default.
    shadow
        Whether it judges beside the rows' own judge: it keeps 0.1 KB a fingerprint of its own, and changes no row.
    """

    def __init__(
        self, stage: FingerprintStage, chosen: Sequence[Detector] | None = None, *, shadow: bool = False
    ) -> None:
        config = stage.config
        self.detectors = tuple(detectors("campaign") if chosen is None else chosen)
        self.patterns = tuple(d.pattern for d in self.detectors)
        self._order = sorted(range(len(self.detectors)), key=lambda p: not self.detectors[p].card.narrows)
        """The columns of scores, those of special cases first."""
        self.trace: Watcher | None = None
        self.changes: list[Change] = []
        self._closed: list[Finding] = []  # cases of a card that has changed, until somebody asks for them
        self._reads = np.array([d.card.has_gate("rest", 1) for d in self.detectors])  # others see no plain REST
        self._quiet = [d.card.has_gate("conversation", -1) for d in self.detectors]
        self.budget = make_budget(config.budget, [d.trust for d in self.detectors], self._reads)
        self.cases = CaseBook(config.alpha, config.close_after, config.budget)
        self.kept = _Kept(cards=assign(self._cards, (), MAX_CARDS)[0])
        self.tally = Tally(self.patterns)
        self._stage = stage
        self._config = config
        self._beside = Beside(stage.table, WEIGHED) if shadow else None
        self._threshold = -math.log(config.alpha)
        self._weakest = 0
        self._unwatched = 0

    @property
    def id(self) -> str:
        """8 hexadecimal digits that stand for its cards."""
        return cards_id(self.detectors)

    @property
    def reference_id(self) -> str:
        """Nothing: campaigns are compared with what their cards promise alone."""
        return ""

    @property
    def beside_bytes(self) -> int:
        """Bytes that it keeps beside the rows; 0 for the rows' own judge."""
        return 0 if self._beside is None else self._beside.size

    @property
    def _cards(self) -> list[tuple[str, str]]:
        return [(detector.pattern, detector.id) for detector in self.detectors]

    def judge(self, block: FingerprintBlock) -> list[Finding]:
        """Take a block's features into the fingerprints' evidence; return what came of it."""
        m, which, now, sure, proper = len(block.slots), block.which, block.now, block.sure, block.proper
        scores = np.stack([detector.score(block.values) for detector in self.detectors], axis=1)
        if block.weight is not None:
            scores *= block.weight[:, None]
        scores[(block.requests["rest"][which] == 1)[:, None] != self._reads] = 0.0
        self.tally.add(scores, proper)
        log_e, since, number = np.full(scores.shape, np.nan), np.zeros(m), np.zeros(m, np.int64)
        samples = np.zeros((m, 2, block.rows.dtype["samples"].shape[1]), np.uint64)
        weigh(
            self._weighed(block), block.slots, which, block.requests, proper, scores, self._levels,
            seats(self.kept.cards, self.patterns), self.budget, log_e, since, samples, number,
        )  # fmt: skip
        if self.trace is not None:
            place = block.start + which
            offsets, taken = block.offsets[which], block.slots >= 0
            self.trace(Trace(offsets, place, taken, block.values, scores, log_e.astype(np.float32), block.slots))
        findings: list[Finding] = []
        asks = proper & (scores > 0).any(axis=1)
        hits = np.flatnonzero(asks)
        until = _latest(sure, hits)
        looked = np.flatnonzero(asks | block.talks(self.kept.campaigns.keys() | set(block.edge[hits].tolist())))
        accounts = names(block.requests["account"][which[looked]])
        users, returns = block.requests["user"][which[looked]].tolist(), block.returns(looked).tolist()
        facts = [a[looked].tolist() for a in (asks, until, block.kind, block.edge, block.group, now, log_e, scores)]
        for k, account, user, back, asked, latest, kind, fingerprint, group, time, evidence, shown in zip(
            looked.tolist(), accounts, users, returns, *facts, strict=True
        ):
            member = as_member(account, user) if kind == INSIDE else account
            if not asked:
                if (watched := self.kept.campaigns.get(fingerprint)) is not None:
                    watched.talk(member)
                continue
            findings += self._close_until(latest)
            campaign = self._watch(fingerprint, group, time, max(e for e in evidence if not math.isnan(e)))
            if campaign is None:
                continue
            campaign.begin_anew(bool(block.values[k, INDEX["together"]]))
            if kind == INSIDE:
                campaign.within = account
            campaign.add(member, time, back)
            p = self._column(campaign, evidence, shown, number[k])
            if p is not None and time - campaign.asked >= JOINED_SOON:
                campaign.parts, campaign.quiet = _parts(block, k), self._quiet[p]
            if p is None or not self._is_due(campaign, member, time, evidence[p]):
                continue
            detector, needed = self.detectors[p], self._needed(number[k], p)
            case = self._case_of(campaign)
            self.budget.counts[RELEASED] += not case.named
            explanation = detector.explain(block.values[k], detector.null)
            fitting = campaign.fitting()
            hush = case.hush(case.named, time)
            if hush >= 0 and not all(map(case.names, fitting)):
                case.fell_silent = hush
            if case is campaign:
                campaign.name()
                case.told_log_e = evidence[p]
            else:
                case.take(campaign, fitting)
                case.told_log_e = max(case.told_log_e, evidence[p])
            if case.told < 0:
                case.pattern = detector.pattern
            case.told, members = time, case.all_named()
            self._suspect(campaign, list(campaign.named) if case is campaign else fitting, evidence, shown)
            finding = self.cases.record(
                _name(campaign.lead or fingerprint), case.pattern, time, card=detector.id,
                offset=int(block.offsets[block.which[k]]),
                first_seen=float(since[k]), log_e=evidence[p], score=shown[p], level=detector.null, bar=needed,
                requests_seen=int(block.seen[k]), signals=explanation.signals[:6],
                counterfactual=explanation.counterfactual, samples=[s for s in names(samples[k]) if s],
                indicators=present(detector, block.values[k]),
            )  # fmt: skip
            finding = msgspec.structs.replace(
                finding,
                accounts=case.accounts(members),
                shared=_shared(block, k),
                members=(why := parts(case, members)),
                carriers=carriers(case, why),
                follows=[] if case.within else case.before(),
            )
            findings.append(finding)
            if self._beside is None and (kept := self._stage.vectors) is not None:
                seen = (row[k].astype(np.float32) for row in (block.values, scores, log_e))
                kept.share(Shared(finding.id, finding.offset, account, time, fingerprint, *seen))
        if m:
            findings += self._close_until(float(sure[hits[-1] if len(hits) else 0 :].max()))
        return findings

    def succeeded_by(self, shadow: CampaignJudge) -> tuple[CampaignJudge, CampaignJudge]:
        """Return the judge that goes on from here by a shadow's cards, and this one as a shadow; this one is done.

        Of a card that both have everything goes on. Of one that only the shadow has, its evidence counts from now on.
        Who is behind each fingerprint goes on as this judge knew it, and cases that were told stay, under their ids.
        """
        table = self._stage.table
        used, rows = table.used(), table.rows
        mine = np.zeros(len(used), WEIGHED)
        for name in WEIGHED.names or ():
            mine[name] = rows[name][used]
        previous = CampaignJudge(self._stage, self.detectors, shadow=True)
        previous.restore({**self.snapshot(), **under("beside", {"hash": rows["hash"][used], "judged": mine})})
        new = CampaignJudge(self._stage, shadow.detectors)
        new.kept, new.cases, new.trace = self.kept, self.cases, self.trace
        new.kept.cards, changes, _ = assign(new._cards, self.kept.cards, MAX_CARDS)
        new.budget = new.budget._replace(counts=self.budget.counts)
        slots, judged = (used[:0], mine) if shadow._beside is None else shadow._beside.held()
        for ours, theirs in common({change.pattern for change in changes}, new.kept.cards, shadow.kept.cards):
            current = slots[judged["era"][slots, theirs] == shadow.kept.cards[theirs].era % ERAS]
            for name in ("log_e", "bets"):
                rows[name][current, ours] = judged[name][current, theirs]
            rows["era"][current, ours] = new.kept.cards[ours].era % ERAS
        table.touch(used)
        gone = set(self.patterns) - set(new.patterns)
        new._closed = self._closed + new.cases.drop(gone, self._stage.now)
        for campaign in new.kept.campaigns.values():
            if campaign.pattern in gone:
                campaign.log_e, campaign.told_log_e, campaign.told = 0.0, 0.0, -1.0
        return new, previous

    def _weighed(self, block: FingerprintBlock) -> Array:
        """Where the evidence about fingerprints is, by slot: in their rows, or beside them."""
        if self._beside is None:
            return block.rows
        here = block.slots >= 0
        self._beside.forget(block.slots[here & (block.seen == 1)])  # a fingerprint may come back to its old place
        kept, slots = self._beside.of(block.slots), block.slots[here]
        kept["first_seen"][slots] = block.rows["first_seen"][slots]
        return kept

    @property
    def _levels(self) -> npt.NDArray[np.float64]:
        return np.array([detector.null for detector in self.detectors])

    def _needed(self, number: int, p: int) -> float:
        """Logarithm of the e-value by a card that opens the case of a fingerprint."""
        return max(self._threshold, bar(self.budget, number, p))

    def _column(self, campaign: Campaign, evidence: list[float], scores: list[float], number: int) -> int | None:
        """The card that has something to tell of a fingerprint; None where none has.

        An open case stays that of the card that opened it, also for a fingerprint that joins it. To open one, a card's
        own evidence must suffice; of several cards those of special cases come first.
        """
        case = self._case_of(campaign)
        for p in self._order:
            if case.told >= 0 and self.patterns[p] != case.pattern:
                continue
            needed = self._threshold if campaign.told >= 0 else self._needed(number, p)
            if evidence[p] >= needed and scores[p] > self.detectors[p].null:
                return p
        return None

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

    def _case_of(self, campaign: Campaign) -> Campaign:
        """The campaign that has the case: itself, or the one it joined, while that case is open."""
        lead = self.kept.campaigns.get(campaign.lead)
        if lead is not None and lead.told >= 0 and campaign.told < 0:
            return lead
        campaign.lead = 0
        return campaign

    def _is_due(self, campaign: Campaign, account: str, now: float, log_e: float) -> bool:
        """Whether there is something to tell of a campaign: it opens, grows, becomes graver or still goes on."""
        case = self._case_of(campaign)
        if case.told >= 0:
            graver = _grade(log_e - self._threshold) > _grade(case.told_log_e - self._threshold)
            if (case is campaign and (graver or now - case.told >= REFRESH)) or now - case.told >= 2 * REFRESH:
                return True
            if case.names(account):
                return False
        if now - campaign.asked < JOINED_SOON and campaign.asked >= 0:
            return False
        campaign.asked = now
        fitting = campaign.fitting()
        if case.told < 0:
            campaign.lead = self._lead(campaign, fitting) or self._followed(campaign, fitting, now)
            case = self._case_of(campaign)
            if case.told < 0:
                return not self._is_told(campaign, fitting)
        joined = sum(not case.names(account) for account in fitting)
        if case is campaign and now - case.told >= JOINED:
            return joined > 0
        return joined > GROWTH * len(case.named)

    def _lead(self, campaign: Campaign, fitting: list[str]) -> int:
        """The fingerprint whose open case is about these accounts: it has most of them; 0 for none."""
        common = {
            edge: sum(map(other.names, fitting))
            for edge, other in self.kept.campaigns.items()
            if other is not campaign and other.told >= 0 and other.overlaps(fitting)
        }
        return max(common, key=lambda edge: (common[edge], edge), default=0)

    def _followed(self, campaign: Campaign, fitting: list[str], now: float) -> int:
        """The fingerprint whose pool fell silent when these accounts began, in other ways alike; 0 for none."""
        found = [
            (alike(campaign.parts, other.parts), edge)
            for edge, other in self.kept.campaigns.items()
            if other.told >= 0
            and other.within == campaign.within
            and (hush := other.hush(other.named, now)) >= 0
            and campaign.began_after(fitting, hush)
        ]
        parts, edge = max(found, default=(0, 0))
        return edge if parts >= ALIKE else 0

    def _is_told(self, campaign: Campaign, fitting: list[str]) -> bool:
        """Whether another fingerprint of the same group named its accounts before, but for `GROWTH` of them."""
        for other in self.kept.campaigns.values():
            if other is not campaign and other.named and other.group == campaign.group:
                if sum(not other.names(account) for account in fitting) <= GROWTH * len(fitting):
                    return True
        return False

    def _suspect(self, campaign: Campaign, named: list[str], evidence: list[float], scores: list[float]) -> None:
        """Raise the suspicion of those a fingerprint names to what the card that says most of it makes of it.

        Of equals those come first whose campaign has more evidence, and whose part of it is as large as the others'.
        """
        suspicion = max(
            detector.trust * min(max(e, 0.0), ENOUGH) + score + BEYOND * (1.0 - ENOUGH / max(e, ENOUGH))
            for detector, e, score in zip(self.detectors, evidence, scores, strict=True)
            if not math.isnan(e)
        )
        suspects = self.kept.suspects
        for member, share in campaign.shares(named).items():
            account = campaign.within or member
            suspects[account] = max(suspects.pop(account, 0.0), suspicion * (LEAST + (1.0 - LEAST) * share))
        while len(suspects) > SUSPECTS:
            del suspects[next(iter(suspects))]

    def _close_until(self, now: float) -> list[Finding]:
        """Close the cases that had no evidence for long enough, each with the accounts it named."""
        return [self._ended(finding) for finding in self.cases.close_until(now)]

    def _ended(self, closing: Finding) -> Finding:
        """The closing of a case with the accounts of its campaign, which may open another."""
        campaign = self._campaign(closing)
        campaign.told = campaign.fell_silent = -1.0
        return msgspec.structs.replace(closing, accounts=campaign.accounts(campaign.name()))

    def _named(self, finding: Finding) -> list[str]:
        """The accounts that a case is about."""
        campaign = self._campaign(finding)
        return campaign.accounts(campaign.all_named())

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
                campaign.trim(MEMBERS // (3 * len(campaigns)))

    def _remembered(self) -> int:
        return sum(
            len(campaign.members) + len(campaign.named) + len(campaign.joined)
            for campaign in self.kept.campaigns.values()
        )

    def end(self, spared: Callable[[Collection[str]], bool]) -> list[Finding]:
        """Close the campaigns that were told and are of such accounts alone; return what is to be told of it."""
        ended, self._closed = self._closed, []
        ended += self.cases.end(lambda finding: spared(self._named(finding)), self._stage.now)
        return [self._ended(finding) for finding in ended]

    def mute(self, wanted: Callable[[Finding], bool]) -> list[Finding]:
        """Withhold the wanted campaigns that were told; return what tells their end. They stay open."""
        muted = self.cases.mute(lambda finding: wanted(self._as_told(finding)), self._stage.now)
        return [self._as_told(finding) for finding in muted]

    def _as_told(self, finding: Finding) -> Finding:
        """A finding with the accounts that its campaign has named, instead of its fingerprint."""
        return msgspec.structs.replace(finding, accounts=self._named(finding))

    def erase(self, accounts: Collection[str], *, remove: bool = True) -> Erased:
        """Remove some accounts from the campaigns that remember them, or only count those; the cases go on."""
        wanted = set(accounts)
        holding = [
            c for c in self.kept.campaigns.values() if c.within in wanted or not wanted.isdisjoint(c.remembered())
        ]
        suspects = wanted & self.kept.suspects.keys()
        if remove:
            for campaign in holding:
                campaign.erase(wanted)
            for account in suspects:
                del self.kept.suspects[account]
        return Erased({CAMPAIGNS: len(holding), SUSPECTED: len(suspects)})

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
            **under("beside", self._beside.snapshot() if self._beside else {}),
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
        known.cards, changes, _ = assign(self._cards, known.cards, MAX_CARDS)
        if self._beside is not None:
            self._beside.restore(below("beside", parts))
        self.kept, self.cases = known, book
        self.budget, self.changes = self.budget._replace(counts=counts), changes
        others = {change.pattern for change in changes} | {place.pattern for place in known.cards if place.away}
        for campaign in known.campaigns.values():
            campaign.pattern = current(campaign.pattern)
            if campaign.pattern in others:
                campaign.log_e, campaign.told_log_e, campaign.told = 0.0, 0.0, -1.0
        dropped = book.drop(others, self._stage.now)
        self._closed = [finding for finding in dropped if finding.pattern in self.patterns]


def _parts(block: FingerprintBlock, k: int) -> dict[str, int]:
    """What the fingerprint of an entry pins."""
    return parts_of(block.requests[block.which[k]], float(block.values[k, INDEX["top_template"]]))


def _shared(block: FingerprintBlock, k: int) -> list[str]:
    """What the requests of the fingerprint of an entry share, in words."""
    share = float(block.values[k, INDEX["top_template"]])
    return in_words(block.requests[block.which[k]], int(block.kind[k]), share)


def _name(edge: int) -> str:
    """A fingerprint as cases are keyed by it."""
    return f"{edge:016x}"


def _latest(now: npt.NDArray[np.float64], hits: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The latest event time from each hit's predecessor to itself, as the clock may have been set back in between."""
    latest = np.full(len(now), -np.inf)
    if len(hits):
        before = np.concatenate([[0], hits[:-1]])
        latest[hits] = np.maximum(np.maximum.reduceat(now[: hits[-1] + 1], before), now[hits])
    return latest


def _grade(beyond: float) -> int:
    """How many steps of `GRAVER` evidence has taken that is so far beyond the threshold, natural logarithms."""
    return sum(beyond >= step for step in GRAVER)
