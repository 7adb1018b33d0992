"""Which card has which place in accounts' rows and in the reference; what starts from zero when a card has changed.

A card is known by its id, the hash of what it computes. A place belongs to a pattern for as long as no other pattern
needs it. Its *era* counts how often its evidence began anew; a row notes the era its evidence is of, so that rows that
nobody has touched since, in memory or not, are recognised when their account comes back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from siphonwatch.models.detect.registry import current

ERAS = 256
"""A row notes the era modulo this: it has one byte for it."""


class Place(msgspec.Struct, frozen=True, array_like=True):
    """One place in a row."""

    pattern: str
    card: str
    """Id of the card its reference is of."""
    era: int = 0
    since: int = 0
    """Era in which the pattern took the place."""
    away: bool = False
    """Whether no such card is installed now."""


class Change(NamedTuple):
    """A card, or the models that give it features, that is not the one that the state was written under."""

    pattern: str
    before: str
    """Its id in the state; empty where the state knew no card of the pattern."""
    after: str
    models: bool = False
    """Whether it is the models that are others, not the card."""

    def __str__(self) -> str:
        if self.models:
            return f"the models of {self.pattern} were {self.before} and are {self.after}: they learn anew"
        if not self.before:
            return f"card {self.pattern} ({self.after}) is new here: it begins with what capital is left"
        if self.before == self.after:
            return f"card {self.pattern} ({self.after}) is back: its evidence begins anew, its reference goes on"
        return (
            f"card {self.pattern} was {self.before} and is {self.after}: its evidence and its reference begin anew, "
            "those of the other cards go on"
        )


class Seats(NamedTuple):
    """Where the cards' evidence is, by column of the scores: `(P,)` each."""

    place: npt.NDArray[np.int64]
    era: npt.NDArray[np.int64]
    """Modulo `ERAS`."""
    span: npt.NDArray[np.int64]
    """How many eras the pattern had the place before this one; evidence of an earlier era is of another pattern."""


def seats(places: Sequence[Place], patterns: Sequence[str]) -> Seats:
    """Return where the evidence of `patterns`, the columns of the scores, is."""
    at = {place.pattern: k for k, place in enumerate(places)}
    mine = [places[at[pattern]] for pattern in patterns]
    return Seats(
        np.array([at[pattern] for pattern in patterns], np.int64),
        np.array([place.era % ERAS for place in mine], np.int64),
        np.array([min(place.era - place.since, ERAS - 1) for place in mine], np.int64),
    )


def common(changed: Collection[str], ours: Sequence[Place], theirs: Sequence[Place]) -> list[tuple[int, int]]:
    """Return the places of changed patterns, in ours and in theirs, where both have one in use."""
    at = {place.pattern: k for k, place in enumerate(theirs) if not place.away}
    return [
        (k, at[place.pattern])
        for k, place in enumerate(ours)
        if not place.away and place.pattern in changed and place.pattern in at
    ]


def assign(
    cards: Sequence[tuple[str, str]], known: Sequence[Place], limit: int
) -> tuple[list[Place], list[Change], list[int]]:
    """Give each card a place.

    Parameters
    ----------
    cards
        Pattern and id of each card that is installed.
    known
        The places of the state, under names of now or of an earlier version; none where it is fresh.
    limit
        How many places a row has.

    Returns
    -------
    places, changes, anew
        All places; what has changed; and the places whose reference begins anew.

    Raises
    ------
    ValueError
        Where there are more cards than places.

    Examples
    --------
    >>> places, _, _ = assign([("a", "1"), ("b", "2")], [], 3)
    >>> places, changes, anew = assign([("c", "3"), ("b", "7")], places, 3)
    >>> [place.pattern for place in places], [change.pattern for change in changes], anew
    (['a', 'b', 'c'], ['b', 'c'], [1, 2])
    """
    if len(cards) > limit:
        names = ", ".join(pattern for pattern, _ in cards)
        raise ValueError(f"{len(cards)} cards are installed ({names}); a row has places for {limit}: remove some")
    known = [msgspec.structs.replace(place, pattern=current(place.pattern)) for place in known]
    at = {place.pattern: k for k, place in enumerate(known)}
    if len(at) != len(known) or len(known) > limit:
        raise ValueError(f"the state has {len(known)} places of {len(at)} patterns, a row has {limit}: it is damaged")
    places = [msgspec.structs.replace(place, away=True) for place in known]
    changes, anew = [], []
    for pattern, card in cards:
        if pattern in at:
            k, old = at[pattern], known[at[pattern]]
            if (old.card, old.away) != (card, False):
                changes.append(Change(pattern, old.card, card))
            if old.card != card:
                anew.append(k)
            era = old.era + ((old.card, old.away) != (card, False))
            places[k] = Place(pattern, card, era, old.since)
    for pattern, card in cards:
        if pattern in at:
            continue
        if len(places) < limit:
            k, era = len(places), 1 if known else 0
            places.append(Place(pattern, card, era, era))
        else:
            k = next(k for k, place in enumerate(places) if place.away)
            places[k] = Place(pattern, card, places[k].era + 1, places[k].era + 1)
        if known:
            changes.append(Change(pattern, "", card))
            anew.append(k)
    return places, changes, anew
