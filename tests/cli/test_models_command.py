"""`siphonwatch models` keeps versions, deploys them by control records, and holds them to gates."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from alert_samples import fill, findings
from click.testing import CliRunner, Result
from version_samples import changed

from siphonwatch.models.learn.version import make_version, shipped
from siphonwatch.streams.cli import cli
from siphonwatch.streams.cli.allow import recorded
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.alert import encode as encode_alert
from siphonwatch.streams.contracts.alert import to_alert
from siphonwatch.streams.contracts.control import Deploy
from siphonwatch.streams.contracts.deployment import Applied, encode
from siphonwatch.streams.edge.producer import connect
from siphonwatch.streams.lab.registry.compare import compare
from siphonwatch.streams.lab.registry.gates import Gates, GatesError, hold, read_gates
from siphonwatch.streams.lab.registry.store import write_files


def run(settings: Settings, registry: Path, *arguments: str) -> Result:
    environment = {
        "SIPHONWATCH_KAFKA_BOOTSTRAP": settings.kafka.bootstrap,
        "SIPHONWATCH_TOPICS_PREFIX": settings.topics.prefix,
        "SIPHONWATCH_MODELS_REGISTRY": str(registry),
    }
    return CliRunner().invoke(cli, ["models", *arguments], env=environment)


def test_versions_are_added_listed_shown_and_compared_without_a_broker(tmp_path: Path) -> None:
    version, settings = changed(learned=True), Settings()
    write_files(str(tmp_path / "v"), version.files())
    result = run(settings, tmp_path / "r", "add", str(tmp_path / "v"), "--alias", "may")
    assert result.output.strip() == version.id
    listed = run(settings, tmp_path / "r", "list").output
    assert version.id in listed and shipped().id in listed and "may" in listed
    assert f"ext-2 {version.id}" in run(settings, tmp_path / "r", "show", "may").output
    compared = run(settings, tmp_path / "r", "diff", "shipped", "ext-2").output
    assert compared.startswith("extraction: ") and "null: " in compared and "only in" in compared
    card = tmp_path / "v" / "cards" / "extraction.toml"
    card.write_bytes(card.read_bytes() + b"# later")
    refused = run(settings, tmp_path / "r", "add", str(tmp_path / "v"))
    assert refused.exit_code == 1 and "extraction.toml has sha256" in refused.output
    assert run(settings, tmp_path / "r", "show", "nothing").exit_code == 1


def test_two_versions_of_one_card_differ_by_their_learned_supports(tmp_path: Path) -> None:
    one, settings = changed(learned=True), Settings()
    values = {**one.supports["steps"], "value": np.array([0.0, 0.0, -1.5, 0.0, 0.5, 3.0])}
    other = make_version(msgspec.structs.replace(one.info, name="ext-3"), one.texts, {"steps": values})
    for version in (one, other):
        write_files(str(tmp_path / version.name), version.files())
        assert run(settings, tmp_path / "r", "add", str(tmp_path / version.name)).exit_code == 0
    compared = run(settings, tmp_path / "r", "diff", "ext-2", "ext-3").output
    assert "extraction: " in compared and "support steps: other arrays" in compared


@pytest.mark.broker
def test_a_version_is_shadowed_held_to_gates_forced_rolled_back_and_looked_up(
    settings: Settings, tmp_path: Path
) -> None:
    version = changed(learned=True)
    write_files(str(tmp_path / "v"), version.files())
    found = findings(4)
    fill(settings, found)
    registry = tmp_path / "r"
    assert run(settings, registry, "add", str(tmp_path / "v")).exit_code == 0
    never = run(settings, registry, "report", "ext-2")
    assert never.exit_code == 1 and "was never in the shadow" in never.output
    assert run(settings, registry, "shadow", "ext-2", "--by", "Ann").exit_code == 0
    (record,) = [c for c in recorded(settings) if isinstance(c, Deploy)]
    assert (record.id, record.version, record.by) == ("challenger", version.id, "Ann")

    producer = connect(settings, "tests")
    for finding in found[1:]:
        headers = [("role", b"challenger"), ("version", version.id.encode())]
        producer.send(settings.topic("shadow"), value=encode_alert(to_alert(finding)), headers=headers)
    for role, chosen, told in (("champion", version.id, 10.0), ("previous", shipped().id, 10.0)):
        one = Applied(stream="telemetry", partition=0, role=role, version=chosen, offset=7, event_time=5.0, told=told)  # type: ignore[arg-type]
        producer.send(settings.topic("deployments"), value=encode(one))
    producer.close(30)
    report = msgspec.json.decode(run(settings, registry, "report", "ext-2", "--json").stdout)
    assert (report["cases_champion"], report["cases_challenger"], report["both"]) == (4, 3, 3)
    assert report["only_champion"] == [found[0].case]
    stopped = run(settings, registry, "promote", "ext-2")
    assert stopped.exit_code == 1 and "FAILS  verdicts 0, bound 20" in stopped.output
    assert f"siphonwatch models report {version.id}" in stopped.output
    assert run(settings, registry, "promote", "ext-2", "--force").exit_code == 2
    forced = run(settings, registry, "promote", "ext-2", "--force", "--by", "Ann", "--why", "now")
    assert forced.exit_code == 0, forced.output
    champion = [c for c in recorded(settings) if isinstance(c, Deploy) and c.id == "champion"][-1]
    assert (champion.version, champion.forced, champion.why) == (version.id, True, "now")
    assert {gate.name for gate in champion.gates if not gate.passed} >= {"verdicts"}
    assert f"champion: {version.id}" in run(settings, registry, "at").output
    assert "nothing was deployed by then" in run(settings, registry, "at", "1970-01-01 00:00:01").output
    back = run(settings, registry, "rollback", "--by", "Ann")
    assert back.exit_code == 0, back.output
    assert [c for c in recorded(settings) if isinstance(c, Deploy) and c.id == "champion"][-1].version == shipped().id


def test_gates_are_held_by_number_and_bound() -> None:
    alerts = [to_alert(finding) for finding in findings(4)]
    verdicts = {alert.subject: "true-positive" for alert in alerts[:3]} | {alerts[3].subject: "false-positive"}
    shown = compare(alerts, alerts[1:], verdicts, 0.0, max(a.data.time for a in alerts) / 1000)
    assert (shown.confirmed, shown.found, shown.verdicts, len(shown.worse)) == (3, 2, 4, 1)
    held = {gate.name: gate for gate in hold(Gates(verdicts=4, worse_patterns=0, recall_low=0.9), shown)}
    assert held["verdicts"].passed and not held["worse_patterns"].passed and not held["recall_low"].passed
    assert list(held) == ["verdicts", "recall_low", "worse_patterns"]
    with pytest.raises(GatesError, match="speed"):
        read_gates("[gates]\nspeed = 3")
