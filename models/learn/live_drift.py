"""Drift as workers see it: this week's accounts, and cases, against those before, over partitions. Keeps nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.engine.case_hours import CaseHours
from siphonwatch.models.engine.population import WATCHED, WINDOW, Population
from siphonwatch.models.evidence.calibration import COHORTS
from siphonwatch.models.learn.stability import FALSE, FEWEST, LEAST, chance_of, excess, grouped, rate_moved, smoothed

PLACE = {name: i for i, name in enumerate(WATCHED)}
Counts = npt.NDArray[np.int64]


class Column(NamedTuple):
    """A feature that some card reads, in a cohort."""

    feature: str
    cohort: str
    psi: float
    """Population stability index beyond what chance makes expect; about 0, and below, where nothing moved."""
    apart: bool
    """Whether chance does not explain it, by KSWIN's test."""


class Rate(NamedTuple):
    """How often cases of a pattern open."""

    pattern: str
    cohort: str
    before: float
    """Cases a day, up to the last week."""
    now: float
    """Cases a day, in the last week."""
    moved: bool
    """Whether ADWIN sees it change in the last week."""


class Standing(NamedTuple):
    """What a comparison of partitions says; nothing of those that are not ready."""

    accounts: dict[str, int]
    """Of the week, by cohort: 0 where there is no comparison yet."""
    columns: list[Column]
    """Without the cohorts that have fewer than `FEWEST` accounts."""
    moved: Counter[tuple[str, str]]
    """By pattern and cohort: features that its card reads, that chance does not explain and whose index is at least
    `LEAST`."""
    rates: list[Rate]


def standing(
    populations: Sequence[Population], reads: Mapping[str, frozenset[str]], campaigns: Sequence[CaseHours] = ()
) -> Standing:
    """Compare the accounts and cases of some partitions, taken together, with what they were.

    `reads` says which features each pattern's card reads; `campaigns` are the cases of partitions of sightings.
    Accounts before count as many as came in a week then.
    """
    rates = _rates([[one.cases() for one in populations if one.ready], [one.cases() for one in campaigns]])
    ready = [population for population in populations if population.ready]
    accounts = dict.fromkeys(COHORTS, 0)
    columns: list[Column] = []
    moved: Counter[tuple[str, str]] = Counter()
    if not ready:
        return Standing(accounts, columns, moved, rates)
    week = np.stack([one.week for one in ready]).sum(axis=0, dtype=np.float64)
    before = np.stack([one.before for one in ready]).sum(axis=0, dtype=np.float64)
    a_week = np.stack([one.before[:, 0].sum(axis=1) * (WINDOW / one.days_before) for one in ready]).sum(axis=0)
    watched = sorted({name for names in reads.values() for name in names} & PLACE.keys())
    chance = FALSE / max(len(watched) * len(COHORTS), 1)
    for c, cohort in enumerate(COHORTS):
        n, m = float(a_week[c]), float(week[c, 0].sum())
        accounts[cohort] = int(m)
        if min(n, m) < FEWEST:
            continue
        for name in watched:
            old, new = (counts[c, PLACE[name]] for counts in (before, week))
            old, new = old / old.sum(), new / new.sum()
            p, q = grouped(old, new)
            psi, apart = excess(smoothed(p, n), smoothed(q, m), n, m), chance_of(old, new, n, m) < chance
            columns.append(Column(name, cohort, psi, apart))
            if apart and psi >= LEAST:
                moved.update((pattern, cohort) for pattern, names in reads.items() if name in names)
    return Standing(accounts, columns, moved, rates)


def _rates(groups: Sequence[Sequence[Mapping[str, Counts]]]) -> list[Rate]:
    """Of all patterns and cohorts with a case, of each group of partitions in the days that all of these have."""
    some: list[tuple[str, int, Counts]] = []
    for kept in groups:
        days = min((len(days) for cases in kept for days in cases.values()), default=0)
        if days < 2 * WINDOW:
            continue
        for pattern in sorted({pattern for cases in kept for pattern in cases}):
            total = np.sum([cases[pattern][-days:] for cases in kept if pattern in cases], axis=0)
            some += [(pattern, c, total[:, c]) for c in range(len(COHORTS)) if total[:, c].any()]
    found = []
    for pattern, c, hours in some:
        a_day = hours.sum(axis=1)
        found.append(Rate(
            pattern, COHORTS[c], float(a_day[:-WINDOW].mean()), float(a_day[-WINDOW:].mean()),
            rate_moved(list(hours), len(hours) - WINDOW, FALSE / len(some)),
        ))  # fmt: skip
    return found
