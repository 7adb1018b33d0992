"""From verdicts on cases to labels of accounts over time, as they were known at some moment. Trains nothing.

The rules, in the order in which they apply; each has a test of its own name:

1. *Point in time.* A verdict, and what an alert says, count from when they were known; nothing later is looked at.
2. *Revision.* An analyst's last word on a case is the one that counts. A withdrawal ends all words before it, and a
   verdict that is sent once more (an undoing) ends those between.
3. *Contradiction.* Of several analysts the last one's word stands, as on the verdicts topic; the label weighs the share
   of the analysts who decided and agree with it.
4. *Duplicates* follow the case that they point to, as far as that leads; one that leads nowhere says nothing.
5. *Undecided.* Suspicious and insufficient say nothing: such account-time has no label.
6. *Tests* are no customer's use: such account-time is taken out, for every pattern.
7. *Span.* A case's label covers all its accounts from its first request to its last alert known.
8. *Pattern.* A false positive speaks of its own pattern alone; expected use and a true positive speak of the account,
   under whatever pattern.
9. *Overlaps* of one account: a test before all; then an attack before honest use, as one account can do both; among
   labels of the same side, the one known last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from siphonwatch.models.learn.verdict_book import DECIDED, WITHDRAWN

UNKNOWN, HONEST, ATTACK, OUT = -1, 0, 1, -2
"""Of account-time: nobody said, honest use, an attack, and no use of a customer's, which nothing is learnt from."""
ALONE = frozenset({"false-positive"})
"""Decisions that speak of their own pattern alone."""


Word = TypeVar("Word")


class Said(NamedTuple):
    """One verdict, from wherever."""

    case: str
    decision: str
    decided_at: float
    """Seconds since 1970, as `known_at` is."""
    known_at: float
    """When it reached the log: no earlier than it was decided."""
    by: str
    source: str
    """Where it stands: `verdicts` for the topic, or the name of a file."""
    of: str = ""
    """Of a duplicate, the case that it is one of."""


class Span(NamedTuple):
    """What one alert says of its case."""

    case: str
    pattern: str
    accounts: tuple[str, ...]
    since: float
    """Event time of the first request that is evidence, seconds since 1970."""
    until: float
    """Event time of the alert."""
    known_at: float


class Label(NamedTuple):
    """What is known of one account over one stretch of event time."""

    account: str
    since: float
    until: float
    """Inclusive."""
    value: int
    """`ATTACK`, `HONEST`, or `OUT`."""
    weight: float
    """Share of the analysts who decided and agree, in (0, 1]."""
    pattern: str
    """That it speaks of; empty for every one."""
    case: str
    """Whose verdict it is."""
    decision: str
    decided_at: float
    known_at: float
    """When all of it was known: the verdict, what points to it, and the alerts that say accounts and span."""
    by: str
    source: str


def labels(verdicts: Iterable[Said], alerts: Iterable[Span], as_of: float = np.inf) -> list[Label]:
    """Return the labels that were known at a moment, ordered by account, time and case.

    Parameters
    ----------
    verdicts
        In any order; of those known at the same time the later one given is the later one.
    alerts
        What the alerts of the cases say: their accounts, and when.
    as_of
        Seconds since 1970.

    Examples
    --------
    >>> alert = Span("c1", "extraction", ("acme",), 100.0, 200.0, 200.0)
    >>> [label] = labels([Said("c1", "true-positive", 300.0, 301.0, "Ann", "verdicts")], [alert])
    >>> label.account, label.since, label.until, label.value == ATTACK
    ('acme', 100.0, 200.0, True)
    >>> labels([Said("c1", "true-positive", 300.0, 301.0, "Ann", "verdicts")], [alert], as_of=300.0)
    []
    """
    standing = {case: chain for case, chain in _chains(verdicts, as_of).items() if chain}
    found: list[Label] = []
    for case, span in _cases(alerts, as_of).items():
        word, weight, known_at = _word(case, standing)
        if word is None:
            continue
        known_at = max(known_at, span.known_at)
        value = OUT if word.decision == "test" else ATTACK if DECIDED[word.decision] else HONEST
        pattern = span.pattern if word.decision in ALONE else ""
        found += [
            Label(
                account, span.since, span.until, value, weight, pattern, case, word.decision, word.decided_at,
                known_at, word.by, word.source,
            )
            for account in span.accounts
        ]  # fmt: skip
    return sorted(found)


