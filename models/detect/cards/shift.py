"""Shift: an account that leaves its own baseline of volume and habit."""

from __future__ import annotations

from siphonwatch.models.detect.base import Detector, Ramp


class Shift(Detector):
    """Score how far an account's last hour is from its own days before, in volume and in what it asks.

    Growth alone is business; a jump in volume counts with a change of content or of habits beside it.

    Examples
    --------
    >>> import numpy as np
    >>> from siphonwatch.models.account.features import WIDTH, INDEX, Features
    >>> x = np.zeros((1, WIDTH), np.float32)
    >>> moved = {"rise_1h": 4.0, "content_shift": 0.6, "sweep_shift": 0.6, "age": 4.0, "user_shift": -0.6}
    >>> for name, value in moved.items():
    ...     x[0, INDEX[name]] = value
    >>> bool(Shift().score(Features(x))[0] > 0.5)
    True
    """

    pattern = "shift"
    title = "Sudden change of volume and habits"
    atlas = ("AML.T0024",)
    owasp = ("LLM10:2025", "API4:2023")
    trust = 0.5
    null = 0.4
    gates = (
        Ramp(("rise_1h", "rise_1d"), 1.0, 3.0),
        Ramp(("age",), 2.0, 3.2),
    )
    supports = (
        Ramp(("content_shift",), 0.15, 0.5, 2.0),
        Ramp(("sweep_shift",), 0.1, 0.5, 2.0),
        Ramp(("user_shift", "session_shift", "system_shift", "headers_shift"), -0.1, -0.5, 1.5),
        Ramp(("rise_1h", "rise_1d"), 2.0, 5.0, 1.0),
    )
