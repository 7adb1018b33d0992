"""Runs what deploy/compose.yaml would run, without containers: the same commands, environments and mounted files, where
only addresses and folders are those of this test. Apache Kafka, Prometheus and Alertmanager are this machine's."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

import yaml
from compose_file import FILE, environment, mounts, services
from kafka_apache import ApacheKafka, jars
from programs import health

from siphonwatch.streams.lab.broker.process import free_port

DEPLOY = FILE.parent
PORTS = {
    "archive": 6068,
    "desk": 6071,
    "kafka": 19092,
    "worker": 6066,
    "deliver": 6067,
    "prometheus": 9090,
    "alertmanager": 9093,
}
"""As each service's address stands in settings and files."""
SERVED = (("WEB", "worker"), ("DELIVER", "deliver"), ("DESK_STATUS", "desk"))
"""Which settings name whose port."""


class ComposeKafka(ApacheKafka):
    """Apache Kafka with the compose file's settings, its ports and folder in the place of the container's."""

    def command(self) -> Sequence[str]:
        """Write the settings, format the storage, and return the command line, as the image's start script does."""
        source, _ = mounts("kafka")["/mnt/shared/config/server.properties"]
        text = (DEPLOY / source).read_text()
        inner = free_port()
        for old, new in {
            "kafka:19092": f"127.0.0.1:{self.port}", "://:19092": f"://127.0.0.1:{self.port}",
            "127.0.0.1:9092": f"127.0.0.1:{inner}", "://:9092": f"://127.0.0.1:{inner}",
            "localhost:9093": f"127.0.0.1:{free_port()}", "/var/lib/kafka/data": str(self.folder / "data"),
        }.items():  # fmt: skip
            assert old in text, old
            text = text.replace(old, new)
        settings = self.folder / "server.properties"
        self.folder.mkdir(parents=True, exist_ok=True)
        settings.write_text(text)
        java = ["java", *environment("kafka")["KAFKA_HEAP_OPTS"].split(), "-XX:+UseSerialGC"]
        java += ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{jars()}/*"]
        tool = [*java, "kafka.tools.StorageTool", "format", "-t", environment("kafka")["CLUSTER_ID"], "-c", settings]
        subprocess.run([str(word) for word in tool], check=True, capture_output=True)
        return [*java, "kafka.Kafka", str(settings)]


class Stack:
    """The services that were started; a context manager that ends them.

    Parameters
    ----------
    folder
        For files and logs.
    kafka
        Bootstrap address.
    given
        Variables beside those of the file, by service.
    """

    def __init__(self, folder: Path, kafka: str, given: dict[str, dict[str, str]]) -> None:
        self.folder = folder
        self.ports = {name: free_port() for name in PORTS} | {"kafka": int(kafka.rpartition(":")[2])}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._given = given

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self.processes.values()):
            process.terminate()
        for name, process in self.processes.items():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(300)
            if self.left(name):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def here(self, text: str) -> str:
        """Return text with the addresses of this test."""
        for name, port in PORTS.items():
            text = re.sub(rf"\b{name}:{port}\b", f"127.0.0.1:{self.ports[name]}", text)
        return text

    def variables(self, name: str) -> dict[str, str]:
        """Return the whole environment of a service."""
        found = {key: self.here(value) for key, value in environment(name).items() if key != "PATH"}
        port = {f"SIPHONWATCH_{which}_PORT": str(self.ports[n]) for which, n in SERVED}
        # Compiled code is this checkout's, as the image has its own: a worker that compiles answers nobody meanwhile.
        found.pop("NUMBA_CACHE_DIR", None)
        found |= {key: os.environ[key] for key in ("NUMBA_CACHE_DIR",) if key in os.environ}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        own = port if any(key.startswith("SIPHONWATCH_") for key in found) else {}
        return {**found, **own, **self._given.get(name, {}), "PATH": path, "HOME": str(self.folder)}

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start a service."""
        with self.log(name).open("wb") as log:
            self.processes[name] = subprocess.Popen(
                command,
                env=self.variables(name),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def left(self, name: str) -> bool:
        """Whether anything that a service started still runs."""
        try:
            os.killpg(self.processes[name].pid, 0)
        except ProcessLookupError:
            return False
        return True

    def siphonwatch(self, name: str) -> list[str]:
        """Return the command line of a service of our image."""
        words = [str(word) for word in services()[name]["command"]]
        for target in mounts(name):
            words = [word.replace(target, str(self.folder / f"{name}-volume")) for word in words]
        words = [str(self.ports[name]) if word == str(PORTS.get(name)) else word for word in words]
        return [sys.executable, "-c", "from siphonwatch.streams.cli import main; main()", *words]

    def gateway(self) -> list[str]:
        """Write the gateway's script for this test; return its command line. Its folder stands for the volume."""
        volume = self.folder / "gateway"
        volume.mkdir()
        shell, path = services()["gateway"]["entrypoint"]
        text = (DEPLOY / mounts("gateway")[path][0]).read_text()
        text = text.replace("/opt/siphonwatch/entrypoint.sh", "siphonwatch").replace(
            "/var/lib/siphonwatch", str(volume)
        )
        script = self.folder / "gateway.sh"
        script.write_text(text)
        return [shell, str(script)]

    def server(self, name: str, program: str) -> list[str]:
        """Write the mounted files of Prometheus or Alertmanager; return its command line."""
        files = self.folder / name
        files.mkdir()
        words = "\n".join([program, *services()[name]["command"]]).replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        for target, (source, _) in mounts(name).items():
            if not source.startswith("."):
                words = words.replace(f"={target}", f"={files / 'data'}")
            elif (DEPLOY / source).is_file():
                (files / Path(target).name).write_text(self._config((DEPLOY / source).read_text()))
                words = words.replace(target, str(files / Path(target).name))
        return words.replace(f":{PORTS[name]}", f":{self.ports[name]}").split("\n")

    def _config(self, text: str) -> str:
        """Return a configuration with this test's addresses; names that the containers' DNS knows become those."""
        tree = yaml.safe_load(text)
        for job in tree.get("scrape_configs", ()):
            found = job.pop("dns_sd_configs")
            names = [f"{name}:{each['port']}" for each in found for name in each["names"]]
            job["static_configs"] = [{"targets": [self.here(name) for name in names]}]
        return self.here(yaml.safe_dump(tree, sort_keys=False))

    def healthy(self, name: str) -> bool:
        """Whether a service's own health check passes."""
        test = services()[name]["healthcheck"]["test"]
        if "/opt/siphonwatch/health.py" in test:
            done: int = health.main(Path(f"/proc/{self.processes[name].pid}/cmdline"), {
                key: value for key, value in self.variables(name).items() if key.startswith("SIPHONWATCH_")
            })  # fmt: skip
            return done == 0
        if name == "gateway":
            return Path(test[-1].replace("/var/lib/siphonwatch", str(self.folder / "gateway"))).exists()
        return get(test[-1].replace(f":{PORTS[name]}", f":{self.ports[name]}")) is not None

    def until(self, what: str, done: Callable[[], object], seconds: float = 300.0) -> None:
        """Wait for something; fails with the logs where a service ends or it takes too long."""
        end = time.monotonic() + seconds
        while not done():
            ended = [name for name, process in self.processes.items() if process.poll() is not None]
            assert not ended, f"waiting for {what}, {ended} ended: {[self.tail(name) for name in ended]}"
            assert time.monotonic() < end, f"{what} took too long: {[self.tail(name) for name in self.processes]}"
            time.sleep(0.2)

    def url(self, name: str, path: str) -> str:
        """Return an address of a service."""
        return f"http://127.0.0.1:{self.ports[name]}{path}"

    def log(self, name: str) -> Path:
        """Return the file with what a service said."""
        return self.folder / f"{name}.log"

    def tail(self, name: str) -> str:
        """Return the last of what a service said."""
        return f"{name}: {self.log(name).read_text(errors='replace')[-1500:]}"


def get(url: str) -> bytes | None:
    """Return what an address serves; None where it does not."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - loopback
            body: bytes = answer.read()
            return body
    except (urllib.error.URLError, OSError):
        return None
