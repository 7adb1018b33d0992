"""Opens the sealed parts of a batch of records, in place, by whichever of the worker's keys fits each."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account import request as rq
from siphonwatch.models.common.kernel import kernel
from siphonwatch.models.common.vocabulary import CHUNKS, PROJECTION, REPLY_CHUNKS
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings, SettingsError
from siphonwatch.streams.contracts.sealed import (
    CHUNK_BYTES,
    CONTENT,
    HEAD,
    ITEM,
    KEY_BYTES,
    PAGE,
    PROJECTED,
    WORDS,
    Words,
    pad,
    seal_key,
    tag_of,
)
from siphonwatch.streams.worker.scan.tables import Bytes
from siphonwatch.streams.worker.scan.words import byte_at, put, word_at

_SIZE = rq.REQUEST.itemsize


def _place(name: str) -> int:
    return int(rq.REQUEST.fields[name][1])  # type: ignore[index]


_ID, _TIME, _CONTENT, _PROJECTION, _ITEM, _PAGE, _CHUNK, _CHARS, _REPLY, _REPLY_CHARS = map(
    _place,
    ("id", "time", "content", "projection", "item", "page",
     "chunk", "chunk_chars", "reply_chunk", "reply_chunk_chars"),
)  # fmt: skip


def keys_of(settings: Settings) -> Words:
    """Return the keys that a worker opens with, `(k, 4)`: the one of the settings, and the one of `identity.key`.

    Raises
    ------
    SettingsError
        Where `identity.seal_key` is no key.
    """
    found = []
    if text := settings.identity.seal_key:
        try:
            found.append(bytes.fromhex(text))
        except ValueError:
            found.append(b"")
        if len(found[0]) != KEY_BYTES:
            raise SettingsError(
                f"identity.seal_key is no key of {2 * KEY_BYTES} hexadecimal digits: "
                "take what `siphonwatch doctor --seal-key` prints where identity.key is set"
            )
    if settings.identity.key:
        found.append(seal_key(Identity.from_settings(settings)))
    return np.frombuffer(b"".join(found), "<u8").astype(np.uint64).reshape(-1, 4)


@kernel
def _take_chunks(sealed: Bytes, p: int, n: int, records: Bytes, hashes: int, chars: int) -> None:
    for j in range(n):
        word = word_at(sealed, p + CHUNK_BYTES * j)
        put(records, hashes + 4 * j, np.uint32(word))
        put(records, chars + 2 * j, np.uint16(word >> np.uint64(32)))


@kernel
def _take(sealed: Bytes, p: int, end: int, records: Bytes, base: int) -> bool:
    """Read the open parts in `sealed[p:end]` into the record at `records[base]`; False where they are none."""
    flags, chunks, replies = byte_at(sealed, p), byte_at(sealed, p + 1), byte_at(sealed, p + 2)
    size = HEAD + CHUNK_BYTES * (chunks + replies)
    size += 8 * (flags & CONTENT != 0) + PROJECTION * (flags & PROJECTED != 0)
    size += 8 * (flags & ITEM != 0) + 4 * (flags & PAGE != 0)
    if flags > 15 or chunks > CHUNKS or replies > REPLY_CHUNKS or byte_at(sealed, p + 3) != 0 or size > end - p:
        return False
    p += HEAD
    if flags & CONTENT:
        put(records, base + _CONTENT, word_at(sealed, p))
        p += 8
    if flags & PROJECTED:
        for j in range(0, PROJECTION, 8):
            put(records, base + _PROJECTION + j, word_at(sealed, p + j))
        p += PROJECTION
    if flags & ITEM:
        put(records, base + _ITEM, word_at(sealed, p))
        p += 8
    if flags & PAGE:
        put(records, base + _PAGE, np.uint32(word_at(sealed, p)))
        p += 4
    _take_chunks(sealed, p, chunks, records, base + _CHUNK, base + _CHARS)
    _take_chunks(sealed, p + CHUNK_BYTES * chunks, replies, records, base + _REPLY, base + _REPLY_CHARS)
    return True


@kernel
def open_all(
    words: Words, sealed: Bytes, lengths: npt.NDArray[np.int64], requests: Words, records: Bytes, keys: Words
) -> int:
    """Open the parts of all records of a batch; return how many fit no key, whose fields stay as they are.

    Parameters
    ----------
    words, sealed
        `WORDS` words for each record, of its tag and its parts, and the same memory as bytes; a word more behind them
        can be read. They are opened there, too.
    lengths
        `(n,) int64`, bytes of each; 0 where nothing is sealed.
    requests, records
        `(n,) REQUEST` as words, and the same memory as bytes.
    keys
        Flat: four words each.
    """
    unopened = 0
    for i in range(len(lengths)):
        n = lengths[i] // 8
        if n == 0:
            continue
        base, start = i * _SIZE, i * WORDS
        name, time = (base + _ID) // 8, (base + _TIME) // 8
        fits = False
        for at in range(0, len(keys), 4):
            pad(words, start, n, requests[time], keys, at)
            if tag_of(words, start, n, requests, name, time, keys, at) == words[start]:
                fits = _take(sealed, 8 * start + 8, 8 * (start + n), records, base)
                break
            pad(words, start, n, requests[time], keys, at)
        unopened += not fits
    return unopened
