"""The share of all cases from few verdicts: it covers what it says where analysts judge the head of the queue."""

from __future__ import annotations

import numpy as np
import pytest
from verdict_samples import facts

from siphonwatch.models.evaluate.powered import Case, Floats, Powered, out_of_fold, powered


def drawn(
    rng: np.random.Generator, base: float, prediction: str
) -> tuple[Floats, Floats, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """200 cases, 50 of which were judged: those that rank high eight times as likely as those that rank low."""
    chance = 1.0 / (1.0 + np.exp(-rng.normal(base, 1.5, 200)))
    confirmed = (rng.random(200) < chance).astype(np.float64)
    said = {"good": chance, "none": rng.random(200), "wrong": 1.0 - chance}[prediction]
    place = np.argsort(np.argsort(said)) / 200
    judged = np.zeros(200, np.bool_)
    judged[np.argsort(rng.exponential(size=200) / np.exp(2.0 * place))[:50]] = True
    return confirmed, said, judged


@pytest.mark.parametrize("base", [0.0, 2.0])
@pytest.mark.parametrize("prediction", ["good", "none", "wrong"])
def test_the_interval_covers_the_share_of_all_where_the_head_of_the_queue_is_judged(
    base: float, prediction: str
) -> None:
    rng = np.random.default_rng(7)
    covered, plain, given = 0, 0, 0
    for _ in range(150):
        confirmed, said, judged = drawn(rng, base, prediction)
        found = powered(confirmed[judged], said[judged], said[~judged])
        if isinstance(found, Powered):
            given += 1
            covered += found.low <= confirmed.mean() <= found.high
            half = 1.96 * confirmed[judged].std() / np.sqrt(50)
            plain += abs(confirmed[judged].mean() - confirmed.mean()) <= half
    assert given > 100 and covered / given > 0.9, (covered, given)
    if prediction == "good":
        assert plain / given < 0.85, "what the judged cases say by themselves does not hold"


def test_good_predictions_narrow_it_and_wrong_ones_are_left_unused() -> None:
    rng = np.random.default_rng(3)
    widths: dict[str, list[float]] = {"good": [], "none": []}
    for _ in range(40):
        chance = rng.choice([0.05, 0.95], 300)
        confirmed = (rng.random(300) < chance).astype(np.float64)
        for name, said in (("good", chance + rng.normal(0, 0.01, 300)), ("none", rng.random(300))):
            found = powered(confirmed[:60], said[:60], said[60:])
            assert isinstance(found, Powered)
            widths[name].append(found.high - found.low)
    assert np.mean(widths["good"]) < 0.8 * np.mean(widths["none"])
    said = 1.0 - chance + rng.normal(0, 0.01, 300)
    found = powered(confirmed[:60], said[:60], said[60:])
    assert isinstance(found, Powered) and found.power == 0.0


def test_where_all_are_judged_it_is_their_share_and_where_a_third_has_too_few_it_says_which() -> None:
    said = np.linspace(0.0, 1.0, 30)
    found = powered((said > 0.5).astype(float), said, np.zeros(0))
    assert isinstance(found, Powered) and found.cases == found.judged == 30
    assert (found.value, found.low, found.high) == (pytest.approx(0.5),) * 3
    assert powered(np.ones(10), said[-10:], said[:20]) == "of the third that ranks lowest 0 are judged, 6 are needed"
    assert "are judged" in powered(np.zeros(0), np.zeros(0), np.zeros(0))  # type: ignore[operator]


def test_verdicts_that_are_all_alike_do_not_make_it_certain() -> None:
    said = np.linspace(0.0, 1.0, 120)
    found = powered(np.ones(40), said[::3], np.delete(said, slice(None, None, 3)))
    assert isinstance(found, Powered) and found.value == pytest.approx(1.0, abs=0.02) and found.low < 0.97


def test_no_case_is_ranked_by_what_was_decided_of_its_account() -> None:
    cases = [Case(facts("shift", 7.0 + i), f"a{i % 7}", None if i % 3 == 0 else i % 2 == 0) for i in range(30)]
    ranks = out_of_fold(cases)
    mine = np.array([case.account == "a2" and case.confirmed is not None for case in cases])
    turned = [
        case._replace(confirmed=not case.confirmed) if of else case
        for case, of in zip(cases, mine.tolist(), strict=True)
    ]
    again = out_of_fold(turned)
    assert mine.any() and (ranks[mine] == again[mine]).all() and (ranks != again).any()
    assert ((ranks > 0.0) & (ranks < 1.0)).all()
