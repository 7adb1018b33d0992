"""Why the figures are what they are: calibration of the evidence, directions of the features, worth of the patterns."""

from __future__ import annotations

import numpy as np

from siphonwatch.models.account.features import NAMES
from siphonwatch.models.evaluate.ablation import combined, subsets
from siphonwatch.models.evaluate.alerts import discoveries, first_alerts
from siphonwatch.models.evaluate.bootstrap import Bootstrap, counted
from siphonwatch.models.evaluate.calibration import ALPHAS, crossed
from siphonwatch.models.evaluate.data import Observed, codes
from siphonwatch.models.evaluate.features import directions, halves, stable
from siphonwatch.models.evaluate.report import Ablation, Calibration, Direction
from siphonwatch.models.evaluate.rivals import rank_figures

MARGIN = 0.02
"""ROC areas nearer to 0.5 than this point nowhere."""


def calibrations(data: Observed, boot: Bootstrap) -> list[Calibration]:
    """Return how often benign accounts' peak e-values reach 1/alpha, for any pattern and for each.

    A campaign's evidence is about the campaign, not about each account: its pattern is left out.
    """
    benign = ~data.truth.attack
    own = [(name, data.peak[:, p]) for p, name in enumerate(data.patterns) if data.own[p]]
    columns = [("any", np.stack([peak for _, peak in own], axis=1).max(axis=1), len(own))] if own else []
    columns += [(name, peak, 1) for name, peak in own]
    return [
        Calibration(
            pattern=name,
            alphas=list(ALPHAS),
            bound=[min(alpha * count, 1.0) for alpha in ALPHAS],
            exceeded=[boot.shares(crossed(peak, alpha), [benign])[0] for alpha in ALPHAS],
        )
        for name, peak, count in columns
    ]


def feature_directions(data: Observed, seed: int) -> tuple[list[str], list[Direction]]:
    """Return where each feature points in each data set, or in the two halves of the only one; their names first."""
    truth = data.truth
    named = [(name, data.dataset == i) for i, name in enumerate(data.names)]
    if len(named) == 1:
        first = halves(codes(truth.attack.tolist(), truth.archetype), seed)
        named = [("half 1", first), ("half 2", ~first)]
    # One attack account is no two halves.
    named = [(name, part) for name, part in named if truth.attack[part].any() and not truth.attack[part].all()]
    parts = [part for _, part in named]
    highest, mean = (directions(values, truth.attack, parts) for values in (data.feature_high, data.feature_mean))
    steady = stable(highest, MARGIN) | stable(mean, MARGIN)
    kind = np.array(truth.archetype, object)
    by_type = {}
    for name in sorted(set(kind[truth.attack].tolist()) - {""}):
        of_type = ~truth.attack | (kind == name)
        within = [part & of_type for part in parts if truth.attack[part & of_type].any()]
        if within:
            by_type[name] = directions(data.feature_mean, truth.attack, within)
    return [name for name, _ in named], [
        Direction(
            feature=feature,
            highest=highest[f].tolist(),
            mean=mean[f].tolist(),
            stable=bool(steady[f]),
            by_type={name: areas[f].tolist() for name, areas in by_type.items()},
        )
        for f, feature in enumerate(NAMES)
    ]


def ablations(data: Observed, boot: Bootstrap) -> list[Ablation]:
    """Return what all patterns do, all but one, and each alone."""
    truth = data.truth
    out = []
    for subset in subsets(data.patterns):
        score = combined(data.peak, data.top, data.weight, subset.keep)
        [area], [recalls] = rank_figures(score, truth.attack, [truth.attack], boot)
        alerts = data.alerts.where(subset.keep[data.alerts.pattern])
        found = first_alerts(alerts, truth.attack, truth.onset).found
        recall, fpr = boot.shares(found, [truth.attack, ~truth.attack])
        cases = discoveries(alerts, truth.attack, truth.onset)
        [proportion] = boot.estimates(lambda weights, cases=cases: cases.proportion(weights)[:, None])  # type: ignore[misc]
        out.append(
            Ablation(
                patterns=subset.name,
                auc=area,
                recall_at_fpr=recalls,
                alert_recall=recall,
                alert_fpr=fpr,
                false_discovery=counted(proportion, cases.false_cases, cases.cases),
            )
        )
    return out
