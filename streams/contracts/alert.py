"""The alert contract, version 1: findings as CloudEvents 1.0 around an OCSF 1.8 Detection Finding (class 2004).

Fields may be added with a default, none retyped. What OCSF has no place for stands in `data.unmapped.siphonwatch`, and
what stands there too is repeated in OCSF's own fields, so that a SIEM can pivot on it. Decides nothing.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from siphonwatch.models.detect import ATLAS, Detector
from siphonwatch.models.engine.patterns import patterns
from siphonwatch.models.evidence.cases import MEMBERS, Finding
from siphonwatch.models.learn.verdict_book import Ranking, VerdictBook
from siphonwatch.streams.common.release import release
from siphonwatch.streams.common.settings import DEFAULT_RUNBOOK
from siphonwatch.streams.contracts.model import Judged, Model
from siphonwatch.streams.contracts.ocsf import (
    TARGETS,
    AccountUid,
    Analytic,
    Anomaly,
    AnomalyAnalysis,
    Api,
    Attack,
    Evidence,
    Metadata,
    Observable,
    Observation,
    Product,
    Request,
    Target,
    Technique,
    User,
)
from siphonwatch.streams.contracts.wording import chance, indicators_text, signal_text

OCSF_VERSION = "1.8.0"
ACTIVITY = {"open": 1, "update": 2, "close": 3}
STATUS = {"open": 1, "update": 2, "close": 4}
SEVERITY = {"low": 2, "medium": 3, "high": 4, "critical": 5}
KIND_OF = {"open": "opened", "update": "updated", "close": "closed"}
KINDS = tuple(KIND_OF.values())
"""What an alert says of its case, as `type` names it."""
LOG_MAX = 700.0
"""Beyond this an e-value no longer fits a double; the logarithm is given beside it."""
CONFIDENT = {3: 1e6, 2: 1e4}
"""E-values from which the confidence is high (3) and medium (2): a benign account ever reaches them with a chance of at
most one in so many."""
CONFIDENCE = {1: "Low", 2: "Medium", 3: "High"}
PIVOTS = 100
"""Accounts that are repeated as evidences and observables, some 200 bytes each: all of them stand in `accounts`."""
ACCOUNT_UID = 35
"""OCSF's observable type "Account Object: uid"."""
ACCOUNT_AT = "evidences[].user.account.uid"
"""Where an observable's value stands in the finding."""

_PATTERNS = {pattern.pattern: pattern for pattern in patterns()}
_encoder = msgspec.json.Encoder()
_Case = Annotated[str, Meta(pattern="^[0-9a-f]{16}$(?!\\n)")]
_Share = Annotated[float, Meta(ge=0, le=1)]
_Milliseconds = Annotated[int, Meta(ge=0, le=253_402_300_799_000, description="Since 1970, up to the year 9999.")]


class Signal(msgspec.Struct, frozen=True):
    """One reason for the score."""

    name: str
    observed: float
    baseline: float
    direction: Literal["above", "below"]
    unit: str
    meaning: str
    contribution: Annotated[
        float,
        Meta(
            description="How much the score falls with this feature alone at its baseline (leave one out); they need "
            "not add up to the score."
        ),
    ]


class Driver(msgspec.Struct, frozen=True):
    """What moved a rank."""

    name: str
    effect: Annotated[float, Meta(description="By how much it moved the rank.")]


class Ranks(msgspec.Struct, frozen=True):
    """What a rank rests on."""

    verdicts: Annotated[int, Meta(ge=0, description="How many standing verdicts the rank was learnt from.")]
    drivers: Annotated[list[Driver], Meta(max_length=3)]


class Carrier(msgspec.Struct, frozen=True):
    """A part of the account that sends what is suspicious, so that its customer can be told whom to stop."""

    kind: Literal["key", "user", "session", "agent", "system"]
    name: Annotated[
        str, Meta(pattern="^[0-9a-f]{16}$(?!\\n)", description="The keyed hash that telemetry has in the field `kind`.")
    ]
    share: Annotated[
        _Share, Meta(description="Of the evidence that the account's latest requests are one by one, at least.")
    ]


class Indicator(msgspec.Struct, frozen=True):
    """One of ten published indicators of distillation that is there."""

    name: str
    feature: Annotated[str, Meta(description="The feature that shows it most.")]
    observed: float
    scored: Annotated[
        bool, Meta(description="Whether the feature is part of the score; else it was observed and changed nothing.")
    ]


