"""Writes a card as TOML, as a person would: short ramps in one line each. It is read back before it is used."""

from __future__ import annotations

import json
from collections.abc import Sequence

from siphonwatch.models.detect.card import Card, Ramp, Term, read_card

_DEFAULTS = {"formerly": (), "narrows": "", "source": "", "owasp": (), "aisvs": (), "trust": 1.0, "first": 1.0,
             "offset": 0.0, "span": 1.0}  # fmt: skip


def write_card(card: Card) -> str:
    """Return the TOML of a card; what is its default is left out.

    Raises
    ------
    ValueError
        Where it would not be read back as it is.

    Examples
    --------
    >>> from siphonwatch.models.engine.patterns import patterns
    >>> all(read_card(write_card(p.card), "") == p.card for p in patterns())
    True
    """
    lines = []
    for name in (
        "pattern", "formerly", "narrows", "title", "about", "source", "over", "atlas", "owasp", "aisvs", "null",
        "trust", "first", "offset", "span",
    ):  # fmt: skip
        value = getattr(card, name)
        if name not in _DEFAULTS or value != _DEFAULTS[name]:
            lines.append(f"{name} = {_value(value)}")
    for part in ("gates", "ways", "supports"):
        if terms := getattr(card, part):
            lines += ["", f"{part} = [", *(f"  {_term(term)}," for term in terms), "]"]
    lines += ["", "[fitted]", f"on = {_value(card.fitted.on)}", f"by = {_value(card.fitted.by)}"]
    for one in card.measured:
        lines += ["", "[[measured]]", f"on = {_value(one.on)}", f"by = {_value(one.by)}", "", "[measured.figures]"]
        lines += [f"{name} = {_value(figure)}" for name, figure in one.figures.items()]
    text = "\n".join(lines) + "\n"
    if read_card(text, card.pattern) != card:
        raise ValueError(f"card {card.pattern} is not what is read back from its file")
    return text


def _value(value: object) -> str:
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, tuple):
        return json.dumps(list(value))
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _ramp(ramp: Ramp) -> str:
    return f"of = {_value(ramp.of)}, low = {ramp.low!r}, high = {ramp.high!r}"


def _term(term: Term) -> str:
    weight = f"weight = {term.weight!r}, " if term.weight != 1.0 else ""
    if term.of:
        return f"{{ {weight}{_ramp(term.ramps[0])} }}"
    if term.learned:
        return f"{{ {weight}learned = {_value(term.learned)}, low = {term.low!r}, high = {term.high!r} }}"
    inside = ", ".join(f"{{ {_ramp(ramp)} }}" for ramp in term.ramps)
    return f"{{ {weight}{'all' if term.all else 'any'} = [{inside}] }}"


def listed(values: Sequence[float]) -> str:
    """Return shares as per cent, for tables."""
    return " / ".join(f"{100 * value:.1f} %" for value in values)
