"""Every query of every dashboard, with its variables filled in, for tests that look at or evaluate them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from siphonwatch.streams.common.settings import Links
from siphonwatch.streams.operate.provision.bundled import dashboards

VARIABLES = {
    "$__rate_interval": "1m",
    "$namespace": ".*",
    "$job": ".+",
    "$instance": ".+",
    "$pattern": ".*",
}
"""What Grafana would put in: everything selected, scraped every 15 s."""


class PanelQuery(NamedTuple):
    """One query."""

    dashboard: str
    """Uid."""
    panel: str
    """Title."""
    expr: str
    """PromQL without variables."""


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels that show something, those of collapsed rows too, without the headings of rows."""
    inside = [panel for row in dashboard["panels"] for panel in row.get("panels", [])]
    return [panel for panel in [*dashboard["panels"], *inside] if panel["type"] != "row"]


def fill(expr: str, variables: Mapping[str, str] = VARIABLES) -> str:
    """Return a query with its variables filled in."""
    for name, value in variables.items():
        expr = expr.replace(name, value)
    return expr


def queries(variables: Mapping[str, str] = VARIABLES) -> Iterator[PanelQuery]:
    """Yield every query of every panel, then those of annotations."""
    for dashboard in dashboards(Links()):
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield PanelQuery(dashboard["uid"], panel["title"], fill(target["expr"], variables))
        for annotation in dashboard["annotations"]["list"]:
            if "expr" in annotation:
                yield PanelQuery(dashboard["uid"], annotation["name"], fill(annotation["expr"], variables))
