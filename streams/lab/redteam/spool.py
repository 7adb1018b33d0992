"""Lines of a log on disk, each behind the place in the order of arrival that it has. Sorts more than memory holds."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, NamedTuple

RUN = 20_000
"""Lines sorted in memory at a time: some 20 MB of telemetry."""


class Place(NamedTuple):
    """Where a record stands in the order of arrival."""

    time: float
    """The latest event time up to it, so that a log that is slightly out of order stays as it is."""
    number: int
    """Of the log's record; further ones at the same time come behind."""
    part: int = 0


class Line(NamedTuple):
    """A line and its place."""

    place: Place
    data: bytes
    """Without a line feed."""


def write(file: IO[bytes], line: Line) -> None:
    """Add a line to a file."""
    place = line.place
    file.write(b"%r %d %d " % (place.time, place.number, place.part) + line.data + b"\n")


def read(file: Iterable[bytes]) -> Iterator[Line]:
    """Yield the lines of a file that `write` filled."""
    for raw in file:
        time, number, part, data = raw.split(b" ", 3)
        yield Line(Place(float(time), int(number), int(part)), data[:-1])


class Sorter:
    """Takes lines in any order and gives them back in order; all but the last ones are in temporary files.

    Examples
    --------
    >>> sorter = Sorter()
    >>> for time in (3.0, 1.0, 2.0):
    ...     sorter.take(Line(Place(time, 0), b"x"))
    >>> [line.place.time for line in sorter]
    [1.0, 2.0, 3.0]
    """

    def __init__(self, run: int = RUN) -> None:
        self._run = run
        self._runs: list[IO[bytes]] = []
        self._last: list[Line] = []

    def take(self, line: Line) -> None:
        """Add a line."""
        self._last.append(line)
        if len(self._last) >= self._run:
            self._last.sort()
            file = TemporaryFile()
            for one in self._last:
                write(file, one)
            self._runs.append(file)
            self._last = []

    def __iter__(self) -> Iterator[Line]:
        for file in self._runs:
            file.seek(0)
        return heapq.merge(*map(read, self._runs), sorted(self._last))

    def close(self) -> None:
        """Remove the files."""
        for file in self._runs:
            file.close()
        self._runs = []


def merged(path: Path, others: Iterable[Line]) -> Iterator[bytes]:
    """Yield the lines of a file and others, both in order, as one log."""
    with path.open("rb") as file:
        for line in heapq.merge(read(file), others):
            yield line.data
