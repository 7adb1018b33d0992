"""A relay's campaign is found with its members; whoever merely shares a client, a product or an address is spared."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from relay_traffic import DAY, START, Traffic

from siphonwatch.models.account.request import Array
from siphonwatch.models.campaign.edges import CAP, TOTAL, Spotter
from siphonwatch.models.campaign.features import INDEX
from siphonwatch.models.campaign.members import KEPT, NAMED, Campaign
from siphonwatch.models.engine.campaigns import WATCHED
from siphonwatch.models.engine.config import ScorerConfig
from siphonwatch.models.engine.coordinator import Coordinator
from siphonwatch.models.engine.patterns import detector
from siphonwatch.models.evidence.cases import Finding

PRODUCT = {"headers": 7, "agent": 8, "system": 9, "temperature": 1.0, "max_tokens": 2048, "model": 5}
SDK = {"headers": 7, "agent": 8, "model": 5}


def sighted(requests: Array) -> tuple[Array, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    places = Spotter().pick(requests, np.zeros(len(requests), np.int64), requests["time"])
    return requests[places], places


def coordinate(requests: Array) -> list[Finding]:
    return Coordinator(ScorerConfig()).score(*sighted(requests))


def named(findings: list[Finding]) -> set[str]:
    return {account for finding in findings for account in finding.accounts}


HYDRAS: dict[str, Callable[[Traffic], list[str]]] = {
    "round robin over 30": lambda t: t.hydra(30, 26),
    "round robin over 15": lambda t: t.hydra(15, 20),
    "round robin over 300 for a day": lambda t: t.hydra(300, 26, 1),
    "2,000 accounts at 8 a day": lambda t: t.hydra(2000, 8, 1),
    "40 accounts at 4 a day": lambda t: t.hydra(40, 4),
    "accounts at random": lambda t: t.hydra(40, 20, hand="random"),
    "one sitting a day each": lambda t: t.hydra(60, 22, hand="sittings"),
    "one account after the other": lambda t: t.hydra(100, 10, hand="turns"),
    "user agents that rotate": lambda t: t.hydra(30, 20, rotate=True),
    "one address and batons": lambda t: t.hydra(30, 20, net=5, batons=0.03),
    "no addresses in the log": lambda t: t.hydra(30, 20, net=0),
    "sessions made up": lambda t: t.hydra(30, 20, session=5),
    "no parameters and no system prompt": lambda t: t.hydra(30, 20, temperature=np.nan, max_tokens=0, system=0),
    "round robin over 3": lambda t: t.hydra(3, 12, 5),
    "at random over 3": lambda t: t.hydra(3, 26, hand="random"),
    "round robin over 6": lambda t: t.hydra(6, 12),
    "at random over 9": lambda t: t.hydra(9, 20, hand="random"),
    "one template": lambda t: t.hydra(30, 20, spread=0.3, template=5),
}


@pytest.mark.parametrize("case", HYDRAS)
def test_a_campaign_is_found_with_nine_in_ten_of_its_members(case: str) -> None:
    traffic = Traffic(3)
    members = set(HYDRAS[case](traffic))
    findings = coordinate(traffic.requests())
    assert len({f.case for f in findings if f.kind == "open"}) in (1, 2)
    assert len(named(findings) & members) >= 0.9 * len(members)
    assert named(findings) <= members


def cron(traffic: Traffic, **fields: object) -> None:
    """An agency's nightly job for each of its clients: equal sizes, one template, their documents."""
    for i in range(40):
        times = np.concatenate([START + d * DAY + 7200 + np.arange(20) * 9.0 + i * 200 for d in range(3)])
        traffic.send(f"client-{i}", times, **(PRODUCT | {"template": 77, "spread": 0.4, "subject": 1} | fields))


def batches(traffic: Traffic, programs: int) -> None:
    """Programs of like sizes that each work through their own batches, some of them at the same time."""
    for i in range(programs):
        begins = START + traffic.rng.uniform(0, 4 * DAY, 12)
        times = (begins[:, None] + np.arange(40) * traffic.rng.uniform(4, 9)).ravel()
        traffic.send(f"program-{i}", times, **PRODUCT)


