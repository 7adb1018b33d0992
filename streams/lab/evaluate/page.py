"""An evaluation as one HTML page: headline figures, plots and tables, light or dark. It loads nothing from elsewhere.

What stands where is in `page.html.jinja` and `page.css` beside this file; Jinja2 comes with `siphonwatch[evaluate]`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from siphonwatch.models.evaluate.report import FPRS, Report
from siphonwatch.streams.lab.evaluate import plots, sheets, text
from siphonwatch.streams.lab.evaluate.plots import Figure
from siphonwatch.streams.lab.evaluate.sheets import Sheet

if TYPE_CHECKING:
    from jinja2 import Template

HERE = Path(__file__).parent


class NoTemplates(RuntimeError):
    """The page cannot be made here; the message says what to install."""


class Section(NamedTuple):
    """A part of the page."""

    title: str
    says: str
    plots: list[Figure]
    tables: list[Sheet]


def page_template(file: Path) -> Template:
    """Return a page's template; it may include what is beside it and the style of the evaluation's page.

    Raises
    ------
    NoTemplates
        Where Jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise NoTemplates(
            f"a page needs what siphonwatch[evaluate] installs ({error}): install it, or leave --html out"
        ) from None
    environment = Environment(
        loader=FileSystemLoader([file.parent, HERE]), autoescape=True, undefined=StrictUndefined,
        keep_trailing_newline=True,
    )  # fmt: skip
    return environment.get_template(file.name)


class Page:
    """Makes the page of an evaluation.

    Raises
    ------
    NoTemplates
        Where Jinja2 is not installed.
    """

    def __init__(self) -> None:
        self._template = page_template(HERE / "page.html.jinja")

    def render(self, report: Report) -> str:
        """Return the page; the same report gives the same page."""
        sets = report.datasets
        names = ", ".join(d.name for d in sets)
        return self._template.render(
            names=names,
            subject=f"{names}: {sum(d.requests for d in sets):,} requests, "
            f"{sum(d.attack for d in sets):,} attack accounts in {sum(d.campaigns for d in sets):,} campaigns, "
            f"{sum(d.benign for d in sets):,} benign accounts",
            cards=_cards(report),
            sections=_sections(report),
            parts=report.direction_parts,
            features=sorted(report.directions, key=lambda d: -max((abs(a - 0.5) for a in d.mean), default=0.0)),
            footer=sheets.intervals(report).capitalize(),
        )


def _sections(report: Report) -> list[Section]:
    """The parts that have something to show."""
    every = [
        Section("Ranking", "How high attack accounts rank above benign ones.",
                [plots.roc(report), plots.precision_recall(report)], [sheets.ranking(report)]),
        Section("Attacks found", "Alerts, and what they took: an account counts as found from its onset on.",
                [*plots.delays(report), plots.recall(report)], [sheets.found(report)]),
        Section("Honest accounts", "Whom it would have cost: accounts that never attack, by what they are.",
                [plots.false_alarms(report), *plots.discoveries(report)],
                [sheets.false_alarms(report), sheets.discoveries(report)]),
        Section("Evidence",
                "An e-value may exceed 1/alpha on at most a share alpha of benign accounts: stay below the line.",
                [plots.calibration(report)], [sheets.calibration(report)]),
        Section("Patterns", "Each left out, and each alone.", plots.ablation(report), [sheets.ablation(report)]),
        Section("Baselines", "The same accounts, ranked by published methods.",
                plots.rivals(report), [sheets.rivals(report), sheets.rivals_by_type(report)]),
        Section("Evasions", "The same attacks when every attacker plays a trick, and what the trick costs.",
                [], [sheets.evasions(report), sheets.evasions_by_type(report), sheets.evasions_by_share(report),
                     sheets.tricks(report)]),
        Section("Data", sheets.load(report) + ".", [], [sheets.datasets(report)]),
    ]  # fmt: skip
    kept = [section._replace(tables=[sheet for sheet in section.tables if sheet.rows]) for section in every]
    return [section for section in kept if section.plots or section.tables]


def _cards(report: Report) -> list[tuple[str, str]]:
    """The headline figures, each with its label before it."""
    every, alerted, cases = report.groups[0], report.false_alarms[0].alerted, report.discoveries[0]
    delay = every.delay_attack_requests or every.delay_requests
    unit = "attack requests" if every.delay_attack_requests else "requests from onset"
    return [
        *(
            (f"recall at {fpr:.1%} false positives", text.share(e))
            for fpr, e in zip(FPRS, every.recall_at_fpr, strict=True)
        ),
        ("ROC AUC", text.area(every.auc)),
        ("attack accounts alerted", text.share(every.alert_recall)),
        ("benign accounts alerted", text.share(alerted)),
        (f"false discoveries, budget {report.budget:.0%}", text.share(cases.proportion)),
        (f"{unit} to alert, median of those found", text.count(delay.median)),
    ]  # fmt: skip
