"""Counts what could not be read, by reason, and keeps the first detail of each: the one that says what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from siphonwatch.streams.contracts.telemetry import Malformed


class Rejected(Counter[str]):
    """Elements that are not what their format says, by reason.

    Examples
    --------
    >>> rejected = Rejected()
    >>> rejected.take(Malformed("time", "`startTime` holds no time")), rejected.take(Malformed("time", "another"))
    (None, None)
    >>> list(rejected.lines())
    ['2 time, the first: `startTime` holds no time']
    """

    def __init__(self) -> None:
        super().__init__()
        self.first: dict[str, str] = {}

    def take(self, bad: Malformed) -> None:
        """Count one."""
        self[bad.reason] += 1
        self.first.setdefault(bad.reason, str(bad).partition(": ")[2])

    def lines(self) -> Iterator[str]:
        """Yield a line for each reason, the commonest first."""
        for reason, n in self.most_common():
            yield f"{n:,} {reason}" + (f", the first: {self.first[reason]}" if self.first.get(reason) else "")
