"""Which substrings stand in a text, all of them looked for in one compiled pass (Aho, Corasick 1975: Efficient string
matching): most patterns are then never tried."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from siphonwatch.models.common.kernel import inlined

ASCII = 128


def automaton(signs: Mapping[str, int]) -> tuple[NDArray[np.int16], NDArray[np.uint64]]:
    """Build what `found` walks.

    Parameters
    ----------
    signs
        Substring in lower case -> bits; those with a character beyond ASCII are left out.

    Returns
    -------
    steps : `(states * ASCII,) int16`
        The state that follows on a character, capitals as their lower case.
    bits : `(states,) uint64`
        Of all signs that end in a state.
    """
    children: list[dict[int, int]] = [{}]
    bits = [0]
    for sign, bit in signs.items():
        if not sign.isascii():
            continue
        state = 0
        for char in sign.encode():
            if char not in children[state]:
                children[state][char] = len(children)
                children.append({})
                bits.append(0)
            state = children[state][char]
        bits[state] |= bit
    steps = np.zeros((len(children), ASCII), np.int16)
    suffix = [0] * len(children)
    waiting = deque([0])
    while waiting:
        state = waiting.popleft()
        steps[state] = steps[suffix[state]]
        bits[state] |= bits[suffix[state]]
        for char, child in children[state].items():
            suffix[child] = int(steps[state, char]) if state else 0
            steps[state, char] = child
            waiting.append(child)
    steps[:, 65:91] = steps[:, 97:123]
    return steps.ravel(), np.array(bits, np.uint64)


@inlined
def found(points: NDArray[np.uint32], steps: NDArray[np.int16], bits: NDArray[np.uint64]) -> np.uint64:
    """The bits of all signs that stand in a text, whatever the case of its ASCII letters."""
    state = 0
    seen = np.uint64(0)
    for i in range(points.size):
        point = points[i]
        state = int(steps[state * ASCII + point]) if point < ASCII else 0
        seen |= bits[state]
    return seen
