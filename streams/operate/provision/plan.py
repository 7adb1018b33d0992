"""The plan: everything that differs between Grafana and this version, in the order in which it can be put right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import click

from siphonwatch.streams.common.grafana import Connection, GrafanaError, plain
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.operate.provision import bundled
from siphonwatch.streams.operate.provision.alert_rules import grafana_rules
from siphonwatch.streams.operate.provision.change import Action, Change
from siphonwatch.streams.operate.provision.found import read
from siphonwatch.streams.operate.provision.objects import contact, dashboard, folder, rule, source

SIGNS: dict[Action, str] = {
    "make": "+ make",
    "change": "~ change",
    "remove": "- remove",
    "left": ". leave alone",
    "refused": "! refuse",
}
DONE: dict[Action, str] = {"make": "made", "change": "changed", "remove": "removed"}


class Stopped(Exception):
    """Applying stopped half-way; the message says where, why, and that a rerun goes on there."""


def make(connection: Connection, settings: Settings) -> list[Change]:
    """Read Grafana and return the changes to make; changes nothing.

    Raises
    ------
    GrafanaError
        When Grafana cannot be read.
    """
    dashboards = bundled.dashboards(settings.links)
    found = read(connection, [board["uid"] for board in dashboards], source.NAME)
    return [
        *folder.changes(found, settings.grafana.folder, connection),
        *source.changes(found, settings.grafana.prometheus_url, connection),
        *dashboard.changes(found, dashboards, connection),
        *rule.changes(found, grafana_rules(bundled.rules(settings.links)), connection),
        *contact.changes(found, settings.grafana.contact_url, connection),
    ]


def pending(plan: Iterable[Change]) -> list[Change]:
    """Return what there is to do."""
    return [change for change in plan if change.apply is not None]


def refused(plan: Iterable[Change]) -> list[Change]:
    """Return why the plan cannot be applied."""
    return [change for change in plan if change.action == "refused"]


def lines(plan: list[Change]) -> Iterator[str]:
    """Yield the plan as text: each object with its fields, then how many are as they should be."""
    for change in plan:
        if change.action == "unchanged":
            continue
        head = f"{SIGNS[change.action]} {change.kind} {plain(change.name)}"
        yield click.style(head, fg=_COLOURS[change.action]) + (f": {plain(change.why)}" if change.why else "")
        for field in change.fields:
            yield f"    {plain(field.path)}: {field.old or '(nothing)'} -> {field.new or '(nothing)'}"
    same = sum(change.action == "unchanged" for change in plan)
    counts = [(len([c for c in plan if c.action == action]), action) for action in ("make", "change", "remove")]
    yield ", ".join([f"{count} to {action}" for count, action in counts] + [f"{same} unchanged"])


_COLOURS = {"make": "green", "change": "yellow", "remove": "red", "left": "bright_black", "refused": "red"}


def apply(plan: list[Change], say: Callable[[str], object]) -> None:
    """Apply the plan, one object after another; nothing where a part is refused.

    Raises
    ------
    Stopped
        When a call fails, or something is refused.
    """
    if obstacles := refused(plan):
        raise Stopped(f"nothing was changed: {len(obstacles)} refused, see above; put that right and run it again")
    todo = pending(plan)
    for number, change in enumerate(todo):
        assert change.apply is not None  # noqa: S101 - `pending` says so
        try:
            change.apply()
        except GrafanaError as error:
            raise Stopped(f"{error}. {number} of {len(todo)} were done; a rerun goes on from there") from None
        say(f"{DONE[change.action]} {change.kind} {plain(change.name)}")
