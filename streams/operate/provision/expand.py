"""Queries over recorded series, written out so that they need no recording rule; it evaluates none."""

from __future__ import annotations

import re
from collections.abc import Mapping

from siphonwatch.streams.operate.provision.rules import Recording

POINTS = 240
"""At most so many evaluations stand in for the samples that a recording rule would have kept over a window."""

_UNITS = {"y": 31_536_000_000, "w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
"""Milliseconds of Prometheus' units."""
_RECORDED = re.compile(r"(?<![\w:])(siphonwatch:[\w:]+)(?:\{([^}]*)\})?(?:\[(\w+)\])?(\s+offset\s+\w+)?")
_RAW = re.compile(r"(?<![\w:])(siphonwatch_\w+)(?:\{([^}]*)\})?")
_OTHER = re.compile(r"(?<![\w:])(?:up|(?:process|python)_\w+)(?![\w:(])")


def milliseconds(text: str) -> int:
    """Return a Prometheus duration, such as `1h30m`, in milliseconds.

    Raises
    ------
    ValueError
        When it is none.
    """
    if not re.fullmatch(r"(\d+(ms|[smhdwy]))+", text):
        raise ValueError(f"{text!r} is no duration, such as 90s or 1h30m")
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)(ms|[smhdwy])", text))


def duration(left: int) -> str:
    """Return milliseconds the way Prometheus and Grafana write them.

    Examples
    --------
    >>> duration(5_400_000), duration(0), duration(604_800_000)
    ('1h30m', '0s', '1w')
    """
    if left == 0:
        return "0s"
    made = ""
    for unit, size in _UNITS.items():
        if unit in ("y", "w") and left % size:  # years and weeks are written only where nothing is left over
            continue
        count, left = divmod(left, size)
        made += f"{count}{unit}" if count else ""
    return made


def expand(expr: str, recordings: Mapping[str, Recording]) -> str:
    """Return a query with each recorded series replaced by what it is computed from.

    A window over recorded samples becomes a subquery of at most `POINTS` evaluations, an offset one of a single
    evaluation, and a selection by labels moves to the metrics inside, as all our recordings keep the labels they have.

    Parameters
    ----------
    expr
        PromQL.
    recordings
        By the name of the series; one may use others.

    Raises
    ------
    ValueError
        For a series that nothing records, or a selection that cannot move inside.
    """

    def replace(match: re.Match[str]) -> str:
        name, matchers, window, offset = match.groups()
        if name not in recordings:
            raise ValueError(f"{name} is recorded by no rule")
        recording = recordings[name]
        inner = expand(recording.expr, recordings)
        if matchers:
            inner = _select(inner, matchers)
        inner = f"(\n{inner}\n)"  # on lines of its own, as it may end with a comment
        if window:
            step = max(milliseconds(recording.interval), milliseconds(window) // POINTS)
            return f"{inner}[{window}:{duration(step)}]{offset or ''}"
        if offset:
            return f"last_over_time({inner}[{recording.interval}:{recording.interval}]{offset})"
        return inner

    return _RECORDED.sub(replace, expr)


def _select(expr: str, matchers: str) -> str:
    if other := _OTHER.search(expr):
        raise ValueError(f"{{{matchers}}} cannot be moved to {other[0]}, which has no such label: {expr}")

    def narrow(match: re.Match[str]) -> str:
        return f"{match[1]}{{{f'{match[2]},' if match[2] else ''}{matchers}}}"

    return _RAW.sub(narrow, expr)
