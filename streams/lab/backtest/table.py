"""A backtest on a terminal: the two answers first. It decides nothing."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape

from siphonwatch.models.evaluate.compare import Comparison
from siphonwatch.streams.lab.backtest import sheets
from siphonwatch.streams.lab.evaluate.table import as_table


def show(report: Comparison, console: Console, *, brief: bool = False) -> None:
    """Print the answers, and unless `brief` the sheets."""
    for line in report.answer:
        console.print(escape(line), highlight=False, soft_wrap=True)
    if brief:
        return
    own, matched = report.loads
    parts = [sheets.summary(report)]
    parts += [sheets.groups(report, load, caught=caught) for load in (own, matched) for caught in (True, False)]
    for sheet in parts + sheets.moves(report):
        table = as_table(sheet)
        for column in table.columns[4:6] if sheet.names[0] == "account" else ():
            column.no_wrap = False
        console.print(table)
    for line in (sheets.subject(report), sheets.footnote(report), sheets.speed(report)):
        if line:
            console.print(escape(line), highlight=False)
