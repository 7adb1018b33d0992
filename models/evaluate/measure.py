"""From a run's outcome to the report: every figure, each from the same replicates. Reads and prints nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from siphonwatch.models.evaluate.alerts import First, discoveries, first_alerts, quantiles, requests_until
from siphonwatch.models.evaluate.bootstrap import LEVEL, Bools, Bootstrap, Floats, Ints, counted
from siphonwatch.models.evaluate.data import Observed, Truth, codes, nearest_share
from siphonwatch.models.evaluate.explain import ablations, calibrations, feature_directions
from siphonwatch.models.evaluate.ranking import average_precision, curve, exceeds, placements, threshold
from siphonwatch.models.evaluate.report import FPRS, Benign, Dataset, Delay, Discovery, Group, Line, Load, Report
from siphonwatch.models.evaluate.rivals import rank_figures, rivals
from siphonwatch.models.evidence.process import SEVERITIES

PERCENTILES = (0.5, 0.9)
POINTS = 400
"""Points of a plotted curve."""


class Grouping(NamedTuple):
    """A group of attack accounts."""

    by: str
    name: str
    members: Bools
    """`(n,)`."""


def evaluate(
    sets: Sequence[Observed],
    pooled: Observed,
    *,
    alpha: float,
    budget: float,
    replicates: int,
    seed: int,
    left_out: Sequence[str] = (),
    unlabelled: Sequence[int],
) -> Report:
    """Measure runs against their labels.

    Parameters
    ----------
    sets, pooled
        The data sets, and all as one (`siphonwatch.models.evaluate.data.pool`). Each has attack and benign accounts.
    alpha, budget
        What the scorer promised, to be held against what it did.
    left_out
        Families, or beginnings of campaign names, that took no part in any fit.
    unlabelled
        Accounts without a label, by data set.
    """
    truth = pooled.truth
    boot = Bootstrap(codes(pooled.dataset.tolist(), truth.attack.tolist(), truth.archetype), replicates, seed)
    first = first_alerts(pooled.alerts, truth.attack, truth.onset)
    chosen = groupings(truth, left_out)
    parts, directions = feature_directions(pooled, seed)
    return Report(
        alpha=alpha,
        budget=budget,
        replicates=replicates,
        seed=seed,
        level=LEVEL,
        datasets=[_dataset(s, n) for s, n in zip(sets, unlabelled, strict=True)],
        groups=_groups(pooled, boot, first, chosen),
        false_alarms=_false_alarms(pooled, boot, first),
        discoveries=_discoveries(pooled, boot),
        load=_load(pooled, first),
        calibration=calibrations(pooled, boot),
        direction_parts=parts,
        directions=directions,
        ablation=ablations(pooled, boot),
        rivals=rivals(pooled, boot),
        curves=_curves(pooled, chosen),
    )


def groupings(truth: Truth, left_out: Sequence[str]) -> list[Grouping]:
    """Return the groups of attack accounts that have any members."""
    attack = truth.attack
    kind, family = np.array(truth.archetype, object), np.array(truth.family, object)
    share = nearest_share(truth.share)
    groups = [Grouping("all", "all attacks", attack)]
    kinds = sorted(set(kind[attack].tolist()) - {""})
    groups += [Grouping("type", name, attack & (kind == name)) for name in kinds]
    shares = sorted(set(share[attack & ~np.isnan(share)].tolist()))
    groups += [Grouping("share", f"share {value:.0%}", attack & (share == value)) for value in shares]
    groups += [
        Grouping("type and share", f"{name} {value:.0%}", attack & (kind == name) & (share == value))
        for name in kinds
        for value in shares
    ]
    for value, name in ((1, "desensitised"), (0, "not desensitised")):
        groups.append(Grouping("desensitised", name, attack & (truth.desensitised == value)))
    groups += [
        Grouping("family", name, attack & (family == name)) for name in sorted(set(family[attack].tolist()) - {""})
    ]
    if left_out:
        starts = tuple(left_out)
        unseen = np.array(
            [f in starts or c.startswith(starts) for f, c in zip(truth.family, truth.campaign, strict=True)], np.bool_
        )
        groups.append(Grouping("left out", "left out of every fit", attack & unseen))
        groups.append(Grouping("left out", "the others", attack & ~unseen))
    return [group for group in groups if group.members.any()]


def _groups(data: Observed, boot: Bootstrap, first: First, chosen: Sequence[Grouping]) -> list[Group]:
    truth = data.truth
    members = [group.members for group in chosen]
    areas, recalls = rank_figures(data.score, truth.attack, members, boot)
    positive, negative = data.score[truth.attack], data.score[~truth.attack]

    def precision(weights: Floats) -> Floats:
        attack, benign = weights[:, truth.attack], weights[:, ~truth.attack]
        inside = [group[truth.attack] for group in members]
        each = [average_precision(positive[one], negative, attack[:, one], benign) for one in inside]
        return np.stack(each, axis=1)

    precisions = boot.estimates(precision)
    alerted = boot.shares(first.found, members)
    start = np.where(np.isnan(truth.onset), -np.inf, truth.onset)
    own = requests_until(data.requests.account, data.requests.time, start, first.time)
    attacking = np.where(data.requests.attack, data.requests.account, -1)
    spent = requests_until(attacking, data.requests.time, np.full_like(start, -np.inf), first.time)
    by_campaign = _Campaigns(data, first, boot)
    out = []
    for g, group in enumerate(chosen):
        one = group.members
        campaigns = _campaigns(truth, one)
        out.append(
            Group(
                by=group.by,
                name=group.name,
                accounts=int(one.sum()),
                auc=areas[g],
                pr_auc=precisions[g],
                recall_at_fpr=recalls[g],
                alert_recall=alerted[g],
                campaigns=len(campaigns),
                campaigns_found=len(_campaigns(truth, one & first.found)),
                delay_requests=_delay(own, one, first.found, boot),
                delay_attack_requests=_delay(spent, one, first.found, boot) if data.knows_requests else None,
                delay_campaign=by_campaign.delay(one) if data.knows_requests else None,
            )
        )
    return out


class _Campaigns:
    """Each campaign as one: found when the first of its accounts is, after so many attack requests of all of them."""

    def __init__(self, data: Observed, first: First, boot: Bootstrap) -> None:
        truth = data.truth
        names = [campaign or account for campaign, account in zip(truth.campaign, truth.account, strict=True)]
        # Honest accounts each stand alone, and are in no group.
        own = [name if bad else str(i) for i, (name, bad) in enumerate(zip(names, truth.attack.tolist(), strict=True))]
        self._of = codes(data.dataset.tolist(), truth.attack.tolist(), own)
        n = int(self._of.max()) + 1
        time = np.full(n, np.inf)
        np.minimum.at(time, self._of[truth.attack], first.time[truth.attack])
        sent = np.where(data.requests.attack & (data.requests.account >= 0), self._of[data.requests.account], -1)
        self._spent = requests_until(sent, data.requests.time, np.full(n, -np.inf), time)
        self._found = np.isfinite(time)
        self._boot = boot

    def delay(self, group: Bools) -> Delay:
        """Return the delay of the campaigns that have accounts in the group, `(n,)`."""
        members = np.zeros(len(self._found), np.bool_)
        members[self._of[group]] = True
        few = Bootstrap(np.zeros(int(members.sum()), np.int64), self._boot.replicates, self._boot.seed)
        every = np.ones(few.n, np.bool_)
        return _delay(self._spent[members], every, self._found[members], few)


def _campaigns(truth: Truth, members: Bools) -> set[str]:
    return {truth.campaign[i] or truth.account[i] for i in np.flatnonzero(members).tolist()}


def _delay(spent: Ints, members: Bools, found: Bools, boot: Bootstrap) -> Delay:
    named = members & found
    of_all = np.where(found, spent, np.inf)[members]
    values = spent[named].astype(np.float64)

    def statistic(weights: Floats) -> Floats:
        return np.concatenate(
            [quantiles(values, weights[:, named], PERCENTILES), quantiles(of_all, weights[:, members], (0.5,))], axis=1
        )

    median, p90, median_of_all = boot.estimates(statistic)
    return Delay(
        of=int(members.sum()),
        never=int((members & ~found).sum()),
        median=median,
        p90=p90,
        median_of_all=median_of_all,
        values=sorted(spent[named].tolist()),
    )


def _false_alarms(data: Observed, boot: Bootstrap, first: First) -> list[Benign]:
    benign = ~data.truth.attack
    kind = np.array(data.truth.archetype, object)
    names = ["all benign", *sorted(set(kind[benign].tolist()) - {""})]
    groups = [benign, *(benign & (kind == name) for name in names[1:])]
    alerted = boot.shares(first.found, groups)
    levels = [threshold(data.score[benign], fpr) for fpr in FPRS]
    above = [boot.shares(data.score > level, groups) for level in levels]
    by_pattern = np.zeros((len(data.patterns), len(benign)), np.bool_)
    by_pattern[data.alerts.pattern, data.alerts.account] = True
    return [
        Benign(
            archetype=name,
            accounts=int(group.sum()),
            alerted=alerted[g],
            above_threshold=[shares[g] for shares in above],
            by_pattern={
                pattern: count
                for pattern, count in zip(data.patterns, (by_pattern & group).sum(1).tolist(), strict=True)
                if count
            },
        )
        for g, (name, group) in enumerate(zip(names, groups, strict=True))
    ]


def _discoveries(data: Observed, boot: Bootstrap) -> list[Discovery]:
    truth, alerts = data.truth, data.alerts
    grade = np.array([SEVERITIES.index(s) for s in data.severity], np.int64)[alerts.case]
    parts = [("all", "all", np.ones(len(alerts.case), np.bool_))]
    parts += [("pattern", name, alerts.pattern == p) for p, name in enumerate(data.patterns)]
    parts += [("severity", name, grade == s) for s, name in enumerate(SEVERITIES)]
    found = [discoveries(alerts.where(keep), truth.attack, truth.onset) for _, _, keep in parts]
    estimates = boot.estimates(lambda weights: np.stack([d.proportion(weights) for d in found], axis=1))
    return [
        Discovery(by=by, name=name, cases=d.cases, false=d.false_cases, proportion=counted(e, d.false_cases, d.cases))
        for (by, name, _), d, e in zip(parts, found, estimates, strict=True)
        if d.cases or by == "all"
    ]


def _load(data: Observed, first: First) -> Load:
    account_days = data.account_days / 1000
    return Load(
        cases=data.opened,
        alerts=data.told,
        cases_per_1000_accounts_day=data.opened / account_days if account_days else np.nan,
        alerts_per_1000_accounts_day=data.told / account_days if account_days else np.nan,
        early=int(first.early.sum()),
    )


def _curves(data: Observed, chosen: Sequence[Grouping]) -> list[Line]:
    negative = data.score[~data.truth.attack]
    lines = []
    for group in chosen:
        if group.by in ("all", "type"):
            whole = curve(data.score[group.members], negative)
            steps = np.flatnonzero(np.diff(whole.fpr, prepend=-1.0) + np.diff(whole.recall, prepend=-1.0))
            # Evenly over the curve's length on the logarithmic axis, where its beginning matters most.
            position = np.log(np.maximum(whole.fpr[steps], 0.5 / len(negative))) + 8 * whole.recall[steps]
            wanted = np.linspace(position[0], position[-1], POINTS)
            kept = steps[np.unique(np.clip(np.searchsorted(position, wanted), 0, len(steps) - 1))]
            lines.append(
                Line(
                    name=group.name,
                    fpr=whole.fpr[kept].tolist(),
                    recall=whole.recall[kept].tolist(),
                    precision=whole.precision[kept].tolist(),
                )
            )
    return lines


def _dataset(data: Observed, unlabelled: int) -> Dataset:
    truth = data.truth
    positive, negative = data.score[truth.attack], data.score[~truth.attack]
    one = np.ones((1, len(negative)))
    found = first_alerts(data.alerts, truth.attack, truth.onset).found
    return Dataset(
        name=data.names[0],
        requests=len(data.requests.time),
        accounts=len(data.score),
        attack=int(truth.attack.sum()),
        benign=int((~truth.attack).sum()),
        campaigns=len(_campaigns(truth, truth.attack)),
        unlabelled=unlabelled,
        days=data.days,
        auc=float(placements(positive, negative, one).mean()),
        recall_at_fpr=[float(exceeds(positive, negative, one, fpr).mean()) for fpr in FPRS],
        alert_recall=float(found[truth.attack].mean()),
        alert_fpr=float(found[~truth.attack].mean()),
    )