class Part(msgspec.Struct, frozen=True):
    """Why an account is in a case of several."""

    account: str
    requests: Annotated[int, Meta(ge=0, description="Of those looked at that carry what the case's accounts share.")]
    share: Annotated[float, Meta(ge=0, le=1, description="Of all such requests of the accounts of the case.")]
    joined: Annotated[str, Meta(description="Event time of its first one.", extra_json_schema={"format": "date-time"})]
    user: (
        Annotated[
            str,
            Meta(
                pattern="^[0-9a-f]{16}$(?!\\n)",
                description="The end user that it is about, by the keyed hash that telemetry has in `user`, where the "
                "case is of end users of one account.",
            ),
        ]
        | UnsetType
    ) = UNSET


class Own(msgspec.Struct, frozen=True, kw_only=True):
    """What OCSF has no place for."""

    pattern: str
    card: Annotated[
        str,
        Meta(
            description="What found it: the hash of what the pattern's card computes (ramps, weights, null level, "
            "trust, features)."
        ),
    ] = ""
    model: Model | UnsetType = UNSET
    accounts: Annotated[list[str], Meta(min_length=1)]
    case: _Case
    sequence: Annotated[int, Meta(ge=0)]
    e_value: Annotated[
        float, Meta(ge=0, description="A benign account ever reaches it with a chance of at most one in so many.")
    ]
    log_e_value: float
    alpha: Annotated[float, Meta(gt=0, lt=1)]
    budget: Annotated[
        float, Meta(gt=0, le=1, description="Expected share of false ones among the partition's released cases.")
    ]
    threshold_e: Annotated[
        float,
        Meta(
            ge=1,
            description="E-value that the case needed to open: 1/alpha, or what the budget asked for then, if more.",
        ),
    ]
    requests_seen: Annotated[int, Meta(ge=1)]
    first_seen: Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
    score: _Share
    level: _Share
    signals: Annotated[list[Signal], Meta(max_length=6)]
    counterfactual: str
    sample_requests: Annotated[list[str], Meta(max_length=2)]
    carried_by: Annotated[
        list[Carrier],
        Meta(
            max_length=15,
            description="Who inside an account sends a quarter or more of what is evidence, by any pattern; or the "
            "first of its end users that act together, with their shares of what these send.",
        ),
    ] = []
    atlas: list[str]
    owasp: list[str]
    aisvs: Annotated[list[str], Meta(description="Of OWASP's AI Security Verification Standard.")] = []
    indicators: Annotated[
        list[Indicator], Meta(description="Published indicators that are there, scored or only observed.")
    ] = []
    runbook: str
    shared: Annotated[list[str], Meta(description="What the requests of the case's accounts have in common.")] = []
    members: Annotated[
        list[Part], Meta(max_length=MEMBERS, description="Why each account is in; of the first ones of `accounts`.")
    ] = []
    follows: Annotated[
        list[str],
        Meta(
            description="Those of the accounts whose place the others took: the pool before, which fell silent or was "
            "turned away."
        ),
    ] = []
    second_stage: Annotated[
        _Share | UnsetType,
        Meta(
            description="No longer sent. Alerts of earlier releases may have it: the rank of a model that looked "
            "closer and decided nothing."
        ),
    ] = UNSET
    rank: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="How likely an analyst would confirm the case, by the verdicts known when it was sent. It "
            "orders cases and decides nothing.",
        ),
    ]
    ranking: Ranks
    test: Annotated[
        Literal[True] | UnsetType,
        Meta(description="Only in what `siphonwatch deliver --check` sends: nothing was detected."),
    ] = UNSET


class Unmapped(msgspec.Struct, frozen=True):
    """Of vendors; ours alone."""

    siphonwatch: Own


class FindingInfo(msgspec.Struct, frozen=True, kw_only=True):
    """About the case."""

    uid: _Case
    title: str
    types: list[str]
    first_seen_time: _Milliseconds
    created_time: _Milliseconds
    modified_time: _Milliseconds
    analytic: Analytic
    attacks: list[Attack]
    src_url: str | UnsetType = UNSET
    """The pattern's runbook entry, where `links.runbook` is a URL."""


