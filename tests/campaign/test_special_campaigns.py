"""Harvests and cleanings are named as such, from one group comes one case, and each card keeps its level for itself."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from relay_traffic import DAY, START, Traffic
from test_relay_campaigns import PRODUCT, coordinate, named

from siphonwatch.models.account.request import blank
from siphonwatch.models.campaign.evidence import weigh
from siphonwatch.models.campaign.row import CAMPAIGN, MAX_CARDS
from siphonwatch.models.detect import CardError, registry
from siphonwatch.models.engine.patterns import detectors
from siphonwatch.models.evidence.budget import NUMBERED, make_budget
from siphonwatch.models.evidence.places import Place, seats

CARDS = detectors("campaign")


def chats(
    traffic: Traffic, accounts: int = 60, per_day: float = 8.0, name: str = "front", **fields: object
) -> list[str]:
    """A rival's users, each chat at the account whose turn it is: some turns, some tools, by day."""
    members = [f"{name}-{i}" for i in range(accounts)]
    n = int(accounts * per_day * 4 / 2)
    times = START + np.sort(traffic.rng.integers(0, 4, n) * DAY + traffic.rng.normal(15 * 3600.0, 3 * 3600.0, n))
    who = traffic.rng.permutation(np.arange(n) % accounts)
    more = {"headers": 7, "agent": 8, "temperature": 0.7, "model": 5, "stream": 1} | fields
    for i, member in enumerate(members):
        mine = times[who == i]
        traffic.send(member, mine, **more)
        again = mine[traffic.rng.random(len(mine)) < 0.7] + 60.0
        traffic.send(member, again, turns=3, **more)
    return members


GROUPS: dict[str, tuple[str, Callable[[Traffic], list[str]]]] = {
    "chats of a rival's users": ("harvest", chats),
    "the same with a little of everything": ("harvest", lambda t: chats(t, 100, 6.0, system=9, tools=1)),
    "traces to be tidied": ("cleaning", lambda t: t.hydra(30, 200, 1, chars=4000, tokens_out=700)),
    "traces over few accounts": ("cleaning", lambda t: t.hydra(4, 280, 2, chars=2500, chars_out=1500)),
    "one list of questions": ("campaign", lambda t: t.hydra(30, 26)),
    "long texts that are summed up": ("campaign", lambda t: t.hydra(30, 26, chars=4000, tokens_out=90)),
    "questions that are worked out at length": ("campaign", lambda t: t.hydra(30, 26, chars=400, tokens_out=2000)),
}


@pytest.mark.parametrize("case", GROUPS)
def test_the_most_specific_pattern_with_evidence_names_the_one_case_of_a_group(case: str) -> None:
    pattern, make = GROUPS[case]
    traffic = Traffic(3)
    members = set(make(traffic))
    findings = coordinate(traffic.requests())
    assert {f.pattern for f in findings} == {pattern}
    assert len({f.case for f in findings}) == 1, "from the first finding to the last it is one case, of one name"
    assert len(named(findings) & members) >= 0.9 * len(members) and named(findings) <= members
    assert all(f.log_e >= f.bar for f in findings if f.kind == "open"), "by that card's own evidence"


def repairs(traffic: Traffic) -> None:
    """Customers of one product that have their own scans repaired: long in, long out, each as much as it has."""
    traffic.people(80, 20, sigma=1.0, chars=4000, chars_out=3500, **PRODUCT)


LOOKALIKES: dict[str, Callable[[Traffic], None]] = {
    "scans repaired by a product's customers": repairs,
    "a chat product's customers": lambda t: t.people(200, 12, sigma=0.8, conversation=0.4, **PRODUCT),
    "an agent's users": lambda t: t.people(120, 20, sigma=1.0, conversation=0.8, tools=1, **PRODUCT),
    "a pool of keys for one chat product": lambda t: t.people(3, 60, 4, sigma=0.8, conversation=0.4, **PRODUCT),
}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("case", LOOKALIKES)
def test_who_does_the_like_for_itself_is_spared(case: str, seed: int) -> None:
    traffic = Traffic(seed)
    LOOKALIKES[case](traffic)
    assert coordinate(traffic.requests()) == []


def test_another_fingerprint_of_the_same_accounts_joins_their_case() -> None:
    traffic = Traffic(21)
    members = set(chats(traffic))
    side = set(traffic.hydra(60, 8, 4, name="front", max_tokens=20, system=0, temperature=0.0, headers=7, agent=8))
    assert side == members
    findings = coordinate(traffic.requests())
    assert len({f.case for f in findings if f.kind == "open"}) == 1
    assert len({f.pattern for f in findings}) == 1


