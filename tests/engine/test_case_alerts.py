"""Cases open, grow and close once each, under ids that content alone decides; alerts say so in CloudEvents and OCSF."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from core_fakes import START, dump_of, load_into, run, traffic
from hypothesis import given, settings
from hypothesis import strategies as st
from py_ocsf_models.events.findings.detection_finding import DetectionFinding

from siphonwatch.models.detect import Signal
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.patterns import detectors
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.evidence.cases import CaseBook, Finding
from siphonwatch.models.evidence.process import SEVERITIES
from siphonwatch.streams.cli.table import CHANCE
from siphonwatch.streams.contracts.alert import decode, encode, json_schema, rfc3339, to_alert
from siphonwatch.streams.contracts.wording import chance

GOLDEN = Path(__file__).parents[1] / "tools" / "golden_alert.json"
ALPHA, CLOSE = 1e-3, 3600.0
FACTS: dict[str, Any] = {
    "card": "78cba46849e1", "first_seen": START - 7200.0, "score": 0.75, "level": 0.3, "requests_seen": 321,
    "signals": [
        Signal("sweep_1d", 0.9375, 0.35, "above", "share", "new content, asked once, outside a conversation", 0.75),
        Signal("user_shift", -0.5, 0.0, "below", "difference of shares", "names an end user", 0.0625),
    ],
    "counterfactual": "would be no evidence with sweep_1d at or below 0.51", "samples": ["req-9", "req-8"],
}  # fmt: skip


def book() -> CaseBook:
    return CaseBook(ALPHA, CLOSE, budget=0.1)


def record(
    cases: CaseBook, time: float, log_e: float = 7.0, account: str = "a", pattern: str = "extraction"
) -> Finding:
    return cases.record(account, pattern, time, log_e=log_e, bar=log_e - 0.5, **FACTS)


def life() -> list[Finding]:
    cases = book()
    return [record(cases, START), record(cases, START + 60, 14.0), *cases.close_until(START + 60 + CLOSE + 1)]


def test_a_case_opens_is_updated_and_closes_when_its_evidence_has_been_still_for_long_enough() -> None:
    opened, updated, closed = life()
    assert [f.kind for f in (opened, updated, closed)] == ["open", "update", "close"]
    assert [f.sequence for f in (opened, updated, closed)] == [0, 1, 2]
    assert {f.case for f in life()} == {opened.case}
    assert {f.opened for f in life()} == {START}
    assert closed.time == START + 60 + CLOSE, "the event time at which it was due, whenever that was noticed"
    assert closed.log_e == updated.log_e
    assert opened.bar == updated.bar == closed.bar == 6.5, "what it took to open the case stays with it"


def test_a_case_is_open_at_the_very_time_it_is_due_and_closed_after() -> None:
    cases = book()
    record(cases, START)
    assert cases.close_until(START + CLOSE) == [] and len(cases) == 1
    assert len(cases.close_until(math.nextafter(START + CLOSE, math.inf))) == 1 and len(cases) == 0
    assert cases.close_until(START + 9 * CLOSE) == []


def test_an_account_has_a_case_for_each_pattern_and_a_new_one_after_closing() -> None:
    cases = book()
    ids = {
        record(cases, START).case,
        record(cases, START, pattern="shift").case,
        record(cases, START, account="b").case,
    }
    assert len(ids) == len(cases) == 3
    assert record(cases, START + 5).case in ids
    cases.close_until(START + 2 * CLOSE)
    again = record(cases, START + 3 * CLOSE)
    assert again.kind == "open" and again.case not in ids


def test_ids_are_a_function_of_account_pattern_and_time() -> None:
    assert [f.id for f in life()] == [f.id for f in life()]
    assert re.fullmatch("[0-9a-f]{16}", life()[0].case)
    assert record(book(), START).case != record(book(), START + 1e-6).case


@pytest.mark.parametrize(
    ("beyond", "severity"), [(-0.01, "low"), (0.01, "medium"), (5.99, "medium"), (6.01, "high"), (16.01, "critical")]
)
def test_severity_follows_the_evidence_beyond_the_threshold(beyond: float, severity: str) -> None:
    assert record(book(), START, -math.log(ALPHA) + beyond).severity == severity


Steps = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(("extraction", "shift")), st.floats(0, 4000), st.floats(7, 60)),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(Steps, st.integers(0, 40))
def test_any_life_is_told_once_in_order_and_survives_a_restart(
    steps: list[tuple[str, str, float, float]], restart: int
) -> None:
    cases, told, now = book(), [], START
    for number, (account, pattern, gap, log_e) in enumerate(steps):
        if number == restart:
            other = book()
            load_into(other, dump_of(cases))
            assert dump_of(other) == dump_of(cases)
            cases = other
        now += gap
        told += [*cases.close_until(now), record(cases, now, log_e, account, pattern)]
    told += cases.close_until(math.inf)
    assert len(cases) == 0
    assert len({f.id for f in told}) == len(told)
    for case in {f.case for f in told}:
        mine = [f for f in told if f.case == case]
        assert [f.sequence for f in mine] == list(range(len(mine)))
        assert [f.kind for f in mine] == ["open", *["update"] * (len(mine) - 2), "close"]
        grades = [SEVERITIES.index(f.severity) for f in mine]
        assert grades == sorted(grades), "severity never falls"
        times = [f.time for f in mine]
        assert times == sorted(times)
    closings = [f.time for f in told if f.kind == "close"]
    assert closings == sorted(closings)


def test_the_alert_is_the_golden_one() -> None:
    """To renew it after a change that is meant: write `to_alert` of `life()[1]` there, indented by 2."""
    golden = json.loads(GOLDEN.read_text())
    golden["data"]["metadata"]["product"]["version"] = version("siphonwatch")
    assert json.loads(encode(to_alert(life()[1]))) == golden


def cloud_event(alert: dict[str, Any]) -> None:
    """CloudEvents 1.0, section 3.1: required attributes are non-empty strings, `time` is RFC 3339."""
    assert alert["specversion"] == "1.0"
    for name in ("id", "source", "type"):
        assert isinstance(alert[name], str) and alert[name]
    assert all(re.fullmatch("[a-z0-9]{1,20}", name) for name in alert)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", alert["time"])
    assert alert["datacontenttype"] == "application/json"


def detection_finding(data: dict[str, Any]) -> None:
    """OCSF 1.8.0, class 2004: required attributes, and how the enumerated ones hang together."""
    assert (data["class_uid"], data["category_uid"]) == (2004, 2)
    assert data["activity_id"] in (1, 2, 3) and data["type_uid"] == 200400 + data["activity_id"]
    assert data["severity_id"] in (2, 3, 4, 5) and data["status_id"] in (1, 2, 4)
    assert isinstance(data["time"], int)
    assert data["metadata"]["version"] and data["metadata"]["product"]["vendor_name"]
    assert data["finding_info"]["uid"] and data["finding_info"]["title"]
    assert all(attack["technique"]["uid"].startswith("AML.") for attack in data["finding_info"]["attacks"])
    assert data["is_alert"] == (data["activity_id"] == 1), "an update or a close calls nobody anew"
    # A reader that knows no observable of an account yet.
    DetectionFinding(**{name: value for name, value in data.items() if name != "observables"})


def contract(own: dict[str, Any]) -> None:
    """What the design promises to those who read alerts."""
    assert own["pattern"] in {d.pattern for d in detectors()}
    assert isinstance(own["accounts"], list) and own["accounts"] and all(isinstance(a, str) for a in own["accounts"])
    assert isinstance(own["case"], str) and own["case"]
    assert own["e_value"] >= own["threshold_e"] * 0.999 >= 1 / own["alpha"] * 0.998
    assert own["budget"] == 1.0
    assert isinstance(own["requests_seen"], int) and own["requests_seen"] > 0
    assert own["signals"] and own["counterfactual"] and own["runbook"]


def test_alerts_of_real_findings_are_valid_and_agree_with_themselves() -> None:
    findings = run(Scorer(ScorerConfig(close_after=CLOSE, budget=1.0)), traffic(seed=5))
    assert {f.kind for f in findings} == {"open", "update", "close"}
    for finding in findings:
        alert = json.loads(encode(to_alert(finding)))
        cloud_event(alert)
        detection_finding(alert["data"])
        own = alert["data"]["unmapped"]["siphonwatch"]
        contract(own)
        assert alert["subject"] == own["case"] == alert["data"]["finding_info"]["uid"] == finding.case
        assert alert["id"] == alert["data"]["metadata"]["uid"] == finding.id
        assert alert["type"].split(".")[2] == {"open": "opened", "update": "updated", "close": "closed"}[finding.kind]
        assert alert["data"]["time"] == round(datetime.fromisoformat(alert["time"]).timestamp() * 1000)


def test_an_alert_of_an_e_value_beyond_a_double_is_still_json() -> None:
    alert = json.loads(encode(to_alert(msgspec.structs.replace(life()[0], log_e=5000.0))))
    own = alert["data"]["unmapped"]["siphonwatch"]
    assert math.isfinite(own["e_value"]) and own["log_e_value"] == 5000.0


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_the_chance_that_is_printed_never_claims_more_than_the_e_value(e_value: float) -> None:
    said = chance(e_value)
    words = said.removesuffix(" by chance").split()
    if not e_value >= 1.0:
        assert said == "no rarer than chance"
        return
    unit = {"billion": 1e9, "million": 1e6, "trillion": 1e12}.get(words[-1], 1.0)
    number = 1.0 if words[2] == "a" else float(words[2].replace(",", ""))
    assert number * unit <= e_value * (1 + 1e-12)
    assert e_value >= 1e12 or number * unit > e_value / 1.1 - 1
    assert len(" ".join(words)) <= CHANCE, "it fits its column"


def test_an_alert_of_a_release_with_a_second_stage_is_read_and_is_within_the_schema() -> None:
    sent = json.loads(encode(to_alert(life()[0])))
    assert "second_stage" not in sent["data"]["unmapped"]["siphonwatch"]
    sent["data"]["unmapped"]["siphonwatch"]["second_stage"] = 0.97
    alert = decode(json.dumps(sent).encode())
    assert alert.own.second_stage == 0.97
    assert json.loads(encode(alert)) == sent
    jsonschema.Draft202012Validator(json_schema()).validate(sent)


def test_event_times_are_written_to_the_microsecond() -> None:
    assert rfc3339(0.0) == "1970-01-01T00:00:00.000000Z"
    assert rfc3339(START + 0.25) == "2026-01-05T00:00:00.250000Z"
    assert rfc3339(2.0**34) == "2514-05-30T01:53:04.000000Z"
