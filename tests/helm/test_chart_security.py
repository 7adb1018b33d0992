"""No pod may do more than it must, and no secret leaves the Secret it is in: for every example and variant."""

from __future__ import annotations

import json
from typing import Any

import pytest
from chart_tools import CASES, MINIMAL, containers, manifests, merged, one, pods, values

each_case = pytest.mark.parametrize("case", CASES)
SECRET_VARIABLES = {
    "SIPHONWATCH_IDENTITY_KEY", "SIPHONWATCH_KAFKA_SASL_PASSWORD", "SIPHONWATCH_KAFKA_SSL_PASSWORD",
    "SIPHONWATCH_GRAFANA_TOKEN", "SIPHONWATCH_GRAFANA_PASSWORD", "SIPHONWATCH_DESK_SECRET",
}  # fmt: skip


@each_case
def test_every_pod_keeps_to_the_restricted_profile(case: str) -> None:
    for found, template in pods(manifests(values(case))):
        name, spec = found["metadata"]["name"], template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"].get("runAsUser", 10001) == 10001, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        assert {kind for volume in spec["volumes"] for kind in volume if kind != "name"} <= {
            "configMap", "emptyDir", "secret", "projected",
        } | ({"persistentVolumeClaim"} if name.endswith(("-archive", "-desk")) else set()), name  # fmt: skip
        for container in containers(template):
            security = container["securityContext"]
            assert security["privileged"] is security["allowPrivilegeEscalation"] is False, name
            assert security["runAsNonRoot"] is security["readOnlyRootFilesystem"] is True, name
            assert security["capabilities"] == {"drop": ["ALL"]}, name
            assert "hostPort" not in json.dumps(container.get("ports", [])), name


@each_case
def test_no_pod_talks_to_kubernetes_or_takes_variables_from_services(case: str) -> None:
    for found, template in pods(manifests(values(case))):
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False, found["metadata"]["name"]
        # A Service named siphonwatch would become SIPHONWATCH_PORT, which siphonwatch refuses as an unknown setting.
        assert spec["enableServiceLinks"] is False, found["metadata"]["name"]


@each_case
def test_every_container_has_requests_limits_and_a_fixed_image(case: str) -> None:
    for found, template in pods(manifests(values(case))):
        for container in containers(template):
            for kind in ("requests", "limits"):
                assert container["resources"][kind].keys() == {"cpu", "memory"}, found["metadata"]["name"]
            image = container["image"]
            tag = image.rpartition(":")[2]
            assert "@sha256:" in image or (tag and tag != "latest" and "/" not in tag), image
        for volume in template["spec"]["volumes"]:
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"], volume


@each_case
def test_secrets_come_by_reference_alone(case: str) -> None:
    given = values(case)
    objects = manifests(given)
    for _, template in pods(objects):
        for container in containers(template):
            for variable in container.get("env", []):
                if variable["name"] in SECRET_VARIABLES:
                    assert variable.keys() == {"name", "valueFrom"}
                    assert variable["valueFrom"].keys() == {"secretKeyRef"}
                else:
                    assert "value" in variable
    held = [given["identity"].get("value"), given.get("kafka", {}).get("sasl", {}).get("value")]
    for secret in filter(None, held):
        assert {o["kind"] for o in objects if secret in json.dumps(o)} == {"Secret"}


def secrets_of(spec: dict[str, Any]) -> set[str]:
    """Names of the Secrets that a pod reads."""
    names = {e["valueFrom"]["secretKeyRef"]["name"] for c in spec["containers"] for e in c["env"] if "valueFrom" in e}
    names |= {source["secretRef"]["name"] for c in spec["containers"] for source in c.get("envFrom", [])}
    for volume in spec["volumes"]:
        names |= {volume["secret"]["secretName"]} if "secret" in volume else set()
        names |= {source["secret"]["name"] for source in volume.get("projected", {}).get("sources", [])}
    return names


def test_each_component_reads_only_the_secrets_it_needs() -> None:
    production = {o["metadata"]["name"]: secrets_of(t["spec"]) for o, t in pods(manifests(values("production")))}
    assert production == {
        "siphonwatch": {"siphonwatch-identity", "siphonwatch", "main-cluster-ca-cert"},
        "siphonwatch-deliver": {"siphonwatch", "main-cluster-ca-cert", "siphonwatch-sinks", "siphonwatch-grafana"},
    }
    elsewhere = {o["metadata"]["name"]: secrets_of(t["spec"]) for o, t in pods(manifests(values("sasl-tls")))}
    assert elsewhere == {
        "siphonwatch": {"siphonwatch-identity", "siphonwatch-kafka"},
        "siphonwatch-topics": {"siphonwatch-kafka"},
        "siphonwatch-provision": {"siphonwatch-grafana"},
    }


