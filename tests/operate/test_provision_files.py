"""Dashboards and rules come with the package as deploy/ has them, with links that lead where settings say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from dashboard_queries import panels
from grafana_double import Double
from provision_tools import grafana, provision

from siphonwatch.streams.common.settings import Links
from siphonwatch.streams.operate.provision import bundled
from siphonwatch.streams.operate.provision.marks import FOLDER_UID
from siphonwatch.streams.operate.provision.objects import source

__all__ = ["grafana"]

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_what_is_written_is_what_deploy_has(tmp_path: Path) -> None:
    written = bundled.write(tmp_path, Links())
    assert len(written) == 5
    for path in written:
        assert path.read_bytes() == (DEPLOY / path.relative_to(tmp_path)).read_bytes()
    names = {path.name for path in (DEPLOY / "grafana/dashboards").iterdir()}
    assert names == {path.name for path in (tmp_path / "grafana/dashboards").iterdir()}


def test_writing_removes_dashboards_of_ours_that_are_no_more(tmp_path: Path) -> None:
    (tmp_path / "grafana/dashboards").mkdir(parents=True)
    (tmp_path / "grafana/dashboards/siphonwatch-former.json").write_text("{}")
    (tmp_path / "grafana/dashboards/mine.json").write_text("{}")
    bundled.write(tmp_path, Links())
    left = {path.name for path in (tmp_path / "grafana/dashboards").iterdir()}
    assert "siphonwatch-former.json" not in left
    assert "mine.json" in left


@pytest.mark.parametrize(
    "runbook", ["https://wiki.example/runbook", 'https://wiki.example/?a="b"&c=\\d: #e', "wiki: Störung"]
)
def test_links_lead_where_settings_say_and_nothing_else_changes(runbook: str, tmp_path: Path) -> None:
    links = Links(runbook=runbook)
    for ours, theirs in zip(bundled.dashboards(Links()), bundled.dashboards(links), strict=True):
        assert all(panel["links"][0]["url"].startswith(f"{runbook}#") for panel in panels(theirs))
        assert moved(theirs, f"{runbook}#") == ours
    bundled.write(tmp_path, links)
    rules = yaml.safe_load((tmp_path / "prometheus/rules.yml").read_text())
    assert all(alert.annotations["runbook_url"].startswith(f"{runbook}#") for alert in bundled.rules(links).alerts)
    assert moved(rules, f"{runbook}#") == yaml.safe_load((DEPLOY / "prometheus/rules.yml").read_text())


def moved(tree: Any, link: str) -> Any:
    """A tree with the links that begin so led to deploy/runbook.md again."""
    if isinstance(tree, dict):
        return {key: moved(value, link) for key, value in tree.items()}
    if isinstance(tree, list):
        return [moved(value, link) for value in tree]
    if isinstance(tree, str) and tree.startswith(link):
        return "deploy/runbook.md#" + tree.removeprefix(link)
    return tree


def test_the_command_needs_no_grafana_to_write(grafana: Double, tmp_path: Path) -> None:
    done = provision(grafana, "--write", str(tmp_path), url="", token="", contact_url="")
    assert done.code == 0
    assert grafana.calls == []
    assert f"wrote {tmp_path / 'prometheus/rules.yml'}" in done.text


def test_a_place_that_cannot_be_written_is_named(grafana: Double, tmp_path: Path) -> None:
    (tmp_path / "grafana").write_text("a file")
    done = provision(grafana, "--write", str(tmp_path))
    assert done.code == 1
    assert f"cannot write below {tmp_path}" in done.text


def test_files_for_grafana_agree_with_what_is_provisioned_over_http() -> None:
    (provisioned,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/siphonwatch.yml").read_text())[
        "datasources"
    ]
    for key, value in source.wanted("http://prometheus:9090").items():
        assert provisioned[key] == value
    (provider,) = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/siphonwatch.yml").read_text())["providers"]
    assert provider["folderUid"] == FOLDER_UID
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
