"""Every recording and alerting rule, in the order in which they are written; it evaluates none."""

from __future__ import annotations

from streams.provision.rule_types import FRESH_SECONDS, Alert, Recording

__all__ = ["ALERTS", "FRESH_SECONDS", "RECORDINGS", "Alert", "Recording"]

RECORDINGS: tuple[Recording, ...] = tuple(
    Recording(
        record=f"siphonwatch:freshness_bad:ratio_rate{window}",
        expr=(
            "1 - (\n"
            f'  sum by (job, namespace) (rate(siphonwatch_freshness_seconds_bucket{{stream="telemetry",le="{FRESH_SECONDS}.0"}}[{window}]))\n'  # noqa: E501
            f'  / sum by (job, namespace) (rate(siphonwatch_freshness_seconds_count{{stream="telemetry"}}[{window}]) > 0)\n'
            ")"
        ),
    )
    for window in ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
)

ALERTS: tuple[Alert, ...] = (
    Alert(
        name="SiphonwatchFreshnessBurnFast",
        expr="siphonwatch:freshness_bad:ratio_rate1h > 14.4 * 0.01 and siphonwatch:freshness_bad:ratio_rate5m > 14.4 * 0.01",
        severity="page",
        summary="Requests are processed too late",
        description="{{ $value | humanizePercentage }} of the requests of the last hour took longer than 30 s.",
        runbook="siphonwatchfreshnessburnfast",
    ),
)
