"""An evaluation as one HTML page: headline figures, plots and tables, light or dark. It loads nothing from elsewhere.

The plots are SVG of our own (`streams.lab.evaluate.svg`): so they take the page's colours and need no plotting library.
"""

from __future__ import annotations

from html import escape

from siphonwatch.models.evaluate.report import FPRS, Report
from siphonwatch.streams.lab.evaluate import plots, sheets, text
from siphonwatch.streams.lab.evaluate.sheets import Sheet
from siphonwatch.streams.lab.evaluate.style import STYLE


def page(report: Report) -> str:
    """Return the page; the same report gives the same page."""
    names = ", ".join(d.name for d in report.datasets)
    sections = [
        ("Ranking", "How high attack accounts rank above honest ones.",
         [plots.roc(report), plots.precision_recall(report)], [sheets.ranking(report)]),
        ("Attacks found", "Alerts, and what they took: an account counts as found from its onset on.",
         [plots.delays(report), plots.recall(report)], [sheets.found(report)]),
        ("Honest accounts", "Whom it would have cost: accounts that never attack, by what they are.",
         [plots.false_alarms(report), plots.discoveries(report)],
         [sheets.false_alarms(report), sheets.discoveries(report)]),
        ("Evidence", "An e-value may exceed 1/alpha on at most a share alpha of honest accounts: stay below the line.",
         [plots.calibration(report)], [sheets.calibration(report)]),
        ("Patterns", "Each left out, and each alone.", plots.ablation(report), [sheets.ablation(report)]),
        ("Baselines", "The same accounts, ranked by published methods.",
         plots.rivals(report), [sheets.rivals(report)]),
        ("Data", sheets.load(report) + ".", [], [sheets.datasets(report)]),
    ]  # fmt: skip
    body = "".join(_section(*section) for section in sections) + _features(report)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>siphonwatch evaluation: {escape(names)}</title><style>{STYLE}</style></head><body>"
        f"<header><h1>siphonwatch <span>evaluation</span></h1><p>{_subject(report)}</p></header>"
        f'<main>{_cards(report)}{body}</main><footer>{escape(sheets.intervals(report).capitalize())}.</footer>'
        "</body></html>\n"
    )  # fmt: skip


def _subject(report: Report) -> str:
    sets = report.datasets
    names = ", ".join(d.name for d in sets)
    return escape(
        f"{names}: {sum(d.requests for d in sets):,} requests, {sum(d.attack for d in sets):,} attack accounts in "
        f"{sum(d.campaigns for d in sets):,} campaigns, {sum(d.benign for d in sets):,} honest accounts"
    )


def _cards(report: Report) -> str:
    every, alerted, cases = report.groups[0], report.false_alarms[0].alerted, report.discoveries[0]
    delay = every.delay_attack_requests or every.delay_requests
    unit = "attack requests" if every.delay_attack_requests else "requests from onset"
    cards = [
        *(
            (f"recall at {fpr:.1%} false positives", text.share(e))
            for fpr, e in zip(FPRS, every.recall_at_fpr, strict=True)
        ),
        ("ROC AUC", text.area(every.auc)),
        ("attack accounts alerted", text.share(every.alert_recall)),
        ("honest accounts alerted", text.share(alerted)),
        (f"false discoveries, budget {report.budget:.0%}", text.share(cases.proportion)),
        (f"{unit} to alert, median of those found", text.count(delay.median)),
    ]  # fmt: skip
    return '<section class="cards">' + "".join(map(_card, cards)) + "</section>"


def _card(card: tuple[str, str]) -> str:
    label, figure = card
    value, _, interval = figure.partition(" ")
    return f'<div class="card"><b>{escape(value)}</b><i>{escape(interval)}</i><span>{escape(label)}</span></div>'


def _section(title: str, says: str, pictures: list[str], tables: list[Sheet]) -> str:
    pictures = [picture for picture in pictures if picture]
    tables = [sheet for sheet in tables if sheet.rows]
    if not pictures and not tables:
        return ""
    drawn = "".join(f"<figure>{picture}</figure>" for picture in pictures)
    return (
        f"<section><h2>{escape(title)}</h2><p>{escape(says)}</p>"
        + (f'<div class="plots">{drawn}</div>' if drawn else "")
        + "".join(map(_table, tables))
        + "</section>"
    )


def _table(sheet: Sheet) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in sheet.names)
    head += "".join(f'<th class="n">{escape(h)}</th>' for h in sheet.figures)
    lines = []
    for row in sheet.rows:
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in row[: len(sheet.names)])
        cells += "".join(f'<td class="n">{_figure(cell)}</td>' for cell in row[len(sheet.names) :])
        lines.append(f"<tr>{cells}</tr>")
    return (
        f"<details open><summary>{escape(sheet.title)}</summary><div class='wide'><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div></details>"
    )


def _figure(cell: str) -> str:
    """A figure with its interval set back."""
    value, bracket, interval = cell.partition(" [")
    return f"{escape(value)} <i>[{escape(interval)}</i>" if bracket else escape(cell)


def _features(report: Report) -> str:
    """Where every feature points, in each data set, as bars from the middle."""
    parts = report.direction_parts
    if not parts:
        return ""
    order = sorted(report.directions, key=lambda d: -max(abs(a - 0.5) for a in d.mean))
    head = "".join(f'<th class="n" colspan="2">{escape(part)}</th>' for part in parts)
    below = '<th class="n">highest</th><th class="n">mean</th>' * len(parts)
    rows = "".join(
        f"<tr><td>{escape(d.feature)}{'' if d.stable else ' <em>unsure</em>'}</td>"
        + "".join(_area(high) + _area(mean) for high, mean in zip(d.highest, d.mean, strict=True))
        + "</tr>"
        for d in order
    )
    steady = sum(d.stable for d in order)
    return (
        "<section><h2>Features</h2><p>ROC area of attack against honest accounts, by each account's highest and mean "
        f"value: right of the middle attackers have more of it. {steady} of {len(order)} point one way everywhere.</p>"
        f"<details><summary>All features, the strongest first</summary><div class='wide'><table class='areas'><thead>"
        f'<tr><th rowspan="2">feature</th>{head}</tr><tr>{below}</tr></thead><tbody>{rows}</tbody></table></div>'
        "</details></section>"
    )


def _area(value: float) -> str:
    low, high = sorted((50.0, value * 100))
    side = "more" if value >= 0.5 else "less"
    return f'<td class="n {side}" style="--from:{low:.1f}%;--to:{high:.1f}%">{value:.3f}</td>'
