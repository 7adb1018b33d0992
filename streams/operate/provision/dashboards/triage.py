"""T&S: how many cases wait, how old they are, and what analysts made of them; it names no account and no analyst."""

from __future__ import annotations

from siphonwatch.streams.operate.provision.dashboards.frame import (
    DELIVERER,
    TP,
    WORKER,
    Dashboard,
    Panel,
    Query,
    Row,
    Step,
)

CHOSEN = f'pattern=~"$pattern",{WORKER}'
HOUR = 3600.0


def _sum(metric: str, by: str = "") -> str:
    inner = f"max by ({TP}, pattern) ({metric}{{{CHOSEN}}})"
    return f"sum by ({by}) ({inner})" if by else f"sum({inner})"


WAITING = (
    Panel(
        kind="stat",
        title="Open cases",
        description="Cases open now. A case closes after a day without evidence (scoring.close_after).",
        unit="short",
        runbook="panels-cases",
        queries=(Query(_sum("siphonwatch_open_cases"), "open", "now"),),
        base="blue",
        empty="unknown",
        width=6,
        height=4,
    ),
    Panel(
        kind="stat",
        title="Without a verdict",
        description="Open cases that nobody judged yet. `siphonwatch alerts --by-rank` lists them in the order to look"
        " at them.",
        unit="short",
        runbook="siphonwatchcasesunjudged",
        queries=(Query(_sum("siphonwatch_unjudged_cases"), "unjudged", "now"),),
        steps=(Step(20, "orange"), Step(100, "red")),
        empty="unknown",
        width=6,
        height=4,
    ),
    Panel(
        kind="stat",
        title="Oldest without a verdict",
        description="How long, in event time, the oldest open case without a verdict has been open.",
        unit="s",
        runbook="siphonwatchcasesunjudged",
        queries=(Query(f"max(siphonwatch_oldest_unjudged_case_seconds{{{CHOSEN}}})", "oldest", "now"),),
        steps=(Step(24 * HOUR, "orange"), Step(72 * HOUR, "red")),
        empty="unknown",
        width=6,
        height=4,
    ),
    Panel(
        kind="stat",
        title="Held by the budget",
        description="Accounts with enough evidence for an alert of their own, which the false-discovery budget holds"
        " back. Raise scoring.budget to see more of them sooner, and more of them false.",
        unit="short",
        runbook="siphonwatchbudgetexhausted",
        queries=(Query(_sum("siphonwatch_held_cases"), "held", "now"),),
        steps=(Step(1, "orange"),),
        empty="unknown",
        width=6,
        height=4,
    ),
)

CASES = (
    Panel(
        kind="timeseries",
        title="Cases opened, by pattern and severity",
        description="Cases told in each interval.",
        unit="short",
        runbook="panels-cases",
        queries=(
            Query(
                "sum by (pattern, severity)"
                f' (increase(siphonwatch_alerts_total{{outcome="opened",{CHOSEN}}}[$__rate_interval]))'
                " and on (pattern, severity) sum by (pattern, severity)"
                f' (siphonwatch_alerts_total{{outcome="opened",{CHOSEN}}}) > 0',
                "{{pattern}}, {{severity}}",
            ),
        ),
        bars=True,
    ),
    Panel(
        kind="timeseries",
        title="Open without a verdict",
        description="The queue of work, by pattern.",
        unit="short",
        runbook="siphonwatchcasesunjudged",
        queries=(Query(_sum("siphonwatch_unjudged_cases", "pattern"), "{{pattern}}"),),
        stack=True,
    ),
    Panel(
        kind="timeseries",
        title="Age of the oldest without a verdict",
        description="In event time, by pattern. The line is three days.",
        unit="s",
        runbook="siphonwatchcasesunjudged",
        queries=(Query(f"max by (pattern) (siphonwatch_oldest_unjudged_case_seconds{{{CHOSEN}}})", "{{pattern}}"),),
        steps=(Step(72 * HOUR, "red"),),
    ),
)

VERDICTS = (
    Panel(
        kind="timeseries",
        title="Verdicts, by decision",
        description="Verdicts that stand, of all time. Every worker knows them all, so this is no sum over workers.",
        unit="short",
        runbook="giving-verdicts",
        queries=(
            Query(f"sum by (decision) (max by (pattern, decision) (siphonwatch_verdicts{{{CHOSEN}}}))", "{{decision}}"),
        ),
        stack=True,
    ),
    Panel(
        kind="timeseries",
        title="Precision, as analysts see it",
        description="Share of the judged cases that analysts confirmed, by pattern. The line is one half.",
        unit="percentunit",
        runbook="siphonwatchprecisionlow",
        queries=(Query(f"max by (pattern) (siphonwatch_analyst_precision{{{CHOSEN}}})", "{{pattern}}"),),
        base="red",
        steps=(Step(0.5, "green"),),
        most=1,
    ),
    Panel(
        kind="bargauge",
        title="Verdicts, by pattern and decision",
        description="How many verdicts the precision rests on. From confirmations alone nothing can be learnt: judge"
        " false alarms too.",
        unit="short",
        runbook="giving-verdicts",
        queries=(
            Query(
                f"sort_desc(max by (pattern, decision) (siphonwatch_verdicts{{{CHOSEN}}}))",
                "{{pattern}}, {{decision}}",
                "now",
            ),
        ),
        base="blue",
        empty="no verdicts",
    ),
    Panel(
        kind="timeseries",
        title="Verdicts learnt and unreadable",
        description="Verdicts that taught the ranker since its worker started, and records of the verdicts topic that"
        " are none. Each worker reads all of them, so this is the worker that saw most.",
        unit="short",
        runbook="panels-verdicts",
        queries=(
            Query(f"max(siphonwatch_ranker_updates_total{{{WORKER}}})", "learnt"),
            Query(f"max(siphonwatch_unreadable_verdicts_total{{{WORKER}}})", "unreadable"),
        ),
    ),
    Panel(
        kind="timeseries",
        title="Suppressed by the allow-list",
        description="Alerts that were not sent, as all accounts of the case are allowed. More than usual: see whether"
        " the list is too wide.",
        unit="short",
        runbook="the-allow-list",
        queries=(
            Query(
                "sum by (pattern)"
                f' (increase(siphonwatch_suppressed_alerts_total{{reason="allowed",{CHOSEN}}}[$__rate_interval]))',
                "{{pattern}}",
            ),
        ),
        bars=True,
    ),
    Panel(
        kind="timeseries",
        title="From alert to delivery",
        description="Time from an alert's broker timestamp until a sink's receiver took it. The line is a minute.",
        unit="s",
        runbook="siphonwatchsinkfailing",
        queries=tuple(
            Query(
                f"histogram_quantile({quantile}, sum by (le, sink)"
                f" (rate(siphonwatch_delivery_delay_seconds_bucket{{{DELIVERER}}}[$__rate_interval])))",
                f"{{{{sink}}}}, {name}",
            )
            for quantile, name in ((0.5, "p50"), (0.99, "p99"))
        ),
        steps=(Step(60, "red"),),
    ),
)

DASHBOARD = Dashboard(
    name="triage",
    title="T&S",
    description="Cases to judge, how long they wait, and what analysts made of those before.",
    rows=(Row("Waiting for you", WAITING), Row("Cases", CASES), Row("Verdicts and delivery", VERDICTS, collapsed=True)),
    patterns=True,
    since="now-24h",
)
