"""Erasing an account from what fingerprints and campaigns remember of it; the campaign goes on without it."""

from __future__ import annotations

import numpy as np
from relay_traffic import DAY, START, Traffic, by_name

from siphonwatch.models.account.request import blank
from siphonwatch.models.campaign.edges import Spotter
from siphonwatch.models.campaign.windows import sample_names
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.coordinator import Coordinator
from siphonwatch.models.engine.erase import CAMPAIGNS, FINGERPRINTS, SUSPECTS, Erased
from siphonwatch.models.evidence.cases import ERASED
from siphonwatch.streams.contracts.alert import to_alert


def test_a_member_is_forgotten_everywhere_and_its_campaign_goes_on() -> None:
    traffic = Traffic()
    members = traffic.hydra(30, 26)
    requests = traffic.requests()
    places = Spotter().pick(requests, np.zeros(len(requests), np.int64), requests["time"])
    coordinator = Coordinator(ScorerConfig())
    assert coordinator.score(requests[places], places)
    (gone, *others) = sorted(set(members) & coordinator.suspicion().keys())
    counted = coordinator.erase([gone], remove=False)
    assert gone in coordinator.suspicion() and min(counted.counts.values()) > 0
    cases = len(coordinator.cases)
    rows = coordinator.table.rows[coordinator.table.used()]
    coordinator.table.take_dirty()

    erased = coordinator.erase([gone])
    assert erased.counts == counted.counts and erased.counts.keys() == {FINGERPRINTS, CAMPAIGNS, SUSPECTS}
    assert coordinator.table.take_dirty(), "the pages are written anew"
    assert gone not in coordinator.suspicion() and set(others) <= coordinator.suspicion().keys()
    assert len(coordinator.cases) == cases
    after = coordinator.table.rows[coordinator.table.used()]
    name = by_name(gone)
    for field, value in (
        ("sample", np.uint32(name >> np.uint64(32)) | np.uint32(1)),
        ("held_by", name),
        ("last_account", name),
    ):
        assert not (after[field] == value).any()
    assert (rows["sum"] == after["sum"]).all(), "what it added to aggregates stays"
    assert not any(coordinator.erase([gone]).counts.values())
    parts = [part for part in coordinator.snapshot().values() if isinstance(part, bytes)]
    assert parts and not any(gone.encode() in part for part in parts)


def test_a_campaign_all_of_whose_accounts_are_erased_ends_without_them() -> None:
    traffic = Traffic()
    members = traffic.hydra(30, 26)
    requests = traffic.requests()
    places = Spotter().pick(requests, np.zeros(len(requests), np.int64), requests["time"])
    coordinator = Coordinator(ScorerConfig())
    assert coordinator.score(requests[places], places)
    coordinator.erase(members)
    end = Traffic()
    for late in range(12):
        end.send(f"late-{late}", [START + 12 * DAY], headers=1, agent=2)
    (closed,) = coordinator.score(end.requests(), np.arange(12) + 10**9)
    assert closed.kind == "close" and closed.accounts == [ERASED]
    assert to_alert(closed).own.accounts == [ERASED]


def test_whose_walks_were_handed_round_is_forgotten() -> None:
    request = np.repeat(blank(), 1)
    request["rest"], request["route"], request["item"], request["resource"] = 1, 5, 900, 7
    request["page"], request["trail_new"], request["account_hash"] = -1, 1.0, by_name("gone")
    coordinator = Coordinator(ScorerConfig())
    coordinator.score(request, np.arange(1))
    mark = sample_names(np.array([by_name("gone")], np.uint64))[0]
    assert (coordinator.table.rows["walk_by"] == mark).any()
    coordinator.erase(["gone"])
    assert not (coordinator.table.rows["walk_by"] == mark).any()
    assert not any(coordinator.erase(["gone"]).counts.values())


def test_counts_add_up() -> None:
    assert (Erased({"rows": 1}) + Erased({"rows": 2, "cases": 3})).counts == {"rows": 3, "cases": 3}
