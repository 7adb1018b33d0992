"""A shadow becomes the champion between two batches: what goes on, what begins anew, and the way back."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np
import pytest
from core_fakes import dump_of, load_into, run, state, traffic
from relay_traffic import Traffic

from siphonwatch.models.account.features import FEATURES
from siphonwatch.models.account.request import Array
from siphonwatch.models.campaign.features import FEATURES as CAMPAIGN_FEATURES
from siphonwatch.models.campaign.members import Campaign
from siphonwatch.models.detect import Detector
from siphonwatch.models.engine.campaigns import CampaignJudge
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.coordinator import Coordinator
from siphonwatch.models.engine.engine import PREVIOUS
from siphonwatch.models.engine.judge import AccountJudge
from siphonwatch.models.engine.patterns import detectors
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.streams.worker.state.pages import from_page

CONFIG = ScorerConfig(close_after=4 * 3600.0)
LOG = traffic(seed=2)
EARLY, MIDDLE = 600, 800
"""Requests until a case of extraction is open, and until one of scraping is open too."""


def cards(**nulls: float) -> list[Detector]:
    """The installed cards of accounts, some with another null level."""
    return [
        Detector(msgspec.structs.replace(d.card, null=nulls.get(d.pattern, d.null)), FEATURES, d.supports)
        for d in detectors()
    ]


def scorer_with(chosen: list[Detector]) -> tuple[Scorer, list[Finding]]:
    scorer, found = Scorer(CONFIG), list[Finding]()
    scorer.shadows["challenger"] = AccountJudge(scorer.stage, chosen, shadow=True), found.extend
    return scorer, found


def told(findings: list[Finding]) -> list[bytes]:
    return [msgspec.json.encode(finding) for finding in findings]


def ignore(_: list[Finding]) -> None:
    """Nobody hears the previous champion."""


def test_promoting_a_shadow_of_the_same_cards_changes_no_finding_and_rolling_back_neither() -> None:
    alone, (scorer, _) = Scorer(CONFIG), scorer_with(cards())
    expected = run(alone, LOG)
    findings = run(scorer, LOG[:MIDDLE])
    assert scorer.promote("challenger", ignore) == [] and list(scorer.shadows) == [PREVIOUS]
    findings += run(scorer, LOG[MIDDLE:900], first=MIDDLE)
    assert scorer.promote(PREVIOUS, ignore) == []
    findings += run(scorer, LOG[900:], first=900)
    assert told(findings) == told(expected)
    assert scorer.table.rows.tobytes() == alone.table.rows.tobytes()


def test_cards_that_both_have_go_on_and_those_of_the_shadow_alone_count_with_its_evidence() -> None:
    (changed,) = [d for d in detectors() if d.pattern == "scraping"]
    new = cards(scraping=changed.null * 0.9)
    scorer, _ = scorer_with(new)
    before = run(scorer, LOG[:MIDDLE])
    kept = {f.case: f for f in scorer.cases.standing()}
    shadow, _ = scorer.shadows["challenger"]
    theirs = {f.case for f in shadow.cases.standing() if f.pattern == "scraping"}
    theirs_at = [place.pattern for place in shadow.places].index("scraping")
    slots, judged = shadow._held()
    had = judged["evidence"]["log_e"][slots, theirs_at].copy()
    assert scorer.promote("challenger", ignore) == []
    at = [place.pattern for place in scorer.judge.places].index("scraping")
    np.testing.assert_array_equal(scorer.table.rows["judged"]["evidence"]["log_e"][slots, at], had)
    assert {f.case for f in scorer.cases.standing()} >= set(kept)
    assert {f.case for f in scorer.cases.standing()} - set(kept) <= theirs
    after = run(scorer, LOG[MIDDLE:], first=MIDDLE)
    alone = run(Scorer(CONFIG), LOG)[len(before) :]
    others = [f for f in after if f.pattern != "scraping"]
    assert [f.id for f in others] == [f.id for f in alone if f.pattern != "scraping"] and others
    ids = {d.pattern: d.id for d in new}
    assert {f.card for f in after if f.kind != "close" and f.pattern == "scraping"} == {ids["scraping"]}
    both = {f.case for f in after if f.pattern == "scraping"} & set(kept)
    assert both
    for case in both:
        first = next(f for f in after if f.case == case)
        assert first.kind != "open" and first.sequence == kept[case].sequence + 1


def test_a_case_that_the_shadow_alone_had_open_is_told_as_an_opening() -> None:
    scorer, _ = scorer_with(cards(extraction=0.05, scraping=0.05, shift=0.05))
    run(scorer, LOG[:EARLY])
    before = {f.case for f in scorer.cases.standing()}
    scorer.promote("challenger", ignore)
    added = {f.case for f in scorer.cases.standing()} - before
    firsts: dict[str, Finding] = {}
    for finding in run(scorer, LOG[EARLY:], first=EARLY):
        if finding.case in added and (announced := scorer.cases.announce(finding)) is not None:
            firsts.setdefault(finding.case, announced)
    assert firsts and all(first.kind == "open" for first in firsts.values())


def test_a_pattern_that_the_new_champion_does_not_have_ends_its_cases() -> None:
    scorer, _ = scorer_with([d for d in detectors() if d.pattern != "scraping"])
    run(scorer, LOG[:MIDDLE])
    standing = {f.case for f in scorer.cases.standing() if f.pattern == "scraping"}
    ended = scorer.promote("challenger", ignore)
    assert {f.case for f in ended} == standing != set() and {f.kind for f in ended} == {"close"}
    assert not [f for f in run(scorer, LOG[MIDDLE:], first=MIDDLE) if f.pattern == "scraping"]


@pytest.mark.parametrize("nulls", [{}, {"scraping": 0.3}])
def test_a_promoted_scorer_goes_on_from_a_checkpoint_as_if_it_had_never_stopped(nulls: dict[str, float]) -> None:
    whole, _ = scorer_with(cards(**nulls))
    run(whole, LOG[:MIDDLE])
    heard: list[Finding] = []
    whole.promote("challenger", heard.extend)
    dump, pages = state(whole)
    again = Scorer(CONFIG, chosen=cards(**nulls))
    later: list[Finding] = []
    again.shadows[PREVIOUS] = AccountJudge(again.stage, cards(), shadow=True), later.extend
    again.table.place({number: from_page(data) for number, data in pages.items() if data is not None})
    again.table.settle()
    load_into(again, dump)
    assert again.changes == []
    assert told(run(again, LOG[MIDDLE:], first=MIDDLE)) == told(run(whole, LOG[MIDDLE:], first=MIDDLE))
    assert told(later) == told(heard) and dump_of(again) == dump_of(whole)


def test_what_was_changed_is_written_with_the_next_checkpoint() -> None:
    scorer, _ = scorer_with(cards(scraping=0.3))
    run(scorer, LOG[:MIDDLE])
    scorer.table.take_dirty()
    scorer.promote("challenger", ignore)
    assert sum(rows is not None for rows in scorer.table.take_dirty().values()) > 0


def coordinator_with(chosen: list[Detector]) -> Coordinator:
    coordinator = Coordinator(dataclasses.replace(CONFIG, close_after=86_400.0))
    coordinator.shadows["challenger"] = CampaignJudge(coordinator.stage, chosen, shadow=True), ignore
    return coordinator


def campaign_cards(scale: float) -> list[Detector]:
    return [
        Detector(msgspec.structs.replace(d.card, null=d.null * scale), CAMPAIGN_FEATURES) for d in detectors("campaign")
    ]


def sightings() -> Array:
    relays = Traffic(21)
    relays.hydra(30, 20, 2, batons=0.02)
    relays.people(80, 8, 4, headers=7, agent=8, model=5)
    return relays.requests()


def test_a_coordinator_goes_on_as_before_where_the_cards_are_the_same() -> None:
    q = sightings()
    middle = len(q) // 2
    alone, other = coordinator_with(campaign_cards(1.0)), coordinator_with(campaign_cards(1.0))
    expected = run(alone, q)
    findings = run(other, q[:middle])
    assert other.promote("challenger", ignore) == []
    findings += run(other, q[middle:], first=middle)
    assert told(findings) == told(expected) and expected
    assert other.table.rows.tobytes() == alone.table.rows.tobytes()


def test_a_coordinator_takes_the_shadow_s_evidence_and_keeps_the_cases_that_were_told() -> None:
    q = sightings()
    middle = len(q) // 2
    coordinator = coordinator_with(campaign_cards(0.9))
    run(coordinator, q[:middle])
    told_before = {f.case for f in coordinator.cases.standing()}
    assert told_before
    shadow, _ = coordinator.shadows["challenger"]
    assert shadow._beside is not None
    slots, judged = shadow._beside.held()
    had = judged["log_e"][slots].copy()
    assert coordinator.promote("challenger", ignore) == []
    np.testing.assert_array_equal(coordinator.table.rows["log_e"][slots], had)
    assert {f.case for f in coordinator.cases.standing()} == told_before
    later = run(coordinator, q[middle:], first=middle)
    ids = {d.id for d in campaign_cards(0.9)}
    judged_later = {f.card for f in later if f.kind != "close"}
    assert judged_later and judged_later <= ids


def test_a_hidden_campaign_of_a_pattern_that_goes_is_no_longer_open_and_makes_room_for_others() -> None:
    coordinator, edge, now = Coordinator(CONFIG), 0xABC, 1.8e9
    watched = coordinator.judge.kept.campaigns[edge] = Campaign(group=1, last=now, pattern="harvest", told=now)
    coordinator.cases.record(
        f"{edge:016x}", "harvest", now, log_e=9.0, score=0.9, level=0.5, bar=7.0, first_seen=now, requests_seen=3,
        signals=[], counterfactual="", samples=[],
    )  # fmt: skip
    assert len(coordinator.mute(lambda _: True)) == 1
    chosen = [card for card in detectors("campaign") if card.pattern != "harvest"]
    coordinator.shadows["challenger"] = CampaignJudge(coordinator.stage, chosen, shadow=True), ignore
    assert coordinator.promote("challenger", ignore) == [], "nobody had heard of it"
    assert not coordinator.cases.standing()
    assert watched.told < 0 and watched.strength(now + 86_400.0) < 0.0
