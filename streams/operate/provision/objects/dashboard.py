"""Our dashboards: those of this version are kept as they are, those of former versions removed."""

from __future__ import annotations

from typing import Any

from siphonwatch.streams.common.grafana import Connection
from siphonwatch.streams.operate.provision.change import Change, settle
from siphonwatch.streams.operate.provision.diff import fields
from siphonwatch.streams.operate.provision.found import Found
from siphonwatch.streams.operate.provision.marks import FOLDER_UID, MARK, PREFIX

KIND = "dashboard"
MESSAGE = "siphonwatch provision"
"""What Grafana's history of a dashboard says."""


def changes(found: Found, wanted: list[dict[str, Any]], connection: Connection) -> list[Change]:
    """Return the changes to make to our dashboards, and to all others in our folder."""
    made = [_one(found.dashboards.get(want["uid"]), want, connection) for want in wanted]
    known = {want["uid"] for want in wanted}
    made += [_other(hit, connection) for hit in found.in_folder if hit["uid"] not in known]
    return made


def _one(answer: dict[str, Any] | None, want: dict[str, Any], connection: Connection) -> Change:
    uid, title = want["uid"], want["title"]
    if answer is None:
        return Change(action="make", kind=KIND, name=title, apply=lambda: _post(connection, title, want))
    have, meta = answer.get("dashboard") or {}, answer.get("meta") or {}
    if MARK not in (have.get("tags") or ()):
        why = f"{have.get('title')!r} has our uid {uid}, but not our tag {MARK}: give it the tag, or another uid"
        return Change(action="refused", kind=KIND, name=title, why=why)
    if (have.get("schemaVersion") or 0) > want["schemaVersion"]:
        have = have | {"schemaVersion": want["schemaVersion"]}  # a newer Grafana has migrated it
    differs = tuple(fields(have | {"folder": meta.get("folderUid")}, want | {"folder": FOLDER_UID}))
    if meta.get("provisioned") and differs:
        file = meta.get("provisionedExternalId") or "a file"
        return Change(action="left", kind=KIND, name=title, why=f"it is provisioned from {file}: change it there")
    # The version that was compared: if somebody saves another in between, Grafana says 412, and nothing is lost.
    body = want | {"id": have.get("id"), "version": have.get("version")}
    return settle(KIND, title, differs, lambda: _post(connection, title, body))


def _other(hit: dict[str, Any], connection: Connection) -> Change:
    uid, title = hit["uid"], str(hit.get("title", ""))
    if MARK not in hit.get("tags", ()) or not uid.startswith(PREFIX):
        return Change(action="left", kind=KIND, name=title, why="it is not ours")

    def remove() -> None:
        # 404: somebody was faster, or a run before this one was cut off.
        connection.find(f"remove dashboard {title!r}", object, connection.api.dashboard.delete_dashboard, uid)

    return Change(action="remove", kind=KIND, name=title, apply=remove)


def _post(connection: Connection, title: str, dashboard: dict[str, Any]) -> None:
    body = {"dashboard": dashboard, "folderUid": FOLDER_UID, "message": MESSAGE, "overwrite": False}
    connection.call(f"save dashboard {title!r}", dict, connection.api.dashboard.update_dashboard, body)
