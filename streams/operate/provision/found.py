"""The objects in Grafana that are ours or in our way, read before anything is decided; it changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from siphonwatch.streams.common.grafana import Connection
from siphonwatch.streams.operate.provision.marks import FOLDER_UID, SOURCE_UID

MOST = 5000
"""Grafana's limit of one page of search results."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """Grafana's answers, unchanged; None where there is no such object."""

    folder: dict[str, Any] | None
    source: dict[str, Any] | None
    namesake: dict[str, Any] | None
    """Data source that has our name; looked for only where ours does not exist."""
    dashboards: dict[str, dict[str, Any]]
    """By uid, those of ours that exist; with `dashboard` and `meta`."""
    in_folder: list[dict[str, Any]]
    """Dashboards of our folder, as the search tells them."""
    rules: list[dict[str, Any]]
    """Every alert rule of the organisation."""
    contacts: list[dict[str, Any]]
    policies: dict[str, Any]
    """The notification policy tree."""


def read(connection: Connection, dashboards: Iterable[str], source_name: str) -> Found:
    """Read.

    Parameters
    ----------
    dashboards
        Uids of ours.
    source_name
        Name of our data source.

    Raises
    ------
    GrafanaError
        When something cannot be read.
    """
    api, find, call = connection.api, connection.find, connection.call
    folder = find(f"read folder {FOLDER_UID}", dict, api.folder.get_folder, FOLDER_UID)
    source = find(f"read data source {SOURCE_UID}", dict, api.datasource.get_datasource_by_uid, SOURCE_UID)
    namesake = None
    if source is None:
        namesake = find(f"read data source {source_name!r}", dict, api.datasource.find_datasource, source_name)
    boards = {uid: find(f"read dashboard {uid}", dict, api.dashboard.get_dashboard, uid) for uid in dashboards}
    in_folder = []
    if folder is not None:
        in_folder = call(
            "search our folder",
            list,
            api.search.search_dashboards,
            type_="dash-db",
            folder_uids=FOLDER_UID,
            limit=MOST,
        )
    return Found(
        folder=folder,
        source=source,
        namesake=namesake,
        dashboards={uid: board for uid, board in boards.items() if board is not None},
        in_folder=in_folder,
        rules=call("read alert rules", list, api.alertingprovisioning.get_alertrules_all),
        contacts=call("read contact points", list, api.alertingprovisioning.get_contactpoints),
        policies=call("read notification policies", dict, api.alertingprovisioning.get_notification_policy_tree),
    )
