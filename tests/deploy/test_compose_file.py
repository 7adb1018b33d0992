"""deploy/compose.yaml is valid, names only what exists, pins what it runs, and gives no container more than it needs:
read as text, nothing is started."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import click
import jsonschema
import pytest
import yaml
from compose_file import FILE, ROOT, environment, mounts, order, own, services, settings_of, tree
from dockerfile import DOCKERFILE, stages
from kafka_apache import version as kafka_version
from programs import health

from siphonwatch.streams.cli import cli
from siphonwatch.streams.common.settings import Settings, load

SCHEMA = Path(__file__).parent / "schemas" / "compose-spec.json"
DEPLOY = ROOT / "deploy"
each = pytest.mark.parametrize("name", list(services()))
each_own = pytest.mark.parametrize("name", own())
checked = [name for name, service in services().items() if not service.get("healthcheck", {}).get("disable")]


def properties() -> dict[str, str]:
    """Settings of Apache Kafka."""
    lines = (DEPLOY / "compose" / "kafka.properties").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def listeners(field: str) -> dict[str, str]:
    """Name -> address of Kafka's listeners."""
    return dict(part.split("://", 1) for part in properties()[field].split(","))


def test_the_file_is_what_the_compose_specification_says() -> None:
    jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).validate(tree())


def test_the_specification_s_schema_refuses_what_is_none() -> None:
    wrong = {**tree(), "services": {"kafka": {**services()["kafka"], "read_onyl": True}}}
    assert not jsonschema.Draft7Validator(json.loads(SCHEMA.read_text())).is_valid(wrong)


def test_everything_that_the_issue_wants_is_there() -> None:
    assert set(services()) == {
        "kafka", "topics", "worker", "deliver", "archive", "desk", "gateway", "prometheus", "alertmanager", "grafana"
    }  # fmt: skip
    assert [name for name, service in services().items() if service.get("profiles")] == ["archive", "desk"]


@each
def test_an_image_is_pinned_to_one_release(name: str) -> None:
    assert re.fullmatch(r"[a-z]+(/[a-z]+)?:v?\d+\.\d+\.\d+", services()[name]["image"])


def test_versions_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {services()[name]["image"] for name in own()} == {f"siphonwatch:{project['version']}"}
    assert services()["kafka"]["image"] == f"apache/kafka:{kafka_version()}"


@each_own
def test_every_setting_is_one_that_siphonwatch_knows(name: str) -> None:
    loaded = load(settings_of(name)).settings
    assert loaded.kafka.bootstrap == listeners("advertised.listeners")["INTERNAL"]
    assert loaded.web.host == loaded.deliver.host == "0.0.0.0"  # noqa: S104 - inside a container


@each_own
def test_every_setting_of_a_topic_or_an_identity_is_the_same_everywhere(name: str) -> None:
    shared = ("KAFKA", "TOPICS", "IDENTITY")
    mine, worker_s = (
        {k: v for k, v in settings_of(n).items() if k.split("_")[1] in shared} for n in (name, "worker")
    )  # fmt: skip
    assert mine == worker_s


def parse(arguments: list[str]) -> None:
    """Let click parse a command line as it would before running it."""
    name, *rest = arguments
    command = cli.get_command(click.Context(cli), name)
    assert command is not None, f"siphonwatch has no command {name}"
    command.make_context(name, rest)


@pytest.mark.parametrize("name", [name for name in own() if "entrypoint" not in services()[name]])
def test_a_service_runs_a_command_that_exists(name: str) -> None:
    parse(services()[name]["command"])


