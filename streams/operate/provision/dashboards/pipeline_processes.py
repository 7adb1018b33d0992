"""The pipeline dashboard's row about memory and processes."""

from __future__ import annotations

from siphonwatch.streams.operate.provision.dashboards.frame import TELEMETRY, TP, WORKER, Panel, Query, Step

ROW_BYTES = 2048.0
"""What one account in memory may cost (DESIGN: 2 KB)."""

PROCESSES = (
    Panel(
        kind="timeseries",
        title="Accounts",
        description="hot: in memory; cold: in the state topic only, until they send again.",
        unit="short",
        runbook="panels-memory",
        queries=(
            Query(f"sum(max by ({TP}) (siphonwatch_hot_accounts{{{TELEMETRY}}}))", "hot"),
            Query(f"sum(max by ({TP}) (siphonwatch_cold_accounts{{{TELEMETRY}}}))", "cold"),
        ),
        stack=True,
        width=6,
    ),
    Panel(
        kind="timeseries",
        title="State in memory",
        description="Account rows and their index, over all workers.",
        unit="bytes",
        runbook="panels-memory",
        queries=(
            Query(f"sum by (stream) (max by (stream, {TP}) (siphonwatch_state_bytes{{{WORKER}}}))", "{{stream}}"),
        ),
        stack=True,
        width=6,
    ),
    Panel(
        kind="timeseries",
        title="Bytes per hot account",
        description="The line is what one is meant to cost at most, 2 KB. With few accounts the fixed part dominates.",
        unit="bytes",
        runbook="panels-memory",
        queries=(
            Query(
                f"sum(max by ({TP}) (siphonwatch_state_bytes{{{TELEMETRY}}}))"
                f" / (sum(max by ({TP}) (siphonwatch_hot_accounts{{{TELEMETRY}}})) > 0)",
                "an account",
            ),
        ),
        steps=(Step(ROW_BYTES, "red"),),
        width=6,
    ),
    Panel(
        kind="timeseries",
        title="Bounds in use",
        description="How full what memory is bounded by is, where it is fullest. At 100 % the oldest make room.",
        unit="percentunit",
        runbook="panels-memory",
        queries=(
            Query(
                f"max by (stream, bound) (siphonwatch_bound_used{{{WORKER}}}"
                f" / (siphonwatch_bound_limit{{{WORKER}}} > 0))",
                "{{stream}}: {{bound}}",
            ),
        ),
        width=12,
    ),
    Panel(
        kind="timeseries",
        title="Gone for want of room",
        description="What had to be forgotten, or closed early, because there was too much of it: raise its setting, or"
        " add workers. Accounts that leave memory are not among them.",
        unit="short",
        runbook="panels-memory",
        queries=(
            Query(
                f"sum by (stream, bound) (max by (stream, bound, {TP}) (siphonwatch_bound_dropped{{{WORKER}}})) > 0"
                " or vector(0)",
                "{{stream}}: {{bound}}",
            ),
        ),
        width=12,
    ),
    Panel(
        kind="timeseries",
        title="Memory of each worker",
        description="Resident memory of the process, most of it accounts. It levels off once each partition"
        " has state.hot_accounts of them in memory.",
        unit="bytes",
        runbook="panels-memory",
        queries=(Query(f"process_resident_memory_bytes{{{WORKER}}}", "{{instance}}"),),
        width=6,
    ),
    Panel(
        kind="timeseries",
        title="CPU of each worker",
        description="Cores in use. A worker scores on one core; somewhat more goes into compression and the network.",
        unit="short",
        runbook="panels-requests",
        queries=(Query(f"rate(process_cpu_seconds_total{{{WORKER}}}[$__rate_interval])", "{{instance}}"),),
        width=8,
    ),
    Panel(
        kind="timeseries",
        title="Open files of each worker",
        description="File descriptors in use. Steady growth is a leak: report it, and restart the worker meanwhile.",
        unit="short",
        runbook="panels-memory",
        queries=(Query(f"process_open_fds{{{WORKER}}}", "{{instance}}"),),
        width=8,
    ),
    Panel(
        kind="timeseries",
        title="Uptime of each worker",
        description="Time since the process started: a saw-tooth is a crash loop.",
        unit="s",
        runbook="siphonwatchcrashlooping",
        queries=(Query(f"time() - process_start_time_seconds{{{WORKER}}}", "{{instance}}"),),
        width=8,
    ),
)
