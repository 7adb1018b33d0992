"""What a card is worth on labelled accounts: what it finds, what it makes of them, what its false cases cost.

- *Credit*: how far an attack account's highest score is above the thresholds that some shares of its data set's honest
  accounts reach (`RATES`), each up to `MARGIN`: bounded, so that a wrong label can take no more than its own share, and
  about the low false-alarm rates where a detector is used. All accounts of a campaign of k together count `1/sqrt(k)`:
  the more they are, the surer the cards over campaigns tell of them.
- *Cases*: how near the evidence of an attack account's hours comes to a case, by the card's promise and the bets of
  `siphonwatch.models.evidence`. Credit and cases count half each: a rank alone opens no case.
- *False cases*: the same of honest accounts, as a share of them; each costs `FALSE`, up to a share of `MOST_FALSE`:
  with wrong labels nothing is gained by a card that finds nobody.
- *Promise*: honest account-hours beyond the null level cost `PROMISE` for each, of those that the card's promise does
  not cover and the prior did not have.

All are of each data set by itself. Their mean over the data sets counts half and the worst data set the other half:
none pays for what another gains.
"""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.features import FEATURES
from siphonwatch.models.detect import Card, Detector, Scores
from siphonwatch.models.evidence.calibration import AT_NULL, DEPTH, MAX_RISE
from siphonwatch.models.evidence.process import MOST, STAKE
from siphonwatch.models.learn.sample import Bools, Floats, Ints, Sample

RATES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
"""Shares of honest accounts above a threshold; the upper ones still say something where some labels are wrong."""
MARGIN = 0.2
BAR = 9.0
"""Natural logarithm of the e-value of a case: 1/alpha, and what the budget asks for on top in populations of some 2,000
accounts. An account with half of it counts as no case, one with half as much again as a whole one."""
FALSE = 25.0
"""What a share of 1 of honest accounts with a case costs: one in 1,000 costs what one attacker in 40 is worth."""
MOST_FALSE = 0.02
"""Share of honest accounts with a case from which on more cost nothing: so many may be wrong labels."""
PROMISE = 10.0
"""What a share of 1 of honest account-hours costs, so that 1 % more of them cost what one attacker in 10 is worth:
evidence grows with hours, so a broken promise is false alarms."""
ROWS = 12
"""Account-hours of one account that are looked at, those that score highest by the prior."""


class Worth:
    """What cards that came from one prior are worth on a sample.

    Parameters
    ----------
    prior
        The card whose broken promises are borne.
    sample
        With attack accounts and honest ones.
    by
        `(m,)` the highest of it are the hours of an account that are looked at; the prior's scores by default.
    """

    def __init__(self, prior: Card, sample: Sample, by: Floats | Scores | None = None) -> None:
        detector = Detector(prior, FEATURES)
        self.rows = highest_rows(sample, detector.score(sample.values) if by is None else by)
        """`(m,)` which rows are looked at."""
        self.sample = few = sample.where(np.ones(len(sample.name), np.bool_), self.rows)
        self._group, self._weight = groups(few), _weights(few)
        group, honest = groups(sample), ~sample.attack[sample.account]
        self._hours = np.maximum(np.bincount(group[sample.account][honest], minlength=self._group.max() + 1), 1)
        starts = np.searchsorted(few.account, np.arange(len(few.name)))
        self._place = np.arange(len(few.account)) - starts[few.account]
        self._honest = ~few.attack[few.account]
        self._bearable = np.maximum(AT_NULL, self._beyond(detector.score(few.values), prior.null))

    def of(self, card: Card) -> float:
        """Return what a card is worth, at most 1."""
        return self.of_scores(card, Detector(card, FEATURES).score(self.sample.values))

    def of_scores(self, card: Card, scores: Scores) -> float:
        """Return what a card would be worth by which `sample`'s rows have these scores."""
        few = self.sample
        near = np.clip((self._evidence(card, scores) - 0.5 * BAR) / BAR, 0.0, 1.0)
        found = _credits(few.highest(scores), few, self._weight, self._group)
        for g in range(len(found)):
            here = self._group == g
            attack, honest = here & few.attack, here & ~few.attack
            weight = self._weight[here[few.attack]]
            cases = float(weight @ near[attack]) / float(weight.sum())
            false = float(few.weight[honest] @ near[honest]) / float(few.weight[honest].sum())
            found[g] = 0.5 * found[g] + 0.5 * cases - FALSE * min(false, MOST_FALSE)
        broken = np.maximum(self._beyond(scores, card.null) - self._bearable, 0.0)
        return 0.5 * float(found.mean() + found.min()) - PROMISE * float(broken.mean())

    def _beyond(self, scores: Scores, null: float) -> Floats:
        """The share of each data set's honest account-hours that reach a level."""
        group = self._group[self.sample.account[self._honest & (scores >= null)]]
        shares: Floats = np.bincount(group, minlength=len(self._hours)) / self._hours
        return shares

    def _evidence(self, card: Card, scores: Scores) -> Floats:
        """Logarithms of the e-values that the accounts' hours add up to, `(n,)`: the promise's half of each alone."""
        at_null = -math.log(AT_NULL)
        first = at_null / card.null
        second = max(first, (DEPTH - at_null) / (1.0 - card.null))
        level = np.maximum(scores.astype(np.float64) - MAX_RISE, 0.0)
        below = np.minimum(level, card.null)
        log = -np.maximum(below * first + (level - below) * second, 1e-3)
        p = np.exp(log)
        gain = (1.0 - p + p * log) / (p * log * log) - 1.0
        gains = np.zeros((len(self.sample.name), ROWS))
        gains[self.sample.account, self._place] = np.maximum(0.5 * gain, 0.0)
        stake = min(STAKE * card.trust, MOST) / (1.0 + np.arange(ROWS))
        evidence: Floats = np.log1p(stake * -np.sort(-gains, axis=1)).sum(axis=1)
        return evidence


