"""Rules that Grafana evaluates itself say what Prometheus' rules say, without any recorded series."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from oncall_tools import require_tool
from rule_files import ALERTS, RECORDINGS

from siphonwatch.streams.operate.provision.alert_rules import grafana_rules, rule, uid
from siphonwatch.streams.operate.provision.expand import duration, expand, milliseconds
from siphonwatch.streams.operate.provision.rules import Alert, Recording, Rules

KNOWN = {recording.record: recording for recording in RECORDINGS}
TESTS = Path(__file__).parents[2] / "deploy/prometheus/rules_test"
SAMPLE = {
    "siphonwatch:inner:sum": Recording(
        record="siphonwatch:inner:sum", expr='sum(siphonwatch_x{a="b"})  # note', interval="30s"
    ),
    "siphonwatch:outer:max": Recording(record="siphonwatch:outer:max", expr="2 * siphonwatch:inner:sum", interval="1m"),
    "siphonwatch:up:sum": Recording(record="siphonwatch:up:sum", expr="sum(up)", interval="30s"),
}


def flat(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("( ", "(").replace(" )", ")")


def test_every_alert_becomes_a_rule_with_a_uid_of_its_own() -> None:
    made = grafana_rules(Rules(ALERTS, RECORDINGS))
    assert [rule["title"] for rule in made] == [alert.name for alert in ALERTS]
    assert len({rule["uid"] for rule in made}) == len(ALERTS)
    assert all(re.fullmatch(r"siphonwatch-[a-z0-9-]{1,28}", rule["uid"]) for rule in made)


def test_long_names_keep_a_uid_that_grafana_takes() -> None:
    names = [f"Siphonwatch{'Very' * 12}Long{end}" for end in ("One", "Two")]
    assert all(len(uid(name)) == 40 for name in names)
    assert uid(names[0]) != uid(names[1])


def test_no_rule_needs_a_recorded_series() -> None:
    for made in grafana_rules(Rules(ALERTS, RECORDINGS)):
        assert "siphonwatch:" not in made["data"][0]["model"]["expr"]


def test_a_rule_fires_for_whatever_the_query_returns() -> None:
    made = rule(ALERTS[0], KNOWN)
    query, present, condition = made["data"]
    assert query["model"]["instant"] is True
    assert (present["model"]["type"], present["model"]["expression"]) == ("math", "is_null($A) == 0")
    assert (condition["model"]["type"], condition["model"]["expression"]) == ("threshold", "B")
    assert made["condition"] == condition["refId"]
    assert made["noDataState"] == "OK"


def test_texts_use_the_values_that_grafana_gives() -> None:
    alert = Alert(
        name="SiphonwatchX", expr="siphonwatch_x", hold="90m", labels={"severity": "page", "service": "siphonwatch"},
        annotations={
            "summary": "{{ $value | humanize }} of {{ $labels.job }}",
            "description": "{{$value}}, {{ $values }}",
            "runbook_url": "https://wiki.example/r#x",
        },
    )  # fmt: skip
    made = rule(alert, {})
    assert made["annotations"] == {
        "summary": "{{ $values.A.Value | humanize }} of {{ $labels.job }}",
        "description": "{{$values.A.Value}}, {{ $values }}",
        "runbook_url": "https://wiki.example/r#x",
    }
    assert made["for"] == "1h30m"
    assert made["labels"] == {"severity": "page", "service": "siphonwatch", "managed_by": "siphonwatch"}


def test_texts_ask_for_nothing_that_only_prometheus_has() -> None:
    for alert in ALERTS:
        assert not re.search(r"\bquery\b|\$externalLabels|\bsd\b|\bstrvalue\b", "".join(alert.annotations.values()))


@pytest.mark.parametrize(
    ("expr", "expanded"),
    [
        ("siphonwatch:inner:sum > 1", '(sum(siphonwatch_x{a="b"}) # note) > 1'),
        ("siphonwatch:outer:max", '(2 * (sum(siphonwatch_x{a="b"}) # note))'),
        ('siphonwatch:inner:sum{c!="d"}', '(sum(siphonwatch_x{a="b",c!="d"}) # note)'),
        ("max_over_time(siphonwatch:outer:max[1d])", 'max_over_time((2 * (sum(siphonwatch_x{a="b"}) # note))[1d:6m])'),
        ("max_over_time(siphonwatch:outer:max[5m])", 'max_over_time((2 * (sum(siphonwatch_x{a="b"}) # note))[5m:1m])'),
        (
            "siphonwatch:outer:max offset 1w",
            'last_over_time((2 * (sum(siphonwatch_x{a="b"}) # note))[1m:1m] offset 1w)',
        ),
        ("siphonwatch_inner_sum + my:siphonwatch:x", "siphonwatch_inner_sum + my:siphonwatch:x"),
    ],
)
def test_recorded_series_are_written_out(expr: str, expanded: str) -> None:
    assert flat(expand(expr, SAMPLE)) == expanded


def test_what_cannot_be_written_out_is_refused() -> None:
    with pytest.raises(ValueError, match="siphonwatch:unknown:sum is recorded by no rule"):
        expand("siphonwatch:unknown:sum", SAMPLE)
    with pytest.raises(ValueError, match="cannot be moved to up"):
        expand('siphonwatch:up:sum{stream="x"}', SAMPLE)


@given(st.integers(0, 10**11))
def test_durations_come_back_as_they_were(value: int) -> None:
    assert milliseconds(duration(value)) == value


def test_what_is_no_duration_is_refused() -> None:
    with pytest.raises(ValueError, match="'5 minutes' is no duration"):
        milliseconds("5 minutes")


CHANGED = {alert.name: alert for alert in ALERTS if expand(alert.expr, KNOWN) != alert.expr}
"""Alerts over recorded series: the others are the very same query."""


def _alone(alert: Alert) -> dict[str, Any]:
    """An alert as Prometheus' rule that needs no other."""
    return {
        "alert": alert.name,
        "expr": expand(alert.expr, KNOWN),
        "for": alert.hold,
        "labels": alert.labels,
        "annotations": alert.annotations,
    }


@pytest.mark.parametrize("name", CHANGED)
def test_an_alert_without_recorded_series_fires_as_with_them(name: str, tmp_path: Path) -> None:
    """The cases that hold Prometheus' rules hold ours, too."""
    promtool = require_tool("promtool")
    rules_file = tmp_path / "rules.yml"
    rules_file.write_text(yaml.safe_dump({"groups": [{"name": "one", "rules": [_alone(CHANGED[name])]}]}))
    files = []
    for file in sorted(TESTS.glob("*.yml")):
        tests = yaml.safe_load(file.read_text())
        cases = []
        for case in tests["tests"]:
            asked = [test for test in case.get("alert_rule_test", ()) if test["alertname"] == name]
            if asked:
                case.pop("promql_expr_test", None)
                cases.append(case | {"alert_rule_test": asked})
        if cases:
            files.append(tmp_path / file.name)
            files[-1].write_text(yaml.safe_dump(tests | {"rule_files": ["rules.yml"], "tests": cases}))
    assert files
    done = subprocess.run([promtool, "test", "rules", *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
