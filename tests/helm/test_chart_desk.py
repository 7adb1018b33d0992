"""The chart's desk and feedback service: who reaches them, what they hold, and that no desk is open to everybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import helm_python as helm
import msgspec
import pytest
from chart_tools import MINIMAL, manifests, merged, one, render, toml, values

from siphonwatch.streams.common.desk_access import check
from siphonwatch.streams.common.desk_settings import Desk
from siphonwatch.streams.common.settings import Settings, SettingsError, load
from siphonwatch.streams.deliver.feedback.service import pollable

BOTH, FORWARDED = values("desk-and-feedback"), values("desk-behind-a-port-forward")


def pod(given: dict[str, Any], part: str) -> Any:
    """The pod of a component."""
    return one(manifests(given), "Deployment", f"siphonwatch-{part}")["spec"]["template"]["spec"]


def read(given: dict[str, Any], part: str, folder: Path) -> Settings:
    """The settings of a component, as it reads them, its mounted files being in `folder`."""
    (container,) = pod(given, part)["containers"]
    environ = {e["name"]: e.get("value", "x" * 32) for e in container["env"] if e["name"] != "SIPHONWATCH_CONFIG"}
    file = folder / "siphonwatch.toml"
    file.write_text(toml(manifests(given), part).replace("/etc/siphonwatch/", f"{folder}/"))
    return load(environ, file).settings


def test_neither_runs_unless_it_is_asked_for() -> None:
    for case in ("minimal", "production"):
        assert not [o for o in manifests(values(case)) if o["metadata"]["name"].endswith(("-desk", "-feedback"))]


def test_the_desk_starts_with_the_settings_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "desk").mkdir()
    (tmp_path / "desk" / "oidc").write_text("secret of the client")
    found = read(BOTH, "desk", tmp_path)
    check(found.desk)
    assert (found.desk.secret, found.identity.key, found.kafka.sasl_password) == ("x" * 32,) * 3
    check(read(FORWARDED, "desk", tmp_path).desk)
    mounts = {mount["name"]: mount["mountPath"] for mount in pod(BOTH, "desk")["containers"][0]["volumeMounts"]}
    assert found.desk.index.startswith(mounts["index"] + "/") and mounts["desk"] == "/etc/siphonwatch/desk"


def test_its_index_is_on_a_volume_of_the_release_or_of_yours_or_in_the_pod() -> None:
    deployment = one(manifests(BOTH), "Deployment", "siphonwatch-desk")["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"}), "one pod may mount it"
    claim = one(manifests(BOTH), "PersistentVolumeClaim")
    assert claim["metadata"]["name"] == "siphonwatch-desk" and claim["spec"]["storageClassName"] == "fast"
    assert {"name": "index", "persistentVolumeClaim": {"claimName": "siphonwatch-desk"}} in pod(BOTH, "desk")["volumes"]
    mine = merged(BOTH, {"desk": {"volume": {"existingClaim": "mine"}}})
    assert {"name": "index", "persistentVolumeClaim": {"claimName": "mine"}} in pod(mine, "desk")["volumes"]
    assert {"name": "index", "emptyDir": {"sizeLimit": "2Gi"}} in pod(FORWARDED, "desk")["volumes"]
    for given in (mine, FORWARDED):
        assert not [o for o in manifests(given) if o["kind"] == "PersistentVolumeClaim"]


def test_several_desks_have_an_index_each_and_one_address() -> None:
    several = merged(BOTH, {"desk": {"replicas": 3}})
    found = one(manifests(several), "StatefulSet", "siphonwatch-desk")["spec"]
    (claim,) = found["volumeClaimTemplates"]
    (mount,) = [m for m in found["template"]["spec"]["containers"][0]["volumeMounts"] if m["name"] == "index"]
    assert found["replicas"] == 3 and mount["mountPath"] == "/var/lib/siphonwatch"
    assert (claim["metadata"]["name"], claim["spec"]["storageClassName"]) == ("index", "fast")
    assert "index" not in [volume["name"] for volume in found["template"]["spec"]["volumes"]]
    assert not [o for o in manifests(several) if o["kind"] == "PersistentVolumeClaim"]
    service = one(manifests(several), "Service", "siphonwatch-desk")["spec"]
    assert found["serviceName"] == "siphonwatch-desk" and service["publishNotReadyAddresses"] is False
    assert service["selector"].items() <= found["template"]["metadata"]["labels"].items()
    assert one(manifests(BOTH), "Service", "siphonwatch-desk")["spec"]["publishNotReadyAddresses"] is True
    passing = merged(several, {"desk": {"volume": {"persistent": False}}})
    found = one(manifests(passing), "StatefulSet", "siphonwatch-desk")["spec"]
    assert {"name": "index", "emptyDir": {"sizeLimit": "10Gi"}} in found["template"]["spec"]["volumes"]
    assert "volumeClaimTemplates" not in found
    for given, said in (
        (merged(several, {"desk": {"volume": {"existingClaim": "mine"}}}), "leave it out to have one made for each"),
        (merged(several, {"desk": {"sessionKey": ""}}), "refuse the sessions of the others"),
        (merged(FORWARDED, {"desk": {"replicas": 2}}), "a port-forward reaches one desk alone"),
    ):
        with pytest.raises(helm.HelmError, match=said):
            render(given)


def test_desks_that_share_a_database_have_no_volume_and_its_password_from_a_secret() -> None:
    at = {"database": "postgresql://desk@db.example:6543/cases"}
    given = merged(BOTH, {"desk": {"replicas": 3, "databasePasswordKey": "pg"}, "settings": {"desk": at}})
    found = one(manifests(given), "Deployment", "siphonwatch-desk")["spec"]
    assert found["replicas"] == 3 and found["strategy"] == {"type": "RollingUpdate"}
    spec = found["template"]["spec"]
    (container,) = spec["containers"]
    assert "index" not in [volume["name"] for volume in (*spec["volumes"], *container["volumeMounts"])]
    assert not [o for o in manifests(given) if o["kind"] == "PersistentVolumeClaim"]
    (password,) = [e["valueFrom"]["secretKeyRef"] for e in container["env"] if e["name"] == "PGPASSWORD"]
    assert password == {"name": BOTH["desk"]["existingSecret"], "key": "pg"}
    policy = one(manifests(given), "NetworkPolicy", "siphonwatch-desk")["spec"]
    assert [port["port"] for rule in policy["egress"] for port in rule["ports"]] == [443, 8443, 6543]
    alone = merged(FORWARDED, {"settings": {"desk": {"database": "postgresql://desk@db.example/cases"}}})
    policy = one(manifests(alone), "NetworkPolicy", "siphonwatch-desk")["spec"]
    assert policy["egress"] == [{"ports": [{"protocol": "TCP", "port": 5432}]}]


def test_only_who_is_named_reaches_the_pages_and_the_desk_only_the_provider() -> None:
    policy = one(manifests(BOTH), "NetworkPolicy", "siphonwatch-desk")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert policy["ingress"] == [
        {"from": BOTH["networkPolicy"]["desk"]["from"], "ports": [{"protocol": "TCP", "port": "pages"}]}
    ]
    assert [port["port"] for port in policy["egress"][0]["ports"]] == [443, 8443]
    closed = one(manifests(FORWARDED), "NetworkPolicy", "siphonwatch-desk")["spec"]
    assert closed["policyTypes"] == ["Ingress"] and "ingress" not in closed and "egress" not in closed
    assert one(manifests(BOTH), "Service", "siphonwatch-desk")["spec"]["type"] == "ClusterIP"


@pytest.mark.parametrize(
    "desk",
    [
        {},
        {"host": "::"},
        {"login": "oidc"},
        {"login": "oidc", "address": "http://desk.example"},
        {"login": "oidc", "address": "https://desk.example/cases"},
        {"login": "oidc", "address": "desk.example:6070"},
        {"login": "oidc", "address": "https://desk.example"},
        {"login": "proxy", "address": "https://desk.example", "read": ["staff"]},
        {"login": "oidc", "address": "https://desk.example", "read": ["staff"]},
        {"login": "oidc", "address": "https://desk.example", "read": ["staff"], "oidc_client": "desk",
         "oidc_issuer": "login.example"},
        {"login": "oidc", "address": "https://desk.example", "read": ["staff"], "oidc_client": "desk",
         "oidc_issuer": "http://login.example"},
    ],
)  # fmt: skip
def test_what_the_desk_would_refuse_is_not_rendered_in_the_same_words(desk: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as own:
        check(msgspec.convert({"host": "0.0.0.0", **desk}, Desk))  # noqa: S104 - inside a pod
    with pytest.raises(helm.HelmError) as refused:
        render(merged(MINIMAL, {"desk": {"enabled": True}, "settings": {"desk": desk}}))
    assert str(own.value) in str(refused.value).replace("settings.desk.", "desk.")
    assert render(merged(MINIMAL, {"settings": {"desk": desk}})), "no desk, nothing to refuse"


def test_the_feedback_service_polls_and_verifies_with_the_settings_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "sinks").mkdir()
    (tmp_path / "sinks" / "jira").write_text("token")
    (tmp_path / "sinks" / "feedback").write_text("whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIz")
    assert pollable(read(BOTH, "feedback", tmp_path)) == ["jira"]
    spec = pod(BOTH, "feedback")
    mount = {"name": "sinks", "mountPath": "/etc/siphonwatch/sinks", "readOnly": True}
    assert mount in spec["containers"][0]["volumeMounts"]
    assert not {e["name"] for e in spec["containers"][0]["env"]} & {
        "SIPHONWATCH_IDENTITY_KEY",
        "SIPHONWATCH_DESK_SECRET",
    }


def test_it_reaches_what_it_polls_and_who_is_named_reaches_it() -> None:
    policy = one(manifests(BOTH), "NetworkPolicy", "siphonwatch-feedback")["spec"]
    assert [port["port"] for port in policy["egress"][0]["ports"]] == [443, 8444]
    assert policy["ingress"] == [
        {"from": BOTH["networkPolicy"]["feedback"]["from"], "ports": [{"protocol": "TCP", "port": "http"}]}
    ]
    signed = {"settings": {"feedback": {"secret_file": "/run/secret"}}, "feedback": {"enabled": True}}
    alone = one(manifests(merged(MINIMAL, signed)), "NetworkPolicy", "siphonwatch-feedback")["spec"]
    assert alone["policyTypes"] == ["Ingress"] and "egress" not in alone


def test_the_notes_say_where_they_are() -> None:
    notes = render(BOTH)["siphonwatch/templates/NOTES.txt"]
    assert "https://desk.example" in notes and "http://siphonwatch-desk.detection.svc:7003" in notes
    assert "http://siphonwatch-feedback.detection.svc:7005/v1/verdicts" in notes
    notes = render(FORWARDED)["siphonwatch/templates/NOTES.txt"]
    assert "kubectl -n detection port-forward deployment/siphonwatch-desk 6070" in notes
