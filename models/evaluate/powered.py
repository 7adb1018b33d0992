"""Precision over all cases of a pattern from the few that analysts have judged, by what a ranker says of the others.

Analysts judge the head of the queue, so that the confirmed share of what they judged is no estimate of the share among
all cases. Here each third of the cases, by rank, counts as much as it has cases, and predictions for the unjudged ones
take away the part of the noise that they explain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from siphonwatch.models.learn.ranker import Ranker
from siphonwatch.models.learn.ranker_features import Facts, features

THIRDS = 3
FEWEST = 6
"""Judged cases of a third from which on its spread can be estimated at all; fewer give no interval."""
PSEUDO = 2.0
"""Confirmed and refuted cases, one each, that a third counts beside its own (Agresti and Coull): where all that were
judged turned out alike, the others need not."""
FOLDS = 5

Floats = npt.NDArray[np.float64]


class Powered(NamedTuple):
    """The share of all cases that analysts would confirm, and where it is with 95 %, at one look."""

    value: float
    low: float
    high: float
    cases: int
    judged: int
    power: float
    """How much of the predictions was used, in [0, 1]; 0 where they explain nothing of the verdicts."""


class Case(NamedTuple):
    """A case, and what was decided of it."""

    facts: Facts
    account: str
    confirmed: bool | None
    """None where nobody has decided."""


def powered(outcomes: Floats, said: Floats, rest: Floats, level: float = 0.95) -> Powered | str:
    """Return an interval for the mean outcome of judged and unjudged cases together, or why there is none.

    It holds where, among cases of one third by prediction, whether a case was judged does not depend on what it turns
    out to be, and cases are independent; verdicts may be missing as they like from third to third. The predictions may
    be as wrong as they like: then the interval is as wide as without them. One look: it is no confidence sequence.

    Parameters
    ----------
    outcomes
        `(n,)` of the judged cases, 0 or 1.
    said
        `(n,)` what was predicted of them, in [0, 1], by something that had not seen their outcomes.
    rest
        `(m,)` what was predicted of the unjudged cases.
    level
        Chance that the interval covers the mean.

    Notes
    -----
    Prediction-powered inference (Angelopoulos et al. 2023) with the predictions' weight chosen by the data (PPI++, the
    same 2024), in strata (Fisch et al. 2024), with the correction for a finite number of cases, and Student's t with
    Satterthwaite's degrees of freedom.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> chance = rng.uniform(0.1, 0.9, 300)
    >>> verdicts = (rng.random(300) < chance).astype(float)
    >>> found = powered(verdicts[:60], chance[:60], chance[60:])
    >>> bool(found.low < verdicts.mean() < found.high), found.cases, found.judged
    (True, 300, 60)
    """
    whole = np.concatenate([said, rest])
    order = np.argsort(np.argsort(whole, kind="stable"), kind="stable")
    third = order * THIRDS // max(len(whole), 1)
    of_judged = third[: len(said)]
    counts = np.bincount(of_judged, minlength=THIRDS)
    if counts.min() < FEWEST:
        worst = int(counts.argmin())
        name = ("lowest", "middle", "highest")[worst]
        return f"of the third that ranks {name} {counts[worst]} are judged, {FEWEST} are needed"
    power = _power(outcomes, said, of_judged)
    value = variance = squares = 0.0
    for k in range(THIRDS):
        here, everyone = of_judged == k, whole[third == k]
        n, share = int(here.sum()), len(everyone) / len(whole)
        middle = float(outcomes[here].mean())
        padded = (middle * n + PSEUDO / 2.0) / (n + PSEUDO)
        left = outcomes[here] - power * said[here]
        spread = max(float(left.var(ddof=1)), 0.0)
        # As far as the pseudo cases widen the spread of the outcomes, that of what is left is widened.
        spread += max(padded * (1.0 - padded) - middle * (1.0 - middle), 0.0)
        part = share**2 * spread / n * (1.0 - n / len(everyone))
        value += share * (float(left.mean()) + power * float(everyone.mean()))
        variance += part
        squares += part**2 / (n - 1)
    value = min(max(value, 0.0), 1.0)
    if variance == 0.0:  # every case is judged
        return Powered(value, value, value, len(whole), len(said), power)
    half = float(student.ppf(0.5 + level / 2.0, variance**2 / squares)) * math.sqrt(variance)
    return Powered(value, max(value - half, 0.0), min(value + half, 1.0), len(whole), len(said), power)


def _power(outcomes: Floats, said: Floats, third: npt.NDArray[np.int64]) -> float:
    """The weight of the predictions at which the estimate varies least, from what they explain inside the thirds."""
    y, f = outcomes.copy(), said.copy()
    for k in range(THIRDS):
        here = third == k
        y[here] -= y[here].mean()
        f[here] -= f[here].mean()
    spread = float(f @ f)
    if spread <= 0.0:
        return 0.0
    return min(max(float(y @ f) / spread, 0.0), 1.0)


def out_of_fold(cases: Sequence[Case], folds: int = FOLDS) -> Floats:
    """Return the rank of each case, `(n,)`, by rankers that learnt from the verdicts on other accounts alone.

    Of undecided cases the mean over the rankers (cross-prediction, Zrnic & Candès 2024). An account's k-th case counts
    1/k, as in the verdict book.
    """
    accounts = {account: i % folds for i, account in enumerate(dict.fromkeys(case.account for case in cases))}
    fold = np.array([accounts[case.account] for case in cases], np.int64)
    read = [features(case.facts) for case in cases]
    ranks = np.zeros((folds, len(cases)))
    for k in range(folds):
        ranker, taught = Ranker(), dict.fromkeys(accounts, 0)
        for i, case in enumerate(cases):
            if case.confirmed is not None and fold[i] != k:
                taught[case.account] += 1
                ranker.learn_one(read[i], case.confirmed, 1.0 / taught[case.account])
        ranks[k] = [ranker.predict_proba_one(x)[True] for x in read]
    decided = np.array([case.confirmed is not None for case in cases], np.bool_)
    return np.where(decided, ranks[fold, np.arange(len(cases))], ranks.mean(axis=0))
