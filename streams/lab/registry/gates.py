"""Gates: the figures that a challenger has to reach before it may be the champion, from a TOML file."""

from __future__ import annotations

from importlib.resources import files

import msgspec

from siphonwatch.streams.contracts.control import Gate
from siphonwatch.streams.lab.registry.compare import Comparison


class GatesError(ValueError):
    """A file of gates cannot be used; the message says why."""


class Gates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds; one that is None is not asked for."""

    days: float | None = None
    verdicts: int | None = None
    recall_low: float | None = None
    false_a_day: float | None = None
    cases_a_day: float | None = None
    worse_patterns: int | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    gates: Gates


AT_MOST = ("false_a_day", "cases_a_day", "worse_patterns")
"""Gates whose bound is an upper one; of the others it is a lower one."""


def read_gates(text: str | bytes | None = None, name: str = "gates.toml") -> Gates:
    """Return the gates of a file, those of our own without one.

    Raises
    ------
    GatesError
        Where it is no such file.

    Examples
    --------
    >>> read_gates().days, read_gates("[gates]").days
    (7.0, None)
    """
    if text is None:
        text = (files(__package__) / "gates.toml").read_bytes()
    try:
        return msgspec.toml.decode(text, type=_File).gates
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise GatesError(f"{name}: {error}") from None


def hold(gates: Gates, shown: Comparison) -> list[Gate]:
    """Return how a challenger does at each gate that is asked for."""
    values = msgspec.structs.asdict(shown) | {"worse_patterns": len(shown.worse)}
    found = []
    for name, bound in msgspec.structs.asdict(gates).items():
        if bound is not None:
            value = float(values[name])
            passed = value <= bound if name in AT_MOST else value >= bound
            found.append(Gate(name=name, value=value, bound=float(bound), passed=passed))
    return found
