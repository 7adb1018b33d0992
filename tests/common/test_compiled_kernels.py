"""Compiled functions: machine code only for what Python calls, the same answers whoever calls, and kept on disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core import event
from numba.core.errors import NumbaError

from siphonwatch.models.common.kernel import Kernel, allocating, inlined, kernel

MODULE = """
import numpy as np
from siphonwatch.models.common.kernel import inlined, kernel

@inlined
def third(x): return x / 3.0

@kernel
def mean(x):
    total = 0.0
    for value in x:
        total += third(value)
    return total / len(x)

@kernel
def spread(x):
    centre, total = mean(x), 0.0
    for value in x:
        total += (value - centre) ** 2
    return total
"""
SCRIPT = """
import sys
from numba.core import event
sys.path.insert(0, sys.argv[1])
import looped, numpy as np
with event.install_recorder("numba:compile") as compiled:
    value = looped.spread(np.linspace(0.0, 1.0, 7))
names = {e.data["dispatcher"].py_func.__name__ for _, e in compiled.buffer if e.is_start}
print(value.hex(), ",".join(sorted(names & {"third", "mean", "spread"})))
"""


def has_code(compiled: object) -> bool:
    assert isinstance(compiled, Kernel)
    return bool(compiled.overloads) and all(
        result.library.get_pointer_to_function(result.fndesc.llvm_func_name) for result in compiled.overloads.values()
    )


def test_only_what_python_calls_becomes_machine_code_until_python_calls_a_part_too() -> None:
    @kernel
    def halved(x: float) -> float:
        return x / 2.0

    @inlined
    def squared(x: float) -> float:
        return x * x

    @kernel
    def energy(x: float) -> float:
        return halved(squared(x)) + halved(1.0)

    assert energy(3.0) == 5.0
    assert has_code(energy)
    assert not has_code(halved)
    assert not has_code(squared)
    assert halved(5.0) == 2.5
    assert squared(5.0) == 25.0
    assert halved.py_func(5.0) == 2.5  # type: ignore[attr-defined]
    assert has_code(halved)
    assert energy(5.0) == 13.0


def test_a_function_that_python_called_first_is_a_part_of_what_is_compiled_later() -> None:
    @kernel
    def first(x: int) -> int:
        return x + 1

    @kernel
    def later(x: int) -> int:
        return first(x) * 2

    assert first(1) == 2
    with event.install_recorder("numba:compile") as compiled:
        assert later(1) == 4
    assert {e.data["dispatcher"] for _, e in compiled.buffer} == {later}


def test_a_part_is_compiled_once_for_all_callers_with_arguments_of_the_same_types() -> None:
    @kernel
    def part(x: float) -> float:
        return x * 3.0

    @kernel
    def one(x: float) -> float:
        return part(x)

    @kernel
    def two(x: float) -> float:
        return part(x) + part(2.0 * x)

    with event.install_recorder("numba:compile") as compiled:
        assert (one(1.0), two(1.0)) == (3.0, 9.0)
    assert [e.data["dispatcher"] for _, e in compiled.buffer if e.is_start].count(part) == 1


def test_a_kernel_cannot_make_an_array_and_an_allocating_one_can() -> None:
    @kernel
    def refused(n: int) -> float:
        return float(np.zeros((n, n, n, n, n, n), np.int8)[0, 0, 0, 0, 0, 0])

    @allocating
    def filled(n: int) -> float:
        return float(np.zeros((n, n, n, n, n, n), np.int8)[0, 0, 0, 0, 0, 0])

    with pytest.raises(NumbaError):
        refused(3)
    assert filled(3) == 0.0


def test_an_error_in_a_part_reaches_the_caller_in_python() -> None:
    @kernel
    def checked(x: int) -> int:
        if x < 0:
            raise ValueError("below zero")
        return x

    @kernel
    def caller(x: int) -> int:
        return checked(x) + 1

    assert caller(1) == 2
    with pytest.raises(ValueError, match="below zero"):
        caller(-1)


def test_another_process_loads_what_python_calls_and_compiles_nothing(tmp_path: Path) -> None:
    (tmp_path / "looped.py").write_text(MODULE)
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    said = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path)], env=environment, capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert said[0][1:] == ["mean,spread,third"]
    assert said[1:] == [said[0][:1]]
