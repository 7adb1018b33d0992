"""What a moved bar would have told: from the evidence that one version had, noted as it grew."""

from __future__ import annotations

import math

from siphonwatch.models.engine.patterns import detectors
from siphonwatch.streams.lab.backtest.near import Near


def test_evidence_from_before_the_onset_catches_nobody() -> None:
    near = Near(detectors())
    near.ladder[0, 1] = [(10.0, -1.0), (20.0, 0.5), (30.0, 2.0)]
    assert near.first_beyond(0, 1, 0.0, -math.inf) == 20.0
    assert near.first_beyond(0, 1, -2.0, -math.inf) == 10.0, "a lower bar is passed earlier"
    assert near.first_beyond(0, 1, 0.0, 25.0) == 30.0
    assert near.first_beyond(0, 1, 0.0, 31.0) == near.first_beyond(0, 1, 3.0, 0.0) == math.inf
    assert near.first_beyond(0, 2, 0.0, 0.0) == math.inf, "and nothing is known of another pattern"
