"""Cores are those the process may run on, and no more than the CPU quota of its control groups, in either version."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from siphonwatch.streams.common.cores import cores


@pytest.fixture(autouse=True)
def eight(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process may run on eight processors."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def machine(root: Path, groups: str, files: Mapping[str, str]) -> Path:
    """A root with the process's control groups, and files below `sys/fs/cgroup`."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("max 100000\n", 8), ("200000 100000\n", 2), ("150000 100000\n", 2), ("20000 100000\n", 1),
        ("6400000 100000\n", 8), ("", 8), ("garbage\n", 8), ("100000 0\n", 8), ("100000\n", 8),
    ],
)  # fmt: skip
def test_the_quota_of_version_2_is_rounded_up(tmp_path: Path, text: str, expected: int) -> None:
    assert cores(machine(tmp_path, "0::/\n", {"cpu.max": text})) == expected


def test_the_smallest_quota_of_the_groups_above_counts(tmp_path: Path) -> None:
    files = {"pods/one/cpu.max": "max 100000", "pods/cpu.max": "300000 100000", "cpu.max": "500000 100000"}
    assert cores(machine(tmp_path, "0::/pods/one\n", files)) == 3


@pytest.mark.parametrize(("quota", "expected"), [("-1\n", 8), ("250000\n", 3), ("1000\n", 1)])
@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize("group", ["", "docker/0123"])
def test_the_quota_of_version_1_is_rounded_up(
    tmp_path: Path, quota: str, expected: int, mount: str, group: str
) -> None:
    """In a container the group's path is the host's, and the mount is the group itself."""
    files = {f"{mount}/{group}/cpu.cfs_quota_us": quota, f"{mount}/{group}/cpu.cfs_period_us": "100000\n"}
    groups = "12:cpuset:/docker/0123\n4:cpu,cpuacct:/docker/0123\n1:name=systemd:/docker/0123\n"
    assert cores(machine(tmp_path, groups, files)) == expected


def test_without_control_groups_the_processors_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cores(tmp_path) == 8
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert cores(tmp_path) == 1


def test_fewer_processors_than_the_quota_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    assert cores(machine(tmp_path, "0::/\n", {"cpu.max": "400000 100000"})) == 1
