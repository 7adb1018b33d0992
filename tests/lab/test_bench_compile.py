"""`bench compile` counts each compiled function once, and what it calls as a cost of its own."""

from __future__ import annotations

import time

from bench.compile import Cost
from numba import njit
from numba.core import event


@njit
def inner(x: float) -> float:
    return x * 2.0


@njit
def outer(x: float) -> float:
    return inner(x) + inner(x + 1.0)


def test_the_costs_of_functions_that_call_each_other_add_up_to_the_time_that_passed() -> None:
    cost, began = Cost(), time.process_time()
    with event.install_listener("numba:compile", cost):
        assert outer(1.0) == 6.0
    took = time.process_time() - began
    assert cost.functions == {__name__: 2}
    assert 0.0 < cost.seconds[__name__] <= took
