"""The outcome of one run over one labelled data set, as columns; several are pooled one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from siphonwatch.models.evaluate.alerts import Alerts
from siphonwatch.models.evaluate.bootstrap import Bools, Floats, Ints

SHARES = (0.05, 0.10, 0.25, 0.50, 1.00)
"""An attack account is reported under the nearest of these, in ratio."""
LEAST_SHARE = 1e-3


class Truth(NamedTuple):
    """The labels; each of `n` accounts."""

    account: list[str]
    attack: Bools
    archetype: list[str]
    """Kind of customer or of attack; empty where the labels do not say."""
    campaign: list[str]
    family: list[str]
    """Of the attack; empty for benign accounts."""
    share: Floats
    """Attack requests over requests; NaN where unknown."""
    onset: Floats
    """Event time of the first attack request, seconds; NaN where unknown."""
    desensitised: Ints
    """1, 0, or -1 where unknown."""


class Requests(NamedTuple):
    """The requests of a run; each shape `(m,)`."""

    account: Ints
    """Place of the account in the truth; -1 for one without a label."""
    time: Floats
    attack: Bools


class Observed(NamedTuple):
    """One run over one data set, or several pooled."""

    names: list[str]
    """Of the data sets."""
    dataset: Ints
    """`(n,)` place of each account's data set in `names`."""
    truth: Truth
    score: Floats
    """`(n,)` the highest suspicion each account reached."""
    patterns: tuple[str, ...]
    own: Bools
    """`(P,)` whether the pattern's evidence is of an account's own, rather than of a campaign that named it."""
    weight: Floats
    """`(P,)` what a unit of the pattern's log e-value adds to the suspicion."""
    peak: Floats
    """`(n, P)` highest log e-value."""
    top: Floats
    """`(n, P)` what the highest score adds to the suspicion."""
    alerts: Alerts
    """Openings and updates of cases."""
    opened: int
    """Cases opened."""
    told: int
    """Everything said about cases: openings, updates and closings."""
    severity: list[str]
    """By case number: the gravest it was told with."""
    requests: Requests
    knows_requests: bool
    """Whether the attack requests are known one by one."""
    feature_high: Floats
    """`(n, F)` each account's highest value."""
    feature_mean: Floats
    days: float
    """Event time covered, all data sets together."""
    account_days: float
    """Accounts times days, summed over the data sets."""
    baselines: dict[str, Floats]
    """`(n,)` scores by name."""


def pool(sets: Sequence[Observed]) -> Observed:
    """Return several data sets as one: accounts of one name in two data sets are two accounts.

    A pattern that only some of them know counts as without evidence in the others.

    Raises
    ------
    ValueError
        Where they were not ranked by the same baselines.
    """
    first = sets[0]
    for other in sets[1:]:
        if list(other.baselines) != list(first.baselines):
            raise ValueError(f"{other.names[0]} was ranked by other baselines than {first.names[0]}")
    weight = {name: value for s in sets for name, value in zip(s.patterns, s.weight.tolist(), strict=True)}
    own = {name for s in sets for name, mine in zip(s.patterns, s.own.tolist(), strict=True) if mine}
    place = {name: p for p, name in enumerate(weight)}
    places = [np.array([place[name] for name in s.patterns], np.int64) for s in sets]
    starts = np.cumsum([0, *(len(s.score) for s in sets)])
    cases = np.cumsum([0, *(len(s.severity) for s in sets)])
    accounts = np.concatenate
    return Observed(
        names=[name for s in sets for name in s.names],
        dataset=accounts([np.full(len(s.score), i) for i, s in enumerate(sets)]),
        truth=Truth(*(_join([s.truth[k] for s in sets]) for k in range(len(Truth._fields)))),
        score=accounts([s.score for s in sets]),
        patterns=tuple(weight),
        own=np.array([name in own for name in weight], np.bool_),
        weight=np.array(list(weight.values())),
        peak=accounts([_widen(s.peak, at, len(weight)) for s, at in zip(sets, places, strict=True)]),
        top=accounts([_widen(s.top, at, len(weight)) for s, at in zip(sets, places, strict=True)]),
        alerts=Alerts(
            account=accounts([s.alerts.account + start for s, start in zip(sets, starts, strict=False)]),
            time=accounts([s.alerts.time for s in sets]),
            pattern=accounts([at[s.alerts.pattern] for s, at in zip(sets, places, strict=True)]),
            case=accounts([s.alerts.case + start for s, start in zip(sets, cases, strict=False)]),
        ),
        opened=sum(s.opened for s in sets),
        told=sum(s.told for s in sets),
        severity=[grade for s in sets for grade in s.severity],
        requests=Requests(
            account=accounts(
                [np.where(s.requests.account < 0, -1, s.requests.account + start)
                 for s, start in zip(sets, starts, strict=False)]
            ),
            time=accounts([s.requests.time for s in sets]),
            attack=accounts([s.requests.attack for s in sets]),
        ),
        knows_requests=all(s.knows_requests for s in sets),
        feature_high=accounts([s.feature_high for s in sets]),
        feature_mean=accounts([s.feature_mean for s in sets]),
        days=sum(s.days for s in sets),
        account_days=sum(s.account_days for s in sets),
        baselines={name: accounts([s.baselines[name] for s in sets]) for name in first.baselines},
    )  # fmt: skip


def _widen(peak: Floats, places: Ints, width: int) -> Floats:
    wide = np.zeros((len(peak), width))
    wide[:, places] = peak
    return wide


def _join(columns: Sequence[Any]) -> Any:
    if isinstance(columns[0], list):
        return [value for column in columns for value in column]
    return np.concatenate(columns)


def nearest_share(share: Floats) -> Floats:
    """Return the nearest of `SHARES` in ratio, `(n,)`; NaN stays."""
    distance = np.abs(np.log(np.maximum(share, LEAST_SHARE))[:, None] - np.log(np.array(SHARES)))
    unknown = np.isnan(share)
    distance[unknown] = 0.0
    return np.where(unknown, np.nan, np.array(SHARES)[np.argmin(distance, axis=1)])


def codes(*columns: Sequence[object]) -> Ints:
    """Return a number for each distinct row of the columns, `(n,)`, in order of first appearance."""
    seen: dict[tuple[object, ...], int] = {}
    return np.array([seen.setdefault(row, len(seen)) for row in zip(*columns, strict=True)], np.int64)