LOOKALIKES: dict[str, Callable[[Traffic], None]] = {
    "a popular SDK with its defaults": lambda t: t.people(600, 8, **SDK),
    "a popular SDK, conversations": lambda t: t.people(600, 8, conversation=0.35, **SDK),
    "a popular SDK, thousands of light users": lambda t: t.people(3000, 1, **SDK),
    "sixty accounts behind one address": lambda t: t.people(60, 12, net=3, **PRODUCT),
    "a product's customers, from its server": lambda t: t.people(150, 15, sigma=0.8, spread=0.5, net=3, **PRODUCT),
    "a product's customers, each from home": lambda t: t.people(150, 15, sigma=0.8, spread=0.5, **PRODUCT),
    "customers of like sizes": lambda t: t.people(150, 15, sigma=0.6, spread=0.5, **PRODUCT),
    "a chat product": lambda t: t.people(150, 15, sigma=0.8, conversation=0.5, **PRODUCT),
    "a new release of a mobile app": lambda t: t.people(2000, 1.5, sigma=0.8, repeats=0.3, **PRODUCT),
    "an agency's clients": lambda t: cron(t, net=3),
    "an agency's clients, from many addresses": lambda t: cron(t, net=np.arange(60) % 7 + 1),
    "five customers of a product": lambda t: t.people(5, 60, 5, sigma=0.8, **PRODUCT),
    "three programs that run batches": lambda t: batches(t, 3),
    "a program and its spare": lambda t: batches(t, 2),
    "one account only": lambda t: t.people(1, 400, **PRODUCT),
}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("case", LOOKALIKES)
def test_who_shares_a_client_and_no_list_is_spared(case: str, seed: int) -> None:
    traffic = Traffic(seed)
    LOOKALIKES[case](traffic)
    assert coordinate(traffic.requests()) == []


@pytest.mark.parametrize("case", ["round robin over 30", "accounts at random", "one address and batons"])
def test_a_campaign_of_thirty_is_told_within_its_first_200_requests(case: str) -> None:
    traffic = Traffic(5)
    HYDRAS[case](traffic)
    requests = traffic.requests()
    first = coordinate(requests)[0]
    assert (requests["time"] <= first.time).sum() < 200


def test_bystanders_with_the_same_client_are_not_named() -> None:
    traffic = Traffic(7)
    members = set(traffic.hydra(60, 24))
    heavy = np.sort(START + traffic.rng.uniform(0, 3 * DAY, 600))
    traffic.send("heavy", heavy, **PRODUCT)
    traffic.send("curious", [START + 2 * DAY], **PRODUCT)
    found = named(coordinate(traffic.requests()))
    assert len(found & members) >= 54
    assert found <= members


def test_whose_client_and_prompt_a_relay_copies_is_not_named_for_it() -> None:
    """People who were there before go on with their conversations. By loads alone seven of the twelve are named."""
    traffic = Traffic(8)
    traffic.people(12, 10, 4, sigma=0.8, repeats=0.0, conversation=0.6, **PRODUCT)
    members = set(traffic.hydra(36, 20, start=START + DAY))
    found = named(coordinate(traffic.requests()))
    assert found >= members
    assert len(found - members) <= 2


def campaign_of(talkers: int, loads: int, members: int = 12) -> Campaign:
    """Accounts that asked ten times each, and the first ones, who hold conversations, so often."""
    campaign = Campaign(1, 0.0)
    for i in range(members):
        for k in range(loads if i < talkers else 10):
            campaign.add(f"member-{i}", float(k))
        for _ in range(8 if i < talkers else 0):
            campaign.talk(f"member-{i}")
    return campaign


def test_who_talks_is_a_bystander_where_most_hold_no_conversations() -> None:
    campaign = campaign_of(5, 5)
    campaign.talk("nobody")
    assert sorted(campaign.fitting()) == sorted(f"member-{i}" for i in range(5, 12))
    assert "nobody" not in campaign.members


def test_who_talks_beside_its_part_of_the_list_is_a_member() -> None:
    assert len(campaign_of(5, 9).fitting()) == 12


def test_who_talks_is_a_member_where_conversations_are_what_is_served_unless_the_card_says_otherwise() -> None:
    campaign = campaign_of(9, 5)
    assert len(campaign.fitting()) == 12
    campaign.quiet = True
    assert sorted(campaign.fitting()) == ["member-10", "member-11", "member-9"]


def test_a_pool_that_follows_under_other_clients_is_told_though_the_first_was() -> None:
    traffic = Traffic(45)
    traffic.hydra(3, 200, 1, name="first", headers=71)
    second = set(traffic.hydra(3, 200, 2, name="second", headers=72, start=START + DAY))
    for part in traffic._parts:
        if b"second-2" in part["account"][0].tobytes():
            part["headers"] = 73
    assert named(coordinate(traffic.requests())) >= second


def test_members_that_join_later_are_told_in_an_update() -> None:
    traffic = Traffic(9)
    first = set(traffic.hydra(40, 24, 3, name="first"))
    later = set(traffic.hydra(40, 24, 2, name="later", start=START + DAY))
    findings = coordinate(traffic.requests())
    opened = [f for f in findings if f.kind == "open"]
    assert set(opened[0].accounts) <= first
    assert len(named(findings) & later) >= 36
    joined = next(f for f in findings if set(f.accounts) & later)
    assert joined.case == opened[0].case
    assert joined.kind == "update"
    assert joined.time < START + 1.5 * DAY


