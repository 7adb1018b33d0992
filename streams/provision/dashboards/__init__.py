"""The dashboards, in the order in which they are shown; it sends none."""

from __future__ import annotations

from typing import Any

from streams.provision.dashboards import detection, overview, pipeline, triage
from streams.provision.dashboards.frame import build
from streams.settings import Links

DASHBOARDS = (overview.DASHBOARD, detection.DASHBOARD, pipeline.DASHBOARD, triage.DASHBOARD)


def all_dashboards(links: Links) -> list[dict[str, Any]]:
    """Return every dashboard as the JSON that Grafana keeps.

    Parameters
    ----------
    links
        Where the runbook is read.
    """
    return [build(dashboard, links) for dashboard in DASHBOARDS]
