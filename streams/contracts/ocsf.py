"""OCSF's objects that alerts are made of, as its schema names their fields (release 1.8). Decides nothing."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

TARGETS = 20
"""Accounts named as targets of the anomaly analysis."""


class Product(msgspec.Struct, frozen=True):
    """What detected it."""

    name: str
    vendor_name: str
    version: str


class Metadata(msgspec.Struct, frozen=True):
    """About the event."""

    version: Annotated[str, Meta(description="Of OCSF.")]
    uid: str
    product: Product


class Technique(msgspec.Struct, frozen=True):
    """Of MITRE ATLAS."""

    uid: str
    name: str


class Attack(msgspec.Struct, frozen=True):
    """One technique."""

    technique: Technique


class Analytic(msgspec.Struct, frozen=True):
    """What found it: a pattern."""

    uid: str
    name: str
    type_id: Literal[4]
    type: Literal["Learning (ML/DL)"]


class Target(msgspec.Struct, frozen=True):
    """What an anomaly analysis is about."""

    name: str
    type: Literal["Account"]


class Observation(msgspec.Struct, frozen=True):
    """One value."""

    value: str


class Anomaly(msgspec.Struct, frozen=True):
    """A feature as it was observed, or its baseline."""

    observation_parameter: str
    observation_type: str
    observations: list[Observation]
    observed_pattern: str | UnsetType = UNSET


class AnomalyAnalysis(msgspec.Struct, frozen=True):
    """Observed against baseline, in the order of the signals."""

    analysis_targets: Annotated[list[Target], Meta(max_length=TARGETS)]
    anomalies: list[Anomaly]
    baselines: list[Anomaly]


class AccountUid(msgspec.Struct, frozen=True):
    """OCSF's account object."""

    uid: str


class User(msgspec.Struct, frozen=True):
    """OCSF's user object: for an API its account."""

    uid: str
    account: AccountUid


class Request(msgspec.Struct, frozen=True):
    """A request to look up at the gateway."""

    uid: str


class Api(msgspec.Struct, frozen=True):
    """OCSF's API object."""

    operation: str
    request: Request


class Evidence(msgspec.Struct, frozen=True):
    """An account of the case, or one of its requests."""

    user: User | UnsetType = UNSET
    api: Api | UnsetType = UNSET


class Observable(msgspec.Struct, frozen=True):
    """What a SIEM pivots on."""

    name: str
    type: str
    type_id: int
    value: str
