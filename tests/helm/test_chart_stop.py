"""A worker is told to stop when it has settled, and has the time to take its last checkpoint."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from chart_tools import CASES, MINIMAL, manifests, merged, one, values

from siphonwatch.streams.worker.app import STOP_SECONDS


def pre_stop(port: int, settle: int = 30) -> list[str]:
    """The command that Kubernetes runs in a worker before it stops it."""
    given = {"settings": {"web": {"port": port}}, "worker": {"settleSeconds": settle}}
    (worker,) = one(manifests(merged(MINIMAL, given)), "StatefulSet")["spec"]["template"]["spec"]["containers"]
    python, *rest = worker["lifecycle"]["preStop"]["exec"]["command"]
    assert python == "python"
    return [sys.executable, *rest]


@contextmanager
def worker_that_restores(answers: int) -> Iterator[HTTPServer]:
    """Serve a /readyz that is 503 so many times, then 200."""

    class Handler(BaseHTTPRequestHandler):
        asked: list[str] = []  # noqa: RUF012 - one handler class a server

        def do_GET(self) -> None:
            self.asked.append(self.path)
            self.send_response(503 if len(self.asked) <= answers else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked = Handler.asked  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def test_the_stop_waits_until_the_worker_has_restored() -> None:
    environ = {**os.environ, "http_proxy": "http://127.0.0.1:9"}  # which would not find this very pod
    with worker_that_restores(2) as server:
        done = subprocess.run(
            pre_stop(server.server_port), env=environ, capture_output=True, text=True, timeout=300, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert server.asked == ["/readyz"] * 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("answers", [10_000, None])
def test_the_stop_goes_ahead_where_a_worker_never_gets_ready(answers: int | None) -> None:
    began = time.monotonic()
    with worker_that_restores(answers or 0) as server:
        port = server.server_port
        if answers:
            code = subprocess.run(pre_stop(port, settle=1), timeout=300, check=False).returncode
    if not answers:  # nobody listens any more
        code = subprocess.run(pre_stop(port, settle=1), timeout=300, check=False).returncode
    assert code == 0
    assert time.monotonic() - began >= 1


@pytest.mark.parametrize("case", CASES)
def test_there_is_time_to_settle_and_to_take_the_last_checkpoint(case: str) -> None:
    settle = values(case).get("worker", {}).get("settleSeconds", 30)
    part = "app.kubernetes.io/component"
    sets = [o["spec"] for o in manifests(values(case)) if o["kind"] == "StatefulSet"]
    (spec,) = [found for found in sets if found["selector"]["matchLabels"][part] == "worker"]
    assert spec["template"]["spec"]["terminationGracePeriodSeconds"] >= settle + STOP_SECONDS + 10
    assert spec["podManagementPolicy"] == "Parallel" and spec["updateStrategy"]["type"] == "RollingUpdate"
