"""A case as exports take it: its newest alert and the verdict that stands. Reads no topic."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from siphonwatch.streams.contracts.alert import Alert, NotAnAlert
from siphonwatch.streams.contracts.verdict import Verdict, standing
from siphonwatch.streams.deliver.alert import AlertRecord, read
from siphonwatch.streams.deliver.wanted import Filter


class Case(msgspec.Struct, frozen=True):
    """One case."""

    newest: AlertRecord
    """Its newest alert that says something of it: a closing repeats the one before."""
    closed: bool
    decision: str
    """The verdict that stands; empty for none. Who gave it and the note stay on the verdicts topic."""
    decided: float
    """When it was given, seconds since 1970; 0 without one."""


def gather(lines: Iterable[bytes], verdicts: Iterable[Verdict], wanted: Filter, since: float | None) -> list[Case]:
    """Return the wanted cases by the time at which they opened; tests and what is no alert are left out.

    Parameters
    ----------
    lines
        Alerts, each one's JSON, in any order.
    verdicts
        In the order of their topic.
    wanted
        Asked of each case's newest alert.
    since
        Cases whose newest alert is older are left out; seconds since 1970, event time.
    """
    judged = {verdict.case: verdict for verdict in standing(verdicts)}
    newest: dict[str, AlertRecord] = {}
    closed: dict[str, int] = {}
    for line in lines:
        try:
            alert = read(line, 0.0)
        except NotAnAlert:
            continue
        if alert.test:
            continue
        if alert.kind == "closed":
            closed[alert.case] = max(alert.own.sequence, closed.get(alert.case, 0))
        known = newest.get(alert.case)
        if known is None or _place(known.event) < _place(alert.event):
            newest[alert.case] = alert
    found = []
    for case, alert in sorted(newest.items(), key=lambda pair: (pair[1].opened, pair[0])):
        if not wanted.takes(alert.event) or (since is not None and alert.time < since):
            continue
        verdict = judged.get(case)
        ended = closed.get(case, -1) >= alert.own.sequence
        found.append(Case(alert, ended, verdict.decision if verdict else "", verdict.time if verdict else 0.0))
    return found


def _place(alert: Alert) -> tuple[bool, int]:
    """Order of a case's alerts, the one that says most last."""
    return alert.kind != "closed", alert.own.sequence
