"""Values that cannot work are refused before anything is installed, by a message that says the value and the remedy.

The table of them is bad_values.yaml.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml
from chart_tools import CHART, MINIMAL, merged, render

REFUSED = yaml.safe_load((Path(__file__).parent / "bad_values.yaml").read_text())


@pytest.mark.parametrize("entry", REFUSED, ids=lambda entry: entry["said"][:60])
def test_values_that_cannot_work_are_refused_by_name(entry: dict[str, Any]) -> None:
    with pytest.raises(helm.HelmError) as caught:
        render(merged(MINIMAL, entry["values"]))
    assert entry["said"] in str(caught.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    bad = {"identity": {"existingSecret": ""}, "image": {"tag": "latest"}, "worker": {"replicas": 99}}
    with pytest.raises(helm.HelmRenderError) as caught:
        render(merged(MINIMAL, bad))
    assert str(caught.value).count("\n  - ") == 3


def test_helm_lint_passes_the_defaults_and_refuses_an_unknown_name() -> None:
    assert helm.lint(CHART, {}, strict=True)["errors"] == []
    report = helm.lint(CHART, merged(MINIMAL, {"worker": {"replica": 2}}))
    assert any("additional properties 'replica' not allowed" in message["error"] for message in report["messages"])


def test_a_chart_that_uses_this_one_may_share_its_globals() -> None:
    assert render(merged(MINIMAL, {"global": {"region": "eu"}}))


def closed(schema: dict[str, Any], path: str = "") -> list[str]:
    """Paths of the objects with named properties that admit others."""
    found = [path] if "properties" in schema and schema.get("additionalProperties") is not False else []
    for name, child in schema.get("properties", {}).items():
        found += closed(child, f"{path}/{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            found += closed(schema[key], f"{path}/{key}")
    return found


def test_the_schema_admits_no_unknown_name_anywhere() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert closed(schema) == []
    assert set(schema["required"]) == set(schema["properties"]) - {"global"}
