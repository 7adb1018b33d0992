"""One request as a fixed-size record: what the decoder fills in and the windows read. Nothing here knows JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from siphonwatch.models.common.kernel import kernel
from siphonwatch.models.common.vocabulary import CHUNKS, MASK_FAMILIES, PROJECTION, REPLY_CHUNKS

MASKS = len(MASK_FAMILIES)
NAME_WORDS = 8
NAME_BYTES = 8 * NAME_WORDS
"""Longest account name or request id kept; ASCII, padded with NUL, handled as words of 8 bytes."""

HASHES = (
    "key", "user", "session", "ip", "net", "agent", "headers", "asn", "payment",
    "template", "prefix", "system", "content", "said", "before", "reply", "follows", "earlier", "route", "resource",
)  # fmt: skip
"""Keyed 64-bit hashes; 0 where absent."""
LABELS = ("client", "provider", "model", "op", "finish", "lang", "plan", "country")
"""Short open vocabularies, kept as 64-bit FNV-1a hashes; 0 where empty."""
COUNTS = (
    "n_headers", "status", "max_tokens", "n", "logprobs", "tools", "tokens_in", "tokens_out", "remaining",
    "guardrails", "turns", "chars", "chars_out", "digits", "upper", "punctuation", "spaces", "wide", "echo", "intents",
    "page", "account_age", "chars_system", "chars_earlier", "stream", "structured", "canonical",
)  # fmt: skip
"""32-bit integers; the last three are 0 or 1."""
REALS = ("temperature", "top_p", "duration")
"""32-bit floats; NaN where absent."""

REQUEST = np.dtype(
    [("time", "f8"), ("item", "i8"), ("account_hash", "u8")]
    + [(name, "u8") for name in HASHES + LABELS]
    + [(name, "i4") for name in COUNTS]
    + [("masks", "i4", (MASKS,))]
    + [(name, "f4") for name in REALS]
    + [
        ("rest", "i4"),
        ("unread", "f4"),
        ("trail_new", "f4"),
        ("stands_for", "f8"),  # of eight bytes, so that nothing is padded
        ("projection", "i1", (PROJECTION,)),
        ("account", "u8", (NAME_WORDS,)),
        ("id", "u8", (NAME_WORDS,)),
        ("chunk", "u4", (CHUNKS,)),
        ("reply_chunk", "u4", (REPLY_CHUNKS,)),
        ("chunk_chars", "u2", (CHUNKS,)),
        ("reply_chunk_chars", "u2", (REPLY_CHUNKS,)),
    ],
    align=True,
)
"""Fields named as in the telemetry contract. `time` seconds, `item` -1 where absent, `rest` 1 for plain REST.
Records have no padding, so that equal ones are equal bytes. `chunk` and `chunk_chars` are the hashes
and lengths of `chunks` in their order, 0 behind the last one; a hash is never 0. So are those of `reply_chunks`.

Of a plain REST request scoring says itself, 0 before: `unread`, how surely its resource is new to its account, 0 to 1;
`trail_new`, the share of such ones on its trail (`trails`); and `stands_for`, how many requests of its account a
sighting stands for."""

READ_OTHERWISE = (
    "turns", "template", "content", "projection", "system", "max_tokens", "temperature", "top_p",
    "unread", "trail_new", "stands_for",
)  # fmt: skip
"""Fields that scoring changes where a request is not what it says: its history is made up
(`conversations`), or its parameters or system prompt are drawn (`drawn`), and what it says of plain REST requests.
Whoever reads it afterwards reads them so."""
DRAWN_SYSTEM = np.uint64(1)
"""Stands for a system prompt that was drawn anew for a request (`drawn`)."""

Array = npt.NDArray[np.void]
Record = Any
"""One element of a structured array, inside compiled code."""
FNV_OFFSET = np.uint64(0xCBF29CE484222325)
FNV_PRIME = np.uint64(0x100000001B3)


def label(text: str) -> np.uint64:
    """Return one of `LABELS` as it is kept: hashed as `fnv1a` does, without compiling anything."""
    h = int(FNV_OFFSET)
    for byte in text.encode():
        h = ((h ^ byte) * int(FNV_PRIME)) % 2**64
    return np.uint64(h)


def names(words: npt.NDArray[np.uint64]) -> list[str]:
    """Return the texts kept in `(n, NAME_WORDS) uint64`."""
    texts = np.ascontiguousarray(words).view(f"S{NAME_BYTES}")
    return [text.decode("ascii", "replace") for text in texts.ravel().tolist()]


def name_words(text: bytes) -> npt.NDArray[np.uint64]:
    """Return a text as it is kept, `(NAME_WORDS,) uint64`, cut to `NAME_BYTES`."""
    return np.frombuffer(text[:NAME_BYTES].ljust(NAME_BYTES, b"\0"), np.uint64)


@kernel
def same_name(a: npt.NDArray[np.uint64], b: npt.NDArray[np.uint64]) -> bool:
    """Whether two kept texts are equal."""
    for j in range(NAME_WORDS):
        if a[j] != b[j]:
            return False
    return True


@kernel
def copy_name(to: npt.NDArray[np.uint64], text: npt.NDArray[np.uint64]) -> None:
    """Copy a kept text."""
    for j in range(NAME_WORDS):
        to[j] = text[j]


def blank() -> Array:
    """Return one record in which every field has the contract's default, shape `(1,)`."""
    record = np.zeros(1, REQUEST)
    record["item"] = -1
    record["page"] = -1
    record["account_age"] = -1
    record["remaining"] = -1
    record["status"] = 200
    record["n"] = 1
    record["temperature"] = np.nan
    record["top_p"] = np.nan
    return record


@kernel
def fnv1a(buffer: npt.NDArray[np.uint8], start: int, end: int) -> np.uint64:
    """Hash `buffer[start:end]` by FNV-1a (Fowler, Noll, Vo), never 0."""
    h = FNV_OFFSET
    for i in range(start, end):
        h = (h ^ np.uint64(buffer[i])) * FNV_PRIME
    return h if h != np.uint64(0) else np.uint64(1)


@kernel
def mix(h: np.uint64) -> np.uint64:
    """Spread a 64-bit hash over all its bits (the finaliser of SplitMix64, Steele et al. 2014)."""
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return h ^ (h >> np.uint64(31))


@kernel
def account_hash(name: npt.NDArray[np.uint8]) -> np.uint64:
    """Return what stands for an account's name, `(n,)` bytes."""
    return mix(fnv1a(name, 0, len(name)))
