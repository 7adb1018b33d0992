"""Panels of a dashboard as small typed objects, and the JSON that Grafana takes for each; it knows no metric."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24
"""Columns of Grafana's grid."""


class Query(msgspec.Struct, frozen=True):
    """One query of a panel."""

    expr: str
    """PromQL; may use the dashboard's variables."""
    legend: str = ""
    """Name of each series, `{{label}}` for a label's value."""
    at: Literal["range", "now"] = "range"
    """`now` asks for the latest value only."""


class Step(msgspec.Struct, frozen=True):
    """From which value on a panel takes a colour."""

    value: float
    colour: str


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """One panel.

    `unit` is Grafana's id of a unit; `runbook` the anchor of the entry that says what to do; `base` the colour below
    the first of `steps`.
    """

    kind: Literal["stat", "timeseries", "bargauge", "heatmap", "table", "alertlist"]
    title: str
    description: str
    unit: str
    runbook: str
    queries: tuple[Query, ...] = ()
    steps: tuple[Step, ...] = ()
    base: str = "green"
    width: int = 8
    height: int = 8
    bars: bool = False
    """Time series: stacked bars of what happened in each interval."""
    stack: bool = False
    """Time series: areas that add up."""
    log: bool = False
    """Time series: logarithmic axis."""
    most: float | None = None
    """Upper end of the axis."""
    empty: str = ""
    """What a panel without a value says, in orange: nothing known is not the same as healthy."""
    repeat: str = ""
    """Variable of which each value gets a panel of its own."""
    hide: tuple[str, ...] = ()
    """Table: columns left out."""


def render(panel: Panel, number: int, x: int, y: int, runbook: str) -> dict[str, Any]:
    """Return a panel as JSON.

    Parameters
    ----------
    number
        Id within its dashboard.
    x, y
        Place in the grid.
    runbook
        Beginning of a link to the runbook.
    """
    made: dict[str, Any] = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "gridPos": {"h": panel.height, "w": panel.width, "x": x, "y": y},
        "datasource": SOURCE,
        "fieldConfig": {"defaults": _field(panel), "overrides": []},
        "options": _OPTIONS[panel.kind](panel),
        "targets": [_target(panel, query, i) for i, query in enumerate(panel.queries)],
        "links": [{"title": "Runbook", "url": f"{runbook}#{panel.runbook}", "targetBlank": True}],
    }
    if panel.repeat:
        made |= {"repeat": panel.repeat, "repeatDirection": "h", "maxPerRow": WIDTH // panel.width}
    if panel.kind == "table":
        made["transformations"] = [{"id": "organize", "options": {"excludeByName": dict.fromkeys(panel.hide, True)}}]
    return made


def _target(panel: Panel, query: Query, position: int) -> dict[str, Any]:
    now = query.at == "now"
    return {
        "refId": chr(ord("A") + position),
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": query.expr,
        "legendFormat": query.legend or "__auto",
        "instant": now,
        "range": not now,
        "format": {"heatmap": "heatmap", "table": "table"}.get(panel.kind, "time_series"),
    }


def _field(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": panel.base, "value": None}]
    steps += [{"color": step.colour, "value": step.value} for step in panel.steps]
    field: dict[str, Any] = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": steps},
        "color": {"mode": "palette-classic" if panel.kind == "timeseries" else "thresholds"},
        "custom": _custom(panel),
    }
    if panel.kind in ("timeseries", "bargauge") and not panel.log:
        field["min"] = 0
    if panel.most is not None:
        field["max"] = panel.most
    if panel.empty:
        field["noValue"] = panel.empty
        unknown = {"text": panel.empty, "color": "orange", "index": 0}
        field["mappings"] = [{"type": "special", "options": {"match": "null+nan", "result": unknown}}]
    return field


def _custom(panel: Panel) -> dict[str, Any]:
    if panel.kind != "timeseries":
        return {}
    return {
        "drawStyle": "bars" if panel.bars else "line",
        "fillOpacity": 80 if panel.bars else 30 if panel.stack else 5,
        "lineWidth": 1,
        "pointSize": 4,
        "showPoints": "auto",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if panel.bars or panel.stack else "none"},
        "scaleDistribution": {"type": "log", "log": 10} if panel.log else {"type": "linear"},
        "thresholdsStyle": {"mode": "dashed" if panel.steps else "off"},
    }


def _stat(panel: Panel) -> dict[str, Any]:
    return {
        "colorMode": "background",
        "graphMode": "none" if all(query.at == "now" for query in panel.queries) else "area",
        "justifyMode": "auto",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "textMode": "auto",
        "wideLayout": True,
    }


def _timeseries(panel: Panel) -> dict[str, Any]:
    calcs = ["sum"] if panel.bars else ["lastNotNull", "max"]
    return {
        "legend": {"calcs": calcs, "displayMode": "table", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def _bargauge(_: Panel) -> dict[str, Any]:
    return {
        "displayMode": "gradient",
        "orientation": "horizontal",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showUnfilled": True,
        "valueMode": "color",
    }


def _heatmap(panel: Panel) -> dict[str, Any]:
    return {
        "calculate": False,
        "cellGap": 1,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5, "reverse": False},
        "cellValues": {"unit": "short"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"mode": "single", "yHistogram": True},
        "yAxis": {"axisPlacement": "left", "unit": panel.unit},
    }


def _table(_: Panel) -> dict[str, Any]:
    return {"showHeader": True, "cellHeight": "sm"}


def _alertlist(_: Panel) -> dict[str, Any]:
    return {
        "alertInstanceLabelFilter": '{service="siphonwatch"}',
        "dashboardAlerts": False,
        "groupMode": "default",
        "maxItems": 50,
        "sortOrder": 3,
        "stateFilter": {"error": True, "firing": True, "noData": False, "normal": False, "pending": True},
        "viewMode": "list",
    }


_OPTIONS = {
    "stat": _stat,
    "timeseries": _timeseries,
    "bargauge": _bargauge,
    "heatmap": _heatmap,
    "table": _table,
    "alertlist": _alertlist,
}
