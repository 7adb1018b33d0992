"""Rarity: an account unlike what the partition's benign accounts do, whatever it is that it does."""

from __future__ import annotations

from siphonwatch.models.detect.base import Detector, Ramp


class Rarity(Detector):
    """Score how rarely the unsupervised models have seen such an account.

    Two models vote, each by the rank of its score among benign accounts: Half-Space Trees and an online isolation
    forest. Both must find the account rare, and it must be busy enough to matter.

    Examples
    --------
    >>> import numpy as np
    >>> from siphonwatch.models.account.features import WIDTH, INDEX, Features
    >>> x = np.zeros((1, WIDTH), np.float32)
    >>> for name, value in {"rare_trees": 1.0, "rare_forest": 1.0, "requests_rate_1d": 5.0, "seen": 6.0}.items():
    ...     x[0, INDEX[name]] = value
    >>> bool(Rarity().score(Features(x))[0] > 0.9)
    True
    """

    pattern = "rarity"
    title = "Unlike anything benign accounts do"
    atlas = ("AML.T0024",)
    trust = 0.5
    null = 0.8
    gates = (
        Ramp(("rare_trees",), 0.96, 1.0),
        Ramp(("rare_forest",), 0.96, 1.0),
        Ramp(("seen",), 3.0, 5.0),
        Ramp(("requests_rate_1d",), 1.0, 3.0),
    )
