"""The scorecard counts what was found, what was missed and who was wrongly accused."""

from __future__ import annotations

import msgspec
from alert_samples import findings

from siphonwatch.streams.contracts.alert import Alert, to_alert
from siphonwatch.streams.lab.demo.scorecard import Truth, compare
from siphonwatch.streams.lab.scenario import Label, Scenario

T = 1_767_571_200.0


def label(account: str, pattern: str = "", campaign: str = "", kind: str = "app") -> Label:
    return Label(account, kind, pattern, campaign, T + 100 if pattern else None, 50, 20 if pattern else 0, "litellm")


def alert(account: str, pattern: str, requests: int, kind: str = "open") -> Alert:
    (finding,) = findings(1, pattern)
    return to_alert(msgspec.structs.replace(finding, kind=kind, accounts=[account], requests_seen=requests))


def test_a_campaign_is_found_by_its_own_pattern_after_it_began() -> None:
    labels = [
        label("a", "extraction", "one"),
        label("b", "extraction", "relay"),
        label("c", "extraction", "relay"),
        label("d", "extraction", "misnamed"),
        label("e", "extraction", "early", kind="slow"),
        label("f", "scraping", "none", kind="pages"),
        label("x"),
        label("y", kind="etl"),
        label("z"),
    ]
    requests = {name: [i >= 30 for i in range(50)] for name in "abcdef"}
    card = compare(
        labels,
        requests,
        [
            alert("a", "extraction", 40),
            alert("a", "shift", 35, "update"),
            alert("c", "extraction", 35),
            alert("d", "rarity", 50),
            alert("e", "extraction", 30),
            alert("y", "extraction", 10),
            alert("y", "shift", 20),
        ],
    )
    extraction, scraping = card.rows
    assert (extraction.pattern, extraction.campaigns, extraction.found, extraction.otherwise) == ("extraction", 4, 2, 1)
    assert (extraction.accounts, extraction.accounts_found, extraction.median_requests) == (5, 3, 10)
    assert extraction.missed == ("slow",)
    assert (scraping.found, scraping.median_requests, scraping.missed) == (0, None, ("pages",))
    assert (card.benign, card.accused, card.early) == (3, 1, 1)
    assert card.false_alarms == {("etl", "extraction"): 1, ("etl", "shift"): 1}


def test_the_truth_notes_every_request_of_a_scenario() -> None:
    scenario = Scenario(seed=5, accounts=40, days=1.0)
    truth = Truth()
    for event in scenario:
        truth.note(event)
    assert {name: (len(flags), sum(flags)) for name, flags in truth.requests.items()} == {
        label.account: (label.requests, label.attack_requests) for label in scenario.labels()
    }


def test_what_was_not_played_yet_counts_neither_as_missed_nor_as_honest() -> None:
    truth = Truth()
    truth.requests.update({"a": [False, True], "b": [False, False], "x": [False]})
    so_far = truth.so_far([label("a", "extraction", "one"), label("b", "scraping", "two"), label("x"), label("y")])
    assert [(found.account, found.pattern) for found in so_far] == [("a", "extraction"), ("b", ""), ("x", "")]
