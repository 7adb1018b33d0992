"""Every recording and alerting rule, in the order in which they are written; it evaluates none."""

from __future__ import annotations

from streams.provision import alerts_delivery, alerts_findings, alerts_flow, alerts_worker
from streams.provision.recordings import RECORDINGS
from streams.provision.rule_types import FRESH_SECONDS, Alert, Recording

__all__ = ["ALERTS", "FRESH_SECONDS", "RECORDINGS", "Alert", "Recording"]

ALERTS: tuple[Alert, ...] = (
    *alerts_flow.ALERTS,
    *alerts_worker.ALERTS,
    *alerts_findings.ALERTS,
    *alerts_delivery.ALERTS,
)
