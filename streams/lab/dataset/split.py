"""Parts a data set into train and test, so that nothing of the one is in the other. Reads nothing.

By time, with an embargo of the longest window behind the cut, as features later hold what was before; and by account,
or by campaign where one is known, so that whoever is trained on is never tested on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.sums import TAUS
from siphonwatch.streams.lab.dataset.layout import DatasetError, Split

LONGEST = float(TAUS[-1])
"""Seconds that the longest window of a feature remembers for (its time constant)."""
TEST = 0.3
"""Share of time, and of accounts or campaigns, that is tested on."""
NONE, TRAIN, TEST_PART = "", "train", "test"
DIGITS = 2**32


def cut(low: float, high: float, share: float, embargo: float) -> float:
    """Return the event time at which requests from `low` to `high` are cut, the last `share` of them being the test.

    Raises
    ------
    DatasetError
        Where the embargo leaves nothing to train or to test on.

    Examples
    --------
    >>> cut(0.0, 100.0, 0.3, 10.0)
    60.0
    """
    at = high - share * (high - low) - embargo
    if at <= low:
        raise DatasetError(
            f"data of {(high - low) / 86400:.1f} days cannot be split by time with an embargo of {embargo / 86400:.1f} "
            "days, the longest window of a feature: archive more, split by campaign, or give a shorter --embargo"
        )
    return at


def part(split: Split, groups: Sequence[str], times: npt.NDArray[np.float64]) -> list[str]:
    """Return the part of each request: `train`, `test`, or none.

    Parameters
    ----------
    groups
        The account of each, or its campaign where it has one.
    times
        `(n,)` event times, seconds since 1970.

    Examples
    --------
    >>> part(Split(by=["time"], at=10.0, embargo=5.0), ["a", "a", "a"], np.array([9.0, 12.0, 15.0]))
    ['train', '', 'test']
    """
    early = late = np.ones(len(groups), np.bool_)
    if "time" in split.by and split.at is not None:
        early, late = times < split.at, times >= split.at + split.embargo
    inside = outside = np.ones(len(groups), np.bool_)
    if {"account", "campaign"} & set(split.by):
        drawn = {group: _draw(group) < split.test for group in set(groups)}
        outside = np.array([drawn[group] for group in groups], np.bool_)
        inside = ~outside
    if not split.by:
        return [NONE] * len(groups)
    found: list[str] = np.where(early & inside, TRAIN, np.where(late & outside, TEST_PART, NONE)).tolist()
    return found


def _draw(group: str) -> float:
    """A number in [0, 1) that is the same for a name everywhere."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:4], "big") / DIGITS
