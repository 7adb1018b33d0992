"""The verdict contract, version 1: what an analyst decided about a case, with what the ranker needs to learn from it.

A verdict is read from the topic alone: it repeats the facts of the alert that was judged. Its note and the analyst's
name stay on this topic; they never reach alerts, metrics or logs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from siphonwatch.models.evidence.cases import ERASED
from siphonwatch.models.learn.labels import Said, Span, revise
from siphonwatch.models.learn.ranker_features import MAX_SIGNALS, Facts, SignalFact
from siphonwatch.models.learn.verdict_book import WITHDRAWN, Decision, Vote
from siphonwatch.streams.contracts.alert import Alert

MAX_NOTE = 2000


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One decision of an analyst. The last one of a case stands. Fields may be added with a default, none retyped."""

    case: Annotated[str, Meta(pattern="^[0-9a-f]{16}$(?!\\n)")]
    alert: Annotated[str, Meta(pattern="^[0-9a-f]{16}-[0-9]{1,10}$(?!\\n)")]
    """Id of the alert that was judged."""
    decision: Decision | Literal["withdrawn"]
    """Right; wrong; right about what the account does, which it may do; not decided yet, as it is suspicious or too
    little is known; the same as another case; a trial of the alerting; or no verdict any more."""
    time: Annotated[float, Meta(ge=0, le=2**34)]
    """When it was decided, seconds since 1970 UTC."""
    by: Annotated[str, Meta(min_length=1, max_length=64)]
    """The analyst."""
    account: Annotated[str, Meta(min_length=1, max_length=64)]
    """The case's first account, as it stands in the alert."""
    facts: Facts
    """What the alert said."""
    note: Annotated[str, Meta(max_length=MAX_NOTE)] = ""
    """Free text for people, which may hold names."""
    of: Annotated[str, Meta(pattern="^([0-9a-f]{16})?$(?!\\n)")] = ""
    """Of a duplicate: the case that it is a duplicate of."""
    card: Annotated[str, Meta(max_length=64)] = ""
    """What found it, as the alert says; empty where the verdict or the alert is of a release that did not say."""
    v: Literal[1] = 1

    @property
    def vote(self) -> Vote:
        """What the ranker learns of it."""
        return Vote(case=self.case, account=self.account, decision=self.decision, facts=self.facts)


class NotAVerdict(ValueError):
    """A record that is no verdict of ours, or an alert that none can be given on; the message quotes no content."""


_decoder = msgspec.json.Decoder(Verdict)
_encoder = msgspec.json.Encoder()


def encode(verdict: Verdict) -> bytes:
    """Serialise one verdict as one line of JSON."""
    return _encoder.encode(verdict)


def decode(raw: bytes) -> Verdict:
    """Parse and validate one verdict.

    Raises
    ------
    NotAVerdict
        When it is none of version 1.
    """
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        # What msgspec says of a value of an enumeration quotes it.
        what = "an unknown value" if "Invalid enum value" in str(error) else str(error)
        raise NotAVerdict(what) from None


def standing(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return the last verdict of each case, in the order of the log, without those that were withdrawn."""
    last: dict[str, Verdict] = {}
    for verdict in verdicts:
        last.pop(verdict.case, None)
        if verdict.decision != WITHDRAWN:
            last[verdict.case] = verdict
    return list(last.values())


def undone(verdicts: Iterable[Verdict], *, by: str, time: float) -> Verdict:
    """Return the record that takes back the last of a case's verdicts: the one before it again, or a withdrawal.

    Parameters
    ----------
    verdicts
        All of one case, in the order of the log.
    by, time
        Who takes it back, and when, seconds since 1970.

    Raises
    ------
    NotAVerdict
        When none stands.
    """
    chain: list[Verdict] = []
    erased = False
    for verdict in verdicts:
        erased = erased or verdict.account == ERASED
        revise(chain, verdict, lambda one: (one.decision, one.time, one.by))
    if not chain:
        raise NotAVerdict("it has none")
    if len(chain) > 1:
        # Of an erased account the last verdict alone was blanked: those before it must not bring its name back.
        return msgspec.structs.replace(chain[-2], account=ERASED, note="") if erased else chain[-2]
    return msgspec.structs.replace(chain[0], decision=WITHDRAWN, by=by, time=time, note="")


def facts_of_alert(alert: Alert) -> Facts:
    """Return the facts of an alert: those of the finding it was made from.

    Raises
    ------
    NotAVerdict
        When a figure is beyond what a verdict may hold.
    """
    own, data = alert.own, alert.data
    facts = Facts(
        pattern=own.pattern,
        severity=data.severity.lower(),
        log_e=own.log_e_value,
        alpha=own.alpha,
        score=own.score,
        level=own.level,
        requests_seen=own.requests_seen,
        age_ms=max(data.time - data.finding_info.first_seen_time, 0),
        signals=[
            SignalFact(name=s.name, observed=s.observed, baseline=s.baseline, contribution=s.contribution)
            for s in own.signals[:MAX_SIGNALS]
        ],
        accounts=len(own.accounts),
    )
    try:
        return msgspec.convert(msgspec.to_builtins(facts), Facts)
    except msgspec.ValidationError as error:
        raise NotAVerdict(f"the alert says what a verdict cannot repeat ({error})") from None


def judge(alert: Alert, decision: Decision, *, by: str, time: float, note: str = "", of: str = "") -> Verdict:
    """Return the verdict on an alert; `of` is the case that it is a duplicate of.

    Raises
    ------
    NotAVerdict
        When a figure of the alert is beyond what a verdict may hold, name or note do not fit, or a case that is no
        duplicate points to another, or one that is to itself.
    """
    if of and (decision != "duplicate" or of == alert.subject):
        raise NotAVerdict("only a duplicate points to another case")
    facts = facts_of_alert(alert)
    verdict = Verdict(
        case=alert.subject, alert=alert.id, decision=decision, time=time, by=by, note=note, facts=facts,
        account=alert.own.accounts[0], of=of, card=alert.own.card,
    )  # fmt: skip
    return decode(encode(verdict))


def said(verdict: Verdict, known_at: float, source: str = "verdicts") -> Said:
    """Return what a verdict says as labels take it.

    Parameters
    ----------
    known_at
        When the topic had it, seconds since 1970. The verdict's own time does not do: an undoing sends an older verdict
        once more, as it was.
    """
    known = max(known_at, verdict.time)
    return Said(verdict.case, verdict.decision, verdict.time, known, verdict.by, source, verdict.of)


def span(alert: Alert, known_at: float) -> Span:
    """Return which accounts an alert is about, and when they did what it says.

    Parameters
    ----------
    known_at
        When the topic had it, seconds since 1970: with a backlog long after its event time.
    """
    data = alert.data
    return Span(
        alert.subject, alert.own.pattern, tuple(alert.own.accounts), data.finding_info.first_seen_time / 1000,
        data.time / 1000, max(known_at, data.time / 1000),
    )  # fmt: skip


def json_schema() -> dict[str, Any]:
    """Return JSON Schema (2020-12) of verdict v1."""
    schema = msgspec.json.schema(Verdict)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["$id"] = "urn:siphonwatch:verdict:v1"
    return schema
