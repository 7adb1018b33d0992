"""Findings as alerts: CloudEvents 1.0 around an OCSF Detection Finding (class 2004). Decides nothing."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import msgspec

from siphonwatch.models.detect import ATLAS, Detector
from siphonwatch.models.engine.patterns import patterns
from siphonwatch.models.evidence.cases import Finding
from siphonwatch.models.learn.verdict_book import Ranking, VerdictBook
from siphonwatch.streams.common.release import release
from siphonwatch.streams.common.settings import DEFAULT_RUNBOOK

OCSF_VERSION = "1.5.0"
ACTIVITY = {"open": 1, "update": 2, "close": 3}
STATUS = {"open": 1, "update": 2, "close": 4}
SEVERITY = {"low": 2, "medium": 3, "high": 4, "critical": 5}
TYPE = "siphonwatch.case.{}.v1"
LOG_MAX = 700.0
"""Beyond this an e-value no longer fits a double; the logarithm is given beside it."""

_PATTERNS = {pattern.pattern: pattern for pattern in patterns()}
_encoder = msgspec.json.Encoder()


def rfc3339(seconds: float) -> str:
    """Return seconds since 1970 as `2026-01-05T00:00:00.000000Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def to_alert(finding: Finding, ranking: Ranking | None = None, runbook: str = DEFAULT_RUNBOOK) -> dict[str, Any]:
    """Return a finding as a CloudEvent; the same finding and ranking always give the same object.

    Parameters
    ----------
    finding
        What to tell.
    ranking
        Where its case stands; without one as no verdict were known. It is the only part that verdicts can change: a
        finding told again keeps its id, and may carry a newer rank.
    runbook
        Beginning of the link to the pattern's entry, `links.runbook`.
    """
    ranking = VerdictBook().rank_finding(finding) if ranking is None else ranking
    pattern = _PATTERNS[finding.pattern]
    return {
        "specversion": "1.0",
        "id": finding.id,
        "source": "siphonwatch",
        "type": TYPE.format({"open": "opened", "update": "updated", "close": "closed"}[finding.kind]),
        "subject": finding.case,
        "time": rfc3339(finding.time),
        "datacontenttype": "application/json",
        "data": {
            "class_uid": 2004,
            "class_name": "Detection Finding",
            "category_uid": 2,
            "activity_id": ACTIVITY[finding.kind],
            "type_uid": 200400 + ACTIVITY[finding.kind],
            "time": round(finding.time * 1000),
            "severity_id": SEVERITY[finding.severity],
            "severity": finding.severity.capitalize(),
            "status_id": STATUS[finding.kind],
            "is_alert": finding.kind != "close",
            "message": _message(finding, pattern.title),
            "metadata": {
                "version": OCSF_VERSION,
                "uid": finding.id,
                "product": {"name": "siphonwatch", "vendor_name": "siphonwatch", "version": release()},
            },
            "finding_info": {
                "uid": finding.case,
                "title": pattern.title,
                "types": [finding.pattern],
                "first_seen_time": round(finding.first_seen * 1000),
                "created_time": round(finding.opened * 1000),
                "modified_time": round(finding.time * 1000),
                "analytic": {
                    "uid": finding.pattern,
                    "name": finding.pattern,
                    "type_id": 4,
                    "type": "Learning (ML/DL)",
                },
                "attacks": [{"technique": {"uid": uid, "name": ATLAS[uid]}} for uid in pattern.atlas],
            },
            "unmapped": {"siphonwatch": _own(finding, pattern, runbook) | _rank(ranking)},
        },
    }


def told(name: str, observed: float, direction: str, baseline: float, unit: str) -> str:
    """Return a signal as people read it; what is kept as a logarithm is told as what it counts.

    Examples
    --------
    >>> told("sweep_1d", 0.94, "above", 0.35, "share")
    'sweep_1d 0.94 (above 0.35)'
    >>> told("job_requests", 5.02, "above", 1.95, "log(1 + requests)")
    'job_requests 150 (above 6)'
    """
    if unit.startswith("log(1 + "):
        return f"{name} {math.expm1(observed):,.0f} ({direction} {math.expm1(baseline):,.0f})"
    return f"{name} {observed:.2g} ({direction} {baseline:.2g})"


def chance(e_value: float) -> str:
    """Return an e-value as the chance, at most, that a benign account ever reaches so much (Ville's inequality).

    Two digits, rounded down, so that it never claims more than the evidence; words from a million on.

    Examples
    --------
    >>> chance(24_631.0), chance(1.29e9), chance(1e300)
    ('1 in 24,000 by chance', '1 in 1.2 billion by chance', '1 in a trillion by chance')
    """
    if not e_value >= 1.0:
        return "no rarer than chance"
    if e_value >= 1e12:
        return "1 in a trillion by chance"
    unit = 10.0 ** max(math.floor(math.log10(e_value)) - 1, 0)
    whole = math.floor(e_value / unit) * unit
    for size, name in ((1e9, "billion"), (1e6, "million")):
        if whole >= size:
            return f"1 in {whole / size:.3g} {name} by chance"
    return f"1 in {whole:,.0f} by chance"


def evidence(e_value: float) -> str:
    """Return an e-value as alerts and tables print it: `e-value 2.4e+04 (1 in 24,000 by chance)`."""
    return f"e-value {e_value:.2g} ({chance(e_value)})"


def _message(finding: Finding, title: str) -> str:
    reasons = ", ".join(told(s.name, s.observed, s.direction, s.baseline, s.unit) for s in finding.signals[:3])
    others = f" and {len(finding.accounts) - 1} more" if len(finding.accounts) > 1 else ""
    odds = chance(math.exp(min(finding.log_e, LOG_MAX)))
    return f"{title}: {finding.accounts[0]}{others} after {finding.requests_seen} requests, {odds}; {reasons}"


def _own(finding: Finding, pattern: Detector, runbook: str) -> dict[str, Any]:
    own: dict[str, Any] = {
        "pattern": finding.pattern,
        "card": finding.card,
        "accounts": finding.accounts,
        "case": finding.case,
        "sequence": finding.sequence,
        "e_value": math.exp(min(finding.log_e, LOG_MAX)),
        "log_e_value": finding.log_e,
        "alpha": finding.alpha,
        "budget": finding.budget,
        "threshold_e": math.exp(min(finding.bar, LOG_MAX)),
        "requests_seen": finding.requests_seen,
        "first_seen": rfc3339(finding.first_seen),
        "score": finding.score,
        "level": finding.level,
        "signals": [signal._asdict() for signal in finding.signals],
        "counterfactual": finding.counterfactual,
        "sample_requests": finding.samples,
        "atlas": list(pattern.atlas),
        "owasp": list(pattern.owasp),
        "runbook": f"{runbook}#{finding.pattern}",
    }
    if not math.isnan(finding.second_stage):
        own["second_stage"] = finding.second_stage
    return own


def _rank(ranking: Ranking) -> dict[str, Any]:
    drivers = [{"name": name, "effect": effect} for name, effect in ranking.drivers]
    return {"rank": ranking.rank, "ranking": {"verdicts": ranking.verdicts, "drivers": drivers}}


def encode(alert: dict[str, Any]) -> bytes:
    """Serialise an alert as one line of JSON."""
    return _encoder.encode(alert)
