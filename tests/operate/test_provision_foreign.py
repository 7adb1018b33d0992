"""What is not siphonwatch's own stays byte for byte; where it is in the way, nothing is done, and it is said why."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from grafana_double import Double
from provision_tools import applied, few_alerts, grafana, provision
from rule_files import ALERTS

from siphonwatch.streams.operate.provision.alert_rules import uid

__all__ = ["few_alerts", "grafana"]

RULE = uid(ALERTS[0].name)
TITLE = ALERTS[0].name
BOARD: dict[str, Any] = {"id": 90, "uid": "payments", "title": "Payments", "tags": ["siphonwatch"], "version": 3}
FOREIGN_RULE: dict[str, Any] = {
    "id": 91, "uid": "payments-down", "title": "Payments down", "folderUID": "siphonwatch",
    "labels": {"team": "payments"},
    "provenance": "", "data": [], "for": "5m", "ruleGroup": "siphonwatch",
}  # fmt: skip


def _add_foreign(grafana: Double) -> dict[str, Any]:
    """Things of others of every kind, some of them in our folder; gives what they have to look like afterwards."""
    grafana.folders["payments"] = {"id": 80, "uid": "payments", "title": "siphonwatch", "version": 1}
    grafana.sources["p"] = {"id": 81, "uid": "p", "name": "Prometheus", "type": "prometheus", "isDefault": True}
    grafana.boards["payments"] = {"dashboard": dict(BOARD), "meta": {"folderUid": "siphonwatch"}}
    elsewhere = {"dashboard": BOARD | {"uid": "siphonwatch-elsewhere"}, "meta": {"folderUid": "payments"}}
    grafana.boards["siphonwatch-elsewhere"] = elsewhere
    grafana.rules["payments-down"] = copy.deepcopy(FOREIGN_RULE)
    grafana.rules["elsewhere"] = copy.deepcopy(FOREIGN_RULE) | {"uid": "elsewhere", "folderUID": "payments"}
    grafana.contacts.append({"uid": "pd", "name": "pager", "type": "webhook", "settings": {"url": "https://p.example"}})
    grafana.policies["routes"] = [
        {"receiver": "pager", "object_matchers": [["service", "=", "siphonwatch"]]},
        {"receiver": "pager", "object_matchers": [["team", "=", "payments"]], "mute_time_intervals": ["night"]},
    ]
    grafana.annotations.append(
        {"id": 99, "time": 1, "timeEnd": 1, "text": "deployed", "tags": ["siphonwatch", "alert"]}
    )
    return copy.deepcopy(_foreign(grafana))


def _foreign(grafana: Double) -> dict[str, Any]:
    return {
        "folder": grafana.folders["payments"],
        "source": grafana.sources["p"],
        "boards": [grafana.boards["payments"], grafana.boards["siphonwatch-elsewhere"]],
        "rules": [grafana.rules["payments-down"], grafana.rules["elsewhere"]],
        "contacts": [c for c in grafana.contacts if c["name"] != "siphonwatch"],
        "routes": [r for r in grafana.policies["routes"] if r["receiver"] != "siphonwatch"],
        "root": {key: value for key, value in grafana.policies.items() if key != "routes"},
        "annotations": grafana.annotations,
    }


def test_things_of_others_stay_byte_for_byte(grafana: Double, few_alerts: None) -> None:
    before = _add_foreign(grafana)
    applied(grafana)
    assert _foreign(grafana) == before
    shown = provision(grafana, "--plan").text
    assert ". leave alone dashboard Payments: it is not ours" in shown
    assert ". leave alone alert rule Payments down: it is not ours" in shown
    applied(grafana, contact_url="")
    assert _foreign(grafana) == before


def test_a_title_is_no_order_to_the_terminal_that_shows_the_plan(grafana: Double, few_alerts: None) -> None:
    applied(grafana)
    grafana.boards["payments"] = {"dashboard": BOARD | {"title": "x\x1b[2J\r\ny"}, "meta": {"folderUid": "siphonwatch"}}
    assert ". leave alone dashboard x?[2J y: it is not ours" in provision(grafana, "--plan").text


def _folder(grafana: Double) -> None:
    grafana.folders["siphonwatch"] = {"id": 1, "uid": "siphonwatch", "title": "Whales", "version": 1}


def _source(grafana: Double) -> None:
    taken = {
        "id": 1,
        "uid": "siphonwatch-prometheus",
        "name": "Mine",
        "type": "loki",
        "jsonData": {},
        "readOnly": False,
    }
    grafana.sources["siphonwatch-prometheus"] = taken


def _source_name(grafana: Double) -> None:
    grafana.sources["x"] = {"id": 1, "uid": "x", "name": "siphonwatch Prometheus", "type": "loki"}


def _board(grafana: Double) -> None:
    taken = BOARD | {"uid": "siphonwatch-overview"}
    grafana.boards["siphonwatch-overview"] = {"dashboard": taken, "meta": {"folderUid": ""}}


def _rule(grafana: Double) -> None:
    grafana.rules[RULE] = FOREIGN_RULE | {"uid": RULE}


def _rule_title(grafana: Double) -> None:
    grafana.rules["other"] = FOREIGN_RULE | {"uid": "other", "title": TITLE}


def _contact(grafana: Double) -> None:
    taken = {
        "uid": "siphonwatch-contact",
        "name": "whales",
        "type": "webhook",
        "settings": {"url": "https://w.example"},
    }
    grafana.contacts.append(taken)


def _contact_name(grafana: Double) -> None:
    grafana.contacts.append(
        {"uid": "x", "name": "siphonwatch", "type": "webhook", "settings": {"url": "https://w.example"}}
    )


def _locked(grafana: Double) -> None:
    grafana.policies["provenance"] = "file"


IN_THE_WAY: list[tuple[Callable[[Double], None], str]] = [
    (_folder, "folder siphonwatch: a folder 'Whales' has our uid siphonwatch and holds nothing of ours"),
    (_source, "'Mine' has our uid siphonwatch-prometheus, but not our mark (jsonData.managedBy)"),
    (_source_name, "another data source has this name (uid x): rename that one"),
    (_board, "'Payments' has our uid siphonwatch-overview, but not our tag managed-by-siphonwatch"),
    (_rule, f"'Payments down' has our uid {RULE}, but not our label managed_by=siphonwatch"),
    (_rule_title, "another rule of our folder has this title (uid other): rename that one"),
    (_contact, "'whales' has our uid siphonwatch-contact, but not our name siphonwatch"),
    (_contact_name, "another contact point has the name siphonwatch: rename that one"),
    (_locked, "the notification policies are provisioned from a file, which Grafana lets nobody else change"),
]


@pytest.mark.parametrize(("put", "reason"), IN_THE_WAY, ids=[case[0].__name__ for case in IN_THE_WAY])
def test_what_is_in_the_way_is_named_and_nothing_is_done(
    grafana: Double, few_alerts: None, put: Callable[[Double], None], reason: str
) -> None:
    put(grafana)
    before = copy.deepcopy(grafana.state())
    for mode in ("--plan", "--apply"):
        done = provision(grafana, mode)
        assert done.code == 1
        assert reason in done.text
        assert "1 refused, see above" in done.text
        assert grafana.mutations() == []
        assert grafana.state() == before


def test_locked_policies_that_have_our_route_are_no_obstacle(grafana: Double, few_alerts: None) -> None:
    applied(grafana)
    grafana.policies["provenance"] = "file"
    assert "nothing to do" in applied(grafana).text


def test_locked_policies_are_no_obstacle_without_a_contact_address(grafana: Double, few_alerts: None) -> None:
    grafana.policies["provenance"] = "file"
    applied(grafana, contact_url="")


def test_what_comes_from_files_is_left_to_the_files(grafana: Double, few_alerts: None) -> None:
    applied(grafana)
    grafana.sources["siphonwatch-prometheus"] |= {"readOnly": True, "url": "http://prometheus:9090"}
    overview, pipeline = grafana.boards["siphonwatch-overview"], grafana.boards["siphonwatch-pipeline"]
    overview["meta"] |= {"provisioned": True, "provisionedExternalId": "siphonwatch-overview.json"}
    overview["dashboard"]["title"] = "Older"
    pipeline["meta"] |= {"provisioned": True}
    grafana.rules[RULE] |= {"provenance": "file", "for": "9m"}
    grafana.contacts[-1] |= {"provenance": "file", "disableResolveMessage": True}
    grafana.rules["siphonwatch-old"] = grafana.rules[RULE] | {"uid": "siphonwatch-old", "title": "Old"}
    done = applied(grafana)
    assert grafana.mutations() == []
    for line in (
        "data source siphonwatch Prometheus: it is provisioned from a file: change it there",
        "dashboard siphonwatch / Overview: it is provisioned from siphonwatch-overview.json: change it there",
        f"alert rule {TITLE}: it is provisioned by file: change it there",
        "alert rule Old: it is provisioned by file",
        "contact point siphonwatch: it is provisioned by file: change it there",
    ):
        assert f". leave alone {line}" in done.text


def test_rules_that_another_tool_claimed_are_mended_under_its_name(grafana: Double, few_alerts: None) -> None:
    applied(grafana)
    grafana.rules[RULE] |= {"provenance": "api", "for": "9m"}
    applied(grafana)
    assert grafana.rules[RULE]["provenance"] == "api"
    assert grafana.rules[RULE]["for"] != "9m"


def test_a_secret_that_grafana_hides_is_no_change(grafana: Double, few_alerts: None) -> None:
    applied(grafana)
    grafana.contacts[-1]["settings"]["url"] = "[REDACTED]"
    assert "nothing to do" in applied(grafana).text
