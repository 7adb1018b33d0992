"""Sums of accounts and fingerprints that send millions of requests: what is a share of them stays that share."""

from __future__ import annotations

import numpy as np
import pytest

from siphonwatch.models.account.fading import MOST
from siphonwatch.models.account.features import INDEX
from siphonwatch.models.account.request import Array, blank
from siphonwatch.models.account.row import IS_JOB, IS_TRAIL
from siphonwatch.models.account.sums import SCALES, TAUS
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.engine import BLOCK, Stage
from siphonwatch.models.engine.fingerprints import FingerprintStage
from siphonwatch.models.engine.stage import AccountStage

FULL = 2.0**24
"""Where one more request no longer changes a sum of 32 bits."""
BLOCKS, START, PACE = 40, 1_700_000_000.0, 100.0


def requests(block: int, *, rest: bool, still: bool) -> Array:
    """A block of one account at `PACE` a second, or in one moment; every fourth repeats a placeholder and goes on."""
    q = np.repeat(blank(), BLOCK)
    places = block * BLOCK + np.arange(BLOCK)
    q["time"] = START + (0.0 if still else places / PACE)
    q["account_hash"], q["account"][:, 0] = 7, 0x61
    q["rest"], q["template"], q["max_tokens"], q["turns"], q["agent"] = rest, not rest, 100, 1 + (places % 4 == 0), 9
    q["echo"] = places % 4 == 0
    return q


def feed(stage: Stage, first: int, last: int, *, rest: bool = False, still: bool = False) -> Array:
    """The row of the first slot after some blocks."""
    for block in range(first, last):
        offsets = block * BLOCK + np.arange(BLOCK)
        made = stage.take(requests(block, rest=rest, still=still), offsets, np.full(BLOCK, np.inf), 0)
    return stage.table.rows[made.slots[0]]


@pytest.mark.parametrize("still", [False, True])
def test_a_share_of_a_full_sum_stays_what_it_is(still: bool) -> None:
    stage = AccountStage(ScorerConfig())
    week = feed(stage, 0, 2, still=still)["by_scale"][-1]
    week["requests"], week["echoed"] = FULL, FULL / 4
    week = feed(stage, 2, BLOCKS, still=still)["by_scale"][-1]
    assert MOST < week["requests"] < FULL
    assert week["echoed"] / week["requests"] == pytest.approx(0.25, abs=1e-4)


@pytest.mark.parametrize(("pace", "longest"), [(20.0, 3), (100.0, 3), (100.0, 2)])
def test_a_steady_account_with_full_sums_has_its_own_pace_and_no_rise(pace: float, longest: int) -> None:
    stage = AccountStage(ScorerConfig())
    row = feed(stage, 0, 2)
    row["first_seen"] -= 60 * 86_400.0
    row["by_scale"]["requests"] = np.minimum(pace * TAUS, MOST)
    last = requests(2, rest=False, still=False)
    last["time"] = row["last_time"]
    made = stage.take(last[:1], np.array([2 * BLOCK]), np.full(1, np.inf), 0)
    rate = made.values[0, INDEX[f"requests_rate_{SCALES[longest]}"]]
    assert np.expm1(rate) / 3600.0 == pytest.approx(pace, rel=0.02)
    for name in ("rise_5m", "rise_1h", "rise_1d"):
        assert abs(made.values[0, INDEX[name]]) < 0.1, name


@pytest.mark.parametrize(("rest", "slots", "use"), [(False, "jobs", IS_JOB), (True, "trails", IS_TRAIL)])
def test_a_busy_job_or_trail_counts_its_hours_by_the_time_that_passed(rest: bool, slots: str, use: int) -> None:
    stage = AccountStage(ScorerConfig())
    row = feed(stage, 0, 2, rest=rest)
    assert row["slot_use"][0] == use
    slot = row[slots][0]
    slot["requests"], slot["hours"], slot["hour"] = FULL, 100.0, slot["hour"] - 7 * 24
    slot = feed(stage, 2, BLOCKS, rest=rest)[slots][0]
    assert slot["requests"] < FULL
    assert slot["hours"] == pytest.approx(100.0 / np.e + 1.0, rel=1e-3)


def test_a_popular_fingerprint_keeps_its_share_of_conversations() -> None:
    stage = FingerprintStage(ScorerConfig())
    sums = feed(stage, 0, 2)["sum"]
    sums["asked"], sums["conversation"] = FULL, FULL / 4
    sums = feed(stage, 2, BLOCKS)["sum"]
    assert MOST < sums["asked"] < FULL
    assert sums["conversation"] / sums["asked"] == pytest.approx(0.25, abs=1e-4)
