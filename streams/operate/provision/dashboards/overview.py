"""Overview: in one glance, is it healthy and what is it finding. It explains nothing further; other dashboards do."""

from __future__ import annotations

from siphonwatch.streams.operate.provision.alerts_flow import FRESHNESS_BUDGET, LOSS_BUDGET
from siphonwatch.streams.operate.provision.dashboards.frame import (
    DELIVERER,
    TELEMETRY,
    TP,
    UP,
    WORKER,
    Dashboard,
    Panel,
    Query,
    Row,
    Step,
)
from siphonwatch.streams.operate.provision.recordings import UNREADABLE
from siphonwatch.streams.operate.provision.rule_types import FRESH_SECONDS

FIRING = 'ALERTS{alertname=~"Siphonwatch.*",alertstate="firing"}'
PENDING = f"siphonwatch_stalled_seconds{{{WORKER}}} > 0"
"""Partitions in which something was applied, or waits, that no checkpoint covers."""

MONTH = "30d"
"""What the objectives are for."""


def _left(bad: str, total: str, allowed: float) -> str:
    """PromQL: the share of a month's allowance of bad requests that is left; below 0 it is overdrawn."""
    return f"1 - (({bad}) / ({total} > 0)) / {allowed}"


def _month(selector: str) -> str:
    return f"sum(increase({selector}[{MONTH}]))"


_FRESHNESS = f"siphonwatch_freshness_seconds_count{{{TELEMETRY}}}"
_IN_TIME = f'siphonwatch_freshness_seconds_bucket{{le="{float(FRESH_SECONDS)}",{TELEMETRY}}}'
_LOST = f'siphonwatch_lost_offsets_total{{stream!="sightings",{WORKER}}}'
_UNREADABLE = f'siphonwatch_dead_letters_total{{stream!="sightings",reason=~"{"|".join(UNREADABLE)}",{WORKER}}}'
_BAD = f"({_month(_LOST)} or vector(0)) + ({_month(_UNREADABLE)} or vector(0))"
_ALL = f"({_BAD} + {_month(f'siphonwatch_requests_total{{{TELEMETRY}}}')})"

OBJECTIVES = (
    Panel(
        kind="stat",
        title="Allowance left: freshness",
        description=f"Of the 1 % of a month's requests that may be scored later than {FRESH_SECONDS} s, the share that"
        " is left. Below 0 the objective was missed.",
        unit="percentunit",
        runbook="siphonwatchfreshnessburnfast",
        queries=(
            Query(
                _left(f"{_month(_FRESHNESS)} - {_month(_IN_TIME)}", _month(_FRESHNESS), FRESHNESS_BUDGET), "left", "now"
            ),
        ),
        base="red",
        steps=(Step(0, "orange"), Step(0.25, "green")),
        empty="no requests",
        width=6,
        height=4,
    ),
    Panel(
        kind="stat",
        title="Allowance left: loss",
        description="Of the 0.01 % of a month's records that may be lost, or unreadable by our own doing, the share"
        " that is left. Below 0 the objective was missed.",
        unit="percentunit",
        runbook="siphonwatchlossburnfast",
        queries=(Query(_left(_BAD, _ALL, LOSS_BUDGET), "left", "now"),),
        base="red",
        steps=(Step(0, "orange"), Step(0.25, "green")),
        empty="no requests",
        width=6,
        height=4,
    ),
    Panel(
        kind="stat",
        title="Sinks failing",
        description="Sinks that have taken nothing for a minute or more. Alerts wait for them on their topic.",
        unit="short",
        runbook="siphonwatchsinkfailing",
        queries=(
            Query(
                f"count(max by (sink) (siphonwatch_failing_seconds{{{DELIVERER}}}) >= 60)"
                f" or 0 * count(siphonwatch_failing_seconds{{{DELIVERER}}})",
                "failing",
                "now",
            ),
        ),
        steps=(Step(1, "red"),),
        empty="no deliverer",
        width=6,
        height=4,
    ),
    Panel(
        kind="stat",
        title="Cases held back",
        description="Accounts with evidence beyond 1/alpha that the budget holds back: they are told when their"
        " evidence, or the number of cases, has grown.",
        unit="short",
        runbook="the-budget",
        queries=(Query(f"sum(max by ({TP}, pattern) (siphonwatch_held_cases{{{WORKER}}}))", "held", "now"),),
        empty="unknown",
        base="blue",
        width=6,
        height=4,
    ),
)

