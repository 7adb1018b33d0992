"""A judge of accounts: some cards, what their scores are worth as evidence, a budget of false alarms, and cases."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.carriers import carriers
from siphonwatch.models.account.request import Array, names
from siphonwatch.models.account.row import JUDGED, MAX_PATTERNS
from siphonwatch.models.common.arrays import Parts, as_bytes, below, like, under
from siphonwatch.models.detect import Detector
from siphonwatch.models.detect.indicators import present
from siphonwatch.models.engine.beside import Beside
from siphonwatch.models.engine.engine import BLOCK, Trace, Watcher
from siphonwatch.models.engine.erase import CASES, Erased
from siphonwatch.models.engine.patterns import detectors
from siphonwatch.models.engine.population import cohorts
from siphonwatch.models.engine.stage import AccountBlock, AccountStage
from siphonwatch.models.engine.vitals import (
    Bound,
    Tally,
    Vitals,
    cards_id,
    drift,
    held,
    reference_hours,
    release_e,
    spent,
)
from siphonwatch.models.evidence.budget import NUMBERED, bar, make_budget
from siphonwatch.models.evidence.calibration import Reference, adopt, digest, make_reference, restore, snapshot
from siphonwatch.models.evidence.cases import MAX_OPEN, CaseBook, Finding
from siphonwatch.models.evidence.places import ERAS, Change, Place, assign, common, seats
from siphonwatch.models.evidence.process import EVENT, weigh


class AccountJudge:
    """Evidence and cases about accounts, by some cards.

    Parameters
    ----------
    stage
        Whose features it reads.
    chosen
        The cards, in the order of the columns of scores; all installed ones by default.
    shadow
        Whether it judges beside the rows' own judge: it keeps 0.5 KB an account of its own, and changes no row.
    """

    def __init__(
        self,
        stage: AccountStage,
        chosen: Sequence[Detector] | None = None,
        *,
        shadow: bool = False,
    ) -> None:
        config = stage.config
        self.detectors = tuple(detectors() if chosen is None else chosen)
        self.patterns = tuple(d.pattern for d in self.detectors)
        self.trace: Watcher | None = None
        self.places, _, _ = assign(self._cards, (), MAX_PATTERNS)
        """Which card has which place in the evidence and in the reference."""
        self.changes: list[Change] = []
        self._ended: list[Finding] = []  # cases of cards that have changed, until somebody asks for them
        self.reference = self._make_reference(self.places)
        self.budget = make_budget(config.budget, [d.trust for d in self.detectors])
        self.cases = CaseBook(config.alpha, config.close_after, config.budget)
        self.tally = Tally(self.patterns)
        self._stage = stage
        self._config = config
        self._threshold = -math.log(config.alpha)
        self._beside = Beside(stage.table, JUDGED) if shadow else None
        self._trust = np.array([d.trust for d in self.detectors])
        self._scores = np.zeros((BLOCK, len(self.detectors)), np.float32)
        self._log_e = np.zeros((BLOCK, len(self.detectors)), np.float32)
        self._events = np.zeros(BLOCK * MAX_PATTERNS, EVENT)

    @property
    def id(self) -> str:
        """8 hexadecimal digits that stand for its cards."""
        return cards_id(self.detectors)

    @property
    def reference_id(self) -> str:
        """16 hexadecimal digits that stand for what it has learnt of ordinary account-hours; 0.2 ms."""
        return digest(self.reference)

    @property
    def beside_bytes(self) -> int:
        """Bytes that it keeps beside the rows; 0 for the rows' own judge."""
        return 0 if self._beside is None else self._beside.size

    @property
    def _cards(self) -> list[tuple[str, str]]:
        return [(detector.pattern, detector.id) for detector in self.detectors]

    def _make_reference(self, places: Sequence[Place]) -> Reference:
        return make_reference(
            [d.null for d in self.detectors], [d.trust for d in self.detectors], seats(places, self.patterns)
        )

    def judge(self, block: AccountBlock) -> list[Finding]:
        """Take a block's features into the accounts' evidence; return what came of it."""
        n, slots = len(block.slots), block.slots
        scores, log_e = self._scores[:n], self._log_e[:n]
        for p, detector in enumerate(self.detectors):
            scores[:, p] = detector.score(block.values)
        taken = slots >= 0
        self.tally.add(scores, taken)
        judged = self._stage.table.rows["judged"] if self._beside is None else self._beside.of(slots)
        written = weigh(
            judged, slots, block.requests, scores, block.now, block.sure, block.fresh, self.reference, self.budget,
            block.number, self._threshold, self._config.close_after, self._trust, log_e, self._events,
        )  # fmt: skip
        if self._beside is None:
            closed = block.fresh & taken & (block.seen > 1)
            self._stage.population.take(block.requests, closed, block.sure, block.values)
            if (kept := self._stage.vectors) is not None:
                kept.take(
                    block.requests, block.offsets, block.now, closed, block.values, scores, log_e,
                    self._events["index"][:written],
                )  # fmt: skip
        if self.trace is not None:
            which = np.arange(block.start, block.start + n)
            self.trace(Trace(block.offsets, which, taken, block.values, scores, log_e, slots))
        return self._tell(self._events[:written], block)

    def succeeded_by(self, shadow: AccountJudge) -> tuple[AccountJudge, AccountJudge]:
        """Return the judge that goes on from here by a shadow's cards, and this one as a shadow; this one is done.

        Of a card that both have everything goes on. Of one that only the shadow has, its evidence and its reference
        count from now on, and its open cases are added, untold; accounts that are not in memory begin anew with it.
        Cases that were told stay, under their ids. The budget and the accounts' numbers in it go on.
        """
        table = self._stage.table
        used, rows = table.used(), table.rows
        previous = AccountJudge(self._stage, self.detectors, shadow=True)
        beside = {"hash": rows["hash"][used], "judged": rows["judged"][used]}
        previous.restore({**self.snapshot(), **under("beside", beside)})
        new = AccountJudge(self._stage, shadow.detectors)
        new.places, changes, anew = assign(new._cards, self.places, MAX_PATTERNS)
        new.reference = restore(new._make_reference(new.places), snapshot(self.reference), anew)
        new.budget = new.budget._replace(counts=self.budget.counts)
        new.cases, new.trace = self.cases, self.trace
        changed = {change.pattern for change in changes}
        pairs = common(changed, new.places, shadow.places)
        adopt(new.reference, shadow.reference, pairs)
        slots, judged = shadow._held()
        for ours, theirs in pairs:
            evidence = judged["evidence"][slots, theirs]
            current = evidence["era"] == shadow.places[theirs].era % ERAS
            evidence["era"] = new.places[ours].era % ERAS
            rows["judged"]["evidence"][slots[current], ours] = evidence[current]
        table.touch(used)
        new._ended = self._ended + new.cases.drop(set(self.patterns) - set(new.patterns), self._stage.now)
        new.cases.adopt(shadow.cases, changed)
        return new, previous

    def needed(self, slot: int, column: int) -> float:
        """Return the logarithm of the e-value that opens a case of the account in a slot by one of the cards now."""
        judged = self._stage.table.rows["judged"] if self._beside is None else self._beside.of(np.array([slot]))
        return max(self._threshold, bar(self.budget, int(judged["number"][slot]), column))

    def _tell(self, events: Array, block: AccountBlock) -> list[Finding]:
        findings: list[Finding] = []
        sure, told = block.sure, 0
        for event in events:
            i, p = int(event["index"]), int(event["pattern"])
            row, detector = self._stage.table.rows[event["slot"]], self.detectors[p]
            findings += self.cases.close_until(float(sure[told : i + 1].max()))  # the clock may have been set back
            told = i
            explanation = detector.explain(block.values[i], float(event["level"]))
            account, newest, older = names(np.stack([row["account"], *event["samples"]]))
            findings.append(
                self.cases.record(
                    account, detector.pattern, float(block.now[i]), card=detector.id, offset=int(block.offsets[i]),
                    first_seen=float(block.since[i]), log_e=float(event["log_e"]), score=float(event["score"]),
                    level=float(event["level"]), bar=float(event["bar"]), requests_seen=int(block.seen[i]),
                    signals=explanation.signals[:5],
                    counterfactual=explanation.counterfactual, samples=[s for s in (newest, older) if s],
                    indicators=present(detector, block.values[i]),
                    carriers=carriers(event["carried"]),
                )
            )  # fmt: skip
            if self._beside is None and findings[-1].kind == "open":
                (cohort,) = cohorts(block.requests[i : i + 1]).tolist()
                self._stage.population.opened(detector.pattern, cohort, float(sure[i]))
        if len(sure):
            findings += self.cases.close_until(float(sure[told:].max()))
        return findings

    def tidy(self, looked: bool) -> None:
        """Nothing is forgotten at the end of a block."""

    def end(self, spared: Callable[[Collection[str]], bool]) -> list[Finding]:
        """Close the cases that were told and are about such accounts; return what is to be told of it."""
        ended, self._ended = self._ended, []
        return ended + self.cases.end(lambda finding: spared(finding.accounts), self._stage.now)

    def mute(self, wanted: Callable[[Finding], bool]) -> list[Finding]:
        """Withhold the wanted cases that were told; return what tells their end. They stay open."""
        return self.cases.mute(wanted, self._stage.now)

    def erase(self, accounts: Collection[str], *, remove: bool = True) -> Erased:
        """Remove what it keeps of some accounts beside their rows, or only count it."""
        cases, ended = self.cases.erase(accounts, self._stage.now, remove=remove)
        if remove:
            self._ended = [finding for finding in self._ended if finding.accounts[0] not in accounts]
        return Erased({CASES: cases}, ended)

    def bounds(self) -> list[Bound]:
        """Return what its memory is bounded by beside the rows."""
        return [Bound("open_cases", len(self.cases), MAX_OPEN, self.cases.crowded_out)]

    def _held(self) -> tuple[npt.NDArray[np.int64], Array]:
        """The slots of the accounts in memory that it knows, and what is kept by slot."""
        if self._beside is not None:
            return self._beside.held()
        return self._stage.table.used(), self._stage.table.rows["judged"]

    def suspicion(self) -> dict[str, float]:
        """Return the highest suspicion each account in memory has reached."""
        slots, judged = self._held()
        accounts = names(self._stage.table.rows["account"][slots])
        return dict(zip(accounts, judged["suspicion"][slots].tolist(), strict=True))

    def vitals(self) -> Vitals:
        """Return how its detection stands; reads every account in memory."""
        return Vitals(
            spent(int(self.budget.counts[NUMBERED])),
            release_e(self.budget, self.patterns, self._threshold),
            held(*self._held(), self.reference.seats, self.patterns, self._threshold),
            reference_hours(self.reference, self.patterns),
            drift(self.reference, self.patterns),
        )

    def snapshot(self) -> dict[str, npt.NDArray[Any] | bytes]:
        """Copy what it keeps beside the rows."""
        return {
            "cards": msgspec.msgpack.encode(self.places),
            "budget": self.budget.counts.copy(),
            **under("cases", self.cases.snapshot()),
            **under("reference", snapshot(self.reference)),
            **under("beside", self._beside.snapshot() if self._beside else {}),
        }

    def restore(self, parts: Parts) -> None:
        """Take over a snapshot, whole or not at all.

        Raises
        ------
        ValueError
            Where it does not fit this version.
        """
        counts = like(parts, "budget", self.budget.counts)
        known = msgspec.msgpack.decode(as_bytes(parts, "cards"), type=list[Place])
        places, changes, anew = assign(self._cards, known, MAX_PATTERNS)
        reference = restore(self._make_reference(places), below("reference", parts), anew)
        cases = CaseBook(self._config.alpha, self._config.close_after, self._config.budget)
        cases.restore(below("cases", parts))
        if self._beside is not None:
            self._beside.restore(below("beside", parts))
        self.reference, self.places, self.changes = reference, places, changes
        self.budget, self.cases = self.budget._replace(counts=counts), cases
        self._ended = cases.drop({change.pattern for change in changes}, self._stage.now)
