"""Champion against challenger by what both said of the same traffic: who found what, as analysts judged it. No I/O."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from siphonwatch.models.learn.verdict_book import DECIDED
from siphonwatch.streams.contracts.alert import Alert

LEVEL = 0.95
"""Of the one-sided lower bound of recall: a convention."""
DAY = 86_400.0
Subject = tuple[str, str]
"""First account and pattern: the two judges name one finding by different cases."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What a challenger did beside the champion."""

    days: float
    """Event time that both have judged."""
    cases_champion: int
    cases_challenger: int
    both: int
    only_champion: list[str]
    """Cases, for review."""
    only_challenger: list[str]
    verdicts: int
    """Cases of either with a verdict that decides."""
    confirmed: int
    """Of these, those that are true."""
    found: int
    """Of these, those that the challenger found."""
    recall_low: float
    """Lower bound, at `LEVEL`, of the challenger's share of the confirmed ones; 0 without any."""
    false_a_day: float
    """The challenger's cases that were judged false, and those that only it has and nobody judged."""
    cases_a_day: float
    worse: list[str]
    """Patterns of which the challenger found fewer confirmed cases than the champion."""
    shift: dict[str, float]
    """By pattern, the mean of the challenger's scores less the champion's, over the cases of both."""

    @property
    def agreement(self) -> float:
        """Share of all cases that both have."""
        every = self.both + len(self.only_champion) + len(self.only_challenger)
        return self.both / every if every else 1.0


def compare(
    champion: Iterable[Alert], challenger: Iterable[Alert], verdicts: Mapping[str, str], since: float, until: float
) -> Comparison:
    """Compare the cases that were opened or went on from event time `since` to `until`, seconds since 1970.

    Parameters
    ----------
    verdicts
        Standing decision by case, of either.
    """
    ours, theirs = _subjects(champion, since), _subjects(challenger, since)
    decided: dict[Subject, bool] = {}
    for found in (theirs, ours):
        for subject, alert in found.items():
            if (decision := verdicts.get(alert.subject, "")) in DECIDED:
                decided[subject] = DECIDED[decision]
    days = max((until - since) / DAY, 1e-9)
    confirmed = {subject for subject, true in decided.items() if true}
    false = [s for s in theirs if decided.get(s) is False or (s not in ours and s not in decided)]
    patterns = sorted({pattern for _, pattern in confirmed})
    both = ours.keys() & theirs.keys()
    shifts: dict[str, list[float]] = {}
    for subject in both:
        shifts.setdefault(subject[1], []).append(theirs[subject].own.score - ours[subject].own.score)
    return Comparison(
        days=days,
        cases_champion=len(ours),
        cases_challenger=len(theirs),
        both=len(both),
        only_champion=sorted(ours[s].subject for s in ours.keys() - theirs.keys()),
        only_challenger=sorted(theirs[s].subject for s in theirs.keys() - ours.keys()),
        verdicts=len(decided),
        confirmed=len(confirmed),
        found=len(confirmed & theirs.keys()),
        recall_low=lower_bound(len(confirmed & theirs.keys()), len(confirmed)),
        false_a_day=len(false) / days,
        cases_a_day=len(theirs) / days,
        worse=[
            p for p in patterns
            if sum(s[1] == p and s in theirs for s in confirmed) < sum(s[1] == p and s in ours for s in confirmed)
        ],
        shift={pattern: math.fsum(values) / len(values) for pattern, values in sorted(shifts.items())},
    )  # fmt: skip


def lower_bound(found: int, of: int) -> float:
    """Return the one-sided lower bound of a share at `LEVEL` (Clopper & Pearson 1934).

    Examples
    --------
    >>> lower_bound(0, 5), round(lower_bound(20, 20), 3)
    (0.0, 0.861)
    """
    from scipy.stats import beta

    return float(beta.ppf(1.0 - LEVEL, found, of - found + 1)) if found else 0.0


def _subjects(alerts: Iterable[Alert], since: float) -> dict[Subject, Alert]:
    """The newest alert of each subject that is not the end of a case."""
    found: dict[Subject, Alert] = {}
    for alert in alerts:
        if alert.kind != "closed" and datetime.fromisoformat(alert.time).timestamp() >= since:
            found[alert.own.accounts[0], alert.own.pattern] = alert
    return found