def test_the_gateway_runs_commands_that_exist() -> None:
    service = services()["gateway"]
    shell, script = service["entrypoint"]
    source, _ = mounts("gateway")[script]
    text = (DEPLOY / source).read_text().replace("\\\n", " ")
    assert shell == "/bin/sh"
    subprocess.run(["sh", "-n", DEPLOY / source], check=True)
    found = re.findall(r"^\s+run (.*)$", text, re.M)
    assert re.search(r"^run\(\) \{\n\s+/opt/siphonwatch/entrypoint\.sh \"\$@\" &$", text, re.M)
    assert [line.split()[0] for line in found] == ["scenario", "produce"]
    values = {"$GATEWAY_ACCOUNTS": environment("gateway")["GATEWAY_ACCOUNTS"], "$folder": "/f", "$start": "2d"}
    for line in found:
        line = re.sub(r'"\$\{GATEWAY_SEED:-\$\(date \+%s\)\}"', "1", line)
        for variable, value in values.items():
            line = line.replace(variable, value)
        assert "$" not in line
        parse(shlex.split(line))
    (folder,) = re.findall(r"^folder=(.*)$", text, re.M)
    assert mounts("gateway")[folder] == ("gateway", False)
    assert service["healthcheck"]["test"] == ["CMD", "test", "-e", f"{folder}/began"]
    last = " ".join(step.rest for step in stages(DOCKERFILE.read_text())[-1].steps if step.word == "RUN")
    assert f"install --directory --owner=10001 --group=10001 {folder}" in last, (
        "a new volume takes its owner from there"
    )


@each
def test_what_is_mounted_is_in_the_repository_or_a_declared_volume(name: str) -> None:
    for source, read_only in mounts(name).values():
        if source.startswith("."):
            assert (DEPLOY / source).exists(), f"{source} is not there"
            assert read_only, f"{source} could be changed by {name}"
        else:
            assert source in tree()["volumes"]


def test_every_declared_volume_is_used() -> None:
    used = {source for name in services() for source, _ in mounts(name).values() if not source.startswith(".")}
    assert used == set(tree()["volumes"])


def test_the_image_is_built_from_this_repository() -> None:
    for name in own():
        build = services()[name]["build"]
        assert (FILE.parent / build["context"]).resolve() == ROOT
        assert ROOT / build["dockerfile"] == DOCKERFILE


@each
def test_a_container_may_do_no_more_than_it_must(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"] and "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"[1-9]\d*:\d+", service["user"])
    assert not {"privileged", "network_mode", "pid", "ipc", "devices"} & set(service)
    assert any(entry.split(":")[0] == "/tmp" for entry in service["tmpfs"])
    assert all("size=" in entry for entry in service["tmpfs"]), "a tmpfs without a size may take half the memory"


@each
def test_a_container_s_memory_processors_and_logs_are_bounded(name: str) -> None:
    service = services()[name]
    limits = service["deploy"]["resources"]["limits"]
    assert re.fullmatch(r"\d+[MG]", limits["memory"]) and 0 < float(limits["cpus"]) <= 2
    assert service["logging"] == {"driver": "json-file", "options": {"max-size": "10m", "max-file": "3"}}
    assert service["restart"] in ("unless-stopped", "on-failure:5")


@each
def test_ports_are_published_on_loopback_only(name: str) -> None:
    for port in services()[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port)


def test_a_service_that_is_scaled_publishes_no_port_and_has_no_name_of_its_own() -> None:
    assert not {"ports", "container_name"} & set(services()["worker"])


@each
def test_no_secret_stands_in_the_file(name: str) -> None:
    for variable, value in services()[name].get("environment", {}).items():
        if re.search("PASSWORD|TOKEN|SECRET|_KEY$", variable):
            assert variable == "SIPHONWATCH_IDENTITY_KEY", variable
            assert "protects-nothing" in value
    assert "SIPHONWATCH_IDENTITY_KEY: ${SIPHONWATCH_IDENTITY_KEY:-" in FILE.read_text()


def test_nothing_waits_for_itself_and_kafka_and_alertmanager_come_first() -> None:
    names = order()
    assert names.index("kafka") < names.index("topics") < names.index("worker") < names.index("gateway")
    assert names.index("alertmanager") < names.index("deliver")


@each
def test_a_service_waits_for_what_it_needs_to_be_healthy_or_done(name: str) -> None:
    for needed, how in services()[name].get("depends_on", {}).items():
        if how["condition"] == "service_completed_successfully":
            assert services()[needed]["restart"].startswith("on-failure")
        else:
            assert how["condition"] == "service_healthy" and needed in checked


def test_all_but_the_service_that_ends_have_a_health_check() -> None:
    assert set(services()) - set(checked) == {"topics"}
    for name in checked:
        assert {"test", "interval", "timeout", "retries", "start_period"} <= set(services()[name]["healthcheck"])


