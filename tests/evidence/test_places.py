"""Cards keep their places; what another card begins anew with leaves the chance of a false alarm as promised."""

from __future__ import annotations

import math

import numpy as np
import pytest
from evidence_population import Population, as_promised
from hypothesis import given, settings
from hypothesis import strategies as st

from siphonwatch.models.evidence.calibration import POOLED
from siphonwatch.models.evidence.places import ERAS, Place, Seats, assign, seats
from siphonwatch.models.evidence.process import FLOOR

CARDS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("12")), max_size=4, unique_by=lambda c: c[0])


@settings(deadline=None)
@given(st.lists(CARDS, min_size=1, max_size=12))
def test_a_place_is_one_pattern_s_while_its_card_is_installed_and_its_era_only_grows(runs: list) -> None:
    known: list[Place] = []
    for cards in runs:
        places, changes, anew = assign(cards, known, 4)
        at = {place.pattern: k for k, place in enumerate(places)}
        assert len(at) == len(places) <= 4 and {pattern for pattern, _ in cards} <= set(at)
        before = {place.pattern: (k, place) for k, place in enumerate(known)}
        for pattern, card in cards:
            k, old = before.get(pattern, (None, None))
            place = places[at[pattern]]
            same = old is not None and (old.card, old.away) == (card, False)
            assert same == (place == old) or not known
            assert (pattern in {change.pattern for change in changes}) == (bool(known) and not same)
            assert (at[pattern] in anew) == (bool(known) and (old is None or old.card != card))
            assert k is None or k == at[pattern]
        assert all(new.era >= old.era for new, old in zip(places, known, strict=False))
        known = places


def test_more_cards_than_places_are_refused_by_their_names() -> None:
    with pytest.raises(ValueError, match=r"2 cards are installed \(a, b\); a row has places for 1: remove some"):
        assign([("a", "1"), ("b", "1")], [], 1)


def test_what_changed_is_said_in_words() -> None:
    known, _, _ = assign([("a", "1"), ("b", "1"), ("c", "1")], [], 4)
    away, _, _ = assign([("a", "1"), ("b", "1")], known, 4)
    _, changes, anew = assign([("a", "1"), ("b", "2"), ("c", "1"), ("d", "1")], away, 4)
    texts = [str(change) for change in changes]
    assert texts[0].startswith("card b was 1 and is 2: its evidence and its reference begin anew")
    assert texts[1] == "card c (1) is back: its evidence begins anew, its reference goes on"
    assert texts[2].startswith("card d (1) is new here") and anew == [1, 3]


def test_seats_are_by_column_and_know_evidence_of_the_pattern_before() -> None:
    places = [Place("a", "1", 300, 298), Place("b", "1", 7, 0)]
    found = seats(places, ["b", "a"])
    assert [part.tolist() for part in found] == [[1, 0], [7, 300 - ERAS], [7, 2]]


def aged(n: int, days: int, alpha: float = 1e-3) -> Population:
    """Benign accounts at the end of their active day `days`, of whom another pattern has no evidence at all."""
    accounts = Population(n, alpha)
    for _ in range(days):
        accounts.hour(np.full(n, 0.05))
        accounts.now += 23 * 3600.0
    evidence = accounts.rows["judged"]["evidence"]
    evidence[:] = np.zeros((), evidence.dtype)
    return accounts


def next_card(accounts: Population, same: bool = True) -> None:
    """Put another card in the pattern's place; of another pattern if not `same`."""
    era = int(accounts.reference.seats.era[0]) + 1
    now = Seats(np.zeros(1, np.int64), np.array([era % ERAS]), np.array([era if same else 0]))
    accounts.reference = accounts.reference._replace(seats=now)


def fair(accounts: Population) -> None:
    """Make each bet move nothing, so that only what is put in moves the capital."""
    accounts.reference.e[:] = 1.0
    accounts.reference.taught[:] = 1  # and far from a renewal


