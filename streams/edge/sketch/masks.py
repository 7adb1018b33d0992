"""Counts masked spans by syntax family. Placeholders are kept only until the reply was compared with them."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from siphonwatch.models.common.vocabulary import FICTIONAL, MASK_FAMILIES
from siphonwatch.streams.edge.sketch import fictional, placeholders, surrogates
from siphonwatch.streams.edge.sketch.kernel import distinct_found, points


class Found(NamedTuple):
    """What `find` saw."""

    counts: list[int]
    """By family, in the order of `MASK_FAMILIES`; empty where nothing is masked."""
    spans: frozenset[str]
    """Distinct placeholders that a reply can repeat recognisably."""


NOTHING = Found([], frozenset())


def find(text: str, openers: bool = True, fillers: bool = True, opaque: bool = True) -> Found:
    """Count masked spans of `text` by family.

    Parameters
    ----------
    text
        Bounded in length by the caller.
    openers, fillers, opaque
        Whether `kernel.scan` counted any `OPENERS`, `FILLERS`, `OPAQUE`; False spares the search for what they begin.

    Examples
    --------
    >>> find("Dear <PERSON>, call [NAME_2] or ***.").counts
    [1, 1, 0, 0, 1, 0, 0, 0, 0]
    """
    counts = [0] * len(MASK_FAMILIES)
    spans: set[str] = set()
    code = cache(lambda: placeholders.CODE.search(text) is not None)
    placeholders.find(text, counts, spans, openers, code)
    surrogates.find(text, counts, spans, fillers, opaque, code)
    counts[FICTIONAL] += fictional.count(text, code)
    return Found(counts, frozenset(spans)) if any(counts) else NOTHING


FEW = 8
"""So many placeholders are searched for one by one, which is faster; more of them, all in one pass."""


def echoed(found: Found, reply: str) -> int:
    """Return how many distinct placeholders of the request stand in the reply, in time linear in both."""
    if len(found.spans) <= FEW or not reply:
        return sum(span in reply for span in found.spans) if reply else 0
    ends = np.cumsum([len(span) for span in found.spans])
    return int(distinct_found(points(reply), points("".join(found.spans)), ends))
