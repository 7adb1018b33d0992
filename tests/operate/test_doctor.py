"""`siphonwatch doctor` shows what is set and from where, hides secrets, and says how to repair what fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from siphonwatch.models.account.row import ROW
from siphonwatch.streams.common.settings import Settings, load
from siphonwatch.streams.lab.broker.process import free_port
from siphonwatch.streams.operate import doctor

KEY = "a-key-that-nobody-may-read"
QUIET = {name: value for name, value in os.environ.items() if not name.startswith("SIPHONWATCH_")}


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from siphonwatch.streams.cli import main; main()", "doctor", *arguments],
        env={**QUIET, "COLUMNS": "200", **variables},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_with_a_key_and_no_broker_wanted_all_is_well() -> None:
    done = run("--offline", SIPHONWATCH_IDENTITY_KEY=KEY)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "offline" in done.stdout


def test_json_holds_every_setting_with_value_source_and_variable() -> None:
    done = run("--offline", "--json", SIPHONWATCH_IDENTITY_KEY=KEY, SIPHONWATCH_SCORING_ALPHA="0.01")
    report = json.loads(done.stdout)
    settings = {row["name"]: row for row in report["settings"]}
    expected = {
        f"{section}.{field}"
        for section in Settings.__struct_fields__
        if section != "sinks"  # one section for each sink: tests/sinks
        for field in getattr(Settings(), section).__struct_fields__
    }
    assert set(settings) == expected
    assert settings["scoring.alpha"]["value"] == 0.01
    assert settings["scoring.alpha"]["source"] == "environment SIPHONWATCH_SCORING_ALPHA"
    assert settings["scoring.grace"]["source"] == "default"
    assert report["ok"] is True


def test_every_variable_that_doctor_names_sets_its_setting() -> None:
    for row in doctor.rows(load({})):
        value = row.value if isinstance(row.value, str) else json.dumps(row.value)
        if row.name not in doctor.SECRETS:
            assert load({row.variable: value}).sources == {row.name: f"environment {row.variable}"}


@pytest.mark.parametrize("arguments", [("--offline",), ("--offline", "--json")])
def test_secrets_are_never_shown(arguments: tuple[str, ...]) -> None:
    done = run(
        *arguments,
        SIPHONWATCH_IDENTITY_KEY=KEY,
        SIPHONWATCH_KAFKA_SASL_PASSWORD="pass-in-clear",
        SIPHONWATCH_KAFKA_SSL_PASSWORD="phrase-in-clear",
    )
    assert done.returncode == 0, done.stderr
    for secret in (KEY, "pass-in-clear", "phrase-in-clear"):
        assert secret not in done.stdout + done.stderr
    assert f"set, {len(KEY)} characters" in done.stdout


def test_a_missing_identity_key_fails_and_says_how_to_make_one() -> None:
    done = run("--offline")
    assert done.returncode == 1
    assert "SIPHONWATCH_IDENTITY_KEY" in done.stdout and "openssl rand -hex 32" in done.stdout
    assert "1 of 11 checks failed" in done.stderr


def test_an_unreachable_broker_fails_in_bounded_time_and_leaves_the_topics_out() -> None:
    nobody = f"127.0.0.1:{free_port()}"
    done = run("--json", SIPHONWATCH_IDENTITY_KEY=KEY, SIPHONWATCH_KAFKA_BOOTSTRAP=nobody)
    assert done.returncode == 1
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["broker"]["state"] == "failed" and nobody in checks["broker"]["message"]
    assert "kafka.bootstrap" in checks["broker"]["remedy"]
    assert checks["topics"]["state"] == "skipped"


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        ("SIPHONWATCH_SCORING_ALPHA", "7", "SIPHONWATCH_SCORING_ALPHA"),
        ("SIPHONWATCH_SCORING_ALHPA", "0.1", "SIPHONWATCH_SCORING_ALHPA"),
        ("SIPHONWATCH_CONFIG", "/nowhere/siphonwatch.toml", "/nowhere/siphonwatch.toml"),
    ],
)
def test_bad_settings_are_exit_code_2_and_named(variable: str, value: str, named: str) -> None:
    done = run("--offline", **{variable: value})
    assert done.returncode == 2
    assert named in done.stderr and "Traceback" not in done.stderr


def test_an_unregistered_transport_is_found() -> None:
    check = doctor.transport("faust.transports.of.nobody")
    assert check.state == "failed" and "pip install" in check.remedy


def test_the_registered_transport_loads() -> None:
    assert doctor.transport().state == "ok"


@pytest.mark.parametrize(("now", "state"), [(0.0, "failed"), (1.8e9, "ok"), (9e9, "failed")])
def test_a_clock_out_of_our_age_is_found(now: float, state: str) -> None:
    assert doctor.clock(now).state == state


def test_a_cache_folder_that_cannot_be_written_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check = doctor.compiled({"NUMBA_CACHE_DIR": str(tmp_path / "file" / "cache")})
    assert check.state == "failed" and "NUMBA_CACHE_DIR" in check.remedy
    assert doctor.compiled({"NUMBA_CACHE_DIR": str(tmp_path / "cache")}).state == "ok"


@pytest.mark.broker
def test_doctor_names_the_topics_that_are_missing_until_they_are_created(tmp_path: Path) -> None:
    from siphonwatch.streams.lab.broker.embedded import EmbeddedBroker
    from siphonwatch.streams.operate.topics import connect, create

    with EmbeddedBroker(tmp_path / "broker.log") as broker:
        settings = load({"SIPHONWATCH_KAFKA_BOOTSTRAP": broker.bootstrap, "SIPHONWATCH_IDENTITY_KEY": KEY}).settings
        before = {check.name: check for check in doctor.examine(settings)}
        with connect(settings.kafka) as admin:
            create(settings, admin)
        after = doctor.examine(settings)
    assert before["broker"].state == "ok" and "1 broker" in before["broker"].message
    assert before["topics"].state == "failed"
    assert settings.topic("telemetry") in before["topics"].message
    assert "siphonwatch topics --create" in before["topics"].remedy
    assert {check.name: check.state for check in after if check.state != "ok"} == {
        "links": "warning", "group": "warning",
    }  # fmt: skip


def test_links_that_lead_nowhere_are_a_warning_and_fail_nothing() -> None:
    relative = doctor.links(Settings())
    assert relative.state == "warning" and "links.runbook" in relative.remedy
    settings = Settings()
    settings.links.runbook = "https://wiki.example/runbook.md"
    assert doctor.links(settings).state == "ok"


def test_the_row_is_told_by_part_and_the_parts_add_up() -> None:
    check = doctor.row()
    head, _, rest = check.message.partition(" bytes: ")
    total = int(head.replace(",", ""))
    parts = [int(part.rpartition(" ")[2].replace(",", "")) for part in rest.split(", ")]
    assert check.state == "ok" and total == ROW.itemsize
    assert sum(parts) == total
