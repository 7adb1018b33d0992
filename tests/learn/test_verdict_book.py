"""What verdicts teach the ranker, and that it depends on the standing ones alone."""

from __future__ import annotations

import pickle

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from verdict_samples import PATTERNS, Analyst, auc, facts, vote

from siphonwatch.models.evidence.process import SEVERITIES
from siphonwatch.models.learn.ranker_features import MAX_SIGNALS, Facts, SignalFact, features, prior
from siphonwatch.models.learn.verdict_book import (
    CAPACITY,
    DECIDED,
    DECISIONS,
    DRIVERS,
    WITHDRAWN,
    Decision,
    VerdictBook,
    Vote,
)

PROBES = [facts(pattern, log_e) for pattern in PATTERNS for log_e in (7.0, 9.0, 40.0)]


def ranks(book: VerdictBook) -> list[float]:
    return [book.rank(probe).rank for probe in PROBES]


def taught(analyst: Analyst, n: int) -> VerdictBook:
    book = VerdictBook()
    book.take(vote(f"{i:016x}", y, of) for i, (of, y) in enumerate(analyst.cases(n)))
    return book


def test_a_withdrawn_vote_teaches_nothing() -> None:
    never, withdrawn = VerdictBook(), VerdictBook()
    votes = [vote(f"{i:016x}", i % 2 == 0, facts(("shift", "rarity")[i % 2])) for i in range(40)]
    taken_back = msgspec.structs.replace(votes[0], decision=WITHDRAWN)
    never.take(votes[1:])
    assert withdrawn.take([*votes, taken_back]) == 41
    assert ranks(withdrawn) == ranks(never) and len(withdrawn) == 39
    assert withdrawn.take([taken_back]) == 0, "again it is no news"


def test_outcomes_are_those_of_the_standing_votes_that_decide_in_the_order_of_the_log() -> None:
    book = VerdictBook(capacity=5)
    given = [("a", "true-positive"), ("b", "false-positive"), ("c", "suspicious"), ("a", "benign-expected")]
    book.take(Vote(case=case, account="x", decision=one, facts=facts("shift")) for case, one in given)  # type: ignore[arg-type]
    book.take([vote("d", True, facts("rarity")), vote("e", True, facts("shift"))])
    assert book.outcomes() == {"shift": [False, False, True], "rarity": [True]}
    book.take([msgspec.structs.replace(vote("d"), decision=WITHDRAWN), vote("f", True, facts("shift"))])
    assert book.outcomes() == {"shift": [False, False, True, True]}
    book.take([vote("g", False, facts("shift"))])
    assert book.outcomes() == {"shift": [False, True, True, False]}, "the oldest, of b, left"


def test_without_verdicts_the_order_is_that_of_the_evidence() -> None:
    book = VerdictBook()
    for severity in SEVERITIES:
        by_evidence = [book.rank(facts("rarity", log_e, severity)).rank for log_e in (6.9, 7.0, 8.0, 20.0, 90.0, 700.0)]
        assert by_evidence == sorted(set(by_evidence))
    by_severity = [book.rank(facts("rarity", 7.0, severity)).rank for severity in SEVERITIES]
    assert by_severity == sorted(set(by_severity))
    assert book.rank(facts("shift", 9.0))[:2] == book.rank(facts("extraction", 9.0))[:2]
    assert [name for name, _ in book.rank(facts()).drivers] == ["evidence"]


@pytest.mark.parametrize(("verdicts", "gain"), [(50, 0.10), (200, 0.17)])
def test_it_learns_what_an_analyst_confirms(verdicts: int, gain: float) -> None:
    for seed in range(4):
        analyst = Analyst(seed)
        book = taught(analyst, verdicts)
        cases = analyst.cases(1000)
        labels = [y for _, y in cases]
        before = auc([prior(of) for of, _ in cases], labels)
        after = auc([book.rank(of).rank for of, _ in cases], labels)
        assert after > before + gain, (seed, before, after)


