"""What Grafana's HTTP API takes, as JSON Schemas: the shapes of its documentation and of its own definitions
(`pkg/services/ngalert/api/tooling/definitions`, docs `developers/http_api`). Unknown fields are errors here."""

from __future__ import annotations

from typing import Any

UID = {"type": "string", "pattern": "^[a-zA-Z0-9_-]{1,40}$"}
TEXT = {"type": "string", "minLength": 1}
LABELS = {"type": "object", "additionalProperties": {"type": "string"}}


def closed(required: str, optional: str = "", **properties: Any) -> dict[str, Any]:
    """An object of these properties only; names without a schema take anything."""
    names = [*required.split(), *optional.split()]
    return {
        "type": "object",
        "required": required.split(),
        "properties": {name: properties.get(name, {}) for name in names},
        "additionalProperties": False,
    }


FOLDER = closed("title", "uid parentUid", title=TEXT, uid=UID)
FOLDER_CHANGE = closed("title", "version overwrite", title=TEXT, version={"type": "integer"})
SOURCE = closed(
    "name type access",
    "uid url user database basicAuth basicAuthUser withCredentials isDefault jsonData secureJsonData version",
    name=TEXT,
    type=TEXT,
    access={"enum": ["proxy", "direct"]},
    uid=UID,
    url={"type": "string"},
    jsonData={"type": "object"},
    version={"type": "integer"},
)
GRID = closed(
    "h w x y",
    h={"type": "integer", "minimum": 1},
    w={"type": "integer", "minimum": 1, "maximum": 24},
    x={"type": "integer", "minimum": 0, "maximum": 23},
    y={"type": "integer", "minimum": 0},
)
PANEL = {
    "type": "object",
    "required": ["id", "type", "title", "gridPos"],
    "properties": {"id": {"type": "integer", "minimum": 1}, "type": TEXT, "title": TEXT, "gridPos": GRID},
}
BOARD = {
    "type": "object",
    "required": ["uid", "title", "schemaVersion", "panels", "templating", "annotations", "tags"],
    "properties": {
        "id": {"type": ["integer", "null"]},
        "uid": UID,
        "title": {"type": "string", "minLength": 1, "maxLength": 5000},
        "version": {"type": "integer"},
        "schemaVersion": {"type": "integer", "minimum": 36},
        "tags": {"type": "array", "items": TEXT, "uniqueItems": True},
        "panels": {"type": "array", "items": PANEL},
        "templating": closed("list", list={"type": "array", "items": {"type": "object", "required": ["name", "type"]}}),
        "annotations": closed("list", list={"type": "array", "items": {"type": "object", "required": ["name"]}}),
    },
}
DASHBOARD = closed(
    "dashboard folderUid overwrite",
    "message folderId",
    dashboard=BOARD,
    folderUid=UID,
    overwrite={"type": "boolean"},
    message={"type": "string", "maxLength": 500},
)
RANGE = closed("from to", **{"from": {"type": "integer"}, "to": {"type": "integer"}})
QUERY = closed(
    "refId datasourceUid model relativeTimeRange",
    "queryType",
    refId=TEXT,
    datasourceUid=TEXT,
    queryType={"type": "string"},
    relativeTimeRange=RANGE,
    model={"type": "object", "required": ["refId"]},
)
RULE = closed(
    "orgID folderUID ruleGroup title condition data noDataState execErrState for",
    "id uid annotations labels isPaused notification_settings record keep_firing_for",
    orgID={"type": "integer"},
    uid=UID,
    folderUID=UID,
    ruleGroup={"type": "string", "minLength": 1, "maxLength": 190},
    title={"type": "string", "minLength": 1, "maxLength": 190},
    condition=TEXT,
    data={"type": "array", "minItems": 1, "items": QUERY},
    noDataState={"enum": ["Alerting", "NoData", "OK", "KeepLast"]},
    execErrState={"enum": ["OK", "Alerting", "Error", "KeepLast"]},
    annotations=LABELS,
    labels=LABELS,
    isPaused={"type": "boolean"},
    **{"for": {"type": "string", "pattern": r"^(\d+(ms|[smhdwy]))+$"}},
)
CONTACT = closed(
    "name type settings",
    "uid disableResolveMessage",
    name=TEXT,
    uid=UID,
    type={"enum": ["webhook", "email", "slack", "pagerduty"]},
    settings={"type": "object"},
    disableResolveMessage={"type": "boolean"},
)
MATCHER = {
    "type": "array",
    "prefixItems": [TEXT, {"enum": ["=", "!=", "=~", "!~"]}, {"type": "string"}],
    "minItems": 3,
    "maxItems": 3,
}
ROUTE = closed(
    "",
    "receiver group_by object_matchers continue routes group_wait group_interval repeat_interval mute_time_intervals",
    receiver=TEXT,
    group_by={"type": "array", "items": TEXT},
    object_matchers={"type": "array", "items": MATCHER},
    routes={"type": "array", "items": {"$ref": "#"}},
    **{"continue": {"type": "boolean"}},
)
POLICIES = ROUTE | {"required": ["receiver"]}
MOMENT = {"type": ["integer", "null"], "minimum": 1_000_000_000_000, "maximum": 9_999_999_999_999}
"""Milliseconds since 1970: a time in seconds is refused."""
ANNOTATION = closed(
    "text",
    "dashboardUID panelId time timeEnd tags",
    text=TEXT,
    time=MOMENT,
    timeEnd=MOMENT,
    tags={"type": "array", "items": TEXT},
)
