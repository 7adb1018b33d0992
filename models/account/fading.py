"""How decayed sums of 32 bits are kept from filling up, where an account sends very many requests.

A sum of requests at a steady rate comes to the rate times its time constant: 28 requests/s make 2**24 in 7 days, where
one more no longer changes it, and from 55/s on the factor that one gap gives rounds to 1. A sum that is full stays full
while those beside it go on rising, so that every share of it ends at 1.
"""

from __future__ import annotations

import numpy as np

from siphonwatch.models.account.request import mix
from siphonwatch.models.common.kernel import inlined

MOST = 2.0**22
"""Requests in a sum from which it is of that many of the latest requests, and no longer of those of a time."""
FULL = 0.99 * MOST
"""Requests from which a sum is taken for one of that many: it moves about `MOST` by less."""
EACH = 64
"""One request of so many, by chance, takes what all of them would: a step is then large beside its rounding, which at
`MOST` is up to a quarter of what one request would take."""


@inlined
def is_full(decay: float, requests: float) -> bool:
    """Tell whether decayed sums of so many requests are full: `decay`, by the time that passed, takes too little."""
    return requests >= MOST and decay > 1.0 - 1.0 / MOST


@inlined
def lasting(decay: float, requests: float, number: int) -> float:
    """Return what decayed sums of so many requests keep when one more joins: `decay`, but where they are full.

    `number` is the request's, in whatever order.
    """
    if not is_full(decay, requests):
        return decay
    return 1.0 - EACH / MOST if mix(np.uint64(number)) % np.uint64(EACH) == np.uint64(0) else 1.0
