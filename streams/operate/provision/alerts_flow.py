"""Alerts on what siphonwatch promises of requests: soon, every one, and that there are any."""

from __future__ import annotations

from siphonwatch.streams.operate.provision.rule_types import DEPLOYMENT, FRESH_SECONDS, Alert, increased

FRESHNESS_BUDGET, LOSS_BUDGET = 0.01, 0.0001
"""Objectives: 99 % of the requests fresh, 99.99 % of the records neither lost nor unreadable to us."""
PAGE = ((14.4, "1h", "5m"), (6, "6h", "30m"))
TICKET = ((3, "1d", "2h"), (1, "3d", "6h"))
"""Burn rates with long and short window, for objectives over 30 days (The Site Reliability Workbook,
chapter 5, "Multiwindow, Multi-Burn-Rate Alerts")."""
FEWEST = 10
"""Bad records in the long window before a burn rate counts: at night one late request of three is no outage."""
MISPLACED = 0.01
"""Share of requests in the wrong partition that is no accident: workers notice a topic that grew within minutes, and
count what is written in between."""
BUSY = 1000
"""Requests in half an hour below which silence may be chance."""


def burning(objective: str, budget: float, rates: tuple[tuple[float, str, str], ...]) -> str:
    """Return PromQL: the long window's bad share where it and the short one's are beyond a burn rate."""
    bad = f"siphonwatch:{objective}_bad"
    return "\nor\n".join(
        "(\n"
        f"  {bad}:ratio_rate{long} > {rate} * {budget}\n"
        f"  and {bad}:ratio_rate{short} > {rate} * {budget}\n"
        f"  and {bad}:increase{long} >= {FEWEST}\n"
        ")"
        for rate, long, short in rates
    )


_LATE = (
    "{{ $value | humanizePercentage }} of the requests were processed more than "
    f"{FRESH_SECONDS} s after they were written; the objective allows 1 %. "
)
_GONE = (
    "{{ $value | humanizePercentage }} of the records were lost, or went to the dead-letter topic because we could not "
    "read them; the objective allows 0.01 %. "
)

