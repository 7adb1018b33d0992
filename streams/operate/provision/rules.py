"""Recording and alerting rules, read from a rules file of Prometheus; it evaluates none."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import msgspec
import yaml


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """A query that Prometheus keeps as a series of its own."""

    record: str
    """`level:metric:operation`, such as `siphonwatch:freshness_bad:ratio_rate5m`."""
    expr: str
    """PromQL."""
    interval: str
    """How often it is evaluated."""


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A condition that a person is notified of."""

    name: str = msgspec.field(name="alert")
    """`SiphonwatchXxx`."""
    expr: str
    """PromQL over metrics or recorded series."""
    hold: str = msgspec.field(name="for", default="0s")
    """How long the condition must hold first."""
    labels: dict[str, str]
    """`severity`, `page` or `ticket`, and `service`."""
    annotations: dict[str, str]
    """`summary`, `description` and `runbook_url`; the first two may use Prometheus' templates."""


class Rules(NamedTuple):
    """What a rules file holds, in its order."""

    alerts: tuple[Alert, ...]
    recordings: tuple[Recording, ...]


@functools.cache
def parse(text: str) -> Rules:
    """Return the rules of a file.

    Raises
    ------
    msgspec.ValidationError
        When a rule lacks what we need of it.

    Examples
    --------
    >>> parse("groups: [{name: a, interval: 30s, rules: [{record: 'a:b:sum', expr: sum(b)}]}]").recordings
    (Recording(record='a:b:sum', expr='sum(b)', interval='30s'),)
    """
    alerts, recordings = [], []
    groups: list[dict[str, Any]] = yaml.safe_load(text)["groups"]
    for group in groups:
        for rule in group["rules"]:
            if "record" in rule:
                recordings.append(msgspec.convert(rule | {"interval": group["interval"]}, Recording))
            else:
                alerts.append(msgspec.convert(rule, Alert))
    return Rules(tuple(alerts), tuple(recordings))
