"""The tricks: one file each, there by standing in this folder. A trick rewrites attack records and knows no label."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from siphonwatch.streams.lab.redteam.survey import Survey
from siphonwatch.streams.lab.redteam.trick import Combined, Trick


class UnknownTrick(ValueError):
    """No trick has that name; the message lists those there are."""


class Variant(NamedTuple):
    """A trick at one strength."""

    trick: str
    """The trick's file, with dashes."""
    kind: type[Trick]
    arguments: dict[str, Any]

    @property
    def says(self) -> str:
        """What the attacker does: the first paragraph of the class's docstring."""
        return " ".join((inspect.getdoc(self.kind) or "").split("\n\n")[0].split())


@cache
def variants() -> dict[str, Variant]:
    """Return every variant of every trick by its name, in the order of the files' names."""
    found: dict[str, Variant] = {}
    for module in sorted(info.name for info in pkgutil.iter_modules(__path__)):
        for kind in vars(importlib.import_module(f"{__name__}.{module}")).values():
            if inspect.isclass(kind) and issubclass(kind, Trick) and kind.__module__ == f"{__name__}.{module}":
                trick = module.replace("_", "-")
                found |= {name: Variant(trick, kind, dict(given)) for name, given in kind.variants.items()}
    return found


def chosen(names: Sequence[str]) -> list[str]:
    """Return the variants that names stand for; a trick's own name stands for all of its variants, no name for all.

    Several variants joined by `+` are played together, in that order, and stay one name.

    Examples
    --------
    >>> chosen(["split", "own-pace+jitter"])
    ['split-2', 'split-4', 'split-16', 'split-64', 'own-pace+jitter']

    Raises
    ------
    UnknownTrick
        Where there is none of a name.
    """
    found: dict[str, None] = {}
    for name in names or variants():
        fits = [one for one, variant in variants().items() if name in (one, variant.trick)]
        if "+" in name and parts(name):
            fits = [name]
        if not fits:
            raise UnknownTrick(f"no evasion is named {name!r}: there are {', '.join(variants())}")
        found |= dict.fromkeys(fits)
    return list(found)


def parts(name: str) -> list[Variant]:
    """Return the variants that a name is made of.

    Raises
    ------
    UnknownTrick
        Where one of them is none.
    """
    for part in name.split("+"):
        if part not in variants():
            raise UnknownTrick(f"no evasion is named {part!r}: there are {', '.join(variants())}")
    return [variants()[part] for part in name.split("+")]


def make(name: str, survey: Survey, seed: int) -> Trick:
    """Return a variant, or several that are played together, for one log.

    Raises
    ------
    UnknownTrick
        Where there is none of that name.
    """
    made = [variant.kind(survey, seed, **variant.arguments) for variant in parts(name)]
    return made[0] if len(made) == 1 else Combined(survey, seed, made)
