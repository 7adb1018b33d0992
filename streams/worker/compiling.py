"""Says what numba compiles while it compiles, so that nobody takes a first start's minute for a hang."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from numba.core import event

FOREIGN = "numba."
"""Modules whose functions are parts of ours."""


class _Modules(event.Listener):
    """Passes each of our modules on once, when its first function begins to compile; never for one out of the cache."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._said: set[str] = set()

    def on_start(self, event: event.Event) -> None:
        module = event.data["dispatcher"].py_func.__module__
        if not module.startswith(FOREIGN) and module not in self._said:
            self._said.add(module)
            self._say(module)

    def on_end(self, event: event.Event) -> None:
        """Nothing is said at the end."""


@contextlib.contextmanager
def saying(say: Callable[[str], None]) -> Iterator[None]:
    """Call `say` with the name of each module whose functions are compiled inside, once, as that begins."""
    with event.install_listener("numba:compile", _Modules(say)):
        yield