def listens(name: str) -> set[int]:
    """Ports that a service's command line, exposed or published ports name."""
    service = services()[name]
    found = [str(port).rpartition(":")[2] for port in [*service.get("ports", []), *service.get("expose", [])]]
    return {int(port) for port in found}


@pytest.mark.parametrize("name", checked)
def test_a_health_check_asks_the_port_that_is_served(name: str) -> None:
    test = services()[name]["healthcheck"]["test"]
    command = services()[name].get("command", [])
    if "/opt/siphonwatch/health.py" in test:
        words = "\0".join(["python", "siphonwatch", *command]).encode()
        address = health.url(words, load(settings_of(name)).settings)
        assert address and urlsplit(address).port in listens(name)
    elif urls := [word for word in test if word.startswith("http")]:
        assert {urlsplit(url).port for url in urls} == listens(name)
        assert test[1:4] == ["wget", "-Y", "off"], "Docker may set proxies, which do not know this container"
        for word in command:
            if "web.listen-address" in word:
                assert int(word.rpartition(":")[2]) in listens(name)
    elif name == "kafka":
        assert re.search(r"--bootstrap-server 127\.0\.0\.1:9092\b", test[1]) and listens(name) == {9092}
    else:
        assert name == "gateway" and not listens(name)


def test_kafka_is_reached_from_this_machine_where_siphonwatch_looks_by_default() -> None:
    assert listeners("advertised.listeners")["HOST"] == Settings().kafka.bootstrap
    for name, address in listeners("advertised.listeners").items():
        assert listeners("listeners")[name].rpartition(":")[2] == address.rpartition(":")[2]
    assert properties()["log.dirs"] in mounts("kafka")
    assert properties()["auto.create.topics.enable"] == "false"


def test_prometheus_finds_every_worker_deliverer_archiver_and_alertmanager() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    for job in config["scrape_configs"]:
        for found in job["dns_sd_configs"]:
            for name in found["names"]:
                assert found["type"] == "A" and found["port"] in listens(name)
    assert {job["job_name"] for job in config["scrape_configs"]} == {
        "siphonwatch", "siphonwatch-deliver", "siphonwatch-archive", "siphonwatch-desk"
    }  # fmt: skip
    (target,) = config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    name, _, port = target.partition(":")
    assert int(port) in listens(name)
    for file in config["rule_files"]:
        assert f"/etc/prometheus/{file}" in mounts("prometheus")
    assert "--config.file=/etc/prometheus/prometheus.yml" in services()["prometheus"]["command"]
    assert "--config.file=/etc/alertmanager/alertmanager.yml" in services()["alertmanager"]["command"]
    assert "/etc/alertmanager/alertmanager.yml" in mounts("alertmanager")


def test_alerts_go_to_the_alertmanager_of_the_file() -> None:
    sinks = load(settings_of("deliver")).settings.sinks
    assert {name: (sink.kind, sink.url) for name, sink in sinks.items()} == {
        "alertmanager": ("alertmanager", "http://alertmanager:9093")
    }


def test_grafana_provisions_itself_from_files_that_are_mounted() -> None:
    folder = DEPLOY / "grafana" / "provisioning"
    targets = mounts("grafana")
    assert targets["/etc/grafana/provisioning"][0] == "./grafana/provisioning"
    sources = [s for file in folder.glob("datasources/*.y*ml") for s in yaml.safe_load(file.read_text())["datasources"]]
    assert {s["url"] for s in sources} == {"http://prometheus:9090"}
    providers = [p for file in folder.glob("dashboards/*.y*ml") for p in yaml.safe_load(file.read_text())["providers"]]
    assert providers
    for provider in providers:
        assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
    assert targets["/var/lib/grafana/dashboards"][0] == "./grafana/dashboards"
    home = Path(environment("grafana")["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == "/var/lib/grafana/dashboards"
    assert (DEPLOY / "grafana" / "dashboards" / home.name).is_file()


def test_nobody_is_administrator_of_grafana_by_a_known_password() -> None:
    found = environment("grafana")
    assert found["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == found["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert found["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
