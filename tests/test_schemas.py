"""The published schemas are those of the code, and take what it emits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest
from py_ocsf_models.events.findings.detection_finding import DetectionFinding
from worker_tools import traffic

from siphonwatch.models.detect import Signal
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.evidence.cases import CaseBook, Finding
from siphonwatch.streams.contracts.alert import ACCOUNT_AT, OCSF_VERSION, PIVOTS, Alert, decode, encode, to_alert
from siphonwatch.streams.contracts.alert import json_schema as alert_schema
from siphonwatch.streams.contracts.control import json_schema as control_schema
from siphonwatch.streams.contracts.deployment import json_schema as deployment_schema
from siphonwatch.streams.contracts.desk import json_schema as desk_schema
from siphonwatch.streams.contracts.receipt import json_schema as receipt_schema
from siphonwatch.streams.contracts.telemetry import encode as encode_telemetry
from siphonwatch.streams.contracts.telemetry import json_schema
from siphonwatch.streams.contracts.verdict import encode as encode_verdict
from siphonwatch.streams.contracts.verdict import json_schema as verdict_schema
from siphonwatch.streams.contracts.verdict import judge
from siphonwatch.streams.deliver.sample import make_alerts
from siphonwatch.streams.worker.decode import Decoder

SCHEMAS = Path(__file__).parents[1] / "deploy" / "schemas"
OCSF = json.loads((Path(__file__).parent / "tools" / "ocsf_2004.json").read_text())
"""The published schema, see tests/tools/ocsf_schema.py."""


def test_the_telemetry_schema_is_the_contract_s() -> None:
    published = json.loads((SCHEMAS / "telemetry.v1.json").read_text())
    assert published == json_schema(), "renew deploy/schemas/telemetry.v1.json: the contract has changed"


def test_the_telemetry_of_a_scenario_is_valid() -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    for record in traffic()[::40]:
        validator.validate(json.loads(encode_telemetry(record)))


def test_the_verdict_schema_is_the_contract_s() -> None:
    published = json.loads((SCHEMAS / "verdict.v1.json").read_text())
    assert published == verdict_schema(), "renew deploy/schemas/verdict.v1.json: the contract has changed"


def test_the_control_schema_is_the_contract_s() -> None:
    published = json.loads((SCHEMAS / "control.v1.json").read_text())
    assert published == control_schema(), "renew deploy/schemas/control.v1.json: the contract has changed"


def test_the_deployment_schema_is_the_contract_s() -> None:
    published = json.loads((SCHEMAS / "deployment.v1.json").read_text())
    assert published == deployment_schema(), "renew deploy/schemas/deployment.v1.json: the contract has changed"


def test_the_receipt_schema_is_the_contract_s() -> None:
    published = json.loads((SCHEMAS / "receipt.v1.json").read_text())
    assert published == receipt_schema(), "renew deploy/schemas/receipt.v1.json: the contract has changed"


def test_the_desk_schema_is_the_contract_s() -> None:
    published = json.loads((SCHEMAS / "desk.v1.json").read_text())
    assert published == desk_schema(), "renew deploy/schemas/desk.v1.json: the contract has changed"


def test_a_verdict_on_every_alert_is_valid_and_one_without_its_facts_is_not() -> None:
    validator = jsonschema.Draft202012Validator(verdict_schema())
    requests = Decoder().decode([encode_telemetry(record) for record in traffic()]).requests
    findings = Scorer(ScorerConfig()).score(requests, np.arange(len(requests)))
    alerts = [to_alert(finding) for finding in findings]
    verdicts = [json.loads(encode_verdict(judge(a, "benign-expected", by="Ann", time=1.8e9))) for a in alerts]
    assert verdicts
    for verdict in verdicts:
        validator.validate(verdict)
    del verdicts[0]["facts"]
    with pytest.raises(jsonschema.ValidationError, match="facts"):
        validator.validate(verdicts[0])


def older(data: dict[str, Any]) -> dict[str, Any]:
    """A finding as a reader takes it that knows no observable of an account yet."""
    return {name: value for name, value in data.items() if name != "observables"}


def test_the_alerts_that_try_a_sink_are_valid() -> None:
    validator = jsonschema.Draft202012Validator(json.loads((SCHEMAS / "alert.v1.json").read_text()))
    opening, closing = (msgspec.json.decode(told.value) for told in make_alerts(1.8e9))
    for alert in (opening, closing):
        validator.validate(alert)
        DetectionFinding(**older(alert["data"]))
        assert alert["data"]["unmapped"]["siphonwatch"]["test"] is True
    assert (opening["data"]["is_alert"], closing["data"]["is_alert"]) == (True, False)
    assert opening["subject"] == closing["subject"] != msgspec.json.decode(make_alerts(1.9e9)[0].value)["subject"]


def test_alerts_are_valid_and_one_without_its_evidence_is_not() -> None:
    schema = json.loads((SCHEMAS / "alert.v1.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    requests = Decoder().decode([encode_telemetry(record) for record in traffic()]).requests
    findings = Scorer(ScorerConfig()).score(requests, np.arange(len(requests)))
    alerts = [msgspec.json.decode(encode(to_alert(finding))) for finding in findings]
    assert alerts
    for alert in alerts:
        validator.validate(alert)
    del alerts[0]["data"]["unmapped"]["siphonwatch"]["e_value"]
    with pytest.raises(jsonschema.ValidationError, match="e_value"):
        validator.validate(alerts[0])


def test_the_alert_schema_is_the_contract_s() -> None:
    published = json.loads((SCHEMAS / "alert.v1.json").read_text())
    assert published == alert_schema(), "renew deploy/schemas/alert.v1.json: the contract has changed"


def campaign(accounts: int) -> Finding:
    """A finding about so many accounts."""
    names = [f"org-{number}" for number in range(accounts)]
    signals = [Signal("accounts", 3.9, 2.1, "above", "log(1 + accounts)", "accounts behind it", 0.5)]
    found = CaseBook(1e-3, 86_400.0).record(
        names[0], "extraction", 1.8e9, first_seen=1.8e9, log_e=16.0, score=0.5, level=0.4, requests_seen=100,
        signals=signals, counterfactual="", samples=["r-1", "r-2"],
    )  # fmt: skip
    return msgspec.structs.replace(found, accounts=names)


@pytest.mark.parametrize("kind", ["open", "update", "close"])
@pytest.mark.parametrize("accounts", [1, PIVOTS + 50])
@pytest.mark.parametrize("runbook", ["deploy/runbook.md", "https://wiki.example/runbook"])
def test_a_finding_is_valid_by_the_published_schema_of_ocsf(kind: str, accounts: int, runbook: str) -> None:
    finding = msgspec.structs.replace(campaign(accounts), kind=kind)
    data = json.loads(encode(to_alert(finding, runbook=runbook)))["data"]
    assert OCSF["$comment"].split()[1] == f"{OCSF_VERSION}," and data["metadata"]["version"] == OCSF_VERSION
    jsonschema.Draft202012Validator(OCSF).validate(data)
    assert data["is_alert"] == (kind == "open")
    assert data["finding_info"].get("src_url", "") == (f"{runbook}#extraction" if ":" in runbook else "")


def test_an_alert_of_a_campaign_is_read_with_all_six_of_its_signals() -> None:
    finding = msgspec.structs.replace(campaign(40), signals=campaign(40).signals * 6)
    assert len(decode(encode(to_alert(finding))).data.unmapped.siphonwatch.signals) == 6


def test_the_published_schema_refuses_what_is_no_finding() -> None:
    data = json.loads(encode(to_alert(campaign(1))))["data"]
    validator = jsonschema.Draft202012Validator(OCSF)
    analysis = data["anomaly_analyses"][0]
    for wrong in (
        data | {"severity_id": 7}, data | {"finding_info": {}}, data | {"invented": 1}, data | {"confidence_id": 4},
        data | {"observables": [{"value": "org-1"}]}, data | {"evidences": [{"name": "an account"}]},
        data | {"anomaly_analyses": [analysis | {"anomalies": [{"observations": []}]}]},
    ):  # fmt: skip
        assert not validator.is_valid(wrong)


def test_a_siem_finds_every_account_up_to_the_bound_and_what_was_observed_against_which_baseline() -> None:
    data = json.loads(encode(to_alert(campaign(PIVOTS + 50))))["data"]
    accounts = data["unmapped"]["siphonwatch"]["accounts"]
    assert len(accounts) == PIVOTS + 50
    assert [o["value"] for o in data["observables"]] == accounts[:PIVOTS]
    assert {o["name"] for o in data["observables"]} == {ACCOUNT_AT}
    users = [e["user"]["account"]["uid"] for e in data["evidences"] if "user" in e]
    assert users == accounts[:PIVOTS], "an observable points at an evidence"
    assert [e["api"]["request"]["uid"] for e in data["evidences"] if "api" in e] == ["r-1", "r-2"]
    [analysis] = data["anomaly_analyses"]
    [observed], [baseline] = analysis["anomalies"], analysis["baselines"]
    assert observed["observation_parameter"] == baseline["observation_parameter"] == "accounts"
    assert (observed["observations"], baseline["observations"]) == ([{"value": "3.9"}], [{"value": "2.1"}])
    assert observed["observed_pattern"] == "ABOVE_BASELINE"


@pytest.mark.parametrize(("log_e", "said"), [(7.0, "Low"), (10.0, "Medium"), (14.0, "High"), (900.0, "High")])
def test_confidence_grows_with_the_evidence(log_e: float, said: str) -> None:
    assert to_alert(msgspec.structs.replace(campaign(1), log_e=log_e)).data.confidence == said


def test_an_alert_is_read_back_as_the_struct_it_was_written_from() -> None:
    alert = to_alert(campaign(3))
    assert msgspec.json.decode(encode(alert), type=Alert) == alert


def test_an_alert_of_before_these_fields_is_still_valid_and_read() -> None:
    alert = json.loads(encode(to_alert(campaign(3))))
    for name in ("confidence_id", "confidence", "anomaly_analyses", "evidences", "observables"):
        del alert["data"][name]
    del alert["data"]["unmapped"]["siphonwatch"]["card"]
    jsonschema.Draft202012Validator(alert_schema()).validate(alert)
    read = msgspec.convert(alert, Alert)
    assert (read.own.card, read.data.observables, read.data.confidence) == ("", [], msgspec.UNSET)
