"""What the chart renders is what siphonwatch reads: settings, topics, rights on them, groups, restarts on a change."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from chart_tools import (
    CASES,
    CHART,
    MINIMAL,
    SASL,
    containers,
    maintain,
    manifests,
    merged,
    one,
    pods,
    toml,
    values,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.deliver.make import check
from siphonwatch.streams.operate.acls import ANALYST, ARCHIVER, DELIVER, DESK, READONLY, WORKER, rights
from siphonwatch.streams.operate.topics import wanted


def loaded(text: str, tmp_path: Path, **environ: str) -> Settings:
    file = tmp_path / "siphonwatch.toml"
    file.write_text(text)
    return load(environ, file).settings


@pytest.mark.parametrize("case", CASES)
def test_siphonwatch_reads_what_its_pods_are_given(case: str, tmp_path: Path) -> None:
    wished = values(case)["settings"]
    objects = manifests(values(case))
    for found, template in pods(objects):
        (container,) = template["spec"]["containers"]
        environ = {e["name"]: e.get("value", "a-secret-from-elsewhere") for e in container["env"]}
        assert environ.pop("SIPHONWATCH_CONFIG") == "/etc/siphonwatch/config/siphonwatch.toml"
        given_to = loaded(toml(objects, container["name"]), tmp_path, **environ)
        assert given_to.log.format == "json" and given_to.web.host == "0.0.0.0", found["metadata"]["name"]  # noqa: S104
        if container["name"] == "worker":
            assert given_to.identity.key == "a-secret-from-elsewhere"
            assert given_to.kafka.bootstrap == wished["kafka"]["bootstrap"]
            for section in ("topics", "ingest", "scoring", "state", "accounts"):
                plain = msgspec.to_builtins(getattr(given_to, section))
                assert wished.get(section, {}).items() <= plain.items(), section


def test_each_secret_of_kafka_reaches_worker_deliverer_and_job(tmp_path: Path) -> None:
    objects = manifests(
        merged(values("sasl-tls"), {"settings": {"sinks": {"x": {"kind": "alertmanager", "url": "http://a:1"}}}})
    )
    for _, template in pods(objects):
        (container,) = template["spec"]["containers"]
        if container["name"] == "provision":
            continue
        environ = {
            e["name"]: e.get("value", "hidden-elsewhere") for e in container["env"] if e["name"] != "SIPHONWATCH_CONFIG"
        }
        kafka = loaded(toml(objects, container["name"]), tmp_path, **environ).kafka
        assert (kafka.security_protocol, kafka.sasl_mechanism) == ("SASL_SSL", "SCRAM-SHA-256")
        assert (kafka.sasl_username, kafka.sasl_password, kafka.ssl_password) == (
            "siphonwatch",
            "hidden-elsewhere",
            "hidden-elsewhere",
        )
        mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
        volumes = {v["name"]: v for v in template["spec"]["volumes"]}
        items = [i for s in volumes["tls"]["projected"]["sources"] for i in s["secret"]["items"]]
        files = {f"{mounts['tls']}/{item['path']}": item["key"] for item in items}
        assert files == {kafka.ssl_cafile: "ca.crt", kafka.ssl_certfile: "tls.crt", kafka.ssl_keyfile: "tls.key"}


def test_the_deliverer_accepts_the_sinks_of_the_production_example(tmp_path: Path) -> None:
    objects = manifests(values("production"))
    for entry in ("slack-url", "pagerduty-key", "case-desk-secret"):
        (tmp_path / entry).write_text(
            "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz" if "secret" in entry else "https://hooks.example/x"
        )
    (tmp_path / "pagerduty-key").write_text("0" * 32)
    text = toml(objects, "deliver").replace("/etc/siphonwatch/sinks", str(tmp_path))
    sinks = check(loaded(text, tmp_path, SIPHONWATCH_GRAFANA_TOKEN="t"), ())
    assert sorted(sinks) == ["annotations", "case-desk", "on-call", "slack-ops"]
    mounts = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
    assert {"name": "sinks", "mountPath": "/etc/siphonwatch/sinks", "readOnly": True} in mounts


def test_every_section_of_the_settings_reaches_some_component() -> None:
    template = (CHART / "templates" / "_settings.tpl").read_text()
    listed = set(re.findall(r"^([a-z ]+)$", template, re.M))
    assert {word for line in listed for word in line.split()} == {f.name for f in msgspec.structs.fields(Settings)}


def test_the_schema_of_settings_is_siphonwatchs_own() -> None:
    text = (CHART / "values.schema.json").read_text()
    assert text == maintain().with_settings(text), "run: python helm/maintain.py"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    allow=st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12), max_size=4),
    topics=st.dictionaries(
        st.text("abcXYZ019._-", min_size=1, max_size=12), st.sampled_from(["kong", "otlp"]), max_size=3
    ),
    alpha=st.floats(1e-9, 0.9),
    seed=st.integers(0, 2**40),
)
def test_any_values_come_through_as_they_are(
    tmp_path: Path, allow: list[str], topics: dict[str, str], alpha: float, seed: int
) -> None:
    wished: dict[str, Any] = {
        "accounts": {"allow": allow}, "ingest": {"topics": topics}, "scoring": {"alpha": alpha, "seed": seed},
    }  # fmt: skip
    got = loaded(toml(manifests(merged(MINIMAL, {"settings": wished})), "worker"), tmp_path)
    assert (got.accounts.allow, got.ingest.topics) == (allow, topics)
    assert (got.scoring.alpha, got.scoring.seed) == (alpha, seed)


SHAPES = [
    {},
    {"replication": 1},
    {
        "partitions": 3,
        "alerts_retention_hours": 5,
        "verdicts_history_hours": 7,
        "control_history_hours": 9,
        "prefix": "A_b",
    },
]


@pytest.mark.parametrize("shape", SHAPES)
def test_strimzis_topics_are_those_that_siphonwatch_wants(shape: dict[str, Any], tmp_path: Path) -> None:
    objects = manifests(
        merged(
            values("production"), {"settings": {"topics": shape}, "autoscaling": {"minReplicas": 1, "maxReplicas": 3}}
        )
    )
    made = {}
    for found in objects:
        if found["kind"] == "KafkaTopic":
            spec = found["spec"]
            made[spec["topicName"]] = (spec["partitions"], spec["replicas"], spec["config"])
            assert found["metadata"]["labels"]["strimzi.io/cluster"] == "main"
            assert found["metadata"]["namespace"] == "kafka"
            assert found["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}, (
                "uninstalling would delete it"
            )
    topics = wanted(loaded(toml(objects, "worker"), tmp_path))
    assert made == {topic.name: (topic.partitions, topic.replication, topic.config) for topic in topics}


@pytest.mark.parametrize("part", ["", "archive", "desk", "feedback"])
@pytest.mark.parametrize("example", ["strimzi-tls", "production"])
def test_strimzis_user_may_do_what_our_pods_and_doctor_need_and_nothing_else(
    example: str, part: str, tmp_path: Path
) -> None:
    settings = {"desk": {"host": "127.0.0.1"}, "feedback": {"secret_file": "/run/secret"}}
    objects = manifests(merged(values(example), {"settings": settings}, {part: {"enabled": True}} if part else {}))
    made: dict[tuple[str, str, bool], set[str]] = {}
    for acl in one(objects, "KafkaUser")["spec"]["authorization"]["acls"]:
        resource = acl["resource"]
        made[resource["type"], resource["name"], resource["patternType"] == "prefix"] = set(acl["operations"])
    wanted_by_roles: dict[tuple[str, str, bool], set[str]] = {}
    own = loaded(toml(objects, "worker"), tmp_path)
    if example == "production":
        own.sinks = loaded(toml(objects, "deliver"), tmp_path).sinks
        assert own.sinks
    of_part = {"": [], "archive": [ARCHIVER], "desk": [DESK], "feedback": [ANALYST]}[part]
    for role in (WORKER, DELIVER, READONLY, *of_part):
        for kind, name, prefixed, operations in rights(own, role):
            if role != ANALYST or name in (own.topic("alerts"), own.topic("verdicts")):  # all that feedback touches
                wanted_by_roles.setdefault((kind, name, prefixed), set()).update(operations)
    assert made == wanted_by_roles
    assert ("Write" in made["topic", own.topic("telemetry"), False]) == bool(own.ingest.topics)


def test_keda_asks_for_the_lag_of_the_workers_own_group_and_topics(tmp_path: Path) -> None:
    objects = manifests(values("production"))
    own = loaded(toml(objects, "worker"), tmp_path)
    scaled = one(objects, "ScaledObject")["spec"]
    target = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": one(objects, "StatefulSet")["metadata"]["name"]}
    assert scaled["scaleTargetRef"] == target
    assert 1 <= scaled["minReplicaCount"] <= scaled["maxReplicaCount"] <= own.topics.partitions
    asked = {trigger["metadata"]["topic"]: trigger["metadata"] for trigger in scaled["triggers"]}
    assert set(asked) == {own.topic("telemetry"), own.topic("sightings"), *own.ingest.topics}
    for metadata in asked.values():
        assert metadata["consumerGroup"] == own.kafka.group and metadata["bootstrapServers"] == own.kafka.bootstrap
        assert metadata["allowIdleConsumers"] == "false" and metadata["lagThreshold"] == "1000000"
        assert (metadata["tls"], metadata["sasl"]) == ("enable", "scram_sha512")
    login = one(objects, "TriggerAuthentication")["spec"]
    assert {ref["parameter"] for ref in login["secretTargetRef"]} == {"password", "ca"}
    (name,) = login["configMapTargetRef"]
    assert one(objects, "ConfigMap", name["name"])["data"] == {name["key"]: own.kafka.sasl_username}
    behaviour = scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert (
        behaviour["scaleDown"]["stabilizationWindowSeconds"] > behaviour["scaleUp"]["stabilizationWindowSeconds"] >= 60
    )


def test_the_most_workers_are_the_partitions_where_nothing_is_said() -> None:
    scaled = one(manifests(merged(MINIMAL, {"autoscaling": {"enabled": True}})), "ScaledObject")["spec"]
    assert scaled["maxReplicaCount"] == Settings().topics.partitions
    assert all("authenticationRef" not in trigger for trigger in scaled["triggers"])


def test_keda_needs_no_authentication_where_tls_needs_no_secret() -> None:
    given = {"settings": {"kafka": {"security_protocol": "SSL"}}, "autoscaling": {"enabled": True}}
    objects = manifests(merged(MINIMAL, given))
    assert not [o for o in objects if o["kind"] == "TriggerAuthentication"], "it lists no secret: KEDA refuses it"
    for trigger in one(objects, "ScaledObject")["spec"]["triggers"]:
        assert trigger["metadata"]["tls"] == "enable" and "authenticationRef" not in trigger


def annotations(case: dict[str, Any]) -> dict[str, Any]:
    return {
        o["metadata"]["name"]: t["metadata"].get("annotations") for o, t in pods(manifests(case)) if o["kind"] != "Job"
    }


def test_only_pods_whose_settings_changed_restart() -> None:
    before = values("production")
    first = annotations(before)
    assert annotations(before) == first
    scoring = annotations(merged(before, {"settings": {"state": {"hot_accounts": 400_000}}}))
    assert (
        scoring["siphonwatch"] != first["siphonwatch"]
        and scoring["siphonwatch-deliver"] == first["siphonwatch-deliver"]
    )
    sink = annotations(merged(before, {"settings": {"sinks": {"slack-ops": {"severity": "low+"}}}}))
    assert sink["siphonwatch"] == first["siphonwatch"] and sink["siphonwatch-deliver"] != first["siphonwatch-deliver"]
    secret = annotations(merged(before, {"identity": {"existingSecret": "another"}}))
    assert secret["siphonwatch"] != first["siphonwatch"]
    size = annotations(
        merged(before, {"autoscaling": {"maxReplicas": 20}, "monitoring": {"rules": {"enabled": False}}})
    )
    assert size == first


def test_a_new_version_of_the_chart_alone_restarts_nothing() -> None:
    for _, template in pods(manifests(values("production"))):
        assert not any("chart" in key or "version" in key for key in template["metadata"]["labels"])


def test_a_password_in_values_restarts_the_pods_when_it_changes() -> None:
    first, second = (
        annotations(merged(MINIMAL, SASL, {"kafka": {"sasl": {"existingSecret": "", "value": word}}}))
        for word in ("one", "two")
    )
    assert first != second and "one" not in json.dumps(first).split('"')


def test_every_container_starts_a_command_that_exists() -> None:
    from siphonwatch.streams.cli import COMMANDS

    commands = {c["args"][0] for case in CASES for _, t in pods(manifests(values(case))) for c in containers(t)}
    assert commands == {"worker", "deliver", "archive", "desk", "feedback", "topics", "provision"} <= set(COMMANDS)
