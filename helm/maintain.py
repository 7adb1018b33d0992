"""Writes what of the chart follows from elsewhere: the schema of `settings` from siphonwatch's own settings, and the
README's table from the comments in values.yaml. It changes nothing else; `--check` only says what it would change.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from siphonwatch.streams.common.settings import Settings

CHART = Path(__file__).parent / "siphonwatch"
SCHEMA, VALUES, README = CHART / "values.schema.json", CHART / "values.yaml", CHART / "README.md"
NEEDED = {
    "kafka": ["bootstrap", "security_protocol", "group"],
    "topics": [
        "prefix", "partitions", "replication", "telemetry_retention_hours", "alerts_retention_hours",
        "dlq_retention_hours", "verdicts_history_hours", "control_history_hours",
    ],
    "ingest": ["topics"],
    "web": ["host", "port"],
    "deliver": ["host", "port"],
    "desk": ["index", "host", "port", "status_host", "status_port"],
    "feedback": ["host", "port"],
    "links": ["runbook"],
    "log": ["level", "format"],
}  # fmt: skip
"""Settings that the chart itself reads: values.yaml has them, and nobody may take them out."""
BEGIN, END = "<!-- values: helm/maintain.py writes this table -->\n", "<!-- end of values -->\n"


def settings_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 7) of `settings`: siphonwatch's own, without references, and what the chart needs.

    A port of 0, which lets siphonwatch pick one, is out: probes must know it.
    """
    schema = msgspec.json.schema(Settings)
    tree: dict[str, Any] = _inline(schema, schema["$defs"])
    sections = tree["properties"]
    for name, fields in NEEDED.items():
        sections[name]["required"] = fields
    for name, field in (
        ("web", "port"), ("deliver", "port"), ("desk", "port"), ("desk", "status_port"), ("feedback", "port"),
    ):  # fmt: skip
        sections[name]["properties"][field]["minimum"] = 1
    tree["required"] = [*NEEDED, "sinks"]
    return tree


def _inline(node: Any, known: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inline(item, known) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _inline(known[node["$ref"].removeprefix("#/$defs/")], known)
    dropped = ("$defs", "title", "default") if isinstance(node.get("type"), str) or "enum" in node else ("$defs",)
    kept = {key: _inline(value, known) for key, value in node.items() if key not in dropped}
    if not kept.get("required", True):
        del kept["required"]
    return kept


def with_settings(text: str) -> str:
    """Return values.schema.json with the settings' part as it should be."""
    schema = json.loads(text)
    schema["properties"]["settings"] = settings_schema()
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def documented(text: str) -> Iterator[tuple[str, Any, str]]:
    """Yield path, default and comment of each value in values.yaml's text; the comment is empty where there is none.

    A mapping that has a comment of its own right above its key is one value; any other is looked into.
    """
    lines = text.splitlines()
    yield from _documented(yaml.compose(text, yaml.SafeLoader), "", lines)


def _documented(mapping: Any, path: str, lines: list[str]) -> Iterator[tuple[str, Any, str]]:
    for key, value in mapping.value:
        comment = []
        row = key.start_mark.line - 1
        while row >= 0 and lines[row].startswith(" " * key.start_mark.column + "# "):
            comment.append(lines[row].strip().removeprefix("# "))
            row -= 1
        name = path + key.value
        if isinstance(value, yaml.MappingNode) and value.value and (not comment or name == "settings"):
            yield from _documented(value, name + ".", lines)
        else:
            yield name, yaml.safe_load(yaml.serialize(value)), " ".join(reversed(comment))


def table(text: str) -> str:
    """Return the Markdown table of values.yaml's text."""
    rows = ["| value | default | what it does |", "|---|---|---|"]
    for name, default, comment in documented(text):
        shown = json.dumps(default, ensure_ascii=False).replace("|", "\\|")
        rows.append(f"| `{name}` | `{shown}` | {comment.replace('|', chr(92) + '|')} |")
    return "\n".join(rows) + "\n"


def with_table(text: str) -> str:
    """Return the README with the table as it should be.

    Raises
    ------
    ValueError
        When the marks that the table stands between are gone.
    """
    pattern = re.escape(BEGIN) + ".*?" + re.escape(END)
    if not re.search(pattern, text, re.S):
        raise ValueError(f"{README} has no table: put {BEGIN.strip()} and {END.strip()} where it belongs")
    return re.sub(pattern, lambda _: BEGIN + "\n" + table(VALUES.read_text()) + "\n" + END, text, flags=re.S)


def main() -> int:
    """Write both files; return 1 where `--check` finds that one would change."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 where something would change")
    check = parser.parse_args().check
    stale = 0
    for path, renew in ((SCHEMA, with_settings), (README, with_table)):
        old = path.read_text()
        if (new := renew(old)) != old:
            stale += 1
            print(f"{path.name} is out of date" if check else f"wrote {path.name}")
            if not check:
                path.write_text(new)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
