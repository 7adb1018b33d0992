"""The result of an evaluation: plain values, ready for a table, JSON or a page. Computes nothing."""

from __future__ import annotations

import msgspec

from siphonwatch.models.evaluate.bootstrap import Estimate

FPRS = (0.001, 0.01)
"""Shares of benign accounts that may be flagged, at which recall is reported."""


class Dataset(msgspec.Struct, frozen=True, kw_only=True):
    """What was evaluated."""

    name: str
    requests: int
    accounts: int
    attack: int
    benign: int
    campaigns: int
    unlabelled: int
    """Accounts of the log that have no label; left out of every figure."""
    days: float
    auc: float
    recall_at_fpr: list[float]
    alert_recall: float
    alert_fpr: float


class Delay(msgspec.Struct, frozen=True, kw_only=True):
    """Requests that passed until accounts, or campaigns, were first named; the one that raised the alert counts."""

    of: int
    never: int
    """Never named."""
    median: Estimate
    """Of those that were named."""
    p90: Estimate
    median_of_all: Estimate
    """With what was never named at infinity: infinite when fewer than half are found."""
    values: list[int]
    """Of those that were named, ascending."""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """How one group of attack accounts fares against all benign ones."""

    by: str
    """What it is grouped by: all, type, share, type and share, desensitised, family, left out."""
    name: str
    accounts: int
    auc: Estimate
    pr_auc: Estimate
    recall_at_fpr: list[Estimate]
    """One for each of `FPRS`."""
    alert_recall: Estimate
    campaigns: int
    campaigns_found: int
    delay_requests: Delay
    """Requests of the account, honest and not."""
    delay_attack_requests: Delay | None
    """Attack requests only; None where they are not known."""
    delay_campaign: Delay | None
    """Attack requests of a whole campaign until the first of its accounts is named, one value a campaign."""


class Benign(msgspec.Struct, frozen=True, kw_only=True):
    """How often accounts that never attack are flagged."""

    archetype: str
    accounts: int
    alerted: Estimate
    above_threshold: list[Estimate]
    """Above the score that `FPRS` of all benign accounts exceed."""
    by_pattern: dict[str, int]
    """Accounts, by the pattern that named them."""


class Discovery(msgspec.Struct, frozen=True, kw_only=True):
    """False discoveries among released cases."""

    by: str
    """all, pattern or severity."""
    name: str
    cases: int
    false: int
    proportion: Estimate


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What analysts would see."""

    cases: int
    alerts: int
    """Openings, updates and closings."""
    cases_per_1000_accounts_day: float
    alerts_per_1000_accounts_day: float
    early: int
    """Attack accounts named before their onset."""


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """Share of benign accounts whose peak e-value reached 1/alpha."""

    pattern: str
    """`any` for the highest of all patterns, which the sum of their alphas bounds."""
    alphas: list[float]
    bound: list[float]
    exceeded: list[Estimate]


class Direction(msgspec.Struct, frozen=True, kw_only=True):
    """Where a feature points in each data set, as ROC areas of accounts; above 0.5 attackers have more of it."""

    feature: str
    highest: list[float]
    mean: list[float]
    stable: bool
    """Whether an account's highest value, or its mean, points one way everywhere; see `margin` of the report."""
    by_type: dict[str, list[float]]
    """Areas of the mean for the attack accounts of one type alone."""


class Ablation(msgspec.Struct, frozen=True, kw_only=True):
    """What some of the patterns do."""

    patterns: str
    auc: Estimate
    recall_at_fpr: list[Estimate]
    alert_recall: Estimate
    alert_fpr: Estimate
    false_discovery: Estimate


class Rival(msgspec.Struct, frozen=True, kw_only=True):
    """How one way of ranking accounts does, by attack type; `all` for all of them."""

    name: str
    types: list[str]
    auc: list[Estimate]
    recall_at_fpr: list[list[Estimate]]
    """By type, then one for each of `FPRS`."""


class Found(msgspec.Struct, frozen=True):
    """How many attack accounts, and campaigns, were found."""

    accounts: int
    campaigns: int
    alerted: int
    alerted_campaigns: int
    """With an alert on any of their accounts."""
    alerted_halves: int
    """With an alert on half of their accounts at least."""
    above: int
    """Above the score that the first of `FPRS` of the run's honest accounts exceed."""
    above_campaigns: int
    above_halves: int


class Outcome(msgspec.Struct, frozen=True):
    """What one replay found."""

    all: Found
    by_type: dict[str, Found]
    by_share: dict[str, Found]
    """By the attack's share of its account's traffic, the smallest first."""
    honest: int
    honest_alerted: int


class Cost(msgspec.Struct, frozen=True):
    """How many times as much the same answers cost an attacker who plays a trick."""

    requests: float
    tokens_in: float
    tokens_out: float
    accounts: float
    days: float


class Evasion(msgspec.Struct, frozen=True, kw_only=True):
    """One trick, played by every attacker of the log."""

    name: str
    says: str
    """What the attacker does."""
    before: Outcome
    """Of the log as it is."""
    after: Outcome
    kept: float
    """The least that is left of the recall: of accounts and of campaigns, by alerts and above the threshold."""
    cost: Cost


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A ROC and precision-recall curve, thinned for plotting."""

    name: str
    fpr: list[float]
    recall: list[float]
    precision: list[float]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole evaluation."""

    format: int = 1
    alpha: float
    budget: float
    """Share of released cases that may be false."""
    replicates: int
    seed: int
    level: float
    """Share of replicates inside an interval."""
    fprs: tuple[float, ...] = FPRS
    datasets: list[Dataset]
    groups: list[Group]
    false_alarms: list[Benign]
    discoveries: list[Discovery]
    load: Load
    calibration: list[Calibration]
    direction_parts: list[str]
    """The data sets, or the two halves of the only one."""
    directions: list[Direction]
    ablation: list[Ablation]
    rivals: list[Rival]
    """siphonwatch itself first; the others where baselines were asked for."""
    curves: list[Line]
    evasions: list[Evasion] = []
    """Where they were asked for."""
