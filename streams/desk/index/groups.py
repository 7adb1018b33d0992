"""Which cases belong together: those that are about one account, and those that somebody merged. A group is named after
the first of its cases by id, so that it has one name whatever came first.
"""

from __future__ import annotations

from collections.abc import Iterable

from siphonwatch.streams.desk.index.sql import Connection
from siphonwatch.streams.desk.index.traffic import parts


def regroup(to: Connection, touched: Iterable[str]) -> None:
    """Group anew the cases that are given, those of their groups, and those that now belong to them.

    Parameters
    ----------
    to
        Within a transaction.
    touched
        Cases whose members or merge changed, or whose group lost a case; unknown ones are left out.
    """
    waiting = set(touched)
    old = {name for (name,) in _ask(to, "SELECT DISTINCT belongs FROM cases WHERE id IN ({})", waiting) if name}
    waiting |= {case for (case,) in _ask(to, "SELECT id FROM cases WHERE belongs IN ({})", old)}
    links: list[tuple[str, str]] = []
    reached: set[str] = set()
    while waiting := waiting - reached:
        known = {case for (case,) in _ask(to, "SELECT id FROM cases WHERE id IN ({})", waiting)}
        reached |= waiting
        found = [
            *_ask(
                to,
                "SELECT m.id, n.id FROM member m CROSS JOIN member n "
                "WHERE m.account = n.account AND m.id IN ({}) AND m.split = 0 AND n.split = 0 AND m.id != n.id",
                known,
            ),
            *_ask(to, "SELECT id, merged FROM cases WHERE id IN ({}) AND merged != ''", known),
            *_ask(to, "SELECT merged, id FROM cases WHERE merged IN ({})", known),
        ]
        links += [(first, second) for first, second in found]
        waiting = {second for _, second in found}
    members = {case for (case,) in _ask(to, "SELECT id FROM cases WHERE id IN ({})", reached)}
    group = {case: case for case in members}
    for first, second in links:
        if first in group and second in group:
            a, b = _root(group, first), _root(group, second)
            group[max(a, b)] = min(a, b)
    to.executemany(
        "UPDATE cases SET belongs = ? WHERE id = ? AND belongs != ?",
        ((root, case, root) for case in sorted(members) for root in [_root(group, case)]),
    )


def _root(group: dict[str, str], case: str) -> str:
    while group[case] != case:
        group[case] = group[group[case]]
        case = group[case]
    return case


def _ask(to: Connection, question: str, values: Iterable[str]) -> Iterable[tuple[str, ...]]:
    """All answers to a question about many values, a part of them at a time."""
    for part, marks in parts(sorted(values)):
        yield from to.execute(question.format(marks), part).fetchall()
