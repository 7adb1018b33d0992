"""A pool that takes the place of one that fell silent is told in its case; an alert says who shares what since when."""

from __future__ import annotations

import numpy as np
import pytest
from relay_traffic import DAY, START, Traffic
from test_relay_campaigns import PRODUCT, coordinate, named

from siphonwatch.models.account.request import blank
from siphonwatch.models.campaign.members import FEWEST, HUSH, Campaign
from siphonwatch.models.campaign.shared import alike, parts_of
from siphonwatch.streams.contracts.alert import decode, encode, to_alert

PARTS: dict[str, dict[str, object]] = {
    "the same in all": {},
    "another client": {"headers": 71, "agent": 72},
    "another system prompt": {"system": 73},
    "another model": {"model": 74},
}


@pytest.mark.parametrize("changed", PARTS)
def test_a_pool_that_takes_over_is_told_in_the_case_of_the_one_before(changed: str) -> None:
    traffic = Traffic(31)
    first = set(traffic.hydra(5, 400, 1, name="first"))
    second = set(traffic.hydra(6, 400, 1.5, name="second", start=START + DAY + 600, **PARTS[changed]))
    requests = traffic.requests()
    findings = coordinate(requests)
    assert len({f.case for f in findings}) == 1
    told = next(f for f in findings if set(f.accounts) & second)
    assert told.kind == "update" and set(told.follows) == first and set(told.accounts) - set(told.follows) <= second
    sent = requests["time"][requests["time"] > START + DAY]
    assert (sent < told.time).sum() < 1000
    assert named(findings) >= first | second


def test_a_pool_with_nothing_in_common_or_beside_one_at_work_has_a_case_of_its_own() -> None:
    traffic = Traffic(32)
    traffic.hydra(5, 400, 1, name="first")
    other = {"headers": 71, "agent": 72, "system": 73, "model": 74, "temperature": 0.2, "max_tokens": 77}
    traffic.hydra(6, 400, 1.5, name="second", start=START + DAY + 600, **other)
    findings = coordinate(traffic.requests())
    assert len({f.case for f in findings if f.kind == "open"}) == 2 and not any(f.follows for f in findings)
    beside = Traffic(33)
    beside.hydra(5, 400, 3, name="first")
    beside.hydra(6, 400, 1.5, name="second", start=START + DAY, system=73)
    findings = coordinate(beside.requests())
    assert len({f.case for f in findings if f.kind == "open"}) == 2 and not any(f.follows for f in findings)


def test_a_pool_has_fallen_silent_once_it_missed_what_it_would_have_sent() -> None:
    campaign = Campaign(1, 0.0)
    for i in range(60):
        campaign.add(f"a{i % FEWEST}", i * 600.0)
    end = 59 * 600.0
    assert campaign.hush(campaign.members, end + HUSH) == -1.0, "at six an hour twenty take longer than an hour"
    assert campaign.hush(campaign.members, end + 20 * 600.0) == pytest.approx(end)
    assert campaign.hush(["a0", "a1"], end + DAY) == -1.0, "fewer than a pool"


def test_a_pool_that_works_again_is_no_pool_that_fell_silent() -> None:
    campaign = Campaign(1, 0.0)
    for i in range(60):
        campaign.add(f"a{i % FEWEST}", i * 600.0)
    campaign.name()
    campaign.fell_silent = 59 * 600.0
    for i in range(60):
        campaign.add(f"b{i % FEWEST}", 2 * DAY + i * 600.0)
    assert campaign.before() == ["a0", "a1", "a2"]
    campaign.add("a1", 2 * DAY)
    assert campaign.before() == ["a0", "a2"]


def test_what_joined_a_case_is_known_as_it_was_then() -> None:
    case, other = Campaign(1, 0.0), Campaign(1, 0.0)
    for i in range(3):
        other.add("x", float(i))
    case.take(other, ["x"])
    other.add("x", 9.0)
    assert case.joined["x"].seen == 3, "as after a restart, which keeps two of it"


def test_a_quiet_night_is_no_end_and_stragglers_are_no_pool() -> None:
    campaign = Campaign(1, 0.0)
    for i in range(400):
        campaign.add(f"a{i % 4}", i * 60.0)
    for i in range(20):
        campaign.add(f"b{i % 2}", 400 * 60.0 + 600 + i * 300.0)
    assert {name for name in campaign.fitting() if name.startswith("b")} == set(), "two accounts are no pool"
    for i in range(30):
        campaign.add(f"c{i % 3}", 400 * 60.0 + 700 + i * 300.0)
    assert {"c0", "c1", "c2"} <= set(campaign.fitting())


def test_an_alert_of_a_campaign_says_what_they_share_and_why_each_is_in() -> None:
    traffic = Traffic(34)
    members = traffic.hydra(30, 26, template=5)
    alert = decode(encode(to_alert(coordinate(traffic.requests())[-1])))
    own = alert.own
    assert own.shared[-3:] == ["temperature 1", "max_tokens 2048", "one template (100 %)"]
    assert "system prompt" in own.shared and ("user agent" in own.shared) != ("model" in own.shared)
    assert {part.account for part in own.members} == set(members) == set(own.accounts)
    assert sum(part.share for part in own.members) == pytest.approx(1.0)
    assert all(part.requests >= 3 and "2026-01-0" in part.joined for part in own.members)
    assert "they share " in alert.data.message and "user" not in alert.data.message.split("they share ")[0]


def test_parts_are_compared_where_both_have_them() -> None:
    one, other = blank()[0], blank()[0]
    assert parts_of(one, 0.0) == {} and alike(parts_of(one, 0.0), parts_of(other, 0.0)) == 0
    for q in (one, other):
        for name, value in PRODUCT.items():
            q[name] = value
    assert alike(parts_of(one, 0.2), parts_of(other, 0.2)) == 4
    other["headers"], one["template"], other["template"] = 1, 6, 6
    assert alike(parts_of(one, 0.2), parts_of(other, 0.2)) == 3 and alike(parts_of(one, 0.7), parts_of(other, 0.7)) == 4
    reads = np.repeat(blank(), 2)
    reads["rest"], reads["route"] = 1, 5
    assert alike(parts_of(reads[0], 0.0), parts_of(reads[1], 0.0)) == 1, "no client is no common client"