def test_secrets_made_from_values_are_where_pods_and_keda_look() -> None:
    objects = manifests(values("secrets-in-values"))
    made = {o["metadata"]["name"]: o["stringData"] for o in objects if o["kind"] == "Secret"}
    assert made == {
        "siphonwatch-identity": {"key": "only-for-a-trial-0123"},
        "siphonwatch-sasl": {"password": "correct horse"},
        "siphonwatch-topics": {"password": "correct horse"},
    }
    worker = one(objects, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    read = {
        e["valueFrom"]["secretKeyRef"]["name"]: e["valueFrom"]["secretKeyRef"]["key"]
        for e in worker["env"]
        if "valueFrom" in e
    }
    assert read == {"siphonwatch-identity": "key", "siphonwatch-sasl": "password"}
    (password,) = one(objects, "TriggerAuthentication")["spec"]["secretTargetRef"]
    assert password == {"parameter": "password", "name": "siphonwatch-sasl", "key": "password"}
    (job,) = one(objects, "Job")["spec"]["template"]["spec"]["containers"]
    assert [e["valueFrom"]["secretKeyRef"]["name"] for e in job["env"] if "valueFrom" in e] == ["siphonwatch-topics"]


def test_what_runs_before_the_release_exists_brings_all_it_needs() -> None:
    objects = manifests(values("secrets-in-values"))
    hooks = [o for o in objects if "helm.sh/hook" in o["metadata"].get("annotations", {})]
    weight = {
        (o["kind"], o["metadata"]["name"]): int(o["metadata"]["annotations"]["helm.sh/hook-weight"]) for o in hooks
    }
    job = one(hooks, "Job")
    needed = {
        ("ConfigMap", v["configMap"]["name"]) for v in job["spec"]["template"]["spec"]["volumes"] if "configMap" in v
    }
    needed |= {("Secret", name) for name in secrets_of(job["spec"]["template"]["spec"])}
    needed |= {("NetworkPolicy", "siphonwatch-topics")}
    assert needed == {key for key in weight if key[0] != "Job"}
    assert all(weight[key] < weight["Job", "siphonwatch-topics"] for key in needed)
    assert job["spec"]["template"]["spec"]["serviceAccountName"] == "default"


def test_traffic_that_is_not_listed_is_denied() -> None:
    objects = manifests(values("production"))
    base = one(objects, "NetworkPolicy", "siphonwatch")["spec"]
    assert base["policyTypes"] == ["Ingress", "Egress"]
    for _, template in pods(objects):
        assert base["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    (entry,) = base["ingress"]
    assert entry["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]
    dns, kafka = base["egress"]
    assert {(p["protocol"], p["port"]) for p in dns["ports"]} == {("UDP", 53), ("TCP", 53)} and dns["to"]
    assert kafka["ports"] == [{"protocol": "TCP", "port": 9093}]
    assert kafka["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kafka"}}}]
    sinks = one(objects, "NetworkPolicy", "siphonwatch-sinks")["spec"]
    assert sinks["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "deliver"
    assert sinks["egress"] == [{"ports": [{"protocol": "TCP", "port": 443}]}]


def test_ports_that_urls_name_are_open() -> None:
    sinks = {
        "a": {"kind": "alertmanager", "url": "http://alertmanager.monitoring.svc:9093/path"},
        "b": {"kind": "webhook", "url": "http://[2001:db8::1]/hook", "secret_file": "/run/secret"},
        "c": {"kind": "webhook", "url": "https://cases7/hook", "secret_file": "/run/secret"},
        "d": {"kind": "grafana"},
    }
    settings = {"sinks": sinks, "grafana": {"url": "http://grafana.monitoring.svc:8080"}}
    objects = manifests(merged(MINIMAL, {"settings": settings, "grafana": {"existingSecret": "grafana"}}))

    def ports(name: str) -> list[int]:
        (rule,) = one(objects, "NetworkPolicy", name)["spec"]["egress"]
        return [port["port"] for port in rule["ports"]]

    assert (ports("siphonwatch-sinks"), ports("siphonwatch-grafana")) == ([443, 9093, 80], [443, 3000, 8080])


def test_kafka_ports_are_those_of_the_bootstrap_unless_named() -> None:
    given = merged(values("minimal"), {"settings": {"kafka": {"bootstrap": "a.example:9094, b.example:9095,c:9094"}}})
    egress = one(manifests(given), "NetworkPolicy", "siphonwatch")["spec"]["egress"][1]
    assert [port["port"] for port in egress["ports"]] == [9094, 9095]
    named = one(manifests(values("named-and-placed")), "NetworkPolicy", "watch")["spec"]
    assert [port["port"] for port in named["egress"][1]["ports"]] == [9092, 19092]
    assert named["ingress"] == []
