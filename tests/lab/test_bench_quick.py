"""`make bench` measures every part that can be measured where it runs, and says what cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FIGURES = {
    "worker, Kafka to alerts, one core": "requests/s",
    "  time in transport": "%",
    "plain Faust agent, JSON decoded": "records/s",
    "aiokafka getmany alone": "records/s",
    "replay of telemetry, one core": "requests/s",
    "raw LiteLLM records to telemetry, a core": "records/s",
    "  of a topic, as workers do, without Kafka": "records/s",
    "gateway's callback": "ms/request",
    "record to alert, p99": "s",
    "restore of 20,000 accounts": "s",
    "  rows and index": "bytes/account",
    "  each had left memory, in order": "requests/s",
    "  each had left memory, at random": "requests/s",
}


@pytest.mark.broker
@pytest.mark.kafka
def test_a_quick_run_has_every_figure_with_its_unit_and_machine(kafka: str, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--bootstrap", kafka, "--json", str(out)],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT / 'tests' / 'tools'}"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=850,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(out.read_bytes())
    assert report["machine"]["cores"] and report["machine"]["versions"]["faust-streaming"]
    figures = {figure["name"]: figure for figure in report["figures"]}
    for name, unit in FIGURES.items():
        assert figures[name]["unit"] == unit
        assert name.strip() in done.stdout
        assert figures[name]["median"] is not None
    assert 0 < figures["record to alert, p99"]["median"] < 60
    assert figures["  rows and index"]["median"] > figures["  row"]["median"] > 0
    quix = figures["Quix Streams, JSON decoded and counted"]
    assert quix["runs"] or "quixstreams" in quix["note"]  # only the benchmark's own environment has it


def test_a_broker_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--only", "peers"],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}:{ROOT / 'tests' / 'tools'}", "PATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=850,
    )
    assert done.returncode == 1
    assert "no java and no mvn" in done.stderr and "Traceback" not in done.stderr
