"""A collection copied through several accounts is found with its members; customers who read what is theirs are not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from collection_traffic import ITEMS, LISTING, LOOKALIKES, Reads
from relay_traffic import DAY

from siphonwatch.models.campaign.edges import READS, TOTAL_READS, Spotter, fingerprints
from siphonwatch.models.campaign.members import CROWD, Campaign
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.coordinator import Coordinator
from siphonwatch.models.engine.scorer import Scorer
from siphonwatch.models.evidence.cases import Finding


def coordinate(reads: Reads) -> list[Finding]:
    requests = reads.requests()
    offsets = np.arange(len(requests))
    scorer = Scorer(ScorerConfig())
    scorer.score(requests, offsets)
    return Coordinator(ScorerConfig()).score(requests[scorer.sighted], offsets[scorer.sighted])


def named(findings: list[Finding]) -> set[str]:
    return {account for finding in findings for account in finding.accounts}


def walk(n: int, stride: int = 1) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return 70_000 + stride * np.arange(n)


def shuffled(reads: Reads, n: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """A range in blocks of 60, each in no order."""
    blocks = walk(n).reshape(-1, 60)
    return np.concatenate([reads.rng.permutation(block) for block in blocks])


POOLS: dict[str, Callable[[Reads], list[str]]] = {
    "over 3": lambda r: r.pool(3, walk(400)),
    "over 4": lambda r: r.pool(4, walk(400)),
    "over 16": lambda r: r.pool(16, walk(600)),
    "over 64": lambda r: r.pool(64, walk(900)),
    "in turn": lambda r: r.pool(8, walk(500), deal="round"),
    "by a hash of what is asked for": lambda r: r.pool(16, walk(600), deal="hash"),
    "in strides": lambda r: r.pool(16, walk(600, 10)),
    "backwards": lambda r: r.pool(16, walk(600)[::-1]),
    "in shuffled blocks": lambda r: r.pool(16, shuffled(r, 600)),
    "under a new client each time": lambda r: r.pool(16, walk(900), rotate=True),
    "at a slow pace": lambda r: r.pool(16, walk(600), pause=(60.0, 400.0)),
    "at a pace that chance draws": lambda r: r.pool(16, walk(600), pause=(0.0, 400.0)),
    "page after page": lambda r: r.pool(16, np.arange(600) % 300, route=LISTING),
    "cursor after cursor": lambda r: r.pool(8, np.arange(400), route=LISTING, cursors=True),
    "by guesses": lambda r: r.pool(16, r.rng.integers(10**7, 10**8, 600), status=r.rng.choice([200, 404, 404], 600)),
    "a list in no order, by one clock": lambda r: r.pool(16, r.rng.integers(0, 2_000_000, 600)),
}  # fmt: skip


@pytest.mark.parametrize("case", POOLS)
def test_a_pool_that_copies_a_collection_is_found_with_most_of_its_members(case: str) -> None:
    reads = Reads(3)
    members = set(POOLS[case](reads))
    findings = coordinate(reads)
    assert {f.pattern for f in findings} == {"swarm"}
    assert len(named(findings) & members) >= 0.85 * len(members) and named(findings) <= members
    assert all(f.log_e >= f.bar for f in findings if f.kind == "open")


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("case", LOOKALIKES)
def test_customers_who_read_what_is_theirs_are_spared(case: str, seed: int) -> None:
    reads = Reads(seed)
    LOOKALIKES[case](reads)
    assert coordinate(reads) == []


@pytest.mark.parametrize("crowd", ["merchants", "partners", "backups", "apps"])
def test_a_pool_among_customers_with_the_same_client_is_named_without_them(crowd: str) -> None:
    reads = Reads(5)
    LOOKALIKES[crowd](reads)
    members = set(reads.pool(16, walk(900)))
    found = named(coordinate(reads))
    assert len(found & members) >= 14
    assert len(found - members) <= 0.05 * len(found)


def test_an_alert_says_what_the_accounts_share_and_by_what_they_were_seen() -> None:
    reads = Reads(7)
    reads.pool(16, walk(600))
    first = coordinate(reads)[0]
    assert first.shared[0] == "one route"
    assert {"handed", "disparity"} & {signal.name for signal in first.signals}
    assert first.members and sum(member.share for member in first.members) == pytest.approx(1.0)
    assert first.counterfactual.startswith("would be no evidence with ")


def test_polls_writes_and_what_is_unchanged_are_not_sighted() -> None:
    reads = Reads(9)
    times = reads.day(400)
    reads.send("polls", times, np.arange(400) % 20)
    reads.send("writes", times, np.arange(400), op=77)
    reads.send("unchanged", times, np.arange(400), status=304)
    reads.send("walks", times, np.arange(1000, 1400))
    requests = reads.requests()
    scorer = Scorer(ScorerConfig())
    scorer.score(requests, np.arange(len(requests)))
    seen = requests["account"][scorer.sighted].view("S64").ravel().tolist()
    assert set(seen) <= {b"polls", b"walks"} and seen.count(b"polls") <= 40 and seen.count(b"walks") >= 300


def test_what_a_thinned_account_is_sighted_with_is_chosen_by_the_resource() -> None:
    reads = Reads(11)
    times = np.linspace(reads.day(1)[0], reads.day(1)[0] + 1800, 2000)
    for account in ("one", "other"):
        reads.send(account, times, np.arange(2000))
    requests = reads.requests()
    requests["unread"], requests["trail_new"] = 1.0, 1.0
    places = Spotter().pick(requests, np.zeros(len(requests), np.int64), np.zeros(len(requests)))
    assert READS < len(places) / 2 < 8 * READS
    late = requests[places[places > len(requests) // 2]]
    kept = [set(late["item"][late["account_hash"] == h].tolist()) for h in np.unique(late["account_hash"])]
    assert len(kept[0] & kept[1]) >= 0.8 * len(kept[0]), "so that who asks for the same is seen to"
    assert (late["stands_for"] >= 4).all()


def test_an_account_that_asks_for_ever_new_routes_is_thinned_on_the_whole() -> None:
    reads = Reads(15)
    reads.send("scans", reads.day(20_000, 0.02), np.arange(20_000))
    requests = reads.requests()
    requests["unread"], requests["trail_new"], requests["route"] = 1.0, 1.0, np.arange(20_000) + 1
    places = Spotter().pick(requests, np.zeros(len(requests), np.int64), np.zeros(len(requests)))
    assert TOTAL_READS < len(places) < 4 * TOTAL_READS
    assert (requests["stands_for"][places[-100:]] >= 4).all()


def test_where_other_reads_are_evidence_from_now_on_who_is_at_work_is_counted_from_now_on() -> None:
    campaign = Campaign(1, 0.0)
    campaign.add("early", 10 * DAY)
    campaign.begin_anew(True)
    campaign.add("late", DAY)  # the clock was set back
    assert campaign.fitting() == ["late"]


def pool_and(reads: int, returns: bool, members: int = 12) -> Campaign:
    """A pool that hands a walk round, each account with four reads, and one account more with so many."""
    campaign = Campaign(1, 0.0, together=True)
    for i in range(members):
        for k in range(4):
            campaign.add(f"member-{i}", float(k))
    for k in range(reads):
        campaign.add("other", float(k), returns and k == 0)
    return campaign


def test_who_comes_back_to_what_it_read_is_named_for_a_load_like_the_others_alone() -> None:
    assert "other" in pool_and(2, returns=False).fitting()
    assert "other" not in pool_and(2, returns=True).fitting()
    assert "other" in pool_and(4, returns=True).fitting()


def test_who_was_seen_once_in_a_crowd_that_joins_a_case_is_not_named() -> None:
    crowd = Campaign(1, 0.0, together=True, lead=7)
    for i in range(CROWD):
        crowd.add(f"account-{i}", 0.0)
    crowd.add("account-0", 1.0)
    assert crowd.fitting() == ["account-0"]
    crowd.lead = 0
    assert len(crowd.fitting()) == CROWD, "whoever leads a case is named from one on"


def test_reads_of_one_place_meet_whatever_their_client() -> None:
    reads = Reads(13)
    reads.send("a", reads.day(2), [4096, 8191], agent=1)
    reads.send("b", reads.day(2), [5000, 9000], agent=2)
    reads.send("c", reads.day(3), [17, 20, 70], route=LISTING, agent=3)
    reads.send("d", reads.day(1), [5], route=ITEMS + 50, agent=1)
    requests = np.concatenate(reads._parts)
    group, edges = fingerprints(requests)
    assert len(set(group[:4].tolist())) == 1 and len(set(group.tolist())) == 3
    assert edges[0, 1] == edges[1, 1] == edges[2, 1] != edges[3, 1] and edges[0, 0] != edges[2, 0]
    assert edges[4, 1] == edges[5, 1] != edges[6, 1], "people read the first pages of a listing"
    assert requests["time"].max() < requests["time"].min() + 2 * DAY
