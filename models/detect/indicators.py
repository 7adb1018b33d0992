"""Which published indicators of distillation an account or a campaign shows, by features. They decide nothing.

The ten are those that advisory AA26-251A gives providers, as others report them. Telemetry says nothing of the means of
three (aggregator routing, retargeting within a day of a release, quality probes), so these are never said to be there.
"""

from __future__ import annotations

from typing import NamedTuple

from siphonwatch.models.detect.card import Ramp
from siphonwatch.models.detect.detector import Detector, Values


class Indicator(NamedTuple):
    """One published indicator: there where all of its features have gone beyond a point."""

    name: str
    over: str
    """Whose features it reads, `account` or `campaign`."""
    signs: tuple[Ramp, ...]
    """Of each the feature that moved furthest counts; it is there from half the way on."""


class Present(NamedTuple):
    """An indicator that is there."""

    name: str
    feature: str
    """The feature that shows it most."""
    observed: float
    scored: bool
    """Whether the pattern's card reads that feature: else it was only observed, and is no part of the score."""


DAY_OLD = Ramp(("age",), 3.3, 3.1)
"""About the logarithm of 24 hours."""
LIMITED = Ramp(("throttled_1h",), 0.02, 0.1)

INDICATORS = (
    Indicator("round the clock", "account", (Ramp(("job_hours",), 4.5, 4.8),)),  # 100 of the 168 hours of a week
    Indicator("new account straight to its limit", "account", (DAY_OLD, LIMITED)),
    Indicator("one key, many clients", "account", (Ramp(("new_ip_1d",), 0.2, 0.6),)),
    Indicator("volume above plan", "account", (LIMITED,)),
    Indicator("metadata removed", "account", (Ramp(("user_shift", "session_shift", "headers_shift"), -0.1, -0.4),)),
    Indicator("reasoning elicitation", "account", (Ramp(("job_reasoning", "reasoning_1d"), 0.1, 0.5),)),
    Indicator("round the clock", "campaign", (Ramp(("rhythm",), 0.3, 0.1), Ramp(("seen",), 30.0, 90.0))),
    Indicator("fail-over within seconds of a block", "campaign", (Ramp(("batons",), 0.0, 1.0),)),
)


def present(detector: Detector, values: Values) -> list[Present]:
    """Return the indicators that are there, in the order of `INDICATORS`.

    Parameters
    ----------
    detector
        What scored the features, of accounts or of campaigns.
    values
        `(F,) float32` features.
    """
    at = {feature.name: float(value) for feature, value in zip(detector.features, values, strict=True)}
    found = []
    for indicator in INDICATORS:
        if indicator.over != detector.card.over:
            continue
        furthest = [max((_way(at[name], ramp), name) for name in ramp.of) for ramp in indicator.signs]
        if all(way >= 0.5 for way, _ in furthest):
            feature = furthest[0][1]
            found.append(Present(indicator.name, feature, at[feature], feature in detector.needs))
    return found


def _way(value: float, ramp: Ramp) -> float:
    """How far a feature has gone on a ramp: 0 at its low end, 1 at its high one."""
    return (value - ramp.low) / (ramp.high - ramp.low)
