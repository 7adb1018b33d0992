"""Each rule by which verdicts become labels of account-time, by its name."""

from __future__ import annotations

import msgspec
import numpy as np
from alert_samples import findings
from hypothesis import given
from hypothesis import strategies as st

from siphonwatch.models.evidence.cases import ERASED
from siphonwatch.models.learn.labels import ATTACK, HONEST, OUT, UNKNOWN, Label, Said, Span, label_at, labels
from siphonwatch.models.learn.verdict_book import DECISIONS, WITHDRAWN
from siphonwatch.streams.contracts.alert import to_alert
from siphonwatch.streams.contracts.verdict import judge, said, span, undone


def word(decision: str, at: float = 300.0, by: str = "Ann", case: str = "c1", of: str = "") -> Said:
    return Said(case, decision, at, at + 1.0, by, "verdicts", of)


def alert(case: str = "c1", accounts: tuple[str, ...] = ("acme",), since: float = 100.0, until: float = 200.0,
          pattern: str = "extraction") -> Span:  # fmt: skip
    return Span(case, pattern, accounts, since, until, until)


def values(known: list[Label], *asked: tuple[str, float], pattern: str = "extraction") -> list[int]:
    found: list[int] = label_at(known, [a for a, _ in asked], np.array([t for _, t in asked]), pattern)[0].tolist()
    return found


def only(words: list[Said], as_of: float = np.inf) -> Label | None:
    found = labels(words, [alert()], as_of)
    assert len(found) <= 1
    return found[0] if found else None


def test_point_in_time_nothing_counts_before_it_was_known() -> None:
    late = Said("c1", "true-positive", 300.0, 900.0, "Ann", "file.csv")
    assert only([late], as_of=899.0) is None
    label = only([late], as_of=900.0)
    assert label and (label.decided_at, label.known_at, label.by, label.source) == (300.0, 900.0, "Ann", "file.csv")
    grown = [alert(), alert(accounts=("acme", "zeta"), until=5000.0)]
    assert {one.account for one in labels([late], grown, as_of=900.0)} == {"acme"}
    assert {one.account for one in labels([late], grown)} == {"acme", "zeta"}


def test_revision_an_analyst_s_last_word_counts() -> None:
    label = only([word("true-positive"), word("false-positive", 400.0)])
    assert label and (label.value, label.weight) == (HONEST, 1.0)
    back = only([word("true-positive"), word("false-positive", 400.0)], as_of=350.0)
    assert back and back.value == ATTACK


def test_revision_a_withdrawal_ends_all_words_before_it() -> None:
    assert only([word("true-positive"), word(WITHDRAWN, 400.0, "Bob")]) is None
    again = only([word("true-positive"), word(WITHDRAWN, 400.0), word("false-positive", 500.0, "Bob")])
    assert again and (again.value, again.weight, again.by) == (HONEST, 1.0, "Bob")


def test_revision_a_verdict_sent_once_more_ends_those_between() -> None:
    first = word("true-positive")
    undone = only([first, word("false-positive", 400.0, "Bob"), first._replace(known_at=500.0)])
    assert undone and (undone.value, undone.weight, undone.by) == (ATTACK, 1.0, "Ann")


def test_contradiction_the_last_analyst_s_word_stands_and_weighs_the_share_who_agree() -> None:
    words = [word("true-positive", 300.0 + i, by) for i, by in enumerate(("Ann", "Bob"))]
    label = only([*words, word("false-positive", 400.0, "Eve")])
    assert label and (label.value, label.by) == (HONEST, "Eve") and abs(label.weight - 1 / 3) < 1e-12
    undecided = only([word("insufficient", 200.0, "Zoe"), *words])
    assert undecided and undecided.weight == 1.0, "who decides nothing neither agrees nor not"


def test_duplicates_follow_the_case_that_they_point_to() -> None:
    cases = [alert(), alert("c2", ("beta",)), alert("c3", ("gamma",)), alert("c4", ("delta",))]
    words = [
        word("true-positive"), word("duplicate", case="c2", of="c1"), word("duplicate", case="c3", of="c2"),
        word("duplicate", case="c4", of="nowhere"),
    ]  # fmt: skip
    assert {one.account: one.value for one in labels(words, cases)} == {"acme": 1, "beta": 1, "gamma": 1}
    ring = [word("duplicate", case="c2", of="c3"), word("duplicate", case="c3", of="c2")]
    assert labels(ring, cases) == []


def test_undecided_account_time_has_no_label() -> None:
    assert only([word("suspicious")]) is None and only([word("insufficient")]) is None
    assert only([word("true-positive"), word("insufficient", 400.0)]) is None, "the last word says: not decided"
    assert values([], ("acme", 150.0)) == [UNKNOWN]


def test_tests_are_taken_out_for_every_pattern() -> None:
    known = labels([word("test"), word("true-positive", case="c2")], [alert(), alert("c2", since=150.0, until=400.0)])
    assert values(known, ("acme", 120.0), ("acme", 180.0), ("acme", 300.0)) == [OUT, OUT, ATTACK]
    assert values(known, ("acme", 120.0), pattern="shift") == [OUT]


