"""Alerts as a table for people: who, what, how surely and why. It fits itself to the terminal, and decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.markup import escape
from rich.table import Table

from siphonwatch.streams.contracts.alert import Alert, Own, Signal
from siphonwatch.streams.contracts.wording import chance, evidence, signal_text

COLOURS = {"Low": "white", "Medium": "yellow", "High": "red", "Critical": "bold red"}
WIDE = 160
"""Columns from which a row has room for the evidence beside the figures."""
PIPE_WIDTH = 200
"""Columns of output that is no terminal."""
REASONS = 3
CHANCE = 16
"""Characters of `1 in 120 billion`, the longest odds there are."""
ACCOUNT = 20
"""Columns for an account's id: enough of a hash to differ from all others; `--account` takes the beginning."""


class AlertTable:
    """Alerts, a row each: one line of columns on a wide terminal, two lines a row on a narrow one.

    Parameters
    ----------
    alerts
        As `siphonwatch.streams.contracts.alert.to_alert` makes them.
    header
        Leave it out for a table that goes on from one above.
    """

    def __init__(self, alerts: Sequence[Alert], *, header: bool = True) -> None:
        self._alerts = alerts
        self._header = header

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._wide() if options.max_width >= WIDE else self._narrow()

    def _wide(self) -> Table:
        table = Table(header_style="bold", show_header=self._header)
        # Fixed widths: a table that goes on keeps its columns under those above.
        for heading, width in (
            ("time", 19), ("case", 16), ("pattern", 15), ("case is", 7), ("severity", 8), ("account", ACCOUNT),
        ):  # fmt: skip
            table.add_column(heading, no_wrap=True, width=width)
        for heading, width in (("requests", 8), ("e-value", CHANCE)):
            table.add_column(heading, no_wrap=True, justify="right", width=width)
        table.add_column("evidence", ratio=1)
        table.expand = True
        for alert in self._alerts:
            own = alert.own
            table.add_row(
                moment(alert), own.case, plain(own.pattern), alert.kind, severity(alert), account(own),
                f"{own.requests_seen:,}", how_sure(own), reasons(own),
            )  # fmt: skip
        return table

    def _narrow(self) -> Table:
        table = Table(header_style="bold", show_header=self._header, show_lines=True, expand=True)
        table.add_column("time, case", no_wrap=True, width=19)
        table.add_column("alert", ratio=1)
        for alert in self._alerts:
            own = alert.own
            figures = f"{account(own)}, {own.requests_seen:,} requests, {evidence(own.e_value)}"
            table.add_row(
                f"{moment(alert)}\n{own.case}",
                f"[bold]{plain(own.pattern)}[/] {alert.kind}, {severity(alert)}: {figures}\n{reasons(own)}",
            )
        return table


def alert_table(alerts: Iterable[Alert], *, header: bool = True) -> AlertTable:
    """Return alerts as something that a rich console prints."""
    return AlertTable(list(alerts), header=header)


def screen() -> Console:
    """Return a console on standard output: as wide as the terminal, or `PIPE_WIDTH` where it is none."""
    console = Console()
    return console if console.is_terminal else Console(width=PIPE_WIDTH)


def moment(alert: Alert) -> str:
    """Return the event time to the second, `2026-01-05 01:11:58`."""
    return alert.time[:19].replace("T", " ")


def plain(text: str, width: int | None = None) -> str:
    """Return text of a record as a console prints it: no markup, no control characters, no more columns than `width`.

    Examples
    --------
    >>> plain("[red]org-7\x1b[2J", 9)
    '\\\\[red]org-'
    """
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    if width is not None and cell_len(shown) > width:
        shown = set_cell_size(shown, width).rstrip()
    return escape(shown)


def severity(alert: Alert) -> str:
    """Return the severity, coloured."""
    name = alert.data.severity
    return f"[{COLOURS[name]}]{name.lower()}[/]"


def account(own: Own) -> str:
    """Return the account, and how many more the case has."""
    more = f" +{len(own.accounts) - 1}" if len(own.accounts) > 1 else ""
    return plain(own.accounts[0], ACCOUNT - len(more)) + more


def how_sure(own: Own) -> str:
    """Return the e-value, and below it how rarely chance alone reaches it."""
    odds = chance(own.e_value).removesuffix(" by chance")
    return f"{own.e_value:.2g}\n{odds}"


def reasons(own: Own) -> str:
    """Return the strongest signals, each feature once: `name observed (direction baseline)`."""
    strongest: dict[str, str] = {}
    for signal in own.signals:
        strongest.setdefault(signal.name, _reason(signal))
    return "; ".join(plain(text) for text in list(strongest.values())[:REASONS])


def _reason(signal: Signal) -> str:
    try:
        return signal_text(signal.name, signal.observed, signal.direction, signal.baseline, signal.unit)
    except OverflowError:  # a logarithm that counts more than a float can
        return signal.name
