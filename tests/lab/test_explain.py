"""An alert is made again from the log up to it, and an account without one hears what holds it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result
from eval_fakes import Log, write_log
from worker_tools import KEY, prepare, produce, read, traffic

from siphonwatch.models.account.murmur import partitions_of
from siphonwatch.models.learn.version import shipped
from siphonwatch.streams.cli import cli
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.tail import Tail
from siphonwatch.streams.contracts.alert import Alert, decode, encode, to_alert
from siphonwatch.streams.contracts.model import Judged, Model
from siphonwatch.streams.contracts.telemetry import encode as encode_telemetry
from siphonwatch.streams.lab.archive.store import Store
from siphonwatch.streams.lab.archive.writer import Writer
from siphonwatch.streams.worker.decode import Decoder
from siphonwatch.streams.worker.scoring import make_scorer


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


def replaced(alert: Alert, **own: Any) -> Alert:
    """An alert with other facts of ours."""
    unmapped = msgspec.structs.replace(alert.data.unmapped, siphonwatch=msgspec.structs.replace(alert.own, **own))
    return msgspec.structs.replace(alert, data=msgspec.structs.replace(alert.data, unmapped=unmapped))


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


def test_what_made_an_alert_is_compared_but_for_what_the_data_do_not_say(log: Log, sent: Path, tmp_path: Path) -> None:
    wanted = next(alert for alert in alerts(sent) if alert.kind == "opened")
    assert isinstance(wanted.own.model, Model)
    said = run("explain", wanted.id, "--alerts", str(sent), "--exact", "--data", str(log.requests))
    left_out = "rank, ranking, model.reference, model.checkpoint, model.offset"
    assert said.exit_code == 0 and said.output.rstrip().endswith(f"not compared: {left_out}")
    assert f"model      version {shipped().id}, telemetry[0], offset {wanted.own.model.offset:,}" in said.output
    other = replaced(wanted, model=msgspec.structs.replace(wanted.own.model, version="0" * 12, offset=7))
    (tmp_path / "other").write_bytes(encode(other) + b"\n")
    said = run("explain", other.id, "--alerts", str(tmp_path / "other"), "--exact", "--data", str(log.requests))
    assert said.exit_code == 1 and f"model.version: '{'0' * 12}' was sent, '{shipped().id}' is made" in said.output
    before = replaced(wanted, model=msgspec.UNSET, second_stage=0.97)
    (tmp_path / "before").write_bytes(encode(before) + b"\n")
    said = run("explain", before.id, "--alerts", str(tmp_path / "before"), "--exact", "--data", str(log.requests))
    assert said.exit_code == 0 and said.output.rstrip().endswith("rank, ranking, second_stage, model"), (
        "of an older release"
    )


@pytest.mark.parametrize("partitions", [1, 3])
def test_an_alert_of_a_worker_is_made_again_from_the_archive_with_its_offset(
    partitions: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIPHONWATCH_IDENTITY_KEY", KEY)
    values = [encode_telemetry(record) for record in traffic()]
    requests = Decoder().decode(values).requests
    here = partitions_of(requests["account"], partitions)
    writer, told = Writer(Store(str(tmp_path / "archive"))), []
    for number in range(partitions):
        scorer, places = make_scorer(Settings()), np.flatnonzero(here == number)
        offsets = 1000 * number + 5 + 2 * np.arange(len(places))
        for finding in scorer.score(requests[places], offsets):
            judged = Judged(shipped().id, "telemetry", number, finding.offset, "0" * 16, 17)
            told.append(to_alert(finding, judged=judged))
        writer.begin("telemetry", number, "one", 0)
        writer.take("telemetry", number, [values[i] for i in places.tolist()], offsets, 1000 * places)
    writer.close()
    for wanted in (told[0], told[len(told) // 2], told[-1]):
        (tmp_path / "alert").write_bytes(encode(wanted) + b"\n")
        data = ["--exact", "--data", str(tmp_path / "archive"), "--partitions", str(partitions)]
        said = run("explain", wanted.id, "--alerts", str(tmp_path / "alert"), *data)
        assert said.exit_code == 0, said.output
        assert said.output.rstrip().endswith("rank, ranking, model.reference, model.checkpoint")
        assert isinstance(wanted.own.model, Model) and isinstance(wanted.own.model.offset, int)
        offset = wanted.own.model.offset
        other = replaced(wanted, model=msgspec.structs.replace(wanted.own.model, offset=offset + 1))
        (tmp_path / "alert").write_bytes(encode(other) + b"\n")
        said = run("explain", wanted.id, "--alerts", str(tmp_path / "alert"), *data)
        assert said.exit_code == 1 and f"model.offset: {offset + 1} was sent, {offset} is made again" in said.output


@pytest.mark.broker
async def test_an_alert_is_made_again_from_the_topic_or_the_offsets_that_left_it_are_named(
    tansu: str, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings()
    settings.kafka.bootstrap, settings.topics.prefix = tansu, prefix
    prepare(settings, 2)
    for name, value in (("KAFKA_BOOTSTRAP", tansu), ("TOPICS_PREFIX", prefix), ("IDENTITY_KEY", KEY)):
        monkeypatch.setenv(f"SIPHONWATCH_{name}", value)
    await produce(settings, traffic())
    told = []
    for number in range(2):
        values = await read(settings, "telemetry", number)
        requests = Decoder().decode(values).requests
        for finding in make_scorer(Settings()).score(requests, np.arange(len(requests))):
            judged = Judged(shipped().id, "telemetry", number, finding.offset, "0" * 16, 17)
            told.append(to_alert(finding, judged=judged))
    (first, *_, last) = sorted(told, key=lambda alert: alert.own.model.offset)  # type: ignore[union-attr]
    out = tmp_path / "alerts"

    def said(alert: Alert) -> Result:
        out.write_bytes(encode(alert) + b"\n")
        return run("explain", alert.id, "--alerts", str(out), "--exact")

    for wanted in (first, last):
        result = await asyncio.to_thread(said, wanted)
        assert result.exit_code == 0, result.output
        assert result.output.rstrip().endswith("rank, ranking, model.reference, model.checkpoint")
    model = last.own.model
    assert isinstance(model, Model)
    beyond = replaced(last, model=msgspec.structs.replace(model, offset=10**6))
    result = await asyncio.to_thread(said, beyond)
    assert result.exit_code == 1 and "it was made anew since; give an archive" in result.output
    unnamed = await asyncio.to_thread(said, replaced(last, model=msgspec.UNSET))
    assert unnamed.exit_code == 1 and "of a release that named no record" in unnamed.output
    monkeypatch.setattr(Tail, "begin", lambda self, tp: 1234)
    gone = await asyncio.to_thread(said, last)
    assert gone.exit_code == 1
    assert f"offsets that have left {prefix}.telemetry.v1, by partition: {model.partition}: 0 to 1,233;" in gone.output
    assert "--data DIR" in gone.output


def test_the_first_field_that_differs_is_named(log: Log, sent: Path, tmp_path: Path) -> None:
    wanted = next(alert for alert in alerts(sent) if alert.kind == "opened")
    other = tmp_path / "other.ndjson"
    changed = replaced(wanted, requests_seen=wanted.own.requests_seen + 1, rank=0.5)
    other.write_bytes(encode(changed) + b"\n")
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
    assert run("explain", "--why-not", "org-1").exit_code == 2


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
