"""Two versions of the detectors over one stream: who each catches, whom each alarms, and what the difference is worth.

Both judged the same requests in one pass, so every figure is paired. Accounts without a label are counted and never
judged. Arrays in, numbers out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from siphonwatch.models.evaluate.bootstrap import LEVEL, Bools, Bootstrap, Estimate, Floats, Ints, ratio
from siphonwatch.models.evaluate.data import Truth, codes

NONE = -1
"""Stands where no pattern named an account."""


class Outcome(NamedTuple):
    """What one version told of the labelled accounts, `n` of them, and of all."""

    first: Floats
    """`(n,)` event time of the first alert that names the account, from its onset on; infinite without one."""
    by: Ints
    """`(n,)` place of the pattern of that alert; `NONE` without one."""
    spent: Floats
    """`(n,)` requests of the account from its onset to that alert; NaN without one."""
    cases: int
    """Opened, of whomever."""
    unjudged: int
    """Accounts without a label that an alert names."""

    @property
    def found(self) -> Bools:
        """Which accounts were named, `(n,)`."""
        return np.isfinite(self.first)


class Pair(msgspec.Struct, frozen=True):
    """A figure of both versions, and the second's less the first's with its paired interval."""

    a: float
    b: float
    difference: Estimate


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One group of accounts."""

    by: str
    """all, kind, look-alike, cohort, campaign or pattern."""
    name: str
    of: int
    """Accounts."""
    a: int
    """Named by the first version."""
    b: int
    both: int
    difference: Estimate
    """Of the shares."""


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """Both versions at some bars."""

    name: str
    """own or matched."""
    shift: float
    """By how much the second version's bar was moved, natural logarithms of the e-value."""
    caught: Pair
    """Share of attack accounts."""
    campaigns: Pair
    """Share of campaigns with an alert on any account."""
    false_alarms: Pair
    """Share of honest accounts."""
    caught_counts: tuple[int, int]
    campaign_counts: tuple[int, int]
    false_counts: tuple[int, int]
    false_new: int
    """Honest accounts that the second version alone alarms."""
    false_gone: int
    cases: tuple[int, int]
    cases_a_day: tuple[float, float]
    minutes_a_day: tuple[float, float]
    requests: Pair
    """To detection, median of the attack accounts that both catch; NaN without any."""
    unjudged: tuple[int, int]
    """Accounts without a label that were alarmed."""
    caught_rows: list[Row]
    false_rows: list[Row]


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """What one version says of an account."""

    found: bool
    pattern: str = ""
    """That told of it, or came nearest."""
    e_value: float = 0.0
    needed: float = 0.0
    """E-value that opens its case."""
    signals: list[str] = []
    says: str = ""
    """The counterfactual: what would undo it, or what would open it."""
    held: list[str] = []
    """What kept it from being told."""


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """An account that one version tells of and the other does not."""

    account: str
    truth: str
    """attack, honest or unjudged."""
    kind: str
    campaign: str
    a: Reason
    b: Reason
    time: float
    """Event time of the alert, seconds."""
    requests: float
    """From the onset to the alert."""


class Speed(msgspec.Struct, frozen=True, kw_only=True):
    """What the comparison took."""

    seconds: float
    work: float
    """Seconds of processor time: other work on the machine does not count."""
    replay: float | None = None
    """The same of a replay by the first version alone, in the same run; None where it was not measured."""


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """A whole backtest."""

    format: int = 1
    answer: list[str]
    """Two sentences: would the second version have caught it, and at what cost to analysts."""
    a: str
    b: str
    data: list[str]
    requests: int
    accounts: int
    attack: int
    honest: int
    campaigns: int
    unjudged: int
    """Accounts without a label."""
    unseen: int
    """Labels whose account made no request."""
    days: float
    minutes_a_case: float
    replicates: int
    seed: int
    level: float = LEVEL
    loads: list[Load]
    gained: list[Move]
    lost: list[Move]
    false_new: list[Move]
    false_gone: list[Move]
    unjudged_new: list[Move]
    unjudged_gone: list[Move]
    campaigns_gained: list[str]
    campaigns_lost: list[str]
    speed: Speed | None = None


