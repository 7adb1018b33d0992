"""Dead letters: records that could not be read, kept whole with the reason and the place they came from.

Nothing is lost: a value above the broker's limit goes out in parts. A reason or detail never quotes content, but the
value is the original. A letter from a gateway's own topic holds what the gateway wrote there, prompts included, so the
dead-letter topic needs the access control of the most private topic it is fed from; letters from the telemetry topic
hold no text.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from aiokafka.errors import KafkaError

MAX_VALUE = 900_000
"""Bytes of one value: below the 1 MiB that brokers take by default, with room for key and headers."""
MAX_DETAIL = 500
REDRIVEN = "redriven"
"""Header of a record that was sent again: how many times."""

_ORIGINAL = "original."
"""Before the name of each header that the source record carried."""

Headers = tuple[tuple[str, bytes], ...]


class Unreadable(ValueError):
    """A record on the dead-letter topic is no dead letter."""


class Undelivered(RuntimeError):
    """Dead letters were not acknowledged: their source offsets must not be committed."""


class Message(NamedTuple):
    """One record for the dead-letter topic."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record that could not be used.

    Parameters
    ----------
    key, value
        Original bytes.
    reason
        `contract.Malformed.reason`: one of a small fixed set.
    detail
        What is wrong, never quoting content.
    topic, partition, offset
        Where the record stands.
    timestamp
        The record's own, milliseconds since 1970. Letters are stamped when they are sent, as brokers delete by that.
    index
        Number of the record inside its message, for formats with many in one.
    version
        Of siphonwatch, so that a redrive after an upgrade can be told.
    headers
        The source record's own.
    """

    key: bytes | None
    value: bytes | None
    reason: str
    detail: str
    topic: str
    partition: int
    offset: int
    timestamp: int
    index: int = 0
    version: str = ""
    headers: Headers = ()

    @property
    def redriven(self) -> int:
        """How often the record was sent again already; 0 where the header is not a number."""
        count = dict(self.headers).get(REDRIVEN, b"")
        return int(count) if count.isdigit() else 0

    @property
    def source(self) -> str:
        """`topic:partition:offset:index`, unique for a letter."""
        return f"{self.topic}:{self.partition}:{self.offset}:{self.index}"

    def to_messages(self, limit: int = MAX_VALUE) -> list[Message]:
        """Return the letter as records, more than one where the value is above `limit` bytes.

        The parts of a letter share its headers and carry `part` and `parts` besides.
        """
        headers = [
            ("reason", self.reason.encode()),
            ("detail", self.detail[:MAX_DETAIL].encode()),
            ("topic", self.topic.encode()),
            ("partition", b"%d" % self.partition),
            ("offset", b"%d" % self.offset),
            ("index", b"%d" % self.index),
            ("timestamp", b"%d" % self.timestamp),
            ("version", self.version.encode()),
            *((_ORIGINAL + name, value) for name, value in self.headers),
        ]
        if self.value is None or len(self.value) <= limit:
            return [Message(self.key, self.value, headers)]
        parts = [self.value[i : i + limit] for i in range(0, len(self.value), limit)]
        return [
            Message(self.key, part, [*headers, ("part", b"%d" % i), ("parts", b"%d" % len(parts))])
            for i, part in enumerate(parts)
        ]


class Part(NamedTuple):
    """One record of the dead-letter topic, understood."""

    letter: DeadLetter
    number: int
    of: int


def read(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]]) -> Part:
    """Read one record of the dead-letter topic.

    Raises
    ------
    Unreadable
        When a header that every letter has is missing or not a number.
    """
    own = {name: data for name, data in headers if not name.startswith(_ORIGINAL)}
    try:
        letter = DeadLetter(
            key=key,
            value=value,
            reason=own["reason"].decode(),
            detail=own["detail"].decode(),
            topic=own["topic"].decode(),
            partition=int(own["partition"]),
            offset=int(own["offset"]),
            timestamp=int(own["timestamp"]),
            index=int(own["index"]),
            version=own["version"].decode(),
            headers=tuple((name.removeprefix(_ORIGINAL), data) for name, data in headers if name.startswith(_ORIGINAL)),
        )
        number, of = int(own.get("part", b"0")), int(own.get("parts", b"1"))
    except KeyError as error:
        raise Unreadable(f"header {error.args[0]} is missing") from None
    except ValueError as error:
        raise Unreadable(f"a header cannot be read: {error}") from None
    if not 0 <= number < of:
        raise Unreadable(f"part {number} of {of} cannot be")
    return Part(letter, number, of)


class Joiner:
    """Puts letters that came in parts together, in whatever order and however often parts come."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[int, dict[int, bytes]]] = {}

    def add(self, part: Part, position: int) -> DeadLetter | None:
        """Return the letter once its last part is there; `position` is the part's offset in the dead-letter topic."""
        letter = part.letter
        if part.of == 1:
            return letter
        _, parts = self._open.setdefault(letter.source, (position, {}))
        parts[part.number] = letter.value or b""
        if len(parts) < part.of:
            return None
        del self._open[letter.source]
        value = b"".join(parts[i] for i in range(part.of))
        return replace(letter, value=value)

    def first_open(self) -> int | None:
        """Offset of the first part of a letter that is not whole yet; reading goes on there the next time."""
        return min((position for position, _ in self._open.values()), default=None)


class DeadLetters:
    """Sends dead letters and waits until the broker has them.

    Parameters
    ----------
    producer
        A started `aiokafka.AIOKafkaProducer` with acks=all.
    topic
        `settings.topic("dlq")`.
    """

    def __init__(self, producer: Any, topic: str) -> None:
        self._producer = producer
        self._topic = topic

    async def send(self, letters: Iterable[DeadLetter]) -> int:
        """Send letters and return how many, once all are acknowledged.

        Raises
        ------
        Undelivered
            When the broker did not take them all; sending them again may then repeat some.
        """
        futures = []
        count = 0
        try:
            partitions = 0
            for letter in letters:
                count += 1
                messages = letter.to_messages()
                partition = None
                if len(messages) > 1:  # one partition holds all parts, also of a letter without a key
                    partitions = partitions or len(await self._producer.partitions_for(self._topic))
                    partition = zlib.crc32(letter.source.encode()) % partitions
                for key, value, headers in messages:
                    futures.append(await self._producer.send(self._topic, value, key, partition, headers=headers))
            failure: BaseException | None = None
        except (KafkaError, OSError) as error:
            failure = error
        for result in await asyncio.gather(*futures, return_exceptions=True):
            if isinstance(result, BaseException):
                failure = failure or result
        if failure is not None:
            raise Undelivered(
                f"the broker did not take all of {count} dead letters for {self._topic}:"
                f" {type(failure).__name__}: {failure}"
            ) from failure
        return count
