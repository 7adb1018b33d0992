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
    max_cost: float | None = None
    max_cohort_worse: float | None = None
    reproducible: bool | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    gates: Gates


AT_MOST = ("false_a_day", "cases_a_day", "worse_patterns", "max_cost", "max_cohort_worse")
"""Gates whose bound is an upper one; of the others it is a lower one."""
UNKNOWN = -1.0
"""Value of a gate whose figure nobody has measured: it fails."""
COMMANDS = {"reproducible": "siphonwatch models show {}"}
"""Commands that show a gate's figure, for a version; of the others `REPORT` does."""
REPORT = "siphonwatch models report {}"


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


def rule(gates: Gates) -> list[Gate]:
    """Return the gates that are asked for with their bounds alone, as they are stated before anything was seen."""
    asked = msgspec.structs.asdict(gates).items()
    return [Gate(name=n, value=UNKNOWN, bound=float(bound), passed=False) for n, bound in asked if bound is not None]


def stated(gates: list[Gate]) -> str:
    """Return gates in words.

    Examples
    --------
    >>> stated(rule(Gates(days=7.0, max_cost=0.35)))
    'days at least 7, max_cost at most 0.35'
    """
    return ", ".join(f"{g.name} {'at most' if g.name in AT_MOST else 'at least'} {g.bound:g}" for g in gates)


def line(gate: Gate, version: str) -> str:
    """Return a gate as one line: what it is and its bound, and, where it fails, the command that shows it."""
    value = "not measured" if gate.value == UNKNOWN else f"{gate.value:g}"
    if gate.passed:
        return f"passes {gate.name} {value}, bound {gate.bound:g}"
    command = COMMANDS.get(gate.name, REPORT).format(version)
    return f"FAILS  {gate.name} {value}, bound {gate.bound:g}: `{command}` shows it"


def hold(gates: Gates, shown: Comparison, *, reproducible: bool = True) -> list[Gate]:
    """Return how a challenger does at each gate that is asked for.

    Parameters
    ----------
    reproducible
        Whether its files are those that its hashes and its id stand for.
    """
    values = msgspec.structs.asdict(shown) | {
        "worse_patterns": len(shown.worse), "max_cohort_worse": shown.max_cohort_worse, "reproducible": reproducible,
    }  # fmt: skip
    found = []
    for name, bound in msgspec.structs.asdict(gates).items():
        if bound is not None:
            known = values[name] is not None
            value = float(values[name]) if known else UNKNOWN
            passed = known and (value <= bound if name in AT_MOST else value >= bound)
            found.append(Gate(name=name, value=value, bound=float(bound), passed=passed))
    return found
