"""What the desk says in words: about what an account did and how sure that is, never about who somebody is."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files

import msgspec

from siphonwatch.streams.contracts.alert import Alert, Signal
from siphonwatch.streams.contracts.wording import chance, signal_text


class _Steps(msgspec.Struct, forbid_unknown_fields=True):
    first: list[str]
    last: list[str]
    patterns: dict[str, list[str]]


@cache
def _steps() -> _Steps:
    return msgspec.convert(tomllib.loads(files(__package__).joinpath("steps.toml").read_text()), _Steps)


def steps(pattern: str) -> list[str]:
    """Return what to do next about a case of a pattern, in order."""
    known = _steps()
    return [*known.first, *known.patterns.get(pattern, ()), *known.last]


def step_patterns() -> set[str]:
    """Return the patterns that have steps of their own."""
    return set(_steps().patterns)


def moment(seconds: float) -> str:
    """Return a time to the minute.

    Examples
    --------
    >>> moment(1_767_571_200.0)
    '2026-01-05 00:00 UTC'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def sentence(alert: Alert, name: str = "") -> str:
    """Return what was found, in one sentence: observed, and how rarely chance alone would show it."""
    own, data = alert.own, alert.data
    first = data.finding_info.first_seen_time / 1000
    who = f"account {own.accounts[0]}{f' ({name})' if name else ''}"
    if len(own.accounts) > 1:
        who = f"{len(own.accounts):,} accounts, {who} among them,"
    strongest = list(dict.fromkeys(signal.meaning for signal in own.signals))[:2]
    shown = f"showed {' and '.join(strongest)}" if strongest else "showed what the signals below say"
    return (
        f"From {moment(first)} to {moment(data.time / 1000)}, {who} sent {own.requests_seen:,} requests that {shown}; "
        f"{likelihood(alert)}."
    )


def likelihood(alert: Alert) -> str:
    """Return how often a benign account would reach that evidence, in words."""
    odds = chance(alert.own.e_value).removesuffix(" by chance")
    if odds == "no rarer than chance":
        return "the evidence is no stronger than chance alone gives"
    return f"a benign account would ever show so much evidence with a probability of at most {odds}"


def observed(alert: Alert) -> list[str]:
    """Return what was measured, a line each."""
    own = alert.own
    lines = [f"{signal.meaning}: {_figure(signal)}" for signal in own.signals]
    lines += [f"they share {text}" for text in own.shared]
    lines += [
        f"{one.name} (a published indicator{'' if one.scored else ', not scored'}): {one.feature} {one.observed:.3g}"
        for one in own.indicators
    ]
    lines += [f"{one.share:.0%} of it is sent by {one.kind} {one.name}" for one in own.carried_by]
    return list(dict.fromkeys(lines))


def inferred(alert: Alert) -> list[str]:
    """Return what follows from it, a line each, and by what rule."""
    own = alert.own
    lines = [
        f"the pattern is {own.pattern} ({alert.data.finding_info.title.lower()}): the score {own.score:.2f} is above "
        f"{own.level:.2f}, which account-hours of benign accounts seldom exceed",
        f"{likelihood(alert)} (e-value {own.e_value:.3g}; the case needed {own.threshold_e:.3g})",
    ]
    if own.follows:
        lines.append(
            f"{len(own.follows)} of the accounts fell silent before the others took their place, by what they share"
        )
    return lines


def _figure(one: Signal) -> str:
    try:
        return signal_text(one.name, one.observed, one.direction, one.baseline, one.unit)
    except OverflowError:  # a logarithm that counts more than a float can
        return f"{one.name} {one.observed:.3g} ({one.direction} {one.baseline:.3g})"
