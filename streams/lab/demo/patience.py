"""Distinguishes a stalled process from a slow one by the CPU time that it uses: a slow machine is no failure."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

PROC = Path("/proc")
SECONDS = 120.0
"""Seconds without progress after which the CPU time decides: a batch of 1,024 requests takes a tenth of a second."""
IDLE_SHARE = 0.1
"""Share of one core: an idle worker and broker measured .01 to .03; one that compiles or scores uses all it can get."""
BLOCKED_SHARE = 0.001
"""Share of one core: a process that gets less is stopped, not only slowed down by others."""
BUSY_FACTOR = 10
"""Factor for the wait on a busy machine, where a process with little CPU time may be slowed down by others."""


class Patience:
    """Decides when to stop waiting; never while there is progress or CPU use.

    Parameters
    ----------
    cpu
        CPU seconds that those who are waited for have used so far.
    busy
        Whether the machine has more to run than it has cores.
    clock
        Monotonic seconds.
    """

    def __init__(
        self,
        cpu: Callable[[], float],
        busy: Callable[[], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cpu = cpu
        self._busy = busy or machine_is_busy
        self._clock = clock
        self.moved()

    def moved(self) -> None:
        """Record progress."""
        self._since = self._clock()
        self._cpu_since = self._cpu()

    def waited(self) -> float:
        """Return the seconds since the last progress."""
        return self._clock() - self._since

    def over(self) -> bool:
        """Whether there was no progress for `SECONDS`, and almost no CPU use."""
        if (waited := self.waited()) <= SECONDS:
            return False
        share = (self._cpu() - self._cpu_since) / waited
        slow = waited <= BUSY_FACTOR * SECONDS and self._busy()
        return share < (BLOCKED_SHARE if slow else IDLE_SHARE)


def machine_is_busy() -> bool:
    """Whether the load is above the number of cores; True where the system does not say."""
    try:
        return os.getloadavg()[0] > (os.cpu_count() or 1)
    except OSError:
        return True


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time that these processes and their children have used, by /proc or else `ps`; one that ended
    counts 0."""
    return sum(map(_cpu_seconds, [each for pid in pids for each in (pid, *_children(pid))]))


def _children(pid: int) -> list[int]:
    """A worker has one: the process that compiles in parallel."""
    try:
        return list(map(int, (PROC / str(pid) / "task" / str(pid) / "children").read_text().split()))
    except (FileNotFoundError, ProcessLookupError):
        return [] if (PROC / "self").exists() else _children_by_ps(pid)


def _children_by_ps(pid: int) -> list[int]:
    command = ["ps", "-A", "-o", "ppid=", "-o", "pid="]
    printed = subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603 - no input
    pairs = (line.split() for line in printed.splitlines())
    return [int(child) for parent, child in pairs if int(parent) == pid]


def _cpu_seconds(pid: int) -> float:
    try:
        # The command's name, in brackets, may hold spaces; proc(5) numbers fields from 1, `utime` is the 14th. The two
        # behind it and `stime` are of children that ended.
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    except FileNotFoundError:
        return 0.0 if (PROC / "self").exists() else _by_ps(pid)
    except ProcessLookupError:
        return 0.0


def _by_ps(pid: int) -> float:
    """Where there is no /proc, as on macOS: POSIX prints [[dd-]hh:]mm:ss."""
    command = ["ps", "-o", "time=", "-p", str(pid)]
    printed = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603 - a number
    days, _, time_of_day = printed.rpartition("-")
    seconds = 0.0
    for part in time_of_day.split(":") if printed else ():
        seconds = seconds * 60 + float(part)
    return float(days or 0) * 86_400 + seconds
