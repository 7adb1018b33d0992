"""A learned support scores within its card's gates, says in words what moves it, and refuses hostile arrays."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from card_tools import card
from version_samples import steps

from siphonwatch.models.account.features import FEATURES, INDEX, WIDTH
from siphonwatch.models.detect import Card, CardError, Detector
from siphonwatch.models.detect.card import read_card
from siphonwatch.models.detect.checks import check_card
from siphonwatch.models.detect.hold import hold
from siphonwatch.models.detect.support import MAX_DEPTH, MAX_NODES, Support, SupportError, arrays_of, logit
from siphonwatch.streams.lab.train.card_file import write_card

LEARNED = {"weight": 2.0, "learned": "steep", "low": 0.2, "high": 0.9}
GATE = {"of": ["sweep_1h"], "low": 0.2, "high": 0.8}
SEEN = {"of": ["seen"], "low": 1.0, "high": 4.0}


def steep(**parts: Any) -> Support:
    """Chances that rise with novelty and fall with streaming."""
    columns = [INDEX["novelty"], INDEX["streamed_1d"]]
    order = np.argsort(columns)
    whole = {"weights": np.array([6.0, -2.0])[order], "base": [-3.0], **parts}
    return Support("steep", arrays_of(np.array(columns)[order], **whole), FEATURES)


def bound(support: Support | None = None, **parts: Any) -> Detector:
    whole = card(**{"gates": [GATE], "supports": [SEEN, LEARNED]} | parts)
    return Detector(whole, FEATURES, {"steep": support or steep()})


def rows(n: int = 300, **given: float) -> np.ndarray:
    values = np.random.default_rng(2).uniform(0.0, 1.0, (n, WIDTH)).astype(np.float32)
    for name, value in given.items():
        values[:, INDEX[name]] = value
    return values


def test_its_chance_counts_as_a_ramp_over_log_odds_within_the_gates() -> None:
    detector, values = bound(), rows(seen=2.5)
    support = np.clip((steep().log_odds(values) - logit(0.2)) / (logit(0.9) - logit(0.2)), 0.0, 1.0)
    gate = np.clip((values[:, INDEX["sweep_1h"]] - 0.2) / 0.6, 0.0, 1.0)
    np.testing.assert_allclose(detector.score(values), gate * (0.5 + 2.0 * support) / 3.0, atol=1e-5)
    assert not detector.score(rows(sweep_1h=0.1)).any(), "a gate that is shut is shut for it too"
    assert {"novelty", "streamed_1d"} < set(detector.needs)


def test_a_card_without_gates_asks_it_of_every_row() -> None:
    detector, values = bound(gates=[]), rows(seen=0.0)
    assert (detector.score(values) > 0).any()
    assert not detector.score(rows(seen=0.0, novelty=0.0)).any()


def test_a_card_with_one_keeps_the_promises_of_a_card() -> None:
    check_card(bound(), n=80)


def test_its_signal_says_the_chance_and_which_features_move_it_most() -> None:
    (here,) = rows(1, sweep_1h=0.9, seen=4.0, novelty=0.9, streamed_1d=0.0)
    explanation = bound().explain(here, 0.25)
    (signal,) = [s for s in explanation.signals if s.name == "learned steep"]
    assert signal.meaning == "learned steep: .92, of which the features novelty (+.87) move it most"
    assert signal.observed == pytest.approx(0.917, abs=1e-3) and signal.baseline == 0.2
    changed = bound(supports=[SEEN, {**LEARNED, "weight": 1e-9}], offset=-1e-9, span=3.0)
    assert signal.contribution > 0 and "learned steep" not in [s.name for s in changed.explain(here, 0.1).signals][:2]


def test_what_would_undo_or_open_a_case_holds_when_it_is_applied() -> None:
    """Though the support falls as the card's own ramp of novelty rises."""
    first = INDEX["novelty"] < INDEX["streamed_1d"]
    falling = steep(weights=[-6.0, 0.0] if first else [0.0, -6.0], base=[3.0])
    detector = bound(falling, gates=[GATE, {"of": ["novelty"], "low": 0.1, "high": 0.9}])
    said = 0
    for here in rows(200, seen=4.0):
        score = float(detector.score(here[np.newaxis])[0])
        held = hold(detector, here, 0.3)
        text = held.opening if score < 0.3 else detector.explain(here, 0.3).counterfactual
        for name in ("novelty", "sweep_1h", "seen"):
            if f"with {name} at" in text:
                said += 1
                changed = here.copy()
                number = text.split(" at ")[1].removeprefix("or below ").removeprefix("or above ").split()[0]
                changed[INDEX[name]] = np.float32(number)
                assert (float(detector.score(changed[np.newaxis])[0]) >= 0.3) == (score < 0.3), text
    assert said > 50


