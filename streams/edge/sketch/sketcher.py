"""Turns one request's messages into the sketch fields of telemetry; no text passes through it to its output."""

from __future__ import annotations

import binascii
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from siphonwatch.models.common.vocabulary import CHUNKS, PROJECTION, REPLY_CHUNKS
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.edge.sketch import canonical, characters, chunks, intents, kernel, language, masks, template

SYSTEMS, REMEMBERED_CHARS = 512, 4096
"""System prompts remembered in memory, at most 8 MB: one application sends the same one all day."""

LONG_TURN = 300
"""Characters from which a turn is squeezed by a compiled kernel: a call costs as much as to split so many."""

REPLY_CHARS = 65_536
"""Characters of the reply that are searched for the request's placeholders, and of a turn that are hashed."""


class _System(NamedTuple):
    hash: str
    intents: int


class Sketcher:
    """Sketches requests under one deployment's key; safe to share between threads.

    Parameters
    ----------
    identity
        Gives the keys: other key, unrelated sketch.

    Examples
    --------
    >>> sketcher = Sketcher(Identity("a secret of the deployment"))
    >>> a = sketcher.sketch([("user", "Write a poem about 3 cats.")])
    >>> b = sketcher.sketch([("user", "Write a poem about 14 cats.")])
    >>> a["template"] == b["template"], a["chars"], a["lang"]
    (True, 26, 'en')
    """

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        key = np.frombuffer(identity.secret("sketch"), np.uint64)
        self._characters = characters.tables()
        self._tables = (*self._characters, key, *_lexicon())
        self._chunk_key = np.frombuffer(identity.secret("chunks"), np.uint64)
        self._remembered = lru_cache(SYSTEMS)(self._read_system)

    def sketch(self, messages: Sequence[tuple[str, str]], reply: str = "") -> dict[str, object]:
        """Return the sketch fields of `siphonwatch.streams.contracts.telemetry.Telemetry`, by name.

        Parameters
        ----------
        messages
            (role, text) in order. The text sketched is the last `user` message, or the last message that is not
            `system` or `developer` where no user speaks.
        reply
            The response's text; only its hash, its length and the placeholders it repeats are used.
        """
        turn = _select(messages)
        text = turn.text
        sample = _sample(text)
        array, rules, simhash, has_words, projection = kernel.scan(kernel.points(sample), *self._tables)
        counts = array.tolist()
        size = max(1, len(sample))
        context = self._system(turn.system)
        shape = template.read(sample)
        found = masks.find(sample, counts)
        return {
            "template": self._identity.hash64("template", shape.skeleton),
            "prefix": self._identity.hash64("prefix", shape.prefix),
            "system": context.hash,
            "content": f"{simhash:016x}" if has_words else "",
            "said": self._turn(text),
            "before": self._turn(turn.before),
            "reply": self._turn(reply),
            "follows": self._turn(turn.follows),
            "earlier": self._turn(turn.earlier),
            "projection": _base64(signs) if (signs := projection.tobytes()) != _NO_SIGNS else "",
            "chunks": self._chunks(sample, CHUNKS),
            "reply_chunks": self._chunks(_sample(reply), REPLY_CHUNKS),
            "lang": language.guess(counts),
            "turns": turn.number,
            "chars": len(text),
            "chars_out": len(reply),
            "chars_system": len(turn.system),
            "chars_earlier": len(turn.earlier),
            "digits": 1000 * counts[characters.DIGITS] // size,
            "upper": 1000 * counts[characters.UPPER] // size,
            "punctuation": 1000 * counts[characters.PUNCTUATION] // size,
            "spaces": 1000 * counts[characters.SPACES] // size,
            "wide": 1000 * counts[characters.WIDE] // size,
            "masks": found.counts,
            "echo": masks.echoed(found, reply[:REPLY_CHARS]),
            "canonical": canonical.is_canonical(counts, found.counts, sample),
            "intents": intents.read(sample, int(rules), counts[characters.HAN] > 0) | context.intents,
        }

    def warm(self) -> None:
        """Compile what the first request would wait for, or load it from the cache."""
        marked = " ".join(f"<NAME_{number}>" for number in range(masks.FEW + 1))
        self.sketch([("user", marked)], marked)

    def _chunks(self, sample: str, most: int) -> str:
        if not sample:
            return ""
        return _base64(chunks.cut(kernel.points(sample), *self._characters, self._chunk_key, most).tobytes())

    def _turn(self, words: str) -> str:
        """What was said, hashed as what a client sends of it later on: white space is the client's."""
        if not words:
            return ""
        if len(words) < LONG_TURN or not words.isascii():
            return self._identity.hash64("turn", " ".join(words.split())[:REPLY_CHARS])
        said = kernel.squeezed(np.frombuffer(words.encode(), np.uint8))[:REPLY_CHARS].tobytes()
        return self._identity.hash64_of("turn", said) if said else ""

    def _system(self, text: str) -> _System:
        if not text:
            return _NO_SYSTEM
        sample = _sample(text)
        return self._remembered(sample) if len(sample) <= REMEMBERED_CHARS else self._read_system(sample)

    def _read_system(self, sample: str) -> _System:
        return _System(
            self._identity.hash64("system", template.whole(sample)), intents.read(sample, -1, not sample.isascii())
        )


_NO_SYSTEM = _System("", 0)
_NO_SIGNS = bytes(PROJECTION)


def _base64(found: bytes) -> str:
    return binascii.b2a_base64(found, newline=False).decode()


def _sample(text: str) -> str:
    """The text, or its start and end where it is long."""
    return text if len(text) <= kernel.HEAD + kernel.TAIL else f"{text[: kernel.HEAD]}\n{text[-kernel.TAIL :]}"


@lru_cache(1)
def _lexicon() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    entries = language.words()
    for word, bits in intents.triggers().items():
        entries[word] = entries.get(word, 0) | bits
    return characters.lexicon(entries)


class _Turn(NamedTuple):
    """A request as a turn of a conversation."""

    text: str
    """The message to sketch."""
    system: str
    before: str
    """What the user said before; the text itself where others spoke after it, or nobody but others before it."""
    follows: str
    """What the assistant said last."""
    earlier: str
    """All other messages but the system prompt."""
    number: int
    """Messages but for the system prompt."""


def _select(messages: Sequence[tuple[str, str]]) -> _Turn:
    """Tell the messages apart."""
    system, said = [], []
    user = None
    at = -1
    before = follows = speaker = ""
    for role, text in messages:
        if role in ("system", "developer"):
            system.append(text)
            continue
        said.append(text)
        speaker = role
        if role == "user":
            before, user, at = user or "", text, len(said) - 1
        elif role == "assistant" and text:
            follows = text
    turns = len(said)
    if user is not None and turns > 1 and (speaker != "user" or not before):
        before = user
    text = (said.pop(at) if said else "") or ""
    return _Turn(text, "\n".join(system), before, follows, "\n".join(said), turns)
