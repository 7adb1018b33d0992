"""Alerts on deliveries: whether what was found reaches those who asked to be told."""

from __future__ import annotations

from siphonwatch.streams.operate.provision.alerts_worker import gone
from siphonwatch.streams.operate.provision.rule_types import DELIVERERS, DEPLOYMENT, Alert, increased

ALERTS: tuple[Alert, ...] = (
    # Deliveries are optional: what never ran is not missed.
    Alert(
        name="SiphonwatchNoDeliverer",
        expr=gone(DELIVERERS),
        hold="10m",
        severity="page",
        summary="No deliverer runs",
        description="What siphonwatch finds reaches no sink. The alerts stay on their topic and are delivered later.",
        runbook="siphonwatchnodeliverer",
    ),
    Alert(
        name="SiphonwatchNothingDelivered",
        expr=(f"min by ({DEPLOYMENT}) (max by ({DEPLOYMENT}, sink) (siphonwatch_failing_seconds)) > 1800  # seconds"),
        severity="page",
        summary="No sink takes alerts",
        description="Every sink has failed for {{ $value | humanizeDuration }} or longer: what siphonwatch finds "
        "reaches nobody.",
        runbook="siphonwatchnothingdelivered",
    ),
    Alert(
        name="SiphonwatchSinkFailing",
        expr=f"max by ({DEPLOYMENT}, sink) (siphonwatch_failing_seconds) > 900  # seconds",
        severity="ticket",
        summary="Sink {{ $labels.sink }} fails",
        description="For {{ $value | humanizeDuration }}. Its alerts wait, and are tried again.",
        runbook="siphonwatchsinkfailing",
    ),
    Alert(
        name="SiphonwatchSinkRefused",
        expr=(
            increased(
                'siphonwatch_deliveries_total{outcome=~"refused|expired|unreadable"}', "1h", f"{DEPLOYMENT}, sink"
            )
            + " > 0"
        ),
        severity="ticket",
        summary="Alerts never reach sink {{ $labels.sink }}",
        description="{{ $value | humanize }} within an hour: the receiver said that it will never take them, the "
        "topic's retention ended before it did, or the deliverer cannot read them.",
        runbook="siphonwatchsinkrefused",
    ),
)
