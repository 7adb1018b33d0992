"""How well scores rank attack accounts above benign ones, under many weightings of the accounts at once.

Ties count half in the ROC area; a threshold is exceeded strictly. Curves are for plots and decide nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from siphonwatch.models.evaluate.bootstrap import Bools, Floats, ratio


def placements(positive: Floats, negative: Floats, weights: Floats) -> Floats:
    """Return the weighted share of negatives that each positive is above, ties half, `(b, p)`.

    The mean over positives is the area under the ROC curve, also of any group of them.

    Parameters
    ----------
    positive, negative
        Scores, `(p,)` and `(q,)`.
    weights
        Of the negatives, `(b, q)`.

    Examples
    --------
    >>> placements(np.array([1.0, 3.0]), np.array([1.0, 2.0]), np.ones((1, 2))).tolist()
    [[0.25, 1.0]]
    """
    order = np.argsort(negative, kind="stable")
    ranked = negative[order]
    below = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(weights[:, order], axis=1)], axis=1)
    left, right = np.searchsorted(ranked, positive, "left"), np.searchsorted(ranked, positive, "right")
    return ratio((below[:, left] + below[:, right]) / 2, below[:, -1:])


def exceeds(positive: Floats, negative: Floats, weights: Floats, fpr: float) -> Bools:
    """Return which positives are above the lowest threshold with a false-positive rate of at most `fpr`, `(b, p)`.

    The threshold is the negative at place `int(fpr * q)`, counted from the highest, 0 first; shapes as in `placements`.
    """
    thresholds = _threshold(negative, weights, fpr)
    return positive[None, :] > thresholds[:, None]


def threshold(negative: Floats, fpr: float) -> float:
    """Return the score that `exceeds` compares with, every account counting once."""
    return float(_threshold(negative, np.ones((1, len(negative))), fpr)[0])


def _threshold(negative: Floats, weights: Floats, fpr: float) -> Floats:
    order = np.argsort(-negative, kind="stable")
    running = np.cumsum(weights[:, order], axis=1)
    total = running[:, -1]
    place = np.minimum((fpr * total).astype(np.int64), np.maximum(total - 1, 0))
    found: Floats = negative[order][np.argmax(running > place[:, None], axis=1)]
    return found


def average_precision(positive: Floats, negative: Floats, weights: Floats, negative_weights: Floats) -> Floats:
    """Return the area under the precision-recall curve as a step function, `(b,)`: the mean precision at a positive.

    `weights` are the positives', `(b, p)`; the rest is as in `placements`. NaN where no positive has weight.
    """
    ranked = np.sort(negative)
    order = np.argsort(negative, kind="stable")
    above = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(negative_weights[:, order[::-1]], axis=1)], axis=1)
    false = above[:, len(ranked) - np.searchsorted(ranked, positive, "left")]
    down = np.argsort(-positive, kind="stable")
    ends = np.searchsorted(-positive[down], -positive, "right")
    running = np.concatenate([np.zeros((len(weights), 1)), np.cumsum(weights[:, down], axis=1)], axis=1)
    true = running[:, ends]
    precision = np.divide(true, true + false, out=np.zeros_like(true), where=true > 0)
    return ratio((weights * precision).sum(1), weights.sum(1))


def auc_columns(values: Floats, attack: Bools) -> Floats:
    """Return the area under the ROC curve of each column of `(n, k)`, `(k,)`; 0.5 where it says nothing."""
    one = np.ones((1, int((~attack).sum())))
    return np.array([placements(column[attack], column[~attack], one).mean() for column in values.T])


class Curve(NamedTuple):
    """A ROC and a precision-recall curve, one point a distinct score, from the strictest threshold down."""

    fpr: Floats
    recall: Floats
    precision: Floats


def curve(positive: Floats, negative: Floats) -> Curve:
    """Return the curves of scores `(p,)` against `(q,)`."""
    at = np.unique(np.concatenate([positive, negative]))[::-1]
    true = len(positive) - np.searchsorted(np.sort(positive), at, "left")
    false = len(negative) - np.searchsorted(np.sort(negative), at, "left")
    return Curve(false / len(negative), true / len(positive), true / (true + false))
