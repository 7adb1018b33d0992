"""Which partition an account belongs to: Kafka's own partitioner, over the names as requests keep them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from siphonwatch.models.common.kernel import inlined, kernel

_SEED, _M, _LOW = np.uint64(0x9747B28C), np.uint64(0x5BD1E995), np.uint64(0xFFFFFFFF)
_POSITIVE = np.uint64(0x7FFFFFFF)


@inlined
def _murmur2(name: npt.NDArray[np.uint64]) -> int:
    """The hash of one name, never negative."""
    size = 0
    for j in range(len(name)):
        word = name[j]
        while word != np.uint64(0):
            size += 1
            word >>= np.uint64(8)
    h = _SEED ^ np.uint64(size)
    for place in range(0, size - size % 4, 4):
        k = (name[place // 8] >> np.uint64(8 * (place % 8))) & _LOW
        k = (k * _M) & _LOW
        k ^= k >> np.uint64(24)
        k = (k * _M) & _LOW
        h = ((h * _M) & _LOW) ^ k
    if size % 4:
        place = size - size % 4
        h ^= (name[place // 8] >> np.uint64(8 * (place % 8))) & _LOW
        h = (h * _M) & _LOW
    h ^= h >> np.uint64(13)
    h = (h * _M) & _LOW
    h ^= h >> np.uint64(15)
    return np.int64(h & _POSITIVE)  # type: ignore[return-value]


@kernel
def count_elsewhere(accounts: npt.NDArray[np.uint64], partition: int, partitions: int, before: int) -> int:
    """Return how many accounts belong to a partition neither by the number of partitions of now nor by that of before.

    Parameters
    ----------
    accounts
        Names, `(n, NAME_WORDS)`, padded with NUL.
    partition, partitions, before
        The partition, how many there are, and how many there were.

    Notes
    -----
    MurmurHash2 by Austin Appleby with the seed of Kafka's `org.apache.kafka.common.utils.Utils.murmur2`, the default of
    Java producers; librdkafka has it as `partitioner=murmur2_random`.

    Examples
    --------
    >>> from siphonwatch.models.account.request import name_words
    >>> accounts = np.stack([name_words(b"acme"), name_words(b"globex"), name_words(b"initech")])
    >>> [count_elsewhere(accounts, partition, 4, 4) for partition in range(4)]
    [2, 3, 2, 2]
    """
    elsewhere = 0
    for i in range(len(accounts)):
        h = _murmur2(accounts[i])
        if h % partitions != partition and h % before != partition:
            elsewhere += 1
    return elsewhere


@kernel
def _partitions(accounts: npt.NDArray[np.uint64], partitions: int, out: npt.NDArray[np.int64]) -> None:
    for i in range(len(accounts)):
        out[i] = _murmur2(accounts[i]) % partitions


def partitions_of(accounts: npt.NDArray[np.uint64], partitions: int) -> npt.NDArray[np.int64]:
    """Return the partition of each account, `(n,) int64`, of names `(n, NAME_WORDS)`.

    Examples
    --------
    >>> from siphonwatch.models.account.request import name_words
    >>> partitions_of(np.stack([name_words(b"acme"), name_words(b"globex"), name_words(b"initech")]), 4).tolist()
    [0, 3, 2]
    """
    out = np.empty(len(accounts), np.int64)
    _partitions(accounts, partitions, out)
    return out
