"""Counts masked spans by syntax family. Placeholders are kept only until the reply was compared with them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from siphonwatch.models.common.vocabulary import FICTIONAL, MASK_FAMILIES
from siphonwatch.streams.edge.sketch import fictional, placeholders, surrogates
from siphonwatch.streams.edge.sketch.characters import COUNTS, DIGITS, FILLERS, LONG, OPAQUE, OPENERS
from siphonwatch.streams.edge.sketch.kernel import distinct_found, points


class Found(NamedTuple):
    """What `find` saw."""

    counts: list[int]
    """By family, in the order of `MASK_FAMILIES`; empty where nothing is masked."""
    spans: frozenset[str]
    """Distinct placeholders that a reply can repeat recognisably."""


NOTHING = Found([], frozenset())
NAMES, NUMBERS, BARE, COMMANDS, CODE = (1 << bit for bit in range(58, 63))
"""Bits of the signs of reserved names and numbers, of placeholders without brackets, of commands and of source code."""
_ANYTHING = (1,) * COUNTS
_ANY = NAMES | NUMBERS | BARE


def signs() -> dict[str, int]:
    """Return, in lower case, substrings of which one stands in every ASCII text that holds something masked, where
    nothing that the scan counts tells so, and of which one stands in all that holds commands or source code."""
    return {
        **dict.fromkeys(fictional.NAME_SIGNS, NAMES),
        **dict.fromkeys(fictional.NUMBER_SIGNS, NUMBERS),
        **dict.fromkeys(placeholders.BARE_SIGNS, BARE),
        **dict.fromkeys(fictional.COMMAND_SIGNS, COMMANDS),
        **dict.fromkeys(placeholders.CODE_SIGNS, CODE),
    }


def may_stand(seen: Sequence[int], found: int) -> bool:
    """Say whether something masked can stand in an ASCII text of which the scan counted `seen` and `found` says which
    signs stand in it."""
    return found & _ANY != 0 or seen[OPENERS] > 0 or seen[FILLERS] > 0 or seen[OPAQUE] > 0


def find(text: str, seen: Sequence[int] | None = None, found: int = -1) -> Found:
    """Count masked spans of `text` by family.

    Parameters
    ----------
    text
        Bounded in length by the caller.
    seen
        What `kernel.scan` counted, which spares searches for what cannot be there; without it all is searched for.
    found
        The bits of the signs that stand in an ASCII text, which spares more; of any other all.

    Examples
    --------
    >>> find("Dear <PERSON>, call [NAME_2] or ***.").counts
    [1, 1, 0, 0, 1, 0, 0, 0, 0]
    """
    counts = [0] * len(MASK_FAMILIES)
    spans: set[str] = set()
    code = _Code(text, found & CODE != 0)
    seen = seen or _ANYTHING
    placeholders.find(text, counts, spans, seen[OPENERS] > 0, code)
    surrogates.find(text, counts, spans, seen[FILLERS] > 0, seen[OPAQUE] > 0, seen[LONG] > 0, code)
    counts[FICTIONAL] += fictional.count(text, code, seen[DIGITS] > 0, found & COMMANDS != 0)
    return Found(counts, frozenset(spans)) if any(counts) else NOTHING


class _Code:
    """Whether a text holds source code, searched for once it is asked, where it may."""

    def __init__(self, text: str, may: bool) -> None:
        self._text = text
        self._known: bool | None = None if may else False

    def __call__(self) -> bool:
        if self._known is None:
            self._known = placeholders.CODE.search(self._text) is not None
        return self._known


FEW = 8
"""So many placeholders are searched for one by one, which is faster; more of them, all in one pass."""


def echoed(found: Found, reply: str) -> int:
    """Return how many distinct placeholders of the request stand in the reply, in time linear in both."""
    if len(found.spans) <= FEW or not reply:
        return sum(span in reply for span in found.spans) if reply else 0
    ends = np.cumsum([len(span) for span in found.spans])
    return int(distinct_found(points(reply), points("".join(found.spans)), ends))
