"""The standing verdicts, the last one of each case, and the ranker learnt from them. Touches no evidence and no case.

What it answers depends on the standing verdicts and their order alone: a log that was compacted, read twice or read by
another worker gives the same ranks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from siphonwatch.models.detect.registry import current
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.models.learn.ranker import Many, Ranker
from siphonwatch.models.learn.ranker_features import Facts, facts_of, features

Decision = Literal[
    "true-positive", "false-positive", "benign-expected", "suspicious", "insufficient", "duplicate", "test"
]
DECISIONS: tuple[Decision, ...] = (
    "true-positive", "false-positive", "benign-expected", "suspicious", "insufficient", "duplicate", "test",
)  # fmt: skip
"""The verdicts of OCSF's incident findings that say something of a case; the last four decide nothing."""
DECIDED: dict[str, bool] = {"true-positive": True, "false-positive": False, "benign-expected": False}
"""Decisions that teach, and whether they confirm the case. The others are counted, and nobody learns from them."""
WITHDRAWN: Literal["withdrawn"] = "withdrawn"
"""What stands in a vote's decision where the case's verdict was taken back: nothing is known of it then."""
CAPACITY = 2000
"""Standing verdicts that count; beyond, the oldest leaves, so that the ranker follows what analysts want today.
Learning so many anew takes about a tenth of a second."""
DRIVERS = 3
DIGITS = 6
"""Of a rank: as many as arithmetic on another machine agrees in."""


class Vote(msgspec.Struct, frozen=True, kw_only=True):
    """One analyst's verdict on one case."""

    case: str
    account: str
    """Whose case it is: the k-th case of one account counts 1/k."""
    decision: Decision | Literal["withdrawn"]
    facts: Facts


class Ranking(NamedTuple):
    """Where a case stands among others."""

    rank: float
    """Chance that an analyst would confirm it, in [0, 1]."""
    drivers: list[tuple[str, float]]
    """What moved it most, by how much: features as `siphonwatch.models.learn.ranker_features` names them."""
    verdicts: int
    """How many standing verdicts it was learnt from: those that decide."""


class VerdictBook:
    """Keeps one vote a case and ranks by what they teach.

    Parameters
    ----------
    capacity
        Votes kept; the oldest leave first.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self._votes: dict[str, Vote] = {}
        self._forget()

    def __len__(self) -> int:
        return len(self._votes)

    def __contains__(self, case: str) -> bool:
        return case in self._votes

    def take(self, votes: Iterable[Vote]) -> int:
        """Take votes in the order of the log; return how many are news.

        A case's later vote replaces its earlier one and takes the later one's place; a withdrawn one leaves none.
        """
        news = 0
        for vote in votes:
            known = self._votes.get(vote.case)
            if vote.decision == WITHDRAWN:
                news += known is not None
                if known is not None:
                    del self._votes[vote.case]
                    self._forget()
                continue
            news += known != vote
            if known is not None:
                if known == vote and vote.case == next(reversed(self._votes)):
                    continue
                del self._votes[vote.case]
                self._forget()
            self._votes[vote.case] = vote
            if len(self._votes) > self.capacity:
                del self._votes[next(iter(self._votes))]
                self._forget()
        return news

    def clear(self) -> None:
        """Forget every vote: their log is another one now."""
        self._votes = {}
        self._forget()

    def rank(self, facts: Facts) -> Ranking:
        """Return where a case with these facts stands."""
        self._learn()
        x = features(facts)
        drivers = [(name, round(effect, DIGITS)) for name, effect in self._ranker.effects(x).items()]
        drivers = [driver for driver in drivers[:DRIVERS] if driver[1]]
        return Ranking(round(self._ranker.predict_proba_one(x)[True], DIGITS), drivers, self._taught)

    def ranks(self, cases: Many) -> npt.NDArray[np.float64]:
        """Return the ranks of many cases, `(n,)`, as `rank` says each."""
        self._learn()
        return np.round(self._ranker.predict_proba_many(cases), DIGITS)

    def rank_finding(self, finding: Finding) -> Ranking:
        """Return where a finding's case stands."""
        return self.rank(facts_of(finding))

    def counts(self) -> Counter[tuple[str, str]]:
        """Return the number of standing votes by pattern and decision."""
        return Counter((current(vote.facts.pattern), vote.decision) for vote in self._votes.values())

    def outcomes(self) -> dict[str, list[bool]]:
        """Return whether each standing vote that decides confirms its case, by pattern, in the order of the log."""
        found: dict[str, list[bool]] = {}
        for vote in self._votes.values():
            if vote.decision in DECIDED:
                found.setdefault(current(vote.facts.pattern), []).append(DECIDED[vote.decision])
        return found

    def _forget(self) -> None:
        """Start anew: what was learnt holds a vote that no longer stands."""
        self._ranker = Ranker()
        self._learnt = self._taught = 0
        self._accounts: Counter[str] = Counter()

    def _learn(self) -> None:
        """Teach the ranker the votes it doesn't know; only when it is asked, so that reading a long log is quick."""
        if self._learnt == len(self._votes):
            return
        for vote in list(self._votes.values())[self._learnt :]:
            if vote.decision not in DECIDED:
                continue
            self._accounts[vote.account] += 1
            self._taught += 1
            self._ranker.learn_one(features(vote.facts), DECIDED[vote.decision], 1.0 / self._accounts[vote.account])
        self._learnt = len(self._votes)

    def __getstate__(self) -> dict[str, Any]:
        return {"capacity": self.capacity, "votes": list(self._votes.values())}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["capacity"])  # type: ignore[misc]
        self.take(state["votes"])
