"""Loads a version for MLflow, as the `MLmodel` file of its directory says; it needs no MLflow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from siphonwatch.models.learn.version import TABLES, Version, read_version
from siphonwatch.streams.lab.registry.store import read_files


class PyFunc:
    """Scores rows of features of accounts by each card of a version.

    Parameters
    ----------
    version
        Whose cards score.
    """

    def __init__(self, version: Version) -> None:
        self.version = version
        self._detectors = version.detectors()

    def predict(self, model_input: Any, params: object = None) -> dict[str, npt.NDArray[np.float32]]:
        """Return each pattern's scores, `(n,) float32`.

        Parameters
        ----------
        model_input
            A data frame or mapping with a column for each feature of accounts, or an array `(n, F)` in their order.
        params
            None are known.
        """
        if hasattr(model_input, "keys"):
            columns = [np.asarray(model_input[feature.name], np.float32) for feature in TABLES["account"]]
            values = np.stack(columns, axis=1)
        else:
            values = np.ascontiguousarray(model_input, np.float32)
        return {detector.pattern: detector.score(values) for detector in self._detectors}


def _load_pyfunc(path: str) -> PyFunc:
    """Return the version in a directory; MLflow calls it by this name."""
    return PyFunc(read_version(read_files(path)))
