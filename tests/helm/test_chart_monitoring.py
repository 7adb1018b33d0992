"""What Prometheus and Grafana get from the chart: the jobs that rules ask for, sound rules, whole dashboards."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from chart_tools import CHART, ROOT, manifests, merged, one, pods, values
from oncall_tools import require_tool

FILES = CHART / "files"
RUNBOOK = "https://wiki.example/siphonwatch/runbook.md"


def test_the_charts_files_are_copies_of_what_deploy_has() -> None:
    copies = {path.relative_to(FILES).as_posix(): path.read_text() for path in FILES.rglob("*") if path.is_file()}
    deploy = ROOT / "deploy"
    wanted = {"rules.yml": (deploy / "prometheus" / "rules.yml").read_text()}
    wanted |= {
        f"dashboards/{path.name}": path.read_text() for path in (deploy / "grafana" / "dashboards").glob("*.json")
    }
    assert copies.keys() == wanted.keys() and copies == wanted, "run: make provision-files"


def test_prometheus_calls_the_jobs_what_rules_and_dashboards_call_them() -> None:
    objects = manifests(values("production"))
    monitor = one(objects, "ServiceMonitor")["spec"]
    (exists,) = monitor["selector"]["matchExpressions"]
    assert exists == {"key": monitor["jobLabel"], "operator": "Exists"}
    jobs = {}
    for service in (o for o in objects if o["kind"] == "Service"):
        labels = service["metadata"]["labels"]
        assert monitor["selector"]["matchLabels"].items() <= labels.items()
        jobs[service["spec"]["selector"]["app.kubernetes.io/component"]] = labels[monitor["jobLabel"]]
        assert service["spec"]["publishNotReadyAddresses"] is True, "a worker that restores is scraped too"
    assert jobs == {"worker": "siphonwatch", "deliver": "siphonwatch-deliver"}
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
