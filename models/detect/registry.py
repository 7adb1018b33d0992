"""Finds the cards: the files of our own package, and those of packages that other distributions name.

A distribution offers cards as TOML files in a package of its own, which it names in its `pyproject.toml`:

    [project.entry-points."siphonwatch.cards"]
    acme = "acme_cards"

Beside its cards lie the learned supports that they name, as `NAME.safetensors`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.metadata import entry_points
from importlib.resources import files

from siphonwatch.models.detect.card import Card, CardError, read_card

GROUP = "siphonwatch.cards"
OWN = "siphonwatch.models.detect.cards"
CARD, TENSORS = ".toml", ".safetensors"


@cache
def cards() -> tuple[Card, ...]:
    """Return all cards that are installed, the most trusted first, then those of the lowest null level, then by name.

    Raises
    ------
    CardError
        Where one cannot be read, two are of one pattern, or a package that should hold cards has none.

    Examples
    --------
    >>> [card.pattern for card in cards() if card.trust > 1.0]
    ['extraction', 'cleaning', 'harvest', 'swarm', 'campaign', 'scraping']
    """
    return arranged([pair for package in _packages() for pair in _cards_of(package)])


@cache
def texts() -> dict[str, bytes]:
    """Return the files of all cards that are installed, by where they are, such as `package/name.toml`.

    Raises
    ------
    CardError
        Where a package that should hold cards has none.
    """
    found: dict[str, bytes] = {}
    for package in _packages():
        found |= _files_of(package)
    return found


@cache
def installed_supports() -> dict[str, bytes]:
    """Return the learned supports that lie beside the installed cards, as safetensors, by name.

    Raises
    ------
    CardError
        Where two packages have one of the same name, or a package that should hold cards has none.
    """
    found: dict[str, bytes] = {}
    for package in _packages():
        for name, data in _files_of(package, TENSORS).items():
            support = name.rpartition("/")[2].removesuffix(TENSORS)
            if support in found:
                raise CardError(f"two packages of {GROUP} have a learned support {support}: rename one")
            found[support] = data
    return found


def arranged(read: Sequence[tuple[Card, str]]) -> tuple[Card, ...]:
    """Return cards that are to judge together, in the order in which they do; each is given with its file's name.

    Raises
    ------
    CardError
        Where two are of one pattern, or one narrows what is not there.
    """
    found: dict[str, tuple[Card, str]] = {}
    for card, name in read:
        for pattern in (card.pattern, *card.formerly):
            known = found.setdefault(pattern, (card, name))[1]
            if known != name:
                raise CardError(f"cards {known} and {name} are both of pattern {pattern}: rename or remove one")
    ours = [card for pattern, (card, _) in found.items() if pattern == card.pattern]
    general = {card.pattern for card in ours if card.over == "campaign" and not card.narrows}
    for card in ours:
        if card.narrows and (card.over != "campaign" or card.narrows not in general):
            there = ", ".join(sorted(general)) or "none"
            raise CardError(
                f"card {card.pattern} narrows {card.narrows}: only a pattern over campaigns narrows another: {there}"
            )
    return tuple(sorted(ours, key=lambda card: (-card.trust, card.null, card.pattern)))


@cache
def _renamed() -> dict[str, str]:
    return {name: card.pattern for card in cards() for name in card.formerly}


def current(pattern: str) -> str:
    """Return what a pattern is called now, given a name of now or of an earlier version, or an unknown one.

    Examples
    --------
    >>> current("relay"), current("scraping")
    ('campaign', 'scraping')
    """
    return _renamed().get(pattern, pattern)


@lru_cache(4096)  # names come from outside too
def covers(named: str, pattern: str) -> bool:
    """Whether who names one pattern means another: under whatever name, itself or one that narrows it.

    Examples
    --------
    >>> covers("relay", "harvest"), covers("campaign", "campaign"), covers("harvest", "campaign")
    (True, True, False)
    """
    narrowed = {card.pattern: card.narrows for card in cards()}.get(current(pattern), "")
    return current(named) in (current(pattern), narrowed or current(pattern))


def _packages() -> list[str]:
    return [OWN, *sorted({point.module for point in entry_points(group=GROUP)} - {OWN})]


def _cards_of(package: str) -> list[tuple[Card, str]]:
    return [(read_card(text, name), name) for name, text in _files_of(package).items()]


def _files_of(package: str, ending: str = CARD) -> dict[str, bytes]:
    try:
        held = [file for file in files(package).iterdir() if file.name.endswith(ending)]
    except ModuleNotFoundError as error:
        raise CardError(f"entry point {GROUP} names package {package}, which cannot be imported: {error}") from None
    if ending == CARD and not held:
        raise CardError(f"package {package} has no card: an entry point of {GROUP} names a package with .toml files")
    return {f"{package}/{file.name}": file.read_bytes() for file in sorted(held, key=lambda file: file.name)}
