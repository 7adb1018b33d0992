"""Recognises records made twice from one source record, by the last place applied of each source partition. No I/O.

Those of one source partition come in the order of their places, so what is made again after a crash is recognised by
its place alone. A place counts only under the seal of the worker that ingested the record; under another seal a record
is treated as if it had no place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from siphonwatch.streams.contracts.dead_letter import REDRIVEN
from siphonwatch.streams.contracts.provenance import DIGITS, Mac, is_sealed
from siphonwatch.streams.worker.transport.batch import Headers

SOURCE = "source"
"""Header of an ingested record: `topic:partition@incarnation:offset:index` of what it was made from, `:` and the seal
over that."""
MOST_DIGITS = 18
"""Of an offset or a place in a message: what a checkpoint can note."""
REMEMBERED = 3
"""Incarnations of a source partition whose places are kept: what a topic that is gone left may still be on its way."""

Sources = dict[str, list[int]]
"""Source partition, see `origin`, to the last `[offset, index]` applied; newer incarnations stand behind older."""


def origin(topic: str, partition: int, incarnation: str) -> str:
    """Return the name of a source partition; a topic that was made anew is another source.

    Examples
    --------
    >>> origin("gateway", 0, "1KPPEi0JSUu7YvDyeu1Glg"), origin("gateway", 0, "")
    ('gateway:0@1KPPEi0JSUu7YvDyeu1Glg', 'gateway:0')
    """
    return f"{topic}:{partition}@{incarnation}" if incarnation else f"{topic}:{partition}"


def last_of(sources: Sources, name: str) -> list[int]:
    """Return the last place applied of a source partition, to be changed in place; forgets incarnations long gone."""
    if (last := sources.get(name)) is None:
        last = sources[name] = [-1, -1]
        partition = name.split("@", 1)[0]
        alike = [other for other in sources if other.split("@", 1)[0] == partition]
        for gone in alike[:-REMEMBERED]:
            del sources[gone]
    return last


class Fresh(NamedTuple):
    """What the headers of a batch say."""

    keep: npt.NDArray[np.bool_]
    """Which records were not applied before, `(n,)`."""
    forged: int
    """How many name a source without its seal, or none."""


def sealed(mac: Mac, place: bytes) -> bytes:
    """Return the header of a place.

    Examples
    --------
    >>> from siphonwatch.streams.contracts.provenance import Seals
    >>> len(sealed(Seals(b"key").mac("source", 0), b"gateway:0:17:0"))
    31
    """
    return b"%b:%b" % (place, mac(place))


def fresh(headers: Sequence[Headers], sources: Sources, mac: Mac) -> Fresh:
    """Tell which records were not applied before, and note their places; one without a source is new.

    So is one that was sent again from the dead letters: it was never applied, and its place is behind the others.

    Examples
    --------
    >>> from siphonwatch.streams.contracts.provenance import Seals
    >>> sources, mac = {}, Seals(b"key").mac("source", 0)
    >>> again = ((SOURCE, sealed(mac, b"gateway:0:17:0")),)
    >>> fresh([again, again, ()], sources, mac).keep.tolist(), sources
    ([True, False, True], {'gateway:0': [17, 0]})
    """
    keep = np.ones(len(headers), np.bool_)
    forged = 0
    head, last = b"", None
    for i, pairs in enumerate(headers):
        for name, value in pairs:
            if name != SOURCE:
                continue
            if value is None or not is_sealed(mac, value[: -DIGITS - 1], value[-DIGITS:]):
                forged += 1
                continue
            if any(other == REDRIVEN for other, _ in pairs):
                continue
            source, _, index = value[: -DIGITS - 1].rpartition(b":")
            source, _, offset = source.rpartition(b":")
            if not (offset.isdigit() and index.isdigit() and max(len(offset), len(index)) <= MOST_DIGITS):
                forged += 1  # without a key anybody can seal
                continue
            place = [int(offset), int(index)]
            if last is None or source != head:
                last = last_of(sources, source.decode("ascii", "replace"))
                head = source
            if place <= last:
                keep[i] = False
            else:
                last[:] = place
    return Fresh(keep, forged)
