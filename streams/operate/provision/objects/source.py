"""Our data source, Prometheus. It is never made the default, and what others set in it stays."""

from __future__ import annotations

from typing import Any

from siphonwatch.streams.common.grafana import Connection, shown
from siphonwatch.streams.operate.provision.change import Change, settle
from siphonwatch.streams.operate.provision.diff import Field, fields
from siphonwatch.streams.operate.provision.found import Found
from siphonwatch.streams.operate.provision.marks import SERVICE, SOURCE_UID

KIND = "data source"
NAME = "siphonwatch Prometheus"
READ_ONLY = ("id", "uid", "orgId", "readOnly", "secureJsonFields", "typeLogoUrl", "accessControl", "apiVersion")
"""What an answer carries and a change does not take."""


def wanted(url: str) -> dict[str, Any]:
    """Return the data source; `managedBy` is our mark."""
    return {
        "uid": SOURCE_UID,
        "name": NAME,
        "type": "prometheus",
        "access": "proxy",
        "url": url,
        "jsonData": {"httpMethod": "POST", "managedBy": SERVICE, "timeInterval": "15s"},
    }


def changes(found: Found, url: str, connection: Connection) -> list[Change]:
    """Return the changes to make."""
    api, have, want = connection.api.datasource, found.source, wanted(url)
    if have is None:
        if found.namesake is not None:
            why = f"another data source has this name (uid {found.namesake.get('uid')}): rename that one"
            return [Change(action="refused", kind=KIND, name=NAME, why=why)]

        def make() -> None:
            connection.call(f"make data source {NAME!r}", dict, api.create_datasource, want)

        return [Change(action="make", kind=KIND, name=NAME, apply=make)]
    if (have.get("jsonData") or {}).get("managedBy") != SERVICE:
        why = (
            f"{have.get('name')!r} has our uid {SOURCE_UID}, but not our mark (jsonData.managedBy): give it another uid"
        )
        return [Change(action="refused", kind=KIND, name=NAME, why=why)]
    found_fields = tuple(_masked(field, have, want) for field in fields(have, want))
    if have.get("readOnly"):
        if not found_fields:
            return [Change(action="unchanged", kind=KIND, name=NAME)]
        why = "it is provisioned from a file: change it there"
        return [Change(action="left", kind=KIND, name=NAME, why=why)]

    def change() -> None:
        kept = {key: value for key, value in have.items() if key not in READ_ONLY}
        body = kept | want | {"jsonData": (have.get("jsonData") or {}) | want["jsonData"]}
        connection.call(f"change data source {NAME!r}", dict, api.update_datasource_by_uid, SOURCE_UID, body)

    return [settle(KIND, NAME, found_fields, change)]


def _masked(field: Field, have: dict[str, Any], want: dict[str, Any]) -> Field:
    """An address may hold a password."""
    if field.path != "url":
        return field
    return Field("url", shown(str(have.get("url", ""))), shown(want["url"]))
