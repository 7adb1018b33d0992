"""Features once, judged by many: a shadow finds what it would find alone and changes nothing; a trace says it all."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from core_fakes import dump_of, load_into, run, state, traffic
from relay_traffic import Traffic

from siphonwatch.models.account.features import WIDTH
from siphonwatch.models.account.request import Array
from siphonwatch.models.account.row import JUDGED, ROW
from siphonwatch.models.account.table import AccountTable
from siphonwatch.models.campaign.row import CAMPAIGN
from siphonwatch.models.common.arrays import Parts
from siphonwatch.models.engine.beside import Beside
from siphonwatch.models.engine.campaigns import CampaignJudge
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.coordinator import Coordinator
from siphonwatch.models.engine.engine import Trace
from siphonwatch.models.engine.judge import AccountJudge
from siphonwatch.models.engine.patterns import detectors
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.engine.stage import AccountBlock
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.streams.worker.state.pages import from_page

CONFIG = ScorerConfig(close_after=4 * 3600.0)
TRAFFIC = traffic(seed=2)
FEW = [d for d in detectors() if d.pattern in ("scraping", "desensitisation")]
"""Cards that read nothing that the champion teaches."""


def with_shadow(chosen: list[str] | None = None) -> tuple[Scorer, list[Finding]]:
    scorer, found = Scorer(CONFIG), list[Finding]()
    cards = [d for d in detectors() if chosen is None or d.pattern in chosen]
    scorer.shadows["next"] = AccountJudge(scorer.stage, cards, shadow=True), found.extend
    return scorer, found


def told(findings: list[Finding]) -> list[bytes]:
    return [msgspec.json.encode(finding) for finding in findings]


def test_a_shadow_of_the_same_cards_finds_the_same_and_the_champion_does_not_notice() -> None:
    alone, (scorer, found) = Scorer(CONFIG), with_shadow()
    expected, champion = run(alone, TRAFFIC), run(scorer, TRAFFIC)
    assert told(champion) == told(expected) == told(found) and expected
    shadow, _ = scorer.shadows["next"]
    assert shadow.suspicion() == scorer.suspicion() == alone.suspicion()
    assert scorer.table.rows.tobytes() == alone.table.rows.tobytes()
    assert shadow.vitals() == scorer.vitals()


def test_a_shadow_of_other_cards_finds_what_a_scorer_of_those_cards_finds() -> None:
    alone, (scorer, found) = Scorer(CONFIG, chosen=FEW), with_shadow(["scraping", "desensitisation"])
    champion = run(scorer, TRAFFIC)
    assert told(found) == told(run(alone, TRAFFIC)) and found
    assert {f.pattern for f in champion} > {f.pattern for f in found}


@pytest.mark.parametrize("at", [137, 512, 800])
def test_a_shadow_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(at: int) -> None:
    whole, expected = with_shadow()
    run(whole, TRAFFIC)
    first, findings = with_shadow()
    run(first, TRAFFIC[:at])
    dump, pages = state(first)
    second, later = with_shadow()
    second.table.place({number: from_page(data) for number, data in pages.items() if data is not None})
    second.table.settle()
    load_into(second, dump)
    assert dump_of(second) == dump
    run(second, TRAFFIC[at:], first=at)
    assert told(findings + later) == told(expected)


def test_a_state_that_knows_no_shadow_lets_it_begin_afresh() -> None:
    plain, (scorer, found) = Scorer(CONFIG), with_shadow()
    run(plain, TRAFFIC[:400])
    load_into(scorer, dump_of(plain))
    shadow, _ = scorer.shadows["next"]
    assert not shadow.suspicion() and not found and scorer.judge.places == plain.judge.places


def test_what_shadows_take_is_that_of_scoring_without_the_snapshots_between() -> None:
    scorer, _ = with_shadow()
    ticks = itertools.count()
    scorer.clock = lambda: float(next(ticks))
    run(scorer, TRAFFIC[:200])
    taken = scorer.shadow_seconds["next"]
    scorer.snapshot()
    assert scorer.shadow_seconds["next"] == taken + 1.0 > 1.0
    scorer.score(TRAFFIC[:0], np.zeros(0, np.int64))
    assert not scorer.shadow_seconds


class Failing(AccountJudge):
    """A candidate that fails at one thing."""

    at = ""

    def judge(self, block: AccountBlock) -> list[Finding]:
        if self.at == "judge":
            raise RuntimeError("a bug of the candidate")
        return super().judge(block)

    def restore(self, parts: Parts) -> None:
        if self.at == "restore":
            raise ValueError("another version's")
        super().restore(parts)

    def snapshot(self) -> dict[str, npt.NDArray[Any] | bytes]:
        if self.at == "snapshot":
            raise MemoryError
        return super().snapshot()


@pytest.mark.parametrize("at", ["judge", "restore", "snapshot"])
def test_a_shadow_that_fails_is_switched_off_and_the_champion_goes_on(at: str) -> None:
    whole, champion = Scorer(CONFIG), list[Finding]()
    expected = run(whole, TRAFFIC)
    scorer, found = with_shadow()
    failing = scorer.shadows["failing"] = Failing(scorer.stage, list(detectors()), shadow=True), found.extend
    found.clear()
    champion += run(scorer, TRAFFIC[:400])
    dump, pages = state(scorer)
    second, _ = with_shadow()
    second.shadows["failing"] = Failing(second.stage, list(detectors()), shadow=True), lambda _: None
    second.shadows["failing"][0].at = failing[0].at = at  # type: ignore[attr-defined]
    second.table.place({number: from_page(data) for number, data in pages.items() if data is not None})
    second.table.settle()
    load_into(second, dump)
    assert list(second.shadows) == (["next"] if at == "restore" else ["next", "failing"])
    champion += run(second, TRAFFIC[400:], first=400)
    second.snapshot()
    assert told(champion) == told(expected)
    assert list(second.shadows) == ["next"] and list(second.failed) == ["failing"]
    assert second.failed["failing"].card == second.judge.id, "it judged by the champion's cards"
    assert second.failed["failing"].reason.startswith(("RuntimeError: a bug", "ValueError: another", "MemoryError"))
    assert second.judge.snapshot().keys() == whole.judge.snapshot().keys()


def test_shadows_whose_names_hold_dots_keep_to_their_own_state() -> None:
    first, _ = with_shadow()
    for name, few in (("a", FEW), ("a.judge", list(detectors()))):
        first.shadows[name] = AccountJudge(first.stage, few, shadow=True), lambda _: None
    run(first, TRAFFIC[:400])
    dump, pages = state(first)
    second, _ = with_shadow()
    for name, few in (("a", FEW), ("a.judge", list(detectors()))):
        second.shadows[name] = AccountJudge(second.stage, few, shadow=True), lambda _: None
    second.table.place({number: from_page(data) for number, data in pages.items() if data is not None})
    second.table.settle()
    load_into(second, dump)
    assert not second.failed
    for name in first.shadows:
        assert second.shadows[name][0].suspicion() == first.shadows[name][0].suspicion()


def test_a_second_judge_costs_its_evidence_and_not_a_second_row() -> None:
    scorer, _ = with_shadow()
    run(scorer, TRAFFIC)
    slots, _ = Beside(scorer.table, JUDGED).held()
    assert not len(slots)
    shadow, _ = scorer.shadows["next"]
    parts = shadow.snapshot()
    n = len(scorer.table)
    assert len(np.asarray(parts["beside.judged"])) == n > 0
    assert np.asarray(parts["beside.judged"]).nbytes == n * JUDGED.itemsize < 0.2 * n * ROW.itemsize


def test_what_a_shadow_keeps_of_an_account_is_never_another_s() -> None:
    table = AccountTable()
    beside = Beside(table, JUDGED)
    first = table.locate(TRAFFIC[:200])
    beside.of(first)["days"][first] = 7
    table.free(np.unique(first))
    again = table.locate(TRAFFIC[-200:])
    fresh = beside.of(again)["days"][again]
    same = np.isin(TRAFFIC[-200:]["account_hash"], TRAFFIC[:200]["account_hash"])
    assert set(again.tolist()) & set(first.tolist())
    moved = table.rows["hash"][again] == TRAFFIC[-200:]["account_hash"]
    assert moved.all() and (fresh[~same] == 0).all() and (~same).any()


class Traces:
    """Copies of all traces."""

    def __init__(self) -> None:
        self.offsets, self.features, self.scores, self.log_e = ([] for _ in range(4))

    def __call__(self, trace: Trace) -> None:
        taken = trace.taken
        self.offsets.append(trace.offsets[taken])
        self.features.append(trace.features[taken])
        self.scores.append(trace.scores[taken])
        self.log_e.append(trace.log_e[taken])

    def all(self) -> tuple[npt.NDArray[np.generic], ...]:
        return tuple(np.concatenate(p) for p in (self.offsets, self.features, self.scores, self.log_e))


def test_a_trace_holds_every_request_once_with_what_it_was_judged_by() -> None:
    scorer, traces = Scorer(CONFIG), Traces()
    scorer.judge.trace = traces
    findings = run(scorer, TRAFFIC, range(97, len(TRAFFIC), 97))
    again = run(scorer, TRAFFIC[:300])
    offsets, features, scores, log_e = traces.all()
    assert not again and offsets.tolist() == list(range(len(TRAFFIC)))
    assert features.shape == (len(TRAFFIC), WIDTH)
    for p, detector in enumerate(detectors()):
        assert scores[:, p].tolist() == detector.score(features.astype(np.float32)).tolist()
    opened = {(f.pattern, f.time): f for f in findings if f.kind == "open"}
    for p, pattern in enumerate(scorer.patterns):
        for i, time in enumerate(TRAFFIC["time"].tolist()):
            if (f := opened.get((pattern, time))) is not None and f.requests_seen:
                assert f.log_e in (pytest.approx(float(log_e[i, p])), f.log_e)
    peaks = [f.log_e for f in findings if f.kind == "open"]
    assert opened and all(np.isclose(log_e, peak).any() for peak in peaks)


def test_a_trace_does_not_depend_on_how_requests_are_cut_and_changes_nothing() -> None:
    plain, cut, whole = Scorer(CONFIG), Scorer(CONFIG), Scorer(CONFIG)
    cut.judge.trace, whole.judge.trace = Traces(), Traces()
    expected = run(plain, TRAFFIC)
    assert told(run(cut, TRAFFIC, range(31, len(TRAFFIC), 31))) == told(run(whole, TRAFFIC)) == told(expected)
    for one, other in zip(cut.judge.trace.all(), whole.judge.trace.all(), strict=True):
        assert one.tobytes() == other.tobytes()
    assert state(cut) == state(whole) == state(plain)


def test_the_coordinator_is_the_same_engine_and_traces_fingerprints() -> None:
    coordinator, traces = Coordinator(CONFIG), Traces()
    coordinator.judge.trace = traces
    q = TRAFFIC.copy()
    q["template"], q["turns"], q["agent"], q["max_tokens"] = 7, 1, 3, 256
    coordinator.score(q, np.arange(len(q)))
    offsets, features, scores, log_e = traces.all()
    assert len(offsets) == 2 * len(q) and (np.diff(offsets) >= 0).all()
    assert len(features) == len(scores) == len(log_e) and np.isnan(log_e).any()


def sightings() -> Array:
    traffic = Traffic(21)
    traffic.hydra(30, 20, 2, batons=0.02)
    traffic.people(80, 8, 4, headers=7, agent=8, model=5)
    return traffic.requests()


def coordinators(chosen: list[str]) -> tuple[Coordinator, list[Finding]]:
    coordinator, found = Coordinator(CONFIG), list[Finding]()
    cards = [d for d in detectors("campaign") if d.pattern in chosen]
    shadow = CampaignJudge(coordinator.stage, cards, shadow=True)
    coordinator.shadows["next"] = shadow, found.extend  # type: ignore[assignment]
    return coordinator, found


@pytest.mark.parametrize("chosen", [["cleaning", "harvest", "campaign"], ["campaign"]])
def test_a_shadow_of_campaigns_finds_what_its_cards_find_alone_and_changes_no_row(chosen: list[str]) -> None:
    q = sightings()
    cards = [d for d in detectors("campaign") if d.pattern in chosen]
    plain, alone, (coordinator, found) = Coordinator(CONFIG), Coordinator(CONFIG, chosen=cards), coordinators(chosen)
    assert told(run(coordinator, q)) == told(run(plain, q))
    assert told(found) == told(run(alone, q)) and found
    assert coordinator.table.rows.tobytes() == plain.table.rows.tobytes()
    assert coordinator.shadows["next"][0].suspicion() == alone.suspicion() != {}


def test_a_shadow_of_campaigns_goes_on_from_a_checkpoint_as_if_it_had_never_stopped() -> None:
    q = sightings()
    whole, expected = coordinators(["campaign"])
    run(whole, q)
    first, findings = coordinators(["campaign"])
    run(first, q[:900])
    dump, pages = state(first)
    second, later = coordinators(["campaign"])
    second.table.place({number: from_page(data, CAMPAIGN) for number, data in pages.items() if data is not None})
    second.table.settle()
    load_into(second, dump)
    run(second, q[900:], first=900)
    assert told(findings + later) == told(expected) != []
