"""Every recording and alerting rule, in the order in which they are written; it evaluates none."""

from __future__ import annotations

from siphonwatch.streams.operate.provision import alerts_delivery, alerts_findings, alerts_flow, alerts_worker
from siphonwatch.streams.operate.provision.recordings import RECORDINGS
from siphonwatch.streams.operate.provision.rule_types import FRESH_SECONDS, Alert, Recording

__all__ = ["ALERTS", "FRESH_SECONDS", "RECORDINGS", "Alert", "Recording"]

ALERTS: tuple[Alert, ...] = (
    *alerts_flow.ALERTS,
    *alerts_worker.ALERTS,
    *alerts_findings.ALERTS,
    *alerts_delivery.ALERTS,
)
