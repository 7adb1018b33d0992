"""Every detector keeps the promises of a detector, and the check notices the ones that do not."""

from __future__ import annotations

import numpy as np
import pytest

from siphonwatch.models.account.features import INDEX, WIDTH, Features
from siphonwatch.models.account.row import PATTERNS
from siphonwatch.models.detect import Detector, Ramp, detectors
from siphonwatch.models.detect.checks import BrokenPromise, check_detector


@pytest.mark.parametrize("detector", detectors(), ids=lambda d: d.pattern)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_detector_keeps_its_promises(detector: Detector, seed: int) -> None:
    check_detector(detector, seed=seed)


def test_detectors_come_in_the_order_of_the_rows_evidence() -> None:
    assert tuple(d.pattern for d in detectors()) == PATTERNS


class Good(Detector):
    pattern = "good"
    title = "A detector that keeps its promises"
    atlas = ("AML.T0024",)
    gates = (Ramp(("sweep_1h", "sweep_1d"), 0.2, 0.8),)
    supports = (Ramp(("seen",), 1.0, 4.0), Ramp(("gap_spread_1h",), 0.8, 0.2))


class Nameless(Good):
    pattern = "Not a word"


class Untitled(Good):
    title = " "


class Unplaced(Good):
    atlas = ()


class Misplaced(Good):
    atlas = ("T1005",)


class Certain(Good):
    null = 1.0


class Unknowing(Good):
    supports = (Ramp(("no_such_feature",), 0.0, 1.0),)


class Double(Good):
    def score(self, features: Features) -> np.ndarray:
        return super().score(features).astype(np.float64)


class Large(Good):
    def score(self, features: Features) -> np.ndarray:
        return super().score(features) * np.float32(2.0)


class Comparing(Good):
    def score(self, features: Features) -> np.ndarray:
        scores = super().score(features)
        return scores / max(scores.max(), np.float32(1e-6))


class Counting(Good):
    calls = 0

    def score(self, features: Features) -> np.ndarray:
        self.calls += 1
        return super().score(features) * np.float32(1.0 / self.calls)


class Curious(Good):
    def score(self, features: Features) -> np.ndarray:
        return super().score(features) * (features["idle"] > 0.5)


class Backward(Good):
    def score(self, features: Features) -> np.ndarray:
        return np.where(features["seen"] > 3.0, np.float32(0.0), super().score(features))


class Boastful(Good):
    def explain(self, features: Features, row: int, level: float):
        return (
            super()
            .explain(features, row, level)
            ._replace(counterfactual="would be no evidence with seen at or below 9")
        )


class Unsorted(Good):
    def explain(self, features: Features, row: int, level: float):
        told = super().explain(features, row, level)
        return told._replace(signals=told.signals[::-1])


def test_the_check_passes_a_detector_that_keeps_them() -> None:
    check_detector(Good())


@pytest.mark.parametrize(
    ("broken", "promise"),
    [(Nameless, "is no word"), (Untitled, "no title"), (Unplaced, "names no MITRE"), (Misplaced, "is no ATLAS"),
     (Certain, r"not in \(0, 1\)"), (Unknowing, "unknown features"), (Double, "float32"), (Large, r"outside \[0, 1\]"),
     (Comparing, "depends on the other requests"), (Counting, "again gives other"), (Curious, "does not need"),
     (Backward, "falls as seen"), (Boastful, "counterfactual .* applied"), (Unsorted, "not in order")],
)  # fmt: skip
def test_the_check_notices_a_broken_promise(broken: type[Detector], promise: str) -> None:
    with pytest.raises(BrokenPromise, match=promise):
        check_detector(broken())


def test_a_score_with_every_ramp_at_its_end_is_one_and_not_more() -> None:
    for detector in detectors():
        x = np.zeros((1, WIDTH), np.float32)
        for ramp in detector.gates + detector.supports:
            for name in ramp.features:
                x[0, INDEX[name]] = 100.0 if ramp.low < ramp.high else -100.0
        assert detector.score(Features(x))[0] == pytest.approx(1.0, abs=1e-6)
        assert detector.score(Features(x))[0] <= 1.0


def test_a_counterfactual_of_several_scales_names_those_that_must_change() -> None:
    x = np.zeros((1, WIDTH), np.float32)
    for name, value in {"sweep_1h": 0.9, "sweep_1d": 0.95, "seen": 9.0, "gap_spread_1h": 0.0}.items():
        x[0, INDEX[name]] = value
    text = Good().explain(Features(x), 0, 0.3).counterfactual
    assert text.startswith("would be no evidence with sweep_1h and sweep_1d at or below 0.3")
    x[0, INDEX["sweep_1h"]] = 0.1
    assert "with sweep_1d at or below 0.3" in Good().explain(Features(x), 0, 0.3).counterfactual
