"""Pipeline: where requests wait and what the worker spends its time and memory on, for on-call engineers."""

from __future__ import annotations

from siphonwatch.streams.operate.provision.dashboards.frame import (
    TELEMETRY,
    TP,
    WORKER,
    Dashboard,
    Panel,
    Query,
    Row,
    Step,
)
from siphonwatch.streams.operate.provision.dashboards.pipeline_processes import PROCESSES
from siphonwatch.streams.operate.provision.dashboards.pipeline_sinks import SINKS
from siphonwatch.streams.operate.provision.rule_types import FRESH_SECONDS

RATE = "[$__rate_interval]"


def _rate(metric: str, by: str) -> str:
    return f"sum by ({by}) (rate({metric}{{{WORKER}}}{RATE}))"


def _quantiles(metric: str, by: str, name: str, *which: float) -> tuple[Query, ...]:
    return tuple(
        Query(
            f"histogram_quantile({quantile}, sum by (le, {by}) (rate({metric}_bucket{{{WORKER}}}{RATE})))",
            f"{name}, p{100 * quantile:.0f}",
        )
        for quantile in which
    )


FLOW = (
    Panel(
        kind="timeseries",
        title="Requests per second, by stream",
        description="telemetry: requests scored; sightings: what campaigns over accounts are found in; ingest: gateway"
        " records adapted. The same request passes through several streams: do not add them up.",
        unit="reqps",
        runbook="panels-requests",
        queries=(Query(_rate("siphonwatch_requests_total", "stream"), "{{stream}}"),),
    ),
    Panel(
        kind="timeseries",
        title="Lag, in records",
        description="Offsets between what is processed and the end of the log.",
        unit="short",
        runbook="siphonwatchlagold",
        queries=(
            Query(f"sum by (stream) (max by (stream, {TP}) (siphonwatch_lag_records{{{WORKER}}}))", "{{stream}}"),
        ),
    ),
    Panel(
        kind="timeseries",
        title="Lag, in seconds",
        description="Age, at most, of the oldest record that waits in the partition that is furthest behind.",
        unit="s",
        runbook="siphonwatchlagold",
        queries=(Query(f"max by (stream) (siphonwatch_lag_seconds{{{WORKER}}})", "{{stream}}"),),
        steps=(Step(FRESH_SECONDS, "orange"), Step(120, "red")),
    ),
    Panel(
        kind="timeseries",
        title="Last answer of each broker",
        description="How long ago a broker that leads partitions answered the worker that hears least of it. Workers"
        " ask every 5 s; where the answer is old, lag is not known.",
        unit="s",
        runbook="siphonwatchbrokersilent",
        queries=(
            Query(
                f"max by (broker) (time() - siphonwatch_last_broker_answer_timestamp_seconds{{{WORKER}}})", "{{broker}}"
            ),
        ),
        steps=(Step(30, "orange"), Step(120, "red")),
    ),
    Panel(
        kind="heatmap",
        title="Freshness",
        description="From a request's broker timestamp to the end of the batch it was processed in: how many requests"
        " took how long.",
        unit="s",
        runbook="siphonwatchfreshnessburnfast",
        queries=(
            Query(
                f"sum by (le) (increase(siphonwatch_freshness_seconds_bucket{{{TELEMETRY}}}{RATE}))",
                "{{le}}",
            ),
        ),
    ),
    Panel(
        kind="timeseries",
        title="Freshness, quantiles",
        description=f"The same as quantiles, by stream. The line is the objective of {FRESH_SECONDS} s for 99 %.",
        unit="s",
        runbook="siphonwatchfreshnessburnfast",
        queries=_quantiles("siphonwatch_freshness_seconds", "stream", "{{stream}}", 0.5, 0.99),
        steps=(Step(FRESH_SECONDS, "red"),),
    ),
    Panel(
        kind="timeseries",
        title="Behind the clock",
        description="Wall clock less watermark, in the partition that is furthest behind. It follows event time: it"
        " grows where gateways send old records, or none.",
        unit="s",
        runbook="siphonwatchlagold",
        queries=(
            Query(
                f"max by (stream) (time() - siphonwatch_watermark_timestamp_seconds{{{WORKER}}})",
                "{{stream}}",
            ),
        ),
    ),
)

