"""The ranker: how likely an analyst would confirm a case, learnt online from verdicts; it orders, and decides nothing.

A Bayesian linear regression on what the evidence alone leaves unexplained. Before any verdict the order is that of the
evidence; each verdict moves it as far as it is sure, with no learning rate to choose and no order to suffer from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from river import base

from siphonwatch.models.learn.ranker_features import PRIOR

MAX_FEATURES = 256
"""Names that are learnt; later ones count nothing. The model is a square of so many doubles, half a megabyte."""
FIRST = 64
"""Names that there is room for at first."""
NOISE_PRECISION = 0.1
"""How sure one verdict is beside the prior, which holds each weight at 0 with precision 1; outcomes are -1 and 1. With
a tenth of them wrong, 20 verdicts at a precision of 1 made the order worse than that of the evidence (docs/lab.md)."""
STRAIGHT = 0.9
"""Means up to here are probabilities as they stand; beyond they bend so that 0 and 1 are never reached."""
BASE = "base rate"


class Many(NamedTuple):
    """The features of many cases, one case behind the other."""

    names: Mapping[str, int]
    """Place of each feature that one of them has."""
    ends: npt.NDArray[np.int64]
    """`(n,)`, where each case's features end."""
    places: npt.NDArray[np.int32]
    """`(m,)` which feature."""
    values: npt.NDArray[np.float64]
    """`(m,)` of it."""


class Ranker(base.Classifier):
    """Estimate the chance of a confirmation from the features of a case, and say what moves it.

    The outcome, 1 where confirmed and -1 where not, less what the prior log-odds say of it, is regressed on the
    features. Regression has no need to balance classes: a rare class moves the base rate, not the order (measured on
    streams of 9 % to 90 % confirmations: balancing weights changed the AUC by -.02 to +.01).

    Parameters
    ----------
    noise_precision
        How much one verdict counts beside the prior.

    Notes
    -----
    Bishop, Pattern Recognition and Machine Learning (2006), 3.3. The posterior is that of River's
    `BayesianLinearRegression`, which renews an inverse at every verdict; here the sums are kept and solved when a
    prediction wants them, as a ranker is taught many verdicts at once and asked after. The prior log-odds stand in
    feature `siphonwatch.models.learn.ranker_features.PRIOR` and count with weight 1 and what is learnt.

    Examples
    --------
    >>> ranker = Ranker()
    >>> for _ in range(20):
    ...     ranker.learn_one({"masked": 1.0}, True)
    ...     ranker.learn_one({"masked": 0.0}, False)
    >>> ranker.predict_one({"masked": 1.0}), ranker.predict_one({"masked": 0.0})
    (True, False)
    """

    def __init__(self, noise_precision: float = NOISE_PRECISION) -> None:
        self.noise_precision = noise_precision
        self._place: dict[str, int] = {BASE: 0}
        self._precision = np.eye(FIRST)
        self._moment = np.zeros(FIRST)
        self._mean: npt.NDArray[np.float64] | None = np.zeros(FIRST)

    def learn_one(self, x: Mapping[str, float], y: bool, w: float = 1.0) -> None:
        """Take one verdict.

        Parameters
        ----------
        x
            Features, name to value.
        y
            Whether the case was confirmed.
        w
            How many verdicts it counts for, above 0.
        """
        for name in x:
            if len(self._place) < MAX_FEATURES:
                self._place.setdefault(name, len(self._place))
        if len(self._place) > len(self._moment):
            self._grow()
        places, values = self._known(x)
        weight = self.noise_precision * w
        outcome = (1.0 if y else -1.0) - _given(x)
        self._precision[np.ix_(places, places)] += weight * np.outer(values, values)
        self._moment[places] += weight * outcome * values
        self._mean = None

    def predict_proba_one(self, x: Mapping[str, float]) -> dict[bool, float]:
        """Return the chance of either outcome, each in (0, 1)."""
        places, values = self._known(x)
        mean = _given(x) + float(self._weights()[places] @ values)
        if abs(mean) > STRAIGHT:
            slope = 2.0 / (1.0 - STRAIGHT**2)
            logit = math.copysign(2.0 * math.atanh(STRAIGHT) + slope * (abs(mean) - STRAIGHT), mean)
        else:
            logit = 2.0 * math.atanh(mean)
        yes = 1.0 / (1.0 + math.exp(-max(min(logit, 30.0), -30.0)))
        return {False: 1.0 - yes, True: yes}

    def predict_proba_many(self, cases: Many) -> npt.NDArray[np.float64]:
        """Return the chance that each of many cases is confirmed, `(n,)`, as `predict_proba_one` says each."""
        names, ends, places, values = cases
        learnt, weights = self._weights(), np.zeros(len(names))
        for name, place in names.items():
            if name in self._place:
                weights[place] = learnt[self._place[name]]
        case = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
        given = np.zeros(len(ends))
        if PRIOR in names:
            mine = places == names[PRIOR]
            given[case[mine]] = np.tanh(0.5 * values[mine])
        mean = learnt[self._place[BASE]] + np.bincount(case, weights[places] * values, len(ends)) + given
        beyond = np.abs(mean) - STRAIGHT
        straight = 2.0 * np.arctanh(np.clip(mean, -STRAIGHT, STRAIGHT))
        logit = straight + np.sign(mean) * np.maximum(beyond, 0.0) * 2.0 / (1.0 - STRAIGHT**2)
        return 1.0 / (1.0 + np.exp(-np.clip(logit, -30.0, 30.0)))  # type: ignore[no-any-return]

    def effects(self, x: Mapping[str, float]) -> dict[str, float]:
        """Return by how much each feature moves the chance, strongest first; the base rate is left out.

        They are parts of the chance before it bends towards 0 and 1.
        """
        weights = self._weights()
        parts = {
            name: 0.5 * float(weights[self._place[name]]) * value for name, value in x.items() if name in self._place
        }
        parts[PRIOR] = parts.get(PRIOR, 0.0) + 0.5 * _given(x)
        return dict(sorted(parts.items(), key=lambda part: (-abs(part[1]), part[0])))

    def _known(self, x: Mapping[str, float]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
        """Places and values of the names that are learnt, the base rate first."""
        known = [(self._place[name], value) for name, value in x.items() if name in self._place]
        return (
            np.array([0, *(place for place, _ in known)], np.intp),
            np.array([1.0, *(value for _, value in known)], np.float64),
        )

    def _weights(self) -> npt.NDArray[np.float64]:
        """The posterior mean, solved for anew after a verdict."""
        if self._mean is None:
            used = len(self._place)
            self._mean = np.zeros(len(self._moment))
            self._mean[:used] = np.linalg.solve(self._precision[:used, :used], self._moment[:used])
        return self._mean

    def _grow(self) -> None:
        """Make room for twice the names."""
        size = len(self._moment)
        precision = np.eye(2 * size)
        precision[:size, :size] = self._precision
        self._precision, self._moment = precision, np.append(self._moment, np.zeros(size))


def _given(x: Mapping[str, float]) -> float:
    """The mean outcome that the prior log-odds say: 2p - 1."""
    return math.tanh(0.5 * x.get(PRIOR, 0.0))
