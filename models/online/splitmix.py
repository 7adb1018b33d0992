"""Random numbers for compiled loops: SplitMix64 whose state is one array element, so a checkpoint keeps its place.

Never draws from the operating system or numpy's global generator.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from siphonwatch.models.common.kernel import kernel

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_A = np.uint64(0xBF58476D1CE4E5B9)
_B = np.uint64(0x94D049BB133111EB)
_UNIT = 1.0 / (1 << 53)


@kernel
def scramble(z: np.uint64) -> np.uint64:
    """Spread a 64-bit integer over all its bits (SplitMix64's finaliser)."""
    z = (z ^ (z >> np.uint64(30))) * _A
    z = (z ^ (z >> np.uint64(27))) * _B
    return z ^ (z >> np.uint64(31))


@kernel
def uniform(rng: npt.NDArray[np.uint64]) -> float:
    """Draw from (0, 1), advancing `rng`, shape `(1,)`.

    Neither end is ever drawn, so a logarithm or a power of the draw is finite.

    References
    ----------
    G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    rng[0] += GOLDEN
    return (np.float64(scramble(rng[0]) >> np.uint64(11)) + 0.5) * _UNIT


@kernel
def below(rng: npt.NDArray[np.uint64], n: int) -> int:
    """Draw an integer of 0 ... n - 1 (n below 2**31; the bias is under n / 2**53)."""
    return int(uniform(rng) * n)
