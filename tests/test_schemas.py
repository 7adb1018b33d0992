"""The published schemas are those of the code, and take what it emits."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pytest
from py_ocsf_models.events.findings.detection_finding import DetectionFinding
from worker_tools import traffic

from siphonwatch.models.engine.scorer import Scorer, ScorerConfig
from siphonwatch.streams.contracts.alert import encode, to_alert
from siphonwatch.streams.contracts.telemetry import encode as encode_telemetry
from siphonwatch.streams.contracts.telemetry import json_schema
from siphonwatch.streams.contracts.verdict import encode as encode_verdict
from siphonwatch.streams.contracts.verdict import json_schema as verdict_schema
from siphonwatch.streams.contracts.verdict import judge
from siphonwatch.streams.deliver.trial import make_alerts
from siphonwatch.streams.worker.decode import Decoder

SCHEMAS = Path(__file__).parents[1] / "deploy" / "schemas"


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


def test_a_verdict_on_every_alert_is_valid_and_one_without_its_facts_is_not() -> None:
    validator = jsonschema.Draft202012Validator(verdict_schema())
    requests = Decoder().decode([encode_telemetry(record) for record in traffic()]).requests
    findings = Scorer(ScorerConfig()).score(requests, np.arange(len(requests)))
    alerts = [msgspec.json.decode(encode(to_alert(finding))) for finding in findings]
    verdicts = [json.loads(encode_verdict(judge(a, "benign-expected", by="Ann", time=1.8e9))) for a in alerts]
    assert verdicts
    for verdict in verdicts:
        validator.validate(verdict)
    del verdicts[0]["facts"]
    with pytest.raises(jsonschema.ValidationError, match="facts"):
        validator.validate(verdicts[0])


def test_the_alerts_that_try_a_sink_are_valid() -> None:
    validator = jsonschema.Draft202012Validator(json.loads((SCHEMAS / "alert.v1.json").read_text()))
    opening, closing = (msgspec.json.decode(told.value) for told in make_alerts(1.8e9))
    for alert in (opening, closing):
        validator.validate(alert)
        DetectionFinding(**alert["data"])
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