@pytest.mark.parametrize("rate", [0.04, 0.95])
def test_a_rare_outcome_is_learnt_and_the_chances_are_honest(rate: float) -> None:
    """Analysts see mostly one thing: the other is still told apart, and a rank is the share that is confirmed."""
    analyst = Analyst(7, rate)
    book = taught(analyst, 400)
    cases = analyst.cases(3000)
    labels = [y for _, y in cases]
    found = [book.rank(of).rank for of, _ in cases]
    assert auc(found, labels) > 0.75 > auc([prior(of) for of, _ in cases], labels)
    assert sum(found) / len(found) == pytest.approx(sum(labels) / len(labels), abs=0.08)


def test_a_change_of_mind_leaves_nothing_of_the_first_vote() -> None:
    analyst = Analyst(1)
    cases = analyst.cases(30)
    wavering, steady = VerdictBook(), VerdictBook()
    wavering.take(vote(f"{i:016x}", not y, of) for i, (of, y) in enumerate(cases))
    at_first = ranks(wavering)
    assert wavering.take(vote(f"{i:016x}", y, of) for i, (of, y) in enumerate(cases)) == 30
    steady.take(vote(f"{i:016x}", y, of) for i, (of, y) in enumerate(cases))
    assert ranks(wavering) == ranks(steady) != at_first
    assert len(wavering) == 30


def test_it_follows_analysts_who_judge_otherwise_from_now_on() -> None:
    book = VerdictBook(capacity=100)
    for i in range(200):
        book.take([vote(f"{i:016x}", i < 100, facts("shift")), vote(f"a{i:015x}", i >= 100, facts("rarity"))])
        if i == 99:
            assert book.rank(facts("shift")).rank > 0.8 > 0.2 > book.rank(facts("rarity")).rank
    assert book.rank(facts("shift")).rank < 0.2 < 0.8 < book.rank(facts("rarity")).rank


def test_one_case_has_one_vote_however_often_it_is_sent() -> None:
    once, often = VerdictBook(), VerdictBook()
    once.take([vote("a" * 16), vote("b" * 16, False, facts("shift"))])
    assert often.take([vote("a" * 16)] * 50 + [vote("b" * 16, False, facts("shift"))] * 50) == 2
    assert ranks(once) == ranks(often)
    assert often.rank(facts()).verdicts == 2


def test_many_cases_of_one_account_do_not_outvote_ten_others() -> None:
    """Fifty false alarms of one account do not outvote ten confirmed ones of ten; of fifty accounts they do."""
    same, fifty = VerdictBook(), VerdictBook()
    for i in range(50):
        same.take([vote(f"{i:016x}", False, facts("shift"), account="one that opens and closes")])
        fifty.take([vote(f"{i:016x}", False, facts("shift"))])
    for book in (same, fifty):
        book.take(vote(f"a{i:015x}", True, facts("shift")) for i in range(10))
    assert fifty.rank(facts("shift")).rank < 0.3 < 0.6 < same.rank(facts("shift")).rank


votes = st.builds(
    lambda case, confirmed, log_e, pattern, account: vote(f"{case:016x}", confirmed, facts(pattern, log_e), account),
    st.integers(0, 6), st.booleans(), st.floats(7.0, 60.0), st.sampled_from(PATTERNS), st.sampled_from(["x", "y", "z"]),
)  # fmt: skip


@settings(deadline=None)
@given(st.lists(votes, max_size=25), st.lists(st.integers(0, 24), max_size=4), st.integers(3, 9))
def test_ranks_depend_on_the_standing_votes_in_their_order_alone(
    log: list[Vote], asked: list[int], capacity: int
) -> None:
    """Whether the log is compacted, read twice or in parts, and whenever a rank is asked for."""
    live, twice, compacted = VerdictBook(capacity), VerdictBook(capacity), VerdictBook(capacity)
    for i, one in enumerate(log):
        live.take([one])
        if i in asked:
            live.rank(PROBES[0])
    twice.take(log + log)
    last = {one.case: i for i, one in enumerate(log)}
    compacted.take(one for i, one in enumerate(log) if last[one.case] == i)
    assert ranks(live) == ranks(twice) == ranks(compacted)
    assert live.counts() == compacted.counts()