class DetectionFinding(msgspec.Struct, frozen=True, kw_only=True):
    """OCSF's class 2004."""

    class_uid: Literal[2004]
    class_name: Literal["Detection Finding"]
    category_uid: Literal[2]
    activity_id: Literal[1, 2, 3]
    type_uid: Literal[200401, 200402, 200403]
    time: _Milliseconds
    severity_id: Literal[2, 3, 4, 5]
    severity: Literal["Low", "Medium", "High", "Critical"]
    status_id: Literal[1, 2, 4]
    is_alert: Annotated[bool, Meta(description="Only where a case opens: an update or a close calls nobody anew.")]
    message: str
    metadata: Metadata
    finding_info: FindingInfo
    confidence_id: Literal[1, 2, 3] | UnsetType = UNSET
    confidence: Literal["Low", "Medium", "High"] | UnsetType = UNSET
    anomaly_analyses: list[AnomalyAnalysis] = []
    evidences: list[Evidence] = []
    observables: Annotated[list[Observable], Meta(max_length=PIVOTS)] = []
    unmapped: Unmapped


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """A CloudEvents 1.0 object around an OCSF Detection Finding (class 2004)."""

    specversion: Literal["1.0"]
    id: Annotated[
        str,
        Meta(
            pattern="^[0-9a-f]{16}-[0-9]{1,10}$(?!\\n)",
            description="The case and the place in its life; a repeated alert has the same id, and may have a newer "
            "rank.",
        ),
    ]
    source: Literal["siphonwatch"]
    type: Literal["siphonwatch.case.opened.v1", "siphonwatch.case.updated.v1", "siphonwatch.case.closed.v1"]
    subject: _Case
    time: Annotated[
        str,
        Meta(description="Event time at which the evidence sufficed.", extra_json_schema={"format": "date-time"}),
    ]
    datacontenttype: Literal["application/json"]
    data: DetectionFinding

    @property
    def own(self) -> Own:
        """What OCSF has no place for."""
        return self.data.unmapped.siphonwatch

    @property
    def kind(self) -> str:
        """What it says of its case, one of `KINDS`."""
        return self.type.split(".")[2]


class NotAnAlert(ValueError):
    """A record of the alerts topic is no alert of ours; the message says why and quotes none of it."""


_decoder = msgspec.json.Decoder(Alert)


def json_schema() -> dict[str, Any]:
    """Return JSON Schema (2020-12) of alert v1."""
    schema = msgspec.json.schema(Alert)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["$id"] = "urn:siphonwatch:alert:v1"
    return schema


def rfc3339(seconds: float) -> str:
    """Return seconds since 1970 as `2026-01-05T00:00:00.000000Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def to_alert(
    finding: Finding, ranking: Ranking | None = None, runbook: str = DEFAULT_RUNBOOK, judged: Judged | None = None
) -> Alert:
    """Return a finding as a CloudEvent; the same arguments always give the same object.

    Parameters
    ----------
    finding
        What was found.
    ranking
        Where its case stands; without one as if no verdict were known. It is the only part that verdicts can change: a
        finding sent again keeps its id, and may carry a newer rank.
    runbook
        Beginning of the link to the pattern's entry, `links.runbook`.
    judged
        By which version, and where; without it the alert has no `model`.
    """
    ranking = VerdictBook().rank_finding(finding) if ranking is None else ranking
    pattern = _PATTERNS[finding.pattern]
    own = _own(finding, pattern, ranking, runbook, UNSET if judged is None else judged.by(finding.card))
    confidence = next((level for level, least in CONFIDENT.items() if own.e_value >= least), 1)
    pivots = finding.accounts[:PIVOTS]
    return Alert(
        specversion="1.0",
        id=finding.id,
        source="siphonwatch",
        type=f"siphonwatch.case.{KIND_OF[finding.kind]}.v1",  # type: ignore[arg-type]
        subject=finding.case,
        time=rfc3339(finding.time),
        datacontenttype="application/json",
        data=DetectionFinding(
            class_uid=2004,
            class_name="Detection Finding",
            category_uid=2,
            activity_id=ACTIVITY[finding.kind],  # type: ignore[arg-type]
            type_uid=200400 + ACTIVITY[finding.kind],  # type: ignore[arg-type]
            time=round(finding.time * 1000),
            severity_id=SEVERITY[finding.severity],  # type: ignore[arg-type]
            severity=finding.severity.capitalize(),  # type: ignore[arg-type]
            status_id=STATUS[finding.kind],  # type: ignore[arg-type]
            is_alert=finding.kind == "open",
            message=_message(finding, pattern.title),
            metadata=Metadata(OCSF_VERSION, finding.id, Product("siphonwatch", "siphonwatch", release())),
            finding_info=FindingInfo(
                uid=finding.case,
                title=pattern.title,
                types=[finding.pattern],
                first_seen_time=round(finding.first_seen * 1000),
                created_time=round(finding.opened * 1000),
                modified_time=round(finding.time * 1000),
                analytic=Analytic(finding.pattern, finding.pattern, 4, "Learning (ML/DL)"),
                attacks=[Attack(Technique(uid, ATLAS[uid])) for uid in pattern.atlas],
                src_url=own.runbook if "://" in runbook else UNSET,
            ),
            confidence_id=confidence,  # type: ignore[arg-type]
            confidence=CONFIDENCE[confidence],  # type: ignore[arg-type]
            anomaly_analyses=[_analysis(finding)] if finding.signals else [],
            evidences=[
                *(Evidence(user=User(account, AccountUid(account))) for account in pivots),
                *(Evidence(api=Api("request", Request(uid))) for uid in finding.samples),
            ],
            observables=[Observable(ACCOUNT_AT, "Account Object: uid", ACCOUNT_UID, account) for account in pivots],
            unmapped=Unmapped(own),
        ),
    )


def _analysis(finding: Finding) -> AnomalyAnalysis:
    """The signals as OCSF has them: what was observed, and the baseline, in the feature's unit."""
    anomalies, baselines = [], []
    for s in finding.signals:
        kind = f"{s.meaning}, {s.unit}" if s.unit else s.meaning
        anomalies.append(Anomaly(s.name, kind, [Observation(f"{s.observed:.6g}")], f"{s.direction.upper()}_BASELINE"))
        baselines.append(Anomaly(s.name, kind, [Observation(f"{s.baseline:.6g}")]))
    return AnomalyAnalysis([Target(account, "Account") for account in finding.accounts[:TARGETS]], anomalies, baselines)


