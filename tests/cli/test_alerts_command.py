"""`siphonwatch alerts` shows what stands on the topic, all of it and nothing else."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from alert_samples import START, alerts, fill, findings, send
from click.testing import CliRunner, Result
from rich.console import Console

from siphonwatch.streams.cli import cli
from siphonwatch.streams.cli.table import alert_table
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.broker.process import free_port

KEY = "a secret of the tests only"
QUIET = {name: value for name, value in os.environ.items() if not name.startswith("SIPHONWATCH_")}


def environment(settings: Settings) -> dict[str, str]:
    return {
        "SIPHONWATCH_KAFKA_BOOTSTRAP": settings.kafka.bootstrap,
        "SIPHONWATCH_TOPICS_PREFIX": settings.topics.prefix,
        "SIPHONWATCH_IDENTITY_KEY": KEY,
    }


def run(settings: Settings, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["alerts", *arguments], env=environment(settings))


def shown(settings: Settings, *arguments: str) -> list[str]:
    """Accounts of the alerts that the command prints as JSON."""
    result = run(settings, "--json", *arguments)
    assert result.exit_code == 0, result.output
    return [json.loads(line)["data"]["unmapped"]["siphonwatch"]["accounts"][0] for line in result.stdout.splitlines()]


def drawn(width: int, count: int = 1) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(alert_table(alerts(findings(count, "desensitisation", 9.0))))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


@pytest.mark.parametrize("width", [72, 80, 100, 120, 160, 240])
def test_the_table_fits_the_width_and_loses_nothing_but_the_weakest_signals(width: int) -> None:
    text = drawn(width)
    assert max(map(len, text.splitlines())) <= width
    flat = " ".join(text.replace("│", " ").replace("┃", " ").split())
    for word in ("desensitisation", "medium", "org-desensitisation-", "100", "8.1e+03", "2026-01-05 00:00:00"):
        assert word in flat
    assert "sweep_1d" in flat and "breadth" in flat and "single_turn_1d" in flat and "quick_1h" not in flat


def test_a_narrow_table_holds_evidence_on_whole_lines() -> None:
    assert "sweep_1d 0.94 (above 0.35); breadth 0.73" in drawn(80)


def test_markup_in_an_account_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    found = alerts(findings(1))
    found[0].own.accounts[:] = ["[red]acme[/]"]
    Console(width=160, color_system=None).print(alert_table(found))
    assert "[red]acme[/]" in capsys.readouterr().out


def test_json_is_the_topic_unchanged_by_event_time(settings: Settings) -> None:
    sent = fill(settings, findings(40))
    result = run(settings, "--json")
    assert result.exit_code == 0, result.output
    assert result.stdout_bytes.splitlines() == sent


def test_filters_choose_and_combine(settings: Settings) -> None:
    some, worse = findings(3, "extraction", 7.0), findings(3, "scraping", 30.0)
    fill(settings, some + worse, junk=b'{"no": "alert"}')
    assert sorted(shown(settings)) == sorted(finding.accounts[0] for finding in some + worse)
    assert shown(settings, "--pattern", "scraping") == [f"org-scraping-{i}" for i in range(3)]
    assert shown(settings, "--severity", "high+") == [f"org-scraping-{i}" for i in range(3)]
    assert shown(settings, "--severity", "medium") == [f"org-extraction-{i}" for i in range(3)]
    assert shown(settings, "--account", "org-scraping-1") == ["org-scraping-1"]
    assert shown(settings, "--case", some[2].case[:10]) == ["org-extraction-2"]
    assert shown(settings, "--kind", "closed") == []
    assert shown(settings, "--pattern", "scraping", "--limit", "1") == ["org-scraping-2"]
    assert shown(settings, "--since", "2026-01-05T02:00:00", "--pattern", "extraction") == ["org-extraction-2"]
    assert shown(settings, "--since", "2h") == []
    result = run(settings, "--kind", "closed")
    assert "no alerts match" in result.stderr and "1 records on the topic are no alerts" in result.stderr
    assert "no alerts match" in run(settings, "--account", "nobody").stderr
    assert "no alerts match" in run(settings, "--severity", "low").stderr
    assert shown(settings, "--account", "org-scrap") == [f"org-scraping-{i}" for i in range(3)]
    table = run(settings, "--table")
    assert table.exit_code == 0 and "org-scraping-0" in table.stdout and "sweep_1d 0.94 (above 0.35)" in table.stdout


def test_an_account_is_found_by_its_name_where_ids_are_hashed(settings: Settings) -> None:
    found = findings(1)
    found[0].accounts[0] = Identity(KEY).account("acme")
    fill(settings, found)
    assert shown(settings, "--account", "acme") == found[0].accounts
    assert shown(settings, "--account", "other") == []


INTERRUPTIBLE = (
    "import signal; signal.signal(2, signal.default_int_handler); from siphonwatch.streams.cli import main; main()"
)
"""A test run in the background hands on that interrupts are to be ignored."""


def test_follow_goes_on_with_what_comes_and_ends_when_interrupted(settings: Settings) -> None:
    fill(settings, findings(2))
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "alerts", "--follow", "--json"],
        env={**QUIET, **environment(settings)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines: list[str] = []
        assert process.stdout is not None
        reading = threading.Thread(target=lambda: lines.extend(process.stdout or ()))
        reading.start()
        wait_for(lambda: len(lines) == 2)
        send(settings, findings(3, "scraping", start=START - 9e6))
        wait_for(lambda: len(lines) == 5)
        process.send_signal(2)
        assert process.wait(300) == 0
        reading.join(5)
    finally:
        process.kill()
        process.wait()
        process.stderr.close() if process.stderr else None
        process.stdout.close() if process.stdout else None


def wait_for(condition: object, seconds: float = 300.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def test_a_missing_topic_is_named_with_its_remedy(settings: Settings) -> None:
    result = run(settings)
    assert result.exit_code == 1
    assert settings.topic("alerts") in result.stderr and "siphonwatch topics --create" in result.stderr


def test_an_unreachable_broker_is_named(tmp_path: Path) -> None:
    # In a process of its own: kafka-python leaves the sockets of a failed start to the garbage collector.
    code = (
        "import siphonwatch.streams.common.kafka as k; k.CONNECT_MS = 1000;"
        "from siphonwatch.streams.cli import main; main()"
    )
    bootstrap = f"127.0.0.1:{free_port()}"
    result = subprocess.run(
        [sys.executable, "-c", code, "alerts"],
        env={**QUIET, "SIPHONWATCH_KAFKA_BOOTSTRAP": bootstrap},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 1
    assert f"cannot reach Kafka at {bootstrap}" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(("--severity", "dire"), "critical"), (("--since", "soon"), "2h"), (("--pattern", "x"), "extraction")],
)
def test_bad_usage_is_exit_code_2_and_says_what_would_do(arguments: tuple[str, ...], named: str) -> None:
    result = CliRunner().invoke(cli, ["alerts", *arguments])
    assert result.exit_code == 2
    assert named in result.stderr
