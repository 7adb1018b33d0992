"""The archiver of the chart: what it runs, where its archive is, and what reaches it."""

from __future__ import annotations

from typing import Any

import click
import helm_python as helm
import pytest
from chart_tools import MINIMAL, containers, manifests, merged, one, render, values

from siphonwatch.streams.cli import cli


def archiver(given: dict[str, Any]) -> Any:
    """The pod of the archiver."""
    return one(manifests(given), "Deployment", "siphonwatch-archive")["spec"]["template"]["spec"]


def parsed(spec: Any) -> dict[str, Any]:
    """What the archiver's command line says, read by the command itself."""
    (container,) = containers({"spec": spec})
    name, *rest = container["args"]
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return dict(command.make_context(name, rest).params)


def test_none_runs_unless_it_is_asked_for() -> None:
    for case in ("minimal", "production"):
        assert not [o for o in manifests(values(case)) if o["metadata"]["name"].endswith("-archive")]


def test_on_a_volume_it_writes_there_and_the_volume_outlives_the_release() -> None:
    objects = manifests(values("archive-on-a-volume"))
    spec = archiver(values("archive-on-a-volume"))
    said = parsed(spec)
    (container,) = spec["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert said["url"].startswith(mounts["archive"] + "/")
    assert (said["metrics_port"], said["metrics_host"]) == (6068, "0.0.0.0")  # noqa: S104 - inside a pod
    assert (said["step_rows"], said["step_seconds"]) == (131_072, 300)
    claim = one(objects, "PersistentVolumeClaim")
    (volume,) = [v for v in spec["volumes"] if v["name"] == "archive"]
    assert volume["persistentVolumeClaim"] == {"claimName": claim["metadata"]["name"]}
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert claim["spec"]["storageClassName"] == "fast"
    assert one(objects, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}, "one pod may mount it"
    assert not [o for o in objects if o["kind"] == "NetworkPolicy" and o["metadata"]["name"].endswith("-archive")]


def test_a_claim_of_your_own_is_used_and_none_is_made() -> None:
    given = merged(MINIMAL, {"archive": {"enabled": True, "volume": {"existingClaim": "mine"}}})
    assert {"name": "archive", "persistentVolumeClaim": {"claimName": "mine"}} in archiver(given)["volumes"]
    assert not [o for o in manifests(given) if o["kind"] == "PersistentVolumeClaim"]


def test_in_a_store_it_has_credentials_by_a_secret_and_a_way_there_that_no_other_pod_has() -> None:
    objects = manifests(values("archive-in-a-store"))
    spec = archiver(values("archive-in-a-store"))
    (container,) = spec["containers"]
    assert parsed(spec)["url"] == "s3://bucket/siphonwatch"
    assert container["envFrom"] == [{"secretRef": {"name": "siphonwatch-archive"}}]
    assert container["image"] == "registry.example/siphonwatch-s3:0.1.0"
    assert {v["name"] for v in spec["volumes"]} == {"config", "tmp"}
    assert not [o for o in objects if o["kind"] == "PersistentVolumeClaim"]
    policy = one(objects, "NetworkPolicy", "siphonwatch-archive")["spec"]
    assert policy["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "archive"
    assert policy["egress"] == [{"ports": [{"protocol": "TCP", "port": 9000}]}]


def test_it_knows_what_was_ingested_twice_and_opens_nothing() -> None:
    given = merged(values("archive-in-a-store"), {"identity": {"sealKey": "seal"}})
    (container,) = archiver(given)["containers"]
    names = {variable["name"] for variable in container["env"]}
    assert {"SIPHONWATCH_IDENTITY_KEY", "SIPHONWATCH_KAFKA_SASL_PASSWORD"} <= names
    assert "SIPHONWATCH_IDENTITY_SEAL_KEY" not in names


@pytest.mark.parametrize(
    ("archive", "said"),
    [
        ({"url": "bucket/siphonwatch"}, "archive.url is bucket/siphonwatch: write an object store's URL"),
        ({"image": "registry.example/siphonwatch:latest"}, "archive.image is a latest one"),
    ],
)
def test_what_cannot_work_is_refused(archive: dict[str, Any], said: str) -> None:
    with pytest.raises(helm.HelmError) as refused:
        render(merged(MINIMAL, {"archive": {"enabled": True, **archive}}))
    assert said in str(refused.value)
