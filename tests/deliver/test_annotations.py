"""Alerts and promotions become annotations once, whatever is told again and whatever fails in between."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from grafana_double import TOKEN, Double
from msgspec.structs import replace
from provision_tools import grafana

from siphonwatch.models.evidence.cases import CaseBook, Finding
from siphonwatch.streams.common.grafana import GrafanaError, connect
from siphonwatch.streams.common.settings import Grafana, Links
from siphonwatch.streams.contracts.alert import Alert, Unmapped, to_alert
from siphonwatch.streams.deliver.annotate import Annotator
from siphonwatch.streams.operate.provision.bundled import dashboards

__all__ = ["grafana"]

START = 1_767_571_200.0
"""2026-01-05T00:00:00Z."""
DAY = 86_400.0


@pytest.fixture
def annotator(grafana: Double) -> Iterator[Annotator]:
    connection = connect(Grafana(url=grafana.url, token=TOKEN, timeout=5.0))
    yield Annotator(connection)
    connection.close()


def life() -> dict[str, Alert]:
    """One case as alerts: opened, updated, closed."""
    book = CaseBook(1e-3, DAY)

    def record(after: float, log_e: float) -> Finding:
        return book.record(
            "org-1", "extraction", START + after, first_seen=START, log_e=log_e, score=0.5, level=0.4,
            requests_seen=100, signals=[], counterfactual="", samples=["r-1"],
        )  # fmt: skip

    found = [record(0.0, 7.0), record(3600.0, 12.0), *book.close_until(START + 3 * DAY)]
    return {finding.kind: to_alert(finding) for finding in found}


def test_an_alert_is_told_at_its_event_time_with_what_it_is_about(grafana: Double, annotator: Annotator) -> None:
    alert = life()["open"]
    assert annotator.alert(alert) is True
    (made,) = grafana.annotations
    own = alert.own
    assert made["time"] == START * 1000
    severity = alert.data.severity.lower()
    assert made["tags"] == [
        "siphonwatch", "alert", "extraction", severity, "open", f"case:{own.case}", f"id:{alert.id}",
    ]  # fmt: skip
    assert own.case in made["text"]
    assert own.runbook in made["text"]


def test_telling_an_alert_again_adds_nothing(grafana: Double, annotator: Annotator) -> None:
    told = life()
    for alert in told.values():
        assert annotator.alert(alert) is True
    before = grafana.state()
    for alert in told.values():
        assert annotator.alert(alert) is False
    assert grafana.state() == before


def test_a_closed_case_becomes_a_region_from_its_opening(grafana: Double, annotator: Annotator) -> None:
    told = life()
    annotator.alert(told["open"])
    annotator.alert(told["close"])
    (made,) = grafana.annotations
    assert (made["time"], made["timeEnd"]) == (told["open"].data.time, told["close"].data.time)
    assert made["timeEnd"] > made["time"]
    assert {"open", "close", f"id:{told['open'].id}", f"id:{told['close'].id}"} <= set(made["tags"])


def test_a_case_whose_opening_was_never_told_is_told_whole_when_it_closes(
    grafana: Double, annotator: Annotator
) -> None:
    told = life()
    assert annotator.alert(told["close"]) is True
    (made,) = grafana.annotations
    assert (made["time"], made["timeEnd"]) == (START * 1000, told["close"].data.time)
    assert annotator.alert(told["close"]) is False


def test_two_cases_do_not_end_each_other(grafana: Double, annotator: Annotator) -> None:
    told = life()
    other = life()["open"]
    unmapped = Unmapped(replace(other.own, case="ffffffffffffffff"))
    other = replace(other, id="another-id", data=replace(other.data, unmapped=unmapped))
    annotator.alert(told["open"])
    annotator.alert(other)
    annotator.alert(told["close"])
    still_open = [made for made in grafana.annotations if "close" not in made["tags"]]
    assert ["id:another-id" in made["tags"] for made in still_open] == [True]


def test_a_promotion_is_told_once(grafana: Double, annotator: Annotator) -> None:
    assert annotator.promotion("extraction", "2026.1", START) is True
    assert annotator.promotion("extraction", "2026.1", START + 5) is False
    assert annotator.promotion("extraction", "2026.2", START + 9) is True
    assert [made["time"] for made in grafana.annotations] == [START * 1000, (START + 9) * 1000]
    assert grafana.annotations[0]["tags"][:2] == ["siphonwatch", "promotion"]


def test_names_with_signs_of_an_address_are_found_again(grafana: Double, annotator: Annotator) -> None:
    assert annotator.promotion("a&tags=b c", "1/2#3", START) is True
    assert annotator.promotion("a&tags=b c", "1/2#3", START) is False
    assert len(grafana.annotations) == 1


def test_dashboards_ask_for_the_tags_that_are_posted(grafana: Double, annotator: Annotator) -> None:
    annotator.alert(life()["open"])
    annotator.promotion("extraction", "2026.1", START)
    _, alerts, promotions, _ = dashboards(Links())[0]["annotations"]["list"]
    for asked, made in zip((alerts, promotions), grafana.annotations, strict=True):
        assert set(asked["target"]["tags"]) <= set(made["tags"])


@pytest.mark.parametrize("late", [False, True], ids=["without-effect", "with-effect"])
@pytest.mark.parametrize("fault", [500, "drop", "garbage"], ids=str)
def test_after_a_failure_anywhere_the_same_alert_is_told_once(
    grafana: Double, annotator: Annotator, fault: int | str, late: bool
) -> None:
    told = life()
    for alert in told.values():
        annotator.alert(alert)
    wanted = grafana.state()
    calls = len(grafana.calls)
    grafana.late = late
    for number in range(1, calls + 1):
        grafana.annotations.clear()
        grafana.forget()
        grafana.fail = {number: fault}
        failures = 0
        for alert in told.values():
            try:
                annotator.alert(alert)
            except GrafanaError as error:
                failures += 1
                assert error.passing
                annotator.alert(alert)
        assert failures == 1
        assert grafana.state() == wanted


def test_a_refusal_is_no_passing_failure(grafana: Double) -> None:
    connection = connect(Grafana(url=grafana.url, token="wrong"))
    try:
        with pytest.raises(GrafanaError, match="401") as caught:
            Annotator(connection).alert(life()["open"])
        assert not caught.value.passing
    finally:
        connection.close()
