"""How many processors this process may keep busy: those it may run on, and no more than its container's CPU quota."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")


def cores(root: Path = ROOT) -> int:
    """Return how many processors this process may use, at least 1.

    A quota is rounded up: with 1.5 processors' time two processes are faster than one.

    Parameters
    ----------
    root
        Where `proc` and `sys` are.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([count, *(math.ceil(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Give the CPU quotas of the process's control group and of all above it, in processors.

    Linux, Documentation/admin-guide/cgroup-v2.rst (`cpu.max`) and Documentation/scheduler/sched-bwc.rst (version 1).
    """
    mounts = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        for group in _upwards(path):
            if controllers == "":
                quota, _, period = _read(mounts / group / "cpu.max").partition(" ")
                yield from _quota(quota, period)
            elif "cpu" in controllers.split(","):
                for mount in (controllers, "cpu"):
                    folder = mounts / mount / group
                    yield from _quota(_read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us"))


def _upwards(path: str) -> Iterator[PurePosixPath]:
    """Give a control group and those above it; in a container the last is the mount, which may be its own."""
    group = PurePosixPath(path.lstrip("/"))
    yield group
    if group != PurePosixPath():
        yield from group.parents


def _quota(quota: str, period: str) -> Iterator[float]:
    """Give the quota that is written so; none where it is `max`, -1 or no number."""
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):
        return
    if share > 0.0:
        yield share


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
