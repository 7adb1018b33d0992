"""Remembers which alerts of a partition were handled lately, so that one that is on the topic twice is sent once.

It stores nothing: after a restart the topic itself is read again.
"""

from __future__ import annotations

REMEMBERED = 5_000
"""Ids kept of a partition, and records read again before its committed offset at the start: two copies of an alert that
are closer than this are sent as one.

A worker that crashes sends again what it sent since its last checkpoint. Both copies have the case as key, so they
stand on one partition, and between them only what other workers sent to that partition until the crashed one came
back. Reading the log again needs no storage of its own, and knows what any deliverer before this one handled."""


class Recent:
    """The ids added last.

    Parameters
    ----------
    limit
        How many.

    Examples
    --------
    >>> recent = Recent(2)
    >>> for id in "abc":
    ...     recent.add(id)
    >>> [id for id in "abc" if id in recent]
    ['b', 'c']
    """

    def __init__(self, limit: int = REMEMBERED) -> None:
        self._limit = limit
        self._ids: dict[str, None] = {}

    def __contains__(self, id: str) -> bool:
        return id in self._ids

    def add(self, id: str) -> None:
        """Remember an id as the newest."""
        self._ids.pop(id, None)
        self._ids[id] = None
        if len(self._ids) > self._limit:
            del self._ids[next(iter(self._ids))]
