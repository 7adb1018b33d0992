"""An evaluation as sheets of cells, which a terminal and a page both show. It computes nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from siphonwatch.models.evaluate.report import FPRS, Evasion, Found, Group, Outcome, Report
from siphonwatch.streams.lab.evaluate import text

FEATURES = 12
"""Features shown on a terminal: those that point furthest."""
SHOWN = ("all", "type", "share", "type and share", "desensitised", "left out")
ALPHAS = (0.1, 0.01, 0.001)
KEPT, DEAR = 0.8, 3.0
"""A trick does not pay where so much is still found of what was found before, by accounts and by campaigns, by alerts
and above the threshold, or where anything costs so many times as much: what issue 10 asks for."""
RECALLS = [f"recall at {fpr:.1%} FPR" for fpr in FPRS]


class Sheet(NamedTuple):
    """A table: its rows have as many cells as `names` and `figures` together."""

    title: str
    names: list[str]
    """Headings of the columns that say what a row is about."""
    figures: list[str]
    """Headings of the columns of figures."""
    rows: list[list[str]]


def sheets(report: Report) -> list[Sheet]:
    """Return every sheet that has rows, the most important first."""
    every = (
        datasets(report), ranking(report), found(report), false_alarms(report), discoveries(report),
        calibration(report), ablation(report), rivals(report), rivals_by_type(report), directions(report),
        evasions(report), evasions_by_type(report), evasions_by_share(report),
    )  # fmt: skip
    return [sheet for sheet in every if sheet.rows]


def load(report: Report) -> str:
    """Return how much analysts would see, in a sentence."""
    own = report.load
    return (
        f"{own.cases:,} cases, {own.cases_per_1000_accounts_day:.2f} per 1,000 accounts a day "
        f"({own.alerts_per_1000_accounts_day:.2f} alerts with updates and closings); "
        f"{own.early:,} attack accounts named before their onset"
    )


def intervals(report: Report) -> str:
    """Return what the intervals are."""
    return (
        f"intervals: {report.level:.0%} of {report.replicates:,} bootstrap replicates over accounts, by kind and data "
        f"set, seed {report.seed}; accounts of one campaign are no independent evidence of another"
    )


def datasets(report: Report) -> Sheet:
    """Return what was evaluated."""
    return Sheet(
        "Data sets", ["name"],
        ["requests", "accounts", "attack", "benign", "campaigns", "unlabelled", "days", "AUC", *RECALLS, "alerted",
         "false alarms"],
        [
            [d.name, f"{d.requests:,}", f"{d.accounts:,}", f"{d.attack:,}", f"{d.benign:,}", f"{d.campaigns:,}",
             f"{d.unlabelled:,}", f"{d.days:.1f}", text.plain(d.auc), *(f"{r:.1%}" for r in d.recall_at_fpr),
             f"{d.alert_recall:.1%}", f"{d.alert_fpr:.2%}"]
            for d in report.datasets
        ],
    )  # fmt: skip


def ranking(report: Report) -> Sheet:
    """Return how high each kind of attack ranks."""
    rows = [
        [g.name, f"{g.accounts:,}", text.area(g.auc), text.area(g.pr_auc), *map(text.share, g.recall_at_fpr)]
        for g in _shown(report)
    ]
    return Sheet("Attacks: ranking", ["group"], ["accounts", "ROC AUC", "PR AUC", *RECALLS], rows)


def found(report: Report) -> Sheet:
    """Return how each kind of attack is found by alerts, and after how much."""
    rows = []
    known = report.groups[0].delay_attack_requests is not None
    for g in _shown(report):
        own = g.delay_attack_requests or g.delay_requests
        rows.append(
            [g.name, text.share(g.alert_recall), text.count(own.median), text.count(own.p90), text.never(own),
             text.count(g.delay_requests.median), f"{g.campaigns_found}/{g.campaigns}",
             text.count(g.delay_campaign.median) if g.delay_campaign else text.NONE]
        )  # fmt: skip
    unit = "attack requests" if known else "requests from onset"
    return Sheet(
        "Attacks: alerts", ["group"],
        ["accounts alerted", f"{unit} to alert, median", "p90", "never", "requests from onset, median",
         "campaigns found", "campaign's attack requests to alert, median"],
        rows,
    )  # fmt: skip


def _shown(report: Report) -> list[Group]:
    """The groups with rows of their own; families only where some were left out of every fit."""
    shown = (*SHOWN, "family") if any(g.by == "left out" for g in report.groups) else SHOWN
    return [g for g in report.groups if g.by in shown]


def false_alarms(report: Report) -> Sheet:
    """Return how often benign accounts are flagged."""
    return Sheet(
        "Honest accounts", ["archetype"],
        ["accounts", "alerted", *(f"above the {fpr:.1%} threshold" for fpr in FPRS), "by pattern"],
        [
            [b.archetype, f"{b.accounts:,}", text.share(b.alerted), *map(text.share, b.above_threshold),
             ", ".join(f"{name} {n}" for name, n in b.by_pattern.items()) or text.NONE]
            for b in report.false_alarms
        ],
    )  # fmt: skip


def discoveries(report: Report) -> Sheet:
    """Return how many of the released cases were false."""
    return Sheet(
        f"False discoveries among released cases, budget {report.budget:.0%}", ["cases"],
        ["released", "false", "proportion", "within budget"],
        [
            [d.name, f"{d.cases:,}", f"{d.false:,}", text.share(d.proportion),
             "" if d.by != "all" or not d.cases else "yes" if d.proportion.value <= report.budget else "no"]
            for d in report.discoveries
        ],
    )  # fmt: skip


def calibration(report: Report) -> Sheet:
    """Return how often benign evidence exceeds 1/alpha."""
    rows = []
    for c in report.calibration:
        cells = [c.alphas.index(alpha) for alpha in ALPHAS]
        rows.append(
            [c.pattern, *(f"{text.share(c.exceeded[k])} {'≤' if c.exceeded[k].value <= c.bound[k] else '>'} "
                          f"{c.bound[k]:.2%}" for k in cells)]
        )  # fmt: skip
    return Sheet(
        "Calibration: benign accounts whose peak e-value reached 1/alpha, against the promise", ["pattern"],
        [f"alpha {alpha:g}" for alpha in ALPHAS], rows,
    )  # fmt: skip


def ablation(report: Report) -> Sheet:
    """Return what each pattern is worth."""
    return Sheet(
        "Patterns left out, and alone", ["patterns"],
        ["ROC AUC", *RECALLS, "alerted", "false alarms", "false discoveries"],
        [
            [a.patterns, text.area(a.auc), *map(text.share, a.recall_at_fpr), text.share(a.alert_recall),
             text.share(a.alert_fpr), text.share(a.false_discovery)]
            for a in report.ablation
        ],
    )  # fmt: skip


def rivals(report: Report) -> Sheet:
    """Return siphonwatch beside the baselines over all attacks; empty without any."""
    rows = [
        [r.name, text.area(r.auc[0]), *map(text.share, r.recall_at_fpr[0])]
        for r in (report.rivals if len(report.rivals) > 1 else [])
    ]
    return Sheet("Baselines: all attacks", ["ranked by"], ["ROC AUC", *RECALLS], rows)


def rivals_by_type(report: Report) -> Sheet:
    """Return the recall of siphonwatch and of the baselines by attack type, and where one of them finds more."""
    ours, *others = report.rivals
    rows = []
    for k, kind in enumerate(ours.types if others else []):
        reached = [[e.value for e in one.recall_at_fpr[k]] for one in report.rivals]
        better = [
            one.name for one, found in zip(others, reached[1:], strict=True)
            if any(theirs > mine for theirs, mine in zip(found, reached[0], strict=True))
        ]  # fmt: skip
        rows.append([kind, *(" / ".join(f"{value:.0%}" for value in found) for found in reached), ", ".join(better)])
    return Sheet(
        f"Baselines by attack type: recall at {' / '.join(f'{fpr:.1%}' for fpr in FPRS)} of benign accounts",
        ["attack type"], [*(one.name for one in report.rivals), "more than ours"], rows,
    )  # fmt: skip


def directions(report: Report) -> Sheet:
    """Return the features that point furthest, and how many point nowhere for sure."""
    steady = sum(d.stable for d in report.directions)
    furthest = sorted(report.directions, key=lambda d: -min((abs(a - 0.5) for a in d.mean), default=0.0))[:FEATURES]
    return Sheet(
        f"Features: ROC area of accounts' means by {', '.join(report.direction_parts)}; "
        f"{steady} of {len(report.directions)} point one way everywhere",
        ["feature"], [*report.direction_parts, "stable"],
        [[d.feature, *(text.plain(a) for a in d.mean), "yes" if d.stable else "no"] for d in furthest],
    )  # fmt: skip


def evasions(report: Report) -> Sheet:
    """Return what each trick leaves to be found, and what it costs."""
    rows = [["none", *_outcome(report.evasions[0].before), *["1"] * 5, "", ""]] if report.evasions else []
    for one in report.evasions:
        spent = (one.cost.tokens_in, one.cost.tokens_out, one.cost.requests, one.cost.accounts, one.cost.days)
        rows.append([one.name, *_outcome(one.after), *map(text.factor, spent), f"{one.kept:.0%}", _holds(one)])
    return Sheet(
        "Evasions: what is found when every attacker plays a trick, and how many times as much the same answers cost",
        ["trick"],
        ["accounts alerted", "campaigns alerted (half of each)", f"accounts above the {FPRS[0]:.1%} threshold",
         "campaigns above (half of each)", "benign alerted", "tokens in", "tokens out", "requests", "accounts", "days",
         "least kept", "holds"],
        rows,
    )  # fmt: skip


def evasions_by_type(report: Report) -> Sheet:
    """Return the campaigns and accounts with an alert by type of attack, trick by trick."""
    return _evasions_by(report, "type of attack", lambda outcome: outcome.by_type)


def evasions_by_share(report: Report) -> Sheet:
    """Return the same by the attack's share of its account's traffic, as the trick leaves it."""
    return _evasions_by(report, "share of the account's traffic", lambda outcome: outcome.by_share)


def tricks(report: Report) -> Sheet:
    """Return what each trick is; on a terminal `--evasions list` says it."""
    return Sheet("Tricks", ["trick", "what the attacker does"], [], [[one.name, one.says] for one in report.evasions])


def _evasions_by(report: Report, what: str, part: Callable[[Outcome], dict[str, Found]]) -> Sheet:
    outcomes = [("none", report.evasions[0].before)] if report.evasions else []
    outcomes += [(one.name, one.after) for one in report.evasions]
    kinds = list(dict.fromkeys(kind for _, outcome in outcomes for kind in part(outcome)))
    rows = [[name, *(_alerted(part(outcome).get(kind)) for kind in kinds)] for name, outcome in outcomes]
    return Sheet(f"Evasions: campaigns alerted, and their accounts, by {what}", ["trick"], kinds,
                 rows if len(kinds) > 1 else [])  # fmt: skip


def _outcome(outcome: Outcome) -> list[str]:
    found = outcome.all
    return [
        f"{found.alerted:,}/{found.accounts:,}",
        f"{found.alerted_campaigns}/{found.campaigns} ({found.alerted_halves})",
        f"{found.above:,}/{found.accounts:,}",
        f"{found.above_campaigns}/{found.campaigns} ({found.above_halves})",
        f"{outcome.honest_alerted:,}/{outcome.honest:,}",
    ]


def _alerted(found: Found | None) -> str:
    if found is None:
        return text.NONE
    return f"{found.alerted_campaigns}/{found.campaigns}, {found.alerted:,}/{found.accounts:,}"


def _holds(one: Evasion) -> str:
    """What keeps a trick from paying, where anything does."""
    if one.kept >= KEPT:
        return "yes"
    return "by its cost" if max(msgspec.structs.astuple(one.cost)) >= DEAR else "no"
