"""Alerts on workers: there are some, they run, hold all partitions, restore, commit and checkpoint."""

from __future__ import annotations

from siphonwatch.streams.operate.provision.rule_types import DELIVERERS, DEPLOYMENT, WORKERS, Alert


def gone(job: str) -> str:
    """Return PromQL: deployments where no process of a job answers, or none is left to be asked."""
    return (
        f'sum by ({DEPLOYMENT}) (up{{job="{job}"}}) == 0\n'
        "or (\n"
        f'  group by ({DEPLOYMENT}) (last_over_time(up{{job="{job}"}}[1d]))\n'
        f'  unless group by ({DEPLOYMENT}) (up{{job="{job}"}})\n'
        ")"
    )


ALERTS: tuple[Alert, ...] = (
    Alert(
        name="SiphonwatchNoWorker",
        expr=f'{gone(WORKERS)}\nor absent_over_time(up{{job="{WORKERS}"}}[1d])',
        hold="3m",
        severity="page",
        summary="No worker runs",
        description="No worker answers Prometheus, so no request is scored. Nothing is lost while Kafka keeps "
        "the records.",
        runbook="siphonwatchnoworker",
    ),
    Alert(
        name="SiphonwatchWorkerDown",
        expr=f'up{{job="{WORKERS}"}} == 0',
        hold="15m",
        severity="ticket",
        summary="Worker {{ $labels.instance }} is down",
        description="It has not answered for 15 minutes; the others have its partitions.",
        runbook="siphonwatchworkerdown",
    ),
    Alert(
        name="SiphonwatchCrashLooping",
        expr=(
            f"max by ({DEPLOYMENT}, instance) (\n"
            f'  changes(process_start_time_seconds{{job=~"{WORKERS}|{DELIVERERS}"}}[30m])\n'
            ") >= 3"
        ),
        severity="page",
        summary="{{ $labels.job }} {{ $labels.instance }} keeps crashing",
        description="It started {{ $value }} times within half an hour. Its log names the offsets, or the setting.",
        runbook="siphonwatchcrashlooping",
    ),
    # Of each broker that partitions need, the worker that it answered last: one that is cut off alone loses its
    # partitions to the others.
    Alert(
        name="SiphonwatchBrokerSilent",
        expr=(
            f"time() - max by ({DEPLOYMENT}, broker) (\n"
            f'  siphonwatch_last_broker_answer_timestamp_seconds{{job="{WORKERS}"}}\n'
            ") > 120  # seconds"
        ),
        severity="page",
        summary="Kafka broker {{ $labels.broker }} answers no worker",
        description="For {{ $value | humanizeDuration }}. What it leads is not read, so no request there is scored, "
        "and nobody knows how many wait.",
        runbook="siphonwatchbrokersilent",
    ),
    # Half of web.stall_seconds: where /healthz has the worker restarted then, the gauge never gets much beyond. One
    # such restart heals most; three minutes out of ten are more than one.
    Alert(
        name="SiphonwatchStuckCommits",
        expr=("sum_over_time((siphonwatch:stalled_seconds:max > bool 60  # seconds\n)[10m:30s]) >= 6"),
        severity="ticket",
        summary="Records are processed but not committed",
        description="For three of the last ten minutes some partition had gone without a commit for over a minute: the "
        "broker does not answer, or a worker hangs.",
        runbook="siphonwatchstuckcommits",
    ),
    Alert(
        name="SiphonwatchSendingBlocked",
        expr=f"max by ({DEPLOYMENT}, stream) (siphonwatch_blocked_seconds) > 120  # seconds",
        severity="ticket",
        summary="What comes of {{ $labels.stream }} cannot be sent",
        description="For {{ $value | humanizeDuration }} the broker has not taken what some partition sends. That "
        "partition waits, and loses nothing.",
        runbook="siphonwatchsendingblocked",
    ),
    Alert(
        name="SiphonwatchCheckpointOld",
        expr=(
            f"count by ({DEPLOYMENT}, stream) (\n"
            "  (\n"
            f"    sum by ({DEPLOYMENT}, stream, partition) (\n"
            '      increase(siphonwatch_requests_total{stream!="ingest"}[3m])\n'
            "    ) > 0\n"
            "  )\n"
            "  unless\n"
            f"  time() - max by ({DEPLOYMENT}, stream, partition) (siphonwatch_last_checkpoint_timestamp_seconds)"
            " < 300  # seconds\n"
            ")"
        ),
        hold="5m",
        severity="ticket",
        summary="Partitions of {{ $labels.stream }} take no checkpoints ({{ $value }})",
        description="They process requests, and their last checkpoint is over five minutes old: a restart would "
        "process all since then again.",
        runbook="siphonwatchcheckpointold",
    ),
    Alert(
        name="SiphonwatchRestoreSlow",
        expr=(
            f"count by ({DEPLOYMENT}, stream) (\n"
            f"  max by ({DEPLOYMENT}, stream, topic, partition) (siphonwatch_partition_ready) == 0\n"
            ")"
        ),
        hold="5m",
        severity="page",
        summary="Partitions of {{ $labels.stream }} are still being restored ({{ $value }})",
        description="For five minutes nothing of them was processed. A million accounts take some ten seconds.",
        runbook="siphonwatchrestoreslow",
    ),
    Alert(
        name="SiphonwatchPartitionsUnassigned",
        expr=(
            "max_over_time(siphonwatch:partitions_assigned:count[1d])\n"
            "- (\n"
            "  siphonwatch:partitions_assigned:count\n"
            "  or 0 * max_over_time(siphonwatch:partitions_assigned:count[1d])\n"
            ") > 0\n"
            'or sum by (job, namespace, stream) (siphonwatch_assigned_partitions{stream="telemetry"}) == 0'
        ),
        hold="10m",
        severity="page",
        summary="Partitions of {{ $labels.stream }} have no worker",
        description="For ten minutes nobody has read them, though workers run: they cannot agree in the group, or "
        "lack the right to read.",
        runbook="siphonwatchpartitionsunassigned",
    ),
    Alert(
        name="SiphonwatchRebalanceStorm",
        expr=f"max by ({DEPLOYMENT}) (increase(siphonwatch_rebalances_total[15m])) >= 4",
        hold="30m",
        severity="ticket",
        summary="Partitions keep moving between workers",
        description="About {{ $value | humanize }} times in a quarter of an hour, and each time all pause.",
        runbook="siphonwatchrebalancestorm",
    ),
    Alert(
        name="SiphonwatchMixedVersions",
        expr=(
            f"count by ({DEPLOYMENT}) (\n"
            f"  count by ({DEPLOYMENT}, version, state_format, reference, second_stage) (siphonwatch_model_info)\n"
            ") > 1"
        ),
        hold="1h",
        severity="ticket",
        summary="Workers of {{ $value }} versions run side by side",
        description="An upgrade has not ended after an hour, or workers differ in their settings.",
        runbook="siphonwatchmixedversions",
    ),
)
