"""The rules under deploy/ are what Prometheus and Alertmanager take, with cases and a runbook entry for each alert."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest
from rule_files import ALERTMANAGER, ALERTS, CASES, PROMETHEUS, RECORDINGS, RULES, RUNBOOK, SECONDS, load, run

from siphonwatch.streams.cli import cli
from siphonwatch.streams.operate.provision.rules import Alert


def test_prometheus_takes_the_rules() -> None:
    assert f"{len(ALERTS) + len(RECORDINGS)} rules found" in run("promtool", "check", "rules", "--lint-fatal", RULES)


def test_prometheus_takes_its_configuration_and_finds_the_rules() -> None:
    assert "1 rule files found" in run("promtool", "check", "config", PROMETHEUS / "prometheus.yml")


def test_prometheus_scrapes_the_jobs_by_the_names_that_rules_know() -> None:
    scraped = {job["job_name"] for job in load(PROMETHEUS / "prometheus.yml")["scrape_configs"]}
    named = set(re.findall(r'job="([^"]+)"', RULES.read_text()))
    assert named | {"siphonwatch-desk"} == scraped, "no rule watches a desk: who needs it sees that it is down"


def test_alertmanager_takes_its_configuration() -> None:
    assert "SUCCESS" in run("amtool", "check-config", ALERTMANAGER)


@pytest.mark.timeout(SECONDS + 20)
@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_alerts_fire_and_stay_silent_as_their_cases_say(path: Path) -> None:
    assert "SUCCESS" in run("promtool", "test", "rules", path)


def checked(fires: bool) -> set[str]:
    """Names of the alerts that some case expects to fire, or not to."""
    tests = [check for path in CASES for case in load(path)["tests"] for check in case["alert_rule_test"]]
    return {check["alertname"] for check in tests if bool(check["exp_alerts"]) == fires}


def test_every_alert_has_a_case_in_which_it_fires_and_one_close_by_in_which_it_does_not() -> None:
    names = {alert.name for alert in ALERTS}
    assert checked(fires=True) == names
    assert checked(fires=False) == names


def test_every_case_says_all_that_an_alert_tells() -> None:
    for path in CASES:
        for case in load(path)["tests"]:
            for check in case["alert_rule_test"]:
                for expected in check["exp_alerts"]:
                    assert set(expected["exp_annotations"]) == {"summary", "description", "runbook_url"}, case["name"]


def test_rules_have_names_of_their_own() -> None:
    names = [alert.name for alert in ALERTS] + [recording.record for recording in RECORDINGS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("Siphonwatch[A-Z][A-Za-z]+", alert.name) for alert in ALERTS)
    assert all(re.fullmatch("siphonwatch:[a-z_]+:[a-z_0-9]+", recording.record) for recording in RECORDINGS)


def entry(alert: Alert) -> str:
    """The runbook's text under an alert's heading."""
    text = RUNBOOK.read_text().partition("\n## Alerts\n")[2].partition("\n## ")[0]
    return text.partition(f"\n### {alert.name}\n")[2].partition("\n### ")[0]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_s_runbook_entry_says_what_it_means_and_what_to_do(alert: Alert) -> None:
    assert set(alert.annotations) == {"summary", "description", "runbook_url"}
    assert alert.annotations["runbook_url"] == f"deploy/runbook.md#{alert.name.lower()}", "the heading's anchor"
    assert alert.labels == {"severity": alert.labels["severity"], "service": "siphonwatch"}
    text = entry(alert)
    label = {"page": "Page", "ticket": "Ticket"}[alert.labels["severity"]]
    for part in (f"**{label}**", "**Look:**", "**Fix:**", "**Resolved when:**", "**Escalate:**"):
        assert part in text, f"{alert.name}: {part}"
    assert "`" in text.partition("**Look:**")[2].partition("**Fix:**")[0], f"{alert.name} names no command to look with"


def test_the_runbook_has_no_entry_of_an_alert_that_does_not_exist() -> None:
    headings = set(re.findall(r"^### (Siphonwatch\w+)$", RUNBOOK.read_text(), re.M))
    assert headings == {alert.name for alert in ALERTS}


def test_every_option_of_siphonwatch_that_the_runbook_names_exists() -> None:
    named = re.findall(r"[`$] ?siphonwatch ([a-z]+)([^`\n]*)", RUNBOOK.read_text())
    assert len(named) > 40
    for name, arguments in named:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None, name
        if isinstance(command, click.Group):
            name, _, arguments = arguments.strip().partition(" ")
            command = command.get_command(click.Context(command), name)
            assert command is not None, name
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(re.findall(r"(?<=\s)--?[a-z-]+", arguments)) <= known, f"siphonwatch {name}{arguments}"
