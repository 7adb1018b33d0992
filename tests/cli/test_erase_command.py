"""`siphonwatch erase` sends an order, blanks verdicts, and prints the receipt of all partitions."""

from __future__ import annotations

import json
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pyarrow.parquet as pq
import pytest
from alert_samples import findings
from click.testing import CliRunner, Result
from worker_tools import traffic

from siphonwatch.streams.cli import Failure, cli
from siphonwatch.streams.cli import erase as erase_command
from siphonwatch.streams.cli.allow import recorded
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.tail import Tail
from siphonwatch.streams.contracts import desk, receipt, verdict
from siphonwatch.streams.contracts.alert import to_alert
from siphonwatch.streams.contracts.control import Erase
from siphonwatch.streams.contracts.receipt import Receipt
from siphonwatch.streams.contracts.telemetry import encode
from siphonwatch.streams.edge.producer import connect
from siphonwatch.streams.lab.dataset.make import Wish, make
from siphonwatch.streams.lab.dataset.read import Dataset
from siphonwatch.streams.operate.topics import connect as admin_of
from siphonwatch.streams.operate.topics import create

KEY = "a secret of the tests only"


def run(settings: Settings, *arguments: str) -> Result:
    environment = {
        "SIPHONWATCH_KAFKA_BOOTSTRAP": settings.kafka.bootstrap,
        "SIPHONWATCH_TOPICS_PREFIX": settings.topics.prefix,
        "SIPHONWATCH_IDENTITY_KEY": KEY,
    }
    return CliRunner().invoke(cli, ["erase", *arguments], env=environment)


def answer(settings: Settings, partitions: int, orders: int) -> None:
    """Answer as workers do, so many orders."""
    answered: set[str] = set()
    end = time.monotonic() + 120
    while len(answered) < orders and time.monotonic() < end:
        for order in recorded(settings):
            if isinstance(order, Erase) and order.id not in answered:
                answered.add(order.id)
                producer = connect(settings, "tests")
                for stream in ("telemetry", "sightings"):
                    for number in range(partitions):
                        one = Receipt(
                            order=order.id, stream=stream, partition=number, offset=7, dry_run=order.dry_run,
                            counts={"rows": int(stream == "telemetry" and number == 0)}, time=time.time(),
                        )  # fmt: skip
                        for _ in range(2):  # after a crash a partition answers again
                            producer.send(settings.topic("receipts"), receipt.encode(one), order.id.encode())
                producer.close(30)
        time.sleep(0.2)


def archived(where: Path, account: str) -> None:
    """An archive with one request of an account, and others."""
    log = where / "telemetry.ndjson"
    one = msgspec.structs.replace(traffic()[0], account=account)
    log.write_bytes(b"".join(encode(record) + b"\n" for record in [one, *traffic()[1:50]]))
    made = CliRunner().invoke(cli, ["archive", "--from", str(log), "--to", str(where / "archive"), "--plain-ids"])
    assert made.exit_code == 0, made.output


@pytest.fixture
def topics(settings: Settings) -> None:
    """Our topics are there."""
    with admin_of(settings.kafka) as admin:
        create(settings, admin)


def verdicts(settings: Settings) -> list[verdict.Verdict]:
    with Tail.connect(settings, settings.topic("verdicts")) as tail:
        return [verdict.decode(value) for value in tail.history()]


