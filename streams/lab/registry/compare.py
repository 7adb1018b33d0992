"""Champion against challenger by what both said of the same traffic: who found what, as analysts judged it. No I/O."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from siphonwatch.models.learn.verdict_book import DECIDED
from siphonwatch.streams.contracts.alert import Alert
from siphonwatch.streams.contracts.measured import Measured

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
    unjudged: int
    """Cases of either without one."""
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
    requests: int = 0
    """That the challenger judged, as far as workers have said."""
    max_cost: float | None = None
    """What it took of workers' time over what scoring takes without it; None where no worker has said."""
    microseconds: float = 0.0
    """That it took of a request."""
    bytes_an_account: float = 0.0
    """That it keeps of an account in memory, beside its row."""
    cohorts: dict[str, dict[str, float]] = {}
    """By pattern and cohort, the mean score of benign account-hours by the challenger less that by the champion."""

    @property
    def max_cohort_worse(self) -> float | None:
        """The most that the mean score of a cohort has risen; None where no worker has said."""
        return max((rise for of in self.cohorts.values() for rise in of.values()), default=None)

    @property
    def agreement(self) -> float:
        """Share of all cases that both have."""
        every = self.both + len(self.only_champion) + len(self.only_challenger)
        return self.both / every if every else 1.0


def compare(
    champion: Iterable[Alert],
    challenger: Iterable[Alert],
    verdicts: Mapping[str, str],
    since: float,
    until: float,
    measured: Iterable[Measured] = (),
) -> Comparison:
    """Compare the cases that were opened or went on from event time `since` to `until`, seconds since 1970.

    Parameters
    ----------
    verdicts
        Standing decision by case, of either.
    measured
        What workers have said of the challenger.
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
        unjudged=len(ours.keys() | theirs.keys()) - len(decided),
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
        **_cost(list(measured)),
    )  # fmt: skip


def _cost(measured: list[Measured]) -> dict[str, Any]:
    """What a challenger costs and how it scores cohorts, over all partitions: the newest word of each on cohorts."""
    of = [one for one in measured if one.stream == "telemetry"]
    requests = sum(one.requests for one in of)
    if not requests:
        return {}
    newest = {one.partition: one for one in sorted(of, key=lambda one: one.time)}
    sums: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for one in newest.values():
        for pattern, cohorts in one.cohorts.items():
            for name, c in cohorts.items():
                if not c.hours:
                    continue
                sums.setdefault(pattern, {}).setdefault(name, []).append((c.challenger - c.champion, c.hours))
    champion = math.fsum(one.champion_seconds for one in measured)
    return {
        "requests": requests,
        "max_cost": math.fsum(one.seconds for one in measured) / champion if champion else None,
        "microseconds": math.fsum(one.seconds for one in measured) / requests * 1e6,
        "bytes_an_account": sum(one.size for one in newest.values()) / max(sum(one.rows for one in newest.values()), 1),
        "cohorts": {
            pattern: {
                name: math.fsum(rise * hours for rise, hours in found) / math.fsum(hours for _, hours in found)
                for name, found in sorted(cohorts.items())
            }
            for pattern, cohorts in sorted(sums.items())
        },
    }


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
