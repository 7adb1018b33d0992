"""The scorer of one partition: requests in, findings out. The worker, `replay` and `evaluate` all run this object.

Requests are taken strictly in order and no result depends on how they are cut into batches: what a later stage
decides reaches an earlier one only at fixed block boundaries of the partition's own request count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.clock import make_clock, settled
from siphonwatch.models.account.features import WIDTH, Features, plan
from siphonwatch.models.account.request import Array, names
from siphonwatch.models.account.row import MAX_PATTERNS, layout_id
from siphonwatch.models.account.table import AccountTable
from siphonwatch.models.account.windows import make_work, observe_all
from siphonwatch.models.campaign.edges import Spotter
from siphonwatch.models.common.arrays import pack, unpack
from siphonwatch.models.detect import Detector
from siphonwatch.models.engine.patterns import detectors
from siphonwatch.models.engine.rarity import RarityStage
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
from siphonwatch.models.evidence.budget import NUMBERED, make_budget
from siphonwatch.models.evidence.calibration import Reference, learnt, make_reference, relearn
from siphonwatch.models.evidence.cases import MAX_OPEN, CaseBook, Finding
from siphonwatch.models.evidence.places import Change, Place, assign, seats
from siphonwatch.models.evidence.process import EVENT, weigh
from siphonwatch.models.online.second_stage import SecondStage

BLOCK = 512
"""Requests a block: large enough for array arithmetic, small enough that its arrays stay in the cache."""
BACKGROUND = 256
"""One request in so many teaches the second stage what is ordinary."""
EARLY, EARLY_REQUESTS = 16, 1 << 16
"""The same among a partition's first so many requests: 4,000 of them, so that it can say something within minutes."""
RANKED = 100_000
"""Accounts whose highest rank by the second stage is remembered, some 200 bytes each."""
REFUSED = (400, 401, 403, 407)
"""Statuses by which a gateway turns away whom it does not know, and gives nothing. Whoever is turned away may name any
account, another in each request: such a request opens no row. Of an account that has one it counts like any other."""
_OPENS = ~np.isin(np.arange(1000), REFUSED)
"""Whether a request with a status opens a row, by status: looked up, as asking for each block costs 40 us."""
FORMAT = 4


@dataclass(frozen=True)
class ScorerConfig:
    """What an operator chooses; see `[scoring]` of the settings. Times in event-time seconds."""

    alpha: float = 1e-3
    budget: float = 0.1
    """Share of the released cases that may be false."""
    grace: float = 60.0
    max_ahead: float = 600.0
    close_after: float = 86_400.0
    seed: int = 42
    second_stage: str = ""
    """Name of the second stage's model; what a model of another name learnt is not taken over."""
    second_stage_level: float = 0.5
    """Share of the way to an alert, in logarithms, from which the second stage looks at a request."""


class _Counts(msgspec.Struct):
    """Running totals, kept with the state."""

    format: int = FORMAT
    requests: int = 0
    skipped: int = 0
    second_stage: int = 0
    refused: int = 0


