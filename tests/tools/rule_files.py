"""The files that tests of the rules read, and how promtool is run over them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml
from oncall_tools import require_tool

from siphonwatch.streams.operate.provision.rules import parse

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RULES = PROMETHEUS / "rules.yml"
ALERTS, RECORDINGS = parse(RULES.read_text())
FRESH_SECONDS = 30
"""Objective: 99 % of the requests are processed within this many seconds."""
CASES = sorted((PROMETHEUS / "rules_test").glob("*.yml"))
ALERTMANAGER = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"
RUNBOOK = ROOT / "deploy" / "runbook.md"
SECONDS = 400
"""A tool may take: promtool plays eight days in half a minute, on a busy machine in two."""


def run(tool: str, *arguments: str | Path) -> str:
    """Run a Debian tool and return what it prints; it has to succeed."""
    command = [require_tool(tool), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout + done.stderr


def waiting() -> dict[str, str]:
    """Metrics that have no value until something happens, and what: the runbook's tables of metrics say it."""
    said = re.findall(r"((?:`\w+`(?:, )?)+) ha(?:s|ve) no value until ([^;|]+)", RUNBOOK.read_text())
    return {f"siphonwatch_{name}": event.strip() for names, event in said for name in re.findall(r"`(\w+)`", names)}


def load(path: Path) -> Any:
    """Return a YAML file's tree."""
    return yaml.safe_load(path.read_text())