WORK = (
    Panel(
        kind="timeseries",
        title="Time by stage",
        description="Seconds of work per second, by stage, over all workers: decode reads records, thaw brings idle"
        " accounts back, score computes, emit sends alerts. One worker has at most 1.",
        unit="percentunit",
        runbook="panels-requests",
        queries=(Query(_rate("siphonwatch_stage_seconds_total", "stage"), "{{stage}}"),),
        stack=True,
    ),
    Panel(
        kind="timeseries",
        title="Busiest worker",
        description="Share of its time that the busiest worker spends on all stages. At 1 it cannot follow: add"
        " workers, up to the number of partitions.",
        unit="percentunit",
        runbook="siphonwatchlaggrowing",
        queries=(Query(f"max({_rate('siphonwatch_stage_seconds_total', 'instance')})", "busiest"),),
        steps=(Step(0.7, "orange"), Step(0.9, "red")),
    ),
    Panel(
        kind="timeseries",
        title="Requests in a batch",
        description="Requests handed over at a time. Small batches under load mean that Kafka hands over little at a"
        " time; large ones that the worker is catching up.",
        unit="short",
        runbook="panels-requests",
        queries=_quantiles("siphonwatch_batch_requests", "stream", "{{stream}}", 0.5, 0.99),
    ),
    Panel(
        kind="timeseries",
        title="Late, skipped and ahead",
        description="late: later than the grace, counted all the same; skipped: applied before; turned away: by the"
        " gateway, of accounts that had got nothing before, so they count nowhere; ahead: further ahead of the clock"
        " than scoring.max_ahead, so a gateway's clock is wrong.",
        unit="reqps",
        runbook="panels-requests",
        queries=(
            Query(_rate("siphonwatch_late_requests_total", "stream"), "late, {{stream}}"),
            Query(_rate("siphonwatch_skipped_requests_total", "stream"), "skipped, {{stream}}"),
            Query(_rate("siphonwatch_refused_requests_total", "stream"), "turned away, {{stream}}"),
            Query(_rate("siphonwatch_ahead_requests_total", "stream"), "ahead, {{stream}}"),
        ),
    ),
    Panel(
        kind="timeseries",
        title="Dead letters, by reason",
        description="Records sent to the dead-letter topic in each interval.",
        unit="short",
        runbook="siphonwatchdeadletters",
        queries=(
            Query(
                f"sum by (stream, reason) (increase(siphonwatch_dead_letters_total{{{WORKER}}}{RATE}))",
                "{{reason}}, {{stream}}",
            ),
        ),
        bars=True,
    ),
    Panel(
        kind="timeseries",
        title="Lost offsets and gaps read again",
        description="lost: records that the broker no longer had when they were to be read, which is loss; gaps:"
        " holes that were read again to make sure.",
        unit="short",
        runbook="siphonwatchrecordslost",
        queries=(
            Query(f"sum by (stream) (increase(siphonwatch_lost_offsets_total{{{WORKER}}}{RATE}))", "lost, {{stream}}"),
            Query(f"sum by (stream) (increase(siphonwatch_reread_gaps_total{{{WORKER}}}{RATE}))", "gaps, {{stream}}"),
        ),
        steps=(Step(1, "red"),),
    ),
)

ASIDE = (
    Panel(
        kind="timeseries",
        title="Set aside, misplaced, forged",
        description="refused: of unknown accounts that the gateway turned away, not scored; misplaced: in another"
        " partition than their account's, so that its evidence is split; forged: claim an origin without its seal.",
        unit="reqps",
        runbook="siphonwatchrequestsmisplaced",
        queries=(
            Query(f"sum(rate(siphonwatch_refused_requests_total{{{WORKER}}}{RATE}))", "refused"),
            Query(f"sum(rate(siphonwatch_misplaced_requests_total{{{WORKER}}}{RATE}))", "misplaced"),
            Query(f"sum(rate(siphonwatch_forged_records_total{{{WORKER}}}{RATE}))", "forged"),
        ),
    ),
    Panel(
        kind="timeseries",
        title="Passed over",
        description="What gateways write that is no request: spans around a model's, tools, guardrails, tombstones.",
        unit="ops",
        runbook="metrics",
        queries=(
            Query(f"sum by (topic) (rate(siphonwatch_passed_over_elements_total{{{WORKER}}}{RATE}))", "{{topic}}"),
        ),
    ),
    Panel(
        kind="timeseries",
        title="Topics made anew, absent",
        description="Times that a topic was another one under the same name, which is read from its start; and topics"
        " of gateways that are not there, which workers wait for.",
        unit="short",
        runbook="siphonwatchtopicmadeanew",
        queries=(
            Query(f"sum by (topic) (increase(siphonwatch_recreated_topics_total{{{WORKER}}}{RATE}))", "{{topic}}"),
            Query(f"count(max by (topic) (siphonwatch_topic_absent{{{WORKER}}}) > 0) or vector(0)", "absent"),
        ),
        bars=True,
    ),
    Panel(
        kind="timeseries",
        title="Sending: failed attempts, blocked",
        description="Attempts to send what came of a partition that failed, by topic; and for how long the broker has"
        " not taken what the partition that waits longest sends. It loses nothing meanwhile.",
        unit="short",
        runbook="siphonwatchsendingblocked",
        queries=(
            Query(f"sum by (to) (increase(siphonwatch_send_failures_total{{{WORKER}}}{RATE}))", "failed, {{to}}"),
            Query(f"max(siphonwatch_blocked_seconds{{{WORKER}}})", "blocked, seconds"),
        ),
    ),
    Panel(
        kind="timeseries",
        title="Dead letters that no topic takes",
        description="Bad records that could not be kept even as dead letters, in each interval. The worker's log names"
        " each of them.",
        unit="short",
        runbook="siphonwatchdeadletterslost",
        queries=(
            Query(f"sum by (stream) (increase(siphonwatch_lost_dead_letters_total{{{WORKER}}}{RATE}))", "{{stream}}"),
        ),
        bars=True,
    ),
)