class Scorer:
    """Windows, features, detectors, evidence and cases of one partition.

    Parameters
    ----------
    config
        The operator's choices.
    second_stage
        A River model that also looks at what the first stage ranks highest.
    chosen
        The detectors, in the order of the rows' evidence; all of them by default.

    Examples
    --------
    >>> from siphonwatch.models.account.request import blank
    >>> scorer = Scorer(ScorerConfig())
    >>> scorer.score(blank(), np.array([0]))
    []
    >>> len(scorer.table)
    1
    """

    def __init__(
        self, config: ScorerConfig, *, second_stage: SecondStage | None = None, chosen: Sequence[Detector] | None = None
    ) -> None:
        self.config = config
        self.detectors = tuple(detectors() if chosen is None else chosen)
        self.places, _, _ = assign(self._cards, (), MAX_PATTERNS)
        """Which card has which place in the rows and in the reference."""
        self.changes: list[Change] = []
        """Cards and models that were others when the state that was loaded last was written."""
        self._ended: list[Finding] = []  # cases of such cards, until somebody asks for them
        self.second_stage = second_stage
        self.ranked: dict[str, float] = {}
        """The highest rank that the second stage gave each account since the start; those it looked at only."""
        self.table = AccountTable()
        self.clock = make_clock()
        self.reference = self._make_reference(self.places)
        self.budget = make_budget(config.budget, [d.trust for d in self.detectors])
        self._trust = np.array([d.trust for d in self.detectors])
        self.rarity = RarityStage(config.seed)
        self.cases = CaseBook(config.alpha, config.close_after, config.budget)
        self.spotter = Spotter()
        self.sighted = np.zeros(0, np.int64)
        """Which of the requests last given to `score` a coordinator is to see, ascending places."""
        self.counts = _Counts()
        self.patterns = tuple(d.pattern for d in self.detectors)
        """Names of the detectors, in their order."""
        self.tally = Tally(self.patterns)
        """How the requests since it was last taken have scored."""
        self._plan = plan()
        self._work = make_work()
        self._values = np.zeros((BLOCK, WIDTH), np.float32)
        self._now = np.zeros(BLOCK)
        self._sure = np.zeros(BLOCK)
        self._seen = np.zeros(BLOCK, np.int64)
        self._since = np.zeros(BLOCK)
        self._fresh = np.zeros(BLOCK, np.bool_)
        self._strongest = np.zeros(BLOCK, np.float32)
        self._events = np.zeros(BLOCK * MAX_PATTERNS, EVENT)

    @property
    def _cards(self) -> list[tuple[str, str]]:
        return [(detector.pattern, detector.id) for detector in self.detectors]

    def _make_reference(self, places: Sequence[Place]) -> Reference:
        patterns = [d.pattern for d in self.detectors]
        return make_reference(
            [d.null for d in self.detectors], [d.trust for d in self.detectors], seats(places, patterns)
        )

    def end(self, spared: Callable[[Collection[str]], bool]) -> list[Finding]:
        """Close the cases that were told and are about such accounts; return what is to be told of it.

        After `load`, it returns the ends of the cases of cards that have changed as well.
        """
        ended, self._ended = self._ended, []
        return ended + self.cases.end(lambda finding: spared(finding.accounts), self.now)

    @property
    def now(self) -> float:
        """The partition's event time that no single account can have brought about, seconds since 1970."""
        return float(settled(self.clock[0], self.config.max_ahead))

    @property
    def late(self) -> int:
        """Requests that came later than the grace; they were counted and sketched all the same."""
        return int(self.clock["late"][0])

    @property
    def refused(self) -> int:
        """Requests that were turned away, of accounts that had got nothing before; they count nowhere else."""
        return self.counts.refused

    @property
    def ahead(self) -> int:
        """Requests further ahead of the clock than one may be."""
        return int(self.clock["ahead"][0])

    def score(
        self, requests: Array, offsets: npt.NDArray[np.int64], arrived: npt.NDArray[np.float64] | None = None
    ) -> list[Finding]:
        """Take requests, `(n,) REQUEST`, with their increasing offsets, `(n,) int64`; return what came of them.

        A request whose offset its account has applied already changes nothing, nor does one of an unknown account that
        was turned away (`REFUSED`).
        `arrived`, `(n,)` seconds, is when the broker had each one, where that is known.
        """
        if arrived is None:
            arrived = np.full(len(requests), np.inf)
        findings: list[Finding] = []
        picked = [np.zeros(0, np.int64)]
        start = 0
        while start < len(requests):
            room = BLOCK - self.counts.requests % BLOCK
            end = min(start + room, len(requests))
            passed_over = self.counts.skipped + self.counts.refused
            findings += self._block(requests[start:end], offsets[start:end], arrived[start:end])
            picked.append(start + self._picked)
            self.counts.requests += end - start - (self.counts.skipped + self.counts.refused - passed_over)
            start = end
        self.sighted = np.concatenate(picked)
        return findings

    def _block(
        self, requests: Array, offsets: npt.NDArray[np.int64], arrived: npt.NDArray[np.float64]
    ) -> list[Finding]:
        n = len(requests)
        block = self.counts.requests // BLOCK
        values, now, sure, strongest = self._values[:n], self._now[:n], self._sure[:n], self._strongest[:n]
        slots = self.table.locate(requests, _OPENS.take(requests["status"], mode="clip"))
        refused = int((slots < 0).sum())
        self.counts.refused += refused
        self.counts.skipped -= refused
        self.counts.skipped += observe_all(
            self.table.rows, slots, requests, offsets, arrived, self.clock, self.config.grace, self.config.max_ahead,
            self._plan, values, now, sure, self._seen, self._since, self._fresh, self._work,
        )  # fmt: skip
        self._picked = self.spotter.pick(requests, slots, sure)
        self.rarity.rank(self.table.rows, slots, values, block, self._fresh)
        features = Features(values)
        scores = np.empty((n, len(self.detectors)), np.float32)
        for p, detector in enumerate(self.detectors):
            scores[:, p] = detector.score(values)
        self.tally.add(scores, slots >= 0)
        written = weigh(
            self.table.rows, slots, requests, scores, now, sure, self._fresh, self.reference, self.budget, block,
            -math.log(self.config.alpha), self.config.close_after, self._trust, strongest, self._events,
        )  # fmt: skip
        ranks = self._look_closer(features, requests, slots, strongest) if self.second_stage else {}
        return self._tell(self._events[:written], features, requests, now, sure, ranks)

    def _look_closer(
        self,
        features: Features,
        requests: Array,
        slots: npt.NDArray[np.int64],
        strongest: npt.NDArray[np.float32],
    ) -> dict[int, float]:
        """Let the second stage score the requests that rank highest, and learn from a thin background of the others."""
        assert self.second_stage is not None  # noqa: S101 - the caller checks
        level = -math.log(self.config.alpha) * self.config.second_stage_level
        ranks = {}
        taken = slots >= 0
        chosen = taken & (strongest >= level)
        number = self.counts.requests + np.cumsum(taken) - 1
        background = taken & ~chosen & (number % np.where(number < EARLY_REQUESTS, EARLY, BACKGROUND) == 0)
        for i in np.flatnonzero(chosen | background).tolist():
            row = features.as_dict(i)
            if chosen[i]:
                rank = self.second_stage.score(row)
                self.counts.second_stage += 1
                if not math.isnan(rank):
                    ranks[i] = rank
                    (account,) = names(requests["account"][i : i + 1])
                    self.ranked[account] = max(self.ranked.pop(account, 0.0), rank)
            else:
                self.second_stage.score(row)
                self.second_stage.learn(row)
        while len(self.ranked) > RANKED:
            del self.ranked[next(iter(self.ranked))]
        return ranks

    def _tell(
        self,
        events: Array,
        features: Features,
        requests: Array,
        now: npt.NDArray[np.float64],
        sure: npt.NDArray[np.float64],
        ranks: dict[int, float],
    ) -> list[Finding]:
        findings: list[Finding] = []
        told = 0
        for event in events:
            i, p = int(event["index"]), int(event["pattern"])
            row, detector = self.table.rows[event["slot"]], self.detectors[p]
            findings += self.cases.close_until(float(sure[told : i + 1].max()))  # the clock may have been set back
            told = i
            explanation = detector.explain(features.values[i], float(event["level"]))
            account, newest, older = names(np.stack([row["account"], *event["samples"]]))
            findings.append(
                self.cases.record(
                    account, detector.pattern, float(now[i]), card=detector.id,
                    first_seen=float(self._since[i]), log_e=float(event["log_e"]), score=float(event["score"]),
                    level=float(event["level"]), bar=float(event["bar"]), requests_seen=int(self._seen[i]),
                    signals=explanation.signals[:5],
                    counterfactual=explanation.counterfactual, samples=[s for s in (newest, older) if s],
                    second_stage=ranks.get(i, math.nan),
                )
            )  # fmt: skip
        if len(now):
            findings += self.cases.close_until(float(sure[told:].max()))
        return findings

    def bounds(self) -> list[Bound]:
        """Return what memory is bounded by beside the rows, which whoever gives them room bounds."""
        ranked = [Bound("second_stage_ranks", len(self.ranked), RANKED)] if self.second_stage else []
        return [Bound("open_cases", len(self.cases), MAX_OPEN, self.cases.crowded_out), *ranked]

    def suspicion(self) -> dict[str, float]:
        """Return the highest suspicion each account in memory has reached."""
        rows = self.table.rows[self.table.used()]
        return dict(zip(names(rows["account"]), rows["suspicion"].tolist(), strict=True))

    def vitals(self) -> Vitals:
        """Return how its detection stands; reads every account in memory."""
        threshold = -math.log(self.config.alpha)
        return Vitals(
            spent(int(self.budget.counts[NUMBERED])),
            release_e(self.budget, self.patterns, threshold),
            held(self.table.rows, self.reference.seats, self.patterns, threshold),
            reference_hours(self.reference, self.patterns),
            drift(self.reference, self.patterns),
        )

    @property
    def identity(self) -> tuple[str, str]:
        """What its state rests on: the state's format, and its cards."""
        return str(FORMAT), cards_id(self.detectors)

    def dump(self) -> bytes:
        """Serialise everything but the account rows."""
        parts: dict[str, npt.NDArray[np.generic] | bytes] = {
            "counts": msgspec.msgpack.encode(self.counts),
            "layout": layout_id().encode(),
            "cards": msgspec.msgpack.encode(self.places),
            "rarity_id": self.rarity.id.encode(),
            "clock": self.clock,
            "budget": self.budget.counts,
            "cases": self.cases.dump(),
            "sightings": self.spotter.to_array(self.now),
            "second_stage": self.second_stage.keep() if self.second_stage else b"",
            "second_stage_name": self.config.second_stage.encode(),
        }
        parts |= {f"reference.{name}": array for name, array in learnt(self.reference).items()}
        parts |= {f"rarity.{name}": array for name, array in self.rarity.to_arrays().items()}
        return pack(parts)

    def load(self, data: bytes) -> None:
        """Take over what `dump` wrote.

        Of a card that is another one now, its reference begins anew, its evidence with each account's next hour, and
        its open cases are closed (`end`); likewise the rarity models where their inputs are others. `changes` says so.

        Raises
        ------
        ValueError
            Where it is of another format or does not fit this version.
        """
        parts = unpack(data)
        try:
            counts = msgspec.msgpack.decode(_bytes(parts, "counts"), type=_Counts)
            if counts.format != FORMAT:
                raise ValueError(f"state has format {counts.format}, this version reads {FORMAT}")
            if (layout := _bytes(parts, "layout").decode(errors="replace")) != layout_id():
                raise ValueError(
                    f"state has rows of layout {layout}, this version's is {layout_id()}: written by another version"
                )
            clock = _like(parts, "clock", self.clock)
            budget = self.budget._replace(counts=_like(parts, "budget", self.budget.counts))
            known = msgspec.msgpack.decode(_bytes(parts, "cards"), type=list[Place])
            places, changes, anew = assign(self._cards, known, MAX_PATTERNS)
            fresh = self._make_reference(places)
            reference = relearn(fresh, {k: _like(parts, f"reference.{k}", v) for k, v in learnt(fresh).items()}, anew)
            rarity, rarity_id = RarityStage(self.config.seed), _bytes(parts, "rarity_id").decode()
            if rarity_id == rarity.id:
                rarity.from_arrays(_under(parts, "rarity."))
            else:
                changes.append(Change("rarity", rarity_id, rarity.id, models=True))
            cases = CaseBook(self.config.alpha, self.config.close_after, self.config.budget)
            cases.load(_bytes(parts, "cases"))
            spotter = Spotter()
            spotter.from_array(_rows(parts, "sightings"))
            stage, kept, name = self.second_stage, _bytes(parts, "second_stage"), _bytes(parts, "second_stage_name")
            if stage and kept and name == self.config.second_stage.encode():
                stage = stage.resumed(kept)
        except (KeyError, IndexError, msgspec.DecodeError) as error:
            raise ValueError(f"the models in the state do not fit this version: {error}") from None
        self.counts, self.clock, self.reference, self.rarity = counts, clock, reference, rarity
        self.budget, self.cases, self.second_stage, self.spotter = budget, cases, stage, spotter
        self.places, self.changes = places, changes
        self._ended = cases.drop({change.pattern for change in changes if not change.models}, self.now)


