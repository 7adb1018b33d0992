"""A real Prometheus of a test: scrapes loopback targets, evaluates the rules it is given, answers queries."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from oncall_tools import require_tool

from siphonwatch.streams.lab.broker.process import free_port


class Prometheus:
    """A process and its HTTP API; a context manager.

    Parameters
    ----------
    folder
        Its data, settings and log.
    jobs
        Targets, `host:port`, of each job.
    rules
        Text of its rules file.
    scrape
        Seconds between scrapes.
    """

    def __init__(self, folder: Path, jobs: Mapping[str, Sequence[str]], rules: str, scrape: float = 1.0) -> None:
        self.folder = folder
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "rules.yml").write_text(rules)
        every = f"{round(scrape * 1000)}ms"
        settings = {
            "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": "1s"},
            "rule_files": ["rules.yml"],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": list(targets)}]} for job, targets in jobs.items()
            ],
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))

    def __enter__(self) -> Prometheus:
        command = [
            require_tool("prometheus"), f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}", f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=warn",
        ]  # fmt: skip
        with (self.folder / "prometheus.log").open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        self.until(self._ready, 300.0, "Prometheus to be ready")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(300)

    def get(self, path: str, **parameters: str) -> Any:
        """What the API answers as data."""
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}{query}", timeout=60) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from None

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Series that an expression gives now, those that are not a number left out."""
        found: list[dict[str, Any]] = self.get("query", query=expr)["result"]
        return [series for series in found if series["value"][1] != "NaN"]

    def value(self, expr: str) -> float:
        """The one value of an expression."""
        (series,) = self.query(expr)
        return float(series["value"][1])

    def rules(self) -> list[dict[str, Any]]:
        """Every rule with its health."""
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]

    def firing(self) -> set[str]:
        """Names of the alerts that fire."""
        return {a["labels"]["alertname"] for a in self.get("alerts")["alerts"] if a["state"] == "firing"}

    def until(self, done: Callable[[], bool], seconds: float, what: str) -> float:
        """Wait for something; return how long it took."""
        began = time.monotonic()
        while not done():
            if time.monotonic() - began > seconds:
                raise AssertionError(f"waited {seconds:.0f} s for {what}\n{self._log()}")
            time.sleep(0.25)
        return time.monotonic() - began

    def _ready(self) -> bool:
        assert self.process.poll() is None, self._log()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=60):
                return True
        except (urllib.error.URLError, OSError):
            return False

    def _log(self) -> str:
        return (self.folder / "prometheus.log").read_text()[-3000:]
