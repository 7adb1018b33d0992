"""Dead letters: records that could not be read, kept with the reason and the place they came from.

A value above the broker's limit goes out in parts; key, headers and value are bounded, and a letter says what it was
shortened by. What no topic takes even so is logged and counted, and ends nothing. A reason or detail never quotes
content, but the value is the original. A letter from a gateway's own topic holds what the gateway wrote there, prompts
included, and one from the control topic may hold reasons and names of people, so the dead-letter topic needs the access
control of the most private topic it is fed from; letters from the telemetry topic hold no text.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import structlog
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

MAX_VALUE = 900_000
"""Bytes of one value: below the 1 MiB that brokers take by default, with room for key and headers."""
SMALLER = (MAX_VALUE, 90_000, 9_000, 900)
"""Bytes of one value, one after the other where the topic takes less."""
MAX_PARTS = 1_000
"""Records that one letter may become: sent one at a time, some seconds."""
MAX_WHOLE = 64 * 1024 * 1024
"""Bytes of a value that is kept whole: eight times the default of `ingest.max_record_bytes`. A compressed record of a
megabyte may unpack to a gigabyte."""
MAX_BESIDE = 16 * 1024
"""Bytes of a key, and of all headers together, that a letter keeps: Kafka bounds only what is compressed."""
LEAST_BESIDE = 256
HEADER_BYTES = 16
"""What a header takes beside its name and value, so that empty ones are bounded too."""
MAX_DETAIL = 500
MAX_DIGITS = 9
"""Of a count in a header; Python refuses to read thousands of them."""
REDRIVEN = "redriven"
"""Header of a record that was sent again: how many times."""

VALUE = "value"
"""In `DeadLetter.shortened` where the value is not whole: such a letter cannot be sent back."""

_ORIGINAL = "original."
"""Before the name of each header that the source record carried."""
_SHORTENED, _EMPTY = "shortened", "empty"
"""Headers of a letter that is not whole, and of one whose record had neither key nor value."""

Headers = tuple[tuple[str, bytes | None], ...]

TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
"""What a broker says of the record itself: sending it again unchanged does not help."""

_log = structlog.get_logger(__name__)


class Unreadable(ValueError):
    """A record on the dead-letter topic is no dead letter."""


class Undelivered(RuntimeError):
    """Dead letters were not acknowledged: their source offsets must not be committed."""


class Message(NamedTuple):
    """One record for the dead-letter topic."""

    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]


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
    shortened
        What of the record was too large to be kept, with its bytes, such as `key 3145728, headers 70000`; empty where
        it is whole.
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
    shortened: str = ""

    @property
    def redriven(self) -> int:
        """How often the record was sent again already; 0 where the header is not a number."""
        count = dict(self.headers).get(REDRIVEN) or b""
        return int(count) if count.isdigit() and len(count) <= MAX_DIGITS else 0

    @property
    def source(self) -> str:
        """`topic:partition:offset:index`, unique for a letter."""
        return f"{self.topic}:{self.partition}:{self.offset}:{self.index}"

    def to_messages(self, limit: int = MAX_VALUE) -> list[Message]:
        """Return the letter as records, more than one where the value is above `limit` bytes.

        The parts of a letter share its headers and carry `part` and `parts` besides.
        """
        letter = self._bounded(min(max(limit // 8, LEAST_BESIDE), MAX_BESIDE), limit)
        headers: list[tuple[str, bytes | None]] = [
            ("reason", letter.reason.encode()),
            ("detail", letter.detail[:MAX_DETAIL].encode(errors="backslashreplace")),
            ("topic", letter.topic.encode()),
            ("partition", b"%d" % letter.partition),
            ("offset", b"%d" % letter.offset),
            ("index", b"%d" % letter.index),
            ("timestamp", b"%d" % letter.timestamp),
            ("version", letter.version.encode()),
            *((_ORIGINAL + name, value) for name, value in letter.headers),
        ]
        if letter.shortened:
            headers.append((_SHORTENED, letter.shortened.encode()))
        value = letter.value
        if value is None and letter.key is None:  # no client sends a record of neither
            value = b""
            headers.append((_EMPTY, b"1"))
        if value is None or len(value) <= limit:
            return [Message(letter.key, value, headers)]
        parts = [value[i : i + limit] for i in range(0, len(value), limit)]
        return [
            Message(letter.key, part, [*headers, ("part", b"%d" % i), ("parts", b"%d" % len(parts))])
            for i, part in enumerate(parts)
        ]

    def _bounded(self, beside: int, limit: int) -> DeadLetter:
        """The letter with `beside` bytes of key and of headers at most, and the value's beginning where it is huge."""
        key, value, headers = self.key, self.value, self.headers
        cut = [self.shortened] if self.shortened else []
        if key is not None and len(key) > beside:
            cut.append(f"key {len(key)}")
            key = key[:beside]
        sizes = [HEADER_BYTES + len(name.encode()) + len(data or b"") for name, data in headers]
        if sum(sizes) > beside:
            cut.append(f"headers {sum(sizes)}")
            headers = tuple(headers[i] for i in _within(headers, sizes, beside))
        if value is not None and len(value) > MAX_WHOLE:
            cut.append(f"{VALUE} {len(value)}")
            value = value[:limit]
        return replace(self, key=key, value=value, headers=headers, shortened=", ".join(cut)) if cut else self


