"""Which records were made from what was seen before: the last place applied of each source partition. No I/O.

Those of one source partition come in the order of their places, so what is made again after a crash is told by its
place alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from streams.transport.batch import Headers

SOURCE = "source"
"""Header of an ingested record: `topic:partition:offset:index` of what it was made from."""

Sources = dict[str, list[int]]
"""`topic:partition` to the last `[offset, index]` applied."""


def fresh(headers: Sequence[Headers], sources: Sources) -> npt.NDArray[np.bool_]:
    """Return which records were not applied before, `(n,)`, and note their places; one without a source is new.

    Examples
    --------
    >>> sources = {}
    >>> again = ((SOURCE, b"gateway:0:17:0"),)
    >>> fresh([again, again, ()], sources).tolist(), sources
    ([True, False, True], {'gateway:0': [17, 0]})
    """
    keep = np.ones(len(headers), np.bool_)
    head, last = b"", None
    for i, pairs in enumerate(headers):
        for name, value in pairs:
            if name != SOURCE:
                continue
            try:
                origin, offset, index = value.rsplit(b":", 2)
                place = [int(offset), int(index)]
                if last is None or origin != head:
                    last = sources.setdefault(origin.decode(), [-1, -1])
                    head = origin
            except (UnicodeDecodeError, ValueError):
                continue
            if place <= last:
                keep[i] = False
            else:
                last[:] = place
    return keep
