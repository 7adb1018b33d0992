"""How near one version came to telling of each account: its evidence as it grew, and why it was no more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.detect import Detector, Signal
from siphonwatch.models.detect.hold import Shut, hold
from siphonwatch.models.engine.engine import Trace
from siphonwatch.models.engine.judge import AccountJudge
from siphonwatch.models.evaluate.bootstrap import Bools, Floats, Ints
from siphonwatch.models.evaluate.compare import Reason
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.streams.contracts.alert import LOG_MAX
from siphonwatch.streams.contracts.wording import signal_text

STEP = 0.5
"""Natural logarithms of evidence between two notes about an account and pattern."""
RISE = 0.1
"""Of a score, between two notes about an account that attacks."""
SIGNALS = 3


class Nearest(NamedTuple):
    """The request at which a pattern came nearest to telling of an account."""

    column: int
    log_e: float
    needed: float
    """Logarithm of the e-value that opens the account's case."""
    features: npt.NDArray[np.float32]
    score: float = 0.0
    """By the pattern."""


class Near:
    """The evidence of one version about every account, from its judges' traces.

    Parameters
    ----------
    detectors
        Of accounts, in the order of the columns of scores.
    """

    def __init__(self, detectors: tuple[Detector, ...]) -> None:
        self.detectors = detectors
        self.nearest: dict[int, Nearest] = {}
        """By account: those with any evidence, and those that attack."""
        self.ladder: dict[tuple[int, int], list[tuple[float, float]]] = {}
        """By account and column: event time, and evidence beyond the bar then, whenever it had grown by `STEP`."""
        self._best = np.zeros((0, len(detectors)), np.float32)
        self._top = np.zeros((0, len(detectors)), np.float32)
        self._nulls = np.array([detector.null for detector in detectors], np.float32)

    def reserve(self, accounts: int) -> None:
        """Make room for so many accounts."""
        short = accounts - len(self._best)
        if short > 0:
            room = np.zeros((max(short, len(self._best)), len(self.detectors)), np.float32)
            self._best, self._top = np.concatenate([self._best, room]), np.concatenate([self._top, room])

    def take(self, trace: Trace, account: Ints, time: Floats, attack: Bools, judge: AccountJudge) -> None:
        """Take a block's trace; `account`, `time` and whether it is to `attack`, `(m,)`, are of its entries."""
        best, top = self._best[account], self._top[account]
        grown = (trace.log_e > best + STEP) & trace.taken[:, None]
        scored = (trace.scores > top + RISE) & (trace.taken & attack)[:, None]
        for i in np.flatnonzero((grown | scored).any(axis=1)).tolist():
            who, slot = int(account[i]), int(trace.slots[i])
            for p in range(len(self.detectors)):
                log_e = float(trace.log_e[i, p])
                if log_e > self._best[who, p] + STEP:
                    self._best[who, p] = log_e
                    needed = judge.needed(slot, p)
                    self.ladder.setdefault((who, p), []).append((float(time[i]), log_e - needed))
                    known = self.nearest.get(who)
                    if known is None or log_e - needed > known.log_e - known.needed:
                        self.nearest[who] = Nearest(p, log_e, needed, trace.features[i].copy())
            if scored[i].any():
                self._note_score(who, slot, trace, i, judge)

    def _note_score(self, who: int, slot: int, trace: Trace, i: int, judge: AccountJudge) -> None:
        """Note the request that came nearest to a null level, while there is no evidence."""
        before = float((self._top[who] / self._nulls).max())
        np.maximum(self._top[who], trace.scores[i], out=self._top[who])
        p = int((trace.scores[i] / self._nulls).argmax())
        known = self.nearest.get(who)
        if (known is None or known.log_e <= 0.0) and (known is None or trace.scores[i, p] / self._nulls[p] > before):
            log_e = float(trace.log_e[i, p])
            log_e = -math.inf if math.isnan(log_e) else log_e
            self.nearest[who] = Nearest(p, log_e, judge.needed(slot, p), trace.features[i].copy())

    def first_beyond(self, account: int, column: int, shift: float, since: float) -> float:
        """Return when the evidence first grew beyond the shifted bar, from `since` on; infinite where never.

        What it reached before counts no more than an alert of that time does.
        """
        ladder = self.ladder.get((account, column), ())
        return min((time for time, margin in ladder if margin >= shift and time >= since), default=math.inf)

    def reason(self, account: int) -> Reason:
        """Return why the version did not tell of an account, by the pattern that came nearest."""
        near = self.nearest.get(account)
        if near is None:
            return Reason(found=False, held=["no pattern found any evidence"])
        detector = self.detectors[near.column]
        held = hold(detector, near.features, detector.null)
        words = [shut_text(gate) for gate in held.shut]
        if near.log_e >= near.needed:
            words.append("its evidence sufficed when no request showed it")
        elif not held.shut:
            words.append(
                f"score {held.score:.2f} is no evidence: below {detector.null:.2f}"
                if held.score < detector.null
                else "evidence short"
            )
        explained = detector.explain(near.features, detector.null)
        return Reason(
            found=False, pattern=detector.pattern, e_value=exp(near.log_e), needed=exp(near.needed), held=words,
            signals=_words(explained.signals), says=held.opening,
        )  # fmt: skip


def told(finding: Finding) -> Reason:
    """Return why a version told of an account."""
    return Reason(
        found=True, pattern=finding.pattern, e_value=exp(finding.log_e), needed=exp(finding.bar),
        signals=_words(finding.signals),
        says=finding.counterfactual,
    )  # fmt: skip


def shut_text(gate: Shut) -> str:
    """Return a gate that is shut as people read it."""
    return f"gate shut: {signal_text(gate.name, gate.observed, 'opens ' + gate.direction, gate.opens, gate.unit)}"


def _words(signals: Sequence[Signal]) -> list[str]:
    """The strongest signals as people read them."""
    return [signal_text(s.name, s.observed, s.direction, s.baseline, s.unit) for s in signals[:SIGNALS]]


def exp(log_e: float) -> float:
    """Return an e-value, cut to what a double holds."""
    return math.exp(min(log_e, LOG_MAX))
