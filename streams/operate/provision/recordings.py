"""What Prometheus computes ahead of alerts and dashboards: the two objectives over many windows, and a few sums.

Everything is by deployment. Counters are added up after their increase is taken, so that a restart of one worker is no
reset of the sum.
"""

from __future__ import annotations

from collections.abc import Iterator

from siphonwatch.streams.operate.provision.rule_types import DEPLOYMENT, FRESH_SECONDS, WORKERS, Recording, increased

WINDOWS = {"5m": "30s", "30m": "30s", "1h": "30s", "2h": "1m", "6h": "1m", "1d": "2m", "3d": "2m"}
"""Windows of the burn rates, and how often each is computed: below the 5 minutes after which Prometheus holds a value
to be stale."""
UNREADABLE = ("account", "fields", "schema", "time")
"""Dead letters that count against the loss objective: the record is whole, and a gateway, an adapter or a setting of
ours changed so that it cannot be read. The other reasons (json, encoding, size, origin) say that it was broken before
it reached us, which any client can bring about by what it makes a gateway log: nobody is to be woken that way."""
ZERO = f'0 * sum by ({DEPLOYMENT}) (up{{job="{WORKERS}"}})'
"""Where a counter has no series yet nothing was counted, which is not the same as no value."""


def objectives() -> Iterator[Recording]:
    """Give freshness and loss, over each window: what there was, what of it was bad, and the share."""
    within = f'siphonwatch_freshness_seconds_bucket{{stream="telemetry",le="{float(FRESH_SECONDS)}"}}'
    counted = {
        "requests": 'siphonwatch_requests_total{stream="telemetry"}',
        "lost": 'siphonwatch_lost_offsets_total{stream!="sightings"}',
        "unreadable": f'siphonwatch_dead_letters_total{{stream!="sightings",reason=~"{"|".join(UNREADABLE)}"}}',
    }
    for window, interval in WINDOWS.items():

        def rule(name: str, expr: str, window: str = window, interval: str = interval) -> Recording:
            return Recording(record=f"siphonwatch:{name}{window}", expr=expr, interval=interval)

        total, late = f"siphonwatch:freshness_total:increase{window}", f"siphonwatch:freshness_bad:increase{window}"
        everything = increased('siphonwatch_freshness_seconds_count{stream="telemetry"}', window)
        yield rule("freshness_total:increase", everything)
        yield rule("freshness_bad:increase", f"clamp_min(\n{total}\n- {increased(within, window)}, 0)")
        yield rule("freshness_bad:ratio_rate", f"{late} / ({total} > 0)")

        for name, selector in counted.items():
            yield rule(f"{name}:increase", f"{increased(selector, window)}\nor {ZERO}")
        bad, requests = f"siphonwatch:loss_bad:increase{window}", f"siphonwatch:requests:increase{window}"
        yield rule("loss_bad:increase", f"siphonwatch:lost:increase{window} + siphonwatch:unreadable:increase{window}")
        yield rule("loss_bad:ratio_rate", f"{bad} / ({bad} + {requests} > 0)")


def sums() -> Iterator[Recording]:
    """Give what alerts look back at: a range over a sum needs the sum as a series."""
    yield Recording(
        record="siphonwatch:lag_seconds:max",
        expr=f"max by ({DEPLOYMENT}, stream) (siphonwatch_lag_seconds)",
    )
    yield Recording(
        record="siphonwatch:stalled_seconds:max",
        expr=f"max by ({DEPLOYMENT}) (siphonwatch_stalled_seconds)",
    )
    # By number, not by topic: a partition that is moving may be reported by two workers.
    yield Recording(
        record="siphonwatch:partitions_assigned:count",
        expr=(
            f"count by ({DEPLOYMENT}, stream) (\n"
            f'  count by ({DEPLOYMENT}, stream, partition) (siphonwatch_partition_ready{{stream!="ingest"}})\n'
            ")"
        ),
    )
    reasons = increased("siphonwatch_dead_letters_total", "1h", f"{DEPLOYMENT}, reason")
    yield Recording(record="siphonwatch:dead_letters:increase1h", expr=reasons)


RECORDINGS: tuple[Recording, ...] = (*objectives(), *sums())
