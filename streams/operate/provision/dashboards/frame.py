"""What all dashboards share: variables, annotations, links between them, and how panels fill the grid."""

from __future__ import annotations

from typing import Any

import msgspec

from siphonwatch.streams.common.settings import Links
from siphonwatch.streams.operate.provision.panels import SOURCE, WIDTH, Panel, Query, Step, render

SCHEMA_VERSION = 41
"""Of Grafana 12.0; later ones migrate a dashboard when they read it, older ones show it as well as they can."""
MARK = "managed-by-siphonwatch"
"""Tag of a dashboard that `provision` made and may change or remove."""
PREFIX = "siphonwatch-"
"""How the uid of each object of ours begins."""
BUILT_IN = {"type": "grafana", "uid": "-- Grafana --"}

WORKER = 'job=~"$job",namespace=~"$namespace",instance=~"$instance"'
"""Label matchers of a worker's metrics. Without a namespace label, All matches too."""
UP = (
    f"(up{{{WORKER}}} and on (job, namespace)"
    ' group by (job, namespace) (last_over_time(siphonwatch_model_info{job=~"$job"}[1d])))'
)
"""Whether each worker answers: of the jobs chosen, those that had workers within a day. All jobs of a Prometheus match
`.+`, other people's too."""
TELEMETRY = f'stream="telemetry",{WORKER}'
"""The same for what counts requests once: sightings and ingest would count them again."""
DELIVERER = WORKER
"""Label matchers of a deliverer's metrics: another job than the workers', offered by the same variable."""
PROCESSES = "siphonwatch_model_info|siphonwatch_failing_seconds"
"""A metric that each worker has, and one of each deliverer: what the variables are found by."""
TP = "namespace, topic, partition"
"""What tells partitions apart; `max by` these, as two workers may show one for a moment when it moves."""

__all__ = ["DELIVERER", "TELEMETRY", "TP", "UP", "WORKER", "Dashboard", "Panel", "Query", "Row", "Step", "build"]


class Row(msgspec.Struct, frozen=True):
    """A heading and its panels, which fill the grid from left to right."""

    title: str
    panels: tuple[Panel, ...]
    collapsed: bool = False
    """Not for a first look: its panels ask nothing until it is opened."""


class Dashboard(msgspec.Struct, frozen=True, kw_only=True):
    """One dashboard."""

    name: str
    """Its uid is `siphonwatch-<name>`."""
    title: str
    description: str
    rows: tuple[Row, ...]
    patterns: bool = False
    """Whether one can choose patterns."""
    since: str = "now-6h"
    """Beginning of what it shows at first."""


def build(dashboard: Dashboard, links: Links) -> dict[str, Any]:
    """Return a dashboard as the JSON that Grafana keeps, without id and version, which are Grafana's."""
    return {
        "uid": PREFIX + dashboard.name,
        "title": f"siphonwatch / {dashboard.title}",
        "description": dashboard.description,
        "tags": [MARK, "siphonwatch"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": dashboard.since, "to": "now"},
        "timezone": "browser",
        "links": [_others(), _book(links)],
        "annotations": {"list": _annotations()},
        "templating": {"list": _variables(dashboard.patterns)},
        "panels": _place(dashboard.rows, links.runbook),
    }


def _place(rows: tuple[Row, ...], runbook: str) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    y = number = 0
    for row in rows:
        number += 1
        heading: dict[str, Any] = {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": row.collapsed,
            "panels": [],
            "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
        }
        made.append(heading)
        # Grafana keeps the panels of a collapsed row inside it, with the places they have when it is open.
        into = heading["panels"] if row.collapsed else made
        y, x, height = y + 1, 0, 0
        for panel in row.panels:
            if x + panel.width > WIDTH:
                y, x, height = y + height, 0, 0
            number += 1
            into.append(render(panel, number, x, y, runbook))
            x, height = x + panel.width, max(height, panel.height)
        y += height
    return made


def _others() -> dict[str, Any]:
    return {
        "title": "siphonwatch",
        "type": "dashboards",
        "tags": ["siphonwatch"],
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
        "icon": "dashboard",
        "tooltip": "The other dashboards",
        "url": "",
    }


def _book(links: Links) -> dict[str, Any]:
    return {
        "title": "Runbook",
        "type": "link",
        "url": f"{links.runbook}#dashboards",
        "asDropdown": False,
        "includeVars": False,
        "keepTime": False,
        "tags": [],
        "targetBlank": True,
        "icon": "doc",
        "tooltip": "What to do",
    }


def _variables(patterns: bool) -> list[dict[str, Any]]:
    source = {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "regex": "",
        "multi": False,
        "includeAll": False,
        "hide": 0,
        "refresh": 1,
    }
    found = [
        source,
        _labels("namespace", "Namespace", "siphonwatch_model_info", ".*"),
        _labels("job", "Job", f'{{__name__=~"{PROCESSES}",namespace=~"$namespace"}}', ".+"),
        _labels("instance", "Instance", f'{{__name__=~"{PROCESSES}",job=~"$job",namespace=~"$namespace"}}', ".+"),
    ]
    if patterns:
        found.append(_labels("pattern", "Pattern", f"siphonwatch_score_bucket{{{WORKER}}}", ".*"))
    return found


def _labels(name: str, label: str, metric: str, everything: str) -> dict[str, Any]:
    """A variable over a label's values; All stands for `everything`, a regular expression."""
    query = f"label_values({metric}, {name})"
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "qryType": 1, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "regex": "",
        "multi": True,
        "includeAll": True,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "hide": 0,
        "refresh": 2,
        "sort": 1,
        "allValue": everything,
    }


def _annotations() -> list[dict[str, Any]]:
    def tagged(name: str, tags: list[str], colour: str) -> dict[str, Any]:
        target = {"type": "tags", "tags": tags, "matchAny": False, "limit": 100}
        return {"name": name, "datasource": BUILT_IN, "enable": True, "hide": False, "iconColor": colour} | {
            "target": target
        }

    grafanas = {
        "name": "Annotations & Alerts",
        "builtIn": 1,
        "type": "dashboard",
        "datasource": BUILT_IN,
        "enable": True,
        "hide": True,
        "iconColor": "rgba(0, 211, 255, 1)",
    }
    running = f"count by (version) (siphonwatch_model_info{{{WORKER}}})"
    before = f"count by (version) (siphonwatch_model_info{{{WORKER}}} offset 5m)"
    versions = {
        "name": "New versions",
        "datasource": SOURCE,
        "enable": True,
        "hide": False,
        "iconColor": "purple",
        "expr": f"{running} unless {before}",
        "step": "60s",
        "titleFormat": "siphonwatch {{version}}",
        "textFormat": "first workers of this version",
        "tagKeys": "version",
    }
    return [
        grafanas,
        tagged("Alerts", ["siphonwatch", "alert"], "red"),
        tagged("Model promotions", ["siphonwatch", "promotion"], "blue"),
        versions,
    ]
