"""Cuts and cleans text for receivers that bound it and for logs; knows no receiver."""

from __future__ import annotations

import re
from collections.abc import Iterable

from siphonwatch.models.detect.registry import current
from siphonwatch.streams.contracts.alert import Signal
from siphonwatch.streams.contracts.wording import signal_text
from siphonwatch.streams.deliver.alert import AlertRecord

ELLIPSIS = "…"
_UNFIT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]+")
"""Control characters, line separators, and marks that turn the reading direction: they could disguise what follows."""
_URL = re.compile(r"https?://[A-Za-z0-9\-._~:/?#@!$&()*+,;=%]+\Z")
ACCOUNT_CHARACTERS = 100


def clean(text: str) -> str:
    """Return text on one line, without control characters or marks that turn the reading direction."""
    return _UNFIT.sub(" ", text)


def clip(text: str, limit: int) -> str:
    """Return at most `limit` characters (1 or more) of text, the last of them an ellipsis where something was cut.

    Examples
    --------
    >>> clip("abcdef", 4)
    'abc…'
    """
    return text if len(text) <= limit else text[: limit - 1] + ELLIPSIS


def first(items: Iterable[str], total: int, most: int) -> list[str]:
    """Return the first `most` items, and a last one that says how many more there are.

    Examples
    --------
    >>> first(["a", "b", "c"], 3, 2)
    ['a', 'b', 'and 1 more']
    """
    some = [item for item, _ in zip(items, range(most), strict=False)]
    return [*some, f"and {total - len(some):,} more"] if total > len(some) else some


def accounts(alert: AlertRecord, most: int) -> list[str]:
    """Return the first accounts of an alert, each on one line and not too long, and how many more there are."""
    names = alert.own.accounts
    return first((clip(clean(name), ACCOUNT_CHARACTERS) for name in names), len(names), most)


def signals(alert: AlertRecord, most: int, limit: int = 200) -> list[str]:
    """Return the strongest signals as people read them, observed against baseline."""
    return [clip(clean(_signal(signal)), limit) for signal in alert.own.signals[:most]]


def carried_by(alert: AlertRecord) -> str:
    """Return who inside the account sends it, as people read it; '' where nobody stands out."""
    return ", ".join(f"{part.kind} {part.name} {part.share:.0%}" for part in alert.own.carried_by)


def _signal(signal: Signal) -> str:
    try:
        return signal_text(signal.name, signal.observed, signal.direction, signal.baseline, signal.unit)
    except OverflowError:  # a logarithm that counts more than a float can
        return f"{signal.name} {signal.observed:.2g} ({signal.direction} {signal.baseline:.2g})"


def summary(alert: AlertRecord, limit: int) -> str:
    """Return an alert in one line: severity, pattern, first account, state of the case."""
    state = "" if alert.kind == "opened" else f" ({alert.kind})"
    return clip(clean(f"[{alert.severity}] {alert.message}{state}"), limit)


def runbook(base: str, alert: AlertRecord) -> str:
    """Return the link of an alert's pattern in the runbook."""
    return f"{base}#{re.sub(r'[^A-Za-z0-9_-]', '', current(alert.own.pattern))}"


def is_url(link: str) -> bool:
    """Whether a link can be followed from another machine."""
    return bool(_URL.match(link))