def _within(headers: Headers, sizes: Sequence[int], room: int) -> list[int]:
    """Places of the headers that fit, in their order; small ones first, which ours are."""
    kept = []
    for place in sorted(range(len(headers)), key=lambda place: sizes[place]):
        room -= sizes[place]
        if room < 0:
            break
        kept.append(place)
    return sorted(kept)


class Part(NamedTuple):
    """One record of the dead-letter topic, understood."""

    letter: DeadLetter
    number: int
    of: int


def read(key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes | None]]) -> Part:
    """Read one record of the dead-letter topic.

    Raises
    ------
    Unreadable
        When a header that every letter has is missing or not a number.
    """
    own = {name: data for name, data in headers if data is not None and not name.startswith(_ORIGINAL)}
    try:
        letter = DeadLetter(
            key=key,
            value=None if _EMPTY in own else value,
            reason=own["reason"].decode(),
            detail=own["detail"].decode(),
            topic=own["topic"].decode(),
            partition=int(own["partition"]),
            offset=int(own["offset"]),
            timestamp=int(own["timestamp"]),
            index=int(own["index"]),
            version=own["version"].decode(),
            headers=tuple((name.removeprefix(_ORIGINAL), data) for name, data in headers if name.startswith(_ORIGINAL)),
            shortened=own.get(_SHORTENED, b"").decode(),
        )
        number, of = int(own.get("part", b"0")), int(own.get("parts", b"1"))
    except KeyError as error:
        raise Unreadable(f"header {error.args[0]} is missing") from None
    except ValueError as error:
        raise Unreadable(f"a header cannot be read: {error}") from None
    if not 0 <= number < of:
        raise Unreadable(f"part {number} of {of} cannot be")
    return Part(letter, number, of)


@dataclass(slots=True)
class _Open:
    """A letter that is not whole yet: where and when its first part stood, and the parts."""

    position: int
    since: float
    parts: dict[int, bytes]


