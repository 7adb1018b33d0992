"""A simulated analyst: cases whose facts say something of what they are, and verdicts on them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from siphonwatch.models.learn.ranker_features import Facts, SignalFact
from siphonwatch.models.learn.verdict_book import Decision, Vote

SIGNALS = ("sweep_1d", "breadth", "quick_1h", "deterministic_1d", "masked_shift", "user_shift")
PATTERNS = ("extraction", "desensitisation", "shift", "rarity")


def facts(
    pattern: str = "extraction", log_e: float = 7.0, severity: str = "medium", signals: Sequence[SignalFact] = ()
) -> Facts:
    return Facts(
        pattern=pattern, severity=severity, log_e=log_e, alpha=1e-3, score=0.5, level=0.4, requests_seen=300,
        age_ms=86_400_000, signals=list(signals),
    )  # fmt: skip


def vote(case: str, confirmed: bool = True, of: Facts | None = None, account: str = "") -> Vote:
    decision: Decision = "true-positive" if confirmed else "false-positive"
    return Vote(case=case, account=account or f"account-{case}", decision=decision, facts=of or facts())


class Analyst:
    """Confirms by what a case is, not by how strong the evidence is; now and then at odds with himself.

    Parameters
    ----------
    seed
        Draws cases and his slips.
    rate
        Share of the cases that are what they look like.
    """

    def __init__(self, seed: int, rate: float = 0.4) -> None:
        self._rng = np.random.default_rng(seed)
        self._bias = math.log(rate / (1.0 - rate))

    def cases(self, n: int) -> list[tuple[Facts, bool]]:
        return [self._case() for _ in range(n)]

    def _case(self) -> tuple[Facts, bool]:
        rng = self._rng
        pattern = PATTERNS[rng.integers(len(PATTERNS))]
        chosen = rng.choice(len(SIGNALS), 3, replace=False)
        signals = [
            SignalFact(name=SIGNALS[i], observed=rng.uniform(0.3, 1.0), baseline=0.3, contribution=rng.uniform(0, 0.6))
            for i in sorted(chosen)
        ]
        log_e = 7.0 + rng.exponential(10.0)
        # What it is shows in pattern and signals; how much evidence there is says a little.
        weight = {"extraction": -0.8, "desensitisation": 1.0, "shift": -1.0, "rarity": 0.2}[pattern]
        weight += sum({"masked_shift": 5.0, "quick_1h": -5.0}.get(s.name, 0.0) * s.contribution for s in signals)
        logit = 1.5 * weight + self._bias + 0.1 * math.log1p(log_e - 6.9)
        made = Facts(
            pattern=pattern, severity=("medium", "high")[int(log_e > 14)], log_e=log_e, alpha=1e-3,
            score=rng.uniform(0.3, 0.9), level=0.3, requests_seen=int(rng.integers(50, 3000)),
            age_ms=int(rng.integers(10**6, 6 * 10**8)), signals=signals,
        )  # fmt: skip
        return made, bool(rng.random() < 1.0 / (1.0 + math.exp(-logit)))


def auc(scores: Sequence[float], labels: Sequence[bool]) -> float:
    """How often a confirmed case stands above another one."""
    s, y = np.array(scores), np.array(labels)
    apart = s[y][:, None] - s[~y][None, :]
    return float((apart > 0).mean() + 0.5 * (apart == 0).mean())
