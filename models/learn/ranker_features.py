"""The ranker's features of a case: facts that its alert holds, as features in fixed units. Learns nothing.

Accounts are not among them: what is learnt is about behaviour, and holds for an account under any other name.
"""

from __future__ import annotations

import math
from typing import Annotated

import msgspec
from msgspec import Meta

from siphonwatch.models.detect.registry import current
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.models.evidence.process import SEVERITIES

PRIOR = "evidence"
"""Feature that holds the prior log-odds; see `prior`."""
MAX_SIGNALS = 8
"""Signals of one case that are read; an alert has fewer."""
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Share = Annotated[float, Meta(ge=0, le=1)]
Real = Annotated[float, Meta(ge=-1e15, le=1e15)]
Count = Annotated[int, Meta(ge=0, le=2**53)]


class SignalFact(msgspec.Struct, frozen=True, kw_only=True):
    """One reason that the alert gave."""

    name: Name
    observed: Real
    baseline: Real
    """Value at which the feature says nothing."""
    contribution: Real
    """How much the score falls with this feature alone at its baseline (leave one out)."""


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an alert says of its case, without names, times and requests. Fields may be added with a default."""

    pattern: Name
    severity: Annotated[str, Meta(pattern=f"^({'|'.join(SEVERITIES)})$(?!\\n)")]
    log_e: Real
    """Natural logarithm of the e-value."""
    alpha: Annotated[float, Meta(gt=0, lt=1)]
    score: Real
    level: Real
    """The mean score that benign accounts stay below."""
    requests_seen: Count
    age_ms: Count
    """Event time from the first request to the alert, milliseconds."""
    signals: Annotated[list[SignalFact], Meta(max_length=MAX_SIGNALS)] = []
    accounts: Annotated[int, Meta(ge=1, le=2**31)] = 1
    """How many the case has."""
    second_stage: Annotated[
        Share | None, Meta(description="No longer sent nor read. Verdicts of earlier releases may have it.")
    ] = None


def milliseconds(seconds: float) -> int:
    """Return seconds since 1970 as an alert writes them."""
    return round(seconds * 1000)


def facts_of(finding: Finding) -> Facts:
    """Return the facts of a finding; those of the alert made from it are the same."""
    return Facts(
        pattern=finding.pattern,
        severity=finding.severity,
        log_e=finding.log_e,
        alpha=finding.alpha,
        score=finding.score,
        level=finding.level,
        requests_seen=finding.requests_seen,
        age_ms=max(milliseconds(finding.time) - milliseconds(finding.first_seen), 0),
        signals=[
            SignalFact(name=s.name, observed=s.observed, baseline=s.baseline, contribution=s.contribution)
            for s in finding.signals[:MAX_SIGNALS]
        ],
        accounts=len(finding.accounts),
    )


def beyond(facts: Facts) -> float:
    """Return `log(1 + x)` of how far the log e-value is above the alert threshold, 0 at or below it."""
    return math.log1p(max(facts.log_e + math.log(facts.alpha), 0.0))


def prior(facts: Facts) -> float:
    """Return the log-odds of a confirmation before any verdict: more evidence first, then the worse severity.

    At the threshold an alert is as likely right as wrong; each doubling of the evidence beyond it counts about alike.
    """
    return 0.5 * beyond(facts) + 0.1 * SEVERITIES.index(facts.severity)


def features(facts: Facts) -> dict[str, float]:
    """Return what the ranker reads, name to value, each roughly within -1 to 1; what a case lacks is left out.

    Examples
    --------
    >>> facts = Facts(pattern="shift", severity="low", log_e=7.0, alpha=1e-3, score=0.5, level=0.4, requests_seen=99,
    ...               age_ms=3_600_000)
    >>> sorted(features(facts))
    ['age', 'amount', 'evidence', 'margin', 'pattern shift', 'pattern shift by evidence', 'rate', 'score']
    """
    hours, pattern = facts.age_ms / 3.6e6, current(facts.pattern)
    evidence, score, level = prior(facts), _share(facts.score), _share(facts.level)
    found = {
        PRIOR: evidence,
        "score": 2.0 * score - 1.0,
        "margin": score - level,
        "amount": math.log1p(facts.requests_seen) / 5.0 - 1.0,
        "age": math.log1p(hours) / 2.5 - 1.0,
        "rate": math.log1p(facts.requests_seen / max(hours, 0.1)) / 4.0 - 1.0,
        f"pattern {pattern}": 1.0,
        f"pattern {pattern} by evidence": evidence - 1.0,
    }
    if facts.accounts > 1:
        found["accounts"] = math.log(facts.accounts) / 4.0
    for signal in facts.signals:
        apart, size = signal.observed - signal.baseline, abs(signal.observed) + abs(signal.baseline)
        found[f"signal {signal.name}"] = _share(signal.contribution)
        found[f"size of {signal.name}"] = apart / size if size > 0 else 0.0
    return found


def _share(value: float) -> float:
    return min(max(value, 0.0), 1.0)
