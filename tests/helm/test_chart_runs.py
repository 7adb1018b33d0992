"""What the pods would run, run here: their commands with their settings and variables, against a broker."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from chart_tools import MINIMAL, Manifest, manifests, merged, one, toml

START_SECONDS = 800.0

pytestmark = pytest.mark.broker


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def running(objects: list[Manifest], pod: Manifest, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a pod's container as a process: its arguments, its variables, its settings."""
    (container,) = pod["spec"]["template"]["spec"]["containers"]
    config = folder / f"{container['name']}.toml"
    config.write_text(toml(objects, container["name"]))
    env = {name: value for name, value in os.environ.items() if not name.startswith("SIPHONWATCH_")}
    env |= {variable["name"]: variable.get("value", "a-secret-of-the-test") for variable in container["env"]}
    env["SIPHONWATCH_CONFIG"] = str(config)
    env.pop("NUMBA_CACHE_DIR", None)  # a folder of the image; what this machine has compiled serves as well
    if "NUMBA_CACHE_DIR" in os.environ:
        env["NUMBA_CACHE_DIR"] = os.environ["NUMBA_CACHE_DIR"]
    command = [str(Path(sys.executable).parent / "siphonwatch"), *container["args"]]
    with (folder / f"{container['name']}.log").open("w+") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, text=True, cwd=folder)
        try:
            yield process
        except BaseException:
            log.seek(0)
            print(log.read()[-4000:])
            raise
        finally:
            process.kill()
            process.wait()


def probe(pod: Manifest, kind: str) -> int:
    """Ask as the kubelet does, until the answer is 200 or there was time enough; return the last status, 0 for none."""
    (container,) = pod["spec"]["template"]["spec"]["containers"]
    (port,) = container["ports"]
    assert container[kind]["httpGet"]["port"] == port["name"]
    url = f"http://127.0.0.1:{port['containerPort']}{container[kind]['httpGet']['path']}"
    status, end = 0, time.monotonic() + START_SECONDS
    while status != 200 and time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                status = answer.status
        except urllib.error.HTTPError as error:
            status = error.code
            error.close()
        except OSError:
            pass
        time.sleep(0.2)
    return status


@pytest.fixture
def objects(tansu: str, prefix: str) -> list[Manifest]:
    given: dict[str, Any] = {
        "settings": {
            "kafka": {"bootstrap": tansu, "group": prefix},
            "topics": {"prefix": prefix, "partitions": 2, "replication": 1},
            "web": {"host": "127.0.0.1", "port": free_port()},
            "deliver": {"host": "127.0.0.1", "port": free_port()},
            "sinks": {"desk": {"kind": "alertmanager", "url": f"http://127.0.0.1:{free_port()}"}},
        }
    }
    return manifests(merged(MINIMAL, given))


def test_job_worker_and_deliverer_run_as_the_chart_starts_them(objects: list[Manifest], tmp_path: Path) -> None:
    job, worker, deliverer = (one(objects, kind) for kind in ("Job", "StatefulSet", "Deployment"))
    for _ in ("install", "upgrade"):
        with running(objects, job, tmp_path) as process:
            assert process.wait(300) == 0
    with running(objects, worker, tmp_path) as process:
        assert probe(worker, "startupProbe") == probe(worker, "readinessProbe") == probe(worker, "livenessProbe") == 200
        (container,) = worker["spec"]["template"]["spec"]["containers"]
        hook = container["lifecycle"]["preStop"]["exec"]["command"]
        assert subprocess.run([sys.executable, *hook[1:]], timeout=300, check=False).returncode == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(worker["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]) == 0
    with running(objects, deliverer, tmp_path) as process:
        assert probe(deliverer, "startupProbe") == probe(deliverer, "readinessProbe") == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(deliverer["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]) == 0
