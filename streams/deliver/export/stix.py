"""Cases as a STIX 2.1 bundle: what was observed of which accounts, and the techniques it looks like.

A case is a grouping of observed data about accounts, sightings of MITRE ATLAS techniques, and, where analysts decided,
an opinion. Ids follow from the case, so an export that is repeated updates what was imported before. No object says who
is behind an account: there is no threat actor, no campaign of anybody, no identity but that of siphonwatch.

Source: OASIS, "STIX Version 2.1" (2021), sections 3, 4, 5.8, 6.19.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from siphonwatch.models.detect import ATLAS
from siphonwatch.streams.deliver.export.case import Case
from siphonwatch.streams.deliver.text import clean, clip

OBSERVABLES = uuid.UUID("00abedb4-aa42-466c-9c01-fed23315a9b7")
"""STIX 2.1, section 2.9: the namespace of ids of cyber observables."""
OURS = uuid.uuid5(uuid.NAMESPACE_URL, "https://github.com/siphonwatch/siphonwatch/stix")
AMBER = "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82"
"""TLP:AMBER of STIX 2.1, section 7.2.1.4: the bundle is about customers."""
ACCOUNTS = 1000
"""Accounts of a case that are objects."""
COUNT = 999_999_999
"""Most that `number_observed` may say."""
OPINION = {"true-positive": "agree", "false-positive": "disagree", "benign-expected": "disagree"}
EPOCH = "2026-01-01T00:00:00.000Z"
"""When what is the same in every bundle was made."""


def bundle(cases: Iterable[Case]) -> dict[str, Any]:
    """Return cases as one bundle; the same cases always give the same one."""
    objects: dict[str, dict[str, Any]] = {}
    for one in [_producer(), *(part for case in cases for part in _objects(case))]:
        objects.setdefault(one["id"], one)
    content = json.dumps(list(objects.values()), sort_keys=True)
    return {"type": "bundle", "id": f"bundle--{uuid.uuid5(OURS, content)}", "objects": list(objects.values())}


def _producer() -> dict[str, Any]:
    return {
        "type": "identity", "spec_version": "2.1", "id": _id("identity", "producer"), "created": EPOCH,
        "modified": EPOCH, "name": "siphonwatch", "identity_class": "system",
    }  # fmt: skip


def _id(kind: str, *names: str) -> str:
    return f"{kind}--{uuid.uuid5(OURS, json.dumps([kind, *names]))}"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:23] + "Z"


def _objects(case: Case) -> Iterable[dict[str, Any]]:
    alert, own = case.newest, case.newest.own
    first = min(alert.event.data.finding_info.first_seen_time / 1000, alert.time)
    modified = max(alert.time, alert.opened, case.decided)

    def made(kind: str, *names: str, **fields: Any) -> dict[str, Any]:
        return {
            "type": kind, "spec_version": "2.1", "id": _id(kind, alert.case, *names),
            "created_by_ref": _id("identity", "producer"), "created": _moment(min(alert.opened, modified)),
            "modified": _moment(modified), "object_marking_refs": [AMBER], **fields,
        }  # fmt: skip

    accounts = [_account(name) for name in dict.fromkeys(own.accounts[:ACCOUNTS])]
    observed = made(
        "observed-data", first_observed=_moment(first), last_observed=_moment(alert.time),
        number_observed=min(max(own.requests_seen, 1), COUNT), object_refs=[one["id"] for one in accounts],
    )  # fmt: skip
    techniques = [_technique(uid) for uid in own.atlas]
    sightings = [
        made(
            "sighting", technique["id"], first_seen=_moment(first), last_seen=_moment(alert.time), count=1,
            sighting_of_ref=technique["id"], observed_data_refs=[observed["id"]],
        )
        for technique in techniques
    ]  # fmt: skip
    state = "closed" if case.closed else "open"
    said = (
        f"{clean(alert.message)}. Observed and inferred by siphonwatch; it says nothing of who is behind the accounts."
    )
    grouping = made(
        "grouping", name=f"{clip(clean(alert.title), 200)}: case {alert.case}", description=said,
        context="suspicious-activity",
        labels=[clip(clean(own.pattern), 100) or "pattern", f"severity-{alert.severity}", state],
        object_refs=[one["id"] for one in (*accounts, observed, *techniques, *sightings)],
    )  # fmt: skip
    yield from (*accounts, observed, *techniques, *sightings, grouping)
    if case.decision in OPINION:
        yield made(
            "opinion", explanation=f"Analysts decided: {case.decision}", opinion=OPINION[case.decision],
            object_refs=[grouping["id"]],
        )  # fmt: skip


def _account(name: str) -> dict[str, Any]:
    """An account by its id as alerts have it, a keyed hash; the id follows from it, as STIX has it for observables."""
    known = json.dumps({"user_id": name}, separators=(",", ":"), ensure_ascii=False)
    id = f"user-account--{uuid.uuid5(OBSERVABLES, known)}"
    return {"type": "user-account", "spec_version": "2.1", "id": id, "user_id": name, "object_marking_refs": [AMBER]}


def _technique(uid: str) -> dict[str, Any]:
    return {
        "type": "attack-pattern", "spec_version": "2.1", "id": _id("attack-pattern", uid), "created": EPOCH,
        "modified": EPOCH, "name": ATLAS.get(uid, uid),
        "external_references": [{"source_name": "mitre-atlas", "external_id": uid}],
    }  # fmt: skip