def test_a_campaign_that_ends_is_closed_with_its_members() -> None:
    traffic = Traffic(11)
    members = traffic.hydra(30, 26, 2)
    traffic.people(20, 5, 9, name="others", headers=1, agent=2, model=5)
    findings = coordinate(traffic.requests())
    assert [f.kind for f in findings if f.kind != "update"] == ["open", "close"]
    assert set(findings[-1].accounts) == set(members)


def test_two_fingerprints_of_one_campaign_make_one_case() -> None:
    traffic = Traffic(13)
    traffic.hydra(50, 24)
    assert len({f.case for f in coordinate(traffic.requests())}) == 1


def test_a_campaign_makes_its_members_suspicious_and_nobody_else() -> None:
    traffic = Traffic(15)
    members = traffic.hydra(30, 26)
    traffic.people(100, 8, **SDK)
    coordinator = Coordinator(ScorerConfig())
    coordinator.score(*sighted(traffic.requests()))
    suspicion = coordinator.suspicion()
    assert set(suspicion) == set(members)
    assert min(suspicion.values()) > 6.0


def test_the_signals_count_the_accounts_and_the_counterfactual_holds() -> None:
    traffic = Traffic(17)
    traffic.hydra(40, 24)
    finding = coordinate(traffic.requests())[0]
    signals = {signal.name: signal for signal in finding.signals}
    assert 30 < signals["accounts"].observed < 50
    assert finding.counterfactual.startswith("would be no evidence with ")
    assert finding.samples
    assert finding.log_e >= finding.bar


def test_every_claim_of_an_explanation_is_true_when_scored_again() -> None:
    card = detector("campaign")
    values = np.zeros(len(INDEX), np.float32)
    seen = {"accounts": 60, "per_account": 4, "disparity": 1.2, "new_content": 0.8, "breadth": 0.8, "passing": 0.4}
    for name, value in (seen | {"places": 0.4, "batons": 2, "seen": 240, "sittings": 0.1}).items():
        values[INDEX[name]] = value
    explanation = card.explain(values, 0.5)
    for signal in explanation.signals:
        changed = values.copy()
        changed[INDEX[signal.name]] = signal.baseline
        assert card.score(values[None])[0] - card.score(changed[None])[0] >= signal.contribution - 1e-6
    text = explanation.counterfactual.removeprefix("would be no evidence with ")
    name, _, at = text.partition(" ")
    changed = values.copy()
    changed[INDEX[name]] = float(at.split()[-1])
    assert card.score(changed[None])[0] <= 0.5 + 0.02


def test_a_score_of_other_columns_is_refused() -> None:
    with pytest.raises(ValueError, match="features of campaigns are"):
        detector("campaign").score(np.zeros((2, 3), np.float32))


JUNK: dict[str, dict[str, object]] = {
    "held back": {"status": 429},
    "in conversations of another kind": {"turns": 5, "tools": 1},
    "with other parameters": {"max_tokens": 77},
    "by another client": {"headers": 99, "agent": 98, "system": 0, "temperature": np.nan, "max_tokens": 0},
}


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("each", [16, 60])
def test_junk_that_every_member_sends_first_in_an_hour_hides_no_campaign(junk: str, each: int) -> None:
    traffic = Traffic(21)
    members = set(traffic.hydra(60, 26, 1))
    shared = {"headers": 7, "agent": 8, "system": 9, "temperature": 1.0, "max_tokens": 2048, "model": 5}
    for member in members:
        for hour in range(24):
            times = START + hour * 3600 + np.linspace(0.0, 20.0, each)
            traffic.send(member, times, **(shared | {"content": 4} | JUNK[junk]))
    found = named(coordinate(traffic.requests())) & members
    assert len(found) >= 0.9 * len(members)


def test_a_busy_account_is_sighted_ever_thinner_but_always() -> None:
    traffic = Traffic(1)
    traffic.send("busy", START + np.arange(3600.0), max_tokens=5)
    requests, _ = sighted(traffic.requests())
    assert CAP < len(requests) <= 8 * CAP
    assert requests["time"].max() > START + 1800


def test_an_account_that_draws_parameters_anew_is_thinned_as_a_whole() -> None:
    traffic = Traffic(1)
    for i in range(3600):
        traffic.send("busy", [START + i], max_tokens=i + 1)
    requests, _ = sighted(traffic.requests())
    assert TOTAL < len(requests) <= 3 * TOTAL


