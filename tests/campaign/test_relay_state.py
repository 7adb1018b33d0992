"""The coordinator's state: no batch matters, what comes twice counts once, what is loaded goes on as if never saved."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache

import msgspec
import numpy as np
import pytest
from core_fakes import dump_of, load_into
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from relay_traffic import DAY, START, Traffic

from siphonwatch.models.account.request import Array
from siphonwatch.models.account.row import PAGE_ROWS
from siphonwatch.models.campaign import row
from siphonwatch.models.campaign.edges import Spotter, fingerprints
from siphonwatch.models.campaign.features import FEATURES
from siphonwatch.models.campaign.row import CAMPAIGN, PARTS, SUMS
from siphonwatch.models.common.arrays import pack, unpack
from siphonwatch.models.common.declare import sizes
from siphonwatch.models.detect import Detector
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.coordinator import Coordinator
from siphonwatch.models.engine.engine import BLOCK
from siphonwatch.models.engine.fingerprints import FORGET, PRUNE_BLOCKS
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.engine.together import Together
from siphonwatch.models.evidence.budget import NUMBERED
from siphonwatch.models.evidence.cases import Finding

CONFIG = ScorerConfig()


@cache
def requests() -> Array:
    traffic = Traffic(21)
    traffic.hydra(30, 20, 2, batons=0.02)
    traffic.hydra(20, 20, 2, name="other", rotate=True, temperature=0.4)
    traffic.people(80, 8, 4, headers=7, agent=8, model=5)
    return traffic.requests()


def run(cuts: list[int], coordinator: Coordinator | None = None) -> tuple[list[object], bytes, bytes]:
    coordinator = coordinator or Coordinator(CONFIG)
    q = requests()
    edges = [0, *sorted(cuts), len(q)]
    findings: list[object] = []
    for start, end in itertools.pairwise(edges):
        findings += coordinator.score(q[start:end], np.arange(start, end))
    return findings, dump_of(coordinator), coordinator.table.rows[coordinator.table.used()].tobytes()


whole = cache(lambda: run([]))


@hypothesis_settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 4000), max_size=12))
def test_any_cut_into_batches_gives_the_same_findings_and_state(cuts: list[int]) -> None:
    assert run([min(cut, len(requests())) for cut in cuts]) == whole()


def test_one_request_at_a_time_gives_the_same_findings() -> None:
    coordinator = Coordinator(CONFIG)
    q = requests()[:1500]
    one_by_one = [f for i in range(len(q)) for f in coordinator.score(q[i : i + 1], np.array([i]))]
    assert one_by_one == Coordinator(CONFIG).score(q, np.arange(len(q)))
    assert one_by_one


def test_redelivery_changes_nothing() -> None:
    coordinator = Coordinator(CONFIG)
    q = requests()
    first = coordinator.score(q[:2000], np.arange(2000))
    rows = coordinator.table.rows.tobytes()
    assert coordinator.score(q[500:2000], np.arange(500, 2000)) == []
    assert coordinator.table.rows.tobytes() == rows
    assert coordinator.stage.count.skipped == 1500
    assert first + coordinator.score(q[2000:], np.arange(2000, len(q))) == whole()[0]


def test_a_restored_coordinator_goes_on_as_if_nothing_had_happened() -> None:
    q = requests()
    before, after = Coordinator(CONFIG), Coordinator(CONFIG)
    findings = before.score(q[:1700], np.arange(1700))
    after.table.place({n: rows for n, rows in before.table.take_dirty().items() if rows is not None})
    after.table.settle()
    load_into(after, dump_of(before))
    assert dump_of(after) == dump_of(before)
    assert findings + after.score(q[1700:], np.arange(1700, len(q))) == whole()[0]
    assert after.suspicion() != {}


@pytest.mark.parametrize("part", ["judge.kept", "stage.clock", "judge.budget", "judge.cases.open"])
def test_state_of_another_version_is_refused(part: str) -> None:
    coordinator = Coordinator(CONFIG)
    parts = unpack(dump_of(coordinator))
    for broken in (b"\xff", np.zeros((3, 3))):
        with pytest.raises(ValueError, match="do not fit this version"):
            load_into(coordinator, pack(parts | {part: broken}))
    with pytest.raises(ValueError, match="do not fit this version"):
        load_into(coordinator, pack({name: value for name, value in parts.items() if name != part}))


def test_a_spotter_goes_on_from_its_counters() -> None:
    q = requests()[:3000]
    taken = np.zeros(len(q), np.int64)
    now = np.maximum.accumulate(q["time"])
    one, other = Spotter(), Spotter()
    before = one.pick(q[:1500], taken[:1500], now[:1500])
    other.restore(one.snapshot())
    after = other.pick(q[1500:], taken[1500:], now[1500:]) + 1500
    assert [*before, *after] == Spotter().pick(q, taken, now).tolist()


def test_counters_of_past_hours_are_not_kept() -> None:
    q = requests()[:3000]
    now = np.maximum.accumulate(q["time"])
    spotter = Spotter()
    spotter.pick(q, np.zeros(len(q), np.int64), now)
    kept = spotter.snapshot()["counters"]
    assert 0 < len(kept) < 100 and set(kept[:, 1]) == {int(now[-1] // 3600)}
    spotter.pick(q[:1], np.full(1, -1), now[-1:] + 3600)
    assert len(spotter.snapshot()["counters"]) == 0


def test_counters_of_another_shape_are_refused() -> None:
    for bad in (np.zeros((2, 2), np.int64), np.array([[1 << 20, 0, 1]])):
        with pytest.raises(ValueError, match="another version"):
            Spotter().restore({"counters": bad})


def test_idle_fingerprints_are_forgotten() -> None:
    traffic = Traffic(2)
    for i in range(50):
        traffic.send(f"old-{i}", START + np.arange(3.0), max_tokens=i + 1)
    later = START + FORGET + DAY + np.arange(BLOCK * PRUNE_BLOCKS) * 0.5
    traffic.send("new", later, max_tokens=999)
    coordinator = Coordinator(CONFIG)
    q = traffic.requests()
    coordinator.score(q, np.arange(len(q)))
    _, edges = fingerprints(q[-1:])
    assert len(coordinator.table) == np.count_nonzero(edges)


def test_one_request_from_the_future_does_not_drag_the_clock() -> None:
    traffic = Traffic(4)
    traffic.hydra(30, 20, 2)
    traffic.send("liar", [START + 3600], max_tokens=3)
    q = traffic.requests()
    plain = Coordinator(CONFIG).score(q, np.arange(len(q)))
    liar = q.copy()
    liar["time"][liar["max_tokens"] == 3] = START + 400 * DAY
    assert [f.accounts for f in Coordinator(CONFIG).score(liar, np.arange(len(q)))] == [f.accounts for f in plain]


def test_a_fingerprint_s_row_takes_at_most_two_and_a_half_kilobytes_and_has_no_padding() -> None:
    assert sum(sizes(PARTS).values()) == CAMPAIGN.itemsize <= 2600


def test_every_sum_of_a_fingerprint_is_added_to_and_every_feature_computed() -> None:
    coordinator, values, q = Coordinator(CONFIG), [], requests().copy()
    q["turns"][::7], q["session"][::5], q["tools"][::11] = 3, 9, 1
    q["chars"][::3], q["chars_out"][::3] = 3000, 2000
    reads = q[::2]
    reads["rest"], reads["route"], reads["page"], reads["trail_new"] = 1, 3, -1, 0.9
    reads["item"], reads["resource"] = np.arange(len(reads)) // 2, np.arange(len(reads)) // 2 + 1
    reads["status"][::4] = 404
    coordinator.judge.trace = lambda trace: values.append(trace.features.copy())
    coordinator.score(q, np.arange(len(q)))
    added = coordinator.table.rows["sums"].any(axis=0)
    assert [s.name for s, there in zip(SUMS, added, strict=True) if not there] == []
    still = np.ptp(np.concatenate(values), axis=0) == 0
    assert [f.name for f, constant in zip(FEATURES, still, strict=True) if constant] == []


def test_state_with_rows_of_another_layout_is_refused_with_both_layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Coordinator(CONFIG).snapshot()
    before = row.layout_id()
    renamed = [field._replace(name="turns") if field.name == "turn" else field for field in PARTS]
    monkeypatch.setattr(row, "PARTS", renamed)
    with pytest.raises(ValueError, match=f"rows of layout {before}, this version's is {row.layout_id()}"):
        Coordinator(CONFIG).restore(kept)


def test_together_finds_campaigns_whatever_the_batches() -> None:
    q = requests()
    seen = []
    for size in (len(q), 700, 64):
        both = Together(Scorer(CONFIG), Coordinator(CONFIG))
        found = [
            f for i in range(0, len(q), size) for f in both.score(q[i : i + size], np.arange(i, min(i + size, len(q))))
        ]
        seen.append(([f for f in found if f.pattern == "campaign"], {f.id for f in found}, both.suspicion()))
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][0]
    campaign = {account for f in seen[0][0] for account in f.accounts}
    assert min(seen[0][2][account] for account in campaign) > 6.0


LIARS: dict[str, Callable[[float], list[tuple[str, float]]]] = {
    "16 requests of one account a week ahead": lambda at: [("liar", at + 7 * DAY)] * 16,
    "a walk of one account": lambda at: [("liar", at + 599.0 * i) for i in range(1, 1011)],
    "16 accounts a week ahead": lambda at: [(f"liar-{i}", at + 7 * DAY) for i in range(16)],
    "a walk of five accounts": lambda at: [(f"liar-{i % 5}", at + 599.0 * (i // 5)) for i in range(5, 5055)],
    "300 accounts a week ahead": lambda at: [(f"liar-{i}", at + 7 * DAY) for i in range(300)],
}


@pytest.mark.parametrize("lie", LIARS)
@pytest.mark.parametrize("arrives", ["live", "long after", "unknown"])
def test_accounts_that_claim_the_future_hide_no_campaign(lie: str, arrives: str) -> None:
    traffic = Traffic(9)
    members = set(traffic.hydra(60, 26, 2))
    traffic.people(200, 20, 2, headers=3, agent=4)
    honest = traffic.requests()
    at = len(honest) // 3
    liars = Traffic(10)
    for account, claimed in LIARS[lie](float(honest["time"][at])):
        liars.send(account, [claimed], max_tokens=3)
    lies = liars.requests()
    q = np.concatenate([honest[:at], lies, honest[at:]])
    true = np.concatenate([honest["time"][:at], np.full(len(lies), honest["time"][at]), honest["time"][at:]])
    arrived = true + {"live": 0.3, "long after": 30 * DAY, "unknown": np.inf}[arrives]
    scorer, coordinator = Scorer(CONFIG), Coordinator(CONFIG)
    scorer.score(q, np.arange(len(q)), arrived)
    seen = scorer.sighted
    findings = coordinator.score(q[seen], seen, arrived[seen])
    named = {account for finding in findings for account in finding.accounts}
    assert len(named & members) >= 0.9 * len(members)
    assert scorer.now == pytest.approx(honest["time"][-1], abs=1.0)
    assert coordinator.now <= honest["time"][-1]


def test_another_card_ends_the_campaigns_that_were_told_and_begins_with_new_hypotheses() -> None:
    first = Coordinator(CONFIG)
    half = len(requests()) // 2
    run_of(first, 0, half)
    told = first.cases.standing()
    assert told and not first.changes
    other = Coordinator(CONFIG)
    *special, general = other.judge.detectors
    other.judge.detectors = (*special, Detector(msgspec.structs.replace(general.card, null=0.46), general.features))
    rows = first.table.rows.copy()
    other.table.place({k: rows[k * PAGE_ROWS : (k + 1) * PAGE_ROWS] for k in range(len(rows) // PAGE_ROWS)})
    other.table.settle()
    load_into(other, dump_of(first))
    assert [str(change)[:15] for change in other.changes] == ["card campaign w"]
    ended = other.end(lambda accounts: False)
    assert {f.case for f in ended} == {f.case for f in told} and {f.kind for f in ended} == {"close"}
    assert all(len(f.accounts) >= 10 for f in ended), "with the accounts that they named"
    numbered = int(other.judge.budget.counts[NUMBERED])
    findings = run_of(other, half, len(requests()))
    assert int(other.judge.budget.counts[NUMBERED]) > numbered
    assert findings[0].kind == "open" and not {f.case for f in findings} & {f.case for f in told}
    again = Coordinator(CONFIG)
    again.judge.detectors = other.judge.detectors
    load_into(again, dump_of(other))
    assert not again.changes


def run_of(coordinator: Coordinator, start: int, end: int) -> list[Finding]:
    return coordinator.score(requests()[start:end], np.arange(start, end))