KEEPING = (
    Panel(
        kind="timeseries",
        title="Checkpoints, duration",
        description="Time a checkpoint takes, until the broker has acknowledged it.",
        unit="s",
        runbook="siphonwatchcheckpointold",
        queries=_quantiles("siphonwatch_checkpoint_seconds", "stream", "{{stream}}", 0.5, 0.99),
        steps=(Step(10, "red"),),
    ),
    Panel(
        kind="timeseries",
        title="Checkpoints, bytes",
        description="Bytes per second written to the state topic.",
        unit="Bps",
        runbook="siphonwatchcheckpointold",
        queries=(Query(_rate("siphonwatch_checkpoint_bytes_total", "stream"), "{{stream}}"),),
        stack=True,
    ),
    Panel(
        kind="timeseries",
        title="Age of the last checkpoint and commit",
        description="The oldest of all partitions. Both grow where nothing arrives; together with stalled seconds"
        " they mean that state is not kept.",
        unit="s",
        runbook="siphonwatchcheckpointold",
        queries=(
            Query(
                f"max(time() - max by ({TP}) (siphonwatch_last_checkpoint_timestamp_seconds{{{WORKER}}}))",
                "checkpoint",
            ),
            Query(f"max(time() - max by ({TP}) (siphonwatch_last_commit_timestamp_seconds{{{WORKER}}}))", "commit"),
            Query(f"max(siphonwatch_stalled_seconds{{{WORKER}}})", "stalled"),
        ),
    ),
    Panel(
        kind="timeseries",
        title="Commits, by outcome",
        description="committed; moved: the partition had gone to another worker; timeout: the broker did not answer.",
        unit="ops",
        runbook="siphonwatchstuckcommits",
        queries=(Query(_rate("siphonwatch_commits_total", "outcome"), "{{outcome}}"),),
    ),
    Panel(
        kind="timeseries",
        title="Restores",
        description="Time that partitions took to be restored from the state topic when they were assigned; of all"
        " restores since each worker's start, as most come before its first scrape.",
        unit="s",
        runbook="siphonwatchrestoreslow",
        queries=tuple(
            Query(
                f"histogram_quantile({q}, sum by (le, stream) (siphonwatch_restore_seconds_bucket{{{WORKER}}}))",
                f"{{{{stream}}}}, p{100 * q:.0f}",
            )
            for q in (0.5, 0.99)
        ),
        steps=(Step(60, "red"),),
    ),
    Panel(
        kind="timeseries",
        title="Partitions: assigned, ready, rebalances",
        description="Assigned: over all workers; ready: restored and read; rebalances: times that the group gave a"
        " worker its partitions, in each interval.",
        unit="short",
        runbook="siphonwatchpartitionsunassigned",
        queries=(
            Query(f"sum(siphonwatch_assigned_partitions{{{WORKER}}})", "assigned"),
            Query(f"sum(max by (stream, {TP}) (siphonwatch_partition_ready{{{WORKER}}}))", "ready"),
            Query(f"sum(increase(siphonwatch_rebalances_total{{{WORKER}}}{RATE}))", "rebalances"),
        ),
    ),
)

DASHBOARD = Dashboard(
    name="pipeline",
    title="Pipeline",
    description="Where requests wait, what workers spend time and memory on, and whether state is kept.",
    rows=(
        Row("Flow", FLOW),
        Row("Work", WORK),
        Row("Set aside or held up", ASIDE),
        Row("Keeping state", KEEPING, collapsed=True),
        Row("Memory and processes", PROCESSES, collapsed=True),
        Row("Sinks", SINKS, collapsed=True),
    ),
)