def test_a_crowd_of_one_day_blinds_a_fingerprint_for_two_days_at_most() -> None:
    traffic = Traffic(31)
    traffic.people(6000, 6, 1, name="crowd", **SDK)
    members = set(traffic.hydra(60, 26, 4, start=START + 2.5 * DAY, **SDK, system=0, temperature=np.nan, max_tokens=0))
    findings = coordinate(traffic.requests())
    opened = [f.time for f in findings if f.kind == "open"]
    assert opened and min(opened) < START + 4.5 * DAY
    assert len(named(findings) & members) >= 0.9 * len(members)


def test_filling_the_watch_list_keeps_no_campaign_out_and_is_counted() -> None:
    traffic = Traffic(41)
    for k in range(WATCHED // 2 + 100):
        traffic.hydra(15, 50, 0.04, name=f"junk-{k}", max_tokens=10 + k, agent=1000 + k)
    members = set(traffic.hydra(60, 26, 1, start=START + 4000))
    coordinator = Coordinator(ScorerConfig())
    findings = coordinator.score(*sighted(traffic.requests()))
    (bound,) = (bound for bound in coordinator.bounds() if bound.name == "watched_fingerprints")
    assert bound.used == bound.limit == WATCHED and bound.dropped > 0
    assert len(named(findings) & members) >= 0.9 * len(members)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_counterfactual_applied_as_printed_undoes_the_evidence(data: st.DataObject) -> None:
    card = detector("campaign")
    values = np.zeros(len(INDEX), np.float32)
    ranges = {
        "accounts": (2, 3000), "per_account": (1.4, 30), "disparity": (1.0, 1.75), "new_content": (0.25, 1),
        "conversation": (0, 0.25), "breadth": (0.25, 1), "passing": (0, 1), "turn_taking": (0, 1.5),
        "places": (0, 1), "batons": (0, 9),
        "seen": (30, 5000), "session": (0, 1), "sittings": (0.125, 0.4375),
    }  # fmt: skip
    for name, (low, high) in ranges.items():
        values[INDEX[name]] = data.draw(st.floats(low, high))
    level = float(card.score(values[None])[0]) * data.draw(st.floats(0.3, 0.999))
    text = card.explain(values, level).counterfactual
    if level > 0 and "no single feature" not in text:
        name, _, at = text.removeprefix("would be no evidence with ").partition(" ")
        values[INDEX[name]] = float(at.split()[-1])
        assert card.score(values[None])[0] < level


@pytest.mark.parametrize(
    "fields", [{"rest": 1}, {"status": 500}, {"template": 0}, {"turns": 0}, {"headers": 0, "agent": 0}]
)
def test_what_says_nothing_about_a_campaign_is_not_sighted(fields: dict[str, int]) -> None:
    traffic = Traffic(1)
    traffic.send("a", [START], **({"headers": 3, "agent": 4} | fields))
    assert len(sighted(traffic.requests())[0]) == 0


def test_a_campaign_remembers_and_names_a_bounded_number_of_accounts() -> None:
    campaign = Campaign(1, START)
    for i in range(KEPT + 2000):
        for turn in range(3):
            campaign.add(f"a{i}", START + i + turn)
    assert len(campaign.members) <= KEPT
    assert len(campaign.name()) == NAMED
    assert f"a{KEPT + 1999}" in campaign.members


def test_a_sighting_that_comes_months_late_as_its_fingerprints_first_account_ends_nothing() -> None:
    traffic = Traffic(1)
    traffic.send("talks", [START], turns=3, **PRODUCT)
    traffic.send("late", [START - 120 * DAY], **PRODUCT)
    coordinator = Coordinator(ScorerConfig(max_ahead=1e9))
    requests = traffic.requests()[::-1].copy()
    assert coordinator.score(requests, np.arange(2)) == []
    assert coordinator.now >= START - 120 * DAY


def test_of_a_campaigns_accounts_those_rank_first_whose_part_is_as_large_as_the_others() -> None:
    campaign = Campaign(1, 0.0)
    for account, requests in {"a": 40, "b": 50, "c": 60, "bystander": 5}.items():
        for second in range(requests):
            campaign.add(account, float(second))
    shares = campaign.shares(["a", "b", "c", "bystander", "forgotten"])
    assert shares["b"] == shares["c"] == shares["forgotten"] == 1.0
    assert shares["bystander"] < 0.2 < shares["a"] < 1.0
    assert campaign.shares([]) == {}


def test_a_bystander_in_a_campaigns_case_is_less_suspicious_than_its_members() -> None:
    traffic = Traffic(seed=5)
    members = traffic.hydra(30, 26)
    rare = traffic.hydra(1, 8, name="rare")
    coordinator = Coordinator(ScorerConfig())
    findings = coordinator.score(*sighted(traffic.requests()))
    suspicion = coordinator.suspicion()
    assert set(rare) <= named(findings)
    assert max(suspicion[account] for account in rare) < min(suspicion[account] for account in members)