def revise(chain: list[Word], word: Word, told: Callable[[Word], tuple[str, float, str]]) -> None:
    """Put a word behind those on its case that stand, or take back what it takes back (rule 2).

    Parameters
    ----------
    told
        Decision, when it was decided, and by whom: a word in which these are the same is that word once more.

    Examples
    --------
    >>> chain: list[tuple[str, float, str]] = []
    >>> for word in (("true-positive", 1.0, "Ann"), ("false-positive", 2.0, "Bob"), ("true-positive", 1.0, "Ann")):
    ...     revise(chain, word, lambda one: one)
    >>> chain
    [('true-positive', 1.0, 'Ann')]
    """
    same = [k for k, one in enumerate(chain) if told(one) == told(word)]
    if told(word)[0] == WITHDRAWN:
        chain.clear()
    else:
        chain[same[0] if same else len(chain) :] = [word]


def label_at(
    known: Sequence[Label], accounts: Sequence[str], times: npt.NDArray[np.float64], pattern: str
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float64]]:
    """Return what the labels say of accounts at times, for one pattern: values and weights, each `(n,)`.

    Where no label speaks the value is `UNKNOWN` and the weight 0.
    """
    values, weights = np.full(len(accounts), UNKNOWN, np.int8), np.zeros(len(accounts))
    said = Labelled(known)
    for i, (account, time) in enumerate(zip(accounts, times.tolist(), strict=True)):
        if (strongest := said.at(account, time, pattern)) is not None:
            values[i], weights[i] = strongest.value, strongest.weight
    return values, weights


class Labelled:
    """Labels by account.

    Parameters
    ----------
    known
        In any order.
    """

    def __init__(self, known: Iterable[Label]) -> None:
        self._known: dict[str, list[Label]] = {}
        for label in known:
            self._known.setdefault(label.account, []).append(label)

    def at(self, account: str, time: float, pattern: str) -> Label | None:
        """Return the label that holds of an account at a time, for one pattern; None where nobody said."""
        there = [
            label
            for label in self._known.get(account, ())
            if label.pattern in ("", pattern) and label.since <= time <= label.until
        ]
        return max(there, key=lambda label: (label.value == OUT, label.value, label.known_at), default=None)


def _chains(verdicts: Iterable[Said], as_of: float) -> dict[str, list[Said]]:
    """The words on each case that nobody has taken back, in the order in which they were last known."""
    chains: dict[str, list[Said]] = {}
    for word in sorted((one for one in verdicts if one.known_at <= as_of), key=lambda one: one.known_at):
        revise(chains.setdefault(word.case, []), word, lambda one: (one.decision, one.decided_at, one.by))
    return chains


def _word(case: str, standing: dict[str, list[Said]]) -> tuple[Said | None, float, float]:
    """The word that counts for a case, the share of analysts who agree with it, and when both were known.

    None where nothing is decided.
    """
    seen: set[str] = set()
    known_at = -np.inf
    while case in standing and case not in seen:
        seen.add(case)
        last = {one.by: one for one in standing[case]}
        word = standing[case][-1]
        known_at = max(known_at, word.known_at)
        if word.decision == "duplicate":
            case = word.of
            continue
        if word.decision == "test":
            return word, 1.0, known_at
        if word.decision not in DECIDED:
            break
        decided = [DECIDED[one.decision] for one in last.values() if one.decision in DECIDED]
        return word, decided.count(DECIDED[word.decision]) / len(decided), known_at
    return None, 0.0, known_at


def _cases(alerts: Iterable[Span], as_of: float) -> dict[str, Span]:
    """Each case as its alerts known by then say together."""
    cases: dict[str, Span] = {}
    for span in alerts:
        if span.known_at > as_of:
            continue
        known = cases.setdefault(span.case, span)
        cases[span.case] = Span(
            span.case, known.pattern, tuple(dict.fromkeys(known.accounts + span.accounts)),
            min(known.since, span.since), max(known.until, span.until), max(known.known_at, span.known_at),
        )  # fmt: skip
    return cases
