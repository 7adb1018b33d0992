"""An archiver as a process of its own, and what its port says; stopped or killed by its id."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

from sink_process import QUIET, ROOT, get

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.broker.process import free_port


class Archiver:
    """A context manager; its log is a file."""

    def __init__(self, settings: Settings, archive: Path, folder: Path, *options: str) -> None:
        self.port = free_port()
        self.log = folder / f"archive-{time.monotonic_ns()}.log"
        environ = {
            "SIPHONWATCH_KAFKA_BOOTSTRAP": settings.kafka.bootstrap,
            "SIPHONWATCH_TOPICS_PREFIX": settings.topics.prefix,
        }
        if settings.identity.key:
            environ["SIPHONWATCH_IDENTITY_KEY"] = settings.identity.key
        command = ["archive", "--to", str(archive), "--metrics-port", str(self.port), *options]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from siphonwatch.streams.cli import main; main()", *command],
                env={**QUIET, **environ}, cwd=ROOT, stdout=out, stderr=out,
            )  # fmt: skip

    def __enter__(self) -> Archiver:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
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

    async def metrics(self) -> dict[str, float]:
        """Every series of ours at /metrics, by name and labels."""
        lines = (await self.get("/metrics"))[1].splitlines()
        found = (line.rpartition(" ") for line in lines if line.startswith("siphonwatch_"))
        return {name.removeprefix("siphonwatch_"): float(value) for name, _, value in found}

    async def ready(self) -> None:
        """Wait until it reads every partition."""
        end = time.monotonic() + 300
        while (await self.get("/readyz"))[0] != 200:
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            await asyncio.sleep(0.1)
