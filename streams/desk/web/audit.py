"""Who did what at the desk, and what was refused: one line of the log each, and the newest ones to look at. Logs no
content of cases, and no token.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Literal

import msgspec
import structlog

from siphonwatch.streams.deliver.text import clean, clip

Outcome = Literal["done", "refused", "overtaken", "wrong", "failed"]
"""`wrong` for what cannot be decided so, `failed` for what brokers or the index did not do."""
KEPT = 1000
CASES = 20
"""Of one decision that a line names; how many there were is said."""
_log = structlog.get_logger("siphonwatch.desk.audit")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """Something that was done, or refused."""

    time: float
    """Of the desk's clock."""
    person: str
    """Empty for nobody known."""
    role: str
    peer: str
    """Address that the request came from."""
    what: str
    """A decision's kind, `log-in`, `log-out`, or the route that was refused."""
    cases: list[str] = []
    outcome: Outcome
    text: str = ""


class Audit:
    """Takes entries.

    Parameters
    ----------
    clock
        Seconds since 1970.

    Attributes
    ----------
    shares
        Whether other desks are told.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: deque[Entry] = deque(maxlen=KEPT)
        self._untold: list[Entry] = []
        self._turn = threading.Lock()
        self.shares = False

    def take(
        self,
        person: str,
        role: str,
        peer: str,
        what: str,
        outcome: Outcome,
        text: str = "",
        cases: list[str] | None = None,
    ) -> None:
        """Log one entry and keep it."""
        entry = Entry(
            time=self._clock(), person=clean(person), role=role, peer=peer, what=what, outcome=outcome,
            text=clip(clean(text), 500), cases=[clip(clean(case), 40) for case in (cases or [])[:CASES]],
        )  # fmt: skip
        self._kept.append(entry)
        if self.shares:
            with self._turn:
                self._untold = [*self._untold, entry][-KEPT:]
        log = _log.info if outcome == "done" else _log.warning
        log(
            "desk", person=entry.person, role=role, peer=peer, what=what, outcome=outcome, text=entry.text,
            cases=entry.cases, of=len(cases or []),
        )  # fmt: skip

    def newest(self) -> list[Entry]:
        """Return the entries since the start, the newest first, `KEPT` at most."""
        return list(reversed(self._kept))

    def untold(self) -> list[Entry]:
        """Return what other desks were not told yet, the oldest first, `KEPT` at most."""
        return self._untold

    def told(self, entries: int) -> None:
        """Note that they were told the oldest ones of these."""
        with self._turn:
            self._untold = self._untold[entries:]
