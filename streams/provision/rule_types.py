"""The shapes of recording and alerting rules; it knows no rule."""

from __future__ import annotations

from typing import Literal

import msgspec

FRESH_SECONDS = 30
"""Objective: 99 % of the requests are processed within this many seconds of their broker timestamp. A bucket's bound of
`siphonwatch_freshness_seconds`."""


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """A query that Prometheus keeps as a series of its own."""

    record: str
    """`level:metric:operation`, such as `siphonwatch:freshness_bad:ratio_rate5m`."""
    expr: str
    """PromQL."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A condition that a person is told of."""

    name: str
    """`SiphonwatchXxx`."""
    expr: str
    """PromQL over metrics or recorded series; each result is one alert."""
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
