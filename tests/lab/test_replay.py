"""`siphonwatch replay`: every option, every way in, the same alerts every time, and nothing readable by accident."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import zstandard
from click.testing import CliRunner, Result

from siphonwatch.streams.cli import cli
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.lab.scenario import Scenario, write

ROOT = Path(__file__).parents[2]
KEY = "a-key-for-the-replay-tests"
SIPHONWATCH = [sys.executable, "-c", "from siphonwatch.streams.cli import main; main()"]
Replay = Callable[..., Result]


class Logs(NamedTuple):
    folder: Path
    litellm: Path
    nginx: Path
    accounts: set[str]


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Logs:
    folder = tmp_path_factory.mktemp("logs")
    scenario = Scenario(seed=11, accounts=25, days=0.5)
    written = write(folder, scenario)
    return Logs(folder, written.litellm, written.nginx, {label.account for label in scenario.labels()})


@pytest.fixture
def replay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Replay:
    monkeypatch.setenv("SIPHONWATCH_IDENTITY_KEY", KEY)
    monkeypatch.chdir(tmp_path)

    def run(*args: object, data: bytes | None = None) -> Result:
        return CliRunner().invoke(cli, ["replay", *map(str, args)], input=data, catch_exceptions=False)

    return run


def alerts(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def scores(path: Path) -> dict[str, float]:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["account", "score"]
    assert len({account for account, _ in rows[1:]}) == len(rows) - 1
    return {account: float(score) for account, score in rows[1:]}


def own(alert: dict) -> dict:
    return alert["data"]["unmapped"]["siphonwatch"]


def test_two_runs_write_byte_identical_alerts_scores_and_telemetry(replay: Replay, logs: Logs) -> None:
    for run in ("one", "two"):
        result = replay(
            logs.litellm, logs.nginx, "--alerts", f"{run}.a", "--scores", f"{run}.s", "--telemetry", f"{run}.t"
        )
        assert result.exit_code == 0, result.output
    for kind in "ast":
        assert Path(f"one.{kind}").read_bytes() == Path(f"two.{kind}").read_bytes() != b""
    patterns = {own(alert)["pattern"] for alert in alerts(Path("one.a"))}
    assert patterns, "the scenario's attacks raise alerts"


def test_telemetry_written_by_a_replay_replays_to_the_same_alerts(replay: Replay, logs: Logs) -> None:
    replay(logs.litellm, logs.nginx, "--alerts", "a", "--scores", "s", "--telemetry", "t")
    assert replay("t", "--alerts", "a2", "--scores", "s2", "--telemetry", "t2").exit_code == 0
    assert replay("t", "--format", "telemetry", "--alerts", "a3").exit_code == 0
    assert Path("a2").read_bytes() == Path("a3").read_bytes() == Path("a").read_bytes()
    assert Path("s2").read_bytes() == Path("s").read_bytes()
    assert Path("t2").read_bytes() == Path("t").read_bytes()


def test_scores_hold_every_account_under_its_own_name_with_plain_ids(replay: Replay, logs: Logs) -> None:
    assert replay(logs.litellm, logs.nginx, "--plain-ids", "--scores", "s", "--alerts", "a").exit_code == 0
    found = scores(Path("s"))
    assert set(found) == logs.accounts
    accused = {account for alert in alerts(Path("a")) for account in own(alert)["accounts"]}
    assert accused <= logs.accounts
    calm = [score for account, score in found.items() if account not in accused]
    assert min(found[account] for account in accused) > max(calm)


def test_without_plain_ids_no_name_address_or_text_of_the_logs_is_in_what_is_written(
    replay: Replay, logs: Logs
) -> None:
    result = replay(logs.litellm, logs.nginx, "--alerts", "a", "--scores", "s", "--telemetry", "t")
    written = "".join(Path(name).read_text() for name in "ast") + result.output
    assert len(scores(Path("s"))) == len(logs.accounts)
    assert all(re.fullmatch("[0-9a-f]{32}", account) for account in scores(Path("s")))
    assert not [account for account in logs.accounts if account in written]
    secrets: set[str] = set()
    for line in logs.litellm.read_text().splitlines()[::20]:
        record = json.loads(line)
        content = record["messages"][-1]["content"]
        secrets |= {content[:40], content[-40:], record["metadata"]["user_api_key_hash"]}
        secrets |= {record["metadata"][name] for name in ("requester_ip_address", "user_api_key_end_user_id")} - {None}
    for line in logs.nginx.read_text().splitlines()[::20]:
        record = json.loads(line)
        secrets |= {record["remote_addr"], record["request_uri"]}
    secrets = {secret for secret in secrets if secret and len(secret) > 6}
    assert len(secrets) > 50
    assert not [secret for secret in secrets if secret in written]


def test_another_key_gives_other_hashes_and_accuses_the_same_accounts_of_the_same(
    replay: Replay, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which resources a row samples depends on their hashes, so a case may open some requests sooner or later."""
    seen, accused, suspicion = [], [], []
    for key in (KEY, KEY + "-another"):
        monkeypatch.setenv("SIPHONWATCH_IDENTITY_KEY", key)
        replay(logs.nginx, "--alerts", "a", "--scores", "s")
        identity = Identity(key)
        names = {identity.account(name): name for name in logs.accounts}
        found = scores(Path("s"))
        seen.append(set(found))
        suspicion.append({names[account]: score for account, score in found.items()})
        accused.append({(names[a], own(x)["pattern"]) for x in alerts(Path("a")) for a in own(x)["accounts"]})
    assert not seen[0] & seen[1]
    assert accused[0] == accused[1] != set()
    for name, score in suspicion[0].items():
        assert suspicion[1][name] == pytest.approx(score, rel=0.2, abs=1.0)