def test_a_card_and_its_arrays_have_one_id() -> None:
    one = bound()
    assert one.id == bound().id != bound(steep(base=[-3.5])).id
    assert one.id != bound(supports=[SEEN, {**LEARNED, "high": 0.91}]).id
    assert read_card(write_card(one.card), "good") == one.card


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"gates": [GATE, LEARNED]}, "only supports of a card over accounts can be `learned`"),
        ({"over": "campaign"}, "only supports of a card over accounts"),
        ({"supports": [LEARNED, LEARNED]}, "named twice"),
        ({"supports": [{**LEARNED, "high": 1.0}]}, "from 0.2 to 1.0 does not rise: give two chances"),
        ({"supports": [{**LEARNED, "low": 0.95}]}, "does not rise"),
        ({"supports": [{**LEARNED, "of": ["seen"]}]}, "or is `learned`"),
    ],
)
def test_a_card_that_names_one_where_it_cannot_count_is_refused(parts: dict[str, Any], said: str) -> None:
    whole = {"supports": [SEEN, LEARNED], **parts}
    with pytest.raises(msgspec.ValidationError, match=said):
        card(**whole)


def test_a_card_whose_arrays_are_not_there_is_refused() -> None:
    named: Card = card(supports=[LEARNED])
    with pytest.raises(CardError, match="names the learned support steep, which is not there"):
        Detector(named, FEATURES)


I4 = np.int32
HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "a cycle": ({"right": np.array([2, 0, 0, 5, 0, 0], I4)}, "leads to one before it"),
    "itself": ({"left": np.array([1, 1, 0, 4, 0, 0], I4)}, "to itself"),
    "a child out of range": ({"left": np.array([1, 2, 0, 6, 0, 0], I4)}, "or to none"),
    "a child far away": ({"left": np.array([1, 2, 0, -(2**31), 0, 0], I4)}, "before it"),
    "a root out of range": ({"roots": np.array([0, 6], I4)}, "a root is none"),
    "a root before": ({"roots": np.array([0, -1], I4)}, "a root is none"),
    "a feature out of range": ({"feature": np.array([0, 2, -1, 1, -1, -1], I4)}, "none of its columns"),
    "a feature below": ({"feature": np.array([0, -2, -1, 1, -1, -1], I4)}, "none of its columns"),
    "a column out of range": ({"columns": np.array([3, WIDTH], I4)}, "not places in a table"),
    "columns twice": ({"columns": np.array([3, 3], I4)}, "ascending"),
    "a threshold that is no number": ({"threshold": np.array([np.nan] * 6)}, "threshold holds what is no number"),
    "a threshold without end": ({"threshold": np.array([np.inf] * 6)}, "threshold holds"),
    "a value that is no number": ({"value": np.array([np.nan] * 6)}, "value holds what is no number"),
    "a huge value": ({"value": np.full(6, 1e7)}, "huge"),
    "a median without end": ({"median": np.full(2, np.inf, np.float32)}, "median holds"),
    "columns that wrap round": (
        {part: np.resize(steps()[part], 5) for part in ("shift", "scale", "median")}
        | {"quantiles": np.zeros((5, 0)), "columns": np.array([0, 2**31 - 1, -(2**31), -1, 5], I4)},
        "ascending",
    ),
    "no scale": ({"scale": np.zeros(2)}, "scale"),
    "a calibration that turns round": ({"platt": np.array([-1.0, 0.0])}, "slope of its calibration"),
    "neither kind": ({"roots": np.zeros(0, I4)}, "neither weights"),
    "both kinds": ({"weights": np.zeros(2)}, "neither weights"),
    "nodes of several lengths": ({"left": np.zeros(5, I4)}, "left has 5 elements, where 6 belong"),
    "another type": ({"left": np.zeros(6, np.int64)}, "left is int64"),
    "more dimensions": ({"value": np.zeros((6, 1))}, "value is float64 of 2 dimensions"),
    "quantiles that fall": (
        {"quantiles": np.array([[1.0, 0.0], [0.0, 1.0]]), "references": np.array([0.0, 1.0])}, "do not ascend"
    ),
    "an array more": ({"code": np.zeros(1)}, "and no others: code"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_arrays_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SupportError, match=f"learned support steps: .*{said}"):
        Support("steps", {**steps(), **changes}, FEATURES)


def test_an_array_less_a_chain_and_a_forest_too_large_are_refused() -> None:
    less = steps()
    del less["left"]
    with pytest.raises(SupportError, match="no others: left"):
        Support("steps", less, FEATURES)
    for n, said in ((MAX_DEPTH + 3, "nodes deep, where 64 are the most"), (MAX_NODES + 1, "nodes, where 16,000 are")):
        inner = np.arange(n) < n - 2
        chain = arrays_of(
            [0], roots=[0], feature=np.where(inner, 0, -1), threshold=np.zeros(n),
            left=np.where(inner, np.arange(n) + 1, 0), right=np.where(inner, n - 1, 0),
            missing_left=np.zeros(n), value=np.zeros(n),
        )  # fmt: skip
        with pytest.raises(SupportError, match=said):
            Support("steps", chain, FEATURES)


def test_a_name_that_is_no_file_s_is_refused() -> None:
    for name in ("St eps", "../x", "", "x" * 33):
        with pytest.raises(SupportError, match="cannot be named"):
            Support(name, steps(), FEATURES)


def test_what_is_no_number_and_far_numbers_give_finite_log_odds() -> None:
    values = np.full((3, WIDTH), np.nan, np.float32)
    values[1], values[2] = np.inf, np.finfo(np.float32).max
    for support in (steep(), Support("steps", steps(), FEATURES)):
        assert np.isfinite(support.log_odds(values)).all()
    assert steep().log_odds(values)[0] == -1e6