HEALTH = (
    Panel(
        kind="stat",
        title="Workers up",
        description="Workers that Prometheus can scrape. Red: none; nothing is scored, and telemetry waits in Kafka.",
        unit="short",
        runbook="siphonwatchnoworker",
        queries=(Query(f"sum({UP}) or vector(0)", "up", "now"),),
        base="red",
        steps=(Step(1, "green"),),
        width=3,
        height=4,
    ),
    Panel(
        kind="stat",
        title="Workers down",
        description="Workers that Prometheus knows and cannot scrape. The others take over their partitions.",
        unit="short",
        runbook="siphonwatchworkerdown",
        queries=(Query(f"count({UP} == 0) or vector(0)", "down", "now"),),
        steps=(Step(1, "red"),),
        width=3,
        height=4,
    ),
    Panel(
        kind="stat",
        title="Freshness, p99",
        description=f"99 % of the requests of the last five minutes were processed within this time of their broker"
        f" timestamp. The objective is {FRESH_SECONDS} s.",
        unit="s",
        runbook="siphonwatchfreshnessburnfast",
        queries=(
            Query(
                "histogram_quantile(0.99, sum by (le)"
                f" (rate(siphonwatch_freshness_seconds_bucket{{{TELEMETRY}}}[5m]))) >= 0",
                "p99",
                "now",
            ),
        ),
        steps=(Step(FRESH_SECONDS / 3, "orange"), Step(FRESH_SECONDS, "red")),
        empty="no requests",
        width=3,
        height=4,
    ),
    Panel(
        kind="stat",
        title="Lag",
        description="Age, at most, of the oldest request that waits. 0 when all was read.",
        unit="s",
        runbook="siphonwatchlagold",
        queries=(Query(f"max(siphonwatch_lag_seconds{{{WORKER}}})", "oldest waiting", "now"),),
        steps=(Step(FRESH_SECONDS, "orange"), Step(120, "red")),
        empty="unknown",
        width=3,
        height=4,
    ),
    Panel(
        kind="stat",
        title="Stalled",
        description="The longest that any partition has had records waiting or applied without a commit. Beyond 120 s"
        " (web.stall_seconds) its worker says it is not live.",
        unit="s",
        runbook="siphonwatchstuckcommits",
        queries=(Query(f"max(siphonwatch_stalled_seconds{{{WORKER}}})", "stalled", "now"),),
        steps=(Step(60, "orange"), Step(120, "red")),
        empty="unknown",
        width=3,
        height=4,
    ),
    Panel(
        kind="stat",
        title="Dead letters, last hour",
        description="Records that could not be read and went to the dead-letter topic. `siphonwatch redrive` sends"
        " them again once the cause is mended.",
        unit="short",
        runbook="siphonwatchdeadletters",
        queries=(
            Query(f"sum(increase(siphonwatch_dead_letters_total{{{WORKER}}}[1h])) or vector(0)", "letters", "now"),
        ),
        steps=(Step(1, "orange"), Step(100, "red")),
        width=3,
        height=4,
    ),
    Panel(
        kind="stat",
        title="Checkpoint age",
        description="Age of the oldest last checkpoint among partitions that have something to keep; 0 where nothing"
        " is to be kept. It is what a crash would make a worker read again.",
        unit="s",
        runbook="siphonwatchcheckpointold",
        queries=(
            Query(
                f"max(time() - siphonwatch_last_checkpoint_timestamp_seconds{{{WORKER}}}"
                f" and on (instance, stream, topic, partition) ({PENDING})) or vector(0)",
                "oldest",
                "now",
            ),
        ),
        steps=(Step(60, "orange"), Step(300, "red")),
        width=3,
        height=4,
    ),
    Panel(
        kind="stat",
        title="Alerts firing",
        description="Operational alerts that Prometheus has firing. Those that Grafana evaluates itself are in the"
        " list below.",
        unit="short",
        runbook="alerts",
        queries=(Query(f"count({FIRING}) or vector(0)", "firing", "now"),),
        steps=(Step(1, "red"),),
        width=3,
        height=4,
    ),
)

