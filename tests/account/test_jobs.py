"""Jobs: an account's requests told apart by what a program sets once, each counted as if it were alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from card_tools import Watch
from core_fakes import START, chat, hashes, requests, run, sweep, walk
from hypothesis import given as drawn
from hypothesis import settings
from hypothesis import strategies as st

from siphonwatch.models.account.features import FEATURES, NAMES, given
from siphonwatch.models.account.jobs import LOOP_GAP, LOOP_LAG, SHORT, count_job, derive_job, job_id
from siphonwatch.models.account.request import Array
from siphonwatch.models.account.row import ROW, SLOTS
from siphonwatch.models.account.slots import TAU
from siphonwatch.models.account.sums import ADDED
from siphonwatch.models.common.kernel import kernel
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.scorer import Scorer

DAY = 86_400.0
KNOWN_BY = ("system", "temperature", "max_tokens")
JOB_FEATURES = [feature for feature in FEATURES if feature.name.startswith("job_")]


@kernel
def count(rows: Array, requests: Array, adds: Array, places: npt.NDArray[np.int64]) -> None:
    for i in range(len(requests)):
        places[i] = count_job(rows[0], requests[i], requests[i].time, adds[0], np.float32(0.0))


@kernel
def derive(rows: Array, requests: Array, place: int, total: float, out: Array) -> None:
    derive_job(rows[0], place, requests[0], requests[0].time, total, out[0])


class Account:
    """One row that takes requests into its jobs."""

    def __init__(self) -> None:
        self.rows = np.zeros(1, ROW)
        self.adds = np.zeros(1, ADDED)

    def take(self, q: Array, **described: float) -> list[int]:
        """Take requests, each described as given; returns their jobs' places."""
        self.adds[:] = 0.0
        for name, value in described.items():
            self.adds[name] = value
        return self.count(q)

    def count(self, q: Array) -> list[int]:
        places = np.zeros(len(q), np.int64)
        count(self.rows, q, self.adds, places)
        return places.tolist()

    @property
    def jobs(self) -> Array:
        return self.rows[0]["jobs"]

    def features(self, place: int, q: np.void, total: float = 100.0) -> dict[str, float]:
        out = np.zeros(1, given())
        derive(self.rows, np.atleast_1d(q), place, total, out)
        return {feature.name: float(out[feature.name][0]) for feature in JOB_FEATURES}


def prompts(times: Sequence[float], **fields: Any) -> Array:
    """Requests of a language-model API at the given times after the start, of one template."""
    q = requests("a", START + np.array(times, float))
    q["template"] = 1 << 40
    for name, value in fields.items():
        q[name] = value
    return q


def job(number: int, times: Sequence[float]) -> Array:
    """Requests of the job that asks for so many tokens at most."""
    return prompts(times, max_tokens=number)


def names_of(q: Array) -> list[int]:
    return [int(job_id(one)) for one in q]


def test_a_job_is_known_whatever_the_client_address_key_user_or_model() -> None:
    q = prompts(range(40), system=7, temperature=0.5, max_tokens=256)
    rng = np.random.default_rng(1)
    for field in ("ip", "key", "agent", "headers", "user", "session", "model", "template", "content", "prefix"):
        q[field] = hashes(rng, len(q))
    q["turns"], q["chars"], q["n"], q["stream"] = np.arange(40), np.arange(40), 1 + np.arange(40) % 4, np.arange(40) % 2
    assert len(set(names_of(q))) == 1
    account = Account()
    assert account.take(q) == [0] * 40
    assert account.jobs["requests"][0] == pytest.approx(40, rel=1e-3) and not account.jobs["requests"][1:].any()


def test_a_short_message_that_was_sent_before_says_nothing_of_a_job() -> None:
    account, plain = Account(), Account()
    asked = prompts(np.arange(100) * 60.0, chars=500, turns=1)
    trivial = prompts(np.arange(100) * 60.0 + 1.0, chars=SHORT, turns=1)
    for one, other in zip(asked, trivial, strict=True):
        for taker in (account, plain):
            taker.take(np.atleast_1d(one), new_content=1.0, sweep=1.0, single_turn=1.0)
        account.take(np.atleast_1d(other), single_turn=1.0)
    job, alone = account.jobs[0], plain.jobs[0]
    for name in ("weighed", "sweep", "loop", "single_turn", "log_chars", "template_weight"):
        assert job[name] == pytest.approx(alone[name], rel=1e-3), name
    account.take(np.atleast_1d(trivial[0]), new_content=1.0)
    assert account.jobs[0]["weighed"] > alone["weighed"] + 0.5, "it counts where it is new"
    assert account.jobs[0]["requests"] == pytest.approx(2 * alone["requests"], rel=0.01), "all of them are its requests"


