"""A card: a detector as data. Which features show a pattern of an account or a campaign, and how strongly each does.

A card is one TOML file. It holds no code, so it can be fitted, compared, stored and promoted as data; what scores it is
`siphonwatch.models.detect.detector`.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import Literal

import msgspec

ATLAS = {
    "AML.T0008.005": "AI Service Proxies",
    "AML.T0024": "Exfiltration via AI Inference API",
    "AML.T0024.002": "Extract AI Model",
}
"""Names of the MITRE ATLAS techniques (release 5.5, 2026-03) that cards may name."""


class CardError(ValueError):
    """A card cannot be used; the message names the card, what is wrong with it and the remedy."""


class Ramp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far a feature has moved from where benign accounts are (`low`) to where it says all it can (`high`).

    Below `low` it counts 0, above `high` 1, linear between; `low > high` turns the direction round. With several
    features (the scales of one quantity, say) the one that moved furthest counts.
    """

    of: tuple[str, ...]
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.of:
            raise ValueError("a ramp reads no feature: name at least one in `of`")
        if not (math.isfinite(self.low) and math.isfinite(self.high)) or self.low == self.high:
            raise ValueError(f"a ramp of {self.of[0]} from {self.low} to {self.high} does not rise: give two numbers")


class Term(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Ramps that count together: their product (`all`) or the greatest of them (`any`). One ramp may be given as such.

    A support may also be learned (`learned`, the name of arrays that a version has): then it is 0 where these give a
    chance of `low` or less, 1 where they give `high` or more, and between rises with the log-odds.

    Examples
    --------
    >>> Term(of=("sweep_1h",), low=0.2, high=0.6).ramps
    (Ramp(of=('sweep_1h',), low=0.2, high=0.6),)
    """

    weight: float = 1.0
    of: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    all: tuple[Ramp, ...] = ()
    any: tuple[Ramp, ...] = ()
    learned: str = ""
    """Name of a learned support."""

    def __post_init__(self) -> None:
        if bool(self.of) + bool(self.all) + bool(self.any) + bool(self.learned) != 1:
            raise ValueError(
                "a term is one ramp (`of`, `low`, `high`), or has ramps under `all`, or under `any`, or is `learned`"
            )
        if self.learned and not 0.0 < self.low < self.high < 1.0:
            raise ValueError(
                f"learned support {self.learned} from {self.low} to {self.high} does not rise: give two chances "
                "between 0 and 1"
            )
        if not 0.0 < self.weight < math.inf:
            raise ValueError(f"a term weighs {self.weight}; a weight is above 0: no score falls as a ramp rises")
        if self.of:
            Ramp(self.of, self.low, self.high)

    @property
    def ramps(self) -> tuple[Ramp, ...]:
        """Its ramps over features, one or several; a learned one has none."""
        if self.learned:
            return ()
        return (Ramp(self.of, self.low, self.high),) if self.of else self.all or self.any


class Fitted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a card's numbers come from."""

    on: str
    """The data."""
    by: str
    """The command, or who chose them by hand."""


class Measured(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a card was measured to do."""

    on: str
    """The data."""
    by: str
    """The command that printed the figures."""
    figures: dict[str, float | str]


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A pattern of use, and how it is scored.

    The score is the product of three parts. *Gates*: the product of all terms. *Ways* to do it: `first` of the
    strongest one and the rest of what all of them add up to, over their weights. *Supports*: the weighted mean of the
    terms; or, with an `offset`, a scorecard in log-odds, the offset and the weighted terms over `span`. A part without
    terms counts 1.
    """

    pattern: str
    """One lower-case word: the name of the pattern in alerts, metrics and state."""
    formerly: tuple[str, ...] = ()
    """What the pattern was called in earlier versions: such a name is taken wherever a pattern may be named."""
    narrows: str = ""
    """The pattern that this one is a special case of: where both have evidence, this one names the case."""
    title: str
    about: str
    """What it looks for, and which honest uses that look alike it leaves out."""
    source: str = ""
    """Where the idea comes from, if it is not ours."""
    over: Literal["account", "campaign"] = "account"
    """Whose features it reads."""
    atlas: tuple[str, ...]
    """MITRE ATLAS techniques, of `ATLAS`."""
    owasp: tuple[str, ...] = ()
    aisvs: tuple[str, ...] = ()
    """Requirements of OWASP's AI Security Verification Standard, such as C11.5 (model extraction)."""
    null: float
    """Score that benign accounts stay below, but for one account-hour in 20, until the reference has learnt better."""
    trust: float = 1.0
    """How much its evidence counts: more where honest accounts hardly ever look like it."""
    gates: tuple[Term, ...] = ()
    ways: tuple[Term, ...] = ()
    first: float = 1.0
    supports: tuple[Term, ...] = ()
    offset: float = 0.0
    """Log-odds, from the score of 0, with nothing moved; negative in a scorecard, 0 for a weighted mean."""
    span: float = 1.0
    """Log-odds between the scores of 0 and 1 of a scorecard."""
    fitted: Fitted
    measured: tuple[Measured, ...] = ()

    def __post_init__(self) -> None:
        if not (self.pattern.isascii() and self.pattern.isalpha() and self.pattern.islower()):
            raise ValueError(f"pattern {self.pattern!r} is not one lower-case word")
        if self.pattern in self.formerly or len(set(self.formerly)) != len(self.formerly):
            raise ValueError(f"formerly {list(self.formerly)} has the pattern's own name, or one twice")
        if self.narrows == self.pattern:
            raise ValueError("it narrows itself")
        if not (self.title.strip() and self.about.strip()):
            raise ValueError("it has no title or says nothing under `about`")
        unknown = [uid for uid in self.atlas if uid not in ATLAS]
        if unknown or not self.atlas:
            raise ValueError(f"atlas {unknown} is not among the techniques that have a name here: {sorted(ATLAS)}")
        if not 0.0 < self.null < 1.0:
            raise ValueError(f"null {self.null} is not in (0, 1)")
        if not 0.0 < self.trust < math.inf:
            raise ValueError(f"trust {self.trust} is not above 0")
        if not 0.0 <= self.first <= 1.0:
            raise ValueError(f"first {self.first} is not in [0, 1]")
        if not 0.0 < self.span < math.inf or not -math.inf < self.offset <= 0.0:
            raise ValueError(f"span {self.span} is not above 0, or offset {self.offset} is above 0")
        if any(term.learned for term in self.gates + self.ways) or (self.learned and self.over != "account"):
            raise ValueError("only supports of a card over accounts can be `learned`")
        if len(set(self.learned)) != len(self.learned):
            raise ValueError("a learned support is named twice")
        if not self.ramps:
            raise ValueError("it reads no feature: give it gates, ways or supports")

    @property
    def terms(self) -> tuple[Term, ...]:
        """Gates, ways and supports."""
        return self.gates + self.ways + self.supports

    @property
    def ramps(self) -> tuple[Ramp, ...]:
        """The ramps of all terms."""
        return tuple(chain.from_iterable(term.ramps for term in self.terms))

    @property
    def learned(self) -> tuple[str, ...]:
        """Names of its learned supports."""
        return tuple(term.learned for term in self.supports if term.learned)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the features that its ramps read."""
        return tuple(dict.fromkeys(name for ramp in self.ramps for name in ramp.of))

    def has_gate(self, of: str, way: int) -> bool:
        """Return whether a gate opens (`way` 1) or closes (-1) as a feature rises."""
        ramps = chain.from_iterable(gate.ramps for gate in self.gates)
        return any(ramp.of == (of,) and (ramp.high - ramp.low) * way > 0 for ramp in ramps)


def read_card(text: str | bytes, name: str) -> Card:
    """Read a card from TOML.

    Parameters
    ----------
    text
        The file's content.
    name
        Of the file, for messages.

    Raises
    ------
    CardError
        Where it is no TOML or no card.
    """
    try:
        return msgspec.toml.decode(text, type=Card)
    # Cards come by a topic too: one that is nested too deep, or has a number of too many digits, stops nobody.
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise CardError(f"card {name}: {error}") from None
