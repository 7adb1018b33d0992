"""The plots of an evaluation: which figures go where. It computes nothing."""

from __future__ import annotations

import math
from typing import NamedTuple

from siphonwatch.models.evaluate.bootstrap import Estimate
from siphonwatch.models.evaluate.report import FPRS, Delay, Group, Report
from siphonwatch.streams.lab.evaluate.svg import Bar, Plot, bars, percent

LEAST_ALPHA = 1e-4
DODGE = 1.05
"""How far one pattern's whiskers stand from the next one's, as a factor of alpha."""
NEAREST_SHARE = 1e-4
"""Where a logarithmic axis of shares begins: shares of 0 are drawn there."""


class Figure(NamedTuple):
    """A plot with its title."""

    title: str
    drawn: str
    """SVG, escaped."""


def roc(report: Report) -> Figure:
    """Return recall against the share of benign accounts above the threshold, on a logarithmic axis."""
    least = 0.5 / max(report.false_alarms[0].accounts, 1)
    low = 10.0 ** math.floor(math.log10(least))
    plot = Plot("ROC curves", ("share of benign accounts flagged", low, 1.0, True), ("recall", 0.0, 1.0, False))
    for line in report.curves:
        plot.line(line.name, [low, *(max(x, low) for x in line.fpr)], [0.0, *line.recall], step=True)
    return Figure("ROC, with a logarithmic axis", plot.svg())


def precision_recall(report: Report) -> Figure:
    """Return precision against recall."""
    plot = Plot("precision-recall curves", ("recall", 0.0, 1.0, False), ("precision", 0.0, 1.0, False))
    for line in report.curves:
        # Thresholds above every attack account have a precision of 0 and would draw a spike at the axis.
        found = [(r, p) for r, p in zip(line.recall, line.precision, strict=True) if r > 0]
        plot.line(line.name, [r for r, _ in found], [p for _, p in found])
    return Figure("Precision and recall", plot.svg())


def delays(report: Report) -> list[Figure]:
    """Return the share of attack accounts found by how many requests they had made; nothing where none is found."""
    shown = [g for g in report.groups if g.by in ("all", "type")]
    spent = [_delay(g) for g in shown]
    most = max((d.values[-1] for d in spent if d.values), default=0)
    if not most:
        return []
    high = 10.0 ** math.ceil(math.log10(max(most, 10)))
    known = report.groups[0].delay_attack_requests is not None
    unit = "attack requests of the account" if known else "requests of the account from its onset"
    plot = Plot("delays", (unit, 1.0, high, True), ("accounts alerted", 0.0, 1.0, False), shares="y")
    for group, delay in zip(shown, spent, strict=True):
        xs = [1.0, *(max(float(v), 1.0) for v in delay.values), high]
        ys = [0.0, *((i + 1) / delay.of for i in range(len(delay.values)))]
        plot.line(group.name, xs, [*ys, ys[-1]], step=True)
    return [Figure("Found after so many requests", plot.svg())]


def recall(report: Report) -> Figure:
    """Return the share of accounts alerted, by type and share."""
    rows = [_bar(g.name, g.alert_recall) for g in report.groups if g.by in ("all", "type", "type and share")]
    return Figure("Attack accounts alerted", bars("recall by attack type and share", rows, high=1.0))


def false_alarms(report: Report) -> Figure:
    """Return the share of benign accounts alerted, by archetype."""
    rows = [_bar(b.archetype, b.alerted, "s1") for b in report.false_alarms]
    return Figure("Honest accounts alerted", bars("false alarms by archetype", rows))


def discoveries(report: Report) -> list[Figure]:
    """Return the share of released cases that were false, against the budget; nothing without cases."""
    rows = [
        Bar(d.name, d.proportion.value, d.proportion.low, d.proportion.high, f"{d.false}/{d.cases}", "s1")
        for d in report.discoveries
        if d.cases
    ]
    if not rows:
        return []
    drawn = bars("false discoveries by pattern and severity", rows, high=1.0, limit=report.budget)
    return [Figure(f"False discoveries among cases, against the budget of {percent(report.budget)}", drawn)]


def calibration(report: Report) -> Figure:
    """Return how often benign accounts' evidence exceeded 1/alpha, against alpha, both on logarithmic axes."""
    plot = Plot(
        "calibration of the evidence", ("alpha", LEAST_ALPHA, 0.3, True),
        ("benign accounts beyond 1/alpha", NEAREST_SHARE, 1.0, True),
    )  # fmt: skip
    plot.line("promise", [LEAST_ALPHA, 0.3], [LEAST_ALPHA, 0.3], css="ideal")
    for k, c in enumerate(c for c in report.calibration if c.pattern != "any"):
        shares = [max(e.value, NEAREST_SHARE) for e in c.exceeded]
        plot.line(c.pattern, c.alphas, shares)
        beside = [alpha * DODGE**k for alpha in c.alphas]
        plot.dots(c.pattern, beside, shares, [(max(e.low, NEAREST_SHARE), e.high) for e in c.exceeded])
    return Figure("Calibration", plot.svg())


def ablation(report: Report) -> list[Figure]:
    """Return recall by patterns kept, a plot for each false-positive rate."""
    drawn = []
    for k, fpr in enumerate(FPRS):
        rows = [_bar(a.patterns, a.recall_at_fpr[k], _colour(a.patterns)) for a in report.ablation]
        drawn.append(Figure(f"Recall at {percent(fpr)} false positives", bars(f"recall at {percent(fpr)}", rows)))
    return drawn


def rivals(report: Report) -> list[Figure]:
    """Return recall beside the baselines', a plot for each attack type; none without any."""
    drawn = []
    for k, kind in enumerate(report.rivals[0].types if len(report.rivals) > 1 else []):
        rows = [
            _bar(rival.name, rival.recall_at_fpr[k][-1], "s0" if rival is report.rivals[0] else "s5")
            for rival in report.rivals
        ]
        title = f"{kind}: recall at {percent(FPRS[-1])} false positives"
        drawn.append(Figure(title, bars(title, rows, high=1.0)))
    return drawn


def _delay(group: Group) -> Delay:
    return group.delay_attack_requests or group.delay_requests


def _bar(name: str, e: Estimate, css: str = "s0") -> Bar:
    value = 0.0 if math.isnan(e.value) else e.value
    return Bar(name, value, e.low, e.high, f"{e.hits}/{e.of}" if e.hits is not None else percent(round(value, 4)), css)


def _colour(patterns: str) -> str:
    return {"all": "s0", "without": "s2", "only": "s5"}[patterns.split()[0]]
