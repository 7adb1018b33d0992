"""Detection: what the detectors tell, hold back and have learnt, for data scientists; it names no account."""

from __future__ import annotations

from siphonwatch.streams.operate.provision.dashboards.frame import TP, WORKER, Dashboard, Panel, Query, Row, Step

CHOSEN = f'pattern=~"$pattern",{WORKER}'


def _each(metric: str, summary: str, by: str = "pattern") -> str:
    """A gauge of each partition, summed up without counting a partition twice while it moves."""
    return f"{summary} by ({by}) (max by ({TP}, {by}) ({metric}{{{CHOSEN}}}))"


TOLD = (
    Panel(
        kind="timeseries",
        title="Cases opened, by pattern",
        description="Cases told in each interval, by the pattern that was found.",
        unit="short",
        runbook="panels-cases",
        queries=(
            Query(
                f'sum by (pattern) (increase(siphonwatch_alerts_total{{outcome="opened",{CHOSEN}}}[$__rate_interval]))',
                "{{pattern}}",
            ),
        ),
        bars=True,
    ),
    Panel(
        kind="timeseries",
        title="Alerts, by outcome",
        description="A case is opened once, updated as its evidence grows, and closed after a day without.",
        unit="short",
        runbook="panels-cases",
        queries=(
            Query(
                f"sum by (outcome) (increase(siphonwatch_alerts_total{{{CHOSEN}}}[$__rate_interval]))",
                "{{outcome}}",
            ),
        ),
        bars=True,
    ),
    Panel(
        kind="timeseries",
        title="Suppressed, by pattern and reason",
        description="Alerts that were not sent, as all accounts of the case are on the allow-list.",
        unit="short",
        runbook="the-allow-list",
        queries=(
            Query(
                "sum by (pattern, reason)"
                f" (increase(siphonwatch_suppressed_alerts_total{{{CHOSEN}}}[$__rate_interval]))",
                "{{pattern}}, {{reason}}",
            ),
        ),
        bars=True,
    ),
)

BUDGET = (
    Panel(
        kind="timeseries",
        title="Budget spent",
        description="Share of the false-discovery budget that was handed out to accounts so far, in the partition"
        " where it is most and on average. Near 1, new accounts need much more evidence to be told.",
        unit="percentunit",
        runbook="the-budget",
        queries=(
            Query(f"max(siphonwatch_budget_spent_ratio{{{WORKER}}})", "most"),
            Query(f"avg(max by ({TP}) (siphonwatch_budget_spent_ratio{{{WORKER}}}))", "average"),
        ),
        steps=(Step(0.9, "red"),),
        most=1,
    ),
    Panel(
        kind="timeseries",
        title="E-value to be told",
        description="The e-value that the newest account would need, in the strictest partition. 1/alpha is 1,000;"
        " what is beyond that is asked by the budget.",
        unit="short",
        runbook="the-budget",
        queries=(Query(f"max by (pattern) (siphonwatch_release_threshold_e{{{CHOSEN}}})", "{{pattern}}"),),
        log=True,
    ),
    Panel(
        kind="timeseries",
        title="Held by the budget",
        description="Accounts whose evidence exceeds 1/alpha and which the budget holds back. They are told as their"
        " evidence grows, or as others are told.",
        unit="short",
        runbook="siphonwatchbudgetexhausted",
        queries=(Query(_each("siphonwatch_held_cases", "sum"), "{{pattern}}"),),
        stack=True,
    ),
)

SCORES = (
    Panel(
        kind="heatmap",
        title="Scores: $pattern",
        description="A detector's score of each request, 0 to 1. What is benign sits at the bottom; a band that moves"
        " up for everybody is drift, and a thin band on top is what is being found.",
        unit="percentunit",
        runbook="panels-scores",
        queries=(Query(f"sum by (le) (increase(siphonwatch_score_bucket{{{CHOSEN}}}[$__rate_interval]))", "{{le}}"),),
        repeat="pattern",
    ),
)

LEARNT = (
    Panel(
        kind="timeseries",
        title="Drift of the reference",
        description="Share of recent benign account-hours at or above the level that 5 % should reach, over 5 %, on"
        " average over partitions: 1 is as promised. Above 2 benign traffic changed, and"
        " false alarms may grow. Unknown before 200 hours.",
        unit="none",
        runbook="siphonwatchdrift",
        queries=(Query(f"avg by (pattern) (siphonwatch_drift_ratio{{{CHOSEN}}})", "{{pattern}}"),),
        steps=(Step(2, "red"),),
    ),
    Panel(
        kind="timeseries",
        title="Reference, account-hours",
        description="Benign account-hours that the reference has learnt, in the partition that has least. Below 200"
        " evidence is weak, and little is told.",
        unit="short",
        runbook="siphonwatchdrift",
        queries=(Query(f"min by (pattern) (siphonwatch_reference_hours{{{CHOSEN}}})", "{{pattern}}"),),
        base="orange",
        steps=(Step(200, "green"),),
    ),
    Panel(
        kind="timeseries",
        title="Second stage",
        description="Where a model of yours is the second stage: seconds of work per second, failures in each interval,"
        " and partitions in which it has switched itself off. The worker's log says why.",
        unit="short",
        runbook="metrics",
        queries=(
            Query(f"sum(rate(siphonwatch_second_stage_seconds_total{{{WORKER}}}[$__rate_interval]))", "work"),
            Query(f"sum(increase(siphonwatch_second_stage_errors_total{{{WORKER}}}[$__rate_interval]))", "failures"),
            Query(f"sum(siphonwatch_second_stage_off{{{WORKER}}})", "off"),
        ),
    ),
    Panel(
        kind="table",
        title="Versions running",
        description="What each worker runs. More than one row outside a rolling upgrade means that some were left"
        " behind; state of another format is refused.",
        unit="short",
        runbook="siphonwatchmixedversions",
        queries=(
            Query(
                f"count by (version, state_format, reference, second_stage) (siphonwatch_model_info{{{WORKER}}})",
                at="now",
            ),
        ),
        hide=("Time",),
    ),
)

DASHBOARD = Dashboard(
    name="detection",
    title="Detection",
    description="What the detectors tell, what the budget holds back, how scores lie, and what the reference knows.",
    rows=(
        Row("Told", TOLD),
        Row("Budget", BUDGET),
        Row("Scores", SCORES, collapsed=True),
        Row("Reference and models", LEARNT, collapsed=True),
    ),
    patterns=True,
    since="now-24h",
)
