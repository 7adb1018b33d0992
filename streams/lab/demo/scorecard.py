"""Compares the alerts with the labels of a scenario."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from siphonwatch.streams.contracts.alert import Alert
from siphonwatch.streams.lab.scenario import Event, Label


class Row(NamedTuple):
    """One attack pattern."""

    pattern: str
    campaigns: int
    found: int
    """Campaigns with an alert of this pattern, from their first attack request on."""
    otherwise: int
    """Campaigns found under another pattern only."""
    accounts: int
    accounts_found: int
    """Campaigns found under any pattern."""
    median_requests: float | None
    """Attack requests that an account had made when it was found; None if none was found."""
    missed: tuple[str, ...]
    """Families of campaigns that were not found."""


class Scorecard(NamedTuple):
    """The comparison."""

    rows: list[Row]
    benign: int
    """Accounts that never attacked."""
    false_alarms: Counter[tuple[str, str]]
    """Benign accounts with an alert, by (archetype, pattern); an account may be counted under several patterns."""
    accused: int
    """Benign accounts with an alert of any pattern."""
    early: int
    """Attacking accounts with an alert before their attack; counted as false alarms, not as found."""


class Truth:
    """Collects the labels of the records as they are sent."""

    def __init__(self) -> None:
        self.requests: dict[str, list[bool]] = defaultdict(list)
        """For each account's requests in order, whether each is part of an attack."""

    def note(self, event: Event) -> None:
        """Take one record."""
        record = event.record
        name = record["account"] if event.format == "nginx" else record["metadata"]["user_api_key_org_id"]
        self.requests[name].append(bool(event.truth))

    def so_far(self, labels: Iterable[Label]) -> list[Label]:
        """Return the labels of the accounts so far: one that has not attacked yet is benign."""
        return [
            label if any(made) else label._replace(pattern="", campaign="")
            for label in labels
            if (made := self.requests.get(label.account))
        ]


def compare(labels: Iterable[Label], requests: Mapping[str, Sequence[bool]], alerts: Iterable[Alert]) -> Scorecard:
    """Compare alerts with the labels; only those that open a case count.

    Parameters
    ----------
    labels
        The truth about each account.
    requests
        For each account's requests in order, whether each is part of an attack.
    alerts
        As they stood on the topic.
    """
    raised: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for alert in alerts:
        if alert.kind == "opened":
            own = alert.own
            for account in own.accounts:
                # Counted, not timed: where gateways differ in lag, a partition's clock is ahead of the slower one.
                made = sum(requests.get(account, ())[: own.requests_seen])
                raised[account].append((made, own.pattern))
    campaigns: dict[tuple[str, str], list[Label]] = defaultdict(list)
    false_alarms: Counter[tuple[str, str]] = Counter()
    benign = accused = early = 0
    for label in labels:
        if label.pattern:
            campaigns[label.pattern, label.campaign].append(label)
            early += any(not made for made, _ in raised[label.account])
        else:
            benign += 1
            patterns = {pattern for _, pattern in raised[label.account]}
            accused += bool(patterns)
            false_alarms.update((label.kind, pattern) for pattern in patterns)
    rows = [
        _row(pattern, [members for (of, _), members in campaigns.items() if of == pattern], raised)
        for pattern in sorted({pattern for pattern, _ in campaigns})
    ]
    return Scorecard(rows, benign, false_alarms, accused, early)


def _row(
    pattern: str,
    campaigns: list[list[Label]],
    raised: Mapping[str, list[tuple[int, str]]],
) -> Row:
    found = otherwise = accounts_found = 0
    needed: list[int] = []
    missed: set[str] = set()
    for members in campaigns:
        names: set[str] = set()
        for label in members:
            true = sorted((made, name) for made, name in raised.get(label.account, ()) if made)
            names.update(name for _, name in true)
            if true:
                accounts_found += 1
                needed.append(true[0][0])
        found += pattern in names
        otherwise += bool(names) and pattern not in names
        if not names:
            missed.add(members[0].kind)
    return Row(
        pattern, len(campaigns), found, otherwise, sum(map(len, campaigns)), accounts_found,
        statistics.median(needed) if needed else None, tuple(sorted(missed)),
    )  # fmt: skip