ALERTS: tuple[Alert, ...] = (
    Alert(
        name="SiphonwatchFreshnessBurnFast",
        expr=burning("freshness", FRESHNESS_BUDGET, PAGE),
        severity="page",
        summary="Requests are scored too late",
        description=_LATE + "At this rate the month's allowance is gone within five days.",
        runbook="siphonwatchfreshnessburnfast",
    ),
    Alert(
        name="SiphonwatchFreshnessBurnSlow",
        expr=burning("freshness", FRESHNESS_BUDGET, TICKET),
        severity="ticket",
        summary="Some requests are scored too late, for hours",
        description=_LATE + "The month's allowance will not last the month.",
        runbook="siphonwatchfreshnessburnslow",
    ),
    Alert(
        name="SiphonwatchLossBurnFast",
        expr=burning("loss", LOSS_BUDGET, PAGE),
        severity="page",
        summary="Requests go unwatched: lost or unreadable",
        description=_GONE + "At this rate the month's allowance is gone within five days.",
        runbook="siphonwatchlossburnfast",
    ),
    Alert(
        name="SiphonwatchLossBurnSlow",
        expr=burning("loss", LOSS_BUDGET, TICKET),
        severity="ticket",
        summary="Some requests go unwatched, for hours",
        description=_GONE + "The month's allowance will not last the month.",
        runbook="siphonwatchlossburnslow",
    ),
    Alert(
        name="SiphonwatchRecordsLost",
        expr=f"{increased('siphonwatch_lost_offsets_total', '1h', 'job, namespace, stream')} > 0",
        severity="ticket",
        summary="Kafka no longer had records of {{ $labels.stream }} that were not read yet",
        description="{{ $value | humanize }} offsets within an hour. They cannot be had back; more may follow.",
        runbook="siphonwatchrecordslost",
    ),
    Alert(
        name="SiphonwatchDeadLettersLost",
        expr=f"{increased('siphonwatch_lost_dead_letters_total', '1h', 'job, namespace, stream')} > 0",
        severity="ticket",
        summary="Unreadable records of {{ $labels.stream }} could not even be kept as dead letters",
        description="{{ $value | humanize }} within an hour. The worker's log names each, with topic, partition, "
        "offset and reason.",
        runbook="siphonwatchdeadletterslost",
    ),
    Alert(
        name="SiphonwatchTopicMadeAnew",
        expr=f"{increased('siphonwatch_recreated_topics_total', '1h', 'job, namespace, stream')} > 0",
        severity="ticket",
        summary="A topic of {{ $labels.stream }} was deleted and made anew",
        description="The new one is read from its start. Records of the old one that were not read yet are gone.",
        runbook="siphonwatchtopicmadeanew",
    ),
    Alert(
        name="SiphonwatchDeadLetters",
        expr=(
            f"siphonwatch:dead_letters:increase1h >= {FEWEST}\n"
            "unless on (job, namespace)\n"
            "  sum by (job, namespace) (siphonwatch:dead_letters:increase1h)\n"
            f"  < {LOSS_BUDGET} * siphonwatch:requests:increase1h"
        ),
        hold="15m",
        severity="ticket",
        summary="Records cannot be read ({{ $labels.reason }})",
        description="{{ $value | humanize }} of them within an hour are on the dead-letter topic, and were not scored.",
        runbook="siphonwatchdeadletters",
    ),
    Alert(
        name="SiphonwatchRecordsForged",
        expr=f"{increased('siphonwatch_forged_records_total', '1h', 'job, namespace, stream')} > 0",
        severity="ticket",
        summary="Somebody claims in {{ $labels.stream }} to be a worker, without its seal",
        description="{{ $value | humanize }} records within an hour. They blind nobody: telemetry was scored as any "
        "other, sightings went to the dead letters. Who may write that topic should be looked at.",
        runbook="siphonwatchrecordsforged",
    ),
    Alert(
        name="SiphonwatchRequestsMisplaced",
        expr=(
            f"{increased('siphonwatch_misplaced_requests_total', '30m')}\n"
            "/\n"
            f'(sum by ({DEPLOYMENT}) (increase(siphonwatch_requests_total{{stream="telemetry"}}[30m])) > {FEWEST}\n'
            f") > {MISPLACED}"
        ),
        hold="15m",
        severity="ticket",
        summary="Requests of one account stand in several partitions: what it does is seen in pieces",
        description="{{ $value | humanizePercentage }} of half an hour's requests are in another partition than their "
        "account has by murmur2: a gateway that writes telemetry itself uses another key or partitioner.",
        runbook="siphonwatchrequestsmisplaced",
    ),
    Alert(
        name="SiphonwatchLagOld",
        expr='siphonwatch:lag_seconds:max{stream!="sightings"} > 120  # seconds',
        hold="5m",
        severity="page",
        summary="Records of {{ $labels.stream }} wait to be processed",
        description="The oldest has waited for up to {{ $value | humanizeDuration }}.",
        runbook="siphonwatchlagold",
    ),
    Alert(
        name="SiphonwatchLagGrowing",
        expr=(
            "predict_linear(siphonwatch:lag_seconds:max[1h], 14400  # seconds\n"
            ") > 120  # seconds\n"
            "and min_over_time(siphonwatch:lag_seconds:max[15m]) > 5  # seconds"
        ),
        hold="15m",
        severity="ticket",
        summary="Workers do not keep up with {{ $labels.stream }}",
        description="They have not caught up for 15 minutes; in four hours records would wait for "
        "{{ $value | humanizeDuration }}.",
        runbook="siphonwatchlaggrowing",
    ),
    # A week ago at this time there were many, and in the last days any: a backfill of a week ago is no habit.
    Alert(
        name="SiphonwatchNoTelemetry",
        expr=(
            "siphonwatch:requests:increase30m == 0\n"
            "and (\n"
            f"  siphonwatch:requests:increase30m offset 1w > {BUSY}\n"
            "  or (\n"
            f"    siphonwatch:requests:increase30m offset 1d > {BUSY}\n"
            "    unless siphonwatch:requests:increase30m offset 1w\n"
            "  )\n"
            ")\n"
            f"and siphonwatch:requests:increase3d > {BUSY}\n"
            'and sum by (job, namespace) (siphonwatch_lag_records{stream!="sightings"}) == 0'
        ),
        hold="5m",
        severity="page",
        summary="No request has come for half an hour",
        description="There were many at this time of the week, and none waits: gateways write nothing, so nothing is "
        "watched.",
        runbook="siphonwatchnotelemetry",
    ),
    Alert(
        name="SiphonwatchTelemetryDropped",
        expr=(
            "siphonwatch:requests:increase1h < 0.2 * (siphonwatch:requests:increase1h offset 1d)\n"
            "and siphonwatch:requests:increase1h < 0.2 * (siphonwatch:requests:increase1h offset 1w)\n"
            f"and siphonwatch:requests:increase1h offset 1w > {10 * BUSY}\n"
            'and sum by (job, namespace) (siphonwatch_lag_records{stream!="sightings"}) '
            "<= 0.01 * (siphonwatch:requests:increase1h offset 1w)"
        ),
        hold="1h",
        severity="ticket",
        summary="Far fewer requests than a day and a week ago",
        description="{{ $value | humanize }} in the last hour, less than a fifth: a gateway may have stopped writing.",
        runbook="siphonwatchtelemetrydropped",
    ),
)
