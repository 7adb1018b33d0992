"""A desk as a process of its own, at its page and its port of health; stopped or killed by its id."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from pathlib import Path

from sink_process import QUIET, ROOT, get

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.broker.process import free_port


class DeskProcess:
    """A context manager; its log and its index are files in `folder`."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.port = free_port()
        """Of health and metrics."""
        self.log = folder / f"desk-{time.monotonic_ns()}.log"
        environ = {
            "SIPHONWATCH_KAFKA_BOOTSTRAP": settings.kafka.bootstrap,
            "SIPHONWATCH_TOPICS_PREFIX": settings.topics.prefix,
            "SIPHONWATCH_IDENTITY_KEY": settings.identity.key or "a secret of the tests only",
            "SIPHONWATCH_DESK_STATUS_PORT": str(self.port),
            "SIPHONWATCH_LOG_FORMAT": "json",
        }
        command = ["desk", "--port", "0", "--index", str(folder / "desk.sqlite")]
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", "from siphonwatch.streams.cli import main; main()", *command],
                env={**QUIET, **environ}, cwd=ROOT, stdout=out, stderr=out,
            )  # fmt: skip

    def __enter__(self) -> DeskProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    async def address(self, seconds: float = 300.0) -> str:
        """Where its pages are, once they are."""
        end = time.monotonic() + seconds
        while not (found := re.search(r"the desk is open at (\S+)", self.log.read_text())):
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            await asyncio.sleep(0.1)
        return found[1]

    async def get(self, path: str) -> tuple[int, str]:
        """Status and text of an answer on its port of health; 0 when there is none."""
        return await asyncio.to_thread(get, f"http://127.0.0.1:{self.port}{path}")
