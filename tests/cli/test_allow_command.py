"""`siphonwatch allow` sends an entry, says what it covers, lists what it hid, and ends it."""

from __future__ import annotations

import json
import time

import msgspec
import pytest
from alert_samples import fill, findings
from click.testing import CliRunner, Result

from siphonwatch.streams.cli import cli
from siphonwatch.streams.cli.allow import recorded, send
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.alert import encode, to_alert
from siphonwatch.streams.contracts.control import Allow
from siphonwatch.streams.edge.producer import connect
from siphonwatch.streams.worker.outlet import ALLOWED_BY

KEY = "a secret of the tests only"
MANY = ("--until", "30d", "--why", "partner's crawler, asked: Bob", "--by", "Ann")


def run(settings: Settings, *arguments: str, key: str = KEY) -> Result:
    environment = {
        "SIPHONWATCH_KAFKA_BOOTSTRAP": settings.kafka.bootstrap,
        "SIPHONWATCH_TOPICS_PREFIX": settings.topics.prefix,
        "SIPHONWATCH_IDENTITY_KEY": key,
    }
    return CliRunner().invoke(cli, ["allow", *arguments], env=environment)


def listed(settings: Settings) -> list[dict[str, object]]:
    result = run(settings, "--list", "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.broker
def test_an_entry_is_sent_said_listed_with_what_it_hid_and_ended(settings: Settings) -> None:
    found = findings(3)
    newer = msgspec.structs.replace(found[0], kind="update", sequence=1)
    fill(settings, [*found, newer], junk=b'{"no": "alert"}')
    account = found[0].accounts[0]
    result = run(settings, account, "--pattern", "extraction", *MANY)
    assert result.exit_code == 0, result.output
    first, second = result.stdout.splitlines()
    (entry,) = recorded(settings)
    assert isinstance(entry, Allow)
    assert first.startswith(f"extraction of {account} is allowed by entry {entry.id} until 20")
    assert second == "before, 2 alerts of 1 such cases were sent"
    assert (entry.accounts, entry.case, entry.by, entry.why) == ([account], "", "Ann", "partner's crawler, asked: Bob")
    assert abs(entry.until - time.time() - 30 * 86_400) < 600

    producer = connect(settings, "tests")
    for _ in range(2):  # a worker that was killed sends again
        producer.send(
            settings.topic("hidden"), key=newer.case.encode(), value=encode(to_alert(newer)),
            headers=[(ALLOWED_BY, entry.id.encode())],
        )  # fmt: skip
    producer.close(30)
    (row,) = listed(settings)
    assert (row["id"], row["hidden_alerts"], row["hidden_cases"], row["state"]) == (entry.id, 1, 1, "active")
    table = run(settings, "--list")
    assert table.exit_code == 0 and entry.id in table.stdout and "Ann" in table.stdout
    shown = run(settings, "--hidden", entry.id[:6])
    assert [json.loads(line)["id"] for line in shown.stdout.splitlines()] == [newer.id]

    done = run(settings, "--end", entry.id, "--by", "Eve")
    assert done.exit_code == 0 and "is told again" in done.stdout, done.output
    assert listed(settings) == []
    assert run(settings, "--end", entry.id).exit_code == 1


@pytest.mark.broker
def test_a_case_brings_its_pattern_and_accounts_and_a_dry_run_sends_nothing(settings: Settings) -> None:
    found = findings(2)
    grown = msgspec.structs.replace(found[1], kind="update", sequence=1, accounts=["org-a", "org-b"])
    fill(settings, [*found, grown])
    tried = run(settings, "--case", grown.case[:8], *MANY, "--dry-run")
    assert tried.exit_code == 0 and "would be allowed until" in tried.stdout, tried.output
    assert recorded(settings) == []
    assert run(settings, "--case", grown.case[:8].upper(), *MANY).exit_code == 0
    (entry,) = recorded(settings)
    assert isinstance(entry, Allow)
    assert (entry.case, entry.accounts, entry.pattern) == (grown.case, ["org-a", "org-b"], "extraction")
    wrong = run(settings, "--case", grown.case, "--pattern", "shift", *MANY)
    assert wrong.exit_code == 1 and "is of pattern extraction" in wrong.stderr
    unknown = run(settings, "--case", "0123456789", *MANY)
    assert unknown.exit_code == 1 and "has no alert" in unknown.stderr


@pytest.mark.broker
def test_an_account_is_an_id_its_beginning_or_a_name(settings: Settings) -> None:
    identity = Identity(KEY)
    one = msgspec.structs.replace(findings(1)[0], accounts=[identity.account("acme")])
    fill(settings, [one, *findings(2)])
    ask = ("--pattern", "extraction", *MANY, "--dry-run")
    for given in ("acme", identity.account("acme"), identity.account("acme")[:8]):
        said = run(settings, given, *ask)
        assert said.stdout.startswith(f"extraction of {identity.account('acme')} would"), said.output
    nobody = run(settings, "nobody yet", *ask)
    assert nobody.stdout.startswith(f"extraction of {identity.account('nobody yet')} would")
    several = run(settings, "org-extraction", *ask)
    assert several.exit_code == 1 and "give more of the id" in several.stderr
    keyless = run(settings, "nobody yet", *ask, key="")
    assert keyless.exit_code == 1 and "set identity.key" in keyless.stderr
    assert recorded(settings) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give an ACCOUNT or --case"),
        (("a", "--list"), "give an ACCOUNT or --case"),
        (("a", "--case", "0123456789"), "give an ACCOUNT or --case"),
        (("a",), "--pattern and --until and --why must be given"),
        (("a", "--pattern", "shift", "--until", "2001-01-01", "--why", "x"), "--until is in the past"),
        (("a", "--pattern", "shift", "--until", "soon", "--why", "x"), "'soon' is no time"),
        (("a", "--pattern", "shft", "--until", "1d", "--why", "x"), "'shft' is not one of"),
        (("a", "--json"), "--json goes with --list"),
    ],
)
def test_bad_usage_is_refused_before_anything_is_asked(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(cli, ["allow", *arguments])
    assert result.exit_code == 2 and said in result.stderr


@pytest.mark.broker
def test_hostile_text_in_a_record_reaches_no_terminal(settings: Settings) -> None:
    fill(settings, [])
    send(
        settings,
        Allow(id="0" * 12, pattern="[red]\x1b[2J", until=1.0, accounts=["\x1b]0;x\x07"], why="a\nb\x1b[1m", by="[/]",
              time=1.0),
    )  # fmt: skip
    shown = run(settings, "--list")
    assert shown.exit_code == 0 and "\x1b" not in shown.stdout and "expired" in shown.stdout
