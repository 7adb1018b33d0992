"""Ways of ranking accounts side by side, by attack type: siphonwatch's suspicion, and baselines where there are any."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from siphonwatch.models.evaluate.bootstrap import Bools, Bootstrap, Estimate, Floats, counted, ratio
from siphonwatch.models.evaluate.data import Observed
from siphonwatch.models.evaluate.ranking import exceeds, placements
from siphonwatch.models.evaluate.report import FPRS, Rival

OURS = "siphonwatch"


def rank_figures(
    score: Floats, attack: Bools, groups: Sequence[Bools], boot: Bootstrap
) -> tuple[list[Estimate], list[list[Estimate]]]:
    """Return each group's ROC area and its recall at each of `FPRS`, against all benign accounts.

    `score` and `attack` are `(n,)`; a group is `(n,)` and lies within `attack`.
    """
    positive, negative = score[attack], score[~attack]
    members = np.stack([group[attack] for group in groups]).astype(np.float64)

    def statistic(weights: Floats) -> Floats:
        own, others = weights[:, attack], weights[:, ~attack]
        below = own @ members.T
        parts = [placements(positive, negative, others)]
        parts += [exceeds(positive, negative, others, fpr).astype(np.float64) for fpr in FPRS]
        return np.concatenate([ratio(own * part @ members.T, below) for part in parts], axis=1)

    found = boot.estimates(statistic)
    g = len(groups)
    sizes = [int(group.sum()) for group in groups]
    recalls = [
        [counted(found[(1 + k) * g + i], round(found[(1 + k) * g + i].value * of), of) for k in range(len(FPRS))]
        for i, of in enumerate(sizes)
    ]
    return found[:g], recalls


def rivals(data: Observed, boot: Bootstrap) -> list[Rival]:
    """Return siphonwatch, then each of the baselines."""
    truth = data.truth
    kind = np.array(truth.archetype, object)
    types = ["all", *sorted(set(kind[truth.attack].tolist()) - {""})]
    groups = [truth.attack, *(truth.attack & (kind == name) for name in types[1:])]
    out = []
    for name, score in {OURS: data.score, **data.baselines}.items():
        areas, recalls = rank_figures(score, truth.attack, groups, boot)
        out.append(Rival(name=name, types=types, auc=areas, recall_at_fpr=recalls))
    return out
