"""An alert is made again from the log up to it, and an account without one hears what holds it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result
from eval_fakes import Log, write_log

from siphonwatch.streams.cli import cli
from siphonwatch.streams.contracts.alert import Alert, decode, encode


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return write_log(tmp_path_factory.mktemp("explain") / "log", seed=13)


@pytest.fixture(scope="module")
def sent(log: Log, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alerts") / "alerts.ndjson"
    done = run("replay", str(log.requests), "--alerts", str(out), "--quiet")
    assert done.exit_code == 0, done.output
    return out


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, list(arguments))


def alerts(path: Path) -> list[Alert]:
    return [decode(line) for line in path.read_bytes().splitlines()]


def test_an_alert_is_made_again_identical_from_the_whole_log_and_from_its_beginning(
    log: Log, sent: Path, tmp_path: Path
) -> None:
    wanted = next(alert for alert in alerts(sent) if alert.kind == "opened")
    whole = run("explain", wanted.id, "--alerts", str(sent), "--exact", "--data", str(log.requests))
    assert whole.exit_code == 0, whole.output
    assert "identical after" in whole.output and wanted.own.counterfactual in whole.output
    assert f"card       {wanted.own.pattern} {wanted.own.card}" in whole.output
    for signal in wanted.own.signals:
        assert signal.meaning in whole.output
    lines = log.requests.read_bytes().splitlines(keepends=True)
    ids = [number for number, line in enumerate(lines) if wanted.own.sample_requests[0].encode() in line]
    part = tmp_path / "part.ndjson"
    part.write_bytes(b"".join(lines[: ids[0] + 1]))
    begun = run("explain", wanted.id, "--alerts", str(sent), "--exact", "--data", str(part))
    assert begun.exit_code == 0 and "identical after" in begun.output, "nothing later is part of it"


def test_the_first_field_that_differs_is_named(log: Log, sent: Path, tmp_path: Path) -> None:
    wanted = next(alert for alert in alerts(sent) if alert.kind == "opened")
    own = msgspec.structs.replace(wanted.own, requests_seen=wanted.own.requests_seen + 1, rank=0.5)
    unmapped = msgspec.structs.replace(wanted.data.unmapped, siphonwatch=own)
    data = msgspec.structs.replace(wanted.data, unmapped=unmapped)
    other = tmp_path / "other.ndjson"
    other.write_bytes(encode(msgspec.structs.replace(wanted, data=data)) + b"\n")
    said = run("explain", wanted.subject, "--alerts", str(other), "--exact", "--data", str(log.requests))
    assert said.exit_code == 1
    right = wanted.own.requests_seen
    assert f"requests_seen: {right + 1} was sent, {right} is made again" in said.output


def test_what_a_log_does_not_hold_is_not_made_again(log: Log, sent: Path, tmp_path: Path) -> None:
    wanted = next(alert for alert in alerts(sent) if alert.kind == "opened")
    lines = log.requests.read_bytes().splitlines(keepends=True)
    late = tmp_path / "late.ndjson"
    late.write_bytes(b"".join(lines[len(lines) - 50 :]))
    said = run("explain", wanted.id, "--alerts", str(sent), "--exact", "--data", str(late))
    assert said.exit_code == 1 and "not made again by 50 requests" in said.output
    assert run("explain", "ffff", "--alerts", str(sent)).exit_code == 1
    assert run("explain").exit_code == 2
    assert run("explain", wanted.id, "--exact").exit_code == 2


def test_an_account_without_an_alert_hears_what_holds_it_by_every_pattern(log: Log, sent: Path) -> None:
    named = {account for alert in alerts(sent) for account in alert.own.accounts}
    accounts = [msgspec.json.decode(line)["account"] for line in log.requests.read_bytes().splitlines()]
    quiet = next(account for account in accounts if account not in named)
    said = run("explain", "--why-not", quiet, "--data", str(log.requests))
    assert said.exit_code == 0, said.output
    assert (
        f"account {quiet}, {accounts.count(quiet):,} requests" in said.output and "no pattern told of it" in said.output
    )
    assert all(pattern in said.output for pattern in ("extraction", "scraping", "desensitisation"))
    assert "gate shut" in said.output and "would be evidence with" in said.output
    loud = run("explain", "--why-not", sorted(named)[0], "--data", str(log.requests))
    assert loud.exit_code == 0 and "told of it: " in loud.output
    nobody = run("explain", "--why-not", "nobody", "--data", str(log.requests))
    assert nobody.exit_code == 1 and "made no request" in nobody.output
