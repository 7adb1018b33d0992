"""What a decision is checked against before anything is sent: the index alone, without a broker."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from alert_samples import findings
from desk_indexes import Open
from desk_samples import batch, note

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts.alert import encode, to_alert
from siphonwatch.streams.desk.acts import TopicActs
from siphonwatch.streams.desk.index.intake import Intake
from siphonwatch.streams.desk.views import Act, Overtaken

CASES = [one.case for one in findings(3)]


@pytest.fixture
def acts(open_index: Open, monkeypatch: pytest.MonkeyPatch) -> Iterator[TopicActs]:
    """Of three cases, the last two with one decision each; sending is never reached."""
    with open_index() as index:
        intake = Intake(index, Settings())
        intake.take([batch("alerts", [encode(to_alert(one)) for one in findings(3)])])
        intake.take([batch("desk", [note(i, case, "x") for i, case in enumerate(CASES[1:])])])
        found = TopicActs(index, SimpleNamespace(runs=True), Settings())  # type: ignore[arg-type]
        monkeypatch.setattr(found, "_send", lambda _: None)
        yield found


def test_of_several_cases_each_is_as_it_was_seen_or_none_is_decided(acts: TopicActs) -> None:
    seen = {CASES[0]: 0, CASES[1]: 0, CASES[2]: 0, "0" * 16: 7}
    with pytest.raises(Overtaken, match=rf"Ann decided on case {CASES[1]} meanwhile \(note.*and 1 more of these"):
        acts.act(Act(kind="note", cases=CASES, text="x", versions=seen), "Bob")
    assert acts.act(Act(kind="note", cases=CASES[:1], text="x", versions=seen), "Bob").endswith("noted")
    assert acts.act(Act(kind="note", cases=CASES, text="x", versions={case: 1 for case in CASES[1:]}), "Bob")


def test_a_decision_waits_for_what_a_page_of_another_desk_showed(
    acts: TopicActs, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def read(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            Intake(acts._index, Settings()).take([batch("desk", [note(9, CASES[0], "x")], 5)])

    monkeypatch.setattr("siphonwatch.streams.desk.acts.time.sleep", read)
    assert acts.act(Act(kind="note", cases=CASES[:1], text="x", version=1), "Bob").endswith("noted")
    assert len(slept) == 2
    monkeypatch.setattr("siphonwatch.streams.desk.acts.AHEAD_SECONDS", 0.0)
    with pytest.raises(Overtaken, match="look again"):
        acts.act(Act(kind="note", cases=CASES[:1], text="x", version=7), "Bob")


def test_an_entry_about_a_case_is_of_the_pattern_of_the_case(acts: TopicActs) -> None:
    entry = {"kind": "allow", "cases": CASES[:1], "until": 1e10, "text": "a partner"}
    with pytest.raises(ValueError, match=f"case {CASES[0]} is one of extraction"):
        acts.act(Act(**entry, pattern="scraping"), "Ann")  # type: ignore[arg-type]
    for pattern in ("", "extraction"):
        assert acts.act(Act(**entry, pattern=pattern), "Ann").startswith("allowed until")  # type: ignore[arg-type]
