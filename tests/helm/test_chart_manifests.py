"""Every object of every example and variant is what Kubernetes and the custom resources' own schemas take."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import helm_python as helm
import jsonschema
import kubernetes_validate
import pytest
from chart_tools import CASES, CHART, MINIMAL, containers, manifests, merged, one, pods, render, values

VERSIONS = ("1.27", "1.37")
"""Oldest that Chart.yaml admits, newest that there are schemas of."""
CRDS = {
    (found["apiVersion"], found["kind"]): found["openAPIV3Schema"]
    for found in (json.loads(path.read_text()) for path in (Path(__file__).parent / "crds").glob("*.json"))
}
each_case = pytest.mark.parametrize("case", CASES)


def strict(schema: Any) -> Any:
    """Return a custom resource's schema with unknown fields as errors: Kubernetes would drop them silently."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: strict(value) for key, value in schema.items()}
    free = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not free:
        closed["additionalProperties"] = False
    return closed


def check(found: dict[str, Any], version: str) -> None:
    """Validate one object.

    Raises
    ------
    ValidationError
        When it is not what its schema says.
    """
    key = (found["apiVersion"], found["kind"])
    if key not in CRDS:
        kubernetes_validate.validate(found, version, strict=True)
        return
    schema = strict(CRDS[key])
    schema["properties"]["metadata"] = {"type": "object"}
    jsonschema.Draft202012Validator(schema).validate(found)
    kubernetes_validate.validate(  # its metadata are Kubernetes' own
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": found["metadata"]}, version, strict=True
    )


@each_case
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_valid(case: str, version: str) -> None:
    objects = manifests(values(case))
    assert {"StatefulSet", "Service", "ConfigMap"} <= {found["kind"] for found in objects}
    for found in objects:
        check(found, version)


def test_all_custom_resources_are_rendered_somewhere() -> None:
    made = {(o["apiVersion"], o["kind"]) for case in CASES for o in manifests(values(case))}
    assert set(CRDS) <= made


@pytest.mark.parametrize(
    ("kind", "break_it"),
    [
        ("StatefulSet", lambda o: o["spec"].update(podManagement="Parallel")),
        ("ServiceMonitor", lambda o: o["spec"].update(joblabel="x")),
        ("ScaledObject", lambda o: o["spec"].update(maxReplicaCount="many")),
        ("KafkaTopic", lambda o: o["spec"].update(partition=1)),
        ("KafkaUser", lambda o: o["spec"]["authorization"]["acls"][0].update(operations=["Look"])),
        ("PrometheusRule", lambda o: o["spec"]["groups"][0].pop("name")),
    ],
)
def test_the_schemas_refuse_what_is_wrong(kind: str, break_it: Any) -> None:
    found = next(o for o in manifests(values("production")) if o["kind"] == kind)
    check(found, VERSIONS[0])
    break_it(found)
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(found, VERSIONS[0])


@each_case
def test_helm_finds_nothing_to_complain_about(case: str) -> None:
    report = helm.lint(CHART, values(case), strict=True, namespace="detection")
    assert report["errors"] == []
    assert [m for m in report["messages"] if m["severity"] > 1] == []


@each_case
def test_no_two_objects_share_kind_and_name(case: str) -> None:
    names = [(o["kind"], o["metadata"]["name"], o["metadata"].get("namespace")) for o in manifests(values(case))]
    assert len(names) == len(set(names))


