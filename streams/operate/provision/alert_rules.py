"""Our alerts as rules that Grafana itself evaluates; they need no recording rule in Prometheus. It sends none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

from siphonwatch.streams.operate.provision.expand import duration, expand, milliseconds
from siphonwatch.streams.operate.provision.marks import FOLDER_UID, PREFIX, SERVICE, SOURCE_UID
from siphonwatch.streams.operate.provision.rules import Alert, Recording, Rules

GROUP = "siphonwatch"
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


def rule(alert: Alert, recordings: Mapping[str, Recording]) -> dict[str, Any]:
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
        "labels": alert.labels | {"managed_by": SERVICE},
        "annotations": {name: _VALUE.sub("$values.A.Value", text) for name, text in alert.annotations.items()},
    }


def grafana_rules(rules: Rules) -> list[dict[str, Any]]:
    """Return every alert as a rule, in order."""
    known = {recording.record: recording for recording in rules.recordings}
    return [rule(alert, known) for alert in rules.alerts]


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
