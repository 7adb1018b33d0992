"""State knows the cards it was written under: one that is another now begins anew, and the others do not notice."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from card_tools import bound
from core_fakes import dump_of, load_into, run, state, traffic

from siphonwatch.models.account import row
from siphonwatch.models.account.features import FEATURES, NAMES
from siphonwatch.models.account.sums import ADDS
from siphonwatch.models.common.arrays import unpack
from siphonwatch.models.detect import Detector
from siphonwatch.models.engine import rarity
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.patterns import detector, detectors
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.models.evidence.places import Change
from siphonwatch.streams.worker.state.pages import from_page

CONFIG = ScorerConfig(close_after=4 * 86_400.0)
TRAFFIC = traffic(seed=2)
AT = len(TRAFFIC) * 2 // 3
Saved = tuple[bytes, dict[int, bytes | None]]


@pytest.fixture(scope="module")
def first() -> Scorer:
    """After two thirds of the traffic, with open cases."""
    scorer = Scorer(CONFIG)
    run(scorer, TRAFFIC[:AT])
    assert {f.pattern for f in scorer.cases.standing()} >= {"extraction", "scraping"}
    return scorer


@pytest.fixture(scope="module")
def saved(first: Scorer) -> Saved:
    return state(first)


def restored(saved: Saved, chosen: Sequence[Detector]) -> Scorer:
    dump, pages = saved
    scorer = Scorer(CONFIG, chosen=chosen)
    scorer.table.place({number: from_page(data) for number, data in pages.items() if data is not None})
    scorer.table.settle()
    load_into(scorer, dump)
    return scorer


def instead(pattern: str, **parts: object) -> list[Detector]:
    """The installed detectors, one of them with another card."""
    return [
        Detector(msgspec.structs.replace(d.card, **parts), FEATURES, d.supports) if d.pattern == pattern else d
        for d in detectors()
    ]


def learnt(scorer: Scorer, pattern: str) -> list[bytes]:
    """A pattern's reference."""
    place = [p.pattern for p in scorer.judge.places].index(pattern)
    reference = scorer.judge.reference
    arrays = (reference.counts, reference.total, reference.taught, reference.e, reference.level)
    return [array[:, :, place].tobytes() for array in arrays]


def told(findings: Sequence[Finding]) -> list[bytes]:
    return sorted(msgspec.json.encode(finding) for finding in findings)


def nobody(accounts: object) -> bool:
    return False


OTHERS = tuple(d.pattern for d in detectors()[1:])


@pytest.mark.parametrize(
    "parts",
    [{"null": 0.35}, {"offset": -12.4}, {"trust": 2.9}, {"supports": detectors()[0].card.supports[1:]}],
    ids=str,
)
def test_state_under_other_weights_is_recognised_and_only_that_card_begins_anew(
    first: Scorer, saved: Saved, parts: dict[str, object]
) -> None:
    chosen = instead("extraction", **parts)
    scorer = restored(saved, chosen)
    assert scorer.changes == [Change("extraction", detectors()[0].id, chosen[0].id)]
    assert learnt(scorer, "extraction") == learnt(Scorer(CONFIG, chosen=chosen), "extraction")
    for pattern in OTHERS:
        assert learnt(scorer, pattern) == learnt(first, pattern)
    assert sum(scorer.vitals().reference_hours.values()) > 0.0


def test_a_null_level_moved_by_a_hundredth_leaves_the_other_references_alone(first: Scorer, saved: Saved) -> None:
    scorer = restored(saved, instead("shift", null=0.41))
    assert [change.pattern for change in scorer.changes] == ["shift"]
    for pattern in ("extraction", "scraping", "desensitisation", "rarity"):
        assert learnt(scorer, pattern) == learnt(first, pattern) != learnt(Scorer(CONFIG), pattern)
    assert learnt(scorer, "shift") != learnt(first, "shift")


def test_open_cases_of_a_changed_card_are_closed_once_and_the_others_go_on(first: Scorer, saved: Saved) -> None:
    scorer = restored(saved, instead("extraction", trust=2.5))
    before = {finding.case: finding for finding in first.cases.standing()}
    ended = scorer.end(nobody)
    assert {f.case for f in ended} == {case for case, f in before.items() if f.pattern == "extraction"}
    assert all(f.kind == "close" and f.sequence == before[f.case].sequence + 1 for f in ended)
    assert not scorer.end(nobody)
    assert {f.pattern for f in scorer.cases.standing()} == {f.pattern for f in before.values()} - {"extraction"}
    findings = run(scorer, TRAFFIC[AT:], first=AT)
    again = [f for f in findings if f.pattern == "extraction"]
    assert {f.kind for f in again[:1]} <= {"open"} and not {f.case for f in again} & set(before)


