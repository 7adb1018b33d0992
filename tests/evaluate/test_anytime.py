"""The interval of a share covers it at all times at once, and narrows as outcomes come."""

from __future__ import annotations

import numpy as np
import pytest

from siphonwatch.models.evaluate.anytime import anytime


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_whoever_looks_after_each_outcome_is_misled_once_in_twenty_at_most(share: float) -> None:
    rng = np.random.default_rng(7)
    missed = 0
    for _ in range(120):
        outcomes = (rng.random(150) < share).tolist()
        looks = (anytime(outcomes[:n]) for n in range(1, 151, 6))
        missed += any(not one.low <= share <= one.high for one in looks)
    assert missed <= 12, "6 expected at most; twice as many has a chance below 2 %"


def test_it_narrows_with_outcomes_and_holds_what_was_seen() -> None:
    outcomes = [True, True, False, True, False] * 60
    widths = []
    for n in (5, 25, 100, 300):
        one = anytime(outcomes[:n])
        assert one.low <= one.value <= one.high and one.of == n
        widths.append(one.high - one.low)
    assert widths == sorted(widths, reverse=True) and widths[-1] < 0.25 < 0.7 < widths[0]


def test_outcomes_of_one_kind_keep_the_end_of_the_scale() -> None:
    assert anytime([True] * 50).high == 1.0 and anytime([False] * 50).low == 0.0
    assert anytime([True] * 50).low > 0.8 and anytime([False] * 50).high < 0.2


def test_outcomes_that_no_one_share_explains_leave_everything_open() -> None:
    one = anytime([False] * 2000 + [True] * 2000)
    assert (one.low, one.high) == (0.0, 1.0) and one.value == 0.5