def test_span_a_case_covers_its_accounts_from_first_request_to_last_alert() -> None:
    cases = [alert(accounts=("acme", "beta")), alert(accounts=("acme", "gamma"), since=110.0, until=250.0)]
    known = labels([word("true-positive")], cases)
    assert {(one.account, one.since, one.until) for one in known} == {
        (name, 100.0, 250.0) for name in ("acme", "beta", "gamma")
    }
    assert values(known, ("beta", 99.9), ("beta", 100.0), ("beta", 250.0), ("beta", 250.1), ("zeta", 150.0)) == [
        UNKNOWN, ATTACK, ATTACK, UNKNOWN, UNKNOWN,
    ]  # fmt: skip


def test_pattern_a_false_positive_speaks_of_its_own_alone() -> None:
    known = labels([word("false-positive")], [alert()])
    assert values(known, ("acme", 150.0)) == [HONEST] and values(known, ("acme", 150.0), pattern="shift") == [UNKNOWN]
    for decision, value in (("benign-expected", HONEST), ("true-positive", ATTACK)):
        assert values(labels([word(decision)], [alert()]), ("acme", 150.0), pattern="shift") == [value]


def test_overlaps_an_attack_goes_before_honest_use_and_then_the_one_known_last() -> None:
    cases = [alert(), alert("c2", pattern="shift"), alert("c3")]
    words = [word("true-positive"), word("benign-expected", 500.0, case="c2")]
    assert values(labels(words, cases), ("acme", 150.0)) == [ATTACK]
    honest = [word("benign-expected", case="c2"), word("benign-expected", 500.0, "Bob", "c3"), word("false-positive")]
    honest.append(word("false-positive", 600.0, "Eve", "c3"))
    _, weight = label_at(labels(honest, cases), ["acme"], np.array([150.0]), "extraction")
    assert weight.tolist() == [1.0], "Bob and Eve call c3 honest"


words = st.builds(
    lambda case, decision, at, by, of: Said(f"c{case}", decision, at, at + 1.0, by, "verdicts", f"c{of}"),
    st.integers(0, 3), st.sampled_from([*DECISIONS, WITHDRAWN]), st.integers(0, 50).map(float),
    st.sampled_from(["Ann", "Bob", "Eve"]), st.integers(0, 4),
)  # fmt: skip


@given(st.lists(words, max_size=12), st.integers(0, 60))
def test_what_was_known_then_is_what_a_shorter_log_says_now(log: list[Said], then: int) -> None:
    cases = [alert(f"c{i}", (f"a{i % 2}",), 10.0 * i, 10.0 * i + 25.0) for i in range(4)]
    shorter = labels([one for one in log if one.known_at <= then], [one for one in cases if one.known_at <= then])
    assert labels(log, cases, as_of=then) == shorter
    for label in shorter:
        assert 0.0 < label.weight <= 1.0 and label.known_at <= then
        assert label in labels(log, cases, as_of=label.known_at), "it was known when it says"


def test_a_label_is_known_when_the_last_of_what_makes_it_is_known() -> None:
    grown = [alert(), alert(accounts=("zeta",), until=5000.0)]
    assert {one.known_at for one in labels([word("true-positive")], grown)} == {5000.0}
    pointed = [word("true-positive"), word("duplicate", 900.0, case="c2", of="c1")]
    known = {one.account: one.known_at for one in labels(pointed, [alert(), alert("c2", ("beta",))])}
    assert known == {"acme": 301.0, "beta": 901.0}


def test_an_undoing_brings_no_erased_account_back() -> None:
    (finding,) = findings(1)
    one, other = (
        judge(to_alert(finding), decision, by=by, time=time, note="asked Bob of ACME")
        for decision, by, time in (("true-positive", "Ann", 1.0), ("false-positive", "Eve", 2.0))
    )
    blank = msgspec.structs.replace(other, account=ERASED, note="")
    again = undone([one, other, blank], by="Eve", time=3.0)
    assert (again.decision, again.by, again.account, again.note) == ("true-positive", "Ann", ERASED, "")
    last = undone([one, msgspec.structs.replace(one, account=ERASED, note="")], by="Eve", time=3.0)
    assert (last.decision, last.account, last.note) == (WITHDRAWN, ERASED, "")


def test_an_undoing_on_the_topic_ends_the_verdict_that_it_takes_back() -> None:
    (finding,) = findings(1)
    sent = to_alert(finding)
    first, second = (
        judge(sent, decision, by="Ann", time=finding.time + after)
        for decision, after in (("true-positive", 60.0), ("false-positive", 120.0))
    )
    again = undone([first, second], by="Bob", time=finding.time + 180.0)
    log = [said(one, known_at=finding.time + at) for one, at in ((first, 61.0), (second, 121.0), (again, 181.0))]
    (label,) = labels(log, [span(sent, known_at=finding.time)])
    assert (label.value, label.known_at) == (ATTACK, finding.time + 181.0)


def test_a_verdict_and_its_alert_say_the_same_as_records() -> None:
    (finding,) = findings(1)
    sent = to_alert(finding)
    verdict = judge(sent, "true-positive", by="Ann", time=finding.time + 60.0)
    (label,) = labels([said(verdict, known_at=finding.time + 90.0)], [span(sent, known_at=finding.time + 5.0)])
    assert (label.account, label.case, label.by) == (finding.accounts[0], finding.case, "Ann")
    assert abs(label.since - finding.first_seen) < 0.001 and abs(label.until - finding.time) < 0.001
    assert label.known_at == finding.time + 90.0 and label.decided_at == finding.time + 60.0