def load(
    truth: Truth,
    cohort: Sequence[str],
    patterns: Sequence[str],
    a: Outcome,
    b: Outcome,
    *,
    name: str,
    shift: float,
    days: float,
    minutes: float,
    replicates: int,
    seed: int,
) -> Load:
    """Compare two outcomes over the same labelled accounts.

    Intervals are of the bootstrap over campaigns, and over honest accounts, each with both versions' outcomes: accounts
    of one campaign are no independent evidence of another.
    """
    attack = truth.attack
    unit = codes([c or n for c, n in zip(truth.campaign, truth.account, strict=True)], attack.tolist())
    bad = np.zeros(int(unit.max()) + 1, np.bool_)
    bad[unit[attack]] = True
    boot = Bootstrap(bad.astype(np.int64), replicates, seed)
    a_hit, b_hit = a.found, b.found

    def share(groups: Sequence[Bools]) -> list[tuple[Estimate, Estimate, Estimate]]:
        sums = [np.stack([np.bincount(unit, mask & hit, len(bad)) for mask in groups]).astype(np.float64).T
                for hit in (np.ones(len(attack), np.bool_), a_hit, b_hit)]  # fmt: skip

        def statistic(weights: Floats) -> Floats:
            of, first, second = (weights @ each for each in sums)
            return np.concatenate([ratio(first, of), ratio(second, of), ratio(second - first, of)], axis=1)

        found, g = boot.estimates(statistic), len(groups)
        return list(zip(found[:g], found[g : 2 * g], found[2 * g :], strict=True))

    caught = [("all", "all attack accounts", attack), *_groups("kind", truth.archetype, attack)]
    caught += _groups("cohort", cohort, attack) + _groups("campaign", truth.campaign, attack)
    false = [("all", "all honest accounts", ~attack), *_groups("look-alike", truth.archetype, ~attack)]
    false += _groups("cohort", cohort, ~attack)
    figures = share([mask for _, _, mask in caught + false])
    rows = [
        Row(by=by, name=label, of=int(mask.sum()), a=int((mask & a_hit).sum()), b=int((mask & b_hit).sum()),
            both=int((mask & a_hit & b_hit).sum()), difference=figure[2])
        for (by, label, mask), figure in zip(caught + false, figures, strict=True)
    ]  # fmt: skip
    caught_rows, false_rows = rows[: len(caught)], rows[len(caught) :]
    for p, label in enumerate(patterns):
        by_a, by_b = a.by == p, b.by == p
        for mask, into in ((attack, caught_rows), (~attack, false_rows)):
            if (mask & (by_a | by_b)).any():
                into.append(
                    Row(by="pattern", name=label, of=int(mask.sum()), a=int((mask & by_a).sum()),
                        b=int((mask & by_b).sum()), both=int((mask & by_a & by_b).sum()),
                        difference=Estimate(np.nan, np.nan, np.nan))
                )  # fmt: skip
    whole = [np.bincount(unit, attack & hit, len(bad)) > 0 for hit in (a_hit, b_hit)]
    per_campaign = boot.estimates(
        lambda w: np.stack(
            [
                ratio(w[:, bad] @ each[bad], w[:, bad].sum(1))
                for each in (*whole, whole[1] - whole[0].astype(np.float64))
            ],
            axis=1,
        )
    )
    honest = figures[len(caught)]
    cases = (a.cases, b.cases)
    daily = tuple(count / days if days > 0 else np.nan for count in cases)
    return Load(
        name=name,
        shift=shift,
        caught=Pair(figures[0][0].value, figures[0][1].value, figures[0][2]),
        campaigns=Pair(per_campaign[0].value, per_campaign[1].value, per_campaign[2]),
        false_alarms=Pair(honest[0].value, honest[1].value, honest[2]),
        caught_counts=(caught_rows[0].a, caught_rows[0].b),
        campaign_counts=(int((whole[0] & bad).sum()), int((whole[1] & bad).sum())),
        false_counts=(false_rows[0].a, false_rows[0].b),
        false_new=int((~attack & b_hit & ~a_hit).sum()),
        false_gone=int((~attack & a_hit & ~b_hit).sum()),
        cases=cases,
        cases_a_day=(daily[0], daily[1]),
        minutes_a_day=(daily[0] * minutes, daily[1] * minutes),
        requests=_delay(attack & a_hit & b_hit, a.spent, b.spent, unit, boot),
        unjudged=(a.unjudged, b.unjudged),
        caught_rows=caught_rows,
        false_rows=false_rows,
    )


