"""What every anomaly detector with a bulk path shares: dicts to vectors, checks of arrays, save and restore.

Holds no algorithm: the arithmetic is in each estimator's kernels.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from river import base

from siphonwatch.models.common.state import Array, nbytes, restore, snapshot

Vectors = npt.NDArray[np.float32]


class BulkDetector(base.AnomalyDetector):
    """A River anomaly detector that also takes whole arrays.

    A subclass sets `features` (names in the order of an array's columns, or `None` to take those of the first
    request learnt, sorted) and implements `_start`, `_score` and `_learn`, and `_score_learn` where one pass does both.
    The one-by-one methods call the same kernels with one row, so that batches never change a result. Missing
    features, and those that were not named at the start, follow each estimator's rule for NaN and are ignored
    respectively. Values are single precision.
    """

    features: tuple[str, ...] | None

    @property
    def state(self) -> Any:
        """The arrays that the kernels work on, or `None` before the features are known."""
        return getattr(self, "_state", None)

    @abc.abstractmethod
    def _start(self, n_features: int) -> Any:
        """Return the state before the first request."""

    @abc.abstractmethod
    def _score(self, X: Vectors) -> npt.NDArray[np.float64]:
        """Score the rows without learning."""

    @abc.abstractmethod
    def _learn(self, X: Vectors) -> None:
        """Learn the rows in order."""

    @abc.abstractmethod
    def _score_learn(self, X: Vectors) -> npt.NDArray[np.float64]:
        """Score, then learn each row in turn."""

    def _names(self) -> tuple[str, ...]:
        return getattr(self, "_columns", ()) or tuple(self.features or ())

    def _prepare(self, names: tuple[str, ...]) -> None:
        if self.state is None:
            if not names:
                raise ValueError(f"{type(self).__name__} needs at least one feature; the first request has none")
            self._columns = names
            self._state = self._start(len(names))

    def _vector(self, x: Mapping[Any, Any]) -> Vectors:
        row = [x.get(name, np.nan) for name in self._names()]
        return np.array([row], np.float32)

    def _rows(self, X: npt.NDArray[Any]) -> Vectors:
        rows = np.ascontiguousarray(X, np.float32)
        if rows.ndim != 2:
            raise ValueError(f"expected an array of shape (n, F), got {rows.shape}; reshape one row to (1, F)")
        names = self._names() or tuple(f"x{i}" for i in range(rows.shape[1]))
        if rows.shape[1] != len(names):
            raise ValueError(f"expected {len(names)} features a row ({', '.join(names[:5])}, ...), got {rows.shape[1]}")
        return rows

    def learn_one(self, x: Mapping[Any, Any]) -> None:
        """Learn one request.

        Parameters
        ----------
        x
            Feature name to value.

        Raises
        ------
        ValueError
            The first request has no features.
        """
        self._prepare(self._names() or tuple(sorted(x)))
        self._learn(self._vector(x))

    def score_one(self, x: Mapping[Any, Any]) -> float:
        """Return the score of one request, higher is more anomalous; 0 before anything was learnt."""
        if self.state is None:
            return 0.0
        return float(self._score(self._vector(x))[0])

    def learn_many(self, X: npt.NDArray[Any]) -> None:
        """Learn rows in order.

        Parameters
        ----------
        X
            `(n, F) float32`, columns in the order of `features` (named x0, x1, ... where none were given).

        Raises
        ------
        ValueError
            The array has another shape.
        """
        rows = self._rows(X)
        self._prepare(self._names() or tuple(f"x{i}" for i in range(rows.shape[1])))
        self._learn(rows)

    def score_many(self, X: npt.NDArray[Any]) -> Vectors:
        """Return the scores of rows, `(n,) float32`, without learning them."""
        rows = self._rows(X)
        if self.state is None:
            return np.zeros(len(rows), np.float32)
        return self._score(rows).astype(np.float32)

    def score_learn_many(self, X: npt.NDArray[Any]) -> Vectors:
        """Score each row, then learn it, before the next; returns `(n,) float32`."""
        rows = self._rows(X)
        if not len(rows):
            return np.zeros(0, np.float32)
        self._prepare(self._names() or tuple(f"x{i}" for i in range(rows.shape[1])))
        return self._score_learn(rows).astype(np.float32)

    def snapshot(self) -> dict[str, Array]:
        """Copy the state; empty before the features are known."""
        return {} if self.state is None else snapshot(self.state)

    def restore(self, arrays: dict[str, Array], features: tuple[str, ...]) -> None:
        """Take over a state that `snapshot` wrote under the same settings.

        Parameters
        ----------
        arrays
            Field name to array.
        features
            Names of the columns.

        Raises
        ------
        ValueError
            The arrays do not fit the settings.
        """
        if not arrays:
            return
        self._columns = tuple(features)
        self._state = restore(self._start(len(features)), arrays)

    @property
    def nbytes(self) -> int:
        """Bytes of state; constant from the first request on."""
        return 0 if self.state is None else nbytes(self.state)
