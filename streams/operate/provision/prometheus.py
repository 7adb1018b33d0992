"""Writes the rules as Prometheus reads them; the same rules give the same bytes. It reaches no server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from siphonwatch.streams.common.settings import Links
from siphonwatch.streams.operate.provision.rules import ALERTS, RECORDINGS, Alert, Recording

HEADER = (
    "# Recording and alerting rules, written by `siphonwatch provision --write`: change streams/provision instead.\n"
)
INTERVALS = {"page": "30s", "ticket": "1m"}
"""How often alerts are evaluated."""


class _Dumper(yaml.SafeDumper):
    """Keeps queries of several lines as they are, and writes no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def render(runbook: str = Links().runbook) -> str:
    """Return the rules file.

    Parameters
    ----------
    runbook
        Beginning of each alert's link, `links.runbook`.
    """
    groups = [*_recording_groups(RECORDINGS), *_alert_groups(ALERTS, runbook)]
    return HEADER + yaml.dump({"groups": groups}, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def _recording_groups(recordings: Iterable[Recording]) -> list[dict[str, Any]]:
    """A group for each interval. Groups are evaluated in order inside, so a rule may use those above it."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for rule in recordings:
        groups.setdefault(rule.interval, []).append({"record": rule.record, "expr": rule.expr})
    return [
        {"name": f"siphonwatch-recordings-{interval}", "interval": interval, "rules": rules}
        for interval, rules in groups.items()
    ]


def _alert_groups(alerts: Iterable[Alert], runbook: str) -> list[dict[str, Any]]:
    groups: dict[str, list[dict[str, Any]]] = {severity: [] for severity in INTERVALS}
    for alert in alerts:
        rule: dict[str, Any] = {"alert": alert.name, "expr": alert.expr}
        if alert.hold != "0s":
            rule["for"] = alert.hold
        rule["labels"] = {"severity": alert.severity, "service": "siphonwatch"}
        rule["annotations"] = {
            "summary": alert.summary,
            "description": alert.description,
            "runbook_url": f"{runbook}#{alert.runbook}",
        }
        groups[alert.severity].append(rule)
    return [
        {"name": f"siphonwatch-{severity}s", "interval": INTERVALS[severity], "rules": rules}
        for severity, rules in groups.items()
    ]
