"""What every baseline shares: one call over all requests, a score an account. Holds no method, never sees a label."""

from __future__ import annotations

import abc
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from siphonwatch.models.account.request import Array

Accounts = npt.NDArray[np.intp]
Scores = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]


class Baseline(abc.ABC):
    """A detector of others, or a plain count, that ranks accounts."""

    name: str
    """A short word for tables."""
    source: str
    """The paper or the code it follows."""

    @abc.abstractmethod
    def score(self, requests: Array, accounts: Accounts, n_accounts: int) -> Scores:
        """Rank accounts by what they sent.

        Parameters
        ----------
        requests
            `(n,)` of `siphonwatch.models.account.request.REQUEST`, by time.
        accounts
            `(n,)`, the account of each request, 0 ... n_accounts - 1.
        n_accounts
            How many accounts there are.

        Returns
        -------
        `(n_accounts,) float64`, the highest that each account reached; higher is more suspicious. An account that
        sent too little for the method has the method's lowest value.
        """


def requests_by_account(accounts: Accounts) -> Iterator[tuple[int, npt.NDArray[np.intp]]]:
    """Yield each account that sent something with the places of its requests, in their order.

    Examples
    --------
    >>> [(account, rows.tolist()) for account, rows in requests_by_account(np.array([1, 0, 1]))]
    [(0, [1]), (1, [0, 2])]
    """
    order = np.argsort(accounts, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(accounts[order])) + 1):
        if len(rows):
            yield int(accounts[rows[0]]), rows


def embedded(requests: Array, accounts: Accounts) -> tuple[Vectors, Accounts, npt.NDArray[np.intp]]:
    """Return what stands in for the embeddings of prompts.

    Returns
    -------
    `(m, 32) float32` of unit length, the account of each, and its place in `requests`. Requests without text have no
    projection and are left out.
    """
    places = np.flatnonzero((requests["projection"] != 0).any(axis=1))
    vectors = requests["projection"][places].astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors, accounts[places], places
