"""Open cases in the order in which analysts should look at them. It hides none, and ranks by the verdicts known now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table

from siphonwatch.models.learn.verdict_book import VerdictBook
from siphonwatch.streams.cli.table import ACCOUNT, CHANCE, WIDE, account, how_sure, plain, reasons, severity
from siphonwatch.streams.cli.verdict import recorded
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.alert import Own
from siphonwatch.streams.contracts.verdict import NotAVerdict, Verdict, facts_of_alert, standing
from siphonwatch.streams.contracts.wording import evidence
from siphonwatch.streams.deliver.alert import AlertRecord


class Ranked(NamedTuple):
    """One open case."""

    newest: AlertRecord
    """Its newest alert."""
    rank: float
    verdict: str
    """What analysts said of it, empty where nothing yet."""

    def line(self) -> bytes:
        """Return the alert in JSON with what it is ranked by, as the CloudEvents extensions `rank` and `verdict`."""
        # Whatever else the record holds is printed too, which the struct would drop.
        event: dict[str, object] = msgspec.json.decode(self.newest.value)
        return msgspec.json.encode(event | {"rank": self.rank, "verdict": self.verdict})


class Judged(NamedTuple):
    """The verdicts of now."""

    book: VerdictBook
    decisions: dict[str, str]
    """By case."""


def open_cases(alerts: Iterable[AlertRecord]) -> list[AlertRecord]:
    """Return the newest alert of each case that is not closed."""
    newest: dict[str, AlertRecord] = {}
    for alert in alerts:
        known = newest.get(alert.case)
        if known is None or known.own.sequence <= alert.own.sequence:
            newest[alert.case] = alert
    return [alert for alert in newest.values() if alert.kind != "closed"]


def read_book(settings: Settings) -> Judged:
    """Return what the verdicts topic says now.

    Raises
    ------
    TailError
        When it cannot be read.
    """
    return judged(recorded(settings))


def judged(verdicts: Iterable[Verdict]) -> Judged:
    """Return verdicts as a ranker and as the last decision on each case."""
    book = VerdictBook()
    decisions: dict[str, str] = {}
    for verdict in standing(verdicts):
        book.take([verdict.vote])
        decisions[verdict.case] = verdict.decision
    return Judged(book, decisions)


def in_order(cases: Sequence[AlertRecord], now: Judged) -> list[Ranked]:
    """Return cases by rank, the highest first; the older id first among equals, and last what cannot be ranked."""
    ranked = []
    for newest in cases:
        try:
            rank = now.book.rank(facts_of_alert(newest.event)).rank
        except NotAVerdict:  # a figure beyond what a verdict may hold
            rank = 0.0
        ranked.append(Ranked(newest, rank, now.decisions.get(newest.case, "")))
    return sorted(ranked, key=lambda row: (-row.rank, row.newest.case))


class TriageTable:
    """Ranked cases: a line each on a wide terminal, two lines on a narrow one.

    Parameters
    ----------
    rows
        In the order of the table.
    now
        Seconds since 1970, from which ages count.
    """

    def __init__(self, rows: Sequence[Ranked], now: float) -> None:
        self._rows = rows
        self._now = now

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield (_wide if options.max_width >= WIDE else _narrow)(self._rows, self._now)


def _wide(rows: Iterable[Ranked], now: float) -> Table:
    table = Table(header_style="bold", expand=True)
    table.add_column("rank", no_wrap=True, justify="right", width=5)
    for heading, width in (("case", 16), ("pattern", 15), ("severity", 8), ("accounts", ACCOUNT)):
        table.add_column(heading, no_wrap=True, width=width)
    table.add_column("open for", no_wrap=True, justify="right", width=8)
    table.add_column("e-value", no_wrap=True, justify="right", width=CHANCE)
    table.add_column("verdict", no_wrap=True, width=15)
    table.add_column("top signal", ratio=1)
    for row in rows:
        alert, own = row.newest.event, row.newest.own
        table.add_row(
            f"{row.rank:.3f}", own.case, plain(own.pattern), severity(alert), account(own),
            age(row.newest.opened, now), how_sure(own), row.verdict, _top_signal(own),
        )  # fmt: skip
    return table


def _narrow(rows: Iterable[Ranked], now: float) -> Table:
    table = Table(header_style="bold", show_lines=True, expand=True)
    table.add_column("rank, case", no_wrap=True, width=16)
    table.add_column("open case", ratio=1)
    for row in rows:
        alert, own = row.newest.event, row.newest.own
        said = f", judged {row.verdict}" if row.verdict else ""
        table.add_row(
            f"{row.rank:.3f}\n{own.case}",
            f"[bold]{plain(own.pattern)}[/], {severity(alert)}: {account(own)}, "
            f"open for {age(row.newest.opened, now)}, {evidence(own.e_value)}{said}\n{_top_signal(own)}",
        )
    return table


def age(opened: float, now: float) -> str:
    """Return how long a case has been open; both times are seconds since 1970.

    Examples
    --------
    >>> [age(0.0, now) for now in (90, 7300, 2e5, -5)]
    ['1 min', '2 h', '2 d', '0 min']
    """
    passed = max(now - opened, 0.0)
    if passed < 3600:
        return f"{int(passed / 60)} min"
    return f"{int(passed / 3600)} h" if passed < 2 * 86_400 else f"{int(passed / 86_400):,} d"


def _top_signal(own: Own) -> str:
    return reasons(own).split("; ", 1)[0]
