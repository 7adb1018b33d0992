"""Sends control records that cannot be read to the dead-letter topic, once for the whole group.

Every worker reads the whole control topic at each start, so one sender must be chosen and must know what was sent: it
is the owner of telemetry partition 0, at its checkpoints, and its state holds the control offset up to which letters
were sent. A crash between sending and the checkpoint repeats letters, as it does others: they have the same source.
Where partition 0 has no state yet, as it never held a record, a restart repeats them too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from siphonwatch.streams.common.incarnation import UNKNOWN
from siphonwatch.streams.common.release import release
from siphonwatch.streams.contracts.dead_letter import DeadLetter
from siphonwatch.streams.contracts.telemetry import Malformed
from siphonwatch.streams.worker.outlet import Outlet

SENDER = 0
"""The telemetry partition whose owner sends the letters: there is always one."""
MAX_BYTES = 16 * 1024 * 1024
"""Of the letters that a worker keeps until it may have to send them: 16 records as large as brokers take by default."""
LETTER_BYTES = 1024
"""What a letter takes beside key, value and headers."""

_log = structlog.get_logger(__name__)


class ControlLetters:
    """The control records of a worker that cannot be read; the feed adds them, partition 0 sends them.

    Workers that do not own the partition keep theirs: they may own it later.
    """

    def __init__(self) -> None:
        self.incarnation = UNKNOWN
        """Of the control topic that is read."""
        self._letters: dict[int, DeadLetter] = {}  # by offset: the topic has one partition, and may be read again
        self._bytes = 0

    def add(self, record: Any, error: Malformed) -> None:
        """Keep an aiokafka record as a letter; beyond `MAX_BYTES` the oldest are dropped, and logged."""
        if record.offset in self._letters:
            return
        letter = self._letters[record.offset] = DeadLetter(
            key=record.key, value=record.value, reason=error.reason, detail=str(error), topic=record.topic,
            partition=record.partition, offset=record.offset, timestamp=record.timestamp, version=release(),
            headers=tuple(record.headers),
        )  # fmt: skip
        self._bytes += _size(letter)
        while self._bytes > MAX_BYTES and len(self._letters) > 1:
            oldest = self._letters.pop(next(iter(self._letters)))
            self._bytes -= _size(oldest)
            _log.error(
                "more control records cannot be read than are kept: no dead letter is sent for the oldest",
                topic=oldest.topic, offset=oldest.offset, reason=oldest.reason, detail=oldest.detail,
            )  # fmt: skip

    def clear(self) -> None:
        """Forget all: another topic has the name now."""
        self._letters.clear()
        self._bytes = 0

    def from_offset(self, first: int) -> list[DeadLetter]:
        """Return the letters of records at an offset or behind it."""
        return [self._letters[offset] for offset in sorted(self._letters) if offset >= first]


class ControlLetterSender:
    """Sends the letters of a worker that were not sent yet, and knows which were.

    Parameters
    ----------
    letters
        The worker's.
    outlet
        The partition's.
    """

    def __init__(self, letters: ControlLetters, outlet: Outlet) -> None:
        self._letters = letters
        self._outlet = outlet
        self._incarnation = UNKNOWN
        self._next = 0

    def restore(self, kept: Mapping[str, Any]) -> None:
        """Take over what `snapshot` returned."""
        self._incarnation, self._next = kept["topic"], kept["next"]

    def snapshot(self) -> dict[str, Any]:
        """Return up to which offset of which topic letters were sent."""
        return {"topic": self._incarnation, "next": self._next}

    async def send(self) -> list[DeadLetter] | None:
        """Send what is new and wait for the broker; return the letters that it takes in no size.

        None where nothing is new, and the snapshot the same as before.
        """
        now = self._letters.incarnation
        if now != UNKNOWN and now != self._incarnation:
            if self._incarnation != UNKNOWN:
                self._next = 0
            self._incarnation = now
        letters = self._letters.from_offset(self._next)
        if not letters:
            return None
        for letter in letters:
            _log.warning(
                "a control record cannot be read and goes to the dead-letter topic",
                topic=letter.topic, offset=letter.offset, reason=letter.reason, detail=letter.detail,
            )  # fmt: skip
        refused = await self._outlet.dead_letters(letters)
        if self._letters.incarnation == now:
            self._next = letters[-1].offset + 1
        return refused


def _size(letter: DeadLetter) -> int:
    beside = sum(len(name) + len(data or b"") for name, data in letter.headers)
    return LETTER_BYTES + len(letter.key or b"") + len(letter.value or b"") + beside
