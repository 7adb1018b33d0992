"""Alerts on what detection finds: whether it is told, right, looked at, and still means what it promises."""

from __future__ import annotations

from siphonwatch.streams.operate.provision.rule_types import DEPLOYMENT, Alert

_BY = f"{DEPLOYMENT}, pattern"

ALERTS: tuple[Alert, ...] = (
    # budget_spent_ratio only ever rises with the number of accounts, and a high release_threshold_e hurts nobody by
    # itself. What an operator must know is that cases with evidence are being kept from the analysts by both.
    Alert(
        name="SiphonwatchBudgetExhausted",
        expr=(
            f"sum by ({_BY}) (siphonwatch_held_cases) >= 5\n"
            f"unless sum by ({_BY}) (siphonwatch_held_cases) <= sum by ({_BY}) (siphonwatch_open_cases)"
        ),
        hold="6h",
        severity="ticket",
        summary="The budget holds back more cases of {{ $labels.pattern }} than are told",
        description="{{ $value }} accounts have evidence beyond 1/alpha and are not told.",
        runbook="siphonwatchbudgetexhausted",
    ),
    Alert(
        name="SiphonwatchDrift",
        expr=f"avg by ({_BY}) (siphonwatch_drift_ratio) > 2",
        hold="6h",
        severity="ticket",
        summary="Benign traffic no longer behaves as {{ $labels.pattern }} promises",
        description="{{ $value | humanize }} times as many benign account-hours as promised look suspicious to it: "
        "expect false alarms.",
        runbook="siphonwatchdrift",
    ),
    Alert(
        name="SiphonwatchPrecisionLow",
        expr=(
            f"max by ({_BY}) (siphonwatch_analyst_precision) < 0.5\n"
            f"and sum by ({_BY}) (max by ({_BY}, decision) (siphonwatch_verdicts)) >= 20"
        ),
        hold="1h",
        severity="ticket",
        summary="Analysts reject most cases of {{ $labels.pattern }}",
        description="They confirmed {{ $value | humanizePercentage }} of those they judged.",
        runbook="siphonwatchprecisionlow",
    ),
    # Event time: a replay of old logs makes cases days old within minutes, which the hold lets pass.
    Alert(
        name="SiphonwatchCasesUnjudged",
        expr=f"max by ({_BY}) (siphonwatch_oldest_unjudged_case_seconds) > 259200",
        hold="4h",
        severity="ticket",
        summary="A case of {{ $labels.pattern }} has gone unjudged for {{ $value | humanizeDuration }}",
        description="It is still open, so the account still does what it is accused of.",
        runbook="siphonwatchcasesunjudged",
    ),
)
