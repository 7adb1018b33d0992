"""What deploy/compose.yaml starts comes up in its order, finds each other, and carries an alert of the gateway to
Alertmanager and every metric to Prometheus."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from compose_file import order, services
from compose_stack import ComposeKafka, Stack, get
from kafka_broker import required, unavailable
from oncall_tools import require_tool

pytestmark = [pytest.mark.broker, pytest.mark.kafka]
TRAFFIC = {"GATEWAY_ACCOUNTS": "150", "GATEWAY_SEED": "7"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Every service but Grafana, started in the file's order, each when those it waits for are healthy or done."""
    programs = {name: require_tool(name) for name in ("prometheus", "prometheus-alertmanager")}
    if reason := unavailable():
        (pytest.fail if required() else pytest.skip)(reason)
    folder = tmp_path_factory.mktemp("compose")
    with ComposeKafka(folder / "kafka") as kafka, Stack(folder, kafka.bootstrap, {"gateway": TRAFFIC}) as running:
        commands = {
            "topics": running.siphonwatch("topics"),
            "worker": running.siphonwatch("worker"),
            "deliver": running.siphonwatch("deliver"),
            "archive": running.siphonwatch("archive"),
            "desk": running.siphonwatch("desk"),
            "gateway": running.gateway(),
            "prometheus": running.server("prometheus", programs["prometheus"]),
            "alertmanager": running.server("alertmanager", programs["prometheus-alertmanager"]),
        }
        for name in (name for name in order() if name in commands):
            for needed, how in services()[name].get("depends_on", {}).items():
                if how["condition"] == "service_healthy" and needed != "kafka":
                    running.until(f"{needed} to be healthy", lambda needed=needed: running.healthy(needed))
            running.start(name, commands[name])
            if name == "topics":
                done = running.processes.pop(name)
                assert done.wait(300) == 0, running.tail(name)
        yield running


def asked(stack: Stack, name: str, path: str) -> Any:
    """What a server's API answers, parsed."""
    body = get(stack.url(name, path))
    return None if body is None else json.loads(body)


def test_every_service_becomes_healthy_by_its_own_health_check(stack: Stack) -> None:
    for name in stack.processes:
        stack.until(f"{name} to be healthy", lambda name=name: stack.healthy(name))
    assert set(stack.processes) == set(services()) - {"kafka", "topics", "grafana"}
    stack.until("the worker to be ready", lambda: get(stack.url("worker", "/readyz")))


def test_a_case_of_the_gateway_s_traffic_reaches_alertmanager(stack: Stack) -> None:
    def cases() -> list[Any]:
        return [
            alert["labels"]
            for alert in asked(stack, "alertmanager", "/api/v2/alerts") or ()
            if alert["labels"]["alertname"] == "SiphonwatchCase"
        ]

    stack.until("an alert at Alertmanager", cases, 300)
    assert all({"pattern", "severity"} <= set(labels) for labels in cases())
    assert not any("account" in label for labels in cases() for label in labels)


def test_prometheus_scrapes_every_job_and_knows_the_rules_and_alertmanager(stack: Stack) -> None:
    def up() -> dict[str, str]:
        answer = asked(stack, "prometheus", "/api/v1/targets")
        return {t["labels"]["job"]: t["health"] for t in answer["data"]["activeTargets"]} if answer else {}

    wanted = {"siphonwatch": "up", "siphonwatch-deliver": "up", "siphonwatch-archive": "up", "siphonwatch-desk": "up"}
    stack.until("every target up", lambda: up() == wanted)
    rules = asked(stack, "prometheus", "/api/v1/rules")["data"]["groups"]
    assert any(rule["type"] == "alerting" for group in rules for rule in group["rules"])
    stack.until(
        "Alertmanager to be found",
        lambda: asked(stack, "prometheus", "/api/v1/alertmanagers")["data"]["activeAlertmanagers"],
    )
    stack.until(
        "requests to be counted",
        lambda: asked(stack, "prometheus", "/api/v1/query?query=sum(siphonwatch_requests_total)>0")["data"]["result"],
    )


def test_the_gateway_s_traffic_is_of_now(stack: Stack) -> None:
    query = "/api/v1/query?query=time()-max(siphonwatch_watermark_timestamp_seconds)"

    def behind() -> float | None:
        found = asked(stack, "prometheus", query)["data"]["result"]
        return float(found[0]["value"][1]) if found else None

    stack.until("a watermark within the hour", lambda: (age := behind()) is not None and -5 < age < 3600, 300)


def test_stopping_it_ends_every_service_gracefully(stack: Stack) -> None:
    for name in ("gateway", "worker", "deliver", "archive", "desk"):
        stack.processes[name].terminate()
    assert stack.processes["gateway"].wait(300) == 0
    assert not stack.left("gateway"), "what the script started outlived it"
    for name in ("worker", "deliver", "archive", "desk"):
        try:
            assert stack.processes[name].wait(300) == 0, stack.tail(name)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{name} did not stop: {stack.tail(name)}")
