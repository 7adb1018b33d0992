"""Whether evidence keeps its promise: how often benign accounts' peak e-values exceed 1/alpha, against alpha."""

from __future__ import annotations

import numpy as np

from siphonwatch.models.evaluate.bootstrap import Bools, Floats

ALPHAS = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0001)


def crossed(peak: Floats, alpha: float) -> Bools:
    """Return which peak log e-values, of any shape, reached 1/alpha."""
    # A hair of tolerance: peaks are kept as 32-bit floats.
    return np.asarray(peak >= -np.log(alpha) - 1e-6)