@pytest.mark.parametrize("days", [1, 3, 40])
def test_a_new_pattern_begins_with_the_capital_of_who_never_bet_and_reaches_one_at_most(days: int) -> None:
    accounts = aged(2, days)
    next_card(accounts, same=False)
    fair(accounts)
    for day in range(days + 1, days + 30):
        accounts.hour(np.full(2, 0.1))
        assert np.exp(accounts.log_e) == pytest.approx(1.0 - 1.0 / (day + 1), rel=1e-5)
        accounts.now += 23 * 3600.0


def test_with_a_capital_of_one_the_mean_would_be_above_one() -> None:
    """What a row without evidence of the pattern held before: logarithm 0."""
    accounts = aged(2, 1)
    fair(accounts)
    for _ in range(9):
        accounts.hour(np.full(2, 0.1))
        accounts.now += 23 * 3600.0
    assert np.exp(accounts.log_e).min() > 1.3


@pytest.mark.parametrize("days", [1, 5])
def test_a_pattern_that_begins_late_crosses_as_seldom_as_promised(days: int) -> None:
    rng = np.random.default_rng(days)
    n = 4000
    accounts = aged(n, days)
    next_card(accounts, same=False)
    accounts.highest[:] = -math.inf
    for _ in range(5 * 24):
        accounts.hour(as_promised(rng, n))
        if accounts.now % 86_400.0 == 0.0:
            e = np.exp(accounts.log_e.astype(np.float64))
            assert e.mean() <= 1.0 + 5.0 * e.std() / math.sqrt(n)
    for alpha in (0.1, 0.01):
        assert accounts.crossed(alpha) <= alpha + 3.0 * math.sqrt(alpha / n)


def test_cards_that_change_every_day_cross_as_seldom_together_as_one() -> None:
    rng = np.random.default_rng(8)
    n = 4000
    accounts = Population(n)
    for day in range(8):
        if day:
            next_card(accounts)
        for _ in range(24):
            accounts.hour(as_promised(rng, n))
    for alpha in (0.1, 0.01):
        assert accounts.crossed(alpha) <= alpha + 3.0 * math.sqrt(alpha / n)


def test_a_changed_card_takes_no_more_than_it_had_and_forgets_its_evidence() -> None:
    accounts = aged(3, 4)
    evidence = accounts.rows["judged"]["evidence"][:, 0]
    evidence["log_e"], evidence["heat"], evidence["score"] = [6.0, -3.0, FLOOR], 5.0, 0.9
    next_card(accounts)
    fair(accounts)
    accounts.request(np.full(3, 0.9))
    expected = np.array([4.0 / 5.0, math.exp(-3.0), 0.0]) + 1.0 / 30.0
    assert np.exp(accounts.log_e) == pytest.approx(expected, rel=1e-5)
    assert (evidence["heat"] == 0.0).all() and (evidence["era"] == 1).all()


def test_a_changed_card_begins_with_an_account_s_next_hour_and_its_old_hour_teaches_nothing() -> None:
    accounts = aged(2, 2)
    accounts.hour(np.full(2, 0.2))
    accounts.now -= 1800.0  # within the same hour as the next request
    accounts.request(np.full(2, 0.3))
    before, taught = accounts.rows["judged"]["evidence"][:, 0].copy(), accounts.reference.taught[1, POOLED, 0]
    next_card(accounts)
    accounts.request(np.full(2, 0.95))
    assert (accounts.rows["judged"]["evidence"][:, 0] == before).all() and not accounts.opened
    accounts.now += 3600.0
    accounts.request(np.full(2, 0.1))
    assert (accounts.rows["judged"]["evidence"]["era"][:, 0] == 1).all()
    assert accounts.reference.taught[1, POOLED, 0] == taught


def test_an_account_with_an_open_case_is_another_hypothesis_under_the_new_card() -> None:
    accounts = Population(2)
    while 0 not in accounts.opened:
        accounts.hour(np.array([0.9, 0.1]))
    next_card(accounts)
    accounts.hour(np.array([0.1, 0.1]))
    assert accounts.rows["judged"]["number"].tolist() == [2, 1]
    assert accounts.rows["judged"]["evidence"]["open"][0, 0] == 0 and math.exp(accounts.log_e[0]) < 1.0
