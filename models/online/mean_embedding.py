"""Running mean embedding of an account's texts, as decayed sums that the caller keeps for each account.

Never sees a clock, only the decay of the time passed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from siphonwatch.models.common.kernel import kernel

Single = npt.NDArray[np.float32]
Double = npt.NDArray[np.float64]


@kernel
def embed_update(sums: Single, weight: Single, weight_sq: Single, x: Single, decay: Double, amount: Double) -> None:
    """Add one request to an account's decayed sums.

    Parameters
    ----------
    sums
        `(2, D) float32` weighted sums of embeddings, fast scale and slow.
    weight
        `(2,) float32` sums of the weights.
    weight_sq
        `(2,) float32` sums of the squared weights.
    x
        `(D,) float32` the request's embedding.
    decay
        `(2,) float64` factor of what is already there, exp(-dt / tau); 1 for a late request.
    amount
        `(2,) float64` weight of this request: 1, or exp(-lag / tau) for a late one.
    """
    for scale in range(2):
        weight[scale] = weight[scale] * decay[scale] + amount[scale]
        weight_sq[scale] = weight_sq[scale] * decay[scale] * decay[scale] + amount[scale] * amount[scale]
        for d in range(len(x)):
            sums[scale, d] = sums[scale, d] * decay[scale] + amount[scale] * x[d]
