"""Rules in small: every time span divided, so that a real Prometheus shows within seconds what takes it hours.

For tests. What a rule counts and compares stays as it is; only spans of time shrink.
"""

from __future__ import annotations

import re

import yaml

UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_SPAN = re.compile(r"(\d+)(ms|[smhdw])")
_SPANS = re.compile(rf"(?:{_SPAN.pattern})+")
"""One span may be of several units."""
_IN_QUERY = re.compile(r"\[[^\]]*\]|\boffset\s+\w+")
"""Where PromQL has time spans: a range, with its step, and an offset. A recorded series may have one in its name."""
_SECONDS = re.compile(r"(\d+(?:\.\d+)?)(?=\s*# seconds)")


def milliseconds(span: str) -> int:
    """Return a time span such as `1h30m`."""
    return sum(int(number) * UNITS[unit] for number, unit in _SPAN.findall(span))


def scaled(text: str, factor: float, *, seconds: float = 1.0) -> str:
    """Return a rules file with the ranges, offsets, holds and intervals of `text` divided by `factor`.

    Parameters
    ----------
    text
        deploy/prometheus/rules.yml, say.
    factor
        By how much; a span never becomes less than a millisecond.
    seconds
        By how much to divide numbers that are a time span in seconds and marked so: ages of what waits, of a commit.
    """

    def shrink(span: str) -> str:
        return f"{max(round(milliseconds(span) / factor), 1)}ms"

    def query(expr: str) -> str:
        expr = _IN_QUERY.sub(lambda found: _SPANS.sub(lambda span: shrink(span[0]), found[0]), expr)
        return _SECONDS.sub(lambda number: f"{float(number[0]) / seconds:g}", expr)

    tree = yaml.safe_load(text)
    for group in tree["groups"]:
        group["interval"] = shrink(group["interval"])
        for rule in group["rules"]:
            rule["expr"] = query(rule["expr"])
            if "for" in rule:
                rule["for"] = shrink(rule["for"])
    return yaml.safe_dump(tree, sort_keys=False, width=1000)
