"""The dashboards, in the order in which they are shown; it sends none."""

from __future__ import annotations

from typing import Any

from siphonwatch.streams.common.settings import Links
from siphonwatch.streams.operate.provision.dashboards.detection import DASHBOARD as DETECTION
from siphonwatch.streams.operate.provision.dashboards.frame import build
from siphonwatch.streams.operate.provision.dashboards.overview import DASHBOARD as OVERVIEW
from siphonwatch.streams.operate.provision.dashboards.pipeline import DASHBOARD as PIPELINE
from siphonwatch.streams.operate.provision.dashboards.triage import DASHBOARD as TRIAGE

DASHBOARDS = (OVERVIEW, DETECTION, PIPELINE, TRIAGE)


def all_dashboards(links: Links) -> list[dict[str, Any]]:
    """Return every dashboard as the JSON that Grafana keeps.

    Parameters
    ----------
    links
        Where the runbook is read.
    """
    return [build(dashboard, links) for dashboard in DASHBOARDS]
