"""Published indicators are named where features show them, told apart by whether they count, and change no score."""

from __future__ import annotations

import numpy as np
import pytest

from siphonwatch.models.detect.detector import Detector
from siphonwatch.models.detect.indicators import INDICATORS, Present, present
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.patterns import detector, detectors, patterns
from siphonwatch.models.evaluate.baselines.indicator_sheet import INDICATORS as SHEET
from siphonwatch.models.evidence.cases import CaseBook
from siphonwatch.streams.contracts.alert import decode, encode, to_alert

SHOWN: dict[str, tuple[str, dict[str, float]]] = {
    "round the clock": ("extraction", {"job_hours": np.log1p(150.0)}),
    "new account straight to its limit": ("extraction", {"age": np.log1p(5.0), "throttled_1h": 0.2}),
    "one key, many clients": ("extraction", {"new_ip_1d": 0.7}),
    "volume above plan": ("extraction", {"throttled_1h": 0.2, "age": 6.0}),
    "metadata removed": ("desensitisation", {"session_shift": -0.8}),
    "reasoning elicitation": ("extraction", {"job_reasoning": 0.9}),
    "fail-over within seconds of a block": ("campaign", {"batons": 2.0, "rhythm": 0.5}),
}


def values(of: Detector, features: dict[str, float]) -> np.ndarray:
    """Features of an account long known, or of a campaign by day, and what is given."""
    at = {"age": 6.0, "rhythm": 0.8} | features
    return np.array([at.get(feature.name, 0.0) for feature in of.features], np.float32)


def test_every_name_is_one_of_the_ten_and_reads_features_that_there_are() -> None:
    assert {indicator.name for indicator in INDICATORS} == set(SHOWN) < set(SHEET) and len(SHEET) == 10
    for indicator in INDICATORS:
        known = {feature.name for feature in detectors(indicator.over)[0].features}  # type: ignore[arg-type]
        assert {name for ramp in indicator.signs for name in ramp.of} <= known


@pytest.mark.parametrize("name", SHOWN)
def test_an_indicator_is_there_where_its_feature_shows_it_and_nowhere_else(name: str) -> None:
    pattern, features = SHOWN[name]
    found = present(detector(pattern), values(detector(pattern), features))
    assert name in [shown.name for shown in found]
    (shown,) = [one for one in found if one.name == name]
    assert shown.feature in features and shown.observed == pytest.approx(features[shown.feature], rel=1e-5)
    assert present(detector(pattern), values(detector(pattern), {})) == []


def test_a_campaign_of_all_hours_works_round_the_clock_once_enough_of_it_was_seen() -> None:
    card = detector("campaign")
    assert present(card, values(card, {"rhythm": 0.05, "seen": 200.0}))[0].name == "round the clock"
    assert present(card, values(card, {"rhythm": 0.05, "seen": 20.0})) == []


def test_what_the_card_reads_is_scored_and_the_rest_only_observed() -> None:
    features = {"job_reasoning": 0.9, "new_ip_1d": 0.9}
    card = detector("extraction")
    scored = {shown.name: shown.scored for shown in present(card, values(card, features))}
    assert scored == {"reasoning elicitation": True, "one key, many clients": False}
    before, after = values(card, {}), values(card, {"new_ip_1d": 0.9})
    assert card.score(before[None]) == card.score(after[None])


@pytest.mark.parametrize("pattern", [p.pattern for p in patterns()])
def test_an_alert_names_the_field_s_terms_and_the_indicators(pattern: str) -> None:
    shown = Present("volume above plan", "throttled_1h", 0.25, False)
    found = CaseBook(1e-3, ScorerConfig().close_after).record(
        "org-1", pattern, 1.8e9, first_seen=1.8e9, log_e=16.0, score=0.5, level=0.4, requests_seen=100, signals=[],
        counterfactual="", samples=[], indicators=[shown],
    )  # fmt: skip
    alert = decode(encode(to_alert(found)))
    own = alert.own
    assert alert.data.message.endswith("; indicators: volume above plan (observed, not scored)")
    assert own.atlas and own.atlas[0].startswith("AML.T")
    assert (own.aisvs == ["C11.5"]) == ("AML.T0024.002" in own.atlas), "extraction of a model, and nothing else"
    assert all(name.split(":")[0][:3] in ("LLM", "API") for name in own.owasp)
    (told,) = own.indicators
    assert (told.name, told.feature, told.observed, told.scored) == tuple(shown)
