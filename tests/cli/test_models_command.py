"""`siphonwatch models` keeps versions, deploys them by control records, and holds them to gates."""

from __future__ import annotations

from pathlib import Path

import click
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
from siphonwatch.streams.contracts.measured import Cohort, Measured
from siphonwatch.streams.contracts.measured import encode as encode_measured
from siphonwatch.streams.edge.producer import connect
from siphonwatch.streams.lab.registry.compare import compare
from siphonwatch.streams.lab.registry.gates import AT_MOST, Gates, GatesError, hold, line, read_gates
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
    other = make_version(msgspec.structs.replace(one.info, name="ext-3"), one.texts, {**one.supports, "steps": values})
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
    cohorts = {"extraction": {"program": Cohort(0.1, 0.12, 30.0), "conversation": Cohort(0.2, 0.1, 5.0)}}
    for partition, requests in ((0, 3_000), (0, 1_000), (1, 4_000)):
        one = Measured(
            stream="telemetry", partition=partition, version=version.id, requests=requests, seconds=requests * 1e-6,
            champion_seconds=requests * 4e-6, size=50_000, rows=100, cohorts=cohorts, event_time=7.0, time=9.0,
        )  # fmt: skip
        producer.send(settings.topic("shadow"), value=encode_measured(one), headers=headers)
    for role, chosen, told in (("champion", version.id, 10.0), ("previous", shipped().id, 10.0)):
        one = Applied(stream="telemetry", partition=0, role=role, version=chosen, offset=7, event_time=5.0, told=told)  # type: ignore[arg-type]
        producer.send(settings.topic("deployments"), value=encode(one))
    producer.close(30)
    report = msgspec.json.decode(run(settings, registry, "report", "ext-2", "--json").stdout)
    assert (report["cases_champion"], report["cases_challenger"], report["both"]) == (4, 3, 3)
    assert report["only_champion"] == [found[0].case]
    assert (report["requests"], report["unjudged"], report["bytes_an_account"]) == (8_000, 4, 500.0)
    assert report["max_cost"] == pytest.approx(0.25) and report["microseconds"] == pytest.approx(1.0)
    assert report["cohorts"]["extraction"] == pytest.approx({"program": 0.02, "conversation": -0.1})
    said = run(settings, registry, "report", "ext-2").output
    assert "8,000 requests seen" in said and "4 cases are unjudged" in said
    assert "1.00 microseconds a request, 0.25 of the champion's; 500 bytes an account" in said
    assert "as Ann stated on" in said and "days at least 7, verdicts at least 20" in said
    assert "by cohort: conversation -0.100, program +0.020" in said
    stopped = run(settings, registry, "promote", "ext-2")
    assert stopped.exit_code == 1
    assert f"FAILS  verdicts 0, bound 20: `siphonwatch models report {version.id}` shows it" in stopped.output
    assert "passes max_cost 0.25, bound 0.35" in stopped.output and "passes reproducible 1, bound 1" in stopped.output
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


@pytest.mark.parametrize("name", [field.name for field in msgspec.structs.fields(Gates)])
def test_each_gate_that_fails_names_its_number_its_bound_and_a_command_that_shows_it(
    name: str, settings: Settings, tmp_path: Path
) -> None:
    alerts = [to_alert(finding) for finding in findings(4)]
    verdicts = {alerts[0].subject: "true-positive"}
    cohorts = {"extraction": {"program": Cohort(0.1, 0.3, 30.0)}}
    measured = Measured(
        stream="telemetry", partition=0, version="0" * 12, requests=10, seconds=2.0, champion_seconds=4.0, size=5,
        rows=1, cohorts=cohorts, event_time=7.0, time=9.0,
    )  # fmt: skip
    shown = compare(alerts[:3], alerts[1:], verdicts, 0.0, max(a.data.time for a in alerts) / 1000, [measured])
    bound = "true" if name == "reproducible" else "0" if name in AT_MOST else "1000000000"
    (gate,) = hold(read_gates(f"[gates]\n{name} = {bound}"), shown, reproducible=False)
    said = line(gate, "0123456789ab")
    assert not gate.passed
    assert said.startswith(f"FAILS  {name} {gate.value:g}, bound {gate.bound:g}: `siphonwatch models ")
    words = said.partition("`siphonwatch ")[2].partition("`")[0].split()
    group = cli.get_command(click.Context(cli), words[0])
    assert isinstance(group, click.Group)
    shows = group.get_command(click.Context(group), words[1])
    assert shows is not None and shows.make_context(words[1], words[2:]).params["version"] == "0123456789ab"


def test_a_cost_that_nobody_measured_passes_no_gate() -> None:
    shown = compare([], [], {}, 0.0, 1.0)
    for gate in hold(Gates(max_cost=10.0, max_cohort_worse=1.0), shown):
        assert not gate.passed and "not measured" in line(gate, "0" * 12)
    of_none = {"extraction": {"program": Cohort(0.1, 0.3, 0.0)}}
    measured = Measured(
        stream="telemetry", partition=0, version="0" * 12, requests=1, seconds=0.0, champion_seconds=0.0, size=0,
        rows=0, cohorts=of_none, event_time=7.0, time=9.0,
    )  # fmt: skip
    shown = compare([], [], {}, 0.0, 1.0, [measured])
    assert shown.max_cost is None and shown.max_cohort_worse is None, "of no account-hours nothing is said"


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
