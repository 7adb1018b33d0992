"""`siphonwatch provision --write` gives the same files each time, and they are those in deploy/."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from dashboard_queries import panels
from grafana_double import Double
from provision_tools import grafana, provision

from siphonwatch.streams.common.settings import Links
from siphonwatch.streams.operate.provision import alert_rules, write
from siphonwatch.streams.operate.provision.objects import source

__all__ = ["grafana"]

DEPLOY = Path(__file__).parents[2] / "deploy"


def test_committed_files_are_what_is_written(tmp_path: Path) -> None:
    for path in write.write(tmp_path, Links()):
        committed = DEPLOY / path.relative_to(tmp_path)
        assert committed.read_bytes() == path.read_bytes(), f"{committed}: run siphonwatch provision --write deploy"
    names = {path.name for path in (DEPLOY / "grafana/dashboards").iterdir()}
    assert names == {path.name for path in (tmp_path / "grafana/dashboards").iterdir()}


def test_writing_twice_changes_nothing_and_removes_what_is_no_more(tmp_path: Path) -> None:
    first = {path: path.read_bytes() for path in write.write(tmp_path, Links())}
    (tmp_path / "grafana/dashboards/siphonwatch-former.json").write_text("{}")
    (tmp_path / "grafana/dashboards/mine.json").write_text("{}")
    second = {path: path.read_bytes() for path in write.write(tmp_path, Links())}
    assert first == second
    left = {path.name for path in (tmp_path / "grafana/dashboards").iterdir()}
    assert "siphonwatch-former.json" not in left
    assert "mine.json" in left


def test_written_dashboards_are_sorted_and_carry_no_id_of_a_server(tmp_path: Path) -> None:
    for path in write.write(tmp_path, Links()):
        if path.suffix == ".json":
            text = path.read_text()
            board = json.loads(text)
            assert text == json.dumps(board, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
            assert not {"id", "version"} & set(board)


def test_links_lead_where_settings_say(tmp_path: Path) -> None:
    wiki = Links(runbook="https://wiki.example/runbook")
    files = write.files(wiki)
    board = json.loads(files["grafana/dashboards/siphonwatch-overview.json"])
    assert all(panel["links"][0]["url"].startswith("https://wiki.example/runbook#") for panel in panels(board))
    assert "deploy/runbook.md#" not in "".join(files.values())
    assert "runbook_url: https://wiki.example/runbook#" in files["prometheus/rules.yml"]


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
    assert provider["folderUid"] == alert_rules.FOLDER_UID
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
