"""Where Grafana sends our alerts: a contact point and one notification route; no other is touched."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from siphonwatch.streams.common.grafana import Connection
from siphonwatch.streams.operate.provision.change import Change, settle
from siphonwatch.streams.operate.provision.diff import Field, fields
from siphonwatch.streams.operate.provision.found import Found
from siphonwatch.streams.operate.provision.marks import SERVICE
from siphonwatch.streams.operate.provision.objects.rule import editable

POINT, ROUTE = "contact point", "notification route"
UID = "siphonwatch-contact"
NAME = "siphonwatch"
REDACTED = "[REDACTED]"
"""What Grafana shows in place of a secret."""
MATCHERS = [["service", "=", SERVICE]]
ROUTE_NAME = f"service={SERVICE} -> {NAME}"


def point(url: str) -> dict[str, Any]:
    """Return the contact point."""
    return {
        "uid": UID,
        "name": NAME,
        "type": "webhook",
        "settings": {"httpMethod": "POST", "url": url},
        "disableResolveMessage": False,
    }


def route() -> dict[str, Any]:
    """Return our route. It goes first and continues, so that alerts still reach every route they reached before."""
    return {
        "receiver": NAME,
        "object_matchers": MATCHERS,
        "group_by": ["grafana_folder", "alertname"],
        "continue": True,
    }


def changes(found: Found, url: str, connection: Connection) -> list[Change]:
    """Return the changes to make; without an address, ours are removed: the route first, as it needs the point."""
    if url:
        return [_point(found, url, connection), _route(found, connection)]
    removals = []
    if any(_is_ours(route) for route in found.policies.get("routes") or ()):
        removals.append(_edit(found, [], (), "remove", connection))
    if any(contact.get("uid") == UID and contact.get("name") == NAME for contact in found.contacts):

        def remove() -> None:
            delete = connection.api.alertingprovisioning.delete_contactpoint
            connection.find(f"remove contact point {NAME}", object, delete, UID)

        removals.append(Change(action="remove", kind=POINT, name=NAME, apply=remove))
    return removals


def _point(found: Found, url: str, connection: Connection) -> Change:
    api, want = connection.api.alertingprovisioning, point(url)
    have = next((contact for contact in found.contacts if contact.get("uid") == UID), None)
    if any(contact.get("name") == NAME and contact.get("uid") != UID for contact in found.contacts):
        why = f"another contact point has the name {NAME}: rename that one"
        return Change(action="refused", kind=POINT, name=NAME, why=why)
    if have is None:

        def make() -> None:
            connection.call(f"make contact point {NAME}", dict, api.create_contactpoint, want, disable_provenance=True)

        return Change(action="make", kind=POINT, name=NAME, apply=make)
    if have.get("name") != NAME:
        why = f"{have.get('name')!r} has our uid {UID}, but not our name {NAME}: give it that name, or another uid"
        return Change(action="refused", kind=POINT, name=NAME, why=why)
    settings = have.get("settings") or {}
    differs = tuple(
        field
        for field in fields(have, want, exact=("settings",))
        if settings.get(field.path.removeprefix("settings.")) != REDACTED
    )
    differs = tuple(_masked(field) for field in differs)
    if have.get("provenance") not in (None, "", "api") and differs:
        why = f"it is provisioned by {have['provenance']}: change it there"
        return Change(action="left", kind=POINT, name=NAME, why=why)

    def change() -> None:
        connection.call(
            f"change contact point {NAME}",
            dict,
            api.update_contactpoint,
            UID,
            want,
            disable_provenance=editable(have),
        )

    return settle(POINT, NAME, differs, change)


def _masked(field: Field) -> Field:
    """Of an address only the server is shown, and of other settings that people added nothing: they may be secret."""
    if not field.path.startswith("settings."):
        return field
    if field.path == "settings.url":
        return Field(field.path, _server(field.old), _server(field.new))
    return field if field.path == "settings.httpMethod" else Field(field.path, "(set)", "")


def _server(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}/..." if url else ""


def _is_ours(route: dict[str, Any]) -> bool:
    return route.get("object_matchers") == MATCHERS and route.get("receiver") == NAME


def _route(found: Found, connection: Connection) -> Change:
    have = next((route for route in found.policies.get("routes") or () if _is_ours(route)), None)
    want = route()
    if have is None:
        return _edit(found, [want], (), "make", connection)
    differs = tuple(fields(have, want, exact=("",)))
    if not differs:
        return Change(action="unchanged", kind=ROUTE, name=ROUTE_NAME)
    return _edit(found, [want], differs, "change", connection)


def _edit(
    found: Found, ours: list[dict[str, Any]], differs: tuple[Field, ...], action: Any, connection: Connection
) -> Change:
    if found.policies.get("provenance") == "file":
        why = (
            "the notification policies are provisioned from a file, which Grafana lets nobody else change: add the"
            f" route there (receiver {NAME}, object_matchers {MATCHERS}, continue true), or leave grafana.contact_url"
            " empty"
        )
        return Change(action="refused", kind=ROUTE, name=ROUTE_NAME, why=why)

    def change() -> None:
        api = connection.api.alertingprovisioning
        # Read again: the tree is written as a whole, and has no version that would tell of a change in between.
        tree = connection.call("read notification policies", dict, api.get_notification_policy_tree)
        body = {key: value for key, value in tree.items() if key != "provenance"}
        body["routes"] = with_ours(tree.get("routes") or [], ours)
        connection.call(
            "set notification policies",
            dict,
            api.set_notification_policy_tree,
            body,
            disable_provenance=editable(tree),
        )

    return Change(action=action, kind=ROUTE, name=ROUTE_NAME, fields=differs, apply=change)


def with_ours(routes: list[dict[str, Any]], ours: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return routes with ours in the place it had, else first; the others as they were, in their order."""
    place = next((i for i, route in enumerate(routes) if _is_ours(route)), 0)
    others = [route for route in routes if not _is_ours(route)]
    return [*others[:place], *ours, *others[place:]]
