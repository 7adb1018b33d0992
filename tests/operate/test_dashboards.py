"""Dashboards say what they show, in which unit and what to do about it, and ask for metrics that exist."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dashboard_queries import panels, queries
from known_metrics import known
from oncall_tools import require_tool

from siphonwatch.models.engine.patterns import patterns
from siphonwatch.streams.common.settings import Links
from siphonwatch.streams.operate.provision.bundled import dashboards
from siphonwatch.streams.operate.provision.marks import MARK, PREFIX
from siphonwatch.streams.worker.metrics import PRECISION

ROOT = Path(__file__).parents[2]
BOARDS = dashboards(Links())
PANELS = [(board["uid"], panel) for board in BOARDS for panel in panels(board)]
EVERY = pytest.mark.parametrize("panel", [p for _, p in PANELS], ids=[f"{uid}: {p['title']}" for uid, p in PANELS])
UNITS = {"short", "none", "s", "bytes", "Bps", "percentunit", "reqps", "ops"}
"""Grafana's ids of units that we use: a wrong one shows as plain text."""
METRIC = re.compile(r"(?<![\w:$])(siphonwatch_\w+|process_\w+|up|ALERTS)(\{[^}]*\})?(?=[^\w:(]|$)")
LABEL = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')
GROUPS = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")


