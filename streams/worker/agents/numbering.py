"""How the state of a partition numbers the offsets of its topic, also over a topic that was made anew. No I/O."""

from __future__ import annotations

from typing import NamedTuple


class Numbering(NamedTuple):
    """How the state numbers a topic's offsets: each is `base` more than in the topic.

    A topic that was made anew begins at 0 again; its records follow those of the one before, in the state.
    """

    incarnation: str = ""
    base: int = 0

    def after(self, incarnation: str, anew: bool, due: int) -> Numbering:
        """Return the numbering to go on with.

        Parameters
        ----------
        incarnation
            Of the topic now, see `siphonwatch.streams.worker.transport.Lease`.
        anew
            Whether the topic is known to be another one although nothing tells its incarnation.
        due
            Offset that is due next, in this numbering.

        Examples
        --------
        >>> Numbering("one", 5).after("one", False, 80)
        Numbering(incarnation='one', base=5)
        >>> Numbering("one", 5).after("two", False, 80)
        Numbering(incarnation='two', base=80)
        """
        if anew or (self.incarnation and incarnation and incarnation != self.incarnation):
            return Numbering(incarnation, due)
        return Numbering(incarnation or self.incarnation, self.base)
