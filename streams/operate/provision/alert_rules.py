"""Our alerts as rules that Grafana itself evaluates; they need no recording rule in Prometheus. It sends none."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from siphonwatch.streams.common.settings import Links
from siphonwatch.streams.operate.provision.dashboards.frame import PREFIX
from siphonwatch.streams.operate.provision.expand import duration, expand, milliseconds
from siphonwatch.streams.operate.provision.rule_types import Alert, Recording

FOLDER_UID = "siphonwatch"
SOURCE_UID = "siphonwatch-prometheus"
GROUP = "siphonwatch"
SERVICE = "siphonwatch"
"""Value of the label `service`, by which alerts find their way to the contact point."""
LONGEST_UID = 40
"""Grafana's limit."""

_VALUE = re.compile(r"\$value\b")


def uid(name: str) -> str:
    """Return the stable uid of an alert's rule.

    Examples
    --------
    >>> uid("SiphonwatchStuckCommits")
    'siphonwatch-stuck-commits'
    """
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name.removeprefix("Siphonwatch")).lower()
    made = PREFIX + words
    if len(made) > LONGEST_UID:
        mark = blake2b(name.encode(), digest_size=4).hexdigest()
        made = f"{made[: LONGEST_UID - 9]}-{mark}"
    return made


def rule(alert: Alert, recordings: Mapping[str, Recording], links: Links) -> dict[str, Any]:
    """Return one rule as the provisioning API takes it.

    It fires for each series that the query returns, whatever its value, as Prometheus' rules do: query A, B says
    whether there is a value, C is the condition.
    """
    expr = expand(alert.expr, recordings)
    return {
        "uid": uid(alert.name),
        "orgID": 1,  # required, and replaced by the caller's organisation
        "folderUID": FOLDER_UID,
        "ruleGroup": GROUP,
        "title": alert.name,
        "condition": "C",
        "data": [_query(expr), _expression("B", "math", "is_null($A) == 0"), _threshold()],
        "noDataState": "OK",  # no series is what a healthy system returns
        "execErrState": "Error",
        "for": duration(milliseconds(alert.hold)),
        "isPaused": False,
        "labels": {"managed_by": SERVICE, "service": SERVICE, "severity": alert.severity},
        "annotations": {
            "summary": _VALUE.sub("$values.A.Value", alert.summary),
            "description": _VALUE.sub("$values.A.Value", alert.description),
            "runbook_url": f"{links.runbook}#{alert.runbook}",
        },
    }


def rules(alerts: Iterable[Alert], recordings: Sequence[Recording], links: Links) -> list[dict[str, Any]]:
    """Return every alert as a rule, in order."""
    known = {recording.record: recording for recording in recordings}
    return [rule(alert, known, links) for alert in alerts]


def _query(expr: str) -> dict[str, Any]:
    return {
        "refId": "A",
        "queryType": "",
        "relativeTimeRange": {"from": 600, "to": 0},
        "datasourceUid": SOURCE_UID,
        "model": {
            "refId": "A",
            "datasource": {"type": "prometheus", "uid": SOURCE_UID},
            "editorMode": "code",
            "expr": expr,
            "instant": True,
            "range": False,
            "intervalMs": 15_000,
            "maxDataPoints": 43_200,
        },
    }


def _expression(ref: str, kind: str, text: str) -> dict[str, Any]:
    return {
        "refId": ref,
        "queryType": "",
        "relativeTimeRange": {"from": 0, "to": 0},
        "datasourceUid": "__expr__",
        "model": {
            "refId": ref,
            "type": kind,
            "datasource": {"type": "__expr__", "uid": "__expr__"},
            "expression": text,
            "intervalMs": 1000,
            "maxDataPoints": 43_200,
        },
    }


def _threshold() -> dict[str, Any]:
    made = _expression("C", "threshold", "B")
    made["model"]["conditions"] = [
        {
            "type": "query",
            "evaluator": {"type": "gt", "params": [0]},
            "operator": {"type": "and"},
            "query": {"params": ["C"]},
            "reducer": {"type": "last", "params": []},
        }
    ]
    return made