def test_without_a_key_it_says_so_and_still_hashes(replay: Replay, logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIPHONWATCH_IDENTITY_KEY")
    result = replay(logs.nginx, "--scores", "s")
    assert result.exit_code == 0
    assert "identity.key is not set" in result.stderr
    assert not set(scores(Path("s"))) & logs.accounts


@pytest.mark.parametrize("how", ["gzip", "zstandard", "stdin", "named", "one array"])
def test_packed_piped_and_named_formats_give_the_same_scores(replay: Replay, logs: Logs, how: str) -> None:
    raw = logs.nginx.read_bytes()
    replay(logs.nginx, "--scores", "plain")
    args: tuple[object, ...] = ("log",)
    if how == "gzip":
        Path("log").write_bytes(gzip.compress(raw))
    elif how == "zstandard":
        Path("log").write_bytes(zstandard.compress(raw))
    elif how == "one array":
        Path("log").write_bytes(b"[" + raw.strip().replace(b"\n", b",\n") + b"]")
    elif how == "named":
        args = (logs.nginx, "--format", "nginx")
    if how == "stdin":
        done = subprocess.run(
            [*SIPHONWATCH, "replay", "-", "--scores", "packed"],
            input=raw, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    else:
        assert replay(*args, "--scores", "packed").exit_code == 0
    assert Path("packed").read_bytes() == Path("plain").read_bytes()


def test_it_prints_requests_accounts_rate_and_cases(replay: Replay, logs: Logs) -> None:
    result = replay(logs.nginx, "--alerts", "a", "--quiet")
    n = len(logs.nginx.read_text().splitlines())
    assert re.search(rf"^{n:,} requests of \d+ accounts in [\d.]+ s: [\d,]+ requests/s$", result.stdout, re.MULTILINE)
    opened = [x for x in alerts(Path("a")) if x["type"].endswith("opened.v1")]
    assert f"cases opened: {len(opened)} scraping" in result.stdout
    assert "rejected" not in result.output


def test_bad_lines_are_counted_by_reason_and_good_ones_are_unharmed(replay: Replay, logs: Logs) -> None:
    replay(logs.nginx, "--telemetry", "t", "--scores", "good")
    lines = Path("t").read_bytes().splitlines()
    bad = [b"{", b"[]", b'{"id":"x"}', b'{"id":"x","time":-1,"account":"a"}', b"\xff\xfe"]
    Path("mixed").write_bytes(b"\n".join([*lines[:50], *bad, *lines[50:]]) + b"\n")
    result = replay("mixed", "--format", "telemetry", "--scores", "mixed.s", "--telemetry", "t2")
    assert result.exit_code == 0
    counted = re.search(r"rejected: (\d+) \(([^)]*)\)", result.stderr)
    assert counted and int(counted[1]) == len(bad)
    assert {part.split()[1] for part in counted[2].split(", ")} <= {"json", "schema", "encoding"}
    assert Path("mixed.s").read_bytes() == Path("good").read_bytes()
    assert Path("t2").read_bytes() == Path("t").read_bytes()


def test_a_record_above_the_limit_is_passed_over(replay: Replay, logs: Logs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIPHONWATCH_INGEST_MAX_RECORD_BYTES", "2000")
    lines = logs.nginx.read_bytes().splitlines()[:20]
    Path("log").write_bytes(b"\n".join([*lines, b'{"x":"' + b"y" * 4000 + b'"}', *lines[:1]]) + b"\n")
    result = replay("log", "--format", "nginx")
    assert result.exit_code == 0
    assert "rejected: 1 (1 size)" in result.stderr


def test_an_empty_file_holds_nothing_and_is_no_error(replay: Replay) -> None:
    Path("empty").touch()
    result = replay("empty", "--alerts", "a", "--scores", "s")
    assert result.exit_code == 0
    assert "0 requests of 0 accounts" in result.stdout
    assert Path("a").read_bytes() == b"" and scores(Path("s")) == {}


def test_a_missing_file_fails_with_its_name(replay: Replay) -> None:
    result = replay("no-such.log")
    assert result.exit_code == 1
    assert "cannot open no-such.log" in result.stderr


def test_a_truncated_gzip_fails_after_what_came_before(replay: Replay, logs: Logs) -> None:
    packed = gzip.compress(logs.nginx.read_bytes())
    Path("cut.gz").write_bytes(packed[: len(packed) // 2])
    result = replay("cut.gz", "--format", "nginx", "--telemetry", "t")
    assert result.exit_code == 1
    assert "cut.gz" in result.stderr
    assert Path("t").read_bytes().count(b"\n") > 10


def test_a_file_of_no_known_format_fails_and_says_what_to_do(replay: Replay) -> None:
    Path("x").write_text("what is this\n" * 5)
    result = replay("x")
    assert result.exit_code == 1
    assert "x:" in result.stderr and "--format" in result.stderr


@pytest.mark.parametrize("option", ["--alerts", "--scores", "--telemetry"])
def test_an_output_that_cannot_be_written_fails_with_its_name(replay: Replay, logs: Logs, option: str) -> None:
    result = replay(logs.nginx, option, "missing/folder/file")
    assert result.exit_code == 1
    assert "cannot write missing/folder/file" in result.stderr


@pytest.mark.parametrize("args", [(), ("--no-such-option", "x"), ("x", "--format", "csv"), ("x", "--alerts", ".")])
def test_bad_usage_exits_2(replay: Replay, args: tuple[str, ...]) -> None:
    assert replay(*args).exit_code == 2


def test_a_bad_setting_exits_2_with_its_name(logs: Logs, tmp_path: Path) -> None:
    done = subprocess.run(
        [*SIPHONWATCH, "replay", str(logs.nginx)], capture_output=True, text=True, cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "SIPHONWATCH_SCORING_ALPHA": "2"}, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "SIPHONWATCH_SCORING_ALPHA" in done.stderr and "Traceback" not in done.stderr


def test_the_options_are_those_of_the_contract(replay: Replay) -> None:
    text = replay("--help").stdout
    for option in ("--format", "--alerts", "--scores", "--telemetry", "--plain-ids", "--quiet"):
        assert option in text
    named = re.search(r"--format \[(.*?)\]", text, re.DOTALL)
    assert named is not None
    formats = set(re.sub(r"\s", "", named[1]).split("|"))
    assert formats == {"auto", "telemetry", "litellm", "otlp", "kong", "envoy", "nginx"}
    assert Settings().identity.plain_ids is False


def test_late_requests_are_said_with_what_to_do(replay: Replay, logs: Logs, tmp_path: Path) -> None:
    telemetry = tmp_path / "t.ndjson"
    replay(logs.litellm, "--telemetry", telemetry)
    live = sorted(telemetry.read_bytes().splitlines(), key=lambda line: json.loads(line)["time"])
    old = []
    for line in live:
        record = json.loads(line)
        old.append(json.dumps(record | {"time": record["time"] - 7 * 86_400.0, "id": record["id"] + "-old"}).encode())
    half = len(live) // 2
    mixed = [part for pair in zip(live[half:], old, strict=False) for part in pair]
    backfill = tmp_path / "backfill.ndjson"
    backfill.write_bytes(b"".join(line + b"\n" for line in [*live[:half], *mixed]))
    result = replay(backfill, "--format", "telemetry")
    assert result.exit_code == 0
    assert re.search(r"\d+% of the requests came later than scoring\.grace allows", result.stderr), result.output
    sound = replay(telemetry, "--format", "telemetry")
    assert "scoring.grace" not in sound.stderr


def test_nothing_readable_is_exit_1_with_the_first_detail_of_each_reason(replay: Replay) -> None:
    record = {"startTime": 1.8e9, "call_type": "acompletion", "metadata": {}, "model": "m"}
    Path("log").write_text("\n".join([json.dumps(record)] * 3 + [json.dumps(record | {"startTime": "soon"})]))
    result = replay("log")
    assert result.exit_code == 1
    assert "rejected: 4 (3 account, 1 time)" in result.stderr
    assert "3 account, the first: none of metadata.user_api_key_org_id" in result.stderr
    assert "1 time, the first: `startTime` holds no time" in result.stderr
    assert "nothing could be read" in result.stderr


def test_what_is_passed_over_and_text_that_is_missing_are_said(replay: Replay) -> None:
    def span(number: int, **attributes: str) -> dict[str, Any]:
        held = {"tenant.id": "acme", "gen_ai.request.model": "m", **attributes}
        pairs = [{"key": key, "value": {"stringValue": value}} for key, value in held.items()]
        return {
            "traceId": "0a" * 16,
            "spanId": f"{number:016x}",
            "startTimeUnixNano": "1767571200500000000",
            "attributes": pairs,
        }

    spans = [span(1, **{"gen_ai.operation.name": "chat"}), span(2, **{"gen_ai.operation.name": "execute_tool"})]
    Path("log").write_text(json.dumps({"resourceSpans": [{"resource": {}, "scopeSpans": [{"spans": spans}]}]}))
    result = replay("log")
    assert result.exit_code == 0
    assert "passed over, as no requests: 1 (1 execute_tool)" in result.stdout
    assert "1 requests without text" in result.stdout
    assert "OTEL_SEMCONV_STABILITY_OPT_IN" in result.stdout
    assert "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT" in result.stdout


def test_an_account_that_clients_choose_is_warned_of(
    replay: Replay, logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "auth_basic" not in replay(logs.nginx).stderr
    monkeypatch.setenv("SIPHONWATCH_ACCOUNTS_NGINX", "remote_user, X-Team, remote_addr")
    said = replay(logs.nginx).stderr
    assert "accounts.nginx names remote_user" in said and "auth_basic" in said
    assert "accounts.nginx names X-Team" in said


@pytest.mark.parametrize("wrap", ["bom", "string", "connect"])
def test_telemetry_in_an_envelope_is_read(replay: Replay, logs: Logs, wrap: str) -> None:
    replay(logs.nginx, "--telemetry", "t", "--scores", "good")
    lines = Path("t").read_text().splitlines()
    wrapped = {
        "bom": ["\ufeff" + line for line in lines],
        "string": [json.dumps(line) for line in lines],
        "connect": [json.dumps({"schema": {"type": "struct"}, "payload": json.loads(line)}) for line in lines],
    }[wrap]
    Path("wrapped").write_text("\n".join(wrapped) + "\n")
    assert replay("wrapped", "--format", "telemetry", "--scores", "wrapped.s").exit_code == 0
    assert Path("wrapped.s").read_bytes() == Path("good").read_bytes()
    assert replay("wrapped", "--scores", "auto.s").exit_code == 0, "its format is told"
