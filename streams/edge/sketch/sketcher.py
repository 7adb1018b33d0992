"""Turns one request's messages into the sketch fields of telemetry; no text passes through it to its output."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.edge.sketch import (
    canonical,
    characters,
    intents,
    kernel,
    language,
    masks,
    reading,
    signs,
    template,
)

SYSTEMS, REMEMBERED_CHARS = 512, 4096
"""System prompts remembered in memory, at most 8 MB: one application sends the same one all day."""

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
        keys = [identity.secret("sketch"), identity.secret("chunks")]
        keys += [identity.key_of(domain) for domain in ("turn", "template", "prefix")]
        self._tables = reading.tables(
            *characters.tables(), [np.frombuffer(key, np.uint64) for key in keys], _lexicon(), *_signs()
        )
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
        plain = sample.isascii()
        digits, seen = self._read(turn, sample, reply, plain)
        present = seen[reading.PRESENT]
        hashes = [digits[16 * at : 16 * at + 16] if present >> at & 1 else "" for at in range(reading.HASHES)]
        if not plain:
            shape = template.read(sample)
            hashes[reading.TEMPLATE] = self._identity.hash64("template", shape.skeleton)
            hashes[reading.PREFIX] = self._identity.hash64("prefix", shape.prefix)
        signed = seen[reading.SIGNS] if plain else -1
        found = masks.find(sample, seen, signed) if masks.may_stand(seen, signed) else masks.NOTHING
        context = self._system(turn.system)
        size = max(1, len(sample))
        rules, han = seen[reading.RULES], seen[characters.HAN] > 0
        return {
            "template": hashes[reading.TEMPLATE],
            "prefix": hashes[reading.PREFIX],
            "system": context.hash,
            "content": hashes[reading.CONTENT],
            "said": hashes[reading.SAID],
            "before": hashes[reading.BEFORE],
            "reply": hashes[reading.REPLY],
            "follows": hashes[reading.FOLLOWS],
            "earlier": hashes[reading.EARLIER],
            "projection": digits[reading.PROJECTED : reading.CHUNKED] if present & reading.PROJECTION_BIT else "",
            "chunks": digits[reading.CHUNKED : reading.CHUNKED + 8 * seen[reading.CHUNKS_FOUND]],
            "reply_chunks": digits[
                reading.REPLY_CHUNKED : reading.REPLY_CHUNKED + 8 * seen[reading.REPLY_CHUNKS_FOUND]
            ],
            "lang": language.guess(seen),
            "turns": turn.number,
            "chars": len(text),
            "chars_out": len(reply),
            "chars_system": len(turn.system),
            "chars_earlier": len(turn.earlier),
            "digits": 1000 * seen[characters.DIGITS] // size,
            "upper": 1000 * seen[characters.UPPER] // size,
            "punctuation": 1000 * seen[characters.PUNCTUATION] // size,
            "spaces": 1000 * seen[characters.SPACES] // size,
            "wide": 1000 * seen[characters.WIDE] // size,
            "masks": found.counts,
            "echo": masks.echoed(found, reply[:REPLY_CHARS]) if found.spans else 0,
            "canonical": not seen[characters.BREAKS] and canonical.is_canonical(seen, found.counts, sample),
            "intents": (intents.among(sample, rules, han) if rules or han else 0) | context.intents,
        }

    def warm(self) -> None:
        """Compile what the first request would wait for, or load it from the cache."""
        marked = " ".join(f"<NAME_{number}>" for number in range(masks.FEW + 1))
        self.sketch([("user", marked)], marked)

    def _read(self, turn: _Turn, sample: str, reply: str, plain: bool) -> tuple[str, list[int]]:
        """What `reading.read` writes and counts."""
        parts = [_bounded(words) for words in (turn.text, turn.before, reply, turn.follows, turn.earlier)]
        bounds: list[int] = []
        at = 0
        for part in parts:
            end = at + len(part)
            bounds += (at, end)
            at = end
        for whole, place in ((turn.text, reading.SAID), (reply, reading.REPLY)):
            if len(whole) <= kernel.HEAD + kernel.TAIL:
                bounds += bounds[2 * place : 2 * place + 2]
                continue
            part = sample if place == reading.SAID else _sample(whole)
            parts.append(part)
            bounds += (at, at := at + len(part))
        out, numbers = np.empty(reading.WRITTEN, np.uint8), np.empty(reading.NUMBERS, np.int64)
        reading.read(kernel.points("".join(parts)), np.array(bounds), plain, *self._tables, REPLY_CHARS, out, numbers)
        return out.tobytes().decode("latin-1"), numbers.tolist()

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


def _bounded(words: str) -> str:
    """What is hashed of a turn, and a character more where it is cut: so the kernel sees that a space ends it."""
    return words if len(words) <= REPLY_CHARS else " ".join(words.split())[: REPLY_CHARS + 1]


def _sample(text: str) -> str:
    """The text, or its start and end where it is long."""
    return text if len(text) <= kernel.HEAD + kernel.TAIL else f"{text[: kernel.HEAD]}\n{text[-kernel.TAIL :]}"


@lru_cache(1)
def _lexicon() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    entries = language.words()
    for word, bits in intents.triggers().items():
        entries[word] = entries.get(word, 0) | bits
    return characters.lexicon(entries)


@lru_cache(1)
def _signs() -> tuple[tuple[NDArray[np.int16], NDArray[np.uint64]], NDArray[np.uint64]]:
    """What `reading.tables` takes of signs, and of what each rule of intents needs."""
    found = masks.signs()
    needs = np.zeros((len(intents.needs()), 2), np.uint64)
    for rule, (groups, words) in enumerate(intents.needs()):
        needs[rule] = groups, 1 << rule if words else 0
        for word in words:
            found[word] = found.get(word, 0) | 1 << rule
    return signs.automaton(found), needs


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