def test_it_keeps_no_more_than_its_capacity() -> None:
    book = VerdictBook(capacity=10)
    book.take(vote(f"{i:016x}") for i in range(1000))
    assert len(book) == 10 and book.rank(facts()).verdicts == 10
    assert CAPACITY >= 1000, "a team's year of verdicts"


def test_a_copy_by_pickle_ranks_alike() -> None:
    book = taught(Analyst(3), 40)
    other = pickle.loads(pickle.dumps(book))  # noqa: S301 - our own
    assert ranks(other) == ranks(book)
    more = [vote(f"b{i:015x}", y, of) for i, (of, y) in enumerate(Analyst(4).cases(10))]
    book.take(more)
    other.take(more)
    assert ranks(other) == ranks(book)


def test_a_ranking_names_what_moved_it_most() -> None:
    book = VerdictBook()
    masked = [SignalFact(name="masked_shift", observed=0.9, baseline=0.1, contribution=0.6)]
    for i in range(30):
        book.take([vote(f"{i:016x}", True, facts("shift", signals=masked)), vote(f"a{i:015x}", False, facts("shift"))])
    ranking = book.rank(facts("shift", signals=masked))
    assert len(ranking.drivers) == DRIVERS
    assert all(effect != 0 for _, effect in ranking.drivers)
    assert {"signal masked_shift", "size of masked_shift"} <= {name for name, effect in ranking.drivers if effect > 0}


real = st.floats(-1e15, 1e15)
anything = st.builds(
    Facts,
    pattern=st.text(min_size=1, max_size=20),
    severity=st.sampled_from(SEVERITIES),
    log_e=real,
    alpha=st.floats(1e-300, 1, exclude_max=True),
    score=real,
    level=real,
    requests_seen=st.integers(0, 2**53),
    age_ms=st.integers(0, 2**53),
    signals=st.lists(
        st.builds(SignalFact, name=st.text(min_size=1), observed=real, baseline=real, contribution=real),
        max_size=MAX_SIGNALS,
    ),
    accounts=st.integers(1, 2**31),
)


@settings(deadline=None)
@given(st.lists(st.tuples(anything, st.booleans()), max_size=6), anything)
def test_no_facts_that_the_contract_lets_through_break_the_ranker(learnt: list[tuple[Facts, bool]], of: Facts) -> None:
    book = VerdictBook()
    book.take(vote(f"{i:016x}", y, one) for i, (one, y) in enumerate(learnt))
    assert 0.0 <= book.rank(of).rank <= 1.0
    assert all(abs(value) < 20.0 for value in features(of).values())


@pytest.mark.parametrize("decision", [one for one in DECISIONS if one not in DECIDED])
def test_a_verdict_that_decides_nothing_is_counted_and_teaches_nothing(decision: Decision) -> None:
    book, undecided = VerdictBook(), VerdictBook()
    for i in range(10):
        book.take([vote(f"{i:016x}", i < 5, facts("shift"))])
        undecided.take([vote(f"{i:016x}", i < 5, facts("shift"))])
        undecided.take([msgspec.structs.replace(vote(f"a{i:015x}", True, facts("rarity")), decision=decision)])
    assert ranks(undecided) == ranks(book) and undecided.rank(facts()).verdicts == 10
    assert undecided.counts()["rarity", decision] == 10
    undecided.take([msgspec.structs.replace(vote(f"{0:016x}", True, facts("shift")), decision=decision)])
    assert undecided.rank(facts()).verdicts == 9, "it stands in the place of the one that did decide"
