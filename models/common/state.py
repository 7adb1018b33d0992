"""Estimator state as named numpy arrays: copied out, checked and put back. Never pickles, never interprets a value."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


S = TypeVar("S")


def snapshot(state: Any) -> dict[str, Array]:
    """Copy a state's arrays.

    Parameters
    ----------
    state
        A state of any estimator in this package: a `NamedTuple` whose fields are all arrays.

    Returns
    -------
    Field name to array, in the state's order; equal states give equal bytes.

    Examples
    --------
    >>> from siphonwatch.models.online.quantiles import quantile_init
    >>> sorted(snapshot(quantile_init()))
    ['blocks', 'counts', 'params']
    """
    fields: dict[str, Array] = state._asdict()
    return {name: array.copy() for name, array in fields.items()}


def restore(like: S, arrays: dict[str, Array]) -> S:
    """Rebuild a state from `snapshot`.

    Parameters
    ----------
    like
        A freshly initialised state with the same settings: it says which names, dtypes and shapes are right.
    arrays
        Field name to array.

    Returns
    -------
    A state of the same type that owns its arrays.

    Raises
    ------
    ValueError
        A field is missing, unknown, or has another dtype or shape: the settings changed since it was written.
    """
    empty: Any = like
    fields: dict[str, Array] = empty._asdict()
    if arrays.keys() != fields.keys():
        raise ValueError(f"state has fields {sorted(arrays)}, expected {sorted(fields)}; start this estimator afresh")
    for name, expected in fields.items():
        found = arrays[name]
        if found.dtype != expected.dtype or found.shape != expected.shape:
            raise ValueError(
                f"state field {name!r} is {found.dtype}{found.shape}, expected {expected.dtype}{expected.shape}: "
                "the estimator's settings changed since it was written; restore them or start it afresh"
            )
    state: S = empty._make(np.array(arrays[name], order="C", copy=True) for name in fields)
    return state


def nbytes(state: Any) -> int:
    """Return the bytes a state's arrays hold."""
    return sum(array.nbytes for array in state._asdict().values())
