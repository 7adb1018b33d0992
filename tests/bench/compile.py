"""What a cold start compiles, by module, and how long it waits for that: `python -m bench compile`.

Both are measured in caches of their own that begin empty: once in one process, which counts, and once as a worker
starts, which compiles by two processes. Processor time is what a busy machine changes least.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from typing import Any

from numba.core import event
from rich.console import Console
from rich.table import Table

from bench.report import WIDTH
from siphonwatch.streams.worker.warm import warm

NOBODY = (sys.executable, "-c", "")
"""Runs beside, and compiles nothing."""


class Cost(event.Listener):
    """Processor seconds of each module's functions, without those of the functions that they call."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self.functions: Counter[str] = Counter()
        self._under_way: list[tuple[float, float]] = []  # when it began, and what of it others took

    def on_start(self, event: event.Event) -> None:
        """Begin a function."""
        self._under_way.append((time.process_time(), 0.0))

    def on_end(self, event: event.Event) -> None:
        """End a function: what it took is no part of its caller's."""
        began, others = self._under_way.pop()
        took = time.process_time() - began
        module = event.data["dispatcher"].py_func.__module__
        self.seconds[module] += took - others
        self.functions[module] += 1
        if self._under_way:
            began, others = self._under_way[-1]
            self._under_way[-1] = began, others + took


def by_module() -> dict[str, Any]:
    """Compile everything here; return seconds and functions of each module."""
    cost = Cost()
    with event.install_listener("numba:compile", cost):
        warm(sketches=True, other=NOBODY)
    return {"seconds": cost.seconds, "functions": cost.functions}


def start() -> dict[str, float]:
    """Do as a worker does that starts; return what it waits for, and all processor time since this process began."""
    seconds = warm(sketches=True)
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {"seconds": seconds, "cpu": sum(each.ru_utime + each.ru_stime for each in used)}


def child(part: str, cache: str) -> dict[str, Any]:
    """Run one of these in a process with that cache."""
    command = [sys.executable, "-W", "ignore", "-m", "bench", "compile", "--part", part]
    environment = os.environ | {"NUMBA_CACHE_DIR": cache}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(arguments: list[str]) -> int:
    """Run what the command line says."""
    parser = argparse.ArgumentParser(prog="bench compile", description=__doc__)
    parser.add_argument("--part", choices=("by_module", "start"), help="this alone, with the cache there is, as JSON")
    part = parser.parse_args(arguments).part
    if part:
        print(json.dumps(by_module() if part == "by_module" else start()))
        return 0
    with tempfile.TemporaryDirectory() as alone, tempfile.TemporaryDirectory() as cache:
        cost = child("by_module", alone)
        cold, cached = child("start", cache), child("start", cache)
    table = Table(header_style="bold")
    table.add_column("module")
    for heading in ("functions", "CPU seconds"):
        table.add_column(heading, justify="right")
    for module, seconds in sorted(cost["seconds"].items(), key=lambda item: -item[1]):
        table.add_row(module, str(cost["functions"][module]), f"{seconds:.1f}")
    table.add_row("all", str(sum(cost["functions"].values())), f"{sum(cost['seconds'].values()):.1f}", style="bold")
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    console.print(table)
    for name, run in (("nothing", cold), ("all", cached)):
        console.print(
            f"a worker's start, {name} cached: {run['seconds']:.1f} s to wait, {run['cpu']:.1f} CPU s with imports"
        )
    return 0
