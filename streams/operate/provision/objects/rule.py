"""Our alert rules: those of this version are kept as they are, those of former versions removed."""

from __future__ import annotations

from typing import Any

from siphonwatch.streams.common.grafana import Connection
from siphonwatch.streams.operate.provision.change import Change, settle
from siphonwatch.streams.operate.provision.diff import fields
from siphonwatch.streams.operate.provision.found import Found
from siphonwatch.streams.operate.provision.marks import FOLDER_UID, PREFIX, SERVICE

KIND = "alert rule"
EXACT = ("labels", "annotations")
UNSET = {"keep_firing_for": None, "notification_settings": None, "record": None}
"""What people can set in a rule and we do not."""


def changes(found: Found, wanted: list[dict[str, Any]], connection: Connection) -> list[Change]:
    """Return the changes to make to our rules, and to all others in our folder."""
    have = {rule["uid"]: rule for rule in found.rules}
    known = {want["uid"] for want in wanted}
    others = [rule for rule in found.rules if rule.get("folderUID") == FOLDER_UID and rule["uid"] not in known]
    titles = {rule.get("title"): rule["uid"] for rule in others if not _ours(rule)}
    made = [_one(have.get(want["uid"]), want, titles, connection) for want in wanted]
    # Former rules first: a new one may have the title of an old one.
    return [_other(rule, connection) for rule in others] + made


def _ours(rule: dict[str, Any]) -> bool:
    return (rule.get("labels") or {}).get("managed_by") == SERVICE and rule["uid"].startswith(PREFIX)


def _one(have: dict[str, Any] | None, want: dict[str, Any], titles: dict[Any, str], connection: Connection) -> Change:
    api, uid, title = connection.api.alertingprovisioning, want["uid"], want["title"]
    if title in titles:
        why = f"another rule of our folder has this title (uid {titles[title]}): rename that one"
        return Change(action="refused", kind=KIND, name=title, why=why)
    if have is None:

        def make() -> None:
            connection.call(f"make alert rule {title}", dict, api.create_alertrule, want, disable_provenance=True)

        return Change(action="make", kind=KIND, name=title, apply=make)
    if not _ours(have):
        why = f"{have.get('title')!r} has our uid {uid}, but not our label managed_by={SERVICE}: give it another uid"
        return Change(action="refused", kind=KIND, name=title, why=why)
    differs = tuple(fields(have, UNSET | want | {"orgID": have.get("orgID")}, exact=EXACT))
    if have.get("provenance") not in (None, "", "api") and differs:
        why = f"it is provisioned by {have['provenance']}: change it there"
        return Change(action="left", kind=KIND, name=title, why=why)

    def change() -> None:
        connection.call(
            f"change alert rule {title}",
            dict,
            api.update_alertrule,
            uid,
            want,
            disable_provenance=editable(have),
        )

    return settle(KIND, title, differs, change)


def _other(rule: dict[str, Any], connection: Connection) -> Change:
    uid, title = rule["uid"], str(rule.get("title", ""))
    if not _ours(rule):
        return Change(action="left", kind=KIND, name=title, why="it is not ours")
    if rule.get("provenance") not in (None, "", "api"):
        return Change(action="left", kind=KIND, name=title, why=f"it is provisioned by {rule['provenance']}")

    def remove() -> None:
        delete = connection.api.alertingprovisioning.delete_alertrule
        connection.find(f"remove alert rule {title}", object, delete, uid)

    return Change(action="remove", kind=KIND, name=title, apply=remove)


def editable(have: dict[str, Any]) -> bool:
    """Whether to send X-Disable-Provenance, so that people can edit the object in Grafana too.

    Not where another tool claimed it through the API (provenance `api`): Grafana refuses to take that back.
    """
    return have.get("provenance") != "api"
