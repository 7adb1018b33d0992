"""How many distinct ones there were, about, without keeping them: HyperLogLog, of which only registers that hold
something are kept. Sketches of parts make the sketch of the whole, whatever the parts share.

Flajolet et al. (2007); the estimate is Ertl's ("New cardinality estimation algorithms for HyperLogLog sketches", 2017,
algorithm 6), which needs no correction for small or large counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

BITS = 11
"""Of a register's place; with the five of its value a register takes two bytes, a full sketch 4 KB."""
REGISTERS = 1 << BITS
MAX_VALUE = 31
ERROR = 1.04 / math.sqrt(REGISTERS)
"""Relative standard error: 2.3 %."""
_ALPHA = 1.0 / (2.0 * math.log(2.0))
Registers = npt.NDArray[np.uint16]
"""Place times 32 plus value, ascending, a place once."""


def registers(hashes: npt.NDArray[np.uint64]) -> Registers:
    """Return the register that each hash sets, `(n,)`; hashes need not be spread evenly."""
    h = hashes.astype(np.uint64)
    h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)  # SplitMix64's finaliser
    h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    h = h ^ (h >> np.uint64(31))
    place = h >> np.uint64(64 - BITS)
    rest = (h << np.uint64(BITS)) >> np.uint64(BITS)
    # The bits above the highest one that is set, counted by the exponent of a float: exact, as a mantissa has 53 bits.
    _, exponent = np.frexp(rest.astype(np.float64))
    value = np.minimum(64 - BITS - exponent + 1, MAX_VALUE).astype(np.uint64)
    found: Registers = ((place << np.uint64(5)) | value).astype(np.uint16)
    return found


def union(parts: Iterable[bytes]) -> Registers:
    """Return the registers of several sketches together."""
    return merged(np.concatenate([np.zeros(0, np.uint16), *(np.frombuffer(part, "<u2") for part in parts)]))


def merged(values: Registers) -> Registers:
    """Return registers in any order and any number, each place once with its highest value."""
    ordered = np.sort(values)
    last = np.ones(len(ordered), np.bool_)
    last[:-1] = (ordered[1:] >> 5) != (ordered[:-1] >> 5)
    return ordered[last]


def estimate(values: Registers) -> float:
    """Return about how many distinct ones made these registers.

    Examples
    --------
    >>> estimate(merged(registers(np.arange(0, dtype=np.uint64))))
    0.0
    >>> 950 < estimate(merged(registers(np.arange(1000, dtype=np.uint64)))) < 1050
    True
    """
    counts = np.bincount(values & 31, minlength=MAX_VALUE + 1).astype(np.float64)
    counts[0] = REGISTERS - len(values)
    z = REGISTERS * _tau(1.0 - counts[MAX_VALUE] / REGISTERS)  # the highest value stands for itself and beyond
    for k in range(MAX_VALUE - 1, 0, -1):
        z = 0.5 * (z + counts[k])
    z += REGISTERS * _sigma(counts[0] / REGISTERS)
    return 0.0 if math.isinf(z) else float(_ALPHA * REGISTERS * REGISTERS / z)


def _sigma(x: float) -> float:
    if x == 1.0:
        return math.inf
    y, z = 1.0, x
    while True:
        x *= x
        before, z = z, z + x * y
        y += y
        if z == before:
            return z


def _tau(x: float) -> float:
    if x in (0.0, 1.0):
        return 0.0
    y, z = 1.0, 1.0 - x
    while True:
        x = math.sqrt(x)
        before, y = z, 0.5 * y
        z -= (1.0 - x) ** 2 * y
        if z == before:
            return z / 3.0
