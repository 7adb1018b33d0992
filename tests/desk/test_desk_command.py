"""`siphonwatch desk` as a process: pages of real topics, a decision that lands on them, health apart, a clean stop."""

from __future__ import annotations

import asyncio
import http.cookiejar
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import msgspec
import pytest
from alert_samples import fill, findings
from click.testing import CliRunner
from postgres_node import missing
from service_process import DeskProcess

from siphonwatch.streams.cli import cli
from siphonwatch.streams.common.desk_settings import Desk
from siphonwatch.streams.common.settings import Settings, SettingsError, load
from siphonwatch.streams.common.tail import Tail
from siphonwatch.streams.contracts import verdict
from siphonwatch.streams.operate import doctor

ROOT = Path(__file__).parents[2]
QUIET = {name: value for name, value in os.environ.items() if not name.startswith("SIPHONWATCH_")}


def fetch(opener: urllib.request.OpenerDirector, url: str, fields: dict[str, str] | None = None) -> str:
    data = urllib.parse.urlencode(fields).encode() if fields else None
    with opener.open(url, data, timeout=60) as answer:
        return str(answer.read().decode())


@pytest.mark.broker
def test_the_desk_shows_decides_tells_its_health_and_stops(
    settings: Settings, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """With its index in PostgreSQL where there is one; `tests/helm/test_chart_runs.py` has one with a file."""
    found = findings(3)
    fill(settings, found)
    database = "" if missing() else f"{request.getfixturevalue('postgres').url()}&password=hunter2"
    with DeskProcess(settings, tmp_path, database) as desk:
        address = asyncio.run(desk.address())
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        case = found[0].case
        while case not in (page := fetch(opener, address + "/")):
            assert desk.process.poll() is None, desk.log.read_text()
            time.sleep(0.2)
        token = re.search(r'name="csrf" value="([0-9a-f]{64})"', page)
        assert token
        act = {"csrf": token[1], "kind": "verdict", "cases": case, "decision": "true-positive", "text": "seen"}
        assert "confirmed" in fetch(opener, address + "/decide", act)
        with Tail.connect(settings, settings.topic("verdicts")) as tail:
            (given,) = [verdict.decode(value) for value in tail.history()]
        assert (given.case, given.decision, given.note) == (case, "true-positive", "seen")
        while True:
            try:
                assert fetch(opener, f"http://127.0.0.1:{desk.port}/readyz") == "ok\n"
                break
            except urllib.error.HTTPError as error:  # it has not read all topics yet
                assert error.code == 503 and desk.process.poll() is None
                time.sleep(0.2)
        metrics = fetch(opener, f"http://127.0.0.1:{desk.port}/metrics")
        assert 'siphonwatch_desk_decisions_total{kind="verdict",outcome="done"} 1.0' in metrics
        assert 'siphonwatch_desk_behind_records{kind="alerts"} 0.0' in metrics
        assert 'siphonwatch_desk_requests_total{route="/case/{case}",status="200"} 1.0' in metrics
        while "verdict" not in (entries := fetch(opener, address + "/api/v1/audit")):
            time.sleep(0.2)
        assert case in entries
        desk.process.terminate()
        assert desk.process.wait(120) == 0, desk.log.read_text()
    assert "hunter2" not in desk.log.read_text()
    (line,) = [msgspec.json.decode(line) for line in desk.log.read_text().splitlines() if '"outcome"' in line]
    assert (line["what"], line["outcome"], line["cases"], line["role"]) == ("verdict", "done", [case], "administer")


def test_a_token_is_made_with_the_setting_that_knows_it() -> None:
    done = CliRunner().invoke(cli, ["desk", "--token", "soar", "--role", "decide"])
    known = done.output.split("desk.tokens: ")[1].strip()
    assert done.exit_code == 0 and load({"SIPHONWATCH_DESK_TOKENS": known}).settings.desk.tokens == [known]
    assert re.search(r"shown once: \S{40,}", done.output)
    assert CliRunner().invoke(cli, ["desk", "--token", "a b"]).exit_code == 2


def test_a_desk_that_everybody_could_reach_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("siphonwatch.streams.cli.desk.configure", lambda log: None)
    done = CliRunner().invoke(cli, ["desk"], env={"SIPHONWATCH_DESK_HOST": "198.51.100.7"})
    assert isinstance(done.exception, SettingsError), "main() makes exit code 2 of it"
    assert "whoever reaches it could decide" in str(done.exception)


def test_a_desk_whose_names_cannot_be_read_does_not_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("siphonwatch.streams.cli.desk.configure", lambda log: None)
    monkeypatch.setattr("siphonwatch.streams.desk.opening.OpenDesk.start", lambda _: pytest.fail("it reads topics"))
    index = str(tmp_path / "desk.sqlite")
    done = CliRunner().invoke(cli, ["desk", "--index", index, "--names", str(tmp_path / "nowhere.csv")])
    assert done.exit_code == 1 and "cannot read names" in done.stderr, done.output


@pytest.mark.parametrize(
    ("changed", "state", "says"),
    [
        ({}, "ok", "on 127.0.0.1:6070"),
        ({"host": "198.51.100.7"}, "failed", "whoever reaches it could decide"),
        ({"login": "nobody", "address": "http://127.0.0.1:6070"}, "warning", "may do everything"),
        ({"login": "proxy", "address": "https://desk.example", "proxies": ["192.0.2.1"], "read": ["a"]}, "warning",
         "a restart logs everybody out"),
        ({"login": "proxy", "address": "https://desk.example", "proxies": ["192.0.2.1"], "read": ["a"],
          "secret": "k" * 32}, "ok", "login by proxy"),
    ],
)  # fmt: skip
def test_doctor_says_what_is_wrong_with_the_desk(changed: dict[str, object], state: str, says: str) -> None:
    settings = Settings(desk=Desk(**changed))  # type: ignore[arg-type]
    check = doctor.desk(settings)
    assert check.state == state and says in check.message
    assert check in doctor.examine(settings, offline=True)
