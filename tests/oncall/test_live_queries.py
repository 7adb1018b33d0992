"""Every query of every dashboard and rule, evaluated by a real Prometheus that scraped a real worker.

Each gives data, or the runbook's table of metrics says what has to happen first (`has no value until ...`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator

import pytest
from dashboard_queries import queries
from live_stack import Stack
from prometheus_node import Prometheus
from rule_files import ALERTS, RECORDINGS, RULES, waiting

pytestmark = [pytest.mark.broker, pytest.mark.kafka]

VARIABLES = {"$__rate_interval": "2m", "$namespace": ".*", "$job": ".+", "$instance": ".+", "$pattern": ".*"}
SELECTOR = re.compile(r"\b((?:siphonwatch|process)[a-z0-9_:]*|up|ALERTS)(\{[^}]*\})?")

WAITING = waiting()
"""Metrics that have no value here, and the event that would give them one."""


def selectors(expr: str) -> set[str]:
    """What a query reads."""
    return {name + (labels or "") for name, labels in SELECTOR.findall(expr)}


def waits(selector: str) -> bool:
    return any(selector.startswith(name) for name in WAITING)


@pytest.fixture(scope="module")
def prometheus(kafka_node: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Scraped a worker that was fed and restarted, until its rules were evaluated."""
    folder = tmp_path_factory.mktemp("live")
    with Stack(kafka_node.bootstrap, "live-queries", folder) as stack:  # type: ignore[attr-defined]
        fast = re.sub(r"interval: \w+", "interval: 2s", RULES.read_text())
        with Prometheus(folder / "prometheus", stack.jobs, fast, scrape=0.5) as prometheus:
            asyncio.run(stack.feed())
            fed = 'siphonwatch_verdicts{decision="true-positive"} == 1 and on () siphonwatch_failing_seconds > 0'
            prometheus.until(lambda: bool(prometheus.query(fed)), 300.0, "the verdict and the failing sink to be seen")
            opened = "rate(siphonwatch_desk_requests_total[2m]) > 0"
            prometheus.until(lambda: bool(prometheus.query(opened)), 300.0, "the desk to be seen opened")
            records = {rule.record for rule in RECORDINGS}
            absent = lambda: [name for name in records if not prometheus.query(name)]  # noqa: E731
            prometheus.until(lambda: not absent(), 300.0, "every recorded series")
            yield prometheus


def test_every_query_of_every_panel_gives_data_or_is_listed(prometheus: Prometheus) -> None:
    asked = list(queries(VARIABLES))
    assert len(asked) > 60
    silent = [
        query for query in asked
        if not prometheus.query(query.expr) and not any(waits(selector) for selector in selectors(query.expr))
    ]  # fmt: skip
    assert not silent, "\n".join(f"{query.dashboard}, {query.panel}: {query.expr}" for query in silent)


def test_every_rule_is_evaluated_without_an_error(prometheus: Prometheus) -> None:
    evaluated = {rule["name"]: rule for rule in prometheus.rules()}
    assert {rule.record for rule in RECORDINGS} | {alert.name for alert in ALERTS} == set(evaluated)
    assert {name: rule["lastError"] for name, rule in evaluated.items() if rule["health"] != "ok"} == {}


def test_every_series_that_a_rule_reads_exists_or_is_listed(prometheus: Prometheus) -> None:
    read = {s: rule.expr for rule in (*ALERTS, *RECORDINGS) for s in selectors(rule.expr)}
    assert len(read) > 20
    absent = [s for s in sorted(read) if not waits(s) and not prometheus.query(f"last_over_time({s}[5m])")]
    assert not absent, "\n".join(absent)


def test_what_is_listed_as_waiting_is_indeed_without_a_value(prometheus: Prometheus) -> None:
    assert {name for name in WAITING if prometheus.query(f'{{__name__=~"{name}.*"}}')} == set()


OF_SPEED = {"SiphonwatchFreshnessBurnFast", "SiphonwatchLagOld"}
"""True on a machine that is too busy to compile and score within 30 s."""


def test_a_healthy_worker_fires_no_page(prometheus: Prometheus) -> None:
    pages = {alert.name for alert in ALERTS if alert.labels["severity"] == "page"}
    assert pages > OF_SPEED
    assert not (pages - OF_SPEED) & prometheus.firing()
