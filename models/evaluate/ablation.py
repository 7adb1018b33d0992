"""The worth of each pattern: accounts ranked and alerts raised without it, and by it alone, from one run."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from siphonwatch.models.evaluate.bootstrap import Bools, Floats
from siphonwatch.models.evidence.process import ENOUGH


class Subset(NamedTuple):
    """A choice of patterns."""

    name: str
    """`all`, `without x` or `only x`."""
    keep: Bools
    """`(P,)`."""


def subsets(patterns: tuple[str, ...]) -> list[Subset]:
    """Return all patterns together, then each one left out, then each alone."""
    eye = np.eye(len(patterns), dtype=np.bool_)
    without = [Subset(f"without {name}", ~eye[p]) for p, name in enumerate(patterns)]
    only = [Subset(f"only {name}", eye[p]) for p, name in enumerate(patterns)]
    return [Subset("all", np.ones(len(patterns), np.bool_)), *without, *only]


def combined(peak: Floats, top: Floats, weight: Floats, keep: Bools) -> Floats:
    """Return accounts' ranks by some of the patterns, `(n,)`.

    As the suspicion, from each pattern's peak log e-value, `(n, P)`, what a unit of it adds, `(P,)`, and what the
    highest score adds, `(n, P)`; only that one run does not tell whether both were reached at the same request. So
    compare these rows with one another.
    """
    if not keep.any():
        return np.zeros(len(peak))
    ranked: Floats = (np.clip(peak, 0.0, ENOUGH) * weight + top)[:, keep].max(axis=1)
    return ranked