class Joiner:
    """Puts letters that came in parts together, in whatever order and however often parts come."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, int], _Open] = {}  # by source and number of parts: a letter may be cut anew

    def add(self, part: Part, position: int, moment: float = 0.0) -> DeadLetter | None:
        """Return the letter once its last part is there.

        `position` is the part's offset in the dead-letter topic, `moment` its timestamp.
        """
        letter = part.letter
        if part.of == 1:
            return letter
        waiting = self._open.setdefault((letter.source, part.of), _Open(position, moment, {}))
        waiting.parts[part.number] = letter.value or b""
        if len(waiting.parts) < part.of:
            return None
        self._open = {key: other for key, other in self._open.items() if key[0] != letter.source}
        value = b"".join(waiting.parts[i] for i in range(part.of))
        return replace(letter, value=value)

    def first_open(self) -> int | None:
        """Offset of the first part of a letter that is not whole yet; reading goes on there the next time."""
        return min((waiting.position for waiting in self._open.values()), default=None)

    def give_up(self, before: float) -> int:
        """Drop the letters whose first part is older than `before` and return how many: the others are gone."""
        old = [key for key, waiting in self._open.items() if waiting.since < before]
        for key in old:
            del self._open[key]
        return len(old)


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

    async def send(self, letters: Iterable[DeadLetter]) -> list[DeadLetter]:
        """Send letters and wait until they are acknowledged; return those that the topic takes in no size, logged.

        Raises
        ------
        Undelivered
            When the broker did not take them all; sending them again may then repeat some.
        """
        letters = list(letters)
        sent: list[asyncio.Future[Any]] = []
        failure: BaseException | None = None
        for letter in letters:
            try:
                sent.append(await self._start(letter))
            except TOO_LARGE as error:
                sent.append(_failed(error))
            except (KafkaError, OSError) as error:
                failure = error
                break
        results = await asyncio.gather(*sent, return_exceptions=True)
        failures = [result for result in results if isinstance(result, BaseException)]
        failure = failure or next((found for found in failures if not isinstance(found, TOO_LARGE)), None)
        if failure is not None:
            raise self._undelivered(len(letters), failure) from failure
        refused = [letter for letter, result in zip(letters, results, strict=True) if isinstance(result, TOO_LARGE)]
        return [letter for letter in refused if not await self._alone(letter)]

    async def _start(self, letter: DeadLetter) -> asyncio.Future[Any]:
        """Hand a letter over; what became of all of its parts is known from the future."""
        messages = letter.to_messages()
        partition = await self._partition(letter) if len(messages) > 1 else None
        return asyncio.gather(*[await self._hand_over(message, partition) for message in messages])

    async def _alone(self, letter: DeadLetter) -> bool:
        """Send a letter part by part, each in a request of its own, in ever smaller parts; whether the topic took it.

        Brokers bound a request, so one that shares it with others may be refused for their size.
        """
        said: BaseException | None = None
        for limit in SMALLER:
            messages = letter.to_messages(limit)
            if len(messages) > MAX_PARTS:
                break
            try:
                partition = await self._partition(letter)
                for message in messages:
                    await (await self._hand_over(message, partition))
            except TOO_LARGE as error:
                said = error
                continue
            except (KafkaError, OSError) as error:
                raise self._undelivered(1, error) from error
            return True
        _log.error(
            "a record is lost: it cannot be read, and the dead-letter topic does not take it",
            topic=letter.topic, partition=letter.partition, offset=letter.offset, index=letter.index,
            reason=letter.reason, detail=letter.detail, dead_letter_topic=self._topic,
            refused=f"{type(said).__name__}: {said}",
        )  # fmt: skip
        return False

    async def _partition(self, letter: DeadLetter) -> int:
        """One partition holds all parts, also of a letter without a key."""
        return zlib.crc32(letter.source.encode()) % len(await self._producer.partitions_for(self._topic))

    async def _hand_over(self, message: Message, partition: int | None) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = await self._producer.send(
            self._topic, message.value, message.key, partition, headers=message.headers
        )
        return future

    def _undelivered(self, count: int, error: BaseException) -> Undelivered:
        return Undelivered(
            f"the broker did not take all of {count} dead letters for {self._topic}: {type(error).__name__}: {error}"
        )


def _failed(error: BaseException) -> asyncio.Future[Any]:
    failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    failed.set_exception(error)
    return failed
