"""Cores and child processes: what is measured runs alone on one core, everything else on the others."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = ("siphonwatch", "faust-streaming", "aiokafka", "quixstreams", "numba", "numpy")
CHILD_SECONDS = 300.0


class ChildError(RuntimeError):
    """A measuring process failed; the message holds the end of what it said."""


class Machine:
    """This machine, its last core set apart for what is measured; with one core it is shared."""

    def __init__(self) -> None:
        mine = sorted(os.sched_getaffinity(0))
        self.measured = {mine[-1]}
        self.rest = set(mine[:-1]) or self.measured
        self.load = os.getloadavg()

    def step_aside(self) -> None:
        """Keep this process, and the broker it starts, off the measured core."""
        os.sched_setaffinity(0, self.rest)

    def measure(self, pid: int) -> None:
        """Bind a process, and the threads it starts from now on, to the measured core."""
        os.sched_setaffinity(pid, self.measured)

    def child(
        self, module: str, *arguments: str, seconds: float = CHILD_SECONDS, all_cores: bool = False
    ) -> dict[str, Any]:
        """Run `python -m module` on the measured core, or on all; return the JSON object that its last line is.

        Raises
        ------
        ChildError
            When it fails.
        """
        what = f"{module} {' '.join(arguments)}"
        try:
            done = subprocess.run(
                [sys.executable, "-W", "ignore", "-m", module, *arguments],
                capture_output=True,
                text=True,
                timeout=seconds,
                check=False,
                preexec_fn=lambda: os.sched_setaffinity(0, self.measured | self.rest if all_cores else self.measured),
            )
        except subprocess.TimeoutExpired:
            raise ChildError(f"{what}: not done within {seconds:.0f} s") from None
        if done.returncode:
            raise ChildError(f"{what}: {(done.stderr or done.stdout).strip()[-1500:]}")
        result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return result

    def describe(self) -> dict[str, Any]:
        """Return what a figure has to be read with."""
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return {
            "cpu": next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown"),
            "cores": os.cpu_count(),
            "measured_on": sorted(self.measured),
            "rest_on": sorted(self.rest),
            "load_before": self.load,
            "python": platform.python_version(),
            "versions": {name: _version(name) for name in LIBRARIES},
        }


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int | str = "self") -> int:
    """Return the memory of a process that is in use now."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
