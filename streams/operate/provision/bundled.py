"""The dashboards and rules that come with the package, with their links made to point at the runbook.

They are those of deploy/grafana/dashboards and deploy/prometheus: `files` holds links to them, a wheel their content.
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from siphonwatch.streams.common.settings import DEFAULT_RUNBOOK, Links
from siphonwatch.streams.operate.provision.rules import Rules, parse

_FILES = resources.files(__package__) / "files"
_RULES = "prometheus/rules.yml"
_DASHBOARDS = "grafana/dashboards"


def texts(links: Links) -> dict[str, str]:
    """Return the text of each file, by the path that `write` gives it.

    Parameters
    ----------
    links
        Where the runbook is read.
    """
    boards = sorted(file.name for file in (_FILES / "dashboards").iterdir() if file.name.endswith(".json"))
    found = {f"{_DASHBOARDS}/{name}": _FILES / "dashboards" / name for name in boards}
    # A link stands in double quotes in both: JSON's escapes are YAML's too.
    escaped = json.dumps(links.runbook, ensure_ascii=False)[1:-1]
    return {
        path: file.read_text("utf-8").replace(f'"{DEFAULT_RUNBOOK}#', f'"{escaped}#')
        for path, file in (found | {_RULES: _FILES / "rules.yml"}).items()
    }


def dashboards(links: Links) -> list[dict[str, Any]]:
    """Return every dashboard as the JSON that Grafana keeps, by file name."""
    return [json.loads(text) for path, text in texts(links).items() if path.startswith(_DASHBOARDS)]


def rules(links: Links) -> Rules:
    """Return every rule, as Prometheus has it."""
    return parse(texts(links)[_RULES])


def write(directory: Path, links: Links) -> list[Path]:
    """Write every file and return their paths; dashboards of ours that no longer exist are removed.

    Raises
    ------
    OSError
        When a file cannot be written.
    """
    made = texts(links)
    for old in sorted((directory / _DASHBOARDS).glob("siphonwatch-*.json")):
        if old.relative_to(directory).as_posix() not in made:
            old.unlink()
    paths = []
    for name, text in sorted(made.items()):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        paths.append(path)
    return paths
