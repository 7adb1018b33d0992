"""`deploy/grafana/tidy.py` writes dashboards as they are committed, wherever a new panel was put."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"
FILES = sorted((GRAFANA / "dashboards").iterdir())
_spec = importlib.util.spec_from_file_location("tidy", GRAFANA / "tidy.py")
assert _spec is not None and _spec.loader is not None
tidy = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tidy)


def everything(board: dict[str, Any]) -> list[dict[str, Any]]:
    """Headings and panels in their order."""
    return [each for panel in board["panels"] for each in (panel, *panel.get("panels", ()))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_committed_dashboards_are_tidy(path: Path) -> None:
    assert path.read_text() == tidy.tidy(path.read_text()), f"run: python deploy/grafana/tidy.py {path}"


def test_what_a_server_counts_up_is_taken_out(tmp_path: Path) -> None:
    board = json.loads(FILES[0].read_text())
    exported = tmp_path / FILES[0].name
    exported.write_text(json.dumps(dict(reversed(board.items())) | {"id": 7, "version": 31, "iteration": 1}))
    assert tidy.main([str(exported)]) == 0
    assert exported.read_text() == FILES[0].read_text()


@given(st.data())
def test_a_panel_put_anywhere_gets_an_id_and_room_inside_its_row(data: st.DataObject) -> None:
    board = json.loads(data.draw(st.sampled_from(FILES)).read_text())
    headings = [panel for panel in board["panels"] if panel["type"] == "row"]
    row = data.draw(st.integers(0, len(headings) - 1))
    before = [panel["title"] for panel in everything(board)]
    width = data.draw(st.integers(1, 24))
    grid = {"w": width, "h": data.draw(st.integers(1, 9))}
    if data.draw(st.booleans()):
        grid |= {"x": data.draw(st.integers(0, 24 - width)), "y": data.draw(st.integers(0, 60))}
    new = {"type": "timeseries", "title": "New", "gridPos": grid}
    if headings[row]["collapsed"]:
        headings[row]["panels"].insert(data.draw(st.integers(0, len(headings[row]["panels"]))), new)
    else:
        first = board["panels"].index(headings[row]) + 1
        last = board["panels"].index(headings[row + 1]) if row + 1 < len(headings) else len(board["panels"])
        board["panels"].insert(data.draw(st.integers(first, last)), new)
    text = tidy.tidy(json.dumps(board))
    assert tidy.tidy(text) == text
    made = everything(json.loads(text))
    assert [panel["title"] for panel in made if panel["title"] != "New"] == before
    assert len({panel["id"] for panel in made}) == len(made)
    cells: set[tuple[int, int]] = set()
    top = 0
    for panel in made:
        covered = tidy._cells(panel["gridPos"])
        assert not covered & cells, panel["title"]
        cells |= covered
        if panel["type"] == "row":
            assert panel["gridPos"]["y"] >= max(y for _, y in cells)
            top = panel["gridPos"]["y"]
        else:
            assert panel["gridPos"]["y"] > top, "above its row's heading"
