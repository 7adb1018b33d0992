"""A metric with panel, alert and runbook entry is three places: code, data under deploy/, runbook.

A made-up one is put there in a copy of the tree, and the tests that hold the three together pass.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from oncall_tools import require_tool

ROOT = Path(__file__).parents[2]
PARTS = ("streams", "models", "deploy", "docs", "tests", "pyproject.toml", "README.md")
CHECKS = (
    "tests/operate/test_dashboards.py",
    "tests/operate/test_dashboard_tidy.py::test_the_committed_dashboards_are_tidy",
    "tests/operate/test_rule_queries.py",
    "tests/operate/test_rule_files.py",
    "tests/operate/test_grafana_rules.py::test_every_alert_becomes_a_rule_with_a_uid_of_its_own",
    "tests/test_readme.py::test_the_runbook_s_table_has_every_metric_of_a_worker_and_no_other",
    "tests/oncall/test_runbook_commands.py::test_an_entry_has_the_line_for_one_machine_beside_the_one_for_a_cluster",
)
DASHBOARD = "deploy/grafana/dashboards/siphonwatch-pipeline.json"

RULE = """\
  - alert: SiphonwatchMadeUp
    expr: sum by (job, namespace, colour) (increase(siphonwatch_made_up_total{colour="red"}[1h])) > 0
    labels:
      severity: ticket
      service: siphonwatch
    annotations:
      summary: Something was made up
      description: It was {{ $labels.colour }}.
      runbook_url: "deploy/runbook.md#siphonwatchmadeup"
"""
CASES = """\
rule_files: [../rules.yml]
evaluation_interval: 1m
tests:
  - name: "something red is made up"
    interval: 1m
    input_series:
      - series: 'siphonwatch_made_up_total{job="siphonwatch",namespace="api",colour="red"}'
        values: '0x10 1x10'
    alert_rule_test:
      - {eval_time: 5m, alertname: SiphonwatchMadeUp, exp_alerts: []}
      - eval_time: 15m
        alertname: SiphonwatchMadeUp
        exp_alerts:
          - exp_labels: {severity: ticket, service: siphonwatch, job: siphonwatch, namespace: api, colour: red}
            exp_annotations:
              summary: "Something was made up"
              description: "It was red."
              runbook_url: "deploy/runbook.md#siphonwatchmadeup"
"""
ROW = "| `made_up_total` | what was made up, by `colour` |\n"
ENTRY = """\
### SiphonwatchMadeUp

**Ticket**: something red was made up.

- **One machine:** `docker compose -f deploy/compose.yaml ps`
- **Cluster:** `kubectl -n $NS get pods`
- **Look:** `kubectl -n $NS get pods`.
- **Fix:** make it up to somebody.
- **Resolved when:** an hour has gone by.
- **Escalate:** no need.

"""


def edit(path: Path, change: Callable[[str], str]) -> None:
    """Change a file, which has to change."""
    old = path.read_text()
    path.write_text(change(old))
    assert path.read_text() != old, path


def in_code(tree: Path) -> None:
    """Define the metric."""
    line = '        self.made_up = counter("made_up", "What was made up", "colour", of=())\n'
    edit(
        tree / "streams/worker/metrics.py",
        lambda text: re.sub(r"(?m)^        self\.\w+ = counter\(", lambda found: line + found[0], text, count=1),
    )


def in_data(tree: Path) -> None:
    """Show it on a panel, and tell of it."""

    def with_panel(text: str) -> str:
        board = json.loads(text)
        place = next(i for i, panel in enumerate(board["panels"]) if panel["type"] == "timeseries")
        panel = copy.deepcopy(board["panels"][place])
        del panel["id"]
        panel |= {"title": "Made up", "description": "What was made up, by colour.", "gridPos": {"w": 8, "h": 8}}
        panel["links"][0]["url"] = "deploy/runbook.md#siphonwatchmadeup"
        selector = 'job=~"$job",namespace=~"$namespace",instance=~"$instance"'
        expr = f"sum by (colour) (rate(siphonwatch_made_up_total{{{selector}}}[$__rate_interval]))"
        panel["targets"] = [panel["targets"][0] | {"expr": expr, "legendFormat": "{{colour}}"}]
        board["panels"].insert(place + 1, panel)
        return json.dumps(board)

    edit(tree / DASHBOARD, with_panel)
    subprocess.run([sys.executable, "deploy/grafana/tidy.py", DASHBOARD], cwd=tree, check=True, timeout=300)
    edit(tree / "deploy/prometheus/rules.yml", lambda text: text + RULE)
    (tree / "deploy/prometheus/rules_test/made_up.yml").write_text(CASES)


def in_runbook(tree: Path) -> None:
    """Say what it means and what to do."""
    heading = "\n## Metrics\n"
    edit(tree / "deploy/runbook.md", lambda text: text.replace(heading, f"\n{ENTRY}## Metrics\n", 1))
    last = "\n\n## Dashboards\n"
    edit(tree / "deploy/runbook.md", lambda text: text.replace(last, f"\n{ROW}\n## Dashboards\n", 1))


PLACES = {"the code": in_code, "the data": in_data, "the runbook": in_runbook}
OF = {
    "streams/": "the code",
    "deploy/grafana/": "the data",
    "deploy/prometheus/": "the data",
    "deploy/runbook.md": "the runbook",
}


def checked(tree: Path, *left_out: str) -> subprocess.CompletedProcess[str]:
    """Copy the tree, put the metric where it belongs, and run the tests there."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / part, tree / part, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / part, tree / part)
    before = contents(tree)
    for name, put in PLACES.items():
        if name not in left_out:
            put(tree)
    after = contents(tree)
    edited = {path for path in after if after[path] != before.get(path)}
    assert {place for path in edited for start, place in OF.items() if path.startswith(start)} == set(PLACES) - set(
        left_out
    )
    assert all(path.startswith(tuple(OF)) for path in edited), edited
    imported = tree / ".import" / "siphonwatch"
    imported.mkdir(parents=True)
    for package in ("streams", "models"):
        (imported / package).symlink_to(tree / package)
    only = ["-k", "not stay_silent or made_up", "--maxfail=3", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *only, *CHECKS],
        cwd=tree, env=os.environ | {"PYTHONPATH": str(imported.parent)},
        capture_output=True, text=True, timeout=800, check=False,
    )  # fmt: skip


def contents(tree: Path) -> dict[str, bytes]:
    """Every file of a tree, those behind links left out."""
    files = (Path(folder) / name for folder, _, names in os.walk(tree) for name in names)
    return {file.relative_to(tree).as_posix(): file.read_bytes() for file in files if not file.is_symlink()}


def test_a_metric_with_panel_alert_and_runbook_entry_is_three_places(tmp_path: Path) -> None:
    require_tool("promtool")
    done = checked(tmp_path)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    assert re.search(r"\d{3,} passed", done.stdout)


@pytest.mark.parametrize("place", PLACES)
def test_a_place_that_was_forgotten_fails_a_test(place: str, tmp_path: Path) -> None:
    done = checked(tmp_path, place)
    assert done.returncode == 1, done.stdout[-5000:] + done.stderr
    assert re.search("made_up|MadeUp", done.stdout)