def _groups(by: str, column: Sequence[str], within: Bools) -> list[tuple[str, str, Bools]]:
    names = np.array(column, object)
    return [(by, name, within & (names == name)) for name in sorted(set(names[within].tolist()) - {""})]


def _delay(both: Bools, a: Floats, b: Floats, unit: Ints, boot: Bootstrap) -> Pair:
    """Requests to detection of the accounts that both versions catch: medians, and the median of the differences."""
    if not both.any():
        return Pair(np.nan, np.nan, Estimate(np.nan, np.nan, np.nan))
    a, b, of = a[both], b[both], unit[both]
    order = np.argsort(b - a, kind="stable")
    ranked = (b - a)[order]

    def statistic(weights: Floats) -> Floats:
        running = np.cumsum(weights[:, of[order]], axis=1)
        middle = ranked[np.argmax(running >= running[:, -1:] / 2, axis=1)]
        return np.where(running[:, -1] > 0, middle, np.nan)[:, None]

    return Pair(float(np.median(a)), float(np.median(b)), boot.estimates(statistic)[0])


def matched_shift(margins_a: int, margins: Sequence[float]) -> float:
    """Return by how much the second version's bar is to move so that it opens as many cases as the first, `margins_a`.

    Parameters
    ----------
    margins
        By how much the evidence for each case that the second version opened, or came near to opening, went beyond its
        bar; below 0 where it did not.

    Examples
    --------
    >>> matched_shift(2, [5.0, 1.0, 3.0]), matched_shift(3, [5.0, -2.0, 3.0])
    (3.0, -2.0)
    """
    ranked = sorted(margins, reverse=True)
    if not ranked:
        return 0.0
    if margins_a <= 0:
        return float(np.nextafter(ranked[0], np.inf))
    return ranked[min(margins_a, len(ranked)) - 1]


def answer(a: str, b: str, own: Load, matched: Load, named: tuple[Sequence[str], Sequence[str]], of: tuple[int, int],
           minutes: float) -> list[str]:  # fmt: skip
    """Return two sentences: would `b` have caught what `a` missed, and at what cost to analysts.

    Parameters
    ----------
    named
        Campaigns that only `b` catches, and that only `a` does.
    of
        Campaigns, and attack accounts.
    """
    gained, lost = named
    missed = of[0] - own.campaign_counts[0]
    if gained:
        verdict = "Yes" if len(gained) == missed and not lost else "In part"
        caught = f"{b} catches {_some(gained)}, which {a} missed"
    elif missed:
        verdict, caught = "No", f"{b} misses all {missed} campaigns that {a} missed"
    else:
        verdict, caught = ("No" if lost else "Nothing was missed"), f"{a} catches every campaign"
    if lost:
        caught += f", and loses {_some(lost)}"
    counts = own.caught_counts
    first = (
        f"{verdict}: {caught}. Of {of[0]} campaigns {own.campaign_counts[1]} are caught instead of "
        f"{own.campaign_counts[0]}, of {of[1]:,} attack accounts {counts[1]:,} instead of {counts[0]:,}."
    )
    minutes_a, minutes_b = own.minutes_a_day
    change = minutes_b - minutes_a
    much = "the same" if abs(change) < 0.05 else f"{abs(change):.1f} {'more' if change > 0 else 'less'}"
    second = (
        f"Cost: {minutes_b:.1f} analyst minutes a day, {much} ({own.cases_a_day[1]:.2f} cases a day instead of "
        f"{own.cases_a_day[0]:.2f}, {minutes:g} minutes a case); {own.false_new:,} honest accounts are newly alarmed, "
        f"{own.false_gone:,} no longer. At {a}'s alert load {b} catches {matched.campaign_counts[1]} campaigns and "
        f"{matched.caught_counts[1]:,} accounts, and alarms {matched.false_counts[1]:,} honest accounts instead of "
        f"{matched.false_counts[0]:,}."
    )
    return [first, second]


def _some(names: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
