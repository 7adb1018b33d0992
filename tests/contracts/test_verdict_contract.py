"""A verdict repeats what its alert said, goes round through JSON, and quotes no content when it is refused."""

from __future__ import annotations

import json

import msgspec
import pytest
from alert_samples import START, findings
from hypothesis import given
from hypothesis import strategies as st

from siphonwatch.models.evidence.cases import Finding
from siphonwatch.models.learn.ranker_features import facts_of, features
from siphonwatch.models.learn.verdict_book import DECISIONS
from siphonwatch.streams.contracts.alert import Alert, NotAnAlert, to_alert
from siphonwatch.streams.contracts.alert import decode as decode_alert
from siphonwatch.streams.contracts.alert import encode as encode_alert
from siphonwatch.streams.contracts.verdict import (
    MAX_NOTE,
    NotAVerdict,
    Verdict,
    decode,
    encode,
    facts_of_alert,
    judge,
    standing,
)

real = st.floats(-1e9, 1e9)


def alert_of(finding: Finding) -> Alert:
    return decode_alert(encode_alert(to_alert(finding)))


@given(st.floats(START, START + 1e7), st.floats(0, 1e7), st.floats(0, 1e5), st.floats(0, 1), real)
def test_the_facts_of_an_alert_are_those_of_its_finding(
    time: float, age: float, log_e: float, score: float, observed: float
) -> None:
    (finding,) = findings(1)
    signals = [signal._replace(observed=observed) for signal in finding.signals]
    finding = msgspec.structs.replace(
        finding, time=time, first_seen=time - age, log_e=log_e, score=score, signals=signals
    )
    assert facts_of_alert(alert_of(finding)) == facts_of(finding)


@pytest.mark.parametrize("decision", DECISIONS)
def test_a_verdict_goes_round(decision: str) -> None:
    (finding,) = findings(1, "scraping", 12.0)
    verdict = judge(alert_of(finding), decision, by="Ann", time=START, note="asked the customer")  # type: ignore[arg-type]
    assert decode(encode(verdict)) == verdict
    assert (verdict.case, verdict.alert, verdict.account) == (finding.case, finding.id, finding.accounts[0])
    assert verdict.vote.facts == facts_of(finding)
    assert json.loads(encode(verdict))["v"] == 1


def given_verdict(**changes: object) -> bytes:
    record = json.loads(encode(judge(alert_of(findings(1)[0]), "true-positive", by="Ann", time=START)))
    return json.dumps(record | changes).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"{", b"[]", b"\xff", b'{"case": 1}', given_verdict(decision="hidden words"), given_verdict(v=2),
        given_verdict(case="hidden words"), given_verdict(note="hidden words" * MAX_NOTE), given_verdict(by=""),
        given_verdict(facts={"pattern": "hidden words"}), given_verdict(time="hidden words"),
    ],
)  # fmt: skip
def test_what_is_no_verdict_is_refused_without_a_word_of_it(raw: bytes) -> None:
    with pytest.raises(NotAVerdict) as refused:
        decode(raw)
    assert "hidden" not in str(refused.value)


def test_a_verdict_repeats_which_card_found_its_case_and_one_that_does_not_say_is_read() -> None:
    (finding,) = findings(1)
    verdict = judge(alert_of(msgspec.structs.replace(finding, card="5f3a")), "true-positive", by="Ann", time=START)
    assert decode(encode(verdict)).card == "5f3a"
    record = json.loads(encode(verdict))
    del record["card"]
    assert decode(json.dumps(record).encode()) == msgspec.structs.replace(verdict, card="")


def test_a_verdict_of_a_release_with_a_second_stage_is_read_and_teaches_as_one_without() -> None:
    plain = decode(given_verdict())
    facts = json.loads(encode(plain))["facts"] | {"second_stage": 0.97}
    verdict = decode(given_verdict(facts=facts))
    assert verdict.facts.second_stage == 0.97
    assert features(verdict.facts) == features(plain.facts)


def test_a_field_of_a_later_version_is_let_pass() -> None:
    assert decode(given_verdict(ticket="T-1")).by == "Ann"


@pytest.mark.parametrize("alert", [{}, {"data": {}}, {"data": {"unmapped": {"siphonwatch": {"pattern": "x"}}}}])
def test_what_is_no_alert_is_refused(alert: dict[str, object]) -> None:
    with pytest.raises(NotAnAlert):
        decode_alert(json.dumps(alert).encode())


def test_an_alert_with_a_figure_that_no_verdict_may_hold_cannot_be_judged() -> None:
    (finding,) = findings(1)
    alert = alert_of(msgspec.structs.replace(finding, signals=[finding.signals[0]._replace(observed=1e300)]))
    with pytest.raises(NotAVerdict, match="what a verdict cannot repeat"):
        judge(alert, "true-positive", by="Ann", time=START)


def test_the_last_verdict_of_a_case_stands_at_its_own_place() -> None:
    a, b, c = (judge(alert_of(finding), "true-positive", by="Ann", time=START) for finding in findings(3))
    again = msgspec.structs.replace(a, decision="false-positive", time=START + 1)
    assert standing([a, b, c, again]) == [b, c, again]


def test_names_and_notes_are_not_among_what_is_learnt() -> None:
    verdict = judge(alert_of(findings(1)[0]), "true-positive", by="Ann", time=START, note="Bob said so")
    learnt = msgspec.json.encode(verdict.vote).decode()
    assert "Ann" not in learnt and "Bob" not in learnt
    assert {field.name for field in msgspec.structs.fields(Verdict)} >= {"note", "by"}
