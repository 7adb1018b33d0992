"""Dashboards and rules as plain files for Grafana and Prometheus to read; the same input gives the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

from siphonwatch.streams.common.settings import Links
from siphonwatch.streams.operate.provision import prometheus
from siphonwatch.streams.operate.provision.dashboards import all_dashboards


def files(links: Links) -> dict[str, str]:
    """Return the text of each file by its path below the directory.

    Parameters
    ----------
    links
        Where the runbook is read.
    """
    made = {
        f"grafana/dashboards/{board['uid']}.json": json.dumps(board, indent=2, sort_keys=True, ensure_ascii=False)
        + "\n"
        for board in all_dashboards(links)
    }
    return made | {"prometheus/rules.yml": prometheus.render(links.runbook)}


def write(directory: Path, links: Links) -> list[Path]:
    """Write every file and return their paths; dashboards of ours that no longer exist are removed.

    Raises
    ------
    OSError
        When a file cannot be written.
    """
    made = files(links)
    for old in sorted((directory / "grafana/dashboards").glob("siphonwatch-*.json")):
        if old.relative_to(directory).as_posix() not in made:
            old.unlink()
    paths = []
    for name, text in sorted(made.items()):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths
