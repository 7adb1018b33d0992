"""What keeps features from being evidence: every claim holds when the card scores it."""

from __future__ import annotations

import re

import numpy as np
import pytest

from siphonwatch.models.detect.hold import hold
from siphonwatch.models.engine.patterns import detector, patterns


@pytest.mark.parametrize("pattern", [d.pattern for d in patterns() if d.card.gates])
def test_of_features_that_say_nothing_the_shut_gates_are_named_and_opening_them_opens_the_gate(pattern: str) -> None:
    found = detector(pattern)
    values = np.zeros(len(found.features), np.float32)
    at = {feature.name: k for k, feature in enumerate(found.features)}
    gates = [ramp for gate in found.card.gates for ramp in gate.ramps]
    for far, end in ((min, "low"), (max, "high")):
        for name in {name for ramp in gates for name in ramp.of}:
            mine = [ramp for ramp in gates if name in ramp.of]
            pick = far if mine[0].low < mine[0].high else {min: max, max: min}[far]
            values[at[name]] = pick(getattr(ramp, end) for ramp in mine)
        said = hold(found, values, found.null)
        assert len(said.shut) == (len(found.card.gates) if end == "low" else 0)
        for gate in said.shut:
            wide = np.float32(gate.opens)
            assert (gate.observed <= wide) if gate.direction == "above" else (gate.observed >= wide)


@pytest.mark.parametrize("pattern", ["scraping", "extraction", "campaign"])
def test_the_opening_is_a_change_that_makes_it_evidence(pattern: str) -> None:
    found = detector(pattern)
    at = {feature.name: k for k, feature in enumerate(found.features)}
    rng = np.random.default_rng(5)
    opened = 0
    for _ in range(200):
        values = np.zeros(len(found.features), np.float32)
        for ramp in found.card.ramps:
            way = np.float32(rng.uniform(-0.1, 1.3))
            for name in ramp.of:
                values[at[name]] = ramp.low + way * (ramp.high - ramp.low)
        said = hold(found, values, 0.5)
        assert (said.opening == "") == (said.score >= 0.5)
        if claim := re.match(r"would be evidence with (\w+) at (\S+) instead", said.opening):
            changed = values.copy()
            changed[at[claim[1]]] = float(claim[2])
            assert found.score(changed[None])[0] >= 0.5, "at the value as it is printed"
            opened += 1
    assert opened > 5