_Parts = dict[str, npt.NDArray[np.generic] | bytes]


def _bytes(parts: _Parts, name: str) -> bytes:
    """A part of plain bytes."""
    part = parts[name]
    if not isinstance(part, bytes):
        raise ValueError(f"state part {name!r} is an array, expected bytes: it was written by another version")
    return part


def _like(parts: _Parts, name: str, expected: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A part that is an array like the expected one."""
    part = parts[name]
    found = "bytes" if isinstance(part, bytes) else f"{part.dtype}{part.shape}"
    if isinstance(part, bytes) or (part.dtype, part.shape) != (expected.dtype, expected.shape):
        wanted = f"{expected.dtype}{expected.shape}"
        raise ValueError(f"state part {name!r} is {found}, expected {wanted}: it was written by another version")
    return part


def _rows(parts: _Parts, name: str) -> npt.NDArray[Any]:
    """A part that is an array of any length."""
    part = parts[name]
    if isinstance(part, bytes):
        raise ValueError(f"state part {name!r} is bytes, expected an array: it was written by another version")
    return part


def _under(parts: _Parts, prefix: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays whose names begin so, under the rest of their names."""
    return {
        name.removeprefix(prefix): array
        for name, array in parts.items()
        if name.startswith(prefix) and not isinstance(array, bytes)
    }
