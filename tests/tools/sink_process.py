"""A deliverer as a process of its own, set by variables alone, and what its port says; stopped or killed by its id."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.broker.process import free_port

ROOT = Path(__file__).parents[2]
QUIET = {name: value for name, value in os.environ.items() if not name.startswith("SIPHONWATCH_")}


class Deliverer:
    """A context manager; its log is a file."""

    def __init__(self, settings: Settings, folder: Path, **sinks: dict[str, str]) -> None:
        self.port = free_port()
        self.log = folder / f"deliver-{time.monotonic_ns()}.log"
        variables = {
            "KAFKA_BOOTSTRAP": settings.kafka.bootstrap,
            "KAFKA_GROUP": settings.kafka.group,
            "TOPICS_PREFIX": settings.topics.prefix,
            "DELIVER_PORT": str(self.port),
            "DELIVER_BACKOFF": "0.05",
            "DELIVER_BACKOFF_MAX": "0.2",
            **{f"SINKS_{name}_{field}".upper(): value for name, sink in sinks.items() for field, value in sink.items()},
        }
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from siphonwatch.streams.cli import main; main()", "deliver"],
                env={**QUIET, **{f"SIPHONWATCH_{name}": value for name, value in variables.items()}},
                cwd=ROOT, stdout=out, stderr=out,
            )  # fmt: skip

    def __enter__(self) -> Deliverer:
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
        """Wait until it delivers."""
        end = time.monotonic() + 300
        while (await self.get("/readyz"))[0] != 200:
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            await asyncio.sleep(0.1)

    async def metric(self, name: str, **labels: str) -> float:
        """One sample of /metrics; -1 where there is none."""
        wanted = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
        for line in (await self.get("/metrics"))[1].splitlines():
            if line.startswith(f"siphonwatch_{name}{{{wanted}}} "):
                return float(line.rpartition(" ")[2])
        return -1.0


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