@each_case
def test_selectors_select_the_pods_they_are_for(case: str) -> None:
    objects = manifests(values(case))
    labels = {o["metadata"]["name"]: template["metadata"]["labels"] for o, template in pods(objects)}
    for found, template in pods(objects):
        if found["kind"] != "Job":
            assert found["spec"]["selector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    for found in objects:
        if found["kind"] in ("Service", "PodDisruptionBudget"):
            selector = found["spec"]["selector"]
            chosen = [
                name for name, have in labels.items() if selector.get("matchLabels", selector).items() <= have.items()
            ]
            assert chosen == [found["metadata"]["name"]]
        if found["kind"] == "NetworkPolicy":
            chosen = [
                n for n, have in labels.items() if found["spec"]["podSelector"]["matchLabels"].items() <= have.items()
            ]
            assert chosen, found["metadata"]["name"]
    if worker := [o for o in objects if o["kind"] == "StatefulSet"]:
        assert (
            worker[0]["spec"]["serviceName"]
            == one(objects, "Service", worker[0]["spec"]["serviceName"])["metadata"]["name"]
        )
        for constraint in worker[0]["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
            assert constraint["labelSelector"]["matchLabels"] == worker[0]["spec"]["selector"]["matchLabels"]


@each_case
def test_two_releases_in_a_namespace_share_no_pods(case: str) -> None:
    first, second = (manifests(merged(values(case), {"fullnameOverride": n}), name=n) for n in ("one", "two"))
    for found, _ in pods(first):
        for _, template in pods(second):
            selector = found["spec"].get("selector", {"matchLabels": found["metadata"]["labels"]})["matchLabels"]
            assert not selector.items() <= template["metadata"]["labels"].items()


@each_case
def test_ports_have_one_name_and_number_everywhere(case: str) -> None:
    given = values(case)
    settings = merged(
        {"web": {"port": 6066}, "deliver": {"port": 6067}, "desk": {"port": 6070, "status_port": 6071},
         "feedback": {"port": 6068}}, given["settings"],
    )  # fmt: skip
    archive = given.get("archive", {}).get("port", 6068)
    objects = manifests(given)
    numbers = {
        "worker": settings["web"]["port"], "deliver": settings["deliver"]["port"], "archive": archive,
        "desk": settings["desk"]["status_port"], "feedback": settings["feedback"]["port"],
    }  # fmt: skip
    for found, template in pods(objects):
        if found["kind"] == "Job":
            continue
        (container,) = template["spec"]["containers"]
        ports = {"http": numbers[container["name"]]}
        if container["name"] == "desk":
            ports["pages"] = settings["desk"]["port"]
        assert {port["name"]: port["containerPort"] for port in container["ports"]} == ports
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert container[probe]["httpGet"]["port"] == "http"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert (
            container["livenessProbe"]["httpGet"]["path"] == container["startupProbe"]["httpGet"]["path"] == "/healthz"
        )
        served = one(objects, "Service", found["metadata"]["name"])["spec"]["ports"]
        assert served == [{"name": name, "port": number, "targetPort": name} for name, number in ports.items()]
    for found in objects:
        if found["kind"] == "ServiceMonitor":
            assert [endpoint["port"] for endpoint in found["spec"]["endpoints"]] == ["http"]
        if found["kind"] == "NetworkPolicy":
            for rule in found["spec"].get("ingress", []):
                assert rule["ports"] == [
                    {"protocol": "TCP", "port": "pages" if found["metadata"]["name"].endswith("-desk") else "http"}
                ]


def test_volumes_mounts_and_references_are_all_there() -> None:
    for case in CASES:
        objects = manifests(values(case))
        configs = {o["metadata"]["name"] for o in objects if o["kind"] == "ConfigMap"}
        for found, template in pods(objects):
            volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
            claims = {claim["metadata"]["name"] for claim in found["spec"].get("volumeClaimTemplates", ())}
            mounted = {mount["name"] for container in containers(template) for mount in container["volumeMounts"]}
            assert mounted == set(volumes) | claims and not claims & set(volumes)
            assert volumes["config"]["configMap"]["name"] in configs


def test_long_release_names_leave_room_for_what_kubernetes_adds() -> None:
    for found in manifests(values("production"), name="a" * 53):
        assert len(found["metadata"]["name"]) <= 63
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", found["metadata"]["name"])


def test_a_chart_without_the_two_needed_values_says_which() -> None:
    with pytest.raises(helm.HelmRenderError) as caught:
        render({})
    assert "settings.kafka.bootstrap is empty" in str(caught.value)
    assert "there is no identity key" in str(caught.value)


def test_what_was_scaled_by_hand_stays_and_keda_is_left_alone() -> None:
    assert one(manifests(MINIMAL), "StatefulSet")["spec"]["replicas"] == 2
    assert one(manifests(merged(MINIMAL, {"worker": {"replicas": 5}})), "StatefulSet")["spec"]["replicas"] == 5
    one_partition = merged(MINIMAL, {"settings": {"topics": {"partitions": 1}}})
    assert one(manifests(one_partition), "StatefulSet")["spec"]["replicas"] == 1
    assert "replicas" not in one(manifests(values("production")), "StatefulSet")["spec"]
