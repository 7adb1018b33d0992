"""What each kind of receiver is sent has the documented shape and stays within its limits, whatever an alert holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sink_samples import START, life, of_severity, told

from siphonwatch.streams.common.sink_settings import Sink
from siphonwatch.streams.contracts.alert import NotAnAlert, Signal, Unmapped
from siphonwatch.streams.deliver.alert import AlertRecord, id_of, read
from siphonwatch.streams.deliver.alertmanager import MOST_OPEN, Alertmanager
from siphonwatch.streams.deliver.pagerduty import URL, PagerDuty
from siphonwatch.streams.deliver.slack import Slack, escape
from siphonwatch.streams.deliver.webhook import Webhook

RUNBOOK = "https://wiki.example/runbook.md"
KEY = "R" * 32
NOW = START + 60.0

TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"}
LINK = {"type": "string", "pattern": r"^https?://[^\s<>|]+$"}

# Events API v2, "Send an alert event": fields, lengths and severities.
PAGERDUTY = {
    "type": "object",
    "additionalProperties": False,
    "required": ["routing_key", "event_action", "dedup_key"],
    "properties": {
        "routing_key": {"type": "string", "minLength": 32, "maxLength": 32},
        "event_action": {"enum": ["trigger", "acknowledge", "resolve"]},
        "dedup_key": {"type": "string", "minLength": 1, "maxLength": 255},
        "client": {"type": "string"},
        "client_url": LINK,
        "links": {
            "type": "array",
            "items": {"type": "object", "required": ["href"], "properties": {"href": LINK, "text": {"type": "string"}}},
        },
        "payload": {
            "type": "object",
            "additionalProperties": False,
            "required": ["summary", "source", "severity"],
            "properties": {
                "summary": {"type": "string", "minLength": 1, "maxLength": 1024},
                "source": {"type": "string", "minLength": 1},
                "severity": {"enum": ["critical", "error", "warning", "info"]},
                "timestamp": TIME,
                "component": {"type": "string"},
                "group": {"type": "string"},
                "class": {"type": "string"},
                "custom_details": {"type": "object"},
            },
        },
    },
    "if": {"properties": {"event_action": {"const": "trigger"}}},
    "then": {"required": ["payload"]},
}

# api/v2/openapi.yaml of Alertmanager, postableAlerts; label names as Prometheus has them.
LABELS = {
    "type": "object",
    "propertyNames": {"pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"},
    "additionalProperties": {"type": "string", "minLength": 1},
}
ALERTMANAGER = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "additionalProperties": False,
        "required": ["labels"],
        "properties": {
            "labels": LABELS, "annotations": LABELS, "startsAt": TIME, "endsAt": TIME, "generatorURL": LINK,
        },
    },
}  # fmt: skip

# Incoming webhooks and the Block Kit reference: header, section, context and their limits.
TEXT = {"type": "object", "additionalProperties": False, "required": ["type", "text"]}
PLAIN = TEXT | {
    "properties": {"type": {"const": "plain_text"}, "text": {"type": "string", "minLength": 1, "maxLength": 150},
                   "emoji": {"type": "boolean"}}
}  # fmt: skip


def mrkdwn(most: int) -> dict[str, Any]:
    return TEXT | {
        "properties": {
            "type": {"const": "mrkdwn"},
            "text": {"type": "string", "minLength": 1, "maxLength": most},
            "verbatim": {"const": True},  # else names of channels, addresses and some mentions become links
        },
        "required": ["type", "text", "verbatim"],
    }


SLACK = {
    "type": "object",
    "additionalProperties": False,
    "required": ["text", "blocks"],
    "properties": {
        "text": {"type": "string", "minLength": 1, "maxLength": 4000},
        "blocks": {
            "type": "array",
            "minItems": 1,
            "maxItems": 50,
            "items": {
                "oneOf": [
                    {"properties": {"type": {"const": "header"}, "text": PLAIN}, "required": ["type", "text"]},
                    {
                        "properties": {
                            "type": {"const": "section"},
                            "text": mrkdwn(3000),
                            "fields": {"type": "array", "minItems": 1, "maxItems": 10, "items": mrkdwn(2000)},
                        },
                        "required": ["type"],
                        "anyOf": [{"required": ["text"]}, {"required": ["fields"]}],
                    },
                    {
                        "properties": {
                            "type": {"const": "context"},
                            "elements": {"type": "array", "minItems": 1, "maxItems": 10, "items": mrkdwn(3000)},
                        },
                        "required": ["type", "elements"],
                    },
                ]
            },
        },
    },
}

any_text = st.text(st.characters(exclude_categories=("Cs",)), max_size=300)
hostile = any_text | st.sampled_from(
    ["<!channel> & <@U1>", "a`b`c", "*_~" * 50, "&" * 3000, "<" * 5000, "\u202egnp.exe", "é" * 1000, "\x00", ""]
)
number = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6)


@st.composite
def alerts(draw: st.DrawFn) -> AlertRecord:
    """Alerts as a worker could send them, and odder: any text in any place that holds text, up to 3,000 accounts."""
    steps = draw(st.integers(1, 3))
    finding = life("org-1", steps, log_e=draw(st.floats(7.0, 700.0)))[-1]
    accounts = draw(st.lists(hostile, min_size=1, max_size=20)) * draw(st.sampled_from([1, 1, 150]))
    signals = [
        Signal(
            draw(hostile), draw(number), draw(number), draw(st.sampled_from(["above", "below"])),
            draw(st.sampled_from(["share", "log(1 + requests)", ""])), draw(hostile), draw(number),
        )
        for _ in range(draw(st.integers(0, 5)))
    ]  # fmt: skip
    return told(
        finding,
        pattern=draw(hostile),
        accounts=accounts,
        signals=signals,
        counterfactual=draw(hostile),
        sample_requests=draw(st.lists(hostile, max_size=2)),
        first_seen=draw(hostile),
    )


def body(kind: Webhook | Slack | PagerDuty | Alertmanager, alert: AlertRecord, now: float = NOW) -> Any:
    return msgspec.json.decode(kind.message(alert, now).body)


def slack(runbook: str = RUNBOOK) -> Slack:
    return Slack(Sink(kind="slack", url="https://hooks.example/s"), runbook)


def pagerduty(runbook: str = RUNBOOK) -> PagerDuty:
    return PagerDuty(Sink(kind="pagerduty", routing_key=KEY), runbook)


def alertmanager(runbook: str = RUNBOOK) -> Alertmanager:
    return Alertmanager(Sink(kind="alertmanager", url="https://am.example/prefix/"), runbook, 86_400.0)


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []


@given(alert=alerts(), runbook=st.sampled_from([RUNBOOK, "deploy/runbook.md", "https://a b|<c>"]))
def test_slack_s_limits_hold_and_nothing_of_an_alert_can_be_a_link_or_mention(alert: AlertRecord, runbook: str) -> None:
    message = body(slack(runbook), alert)
    jsonschema.validate(message, SLACK)
    for text in [*strings(message["blocks"][1:]), message["text"]]:
        assert not re.search(r"<(?!https://wiki\.example/runbook\.md#[\w-]*\|Runbook>)|(?<!\|Runbook)>", text)
        assert not re.search(r"&(?!(amp|lt|gt);)", text), "an escape was cut"


@given(alert=alerts(), runbook=st.sampled_from([RUNBOOK, "deploy/runbook.md"]))
def test_pagerduty_s_limits_hold(alert: AlertRecord, runbook: str) -> None:
    message = pagerduty(runbook).message(alert, NOW)
    jsonschema.validate(msgspec.json.decode(message.body), PAGERDUTY)
    assert message.url == URL and len(message.body) < 512 * 1024


@given(alert=alerts(), runbook=st.sampled_from([RUNBOOK, "deploy/runbook.md"]))
def test_alertmanager_s_shape_holds_and_no_account_is_a_label(alert: AlertRecord, runbook: str) -> None:
    message = alertmanager(runbook).message(alert, NOW)
    alerts = msgspec.json.decode(message.body)
    jsonschema.validate(
        [one | {"labels": {name: text for name, text in one["labels"].items() if text}} for one in alerts], ALERTMANAGER
    )
    assert all(one["labels"].keys() == {"alertname", "pattern", "severity", "case"} for one in alerts)
    assert all(one["startsAt"] <= one["endsAt"] for one in alerts), "such an alert is refused"
    assert len(message.body) < 256 * 1024


@given(alert=alerts())
def test_a_webhook_gets_the_record_s_own_bytes(alert: AlertRecord) -> None:
    sink = Sink(kind="webhook", url="https://a.example", secret="whsec_" + "QUFB" * 8)
    message = Webhook(sink).message(alert, NOW)
    assert message.body == alert.value
    assert message.headers["webhook-id"] == alert.id


def test_slack_tells_what_an_analyst_needs_first() -> None:
    message = body(slack(), told(life("org-<7>")[0], accounts=["org-<7>", *(f"a{i}" for i in range(999))]))
    text = "\n".join(strings(message["blocks"]))
    assert message["blocks"][0]["text"]["text"] == "🟡 Model extraction by a sweep of prompts"
    for wanted in (
        "*Severity*\nmedium", "*Accounts (1,000)*\n`org-&lt;7&gt;`, `a0`", "and 990 more",
        "e-value 1.1e+03 (1 in 1,000 by chance)",
        "321 requests", "• sweep_1d 0.94 (above 0.35)", "• job_requests 150 (above 6)",
        "would not fire if sweep_1d were below 0.35", "<https://wiki.example/runbook.md#extraction|Runbook>",
        "siphonwatch verdict ",
    ):  # fmt: skip
        assert wanted in text, wanted
    assert message["text"].startswith("[medium] Model extraction by a sweep of prompts: org-&lt;7&gt;")


@given(alert=alerts())
def test_slack_s_limits_hold_for_templates_too(alert: AlertRecord) -> None:
    sink = Sink(
        kind="slack", url="https://hooks.example/s", title="{{ pattern }} {{ accounts }}",
        body="*{{ message }}* {{ counterfactual * 20 }} {{ accounts | code }} <https://wiki.example|ours>",
    )  # fmt: skip
    message = body(Slack(sink, RUNBOOK), alert)
    jsonschema.validate(message, SLACK)
    header, section, _ = message["blocks"]
    assert "\n" not in header["text"]["text"]
    text = section["text"]["text"].replace("<https://wiki.example|ours>", "")
    assert not re.search(r"<(?!https://wik|…)|&(?!(amp|lt|gt);)", text), "a mention, or an escape was cut"


WORDS: dict[str, str] = {"title": "{{ pattern }}: {{ accounts }}", "body": "{{ message }}\n{{ counterfactual * 20 }}"}


def worded() -> Alertmanager:
    return Alertmanager(Sink(kind="alertmanager", url="https://am.example", **WORDS), RUNBOOK, 86_400.0)


@given(alert=alerts())
@hypothesis_settings(max_examples=25)
def test_pagerduty_s_and_alertmanager_s_limits_hold_for_templates_too(alert: AlertRecord) -> None:
    event = body(PagerDuty(Sink(kind="pagerduty", routing_key="k" * 32, **WORDS), RUNBOOK), alert)
    jsonschema.validate(event, PAGERDUTY)
    if alert.kind != "closed":
        assert "\n" not in event["payload"]["summary"] and len(event["payload"]["custom_details"]["text"]) <= 10_000
    (posted,) = body(worded(), alert)
    jsonschema.validate(posted["annotations"], LABELS)
    assert len(posted["annotations"]["summary"]) <= 500 and len(posted["annotations"].get("description", "")) <= 4000


def test_templates_say_what_pagerduty_and_alertmanager_show_and_leave_the_rest() -> None:
    alert = told(life("org-<7>")[0])
    plain = body(pagerduty(), alert)["payload"]
    said = body(PagerDuty(Sink(kind="pagerduty", routing_key="k" * 32, **WORDS), RUNBOOK), alert)["payload"]
    assert said["summary"] == "extraction: org-<7>" and said["custom_details"].pop("text").startswith(alert.message)
    assert "text" not in plain["custom_details"] and said["custom_details"] == plain["custom_details"]
    (fires,) = body(worded(), alert)
    (ours,) = body(alertmanager(), alert)
    assert fires["annotations"]["summary"] == "extraction: org-<\u200b7>", "no receiver of it makes a link of that"
    assert "description" in fires["annotations"] and "description" not in ours["annotations"]
    assert fires["labels"] == ours["labels"]


def test_slack_says_that_a_case_closed_without_its_reasons() -> None:
    message = body(slack(), told(life("org-7")[-1]))
    assert message["blocks"][0]["text"]["text"].endswith("(closed)") and message["text"].endswith("(closed)")
    assert "sweep_1d 0.94" not in "\n".join(strings(message["blocks"]))


def test_a_case_is_one_pagerduty_alert_triggered_by_its_id_and_resolved_when_it_closes() -> None:
    opened, updated, closed = (body(pagerduty(), told(finding)) for finding in life("org-7"))
    assert opened["dedup_key"] == updated["dedup_key"] == closed["dedup_key"] == life("org-7")[0].case
    assert [event["event_action"] for event in (opened, updated, closed)] == ["trigger", "trigger", "resolve"]
    assert "payload" not in closed
    assert opened["links"] == [{"href": f"{RUNBOOK}#extraction", "text": "Runbook"}]
    assert opened["payload"]["custom_details"]["accounts"] == ["org-7"]


@pytest.mark.parametrize(
    ("log_e", "severity", "pagerduty_s"),
    [(6.91, "low", "info"), (7.0, "medium", "warning"), (14.0, "high", "error"), (30.0, "critical", "critical")],
)
def test_severities_are_mapped_to_pagerduty_s(log_e: float, severity: str, pagerduty_s: str) -> None:
    alert = told(life("org-7", log_e=log_e)[0])
    if severity == "low":
        alert = of_severity(alert, "Low")
    assert alert.severity == severity
    assert body(pagerduty(), alert)["payload"]["severity"] == pagerduty_s


def test_a_wrong_routing_key_is_the_sink_s_fault_and_a_bad_event_the_alert_s() -> None:
    said = (
        b'{"status": "invalid event", "errors": ["Length of \'routing_key\' is incorrect (should be 32 characters)"]}'
    )
    assert pagerduty().judge(400, said) == "misconfigured"
    assert pagerduty().judge(400, b"Invalid routing key") == "misconfigured"
    assert pagerduty().judge(400, b'{"errors": ["\'payload.summary\' is missing"]}') == "refused"
    assert pagerduty().judge(202, b"") == "delivered" and pagerduty().judge(429, b"") == "failed"


def test_an_open_case_fires_in_alertmanager_beyond_its_closing_and_a_closed_one_ends_before_now() -> None:
    opened, _, closed = life("org-7")
    (firing,) = body(alertmanager(), told(opened))
    assert firing["labels"] == {
        "alertname": "SiphonwatchCase", "pattern": "extraction", "severity": "medium", "case": opened.case,
    }  # fmt: skip
    assert firing["startsAt"] == "2026-09-21T14:13:20.000000Z" and firing["endsAt"] == "2026-09-22T20:14:20.000000Z"
    (ended,) = body(alertmanager(), told(closed), NOW + 90_000)
    assert ended["endsAt"] == "2026-09-22T15:13:20.000000Z" and ended["labels"] == firing["labels"]
    assert alertmanager().message(told(opened), NOW).url == "https://am.example/prefix/api/v2/alerts"


def test_a_case_that_became_graver_fires_anew_and_what_it_was_before_is_resolved() -> None:
    manager = alertmanager()
    opened, updated, closed = (told(finding) for finding in life("org-7"))
    graver = of_severity(updated, "High")
    manager.note(3, opened, START)
    high, medium = body(manager, graver)
    assert (high["labels"]["severity"], medium["labels"]["severity"]) == ("high", "medium")
    assert high["endsAt"] > "2026-09-22" and medium["endsAt"] == "2026-09-21T14:13:20.000000Z"
    manager.note(3, graver, NOW)
    assert len(body(manager, of_severity(closed, "High"))) == 1


def test_open_cases_are_told_again_until_they_close_end_or_their_partition_leaves() -> None:
    manager = alertmanager()
    first, second, third = (life(f"org-{i}") for i in range(3))
    for partition, findings in ((0, first), (0, second), (1, third)):
        manager.note(partition, told(findings[0]), START)
    manager.note(0, told(second[-1]), START)

    def again(now: float) -> set[str]:
        messages = manager.again(now)
        return {one["labels"]["case"] for message in messages for one in msgspec.json.decode(message.body)}

    assert again(NOW) == {first[0].case, third[0].case}
    manager.leave(1)
    assert again(NOW) == {first[0].case}
    assert again(START + manager.reach - 1) == {first[0].case}
    assert again(START + manager.reach) == set() and manager.again(NOW) == []


def test_the_cases_told_again_are_bounded_and_go_in_parts() -> None:
    manager = alertmanager()
    alert = told(life("org-1")[0])
    for i in range(MOST_OPEN + 1):
        own = replace(alert.own, case=f"c{i}")
        event = replace(alert.event, data=replace(alert.event.data, unmapped=Unmapped(own)))
        manager.note(0, replace(alert, event=event), START)
    messages = manager.again(NOW)
    assert len(messages) == MOST_OPEN // 200
    assert b'"case":"c0"' not in messages[0].body and b'"case":"c1"' in messages[0].body


@given(text=hostile, limit=st.integers(1, 50))
def test_an_escaped_text_stays_within_its_limit_and_reads_as_before_when_it_fits(text: str, limit: int) -> None:
    escaped = escape(text, limit)
    assert len(escaped) <= limit
    if not escaped.endswith("…"):
        assert (
            escaped.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").strip()
            == escape(text, 10**6).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&").strip()
        )


@given(st.binary(max_size=200) | st.none())
def test_bytes_that_are_no_alert_are_told_so(value: bytes | None) -> None:
    with pytest.raises(NotAnAlert):
        read(value, START)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda a: a.pop("id"), lambda a: a.update(id=""), lambda a: a.update(type="siphonwatch.case.reopened.v1"),
        lambda a: a["data"].update(severity="worst"), lambda a: a["data"]["unmapped"]["siphonwatch"].pop("accounts"),
        lambda a: a["data"]["unmapped"]["siphonwatch"].update(case=""), lambda a: a["data"].pop("finding_info"),
        lambda a: a.update(id="a\r\nX-Evil: b"), lambda a: a.update(id="x" * 201),
        lambda a: a.update(id=a["id"] + "\n"),
        lambda a: a.update(time="yesterday"), lambda a: a["data"]["unmapped"]["siphonwatch"].pop("runbook"),
        lambda a: a["data"]["unmapped"]["siphonwatch"]["signals"][0].update(observed=None),
        lambda a: a["data"].update(time=10**17), lambda a: a["data"]["finding_info"].update(created_time=-(10**15)),
    ],
)  # fmt: skip
def test_an_event_that_departs_from_the_schema_is_no_alert(spoil: Any) -> None:
    alert = msgspec.json.decode(told(life("org-1")[0]).value)
    spoil(alert)
    with pytest.raises(NotAnAlert):
        read(msgspec.json.encode(alert), START)


def test_what_nests_without_end_is_no_alert() -> None:
    value = b'{"id": "a", "data": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    with pytest.raises(NotAnAlert):
        read(value, START)
    assert id_of(value) == ""


def test_every_golden_alert_is_readable() -> None:
    golden = Path(__file__).parents[1] / "tools" / "golden_alert.json"
    assert read(golden.read_bytes(), START).own.pattern == "extraction"
