"""The pipeline dashboard's last row: alerts on their way to sinks."""

from __future__ import annotations

from siphonwatch.streams.operate.provision.dashboards.frame import DELIVERER, Panel, Query, Step

RATE = "[$__rate_interval]"

SINKS = (
    Panel(
        kind="timeseries",
        title="Deliveries, by sink and outcome",
        description="delivered; failed: will be repeated; refused: given up, the receiver said never; filtered: the"
        " sink does not want it; repeated: delivered before;"
        " unreadable: no alert.",
        unit="short",
        runbook="siphonwatchsinkfailing",
        queries=(
            Query(
                f"sum by (sink, outcome) (increase(siphonwatch_deliveries_total{{{DELIVERER}}}{RATE}))",
                "{{sink}}, {{outcome}}",
            ),
        ),
        bars=True,
    ),
    Panel(
        kind="timeseries",
        title="Failing since",
        description="How long every attempt of a sink has failed; 0 when fine. Nothing is lost meanwhile: alerts wait"
        " on their topic for 90 days.",
        unit="s",
        runbook="siphonwatchsinkfailing",
        queries=(Query(f"max by (sink) (siphonwatch_failing_seconds{{{DELIVERER}}})", "{{sink}}"),),
        steps=(Step(900, "red"),),
    ),
    Panel(
        kind="timeseries",
        title="Alerts that wait, by sink",
        description="Alert records that a sink has not been given yet.",
        unit="short",
        runbook="siphonwatchsinkfailing",
        queries=(Query(f"sum by (sink) (siphonwatch_delivery_lag_records{{{DELIVERER}}})", "{{sink}}"),),
    ),
    Panel(
        kind="timeseries",
        title="Attempts, duration",
        description="Time of one attempt, 99 % of them.",
        unit="s",
        runbook="siphonwatchsinkfailing",
        queries=(
            Query(
                "histogram_quantile(0.99, sum by (le, sink)"
                f" (rate(siphonwatch_delivery_seconds_bucket{{{DELIVERER}}}{RATE})))",
                "{{sink}}",
            ),
        ),
    ),
    Panel(
        kind="timeseries",
        title="From alert to delivery",
        description="From an alert's broker timestamp until the receiver took it, 99 %. The line is a minute.",
        unit="s",
        runbook="siphonwatchsinkfailing",
        queries=(
            Query(
                "histogram_quantile(0.99, sum by (le, sink)"
                f" (rate(siphonwatch_delivery_delay_seconds_bucket{{{DELIVERER}}}{RATE})))",
                "{{sink}}",
            ),
        ),
        steps=(Step(60, "red"),),
    ),
    Panel(
        kind="timeseries",
        title="Last delivery",
        description="Time since a sink delivered something. Long is fine where there was nothing to tell.",
        unit="s",
        runbook="siphonwatchsinkfailing",
        queries=(
            Query(
                f"time() - max by (sink) (siphonwatch_last_delivery_timestamp_seconds{{{DELIVERER}}} > 0)", "{{sink}}"
            ),
        ),
    ),
)
