"""Seals the parts of telemetry that say more than whether two things are equal: likeness of texts (`content`,
`projection`, `chunks`), distances of resources (`item`, `page`). A worker that has the key opens a batch at a time;
without it a sealed part is noise, another one for each record, whatever stood in it.

One record's parts become words of eight bytes: a tag, then the parts under a pad. The tag is SipHash-2-4 (Aumasson,
Bernstein 2012) of the request's id, its time and the parts; the pad is SipHash-2-4 of tag, time and a counter, under
another key. The tag is so what makes each pad another one (a synthetic nonce, as in SIV: Rogaway, Shrimpton 2006): no
clock or random number can repeat and give a pad away. It also tells a wrong key, and a record that was changed.
"""

from __future__ import annotations

import base64
import struct

import msgspec
import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import NAME_WORDS, name_words
from siphonwatch.models.common.kernel import inlined, kernel
from siphonwatch.models.common.vocabulary import CHUNKS, PROJECTION, REPLY_CHUNKS
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.contracts.telemetry import Telemetry

CONTENT, PROJECTED, ITEM, PAGE = 1, 2, 4, 8
"""Bits of the first byte: which of these parts there are. The second and the third byte say how many chunks of the
message and of the reply there are, the fourth is 0."""
HEAD = 4
CHUNK_BYTES = 6
LONGEST = HEAD + 8 + PROJECTION + 8 + 4 + CHUNK_BYTES * (CHUNKS + REPLY_CHUNKS)
"""Bytes of all parts at their longest."""
WORDS = 3 * -(-(8 + LONGEST) // 24)
"""Of a tag and those: in threes, as 24 bytes are 32 digits of base64."""
KEY_BYTES = 32
Words = npt.NDArray[np.uint64]
"""Flat; kernels take the place of a record in it."""


@inlined
def _rotl(x: np.uint64, bits: int) -> np.uint64:
    return (x << np.uint64(bits)) | (x >> np.uint64(64 - bits))


@inlined
def _round(
    v0: np.uint64, v1: np.uint64, v2: np.uint64, v3: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    v0 += v1
    v2 += v3
    v1 = _rotl(v1, 13) ^ v0
    v3 = _rotl(v3, 16) ^ v2
    v0 = _rotl(v0, 32)
    v2 += v1
    v0 += v3
    v1 = _rotl(v1, 17) ^ v2
    v3 = _rotl(v3, 21) ^ v0
    v2 = _rotl(v2, 32)
    return v0, v1, v2, v3


@inlined
def _begin(k0: np.uint64, k1: np.uint64) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    return (
        k0 ^ np.uint64(0x736F6D6570736575),
        k1 ^ np.uint64(0x646F72616E646F6D),
        k0 ^ np.uint64(0x6C7967656E657261),
        k1 ^ np.uint64(0x7465646279746573),
    )


@inlined
def _absorb(
    v0: np.uint64, v1: np.uint64, v2: np.uint64, v3: np.uint64, word: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    v0, v1, v2, v3 = _round(v0, v1, v2, v3 ^ word)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ word, v1, v2, v3


@inlined
def _end(v0: np.uint64, v1: np.uint64, v2: np.uint64, v3: np.uint64, words: int) -> np.uint64:
    v0, v1, v2, v3 = _absorb(v0, v1, v2, v3, np.uint64(words & 31) << np.uint64(59))  # the length in bytes, in the top
    v0, v1, v2, v3 = _round(v0, v1, v2 ^ np.uint64(0xFF), v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


@kernel
def siphash24(words: Words, start: int, n: int, k0: np.uint64, k1: np.uint64) -> np.uint64:
    """SipHash-2-4 of `words[start : start + n]` as bytes, lowest first."""
    v0, v1, v2, v3 = _begin(k0, k1)
    for j in range(start, start + n):
        v0, v1, v2, v3 = _absorb(v0, v1, v2, v3, words[j])
    return _end(v0, v1, v2, v3, n)


@kernel
def tag_of(sealed: Words, start: int, n: int, record: Words, name: int, time: int, key: Words, at: int) -> np.uint64:
    """The tag of `n` words with that of the parts itself, which stand from `start` on, not yet under the pad.

    `record` holds the request's id from `name` on and its time at `time`; the key stands at `key[at : at + 4]`.
    """
    v0, v1, v2, v3 = _begin(key[at], key[at + 1])
    for j in range(name, name + NAME_WORDS):
        v0, v1, v2, v3 = _absorb(v0, v1, v2, v3, record[j])
    v0, v1, v2, v3 = _absorb(v0, v1, v2, v3, record[time])
    for j in range(start + 1, start + n):
        v0, v1, v2, v3 = _absorb(v0, v1, v2, v3, sealed[j])
    return _end(v0, v1, v2, v3, NAME_WORDS + n)


@kernel
def pad(sealed: Words, start: int, n: int, time: np.uint64, key: Words, at: int) -> None:
    """Put the parts behind the tag at `start` under the pad, or take it away."""
    v0, v1, v2, v3 = _begin(key[at + 2], key[at + 3])
    v0, v1, v2, v3 = _absorb(v0, v1, v2, v3, sealed[start])
    v0, v1, v2, v3 = _absorb(v0, v1, v2, v3, time)
    for j in range(1, n):
        w0, w1, w2, w3 = _absorb(v0, v1, v2, v3, np.uint64(j))
        sealed[start + j] ^= _end(w0, w1, w2, w3, 3)


@kernel
def lock(sealed: Words, n: int, record: Words, key: Words) -> None:
    """Seal `n` words, of which the first is for the tag; `record` is the request's id, then its time."""
    sealed[0] = tag_of(sealed, 0, n, record, 0, NAME_WORDS, key, 0)
    pad(sealed, 0, n, record[NAME_WORDS], key, 0)


def seal_key(identity: Identity) -> bytes:
    """Return the key that opens what is sealed under a deployment's secret, and from which nobody finds that secret."""
    return identity.secret("seal")


def parts(record: Telemetry) -> bytes:
    """Return what of a record is sealed, as it stands behind the tag."""
    flags, body = 0, []
    if record.content:
        flags |= CONTENT
        body.append(struct.pack("<Q", int(record.content, 16)))
    if record.projection:
        flags |= PROJECTED
        body.append(base64.b64decode(record.projection))
    if record.item >= 0:
        flags |= ITEM
        body.append(struct.pack("<q", record.item))
    if record.page >= 0:
        flags |= PAGE
        body.append(struct.pack("<i", record.page))
    chunks, reply_chunks = base64.b64decode(record.chunks), base64.b64decode(record.reply_chunks)
    head = bytes((flags, len(chunks) // CHUNK_BYTES, len(reply_chunks) // CHUNK_BYTES, 0))
    return b"".join((head, *body, chunks, reply_chunks))


class Sealer:
    """Seals records; safe to share between threads.

    Parameters
    ----------
    key
        `KEY_BYTES` bytes, see `seal_key`.

    Examples
    --------
    >>> sealer = Sealer(seal_key(Identity("a secret of the deployment")))
    >>> record = sealer.seal(Telemetry(id="r", time=1.0, account="a", content="0123456789abcdef"))
    >>> record.v, record.content, len(record.sealed)
    (2, '', 32)
    """

    def __init__(self, key: bytes) -> None:
        self._key = np.frombuffer(key, "<u8").astype(np.uint64)

    def seal(self, record: Telemetry) -> Telemetry:
        """Return the record with its parts sealed; itself where it has no such part.

        One that is sealed already is left without what stands beside it in the clear.
        """
        if record.sealed:
            return msgspec.structs.replace(
                record, content="", projection="", item=-1, page=-1, chunks="", reply_chunks=""
            )
        plain = parts(record)
        if len(plain) == HEAD and not any(plain):
            return record
        words = np.zeros(3 * -(-(8 + len(plain)) // 24), np.uint64)
        words.view(np.uint8)[8 : 8 + len(plain)] = np.frombuffer(plain, np.uint8)
        request = np.empty(NAME_WORDS + 1, np.uint64)
        request[:NAME_WORDS] = name_words(record.id.encode())
        request[NAME_WORDS:] = np.array([record.time], np.float64).view(np.uint64)
        lock(words, len(words), request, self._key)
        sealed = base64.b64encode(words.tobytes()).decode()
        return msgspec.structs.replace(
            record, v=2, sealed=sealed, content="", projection="", item=-1, page=-1, chunks="", reply_chunks=""
        )
