"""Finds the Debian tools that on-call tests drive; it installs none."""

from __future__ import annotations

import os
import shutil

import pytest

PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
}
"""Debian package of each tool."""


def require_tool(name: str) -> str:
    """Return the path of a tool; skips the test where there is none, or fails it under REQUIRE_ONCALL=1."""
    if path := shutil.which(name):
        return path
    reason = f"{name} is not installed: on Debian, apt install {PACKAGES[name]}"
    if os.environ.get("REQUIRE_ONCALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
