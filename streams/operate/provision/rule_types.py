"""The shapes of recording and alerting rules, and the names they share; it knows no rule."""

from __future__ import annotations

from typing import Literal

import msgspec

FRESH_SECONDS = 30
"""Objective: 99 % of the requests are processed within this many seconds of their broker timestamp. A bucket's bound of
`siphonwatch_freshness_seconds`."""
WORKERS, DELIVERERS = "siphonwatch", "siphonwatch-deliver"
"""Prometheus' jobs."""
DEPLOYMENT = "job, namespace"
"""What tells deployments in one Prometheus apart: outside Kubernetes there is no namespace, and the job says it."""


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """A query that Prometheus keeps as a series of its own."""

    record: str
    """`level:metric:operation`, such as `siphonwatch:freshness_bad:ratio_rate5m`."""
    expr: str
    """PromQL."""
    interval: str = "30s"
    """How often it is evaluated."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A condition that a person is told of.

    Each result of `expr` is one alert, whatever its value is: zero fires too. A number in front of `# seconds` is a
    time span that PromQL cannot write as one.
    """

    name: str
    """`SiphonwatchXxx`."""
    expr: str
    """PromQL over metrics or recorded series."""
    hold: str = "0s"
    """How long the condition must hold first (`for`)."""
    severity: Literal["page", "ticket"]
    """`page` wakes a person now; `ticket` is for working hours."""
    summary: str
    """One line; may use Prometheus' templates."""
    description: str
    """What it means and where to look first; may use Prometheus' templates."""
    runbook: str
    """Anchor in deploy/runbook.md."""


def increased(selector: str, window: str, by: str = DEPLOYMENT) -> str:
    """Return PromQL for what counters grew by, with what a new counter already stood at when it was first scraped.

    `increase` alone never sees the first value of a series. A worker that finds records lost does so in its first
    second, before its first scrape. A series counts as new when it has no sample in the window before; an outage of
    Prometheus of twice the window makes an old one look new, once.
    """
    return (
        f"sum by ({by}) (\n"
        f"  (\n"
        f"    last_over_time({selector}[{window}])\n"
        f"    unless last_over_time({selector}[{window}] offset {window})\n"
        f"  )\n"
        f"  or increase({selector}[{window}])\n"
        ")"
    )
