"""Writes a dashboard as it is committed: keys in order, nothing that is one server's, no panel over another.

Export the dashboard's JSON from Grafana to its file, or edit the file, where a new panel needs width and height only:

    python deploy/grafana/tidy.py deploy/grafana/dashboards/siphonwatch-overview.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OF_A_SERVER = ("id", "version", "iteration")
"""What Grafana counts up by itself."""


def tidy(text: str) -> str:
    """Return a dashboard's JSON in order."""
    board: dict[str, Any] = json.loads(text)
    for key in OF_A_SERVER:
        board.pop(key, None)
    _number(board)
    _place(board)
    return json.dumps(board, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Headings of rows and panels as they follow one another; Grafana keeps those of a collapsed row inside it."""
    for panel in board["panels"]:
        yield panel
        yield from panel.get("panels", ())


def _number(board: dict[str, Any]) -> None:
    """Give each panel without an id, or with that of one before it, the next free id."""
    free = 1 + max((panel.get("id") or 0 for panel in _panels(board)), default=0)
    seen: set[int] = set()
    for panel in _panels(board):
        if not panel.get("id") or panel["id"] in seen:
            panel["id"], free = free, free + 1
        seen.add(panel["id"])


def _place(board: dict[str, Any]) -> None:
    """Move a panel that lies on one before it down until it has room, and all rows below with it."""
    taken: set[tuple[int, int]] = set()
    top = bottom = down = 0
    for panel in _panels(board):
        grid = panel["gridPos"]
        grid["x"], grid["y"] = grid.get("x", 0), max(grid["y"] + down if "y" in grid else top, top)
        if panel["type"] == "row" and grid["y"] < bottom:
            down, grid["y"] = down + bottom - grid["y"], bottom
        while not taken.isdisjoint(cells := _cells(grid)):
            grid["y"] += 1
        taken |= cells
        bottom = max(bottom, grid["y"] + grid["h"])
        if panel["type"] == "row":
            top = grid["y"] + 1


def _cells(grid: dict[str, int]) -> set[tuple[int, int]]:
    return {(x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])}


def main(names: list[str]) -> int:
    """Write each file anew where it changes."""
    for path in map(Path, names):
        old = path.read_text(encoding="utf-8")
        if (new := tidy(old)) != old:
            path.write_text(new, encoding="utf-8")
            print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