def test_the_other_cards_say_what_they_would_have_said(saved: Saved) -> None:
    """But for the budget, which is one for all: here no case is held back."""
    same, changed = restored(saved, detectors()), restored(saved, instead("rarity", null=0.79))
    assert not same.changes and changed.changes
    expected, found = (run(scorer, TRAFFIC[AT:], first=AT) for scorer in (same, changed))
    assert told(f for f in expected if f.pattern != "rarity") == told(f for f in found if f.pattern != "rarity")
    assert expected


def test_an_added_card_takes_a_free_place_and_leaves_all_references_alone(first: Scorer, saved: Saved) -> None:
    scorer = restored(saved, [*detectors(), bound()])
    assert [str(change)[:12] for change in scorer.changes] == ["card good (" + bound().id[:1]]
    for known in detectors():
        assert learnt(scorer, known.pattern) == learnt(first, known.pattern)
    run(scorer, TRAFFIC[AT:], first=AT)
    rows = scorer.table.rows[scorer.table.used()]
    live = rows[rows["last_time"] > TRAFFIC["time"][AT] + 3600.0]
    e = np.exp(live["judged"]["evidence"]["log_e"][:, len(detectors())])
    assert len(live) > 20 and (live["judged"]["evidence"]["era"][:, len(detectors())] == 1).all()
    assert np.median(e) < 1.0, "who does nothing has no more than what is put in"


def test_the_order_of_the_cards_does_not_matter_to_the_state(saved: Saved) -> None:
    one, other = restored(saved, detectors()), restored(saved, detectors()[::-1])
    assert not other.changes
    assert told(run(one, TRAFFIC[AT:], first=AT)) == told(run(other, TRAFFIC[AT:], first=AT))
    assert state(one) == state(other)


def test_a_card_that_is_away_and_comes_back_finds_its_reference(first: Scorer, saved: Saved) -> None:
    without = restored(saved, [d for d in detectors() if d.pattern != "shift"])
    assert not without.changes
    back = restored(state(without), detectors())
    assert back.changes == [Change("shift", detector("shift").id, detector("shift").id)]
    assert learnt(back, "shift") == learnt(first, "shift")


def test_a_restart_without_traffic_in_between_changes_nothing_more(saved: Saved) -> None:
    once = restored(saved, instead("shift", null=0.41))
    twice = restored(state(once), instead("shift", null=0.41))
    assert not twice.changes and state(twice) == state(once)


def test_reordered_inputs_of_the_rarity_models_are_recognised(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rarity, "INPUTS", (*rarity.INPUTS[1:], rarity.INPUTS[0]))
    scorer, fresh = restored(saved, detectors()), Scorer(CONFIG)
    (change,) = scorer.changes
    assert str(change).startswith("the models of rarity were ") and not scorer.end(nobody)
    parts, anew = unpack(dump_of(scorer)), unpack(dump_of(fresh))
    models = [name for name in anew if name.startswith("stage.rarity.")]
    assert models and all(np.asarray(parts[name]).tobytes() == np.asarray(anew[name]).tobytes() for name in models)


def test_reordered_features_that_a_card_reads_are_recognised(saved: Saved) -> None:
    """A state of scorers whose feature table had two columns the other way round."""
    places = [NAMES.index("job_requests"), NAMES.index("novelty")]
    table = list(FEATURES)
    table[places[0]], table[places[1]] = table[places[1]], table[places[0]]
    scorer = restored(saved, [Detector(d.card, table, d.supports) for d in detectors()])
    assert "extraction" in {change.pattern for change in scorer.changes}
    assert "rarity" not in {change.pattern for change in scorer.changes}


def test_state_with_swapped_sums_is_refused_with_both_layouts(saved: Saved, monkeypatch: pytest.MonkeyPatch) -> None:
    before = row.layout_id()
    swapped = (ADDS[1], ADDS[0], *ADDS[2:])
    parts = [part._replace(kind=swapped) if part.name == "by_scale" else part for part in row.PARTS]
    monkeypatch.setattr(row, "PARTS", parts)
    assert row.layout_id() != before
    with pytest.raises(ValueError, match=f"rows of layout {before}, this version's is {row.layout_id()}"):
        load_into(Scorer(CONFIG), saved[0])
