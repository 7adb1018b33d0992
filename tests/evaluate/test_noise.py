"""Which groups of cases cost most for least truth."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from siphonwatch.models.evaluate.noise import BY, CaseCost, noise
from siphonwatch.models.learn.verdict_book import DECISIONS


def cases(pattern: str, decisions: list[str], updates: int = 0, customer: str = "org-1") -> list[CaseCost]:
    return [CaseCost(pattern, "program", customer, updates, decision) for decision in decisions]


def test_the_pattern_that_wasted_most_stands_first_and_then_what_nobody_judged() -> None:
    found = noise(
        cases("scraping", ["false-positive", "benign-expected", "true-positive"], updates=2)
        + cases("extraction", ["true-positive"] * 8)
        + cases("campaign", [""] * 3 + ["suspicious"]),
        15.0,
        1.0,
    )
    patterns = [one for one in found if one.by == "pattern"]
    assert [one.name for one in patterns] == ["scraping", "extraction", "campaign"]
    scraping, extraction, campaign = patterns
    assert (scraping.minutes, scraping.wasted, scraping.minutes_a_truth) == (51.0, 34.0, 51.0)
    assert (extraction.wasted, extraction.confirmed, extraction.decided) == (0.0, 8, 8)
    assert extraction.at_least is not None and extraction.at_least > 0.2 and extraction.at_most == 1.0
    assert (campaign.minutes, campaign.at_least, campaign.minutes_a_truth) == (60.0, None, None)


@given(
    st.lists(
        st.builds(
            CaseCost, st.sampled_from("ab"), st.sampled_from(["", "rest"]), st.text(max_size=2), st.integers(0, 9),
            st.sampled_from(["", *DECISIONS]),
        ),
        max_size=30,
    )
)  # fmt: skip
def test_each_kind_of_group_holds_every_case_once(given: list[CaseCost]) -> None:
    found = noise(given, 15.0, 1.0)
    for by in BY:
        assert sum(one.cases for one in found if one.by == by) == len(given)
        assert sum(one.minutes for one in found if one.by == by) == 15 * len(given) + sum(c.updates for c in given)
        assert all(one.wasted <= one.minutes for one in found)
