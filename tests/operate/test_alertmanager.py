"""Alertmanager's configuration: who is told of what, and what is kept quiet; no secret stands in it."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from oncall_tools import require_tool
from rule_files import ALERTMANAGER, ALERTS, load, run

from siphonwatch.streams.deliver.alertmanager import NAME as CASE
from siphonwatch.streams.lab.broker.process import free_port

SEVERITY = {alert.name: alert.labels["severity"] for alert in ALERTS}


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (("service=siphonwatch", "severity=page", "alertname=SiphonwatchNoWorker"), "pages"),
        (("service=siphonwatch", "severity=ticket", "alertname=SiphonwatchDrift"), "tickets"),
        ((f"alertname={CASE}", "severity=critical", "pattern=relay"), "cases"),
    ],
)
def test_pages_tickets_and_found_cases_go_to_receivers_of_their_own(labels: tuple[str, ...], receiver: str) -> None:
    routed = run("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels)
    assert routed.split("\n")[0] == receiver


def named(matchers: list[str]) -> set[str]:
    """Alerts that matchers name."""
    return {name for matcher in matchers for name in re.findall(r"Siphonwatch\w+", matcher)}


def test_inhibitions_name_alerts_that_exist_and_no_ticket_keeps_a_page_quiet() -> None:
    for rule in load(ALERTMANAGER)["inhibit_rules"]:
        sources, targets = named(rule["source_matchers"]), named(rule["target_matchers"])
        assert sources and targets and sources | targets <= set(SEVERITY)
        assert {SEVERITY[name] for name in sources} == {"page"}
        assert rule["equal"] == ["namespace", "job"], "one deployment must not keep another's alerts quiet"


def test_every_secret_is_read_from_a_file() -> None:
    def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, str]]:
        if isinstance(tree, dict):
            for key, value in tree.items():
                yield from leaves(value, key)
        elif isinstance(tree, list):
            for value in tree:
                yield from leaves(value, path)
        else:
            yield path, str(tree)

    found = dict(leaves(load(ALERTMANAGER)["receivers"]))
    assert {"routing_key_file", "api_url_file"} <= set(found)
    secret = re.compile("key|url|token|password|credentials")
    assert all(name.endswith("_file") for name in found if secret.search(name))
    assert all(
        value.startswith("/etc/alertmanager/secrets/") for name, value in found.items() if name.endswith("_file")
    )


class Alertmanager:
    """A real one on a free port, with our configuration."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder

    def __enter__(self) -> Alertmanager:
        command = [
            require_tool("prometheus-alertmanager"), f"--config.file={ALERTMANAGER}",
            f"--storage.path={self._folder}", f"--web.listen-address=127.0.0.1:{self.port}",
            "--cluster.listen-address=", "--log.level=error",
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 300
        while True:
            try:
                self.call("status")
                return self
            except (urllib.error.URLError, OSError):
                assert self.process.poll() is None, "Alertmanager ended"
                assert time.monotonic() < deadline, "Alertmanager does not answer"
                time.sleep(0.1)

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(300)

    def call(self, path: str, body: Any = None) -> Any:
        """Ask the API, or post to it."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/v2/{path}", data, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - loopback
            return json.loads(answer.read() or "null")

    def quiet(self) -> set[tuple[str, str, str]]:
        """Name, namespace and job of the alerts that are kept quiet."""
        labels = [alert["labels"] for alert in self.call("alerts") if alert["status"]["inhibitedBy"]]
        return {(label["alertname"], label["namespace"], label["job"]) for label in labels}


def alert(name: str, namespace: str, job: str = "siphonwatch") -> dict[str, Any]:
    """An alert as Prometheus sends it."""
    labels = {"alertname": name, "namespace": namespace, "job": job, "service": "siphonwatch"}
    return {"labels": labels | {"severity": SEVERITY[name]}}


def test_what_follows_from_a_page_is_kept_quiet_in_its_deployment_alone(tmp_path: Path) -> None:
    with Alertmanager(tmp_path) as manager:
        manager.call(
            "alerts",
            [
                alert("SiphonwatchNoWorker", "api"),
                alert("SiphonwatchLagOld", "api"),
                alert("SiphonwatchDrift", "api"),
                alert("SiphonwatchNothingDelivered", "api", "siphonwatch-deliver"),
                alert("SiphonwatchSinkFailing", "api", "siphonwatch-deliver"),
                alert("SiphonwatchLagOld", "web"),
                alert("SiphonwatchFreshnessBurnFast", "web"),
                alert("SiphonwatchDrift", "web"),
                alert("SiphonwatchLossBurnFast", "old"),
                alert("SiphonwatchRecordsLost", "old"),
                alert("SiphonwatchFreshnessBurnFast", "old"),
            ],
        )
        expected = {
            ("SiphonwatchLagOld", "api", "siphonwatch"),
            ("SiphonwatchDrift", "api", "siphonwatch"),
            ("SiphonwatchSinkFailing", "api", "siphonwatch-deliver"),
            ("SiphonwatchFreshnessBurnFast", "web", "siphonwatch"),
            ("SiphonwatchRecordsLost", "old", "siphonwatch"),
        }
        deadline = time.monotonic() + 300
        while manager.quiet() != expected and time.monotonic() < deadline:
            time.sleep(0.2)
        assert manager.quiet() == expected
        assert len(manager.call("alerts")) == 11