def test_another_system_prompt_temperature_or_length_is_another_job() -> None:
    kinds = list(itertools.product((0, 1, 7, 2**63), (math.nan, 0.0, 0.2, 0.7, 1.0), (0, 1, 256, 2048, 2**31 - 1)))
    q = prompts(range(len(kinds)))
    for name, values in zip(KNOWN_BY, zip(*kinds, strict=True), strict=True):
        q[name] = values
    found = names_of(q)
    assert min(found) > 0 and len(set(found)) == len(kinds)


def test_one_prompt_at_several_temperatures_is_no_other_use_of_the_account() -> None:
    account = Account()
    q = prompts(range(90), system=7, max_tokens=256)
    q["temperature"] = np.arange(90) % 3 * 0.5
    places = account.take(q)
    assert sorted(set(places)) == [0, 1, 2]
    assert account.features(places[-1], q[-1])["job_aside"] == 0.0
    account.take(prompts(3600.0 * (np.arange(45) // 9), max_tokens=16))
    assert account.features(places[-1], q[-1], total=135)["job_aside"] == pytest.approx(1 / 3, rel=0.05)


@pytest.mark.parametrize(("hours", "counts"), [(1, 0.0), (3, 0.5), (5, 1.0), (9, 1.0)])
def test_a_burst_beside_a_job_is_no_other_use_of_the_account(hours: int, counts: float) -> None:
    """One benchmark does not make the ordinary use beside it a second job."""
    account = Account()
    q = prompts(range(30), system=7, max_tokens=256)
    (place, *_) = account.take(q)
    account.take(prompts(3600.0 * (np.arange(90) * hours // 90), max_tokens=16))
    assert account.features(place, q[-1], total=120)["job_aside"] == pytest.approx(counts * 0.75, abs=0.05)


def test_a_tenth_of_an_account_s_traffic_is_seen_as_a_job_of_its_own() -> None:
    watch = Watch("extraction")
    scorer = Scorer(ScorerConfig(), chosen=(watch,))
    product = chat("a", START + np.sort(np.random.default_rng(1).uniform(0, DAY, 900)))
    product["temperature"] = 0.3
    run(scorer, product)
    run(scorer, sweep("a", START + DAY + 2.0 * np.arange(100)), first=900)
    last = {name: float(watch.values[name][-1]) for name in NAMES}
    assert math.expm1(last["job_requests"]) == pytest.approx(100, rel=0.01)
    assert last["job_single_turn"] == 1.0 and last["job_sweep"] > 0.95 and last["job_system"] == 0.0
    assert last["job_aside"] == pytest.approx(0.9, abs=0.02), "its largest other job is nine tenths of the account"
    assert last["single_turn_1d"] < 0.4, "while the account as a whole looks like a conversation"


def test_a_fifth_job_wears_the_lightest_out_and_a_busy_one_stays() -> None:
    account = Account()
    for number, n in ((1, 50), (2, 20), (3, 9), (4, 3)):
        account.take(job(number, [0.0] * n))
    kept = [int(one["name"]) for one in account.jobs]
    assert account.take(job(5, [1.0] * 4)) == [-1, -1, 3, 3], "two turned away wear a hold of 3 down to 1"
    assert [int(one["name"]) for one in account.jobs] == [*kept[:3], *names_of(job(5, [0.0]))]
    assert account.jobs["requests"][3] == 2, "counted from where it came in, with nothing of whose place it took"
    assert account.jobs["requests"][:3] == pytest.approx([50, 20, 9])
    assert account.jobs["hold"][:3] == pytest.approx([50, 20, 9]), "only the lightest is worn"


def test_many_jobs_of_one_request_each_leave_the_busy_ones_where_they_are() -> None:
    account = Account()
    account.take(job(1, [0.0] * 60))
    for number in range(100, 300):
        account.take(job(number, [1.0 + number]))
        account.take(job(1, [1.0 + number]))
    assert account.jobs["name"][0] == names_of(job(1, [0.0]))[0]
    assert account.jobs["requests"][0] == pytest.approx(260, rel=1e-3)


def test_a_job_left_alone_for_weeks_gives_way_at_once() -> None:
    account = Account()
    for number in range(1, 5):
        account.take(job(number, [0.0] * 50))
    account.take(job(1, [5 * TAU]))
    assert account.take(job(9, [5 * TAU])) == [1], "50 requests weigh e^-5 of that by now"


def test_the_lightest_is_told_by_what_its_hold_is_worth_now_and_not_when_it_was_renewed() -> None:
    account = Account()
    for number, at, n in ((1, 0.0, 30), (2, 2 * TAU, 8), (3, 2 * TAU, 40), (4, 2 * TAU, 40)):
        account.take(job(number, [at] * n))
    account.take(job(5, [2 * TAU]))
    worth = account.jobs["hold"] * np.exp(-(START + 2 * TAU - account.jobs["time"]) / TAU)
    assert worth == pytest.approx([30 * math.exp(-2) - 1, 8, 40, 40], rel=1e-3), "30 old ones are worth 4 of today"


def test_a_late_request_joins_with_the_weight_it_would_have_kept_and_leaves_sequences_alone() -> None:
    account = Account()
    account.take(job(1, [0.0, 1.0, 2.0]), sweep=1.0, single_turn=1.0)
    before = account.jobs[0].copy()
    account.take(job(1, [2.0 - TAU]), sweep=1.0, single_turn=1.0)
    after = account.jobs[0]
    for name in ("requests", "sweep", "single_turn"):
        assert after[name] - before[name] == pytest.approx(math.exp(-1.0), rel=1e-4)
    for name in ("time", "hour", "hours", "days", "loop", "duration"):
        assert after[name] == before[name]


def test_rest_requests_have_no_job_and_evict_none() -> None:
    account = Account()
    account.take(job(1, [0.0] * 3))
    before = account.rows.tobytes()
    rest = walk("a", START + 1.0 + np.arange(50.0))
    assert set(account.take(rest)) == {-1}
    assert account.rows.tobytes() == before
    assert not any(account.features(-1, rest[0]).values()), "its features are zeros, not those of another job"


@pytest.mark.parametrize(
    ("gap", "duration", "counted"),
    [(LOOP_GAP - 1, LOOP_GAP - 2, 1), (LOOP_GAP, LOOP_GAP - 1, 0), (LOOP_LAG + 1, 2, 1), (LOOP_LAG + 2, 2, 0)],
)
def test_a_loop_goes_on_within_a_lag_of_the_answer_before_and_a_gap_of_the_question(
    gap: float, duration: float, counted: int
) -> None:
    account = Account()
    account.take(prompts([0, gap], duration=duration), sweep=1.0)
    assert account.jobs["loop"][0] == counted


def test_hours_and_days_at_work_are_counted_once_each() -> None:
    account = Account()
    account.take(job(1, [0, 10, 3599, 3600, 3601, 5 * 3600, DAY, DAY + 1]))
    assert account.jobs["hours"][0] == pytest.approx(4, rel=0.3) and account.jobs["days"][0] == pytest.approx(
        2, rel=0.2
    )
    fresh = Account()
    fresh.take(job(1, [0, 10, 3599]))
    assert (fresh.jobs["hours"][0], fresh.jobs["days"][0]) == pytest.approx((1, 1), rel=1e-2)


Steps = st.lists(
    st.tuples(st.integers(0, SLOTS - 1), st.integers(-4000, 200_000), st.integers(0, 5000), st.integers(0, 31)),
    min_size=1,
    max_size=60,
)


@settings(deadline=None, max_examples=100)
@drawn(Steps)
def test_sums_are_those_of_a_slow_reference(steps: list[tuple[int, int, int, int]]) -> None:
    """Each sum is that of what its requests were, each by its age at the job's latest request; in any order."""
    account, clock = Account(), 0.0
    added: dict[int, list[tuple[float, dict[str, float]]]] = {}
    places: dict[int, int] = {}
    for number, gap, chars, bits in steps:
        at = clock + gap
        clock = max(clock, at)
        account.adds[:] = 0.0
        account.adds["new_content"] = 1.0
        flags = dict.fromkeys(("single_turn", "sweep", "generation", "reasoning", "grading"), 0.0)
        for place, name in enumerate(flags):
            account.adds[name] = flags[name] = float(bits >> place & 1)
        q = prompts([at], max_tokens=number, chars=chars, structured=bits & 1)
        (places[number],) = account.count(q)
        size = math.log1p(chars)
        parts = {
            "requests": 1.0, "log_chars": size, "log_chars_sq": size * size, "structured": float(bits & 1), **flags,
        }  # fmt: skip
        added.setdefault(number, []).append((START + at, parts))
    assert sorted(places.values()) == list(range(len(places))), "each keeps a place of its own"
    for number, requests_ in added.items():
        row = account.jobs[places[number]]
        latest = max(time for time, _ in requests_)
        assert row["time"] == latest
        for name in requests_[0][1]:
            slow = sum(parts[name] * math.exp(-(latest - time) / TAU) for time, parts in requests_)
            assert row[name] == pytest.approx(slow, rel=1e-4, abs=1e-5)


@settings(deadline=None, max_examples=60)
@drawn(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 90_000)), min_size=1, max_size=120))
def test_whoever_comes_and_goes_shares_stay_shares(steps: list[tuple[int, int]]) -> None:
    """Seven jobs over four places: every feature stays in its range."""
    account, at = Account(), 0.0
    for number, gap in steps:
        at += gap
        q = job(number, [at])
        (place,) = account.take(q, sweep=1.0, single_turn=1.0)
        found = account.features(place, q[0], total=len(steps))
        for feature in JOB_FEATURES:
            assert math.isfinite(found[feature.name])
            if feature.unit == "share":
                assert 0.0 <= found[feature.name] <= 1.0 + 1e-6, feature.name
        live = account.jobs["name"][account.jobs["name"] > 0]
        assert len(set(live.tolist())) == len(live)
        assert (place < 0) == (names_of(q)[0] not in live)
