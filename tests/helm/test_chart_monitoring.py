"""What Prometheus and Grafana get from the chart: the jobs that rules ask for, sound rules, whole dashboards."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import helm_python as helm
import pytest
import yaml
from chart_tools import CHART, ROOT, manifests, merged, one, pods, values
from oncall_tools import require_tool

FILES = CHART / "files"
RUNBOOK = "https://wiki.example/siphonwatch/runbook.md"


def test_the_packaged_chart_holds_what_deploy_has_and_the_tree_only_links(tmp_path: Path) -> None:
    links = {path.name: path.resolve() for path in FILES.iterdir() if path.is_symlink()}
    dashboards, rules = ROOT / "deploy" / "grafana" / "dashboards", ROOT / "deploy" / "prometheus" / "rules.yml"
    assert links == {"dashboards": dashboards, "rules.yml": rules}
    with tarfile.open(helm.package(CHART, destination=tmp_path)) as archive:
        inside = {
            member.name.removeprefix("siphonwatch/files/"): archive.extractfile(member).read()  # type: ignore[union-attr]
            for member in archive
            if member.name.startswith("siphonwatch/files/")
        }
    wanted = {f"dashboards/{path.name}": path.read_bytes() for path in dashboards.iterdir()}
    assert inside == wanted | {"rules.yml": rules.read_bytes()}


def test_a_chart_whose_links_were_lost_is_refused_with_the_way_out(tmp_path: Path) -> None:
    chart = tmp_path / "siphonwatch"
    shutil.copytree(CHART, chart, ignore=shutil.ignore_patterns("files"))
    with helm.Chart.load(chart) as loaded, pytest.raises(helm.HelmError, match=r"install a packaged chart") as refused:
        loaded.render(values("production"), name="siphonwatch", namespace="detection")
    assert "files/rules.yml" in str(refused.value) and "files/dashboards/*.json" in str(refused.value)


def test_prometheus_calls_the_jobs_what_rules_and_dashboards_call_them() -> None:
    objects = manifests(merged(values("desk-and-feedback"), {"archive": {"enabled": True}}))
    monitor = one(objects, "ServiceMonitor")["spec"]
    (exists,) = monitor["selector"]["matchExpressions"]
    assert exists == {"key": monitor["jobLabel"], "operator": "Exists"}
    jobs = {}
    for service in (o for o in objects if o["kind"] == "Service"):
        labels = service["metadata"]["labels"]
        assert monitor["selector"]["matchLabels"].items() <= labels.items()
        jobs[service["spec"]["selector"]["app.kubernetes.io/component"]] = labels[monitor["jobLabel"]]
        assert service["spec"]["publishNotReadyAddresses"] is True, "a worker that restores is scraped too"
    others = {part: f"siphonwatch-{part}" for part in ("deliver", "archive", "desk", "feedback")}
    assert jobs == {"worker": "siphonwatch", **others}
    used = {job for job in re.findall(r'job="([^"]+)"', (FILES / "rules.yml").read_text())}
    assert used <= set(jobs.values())
    assert monitor["endpoints"] == [{"port": "http", "path": "/metrics", "interval": "15s", "scrapeTimeout": "10s"}]


def test_the_rules_are_those_of_deploy_with_your_links(tmp_path: Path) -> None:
    spec = one(manifests(values("production")), "PrometheusRule")["spec"]
    links = [
        rule["annotations"]["runbook_url"] for group in spec["groups"] for rule in group["rules"] if "alert" in rule
    ]
    assert links and all(link.startswith(f"{RUNBOOK}#") for link in links)
    text = json.dumps(spec).replace(f"{RUNBOOK}#", "deploy/runbook.md#")
    assert json.loads(text) == yaml.safe_load((FILES / "rules.yml").read_text())
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump(spec))
    done = subprocess.run(
        [require_tool("promtool"), "check", "rules", str(file)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_each_dashboard_is_a_config_map_that_the_sidecar_finds() -> None:
    objects = manifests(values("production"))
    found = [o for o in objects if o["kind"] == "ConfigMap" and "grafana_dashboard" in o["metadata"]["labels"]]
    assert len(found) == len(list((FILES / "dashboards").glob("*.json"))) >= 4
    for config in found:
        assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert config["metadata"]["annotations"] == {"grafana_folder": "siphonwatch"}
        ((name, text),) = config["data"].items()
        assert len(text) < 900_000, "a ConfigMap holds a MiB"
        own = (FILES / "dashboards" / name).read_text()
        assert json.loads(text.replace(f"{RUNBOOK}#", "deploy/runbook.md#")) == json.loads(own)
        assert "deploy/runbook.md" not in text


@pytest.mark.parametrize("part", ["serviceMonitor", "rules", "dashboards"])
def test_each_part_of_the_monitoring_is_left_out_where_it_is_off(part: str) -> None:
    def names(objects: list[dict[str, dict[str, str]]]) -> set[tuple[str, str]]:
        return {(str(o["kind"]), o["metadata"]["name"]) for o in objects}

    without = merged(values("production"), {"monitoring": {part: {"enabled": False}}})
    gone = names(manifests(values("production"))) - names(manifests(without))
    kind = {"serviceMonitor": "ServiceMonitor", "rules": "PrometheusRule", "dashboards": "ConfigMap"}[part]
    assert {found for found, _ in gone} == {kind}
    assert [o["metadata"]["name"] for o, _ in pods(manifests(without))] == ["siphonwatch-deliver", "siphonwatch"]
