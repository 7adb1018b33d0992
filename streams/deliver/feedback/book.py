"""Which decisions that come from elsewhere become verdicts: those on a known case, each once, and no echo. No I/O.

A tool that is asked again says the same again, and a message may come twice. So a decision counts where it is newer
than the verdict that stands and says something else; what a tool said before is known from the verdicts themselves,
which name their source, so it holds across restarts.
"""

from __future__ import annotations

import re
import threading
from typing import Literal, cast

import msgspec

from siphonwatch.models.evidence.cases import ERASED
from siphonwatch.models.learn.verdict_book import DECISIONS, WITHDRAWN, Decision
from siphonwatch.streams.contracts.alert import NotAnAlert
from siphonwatch.streams.contracts.alert import decode as decode_alert
from siphonwatch.streams.contracts.verdict import MAX_NOTE, NotAVerdict, Verdict, decode, encode, judge
from siphonwatch.streams.deliver.text import clean, clip

Result = Literal["taken", "repeated", "older", "unknown", "unusable"]
RESULTS: tuple[Result, ...] = ("taken", "repeated", "older", "unknown", "unusable")
NAME = 64
"""Longest name of who decided, as verdicts have it."""
AHEAD = 300.0
"""Seconds that a decision may be ahead of our clock."""
MOST_CASES = 500_000
"""Cases that are known, some 1 KB each; beyond, the oldest leave and are `unknown`."""
_CASE = re.compile(r"[0-9a-f]{16}\Z")


class Claim(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody decided elsewhere: also the body of a signed message."""

    case: str
    decision: str
    """One of ours, as `siphonwatch verdict` takes it."""
    by: str = ""
    """Who decided."""
    note: str = ""
    of: str = ""
    """Of a duplicate: the case that it is one of."""
    time: float | None = None
    """When, seconds since 1970; None for now."""


class Answer(msgspec.Struct, frozen=True):
    """What became of a claim."""

    result: Result
    detail: str
    verdict: Verdict | None = None
    """What to send, where it was taken."""


class CaseBook:
    """What the topics said of each case; the thread that reads them and the one that asks share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cases: dict[str, bytes] = {}
        self._erased: set[str] = set()
        self._stands: dict[str, tuple[str, float, str]] = {}
        self._said: dict[tuple[str, str], tuple[str, float]] = {}

    def __len__(self) -> int:
        return len(self._cases)

    def alert(self, value: bytes) -> None:
        """Take note of a record of the alerts topic; a closing repeats the one before, a test is no case."""
        try:
            alert = decode_alert(value)
            if alert.kind == "closed" or alert.own.test is True:
                if alert.own.accounts == [ERASED]:
                    self._erase(alert.subject)
                return
            made = judge(alert, "test", by="x", time=0.0)
        except (NotAnAlert, NotAVerdict):
            return  # `siphonwatch alerts` counts the first; on the second no verdict can be given
        with self._lock:
            self._cases.pop(alert.subject, None)
            self._cases[alert.subject] = encode(_blank(made) if alert.subject in self._erased else made)
            if len(self._cases) > MOST_CASES:
                del self._cases[next(iter(self._cases))]

    def verdict(self, value: bytes) -> None:
        """Take note of a record of the verdicts topic."""
        try:
            verdict = decode(value)
        except NotAVerdict:
            return
        if verdict.account == ERASED:
            self._erase(verdict.case)
        with self._lock:
            self._note(verdict)

    def _erase(self, case: str) -> None:
        """Judge a case without the account that it was about: its alerts may be on the topic for long."""
        with self._lock:
            self._erased.add(case)
            if known := self._cases.get(case):
                self._cases[case] = encode(_blank(decode(known)))

    def _note(self, verdict: Verdict) -> None:
        if verdict.decision == WITHDRAWN:
            self._stands.pop(verdict.case, None)
        else:
            self._stands[verdict.case] = verdict.decision, verdict.time, verdict.of
        if found := re.search(r" \(([a-z0-9-]+)\)\Z", verdict.by):
            self._said[verdict.case, found[1]] = verdict.decision, verdict.time

    def weigh(self, claim: Claim, source: str, now: float) -> Answer:
        """Say what becomes of a claim; where it is taken, the caller is to send the verdict and then to call `sent`.

        Parameters
        ----------
        source
            Where it comes from: the sink's name, or `webhook`.
        now
            Seconds since 1970.
        """
        with self._lock:
            return self._weigh(claim, source, now)

    def _weigh(self, claim: Claim, source: str, now: float) -> Answer:
        if not _CASE.match(claim.case) or claim.decision not in DECISIONS:
            return Answer("unusable", f"case has 16 hexadecimal digits, decision is one of {', '.join(DECISIONS)}")
        if claim.time is not None and not 0 <= claim.time <= now + AHEAD:
            return Answer("unusable", "time is seconds since 1970, and not in the future")
        if claim.case not in self._cases or (claim.of and claim.of not in self._cases):
            which = claim.case if claim.case not in self._cases else clip(clean(claim.of), 20)
            return Answer("unknown", f"no alert of case {which} is on the alerts topic")
        decided = now if claim.time is None else claim.time
        stands = self._stands.get(claim.case)
        if stands is not None and stands[0] == claim.decision and claim.of in ("", stands[2]):
            return Answer("repeated", f"{claim.decision} stands already")
        said = self._said.get((claim.case, source))
        if said is not None and said[0] == claim.decision and (claim.time is None or said[1] >= claim.time):
            return Answer("repeated", f"{source} said so before, and somebody decided otherwise since")
        if stands is not None and stands[1] >= decided:
            return Answer("older", f"a newer verdict stands: {stands[0]}")
        try:
            verdict = self._made(claim, source, decided)
        except NotAVerdict as error:
            return Answer("unusable", str(error))
        return Answer("taken", f"{claim.case}: {claim.decision}", verdict)

    def _made(self, claim: Claim, source: str, decided: float) -> Verdict:
        if claim.of and (claim.decision != "duplicate" or claim.of == claim.case):
            raise NotAVerdict("only a duplicate points to another case")
        tail = f" ({source})"
        decision = cast(Decision, claim.decision)  # as was seen
        known = decode(self._cases[claim.case])
        verdict = msgspec.structs.replace(
            known, decision=decision, of=claim.of, time=decided, note=clip(claim.note, MAX_NOTE),
            by=(clip(clean(claim.by).strip(), NAME - len(tail)) or "somebody") + tail,
        )  # fmt: skip
        return decode(encode(verdict))

    def sent(self, verdict: Verdict) -> None:
        """Take note of a verdict that the topic has, before it is read back."""
        with self._lock:
            self._note(verdict)


def _blank(verdict: Verdict) -> Verdict:
    return msgspec.structs.replace(verdict, account=ERASED)
