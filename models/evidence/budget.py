"""The false-discovery budget of a partition: how much evidence a case needs before it is released. Weighs no evidence.

Every account and pattern is a hypothesis, "this account is benign", numbered by the account's arrival. Hypothesis t is
released as soon as its e-value reaches `1 / (budget gamma_t (R + 1))`, where R counts the releases before it: e-LOND
(Xu & Ramdas 2024), asked again whenever the evidence or R has grown, so a held case may still be released.

Why the false-discovery rate stays within the budget at any time: let t be released at time T_t as the R_t-th release,
so `1 <= budget gamma_t R_t E_t(T_t)`. Releases R only grow, so t's part of the false-discovery proportion, `1 / R`, is
at most `1 / R_t <= budget gamma_t E_t(T_t)`. T_t is a stopping time of all that the partition observes, at which an
e-process has mean at most 1; summed over the benign, the mean is at most `budget * sum(gamma_t) <= budget`. Nothing
was assumed of how accounts depend on each other, nor of the order of releases. An account that a closed case set free
counts as a new arrival: its levels only fall.

gamma: arrivals fall into blocks of FIRST, 2 FIRST, 4 FIRST... accounts; block b has the share `1 / ((b + 1)(b + 2))`,
divided evenly. The shares add up to 1 over an unbounded life, and the n-th account's is of order `1 / (n log^2 n)`:
1/2,048 for each of the first 1,024, 1 in 100 million or so for the millionth, where R has grown as well.
Patterns divide an account's share by their trust: those of one kind, where there are two. With several partitions
each keeps its own budget.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.models.common.kernel import kernel

FIRST = 1024
"""Accounts in the first block."""
NUMBERED, RELEASED = 0, 1
"""Places in `Budget.counts`."""


class Budget(NamedTuple):
    """The account of a partition's releases."""

    counts: npt.NDArray[np.int64]
    """`(2,)` hypotheses numbered (accounts), and releases, ever."""
    log_share: npt.NDArray[np.float64]
    """`(P,)` logarithm of each pattern's part of the budget; the parts of one kind add up to the budget."""


def make_budget(budget: float, trust: Sequence[float], kinds: Sequence[bool] | npt.NDArray[np.bool_] = ()) -> Budget:
    """Return an account with no releases.

    Parameters
    ----------
    budget
        Share of released cases that may be false, in (0, 1].
    trust
        Of each pattern, positive: how the patterns divide the budget.
    kinds
        Of each pattern, which of two kinds of hypotheses it is asked about, as fingerprints of plain REST and of
        language models are; of one kind where it is left out. A hypothesis is of one kind only and has a number of
        its own, so the patterns of each kind divide the whole budget, and all levels still add up to it at most.

    Raises
    ------
    ValueError
        A parameter is out of range.
    """
    if not 0.0 < budget <= 1.0:
        raise ValueError(f"budget {budget} must be above 0 and at most 1")
    if not trust or min(trust) <= 0.0:
        raise ValueError(f"trust {list(trust)} must be positive for each pattern")
    parts = np.array(trust, np.float64)
    kind = np.asarray(kinds, np.bool_) if len(kinds) else np.zeros(len(parts), np.bool_)
    whole = np.array([parts[kind == own].sum() for own in kind])
    return Budget(np.zeros(2, np.int64), np.log(budget * parts / whole))


@kernel
def log_gamma(number: int) -> float:
    """Logarithm of the share of the budget that the account of this arrival number, from 0, has."""
    block, size, end = 0, FIRST, FIRST
    while number >= end:
        block += 1
        size *= 2
        end += size
    return -math.log(float(size)) - math.log(float((block + 1) * (block + 2)))


@kernel
def bar(budget: Budget, number: int, pattern: int) -> float:
    """Logarithm of the e-value at which the hypothesis would be released now."""
    return float(-log_gamma(number) - budget.log_share[pattern] - math.log(float(budget.counts[RELEASED] + 1)))
