"""`siphonwatch provision` makes what is missing, mends what was changed, and touches nothing else."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from grafana_double import TOKEN, Double
from provision_tools import CONTACT, applied, few_alerts, grafana, provision
from rule_files import ALERTS

from siphonwatch.streams.operate.provision.alert_rules import uid

__all__ = ["few_alerts", "grafana"]

RULE = uid(ALERTS[0].name)
FOREIGN_ROUTES: list[dict[str, Any]] = [
    {"receiver": "pager", "object_matchers": [["team", "=", "payments"]], "group_wait": "10s"},
    {"receiver": "pager", "object_matchers": [["service", "=~", "siphon.*"]], "routes": [{"receiver": "pager"}]},
]


def test_first_apply_makes_everything_and_says_so(grafana: Double) -> None:
    done = applied(grafana)
    assert grafana.folders["siphonwatch"]["title"] == "siphonwatch"
    assert grafana.sources["siphonwatch-prometheus"]["url"] == "http://127.0.0.1:9090"
    assert set(grafana.boards) == {f"siphonwatch-{name}" for name in ("overview", "detection", "pipeline", "triage")}
    assert all(board["meta"]["folderUid"] == "siphonwatch" for board in grafana.boards.values())
    assert set(grafana.rules) == {uid(alert.name) for alert in ALERTS}
    assert grafana.contacts[-1]["settings"]["url"] == CONTACT
    assert [r["receiver"] for r in grafana.policies["routes"]] == ["siphonwatch"]
    for line in (
        "made folder siphonwatch",
        "made dashboard siphonwatch / Overview",
        f"made alert rule {ALERTS[0].name}",
    ):
        assert line in done.text


def test_second_apply_changes_nothing(grafana: Double) -> None:
    applied(grafana)
    before = grafana.state()
    done = applied(grafana)
    assert grafana.mutations() == []
    assert grafana.state() == before
    assert "nothing to do" in done.text


def test_plan_shows_what_would_be_made_and_makes_nothing(grafana: Double) -> None:
    before = grafana.state()
    done = provision(grafana, "--plan")
    assert done.code == 0
    assert grafana.mutations() == []
    assert grafana.state() == before
    assert "+ make dashboard siphonwatch / Overview" in done.text
    assert f"{len(ALERTS) + 8} to make, 0 to change, 0 to remove, 0 unchanged" in done.text


def test_people_can_edit_what_was_made(grafana: Double) -> None:
    applied(grafana)
    assert {rule["provenance"] for rule in grafana.rules.values()} == {""}
    assert grafana.contacts[-1]["provenance"] == ""
    assert "provenance" not in grafana.policies


def test_a_name_and_password_serve_as_well_as_a_token(grafana: Double) -> None:
    assert provision(grafana, "--apply", token="", username="admin", password=TOKEN).code == 0


def test_a_grafana_below_a_path_is_reached(grafana: Double) -> None:
    grafana.below = "/tools/grafana"
    assert provision(grafana, "--plan", url=grafana.url + "/tools/grafana/").code == 0
    assert provision(grafana, "--plan", url=grafana.url + "/tools/grafana").code == 0
    assert grafana.calls[0] == ("GET", "/api/folders/siphonwatch")


def _rename_folder(grafana: Double) -> None:
    grafana.folders["siphonwatch"].update(title="Fraud", version=2)


def _point_source_elsewhere(grafana: Double) -> None:
    grafana.sources["siphonwatch-prometheus"]["url"] = "http://user:secret@other.example:9090"


def _remove_panel(grafana: Double) -> None:
    board = grafana.boards["siphonwatch-overview"]["dashboard"]
    board["panels"] = board["panels"][:-1]
    board["version"] += 1


def _move_dashboard(grafana: Double) -> None:
    grafana.boards["siphonwatch-triage"]["meta"]["folderUid"] = ""


def _raise_threshold(grafana: Double) -> None:
    grafana.rules[RULE]["data"][0]["model"]["expr"] += " > 1"


def _relabel(grafana: Double) -> None:
    grafana.rules[RULE]["labels"]["team"] = "fraud"


def _pause(grafana: Double) -> None:
    grafana.rules[RULE]["isPaused"] = True


def _redirect_rule(grafana: Double) -> None:
    grafana.rules[RULE]["notification_settings"] = {"receiver": "grafana-default-email"}


def _change_contact(grafana: Double) -> None:
    grafana.contacts[-1]["settings"]["url"] = "https://elsewhere.example/hook"


def _mute_route(grafana: Double) -> None:
    grafana.policies["routes"][0]["mute_time_intervals"] = ["weekends"]


def _delete_dashboard(grafana: Double) -> None:
    del grafana.boards["siphonwatch-detection"]


def _delete_rule(grafana: Double) -> None:
    del grafana.rules[RULE]


BY_HAND = [
    (_rename_folder, "~ change folder siphonwatch", "title: Fraud -> siphonwatch"),
    (_point_source_elsewhere, "~ change data source", "url: http://other.example:9090 -> http://127.0.0.1:9090"),
    (
        _remove_panel,
        "~ change dashboard siphonwatch / Overview",
        "panels[Precision, as analysts see it]: (nothing) -> {",
    ),
    (_move_dashboard, "~ change dashboard siphonwatch / T&S", "folder: (nothing) -> siphonwatch"),
    (_raise_threshold, f"~ change alert rule {ALERTS[0].name}", "data[A].model.expr: "),
    (_relabel, f"~ change alert rule {ALERTS[0].name}", "labels.team: fraud -> (nothing)"),
    (_pause, f"~ change alert rule {ALERTS[0].name}", "isPaused: true -> false"),
    (_redirect_rule, f"~ change alert rule {ALERTS[0].name}", 'notification_settings: {"receiver": "grafana-'),
    (
        _change_contact,
        "~ change contact point siphonwatch",
        "settings.url: https://elsewhere.example/... -> https://hooks",
    ),
    (_mute_route, "~ change notification route", 'mute_time_intervals: ["weekends"] -> (nothing)'),
    (_delete_dashboard, "+ make dashboard siphonwatch / Detection", ""),
    (_delete_rule, f"+ make alert rule {ALERTS[0].name}", ""),
]


@pytest.mark.parametrize(("by_hand", "heading", "field"), BY_HAND, ids=[case[0].__name__ for case in BY_HAND])
def test_a_change_by_hand_is_shown_and_mended(grafana: Double, by_hand: Any, heading: str, field: str) -> None:
    applied(grafana)
    wanted = grafana.state()
    by_hand(grafana)
    shown = provision(grafana, "--plan")
    assert (shown.code, grafana.mutations()) == (0, [])
    assert heading in shown.text
    assert field in shown.text
    assert "secret" not in shown.text
    applied(grafana)
    assert len(grafana.mutations()) == 1
    assert grafana.state() == wanted


def test_what_grafana_adds_by_itself_is_no_change(grafana: Double) -> None:
    applied(grafana)
    board = grafana.boards["siphonwatch-overview"]["dashboard"]
    board |= {"schemaVersion": 99, "fiscalYearStartMonth": 0, "weekStart": ""}
    board["panels"][1]["pluginVersion"] = "13.0.0"
    board["panels"][1]["options"]["percentChangeColorMode"] = "standard"
    grafana.rules[RULE]["data"][0]["model"]["legendFormat"] = "__auto"
    grafana.sources["siphonwatch-prometheus"]["jsonData"]["pdcInjected"] = False
    assert "nothing to do" in provision(grafana, "--plan").text


def test_settings_of_the_data_source_that_others_made_outlive_a_change(grafana: Double) -> None:
    applied(grafana)
    source = grafana.sources["siphonwatch-prometheus"]
    source |= {"isDefault": True, "basicAuth": True, "basicAuthUser": "reader", "url": "http://old:9090"}
    source["jsonData"]["tlsSkipVerify"] = True
    applied(grafana)
    source = grafana.sources["siphonwatch-prometheus"]
    assert (source["isDefault"], source["basicAuthUser"]) == (True, "reader")
    assert source["jsonData"]["tlsSkipVerify"] is True
    assert source["url"] == "http://127.0.0.1:9090"


def test_what_this_version_no_longer_has_is_removed(grafana: Double) -> None:
    applied(grafana)
    wanted = grafana.state()
    old_rule = copy.deepcopy(grafana.rules[RULE]) | {"uid": "siphonwatch-former", "title": "SiphonwatchFormer"}
    grafana.rules["siphonwatch-former"] = old_rule
    old_board = copy.deepcopy(grafana.boards["siphonwatch-overview"])
    old_board["dashboard"] |= {"uid": "siphonwatch-former", "title": "Former"}
    grafana.boards["siphonwatch-former"] = old_board
    shown = provision(grafana, "--plan").text
    assert "- remove alert rule SiphonwatchFormer" in shown
    assert "- remove dashboard Former" in shown
    applied(grafana)
    assert grafana.state() == wanted


def test_a_renamed_rule_may_keep_the_title_of_the_old_one(grafana: Double) -> None:
    applied(grafana)
    wanted = grafana.state()
    grafana.rules["siphonwatch-former"] = grafana.rules.pop(RULE) | {"uid": "siphonwatch-former"}
    applied(grafana)
    assert grafana.state() == wanted


def test_contact_point_and_route_are_made_only_where_there_is_an_address(grafana: Double) -> None:
    before = (list(grafana.contacts), dict(grafana.policies))
    applied(grafana, contact_url="")
    assert (grafana.contacts, grafana.policies) == before
    applied(grafana)
    grafana.policies["routes"].append(FOREIGN_ROUTES[0] | {"receiver": "grafana-default-email"})
    shown = provision(grafana, "--plan", contact_url="").text
    assert "- remove notification route" in shown
    assert "- remove contact point siphonwatch" in shown
    applied(grafana, contact_url="")
    assert grafana.contacts == before[0]
    assert [r["object_matchers"][0][0] for r in grafana.policies["routes"]] == ["team"]


def test_a_new_route_goes_first_and_leaves_the_others_as_they_were(grafana: Double) -> None:
    grafana.contacts.append({"uid": "p", "name": "pager", "type": "webhook", "settings": {"url": "https://p.example"}})
    root = {"receiver": "pager", "group_by": ["alertname"], "group_wait": "45s", "repeat_interval": "2h"}
    grafana.policies = {**root, "routes": copy.deepcopy(FOREIGN_ROUTES)}
    applied(grafana)
    assert grafana.policies["routes"][1:] == FOREIGN_ROUTES
    assert grafana.policies["routes"][0]["continue"] is True
    assert {key: value for key, value in grafana.policies.items() if key != "routes"} == root


def test_a_route_that_was_moved_stays_where_it_is(grafana: Double) -> None:
    applied(grafana)
    grafana.contacts.append({"uid": "p", "name": "pager", "type": "webhook", "settings": {"url": "https://p.example"}})
    ours = grafana.policies["routes"][0] | {"group_wait": "5m"}
    grafana.policies["routes"] = [FOREIGN_ROUTES[0], ours, FOREIGN_ROUTES[1]]
    applied(grafana)
    routes = grafana.policies["routes"]
    assert [routes[0], routes[2]] == FOREIGN_ROUTES
    assert "group_wait" not in routes[1]


def test_policies_that_another_tool_claimed_stay_claimed(grafana: Double) -> None:
    grafana.policies["provenance"] = "api"
    applied(grafana)
    assert grafana.policies["provenance"] == "api"
    assert "nothing to do" in applied(grafana).text


def test_a_route_added_by_somebody_else_meanwhile_is_kept(grafana: Double, few_alerts: None) -> None:
    grafana.contacts.append({"uid": "p", "name": "pager", "type": "webhook", "settings": {"url": "https://p.example"}})
    calls = len((applied(grafana), grafana.calls)[1])
    grafana.policies["routes"] = []

    def meanwhile() -> None:
        grafana.policies["routes"] = [FOREIGN_ROUTES[0]]

    reads = len((provision(grafana, "--plan"), grafana.calls)[1])
    grafana.before[reads + 1] = meanwhile
    applied(grafana)
    assert calls > reads
    assert [r["receiver"] for r in grafana.policies["routes"]] == ["siphonwatch", "pager"]


def test_former_dashboards_are_listed_beyond_those_of_others(grafana: Double) -> None:
    applied(grafana)
    copied = copy.deepcopy(grafana.boards["siphonwatch-overview"])
    copied["dashboard"] |= {"uid": "aBcDeF", "title": "My copy"}
    grafana.boards["aBcDeF"] = copied
    shown = provision(grafana, "--plan")
    assert ". leave alone dashboard My copy: it is not ours" in shown.text
    applied(grafana)
    assert grafana.boards["aBcDeF"] == copied
