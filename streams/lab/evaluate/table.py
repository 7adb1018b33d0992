"""An evaluation as tables on a terminal. It decides nothing."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from siphonwatch.models.evaluate.report import Report
from siphonwatch.streams.lab.evaluate.sheets import Sheet, intervals, load, sheets


def show(report: Report, console: Console) -> None:
    """Print the sheets."""
    for sheet in sheets(report):
        console.print(as_table(sheet))
    console.print(load(report))
    console.print(intervals(report))


def as_table(sheet: Sheet) -> Table:
    """Return a sheet as a table for a terminal."""
    table = Table(title=escape(sheet.title), title_justify="left", title_style="bold", header_style="bold")
    for heading in sheet.names:
        table.add_column(escape(heading), no_wrap=True)
    for heading in sheet.figures:
        table.add_column(escape(heading), justify="right")
    for row in sheet.rows:
        table.add_row(*map(escape, row))
    return table