def test_accounts_that_only_a_joining_fingerprint_has_are_named_in_the_same_case() -> None:
    traffic = Traffic(22)
    first = set(traffic.hydra(40, 26, 3, name="pool"))
    # Sixty accounts send other work of the same list; forty of them are those above.
    wider = set(traffic.hydra(60, 26, 2, name="pool", start=START + DAY, system=11, max_tokens=99))
    findings = coordinate(traffic.requests())
    assert {f.case for f in findings if f.kind == "open"} == {findings[0].case}
    assert set(findings[0].accounts) <= first and len(named(findings) & (wider - first)) >= 18


def scores_of_the_honest(rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    """Scores whose mean is each card's null level, now 0 and now far above, and alike by all cards at a time."""
    levels = np.array([card.null for card in CARDS])
    high = rng.uniform(0.0, 1.0, (n, m, 1)) < np.minimum(levels / 0.9, 1.0)
    return np.where(high, 0.9, 0.0).astype(np.float32)


def test_an_honest_fingerprint_s_evidence_by_each_card_keeps_its_level() -> None:
    n, m = 3000, 400
    rng = np.random.default_rng(5)
    scores = scores_of_the_honest(rng, n, m)
    # A third of them is of plain REST: the cards of one kind see nothing of the other.
    reads, of_reads = np.arange(n) % 3 == 0, np.array([card.pattern == "swarm" for card in CARDS])
    scores[np.broadcast_to(reads[:, None, None] != of_reads, scores.shape)] = 0.0
    places = [Place(card.pattern, card.id) for card in CARDS]
    at, levels = seats(places, [card.pattern for card in CARDS]), np.array([card.null for card in CARDS])
    rows, budget = np.zeros(n, CAMPAIGN), make_budget(0.1, [card.trust for card in CARDS], of_reads)
    q, highest = np.repeat(blank(), n), np.full((n, len(CARDS)), -np.inf)
    for j in range(m):
        log_e, since, number = np.full((n, len(CARDS)), np.nan), np.zeros(n), np.zeros(n, np.int64)
        weigh(
            rows, np.arange(n), np.arange(n), q, np.ones(n, np.bool_), np.ascontiguousarray(scores[:, j]), levels, at,
            budget, log_e, since, np.zeros((n, 2, 8), np.uint64), number,
        )  # fmt: skip
        highest = np.fmax(highest, log_e)
    for alpha in (0.1, 0.01):
        for card, own, ever in zip(CARDS, of_reads, (highest >= -math.log(alpha)).T, strict=True):
            asked = ever[reads == own]
            assert asked.mean() <= alpha + 3 * math.sqrt(alpha / len(asked)), card.pattern
            assert not ever[reads != own].any()
    assert sorted(rows["number"]) == list(range(1, n + 1)) and budget.counts[NUMBERED] == n, "one number each"


def test_the_evidence_about_a_fingerprint_goes_on_beyond_as_many_bets_as_its_row_can_note() -> None:
    (card,) = (card for card in CARDS if card.pattern == "campaign")
    rows, budget, at = np.zeros(1, CAMPAIGN), make_budget(0.1, [1.0]), seats([Place("campaign", card.id)], ["campaign"])
    rows["number"], rows["bets"], rows["log_e"] = 1, 2**31 - 3, 5.0
    seen = []
    for _ in range(40):
        log_e = np.full((1, 1), np.nan)
        weigh(
            rows, np.zeros(1, np.int64), np.zeros(1, np.int64), blank(), np.ones(1, np.bool_),
            np.full((1, 1), card.null, np.float32), np.array([card.null]), at, budget, log_e, np.zeros(1),
            np.zeros((1, 2, 8), np.uint64), np.zeros(1, np.int64),
        )  # fmt: skip
        seen.append(float(log_e[0, 0]))
    assert seen == pytest.approx([5.0] * 40, abs=1e-4), "a score at its level neither wins nor loses"


def test_a_row_has_room_for_every_card_and_a_card_that_narrows_nothing_there_is_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert len(CARDS) <= MAX_CARDS
    lost = msgspec.structs.replace(CARDS[0].card, pattern="lost", narrows="harvest")
    ours = [(card, card.pattern) for card in registry.cards()]
    monkeypatch.setattr(registry, "_cards_of", lambda package: [*ours, (lost, "lost")])
    with pytest.raises(CardError, match="card lost narrows harvest: only a pattern over campaigns narrows another"):
        registry.cards.__wrapped__()


def test_who_names_the_general_pattern_means_the_special_ones() -> None:
    assert registry.covers("campaign", "harvest") and registry.covers("relay", "cleaning")
    assert not registry.covers("harvest", "campaign") and not registry.covers("campaign", "extraction")
