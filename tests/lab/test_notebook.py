"""The notebook and the snippet of the docs run word for word against an archive, a data set and a version."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.image import imread
from version_samples import changed

from siphonwatch.streams.cli import cli
from siphonwatch.streams.lab.registry.store import write_files

DOCS = Path(__file__).parents[2] / "docs"
KEY = "a key of the notebook's test, no secret"
FIGURES = ("features", "scores")
SAVED = """
import runpy, sys
told = runpy.run_path(sys.argv[1])
for name in sys.argv[2:]:
    told[name].savefig(name + ".png")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands of the loop leave behind: `archive`, `may` and `ext-2`."""
    made = tmp_path_factory.mktemp("notebook")
    for words in (
        ["scenario", "traffic", "--seed", "5", "--accounts", "60", "--days", "1", "--kind", "llm"],
        ["archive", "--to", "archive", "--from", "traffic/litellm.ndjson"],
        ["dataset", "may", "--data", "archive", "--labels", "traffic/labels.csv"],
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(made)
            done = CliRunner().invoke(cli, words, env={"SIPHONWATCH_IDENTITY_KEY": KEY})
        assert done.exit_code == 0, done.output
    write_files(str(made / "ext-2"), changed(null="null = 0.25").files())
    return made


def run(folder: Path, script: Path, *figures: str) -> str:
    """Run a script in the folder, with warnings as errors; its figures become files."""
    environ = os.environ | {"SIPHONWATCH_IDENTITY_KEY": KEY}
    command = [sys.executable, "-W", "error", "-c", SAVED, str(script), *figures]
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_notebook_tells_the_loop_with_its_figures(folder: Path) -> None:
    told = run(folder, DOCS / "notebook.py", *FIGURES)
    counts = re.search(r"(\d+) attacking and (\d+) honest accounts", told)
    assert counts and int(counts[1]) > 3 and int(counts[2]) > 20
    assert "labels.csv" in told and "analyst minutes a day" in told and "logged rows" in told
    for name in FIGURES:
        image = imread(folder / f"{name}.png")
        assert image.shape[0] > 300 and image.shape[1] > 500 and np.ptp(image[..., :3]) > 0.9, "something is drawn"


def test_the_notebook_is_cells_of_the_percent_format() -> None:
    cells = re.split(r"^# %%", (DOCS / "notebook.py").read_text(), flags=re.M)
    assert cells[0] == "" and len(cells) > 10
    for cell in cells[1:]:
        kind, _, body = cell.partition("\n")
        assert kind in ("", " [markdown]")
        assert (kind == "") != all(line.startswith("#") for line in body.split("\n") if line), "either text or code"


def test_the_snippet_of_the_lab_runs_word_for_word(folder: Path, tmp_path: Path) -> None:
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", (DOCS / "lab.md").read_text(), re.M | re.S)
    (tmp_path / "snippet.py").write_text(snippet)
    run(folder, tmp_path / "snippet.py")
