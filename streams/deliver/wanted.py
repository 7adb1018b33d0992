"""Which alerts someone wants: by pattern, severity, account, case, kind and age. Reads and sends none.

Commands that read the alerts topic and sinks share it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from siphonwatch.models.detect.registry import covers
from siphonwatch.models.evidence.process import SEVERITIES
from siphonwatch.streams.contracts.alert import Alert

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhd])\Z")


class Filter:
    """Which alerts are wanted.

    Parameters
    ----------
    patterns, kinds
        Any of them; none for all. A pattern stands for those that narrow it too.
    severities
        Those wanted.
    accounts
        Beginnings of the ids that mean the wanted account; none for all.
    case
        The beginning of the case's id.
    since
        Earliest event time, seconds since 1970.
    """

    def __init__(
        self,
        patterns: Iterable[str] = (),
        severities: Iterable[str] = SEVERITIES,
        accounts: Iterable[str] = (),
        case: str = "",
        kinds: Iterable[str] = (),
        since: float | None = None,
    ) -> None:
        self._patterns, self._severities = frozenset(patterns), frozenset(severities)
        self._accounts, self._case, self._since_ms = tuple(accounts), case, since and since * 1000
        self._kinds = frozenset(kinds)

    def takes(self, alert: Alert) -> bool:
        """Tell whether an alert is among them."""
        own = alert.own
        return (
            (not self._patterns or any(covers(name, own.pattern) for name in self._patterns))
            and alert.data.severity.lower() in self._severities
            and (not self._accounts or any(name.startswith(self._accounts) for name in own.accounts))
            and own.case.startswith(self._case)
            and (not self._kinds or alert.kind in self._kinds)
            and (self._since_ms is None or alert.data.time >= self._since_ms)
        )


def severities(text: str) -> tuple[str, ...]:
    """Return the severities that `medium` (that one) or `medium+` (that one or worse) means.

    Raises
    ------
    ValueError
        For any other text; the message says what may stand there.

    Examples
    --------
    >>> severities("high+")
    ('high', 'critical')
    """
    name = text.lower().removesuffix("+")
    if name not in SEVERITIES:
        raise ValueError(f"{text!r}: use one of {', '.join(SEVERITIES)}, with + for that or worse")
    return SEVERITIES[SEVERITIES.index(name) :] if text.endswith("+") else (name,)


def seconds(text: str) -> float | None:
    """Return how long `90m`, `2h` or `3d` is in seconds; None for any other text."""
    ago = _AGO.match(text)
    return float(ago[1]) * UNITS[ago[2]] if ago else None
