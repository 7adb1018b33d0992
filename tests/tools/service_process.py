"""Services as processes of their own, set by variables, and what their ports say; stopped or killed by their ids."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.broker.process import free_port

ROOT = Path(__file__).parents[2]
QUIET = {name: value for name, value in os.environ.items() if not name.startswith("SIPHONWATCH_")}


class Service:
    """A command that runs until it is stopped: a context manager that kills it; its log is a file.

    Parameters
    ----------
    command
        Words after `siphonwatch`; the first one names the log.
    variables
        Settings beside the broker and the topics, without `SIPHONWATCH_`.
    port
        Of its health and metrics.
    """

    def __init__(
        self, settings: Settings, folder: Path, command: list[str], variables: Mapping[str, str], port: int
    ) -> None:
        self.port = port
        self.log = folder / f"{command[0]}-{time.monotonic_ns()}.log"
        given = {"KAFKA_BOOTSTRAP": settings.kafka.bootstrap, "TOPICS_PREFIX": settings.topics.prefix, **variables}
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from siphonwatch.streams.cli import main; main()", *command],
                env={**QUIET, **{f"SIPHONWATCH_{name}": value for name, value in given.items()}},
                cwd=ROOT, stdout=out, stderr=out,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    async def stop(self, seconds: float = 300.0) -> None:
        """Stop gracefully; it must succeed."""
        self.process.terminate()
        code = await asyncio.to_thread(self.process.wait, seconds)
        assert code == 0, self.log.read_text()

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text of an answer on its port; 0 when there is none."""
        return await asyncio.to_thread(get, f"http://127.0.0.1:{self.port}{path}")

    async def ready(self) -> None:
        """Wait until it says that it works."""
        end = time.monotonic() + 300
        while (await self.get("/readyz"))[0] != 200:
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            await asyncio.sleep(0.1)


class Deliverer(Service):
    """`siphonwatch deliver` with sinks by name."""

    def __init__(self, settings: Settings, folder: Path, **sinks: dict[str, str]) -> None:
        port = free_port()
        variables = {
            "KAFKA_GROUP": settings.kafka.group,
            "DELIVER_PORT": str(port),
            "DELIVER_BACKOFF": "0.05",
            "DELIVER_BACKOFF_MAX": "0.2",
            **{f"SINKS_{name}_{field}".upper(): value for name, sink in sinks.items() for field, value in sink.items()},
        }
        super().__init__(settings, folder, ["deliver"], variables, port)

    async def metric(self, name: str, **labels: str) -> float:
        """One sample of /metrics; -1 where there is none."""
        wanted = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        for line in (await self.get("/metrics"))[1].splitlines():
            if line.startswith(f"siphonwatch_{name}{{{wanted}}} "):
                return float(line.rpartition(" ")[2])
        return -1.0


class Archiver(Service):
    """`siphonwatch archive` into a folder."""

    def __init__(self, settings: Settings, archive: Path, folder: Path, *options: str) -> None:
        port = free_port()
        key = {"IDENTITY_KEY": settings.identity.key} if settings.identity.key else {}
        command = ["archive", "--to", str(archive), "--metrics-port", str(port), *options]
        super().__init__(settings, folder, command, key, port)

    async def metrics(self) -> dict[str, float]:
        """Every series of ours at /metrics, by name and labels."""
        lines = (await self.get("/metrics"))[1].splitlines()
        found = (line.rpartition(" ") for line in lines if line.startswith("siphonwatch_"))
        return {name.removeprefix("siphonwatch_"): float(value) for name, _, value in found}


class DeskProcess(Service):
    """`siphonwatch desk` with its index in `folder`, or in a database."""

    def __init__(self, settings: Settings, folder: Path, database: str = "") -> None:
        port = free_port()
        variables = {
            "IDENTITY_KEY": settings.identity.key or "a secret of the tests only",
            "DESK_STATUS_PORT": str(port),
            "LOG_FORMAT": "json",
        }
        where = ["--index", str(folder / "desk.sqlite")]
        if database:
            where, variables["DESK_DATABASE"] = [], database
        super().__init__(settings, folder, ["desk", "--port", "0", *where], variables, port)

    async def address(self, seconds: float = 300.0) -> str:
        """Where its pages are, once they are."""
        end = time.monotonic() + seconds
        while not (found := re.search(r"the desk is open at (\S+)", self.log.read_text())):
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            await asyncio.sleep(0.1)
        return found[1]


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - our own deliverer
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


async def until(done: Callable[[], bool], seconds: float = 300.0, describe: Callable[[], str] = str) -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, describe()
        await asyncio.sleep(0.05)
