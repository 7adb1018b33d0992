"""The outcome of an attempt to deliver, and how long to wait before the next. Sends nothing and never sleeps."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Literal

import msgspec

Verdict = Literal["delivered", "failed", "misconfigured", "refused"]
AGAIN = frozenset({408, 425, 429})
"""Client errors that time heals."""
PERSON = frozenset({401, 402, 403, 404, 405, 407, 410, 421})
"""Client errors that say the sink's address or credentials are wrong: about the sink, never about one alert."""
RETRY_AFTER_MAX = 3600.0
"""Longest wait that a receiver can ask for."""
DOUBLINGS = 30
"""Enough to reach any cap; 2.0 to a power without bound would overflow."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of one attempt.

    `delivered`: the receiver has it. `failed`: try again. `misconfigured`: try again, slowly, as only a person can
    help. `refused`: this alert will never be taken, go on with the next.
    """

    verdict: Verdict
    detail: str
    """For the log and for people: neither secret nor alert."""
    retry_after: float | None = None
    """Seconds the receiver asks to wait."""


def judge(status: int) -> Verdict:
    """Return what an HTTP status means for one alert.

    A redirect is not followed: it could carry alerts to where nobody meant them to go.
    """
    if 200 <= status < 300:
        return "delivered"
    if status in AGAIN or status >= 500:
        return "failed"
    return "misconfigured" if status in PERSON or status < 400 else "refused"


def retry_after(header: str | None, now: float) -> float | None:
    """Return the seconds that a `Retry-After` header asks for, an hour at most; None where it says nothing usable.

    Parameters
    ----------
    header
        Seconds, or an HTTP date.
    now
        Seconds since 1970.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), RETRY_AFTER_MAX)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    seconds = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now
    return min(max(seconds, 0.0), RETRY_AFTER_MAX)


class Backoff:
    """How long to wait after failures in a row: exponential with full jitter, so that many retry at different times.

    Parameters
    ----------
    first
        Longest wait after the first failure, seconds; doubles with each further one.
    most
        Longest wait.
    slow
        Longest wait where the sink is misconfigured; such waits are at least half of it.
    uniform
        Draws a number between two, such as `random.SystemRandom().uniform`.

    Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """

    def __init__(self, first: float, most: float, slow: float, uniform: Callable[[float, float], float]) -> None:
        self._first, self._most, self._slow, self._uniform = first, most, slow, uniform

    def wait(self, outcome: Outcome, failures: int) -> float:
        """Return seconds to wait after the `failures`-th failure in a row; never less than the receiver asked for."""
        if outcome.verdict == "misconfigured":
            drawn = self._uniform(self._slow / 2, self._slow)
        else:
            drawn = self._uniform(0.0, min(self._most, self._first * 2.0 ** min(failures - 1, DOUBLINGS)))
        return max(drawn, outcome.retry_after or 0.0)