def anchors() -> set[str]:
    """The runbook's headings as links name them."""
    headings = re.findall(r"^#+ (.+)$", (ROOT / "deploy/runbook.md").read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_uids_are_stable_and_titles_are_unlike() -> None:
    assert [board["uid"] for board in BOARDS] == [
        "siphonwatch-detection",
        "siphonwatch-overview",
        "siphonwatch-pipeline",
        "siphonwatch-triage",
    ]
    assert len({board["title"] for board in BOARDS}) == 4


def test_grafana_12_can_read_them_and_provision_knows_them_for_its_own() -> None:
    for board in BOARDS:
        assert board["schemaVersion"] == 41, (
            "of Grafana 12.0: later ones migrate it, older ones cannot read a newer one"
        )
        assert board["uid"].startswith(PREFIX) and MARK in board["tags"]


@EVERY
def test_a_panel_has_title_description_unit_and_a_runbook_entry(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert len(panel["description"]) > 20
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    (link,) = panel["links"]
    document, _, anchor = link["url"].partition("#")
    assert document == "deploy/runbook.md"
    assert anchor in anchors()


@EVERY
def test_a_panel_asks_the_data_source_that_was_chosen(panel: dict[str, Any]) -> None:
    sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources)


@EVERY
def test_each_series_of_a_panel_has_a_name(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        if panel["type"] == "table":
            continue
        legend = target["legendFormat"]
        assert legend != "__auto"
        grouped = {name.strip() for group in GROUPS.findall(target["expr"]) for name in group.split(",")}
        for label in re.findall(r"\{\{(\w+)\}\}", legend):
            assert label in grouped | {"instance"}, f"{legend}: no such label in the result of {target['expr']}"
    assert panel["targets"] or panel["type"] == "alertlist"


@EVERY
def test_colours_go_up_from_the_base(panel: dict[str, Any]) -> None:
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert steps[0]["value"] is None
    values = [step["value"] for step in steps[1:]]
    assert values == sorted(set(values))


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_panels_do_not_overlap_and_have_ids_of_their_own(board: dict[str, Any]) -> None:
    cells: set[tuple[int, int]] = set()
    for panel in [row for row in board["panels"] if row["type"] == "row"] + panels(board):
        grid = panel["gridPos"]
        covered = set(
            itertools.product(range(grid["x"], grid["x"] + grid["w"]), range(grid["y"], grid["y"] + grid["h"]))
        )
        assert grid["x"] + grid["w"] <= 24
        assert not covered & cells, panel["title"]
        cells |= covered
    ids = [panel["id"] for panel in [row for row in board["panels"] if row["type"] == "row"] + panels(board)]
    assert len(set(ids)) == len(ids)
    titles = [panel["title"] for panel in panels(board)]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_dashboards_lead_to_each_other_and_to_the_runbook(board: dict[str, Any]) -> None:
    others, book = board["links"]
    assert (others["type"], others["tags"]) == ("dashboards", ["siphonwatch"])
    assert all("siphonwatch" in other["tags"] for other in BOARDS)
    assert book["url"] == "deploy/runbook.md#dashboards"
    assert "dashboards" in anchors()


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_every_variable_that_is_used_is_defined(board: dict[str, Any]) -> None:
    defined = {variable["name"] for variable in board["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(board)))
    assert {name for name in used if not name.startswith("__")} <= defined
    assert {"datasource", "namespace", "job"} <= defined
    assert "$pattern" not in json.dumps(board) or "pattern" in defined


def test_annotations_tell_alerts_promotions_and_versions() -> None:
    for board in BOARDS:
        _, alerts, promotions, versions = board["annotations"]["list"]
        assert alerts["target"]["tags"] == ["siphonwatch", "alert"]
        assert promotions["target"]["tags"] == ["siphonwatch", "promotion"]
        assert "siphonwatch_model_info" in versions["expr"]


@pytest.mark.parametrize("query", list(queries()), ids=lambda query: f"{query.dashboard}: {query.panel}")
def test_a_query_names_metrics_and_labels_that_exist(query: Any) -> None:
    metrics = known()
    selected = METRIC.findall(query.expr)
    assert selected
    labels = set()
    for name, matchers in selected:
        assert name in metrics, f"{name} is no metric"
        for label in LABEL.findall(matchers):
            assert label in metrics[name], f"{name} has no label {label}"
        labels |= metrics[name]
    for group in GROUPS.findall(query.expr):
        for label in group.split(","):
            assert label.strip() in labels, f"{label.strip()} is no label of {query.expr}"


def test_every_metric_of_ours_is_on_some_dashboard() -> None:
    shown = {name for query in queries() for name, _ in METRIC.findall(query.expr)}
    ours = {name for name in known() if name.startswith("siphonwatch_")}
    # A histogram's sum and count go with its buckets.
    assert {name for name in ours - shown if not name.endswith(("_sum", "_count"))} == set()


def test_requests_are_counted_once() -> None:
    for query in queries():
        if "siphonwatch_requests_total" in query.expr:
            assert 'stream="telemetry"' in query.expr or "by (stream)" in query.expr


def test_what_every_worker_knows_is_not_added_up() -> None:
    for query in queries():
        for name in (
            "siphonwatch_verdicts",
            "siphonwatch_analyst_precision",
            *(f"siphonwatch_precision_{name}" for name in PRECISION),
            "siphonwatch_ranker_updates_total",
            "siphonwatch_unreadable_controls_total",
        ):
            if re.search(rf"{name}\b", query.expr):
                assert re.search(rf"max(?: by \([\w, ]+\))? ?\({name}", query.expr), query.expr


def test_counters_are_shown_as_rates() -> None:
    for query in queries():
        for name, _ in METRIC.findall(query.expr):
            if name.endswith("_total") and "ranker" not in name and "unreadable" not in name:
                assert re.search(rf"(rate|increase)\({name}", query.expr), query.expr


def test_patterns_are_offered_by_those_that_have_scores() -> None:
    chosen = [v for b in BOARDS for v in b["templating"]["list"] if v["name"] == "pattern"]
    assert len(chosen) == 2
    assert all("siphonwatch_score_bucket" in v["definition"] for v in chosen)
    assert len({pattern.pattern for pattern in patterns()}) > 4


def test_prometheus_can_read_every_query(tmp_path: Path) -> None:
    promtool = require_tool("promtool")
    rules = [{"record": f"query:{number}:test", "expr": query.expr} for number, query in enumerate(queries())]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", "--lint=none", file], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_variables_are_those_that_every_dashboard_of_a_mixin_has(board: dict[str, Any]) -> None:
    """What dashboard-linter calls template-datasource, template-job and template-instance."""
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource" and variables["datasource"]["query"] == "prometheus"
    for name in ("job", "instance"):
        assert variables[name]["allValue"] == ".+" and variables[name]["multi"] and variables[name]["includeAll"]
        assert variables[name]["datasource"]["uid"] == "${datasource}"
        assert variables[name]["current"]["value"] == ["$__all"], "what somebody had chosen when it was exported"
    assert "current" not in variables["datasource"], "a data source of the Grafana it was exported from"
    assert "$job" in variables["instance"]["definition"], "the instances of the jobs that are chosen"


NO_INSTANCE = {"ALERTS": "Prometheus' own: by alert, not by target"}
"""Metrics that are asked for without job and instance, and why: dashboard-linter's target-job and target-instance."""


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_every_selector_follows_the_variables(board: dict[str, Any]) -> None:
    for panel in panels(board):
        for target in panel["targets"]:
            for name, matchers in METRIC.findall(target["expr"]):
                if name in NO_INSTANCE or "last_over_time(" + name in target["expr"]:
                    continue
                for variable in ("job", "instance", "namespace"):
                    assert f'{variable}=~"${variable}"' in matchers, f"{panel['title']}: {name}{matchers}"


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board["uid"])
def test_a_first_look_asks_few_queries_and_the_rest_waits_in_collapsed_rows(board: dict[str, Any]) -> None:
    shown = [panel for panel in board["panels"] if panel["type"] != "row"]
    for row in board["panels"]:
        assert row["type"] != "row" or row["collapsed"] == bool(row["panels"])
    assert len(shown) <= 20, "panels that ask before anybody has opened a row"
    assert board["panels"][0]["type"] == "row" and not board["panels"][0]["collapsed"]


def test_the_overview_has_the_allowances_left_the_sinks_and_the_held_cases() -> None:
    (overview,) = [board for board in BOARDS if board["uid"] == "siphonwatch-overview"]
    titles = {panel["title"] for panel in overview["panels"]}
    assert {"Allowance left: freshness", "Allowance left: loss", "Sinks failing", "Cases held back"} <= titles
