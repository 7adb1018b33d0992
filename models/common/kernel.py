"""How compiled loops are compiled: cached, exact floating point, and unable to allocate memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile a kernel; to a type checker it stays the function.

    Without numba's runtime an allocation is an error at compile time, and the arrays of a state are not
    reference-counted at every use, which measured 3 to 10 times the arithmetic itself.
    """
    compiled: F = njit(cache=True, _nrt=False)(function)
    return compiled


def inlined(function: F) -> F:
    """Compile a kernel into its callers.

    A state is passed by value, some hundred machine words: for what runs once a tree or a request, the call cost ten
    times the body.
    """
    compiled: F = njit(cache=True, _nrt=False, forceinline=True)(function)
    return compiled
