"""Our folder. It is never removed, as others may keep things in it."""

from __future__ import annotations

from siphonwatch.streams.common.grafana import Connection
from siphonwatch.streams.operate.provision.change import Change, settle
from siphonwatch.streams.operate.provision.diff import fields
from siphonwatch.streams.operate.provision.found import Found
from siphonwatch.streams.operate.provision.marks import FOLDER_UID, MARK, SERVICE

KIND = "folder"


def changes(found: Found, title: str, connection: Connection) -> list[Change]:
    """Return the changes to make.

    A folder has no field for a mark. One of our uid and another title is ours if it holds something of ours.
    """
    api, folder = connection.api.folder, found.folder
    if folder is None:

        def make() -> None:
            connection.call(f"make folder {title!r}", dict, api.create_folder, title, uid=FOLDER_UID)

        return [Change(action="make", kind=KIND, name=title, apply=make)]
    if folder.get("title") != title and not _holds_ours(found):
        why = (
            f"a folder {folder.get('title')!r} has our uid {FOLDER_UID} and holds nothing of ours:"
            " remove it, or set grafana.folder to that name to use it"
        )
        return [Change(action="refused", kind=KIND, name=title, why=why)]

    def change() -> None:
        connection.call(
            f"rename folder {FOLDER_UID}",
            dict,
            api.update_folder,
            FOLDER_UID,
            title=title,
            version=folder.get("version"),
            overwrite=not folder.get("version"),
        )

    return [settle(KIND, title, tuple(fields({"title": folder.get("title")}, {"title": title})), change)]


def _holds_ours(found: Found) -> bool:
    rules = any(
        rule.get("folderUID") == FOLDER_UID and (rule.get("labels") or {}).get("managed_by") == SERVICE
        for rule in found.rules
    )
    return rules or any(MARK in hit.get("tags", ()) for hit in found.in_folder)
