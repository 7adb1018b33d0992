"""How loops are compiled: cached, exact floating point, unable to allocate memory, and machine code only for
those that Python calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

from numba.core import config, event
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, Flags, compile_extra
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import CPUDispatcher

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile a kernel; to a type checker it stays the function.

    Without numba's runtime an allocation is an error at compile time, and the arrays of a state are not
    reference-counted at every use, which measured 3 to 10 times the arithmetic itself.
    """
    return _compiled(function, _nrt=False)


def inlined(function: F) -> F:
    """Compile a kernel into its callers.

    A state is passed by value, some hundred machine words: for what runs once a tree or a request, the call cost ten
    times the body.
    """
    return _compiled(function, _nrt=False, forceinline=True)


def allocating(function: F) -> F:
    """Compile a kernel that may make arrays, for what runs once a text or a page of accounts."""
    return _compiled(function)


def _compiled(function: F, **options: bool) -> F:
    if config.DISABLE_JIT:
        return function
    # Nobody calls our kernels from C.
    dispatcher = Kernel(function, targetoptions={"nopython": True, "no_cfunc_wrapper": True, **options})
    dispatcher.enable_caching()
    compiled: F = dispatcher
    return compiled


class _CacheFile(IndexDataCacheFile):
    """numba's files of one function, safe where several processes compile it at a time.

    numba numbers the files of code: two processes that begin with one index give different code the same number, and a
    third one would then run what was compiled for other types. Here a file is named by what its code is for. Where two
    write the index at a time, one entry may be missing until that code is compiled again.
    """

    def save(self, key: Any, data: Any) -> None:
        """Save a function's code under its key: the types it takes, the machine, its source."""
        name = self.data_name(key)
        self._save_data(name, data)  # before the index, which then never names what is not there
        overloads = self._load_index()
        if overloads.get(key) != name:
            self._save_index(overloads | {key: name})

    def data_name(self, key: Any) -> str:
        """Return the name of the file of code for a key."""
        named: str = self._data_name(int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest(), "big"))
        return named


class _Cache(FunctionCache):
    """Keeps a function's code on disk."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = _CacheFile(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=self._impl.locator.get_source_stamp(),
        )


class Kernel(CPUDispatcher):
    """A compiled function that becomes machine code of its own only where Python calls it.

    numba optimises every function, makes machine code and wrappers of it and caches them, also where only other
    compiled functions call it, which then link it and do all of that again: of 200 functions Python calls 30, and the
    others took more than a third of the time to compile. A part is compiled as far as LLVM's intermediate
    representation, and optimised within its callers. What they compute stays the same to the last bit.
    """

    def enable_caching(self) -> None:
        """Keep what is compiled on disk."""
        self._cache = _Cache(self.py_func)

    def get_call_template(self, args: Sequence[Any], kws: dict[str, Any]) -> Any:
        """Have numba's answer to a caller that is compiled, after this function is a part of it."""
        _, types = self.fold_argument_types(args, kws)
        with global_compiler_lock:
            if tuple(types) not in self.overloads:
                self._compile_part(tuple(types))
        return super().get_call_template(args, kws)

    def _compile_part(self, types: tuple[Any, ...]) -> None:
        flags = Flags()
        options = self.targetoptions | {"no_cpython_wrapper": True}
        self.targetdescr.options.parse_as_flags(flags, options)
        flags.no_compile = True
        details = {"dispatcher": self, "args": types, "return_type": None}
        with self._compiling_counter, event.trigger_event("numba:compile", data=details):
            self.overloads[types] = compile_extra(
                self.typingctx, self.targetctx, self.py_func, args=types, return_type=None, flags=flags,
                locals=self.locals, pipeline_class=_PartCompiler,
            )  # fmt: skip

    def _compile_for_args(self, *args: Any, **kws: Any) -> Any:
        """Compile for a call from Python, also what is a part already."""
        found = super()._compile_for_args(*args, **kws)
        if isinstance(found, _Part):
            with global_compiler_lock:  # of two threads that call it one compiles, and the other finds it done
                if self.overloads[found.types].entry_point is found:
                    del self.overloads[found.types]
                found = super()._compile_for_args(*args, **kws)
        return found


class _Part:
    """Stands where numba has a function's entry point: the key under which callers find the function."""

    def __init__(self, types: tuple[Any, ...]) -> None:
        self.types = types


class _PartLibrary(JITCodeLibrary):
    """Linked into callers' libraries, neither optimised nor made machine code by itself."""

    def _optimize_final_module(self) -> None:
        """The caller's library does it."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True


class _PartCompiler(Compiler):
    """numba's compiler, up to the function's intermediate representation."""

    def _compile_core(self) -> Any:
        state = self.state
        state.library = _PartLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        result = super()._compile_core()
        part = _Part(tuple(result.signature.args))
        state.targetctx.insert_user_function(part, result.fndesc, [result.library])
        return result._replace(entry_point=part)
