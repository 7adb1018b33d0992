"""What cases cost the people who look at them, and how many of them were true: by pattern, cohort and customer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from siphonwatch.models.evaluate.anytime import anytime
from siphonwatch.models.learn.verdict_book import DECIDED

By = Literal["pattern", "cohort", "customer"]
BY: tuple[By, ...] = ("pattern", "cohort", "customer")


class CaseCost(msgspec.Struct, frozen=True):
    """One case, as its alerts and its standing verdict have it."""

    pattern: str
    cohort: str
    """Empty where it is not known."""
    customer: str
    """The case's first account."""
    updates: int
    """Alerts after the opening, the closing not counted."""
    decision: str = ""
    """The verdict that stands; empty for none."""


class Noise(msgspec.Struct, frozen=True):
    """What the cases of one group cost."""

    by: By
    name: str
    cases: int
    updates: int
    minutes: float
    """Of all its cases and updates."""
    decided: int
    """Cases with a verdict that decides."""
    confirmed: int
    wasted: float
    """Minutes of the cases that turned out false or expected: what is known to have been for nothing."""
    at_least: float | None
    """Share of true ones among decided cases, lower and upper end, valid at all times (95 %); None where none is."""
    at_most: float | None
    minutes_a_truth: float | None
    """Minutes for each confirmed case; None where none is."""


def noise(cases: Iterable[CaseCost], minutes_a_case: float, minutes_an_update: float) -> list[Noise]:
    """Return what each group costs: patterns, then cohorts, then customers, each with the most wasted minutes first.

    Among groups that wasted equally, the one with more minutes that no verdict justifies stands first: cases that
    nobody judged are the next to look at. A case counts in a group of each kind.

    Parameters
    ----------
    cases
        In any order.
    minutes_a_case, minutes_an_update
        What one takes a person.
    """
    groups: dict[tuple[By, str], list[CaseCost]] = {}
    for case in cases:
        for by in BY:
            groups.setdefault((by, getattr(case, by)), []).append(case)
    found = [_group(by, name, members, minutes_a_case, minutes_an_update) for (by, name), members in groups.items()]
    return sorted(found, key=lambda one: (BY.index(one.by), -one.wasted, -one.minutes, one.name))


def _group(by: By, name: str, cases: list[CaseCost], a_case: float, an_update: float) -> Noise:
    outcomes = [DECIDED[case.decision] for case in cases if case.decision in DECIDED]
    updates = sum(case.updates for case in cases)
    false = [case for case in cases if DECIDED.get(case.decision) is False]
    confirmed = sum(outcomes)
    minutes = len(cases) * a_case + updates * an_update
    share = anytime(outcomes) if outcomes else None
    return Noise(
        by=by, name=name, cases=len(cases), updates=updates, minutes=minutes, decided=len(outcomes),
        confirmed=confirmed, wasted=len(false) * a_case + sum(case.updates for case in false) * an_update,
        at_least=share.low if share else None, at_most=share.high if share else None,
        minutes_a_truth=minutes / confirmed if confirmed else None,
    )  # fmt: skip