@pytest.mark.broker
@pytest.mark.usefixtures("topics")
def test_an_order_is_sent_verdicts_lose_the_name_and_all_partitions_answer(settings: Settings, tmp_path: Path) -> None:
    partitions = settings.topics.partitions
    account = "0123456789abcdef" * 2
    one, other = findings(2)
    found = [msgspec.structs.replace(one, accounts=[account]), other]
    own = to_alert(found[0])
    producer = connect(settings, "tests")
    for alert in (own, to_alert(found[1])):
        said = verdict.judge(alert, "true-positive", by="Ann", time=1.0, note="asked Bob of ACME")
        producer.send(settings.topic("verdicts"), verdict.encode(said), said.case.encode())
        noted = desk.Note(
            id=said.case[:12], case=said.case, account=said.account, by="Ann", time=1.0, text="asked Bob of ACME"
        )
        producer.send(settings.topic("desk"), desk.encode(noted), noted.id.encode())
    producer.close(30)
    worker = threading.Thread(target=answer, args=(settings, partitions, 2))
    worker.start()
    try:
        archived(tmp_path, account)
        labels = tmp_path / "labels.csv"
        labels.write_text(f"account,extracting\n{account},1\n{traffic()[1].account},0\n")
        made = make(tmp_path / "may", str(tmp_path / "archive"), Wish(labels=[str(labels)]))
        assert made.labels == 2
        table = tmp_path / "features.parquet"
        arguments = ["features", str(tmp_path / "may"), "--at", "request,hourly", "--out", str(table)]
        assert CliRunner().invoke(cli, arguments).exit_code == 0
        others = pq.read_table(table).num_rows - 2
        archive = ("--archive", str(tmp_path / "archive"), "--dataset", str(tmp_path / "may"))
        dry = run(settings, account, "--dry-run", "--json", "--by", "Eve", *archive)
        assert dry.exit_code == 0, dry.output
        assert [one.note for one in verdicts(settings)] == ["asked Bob of ACME"] * 2, "nothing is sent"
        assert [json.loads(dry.stdout)["counts"][place] for place in ("archive", "labels", "features")] == [1, 1, 2]
        assert Dataset(tmp_path / "may").id == made.id
        done = run(settings, account, "--why", "art. 17", "--json", "--by", "Eve", *archive)
        assert done.exit_code == 0, done.output
    finally:
        worker.join()
    receipt_ = json.loads(done.stdout)
    assert (receipt_["account"], receipt_["missing"], len(receipt_["partitions"])) == (account, [], 2 * partitions)
    assert [receipt_["counts"][place] for place in ("archive", "labels", "rows", "verdicts", "desk")] == [1] * 5
    assert receipt_["counts"]["features"] == 2 and pq.read_table(table).num_rows == others
    left = Dataset(tmp_path / "may")
    assert left.labels()["account"].to_pylist() == [traffic()[1].account] and left.manifest.formerly == [made.id]
    (first, second) = [order for order in recorded(settings) if isinstance(order, Erase)]
    assert (first.dry_run, second.dry_run, second.why, second.by) == (True, False, "art. 17", "Eve")
    last = {one.case: one for one in verdicts(settings)}
    assert (last[own.subject].account, last[own.subject].note) == ("erased", "")
    assert last[own.subject].facts == verdicts(settings)[0].facts, "it still teaches"
    earlier = next(one for one in verdicts(settings) if one.case == own.subject)
    assert (earlier.account, earlier.note) == (account, "asked Bob of ACME"), "until compaction, as the runbook says"
    assert last[found[1].case].note == "asked Bob of ACME"
    with Tail.connect(settings, settings.topic("desk")) as tail:
        notes = desk.history([desk.decode(value) for value in tail.history()])
    assert [(one.account, desk.text_of(one)) for one in sorted(notes, key=lambda one: one.account == "erased")] == [
        (found[1].accounts[0], "asked Bob of ACME"), ("erased", ""),
    ]  # fmt: skip


@pytest.mark.parametrize("option", ["--dataset", "--archive"])
def test_a_folder_that_is_none_is_named_before_anything_is_sent(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(Tail, "connect", lambda *_: asked.append(_))
    result = run(Settings(), "a" * 32, option, str(tmp_path / "typo"))
    assert result.exit_code == 1 and "Nothing was sent" in result.output and "typo" in result.output
    assert asked == []


def test_the_receipt_is_printed_also_where_an_archive_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archived(tmp_path, "a" * 32)

    def taken(*_: object) -> int:
        raise Failure("an archiver wrote to it")

    nothing = SimpleNamespace(history=lambda: [], partitions=[])
    monkeypatch.setattr(Tail, "connect", lambda *_: nullcontext(nothing))
    monkeypatch.setattr(erase_command, "_send", lambda *_: None)
    monkeypatch.setattr(erase_command, "_archived", taken)
    result = run(Settings(), "a" * 32, "--json", "--wait", "0", "--archive", str(tmp_path / "archive"))
    assert result.exit_code == 1 and "an archiver wrote to it" in result.stderr
    assert json.loads(result.stdout)["counts"]["verdicts"] == 0


@pytest.mark.broker
@pytest.mark.usefixtures("topics")
def test_without_workers_the_partitions_that_owe_an_answer_are_named(settings: Settings) -> None:
    result = run(settings, "acme", "--wait", "1")
    assert result.exit_code == 1
    (order,) = [order for order in recorded(settings) if isinstance(order, Erase)]
    assert order.account == Identity(KEY).account("acme"), "a name is hashed as gateways do"
    assert "no receipt within 1 s of sightings 0" in result.output and "the order stands" in result.output


def test_a_name_that_no_account_can_have_is_refused(settings: Settings) -> None:
    result = run(settings, "a" * 32, "--why", "x" * 5000)
    assert result.exit_code == 1 and "cannot be sent" in result.output
