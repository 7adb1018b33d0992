"""Compiled functions: machine code only for what Python calls, the same answers whoever calls, and kept on disk."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numba.core import event
from numba.core.errors import NumbaError
from numba.core.registry import CPUDispatcher

from siphonwatch.models.common.kernel import Kernel, _CacheFile, allocating, inlined, kernel

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


def test_two_threads_that_call_a_part_at_a_time_both_get_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    @kernel
    def part(x: float) -> float:
        return x * 7.0

    @kernel
    def caller(x: float) -> float:
        return part(x)

    assert caller(1.0) == 7.0
    both = threading.Barrier(2)
    compile_for_args = CPUDispatcher._compile_for_args
    waited = set[int]()

    def meeting(self: CPUDispatcher, *args: object) -> object:
        found = compile_for_args(self, *args)
        if threading.get_ident() not in waited:
            waited.add(threading.get_ident())
            both.wait(60)
        return found

    monkeypatch.setattr(CPUDispatcher, "_compile_for_args", meeting)
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(part, [1.0, 2.0])) == [7.0, 14.0]


def test_two_processes_that_save_at_a_time_never_give_one_the_other_s_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both read the index before either has written it, and one saves its code between the other's two writes."""
    one, other = (("float64",), "machine", "source"), (("int64",), "machine", "source")
    files = [_CacheFile(str(tmp_path), "f", (1.0, 2)) for _ in range(2)]
    save_data = files[0]._save_data

    def save_late(name: str, data: object) -> None:
        files[1].save(other, "code for an integer")
        save_data(name, data)

    with monkeypatch.context() as patched:
        patched.setattr(files[1], "_load_index", lambda: {})
        patched.setattr(files[0], "_save_data", save_late)
        files[0].save(one, "code for a float")
    found = [_CacheFile(str(tmp_path), "f", (1.0, 2)).load(key) for key in (one, other)]
    assert found[0] in (None, "code for a float") and found[1] in (None, "code for an integer")
    files[0].save(one, "code for a float")
    files[1].save(other, "code for an integer")
    assert [files[0].load(key) for key in (one, other)] == ["code for a float", "code for an integer"]


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
