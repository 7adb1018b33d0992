"""A backtest as one HTML page that a manager reads in a minute, light or dark. It loads nothing from elsewhere.

What stands where is in `backtest.html.jinja` beside this file; the style is that of the evaluation's page.
"""

from __future__ import annotations

from pathlib import Path

from siphonwatch.models.evaluate.compare import Comparison, Row
from siphonwatch.streams.lab.backtest import sheets
from siphonwatch.streams.lab.evaluate.page import page_template


class Page:
    """Makes the page of a backtest.

    Raises
    ------
    NoTemplates
        Where Jinja2 is not installed.
    """

    def __init__(self) -> None:
        self._template = page_template(Path(__file__).parent / "backtest.html.jinja")

    def render(self, report: Comparison) -> str:
        """Return the page; the same report gives the same page."""
        own, matched = report.loads
        return self._template.render(
            report=report,
            own=own,
            answers=[line.split(": ", 1) for line in report.answer],
            subject=sheets.subject(report),
            summary=sheets.summary(report),
            bars=[
                ("Attack accounts caught", _bars(own.caught_rows)),
                ("Honest accounts alarmed", _bars(own.false_rows)),
            ],
            moves=sheets.moves(report),
            groups=[sheets.groups(report, load, caught=c) for load in (own, matched) for c in (True, False)],
            footer=f"{sheets.footnote(report)}. {sheets.speed(report)}".strip(),
        )


def _bars(rows: list[Row]) -> list[tuple[Row, float, float]]:
    """Each kind of account with the share that either version names, in percent."""
    shown = [row for row in rows if row.by in ("all", "kind", "look-alike") and row.of]
    return [(row, 100 * row.a / row.of, 100 * row.b / row.of) for row in shown]