def credit(detector: Detector, sample: Sample) -> float:
    """Return the credit of a sample's attack accounts, in [0, 1]: the mean over its data sets."""
    return credit_of(detector.score(sample.values), sample)


def credit_of(scores: Scores, sample: Sample) -> float:
    """Return the same of the scores of a sample's rows, `(m,)`."""
    return float(_credits(sample.highest(scores), sample, _weights(sample), groups(sample)).mean())


def groups(sample: Sample) -> Ints:
    """Return the number of each account's data set, `(n,)`; one without attackers or honest accounts is of the first.

    Examples
    --------
    >>> none = np.zeros((5, 0), np.float32), np.arange(5), np.zeros(5), list("abcde")
    >>> attack = np.array([True, False, True, False, False])
    >>> groups(Sample(*none, attack, np.ones(5), list("abcde"), [""] * 5, ["x", "x", "y", "y", "z"])).tolist()
    [0, 0, 1, 1, 0]
    """
    source = np.array(sample.source, object)
    both = [name for name in dict.fromkeys(sample.source) if 0 < sample.attack[source == name].mean() < 1]
    place = {name: g for g, name in enumerate(both)}
    return np.array([place.get(name, 0) for name in sample.source], np.int64)


def highest_rows(sample: Sample, scores: Floats | Scores, most: int = ROWS) -> Bools:
    """Return which rows, `(m,)`, are among so many of their account's with the highest scores."""
    order = np.lexsort((-scores, sample.account))
    starts = np.searchsorted(sample.account, np.arange(len(sample.name)))
    kept = np.zeros(len(scores), np.bool_)
    kept[order[np.arange(len(order)) - starts[sample.account[order]] < most]] = True
    return kept


def _credits(highest: Floats, sample: Sample, weight: Floats, group: Ints) -> Floats:
    """The credit of each data set's attack accounts; `weight` is of all attack accounts."""
    found = np.zeros(int(group.max()) + 1)
    for g in range(len(found)):
        honest, attack = highest[(group == g) & ~sample.attack], (group == g) & sample.attack
        order = np.argsort(-honest, kind="stable")
        cut = np.cumsum(sample.weight[(group == g) & ~sample.attack][order])
        here = weight[(group == g)[sample.attack]]
        for rate in RATES:
            threshold = honest[order[min(int(np.searchsorted(cut, rate * cut[-1], "right")), len(order) - 1)]]
            found[g] += float(here @ np.clip((highest[attack] - threshold) / MARGIN, 0.0, 1.0))
        found[g] /= len(RATES) * float(here.sum())
    return found


def _weights(sample: Sample) -> npt.NDArray[np.float64]:
    """What each attack account counts: `1/sqrt(k)` for all of a campaign of k, times how sure its label is."""
    of = [sample.campaign[i] for i in np.flatnonzero(sample.attack).tolist()]
    size = Counter(of)
    return np.array([size[name] ** -1.5 for name in of]) * sample.weight[sample.attack]