NOW = (
    Panel(
        kind="timeseries",
        title="Requests per second",
        description="Requests scored. None at all while gateways are busy means that they do not reach Kafka.",
        unit="reqps",
        runbook="siphonwatchnotelemetry",
        queries=(Query(f"sum(rate(siphonwatch_requests_total{{{TELEMETRY}}}[$__rate_interval]))", "scored"),),
    ),
    Panel(
        kind="timeseries",
        title="Freshness",
        description=f"From a request's broker timestamp to the end of its batch. The line is the objective of"
        f" {FRESH_SECONDS} s for 99 %.",
        unit="s",
        runbook="siphonwatchfreshnessburnfast",
        queries=tuple(
            Query(
                f"histogram_quantile({quantile}, sum by (le)"
                f" (rate(siphonwatch_freshness_seconds_bucket{{{TELEMETRY}}}[$__rate_interval])))",
                name,
            )
            for quantile, name in ((0.5, "p50"), (0.99, "p99"))
        ),
        steps=(Step(FRESH_SECONDS, "red"),),
    ),
    Panel(
        kind="alertlist",
        title="Alerts firing and pending",
        description="Operational alerts of Prometheus and of Grafana itself, by the label service=siphonwatch.",
        unit="short",
        runbook="alerts",
    ),
)

FINDING = (
    Panel(
        kind="timeseries",
        title="Cases opened, by pattern and severity",
        description="Cases that were told in each interval. A sudden flood of one pattern is a campaign, or something"
        " benign and new: see the reference's drift.",
        unit="short",
        runbook="panels-cases",
        queries=(
            Query(
                "sum by (pattern, severity)"
                f' (increase(siphonwatch_alerts_total{{outcome="opened",{WORKER}}}[$__rate_interval]))'
                " and on (pattern, severity) sum by (pattern, severity)"
                f' (siphonwatch_alerts_total{{outcome="opened",{WORKER}}}) > 0',
                "{{pattern}}, {{severity}}",
            ),
        ),
        bars=True,
        width=12,
    ),
    Panel(
        kind="bargauge",
        title="Open cases",
        description="Cases open now. A case closes after a day without evidence (scoring.close_after).",
        unit="short",
        runbook="panels-cases",
        queries=(
            Query(
                f"sum by (pattern) (max by ({TP}, pattern) (siphonwatch_open_cases{{{WORKER}}}))", "{{pattern}}", "now"
            ),
        ),
        base="blue",
        width=6,
    ),
    Panel(
        kind="bargauge",
        title="Precision, as analysts see it",
        description="Share of the judged cases that analysts confirmed, best pattern first. Few verdicts make it"
        " jump: see how many there are on the T&S dashboard.",
        unit="percentunit",
        runbook="siphonwatchprecisionlow",
        queries=(
            Query(
                f"sort_desc(max by (pattern) (siphonwatch_analyst_precision{{{WORKER}}}))",
                "{{pattern}}",
                "now",
            ),
        ),
        base="red",
        steps=(Step(0.5, "orange"), Step(0.8, "green")),
        most=1,
        empty="no verdicts",
        width=6,
    ),
)

DASHBOARD = Dashboard(
    name="overview",
    title="Overview",
    description="Is siphonwatch healthy, and what is it finding?",
    rows=(
        Row("Is it healthy?", HEALTH),
        Row("Does it keep its promises?", OBJECTIVES),
        Row("Right now", NOW),
        Row("What is it finding?", FINDING),
    ),
)
