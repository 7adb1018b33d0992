"""How alerts word figures for people: signals, and e-values as odds. Decides nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable


def signal_text(name: str, observed: float, direction: str, baseline: float, unit: str) -> str:
    """Return a signal as people read it; a logarithm of a count is written as the count.

    Examples
    --------
    >>> signal_text("sweep_1d", 0.94, "above", 0.35, "share")
    'sweep_1d 0.94 (above 0.35)'
    >>> signal_text("job_requests", 5.02, "above", 1.95, "log(1 + requests)")
    'job_requests 150 (above 6)'
    """
    if unit.startswith("log(1 + "):
        return f"{name} {math.expm1(observed):,.0f} ({direction} {math.expm1(baseline):,.0f})"
    return f"{name} {observed:.2g} ({direction} {baseline:.2g})"


def indicators_text(indicators: Iterable[tuple[str, bool]]) -> str:
    """Return published indicators, each by its name and whether it is scored, as people read them.

    Examples
    --------
    >>> indicators_text([("metadata removed", True), ("volume above plan", False)])
    'metadata removed, volume above plan (observed, not scored)'
    """
    return ", ".join(name + " (observed, not scored)" * (not scored) for name, scored in indicators)


def chance(e_value: float) -> str:
    """Return an e-value as the chance, at most, that a benign account ever reaches so much (Ville's inequality).

    Two digits, rounded down, so that it never claims more than the evidence; words from a million on.

    Examples
    --------
    >>> chance(24_631.0), chance(1.29e9), chance(1e300)
    ('1 in 24,000 by chance', '1 in 1.2 billion by chance', '1 in a trillion by chance')
    """
    if not e_value >= 1.0:
        return "no rarer than chance"
    if e_value >= 1e12:
        return "1 in a trillion by chance"
    unit = 10.0 ** max(math.floor(math.log10(e_value)) - 1, 0)
    whole = math.floor(e_value / unit) * unit
    for size, name in ((1e9, "billion"), (1e6, "million")):
        if whole >= size:
            return f"1 in {whole / size:.3g} {name} by chance"
    return f"1 in {whole:,.0f} by chance"


def evidence(e_value: float) -> str:
    """Return an e-value as alerts and tables print it: `e-value 2.4e+04 (1 in 24,000 by chance)`."""
    return f"e-value {e_value:.2g} ({chance(e_value)})"
