"""Every value is documented, the README is what the chart does, and its commands work as they stand."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import helm_python as helm
import pytest
import yaml
from chart_tools import CHART, EXAMPLES, ROOT, maintain, manifests, merged, one, render, values

README = (CHART / "README.md").read_text()
HELM = [line for block in re.findall(r"^```sh\n(.*?)^```", README, re.M | re.S) for line in block.splitlines()]


def test_every_value_says_what_it_does() -> None:
    documented = list(maintain().documented((CHART / "values.yaml").read_text()))
    assert len(documented) > 100
    assert [name for name, _, comment in documented if not comment] == []


def test_a_value_without_a_comment_is_found() -> None:
    text = "a:\n  # One.\n  b: 1\n  c: 2\n# A list,\n# in two lines.\nd: [x]\n"
    assert list(maintain().documented(text)) == [
        ("a.b", 1, "One."),
        ("a.c", 2, ""),
        ("d", ["x"], "A list, in two lines."),
    ]


def test_the_readme_has_the_table_of_values() -> None:
    assert maintain().with_table(README) == README, "run: python helm/maintain.py"


def test_the_chart_is_of_the_version_that_it_installs() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["apiVersion"] == "v2"
    assert chart["appVersion"] == project["version"]
    image = one(manifests(values("minimal")), "StatefulSet")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == f"registry.example/siphonwatch:{project['version']}"


def test_the_packaged_chart_is_whole(tmp_path: Path) -> None:
    archive = helm.package(CHART, destination=tmp_path)
    with helm.Chart.load(archive) as chart:
        assert chart.render(values("production"), name="siphonwatch", namespace="detection") == render(
            values("production")
        )


def options(line: str) -> tuple[list[str], dict[str, Any]]:
    """Positional arguments of a helm command, and the values that its -f and --set options give."""
    words = iter(shlex.split(line)[1:])
    plain: list[str] = []
    given: dict[str, Any] = {}
    for word in words:
        if word == "-f":
            given = merged(given, yaml.safe_load((ROOT / next(words)).read_text()))
        elif word == "--set":
            given = merged(given, helm.parse_set_string(next(words)))
        elif word == "-n":
            assert next(words) == "detection"
        else:
            assert not word.startswith("-") or word == "--install", word
            plain.append(word)
    return plain, given


@pytest.mark.parametrize("line", [line for line in HELM if line.startswith("helm ")])
def test_each_helm_command_of_the_readme_works(line: str) -> None:
    (command, *rest), given = options(line)
    chart = rest[-1]
    assert (ROOT / chart).resolve() == CHART
    if command == "lint":
        assert helm.lint(ROOT / chart, given, strict=True)["errors"] == []
    else:
        assert {"template": ["siphonwatch"], "upgrade": ["--install", "siphonwatch"]}[command] == rest[:-1]
        assert one(manifests(given), "StatefulSet")


def test_the_readmes_helm_commands_lint_render_and_install() -> None:
    assert [line.split()[1] for line in HELM if line.startswith("helm ")] == ["lint", "template", "upgrade"]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_says_how_to_make_each_secret_that_is_yours(example: str) -> None:
    text = (CHART / "examples" / f"{example}.yaml").read_text()
    given = values(example)
    named = set(re.findall(r"existingSecret: (\S+)", text))
    made = set(re.findall(r"kubectl create secret generic (\S+)", text))
    user = given.get("strimzi", {}).get("user", {})
    strimzis = {"siphonwatch", f"{given['strimzi']['cluster']}-cluster-ca-cert"} if user.get("create") else set()
    assert made == named - strimzis
    files = set(re.findall(r"_file: /etc/siphonwatch/sinks/(\S+)", text))
    assert all(f"--from-literal={entry}=" in text for entry in files)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_notes_name_what_was_installed(example: str) -> None:
    notes = render(values(example))["siphonwatch/templates/NOTES.txt"]
    assert "statefulset/siphonwatch" in notes and values(example)["settings"]["kafka"]["bootstrap"] in notes
    assert "WARNING" not in notes


def test_the_notes_warn_of_secrets_in_values_and_of_readable_names() -> None:
    bad = {
        "identity": {"existingSecret": "", "value": "0123456789abcdef"},
        "settings": {"identity": {"plain_ids": True}},
    }
    notes = render(merged(values("minimal"), bad))["siphonwatch/templates/NOTES.txt"]
    assert notes.count("WARNING") == 2 and "0123456789abcdef" not in notes
