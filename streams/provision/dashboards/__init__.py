"""The dashboards, in the order in which they are shown; it sends none."""

from __future__ import annotations

from typing import Any

from streams.provision.dashboards.detection import DASHBOARD as DETECTION
from streams.provision.dashboards.frame import build
from streams.provision.dashboards.overview import DASHBOARD as OVERVIEW
from streams.provision.dashboards.pipeline import DASHBOARD as PIPELINE
from streams.provision.dashboards.triage import DASHBOARD as TRIAGE
from streams.settings import Links

DASHBOARDS = (OVERVIEW, DETECTION, PIPELINE, TRIAGE)


def all_dashboards(links: Links) -> list[dict[str, Any]]:
    """Return every dashboard as the JSON that Grafana keeps.

    Parameters
    ----------
    links
        Where the runbook is read.
    """
    return [build(dashboard, links) for dashboard in DASHBOARDS]
