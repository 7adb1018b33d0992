"""The lab's benchmark: its traffic repeats a scenario under new names and times, and every step says what it took."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from bench import lab
from bench.data import base

from siphonwatch.streams.contracts.telemetry import decode


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "ACCOUNTS", 20)
    monkeypatch.setattr(lab, "DAYS", 0.5)


def test_copies_have_accounts_ids_and_times_of_their_own_and_the_rest_of_the_scenario() -> None:
    whole = len(base(lab.ACCOUNTS, lab.DAYS, lab.SEED).read_bytes().splitlines()) * lab.BESIDE
    asked = whole + whole // 3
    made = [decode(value) for batch in lab.traffic(asked) for value in batch]
    assert asked <= len(made) < asked + lab.BESIDE
    assert len({record.id for record in made}) == len(made)
    first, later = made[:whole], made[whole:]
    assert not {record.account for record in first} & {record.account for record in later}
    assert len({record.account for record in made[: lab.BESIDE]}) == lab.BESIDE
    assert all(
        (one.content, one.template, one.chunks, one.tokens_out)
        == (two.content, two.template, two.chunks, two.tokens_out)
        and two.time - one.time == pytest.approx(lab.DAYS * 86_400)
        for one, two in zip(first, later, strict=False)
    )


def test_every_step_says_requests_rate_and_memory(tmp_path: Path) -> None:
    said = {step: lab.measured(step, tmp_path, 4000) for step in lab.STEPS}
    assert {one["requests"] for one in said.values()} == {4000}
    assert all(one["a_second"] and one["mb"] for one in said.values())
    assert set(pq.read_table(tmp_path / "features.parquet", columns=["label"])["label"].to_pylist()) == {
        "attack", "honest",
    }  # fmt: skip
