"""Scraping: one account copying a data set out of a REST API, record by record."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from siphonwatch.models.account.features import INDEX, Features
from siphonwatch.models.detect.base import Detector, Ramp, Scores

FIRST = np.float32(0.9)
"""Weight of the strongest way of scraping; all of them together have the rest."""


class Scraping(Detector):
    """Score how much an account's windows look like enumeration.

    There are five ways to copy: by identifiers in order, page after page, by guesses that meet 404s, and by a list of
    things each asked for once at a program's even pace, told of the account as a whole or of one trail of it (a route
    and a client software), which honest use beside it does not dilute. In each way all must hold: its share of the
    requests, and how many there were, because an app turns a page or two, a sync client or a backup begins with one
    walk, and some 250 things are a crawler's first round. What the account comes back to counts in none of them; on a
    trail whose identifiers only rise an account follows events, unless it leaves none out.

    Source: OWASP Automated Threats OAT-011, API4:2023 and API6:2023.

    Examples
    --------
    >>> from siphonwatch.models.account.features import WIDTH
    >>> x = np.zeros((1, WIDTH), np.float32)
    >>> for name, value in {"step_1h": 0.9, "step_count_7d": 6.0}.items():
    ...     x[0, INDEX[name]] = value
    >>> bool(Scraping().score(Features(x))[0] > 0.5)
    True
    """

    pattern = "scraping"
    title = "Scraping by enumeration of resources"
    atlas = ("AML.T0024",)
    owasp = ("API4:2023", "API6:2023")
    null = 0.1
    """On composed traffic 0.03 % of the hours of honest REST accounts reach it."""
    trust = 1.5
    ways: ClassVar[tuple[tuple[Ramp, ...], ...]] = (
        (Ramp(("step_1h", "step_1d"), 0.12, 0.4), Ramp(("step_count_7d",), 4.6, 6.0)),
        (Ramp(("page_step_1h", "page_step_1d"), 0.08, 0.35), Ramp(("page_step_count_7d",), 4.9, 6.2)),
        (
            Ramp(("not_found_1h", "not_found_1d"), 0.12, 0.35),
            Ramp(("not_found_count_7d",), 4.2, 5.6),
            Ramp(("new_resource_1h", "new_resource_1d"), 0.7, 0.9),
        ),
        (
            Ramp(("new_resource_1h", "new_resource_1d"), 0.85, 0.97),
            Ramp(("new_resource_count_7d",), 5.2, 6.4),
            Ramp(("gap_spread_1h",), 0.95, 0.7),
            Ramp(("trail_spread",), 0.75, 0.6),
            Ramp(("requests_rate_1h",), 3.0, 3.9),
        ),
        (
            Ramp(("trail_new",), 0.84, 0.95),
            Ramp(("trail_breadth",), 3.0, 3.9),
            Ramp(("trail_spread",), 0.7, 0.53),
            Ramp(("new_resource_count_7d",), 5.5, 6.0),
            Ramp(("trail_rising",), 0.95, 0.8),
        ),
    )
    trust_in: ClassVar[tuple[float, ...]] = (1.0, 1.0, 1.0, 0.6, 1.0)
    """The fourth way has no order, no misses and mixes all that the account does: it is the likeliest to be honest."""
    supports = tuple(ramp for way in ways for ramp in way)

    def score(self, features: Features) -> Scores:
        """Return each request's score, `(n,) float32` in [0, 1]: of the strongest way, and a little of the others."""
        best = np.zeros(len(features), np.float32)
        total = np.zeros(len(features), np.float32)
        for way, trust in zip(self.ways, self.trust_in, strict=True):
            product = np.full(len(features), trust, np.float32)
            for ramp in way:
                low, slope = np.float32(ramp.low), np.float32(1.0 / (ramp.high - ramp.low))
                furthest = np.zeros(len(features), np.float32)
                for name in ramp.features:
                    np.maximum(furthest, (features.values[:, INDEX[name]] - low) * slope, out=furthest)
                product *= np.minimum(furthest, np.float32(1.0))
            np.maximum(best, product, out=best)
            total += product
        share = total * np.float32(1.0 / sum(self.trust_in))
        mixed: Scores = np.minimum(FIRST * best + (np.float32(1.0) - FIRST) * share, np.float32(1.0))
        return mixed