def _message(finding: Finding, title: str) -> str:
    reasons = ", ".join(signal_text(s.name, s.observed, s.direction, s.baseline, s.unit) for s in finding.signals[:3])
    others = f" and {len(finding.accounts) - 1} more" if len(finding.accounts) > 1 else ""
    odds = chance(math.exp(min(finding.log_e, LOG_MAX)))
    said = f"{title}: {finding.accounts[0]}{others} after {finding.requests_seen} requests, {odds}; {reasons}"
    if finding.shared:
        said += f"; they share {', '.join(finding.shared)}"
    if finding.follows:
        said += (
            f"; {len(finding.accounts) - len(finding.follows)} of them follow {len(finding.follows)} that fell silent"
        )
    if finding.indicators:
        said += f"; indicators: {indicators_text((shown.name, shown.scored) for shown in finding.indicators)}"
    return said


def _own(finding: Finding, pattern: Detector, ranking: Ranking, runbook: str, model: Model | UnsetType) -> Own:
    return Own(
        pattern=finding.pattern,
        card=finding.card,
        model=model,
        accounts=list(finding.accounts),
        case=finding.case,
        sequence=finding.sequence,
        e_value=math.exp(min(finding.log_e, LOG_MAX)),
        log_e_value=finding.log_e,
        alpha=finding.alpha,
        budget=finding.budget,
        threshold_e=math.exp(min(finding.bar, LOG_MAX)),
        requests_seen=finding.requests_seen,
        first_seen=rfc3339(finding.first_seen),
        score=finding.score,
        level=finding.level,
        signals=[Signal(**signal._asdict()) for signal in finding.signals],
        counterfactual=finding.counterfactual,
        sample_requests=list(finding.samples),
        carried_by=[Carrier(**carrier._asdict()) for carrier in finding.carriers],
        atlas=list(pattern.atlas),
        owasp=list(pattern.owasp),
        aisvs=list(pattern.card.aisvs),
        indicators=[Indicator(**shown._asdict()) for shown in finding.indicators],
        runbook=f"{runbook}#{finding.pattern}",
        shared=list(finding.shared),
        members=[Part(m.account, m.requests, m.share, rfc3339(m.joined), m.user or UNSET) for m in finding.members],
        follows=list(finding.follows),
        rank=ranking.rank,
        ranking=Ranks(ranking.verdicts, [Driver(name, effect) for name, effect in ranking.drivers]),
    )


def encode(alert: Alert) -> bytes:
    """Serialise an alert as one line of JSON."""
    return _encoder.encode(alert)


def decode(value: bytes | None) -> Alert:
    """Parse and validate the value of a record of the alerts topic.

    Raises
    ------
    NotAnAlert
        When it is no alert of version 1.
    """
    try:
        alert = _decoder.decode(value or b"")
        msgspec.convert(alert.time, datetime)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        # What msgspec says of a value of an enumeration quotes it.
        raise NotAnAlert("an unknown value" if "Invalid enum value" in str(error) else str(error)) from None
    return alert
