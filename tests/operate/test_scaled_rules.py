"""Scaled rules are the same rules, quicker."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from rule_files import RULES as OURS
from rule_files import run
from scaled_rules import milliseconds, scaled

RULES = """
groups:
- name: one
  interval: 1m
  rules:
  - record: siphonwatch:requests:increase1h
    expr: sum(increase(siphonwatch_requests_total[1h30m])) or 5 * up offset 1w
  - alert: A
    expr: |-
      sum_over_time((siphonwatch:requests:increase1h > bool 60  # seconds
      )[10m:30s]) >= 6 and up == 1
    for: 5m
"""


def test_ranges_offsets_holds_and_intervals_shrink_and_nothing_else_does() -> None:
    (group,) = yaml.safe_load(scaled(RULES, 60))["groups"]
    record, alert = group["rules"]
    assert group["interval"] == "1000ms"
    assert record["record"] == "siphonwatch:requests:increase1h"
    assert record["expr"] == "sum(increase(siphonwatch_requests_total[90000ms])) or 5 * up offset 10080000ms"
    assert "siphonwatch:requests:increase1h > bool 60  # seconds" in alert["expr"]
    assert alert["expr"].endswith(")[10000ms:500ms]) >= 6 and up == 1")
    assert alert["for"] == "5000ms"


def test_numbers_of_seconds_shrink_on_request() -> None:
    assert (
        "increase1h > bool 4  # seconds"
        in yaml.safe_load(scaled(RULES, 60, seconds=15))["groups"][0]["rules"][1]["expr"]
    )


def test_a_span_never_becomes_nothing() -> None:
    assert yaml.safe_load(scaled(RULES, 1e9))["groups"][0]["interval"] == "1ms"


def spans(text: str) -> list[int]:
    """Every time span of a rules file, in order, in milliseconds."""
    found = []
    for group in yaml.safe_load(text)["groups"]:
        found.append(group["interval"])
        for rule in group["rules"]:
            found += re.findall(r"(?<=[\[:])\w+(?=[\]:])|(?<=offset )\w+", rule["expr"])
            found += [rule["for"]] if "for" in rule else []
    return [milliseconds(span) for span in found]


@pytest.mark.parametrize("factor", [7, 60])
def test_all_of_our_rules_shrink_by_the_same_factor(factor: int) -> None:
    small, large = spans(scaled(OURS.read_text(), factor)), spans(scaled(OURS.read_text(), 1))
    assert len(large) > 150
    assert small == [round(span / factor) for span in large]


@pytest.mark.parametrize("factor", [30, 600])
def test_prometheus_takes_scaled_rules(factor: int, tmp_path: Path) -> None:
    path = tmp_path / "rules.yml"
    path.write_text(scaled(OURS.read_text(), factor, seconds=6))
    assert "SUCCESS" in run("promtool", "check", "rules", path)
