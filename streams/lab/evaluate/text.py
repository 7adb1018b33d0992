"""Figures as people read them: an estimate with its interval, a share in percent, a delay. It computes nothing."""

from __future__ import annotations

import math

from siphonwatch.models.evaluate.bootstrap import Estimate
from siphonwatch.models.evaluate.report import Delay

NONE = "–"  # noqa: RUF001 - an en dash where there is no figure


def share(e: Estimate, *, counts: bool = True) -> str:
    """Return `61.5% [42.3, 80.8] 16/26`."""
    if math.isnan(e.value):
        return NONE
    text = f"{e.value:.1%}{_interval(e, 100)}"
    return f"{text} {e.hits:,}/{e.of:,}" if counts and e.hits is not None else text


def area(e: Estimate) -> str:
    """Return `0.968 [0.945, 0.987]`."""
    if math.isnan(e.value):
        return NONE
    return f"{e.value:.3f}{_interval(e, 1, 3)}"


def count(e: Estimate) -> str:
    """Return `86 [76, 228]`; infinite where most were never found."""
    if math.isnan(e.value):
        return NONE
    return f"{_whole(e.value)}{_interval(e, 0)}"


def never(delay: Delay) -> str:
    """Return `8/15`."""
    return f"{delay.never:,}/{delay.of:,}"


def plain(value: float, digits: int = 3) -> str:
    """Return a number with a fixed count of digits behind the point."""
    return NONE if math.isnan(value) else f"{value:.{digits}f}"


def factor(value: float) -> str:
    """Return how many times as much: `1`, `1.25`, `16`; infinite where nothing is got for it any more."""
    return "∞" if math.isinf(value) else f"{value:.3g}"


def _whole(value: float) -> str:
    return "∞" if math.isinf(value) else f"{value:,.0f}"


def _interval(e: Estimate, factor: float, digits: int = 1) -> str:
    """Return both ends, rounded outward, so that no interval is printed narrower than it is."""
    if math.isnan(e.low):
        return ""
    if not factor:
        return f" [{_whole(e.low)}, {_whole(e.high)}]"
    step = 10.0**digits
    # An end that is round but for its last bit stays where it is.
    low = math.floor(e.low * factor * step + 1e-6) / step
    high = math.ceil(e.high * factor * step - 1e-6) / step
    return f" [{low:.{digits}f}, {high:.{digits}f}]"
