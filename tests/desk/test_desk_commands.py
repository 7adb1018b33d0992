"""`cases`, `case`, `account` and `find` over what a real worker found in a real topic."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from desk_samples import dump
from worker_tools import KEY, Worker, prepare, produce, traffic

from siphonwatch.streams.cli import cli
from siphonwatch.streams.cli.desk_index import OF_CASES
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.tail import Tail
from siphonwatch.streams.contracts.alert import decode
from siphonwatch.streams.contracts.control import Erase, encode
from siphonwatch.streams.desk.opening import OpenDesk
from siphonwatch.streams.desk.views import Ask
from siphonwatch.streams.edge.producer import connect
from siphonwatch.streams.lab.broker.embedded import EmbeddedBroker

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def watched(tansu_node: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Topics that a worker has watched, with its alerts."""
    settings = Settings()
    settings.kafka.bootstrap = tansu_node.bootstrap
    settings.kafka.group = settings.topics.prefix = "desk-commands"
    settings.features.log = "hourly"
    prepare(settings, 2)
    folder = tmp_path_factory.mktemp("worker")
    with Worker(settings, folder) as worker:
        asyncio.run(produce(settings, traffic()))
        end, quiet, told = time.monotonic() + 600, 0, -1
        while quiet < 3:
            assert time.monotonic() < end and worker.process.poll() is None, worker.log.read_text()
            time.sleep(2.0)
            with Tail.connect(settings, settings.topic("alerts")) as tail:
                now = len(list(tail.history()))
            quiet = quiet + 1 if now == told and now else 0
            told = now
    yield settings


def run(settings: Settings, tmp_path: Path, command: str, *arguments: str) -> Result:
    environment = {
        "SIPHONWATCH_KAFKA_BOOTSTRAP": settings.kafka.bootstrap,
        "SIPHONWATCH_TOPICS_PREFIX": settings.topics.prefix,
        "SIPHONWATCH_IDENTITY_KEY": KEY,
        "SIPHONWATCH_DESK_INDEX": str(tmp_path / "desk.sqlite"),
    }
    return CliRunner().invoke(cli, [command, *arguments], env=environment)


def test_an_analyst_goes_from_the_list_to_the_account_and_to_everyone_alike(watched: Settings, tmp_path: Path) -> None:
    with Tail.connect(watched, watched.topic("alerts")) as tail:
        told = [decode(value) for value in tail.history()]
    listed = run(watched, tmp_path, "cases", "--state", "all", "--json")
    assert listed.exit_code == 0, listed.output
    queue = json.loads(listed.stdout)
    assert queue["total"] == len({alert.subject for alert in told}) > 0
    assert {row["case"] for row in queue["rows"]} == {alert.subject for alert in told}
    table = run(watched, tmp_path, "cases", "--state", "all")
    assert table.exit_code == 0 and queue["rows"][0]["case"] in table.stdout

    row = queue["rows"][0]
    opened = run(watched, tmp_path, "case", row["case"][:8], "--json")
    assert opened.exit_code == 0, opened.output
    page = json.loads(opened.stdout)
    assert page["alert"]["subject"] == page["row"]["case"] == row["case"]
    assert page["exposure"]["requests"] > 0 and page["hours"] and page["sentence"] and page["steps"]
    text = run(watched, tmp_path, "case", row["case"])
    assert text.exit_code == 0 and page["sentence"] in text.stdout.replace("\n", " "), text.output

    account = run(watched, tmp_path, "account", row["account"][:10], "--json")
    assert account.exit_code == 0, account.output
    known = json.loads(account.stdout)
    sent = [record for record in traffic() if record.account == row["account"]]
    assert known["exposure"]["requests"] == len(sent)
    assert known["exposure"]["output_tokens"] == sum(record.tokens_out for record in sent)
    assert row["case"] in {one["case"] for one in known["cases"]}
    assert known["near"], "features are logged each hour"
    assert run(watched, tmp_path, "account", row["account"]).exit_code == 0

    client = next(one for one in known["shares"] if one["kind"] == "client" and len(one["value"]) == 16)
    found = run(watched, tmp_path, "find", client["value"], "--kind", "client", "--json")
    assert found.exit_code == 0, found.output
    alike = {json.loads(line)["id"] for line in found.stdout.splitlines()}
    assert alike == {one.account for one in traffic() if one.headers == client["value"]}
    assert len(alike) == client["accounts"]
    assert run(watched, tmp_path, "find", client["value"]).exit_code == 0


def test_names_are_shown_and_searched_and_are_not_in_the_index(watched: Settings, tmp_path: Path) -> None:
    with Tail.connect(watched, watched.topic("alerts")) as tail:
        account = decode(next(iter(tail.history()))).own.accounts[0]
    names = tmp_path / "customers.csv"
    names.write_text(f"account,name\n{account},Zebra Crossing Ltd\n")
    found = run(watched, tmp_path, "find", "zebra", "--names", str(names))
    assert found.exit_code == 0 and "Zebra Crossing Ltd" in found.stdout, found.output
    opened = run(watched, tmp_path, "account", "Zebra Crossing Ltd", "--names", str(names), "--json")
    assert opened.exit_code == 0 and json.loads(opened.stdout)["account"] == account
    for file in tmp_path.glob("desk.sqlite*"):
        assert b"Zebra" not in file.read_bytes()
    broken = run(watched, tmp_path, "cases", "--names", str(tmp_path / "nowhere.csv"))
    assert broken.exit_code == 1 and "cannot read names" in broken.stderr, broken.output


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("case", "ffffffff"), 1, "has no alert"), (("case", "zz"), 1, "is no case"),
        (("account", "nobody-by-that-name"), 1, "is no account"), (("find", "x"), 2, "characters"),
        (("cases", "--after", "x"), 2, "begin it again"), (("cases", "--index", "/dev/null/x"), 1, "cannot be used"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_said(
    watched: Settings, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    result = run(watched, tmp_path, *arguments)
    assert result.exit_code == code and said in result.stderr, result.output


def test_an_index_of_the_topics_is_the_same_at_once_and_in_steps_and_loses_an_erased_account(
    watched: Settings, tmp_path: Path
) -> None:
    with OpenDesk(watched, tmp_path / "whole.sqlite") as whole, OpenDesk(watched, tmp_path / "steps.sqlite") as steps:
        whole.feed.catch_up()
        for _ in range(4):
            steps.feed.step()
            steps.feed.close()  # as a process that ends
        steps.feed.catch_up(OF_CASES)
        steps.feed.catch_up()
        assert dump(whole.index) == dump(steps.index)
        assert set(whole.looks.behind().values()) == {0}
        (row, *_) = whole.looks.queue(Ask(state="all")).rows
        order = Erase(id="0" * 12, account=row.account, by="Ann", time=time.time())
        producer = connect(watched, "tests")
        producer.send(watched.topic("control"), encode(order), order.id.encode())
        producer.close(30)
        for desk in (whole, steps):
            desk.feed.catch_up()
        with OpenDesk(watched, tmp_path / "again.sqlite") as again:
            again.feed.catch_up()
            assert dump(again.index) == dump(whole.index) == dump(steps.index)
        assert whole.looks.find(row.account) == [] and row.account not in repr(dump(steps.index)["cases"])
