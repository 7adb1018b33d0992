"""The control contract, version 1: what people decide for workers while these run, by the kind of record in `type`.

Records stand on a compacted topic, keyed by `id` (of a `Deploy` the role): the last one of an id counts. A worker
applies each at one offset of every partition, between two checkpoints. Reasons and names stay on this topic and, of
deployments, on theirs; they reach no alert, metric or log. A record that cannot be read goes to the dead-letter topic
as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from siphonwatch.models.common.tensors import TensorsError, read_tensors, write_tensors
from siphonwatch.models.learn.version import Info, Version, VersionError, make_version
from siphonwatch.streams.contracts.telemetry import Malformed

MAX_WHY = 2000
MAX_ACCOUNTS = 1000
"""Of one entry: as many as an alert names."""
MAX_BYTES = 800 * 1024
"""Of a record; a larger one is not looked at. Brokers take 1 MB by default, and a version's cards have some 25 KB."""
CHAMPION, CHALLENGER = ROLES = ("champion", "challenger")

Id = Annotated[str, Meta(pattern="^[0-9a-f]{12}$(?!\\n)")]
Time = Annotated[float, Meta(ge=0, le=2**34)]
Account = Annotated[str, Meta(min_length=1, max_length=64)]
Person = Annotated[str, Meta(min_length=1, max_length=64)]
Why = Annotated[str, Meta(max_length=MAX_WHY)]


class Allow(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="allow"):
    """Alerts of a pattern that are not sent: of a case, and of every case that is about these accounts alone."""

    id: Id
    pattern: Annotated[str, Meta(min_length=1, max_length=64)]
    until: Time
    """Event time from which they are sent again, seconds since 1970."""
    accounts: Annotated[list[Account], Meta(max_length=MAX_ACCOUNTS)] = []
    case: Annotated[str, Meta(pattern="^([0-9a-f]{16})?$(?!\\n)")] = ""
    why: Why
    by: Person
    time: Time
    """When it was decided, seconds since 1970."""
    v: Literal[1] = 1


class AllowEnd(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="allow-end"):
    """The entry of this id allows nothing any more."""

    id: Id
    why: Why = ""
    by: Person
    time: Time
    v: Literal[1] = 1


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """What a version was held to before it was deployed."""

    name: str
    value: float
    bound: float
    passed: bool


class Deploy(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="deploy"):
    """A version of the detectors that judges from now on: as champion, whose alerts are sent, or beside it.

    It holds the version whole, so that workers need no store: what it computes is data, and nothing of it is code.
    """

    id: Literal["champion", "challenger"]
    """The role."""
    version: Annotated[str, Meta(pattern="^([0-9a-f]{12})?$(?!\\n)")]
    """Empty: nothing is in the role; a champion there always is."""
    name: Annotated[str, Meta(max_length=64)] = ""
    cards: dict[str, str] = {}
    """TOML by pattern."""
    supports: dict[str, bytes] = {}
    """Arrays of each learned support, as safetensors, by name."""
    features: Annotated[str, Meta(max_length=12)] = ""
    """Id of the tables of features that the cards read."""
    sha256: Annotated[str, Meta(pattern="^([0-9a-f]{64})?$(?!\\n)")] = ""
    """Over cards and supports; checked before anything of them is parsed."""
    gates: list[Gate] = []
    forced: bool = False
    """Whether it was deployed although a gate failed."""
    why: Why = ""
    by: Person
    time: Time
    v: Literal[1] = 1


class Erase(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="erase"):
    """Everything that is kept of an account is removed, and what it sent up to `time` is not applied again."""

    id: Id
    account: Account
    dry_run: bool = False
    """Only count what there is."""
    why: Why = ""
    by: Person
    time: Time
    """When it was decided, seconds since 1970: later requests of the account begin anew."""
    v: Literal[1] = 1


Control = Allow | AllowEnd | Deploy | Erase


class NotAControl(Malformed):
    """A record that is none of these, with reason `json`, `encoding`, `schema` or `size`; it quotes no content."""


_decoder = msgspec.json.Decoder(Control)
_encoder = msgspec.json.Encoder()


def encode(control: Control) -> bytes:
    """Serialise one record as one line of JSON."""
    return _encoder.encode(control)


def decode(raw: bytes) -> Control:
    """Parse and validate one record.

    Raises
    ------
    NotAControl
        When it is none of version 1, or larger than `MAX_BYTES`.
    """
    if len(raw) > MAX_BYTES:
        raise NotAControl("size", f"{len(raw):,} bytes, where {MAX_BYTES:,} are the most")
    try:
        control: Control = _decoder.decode(raw)
    except msgspec.ValidationError as error:
        # What msgspec says of an unknown tag quotes it.
        raise NotAControl("schema", "an unknown type" if "Invalid value" in str(error) else str(error)) from None
    except UnicodeError:
        raise NotAControl("encoding", "not UTF-8") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise NotAControl("json", str(error)) from None
    if isinstance(control, Allow) and not control.accounts and not control.case:
        raise NotAControl("schema", "it names neither accounts nor a case")
    if isinstance(control, Deploy):
        try:
            version_of(control)
        except VersionError as error:
            raise NotAControl("schema", str(error)) from None
    return control


def deploy_of(version: Version, role: str, **facts: Any) -> Deploy:
    """Return the record that puts a version into a role, given who, when and why.

    Raises
    ------
    VersionError
        Where the version is too large for a record.
    """
    cards = {pattern: text.decode() for pattern, text in version.texts.items()}
    supports = {name: write_tensors(arrays) for name, arrays in version.supports.items()}
    deploy = Deploy(
        id=role, version=version.id, name=version.name, cards=cards, features=version.features,  # type: ignore[arg-type]
        supports=supports, sha256=_digest(cards, supports), **facts,
    )  # fmt: skip
    if (size := len(encode(deploy))) > MAX_BYTES:
        raise VersionError(
            f"version {version.name} takes {size:,} bytes in a control record, where {MAX_BYTES:,} are the most: fit a "
            "smaller learned support, or shorten its cards"
        )
    return deploy


def version_of(deploy: Deploy) -> Version | None:
    """Return the version in a record; None where it leaves the role empty.

    Raises
    ------
    VersionError
        Where its content is not what its hash or its id says, or cannot judge in this release.
    """
    if not deploy.version:
        if deploy.id == CHAMPION:
            raise VersionError("a champion is not given: there always is one")
        return None
    if _digest(deploy.cards, deploy.supports) != deploy.sha256:
        raise VersionError(f"version {deploy.version}: its cards and arrays are not those that its sha256 is of")
    try:
        supports = {name: read_tensors(data) for name, data in deploy.supports.items()}
    except TensorsError as error:
        raise VersionError(f"version {deploy.version}: {error}") from None
    version = make_version(Info(name=deploy.name), deploy.cards, supports, features=deploy.features)
    if version.id != deploy.version:
        raise VersionError(f"version {deploy.version}: its cards and arrays are those of {version.id}")
    return version


def _digest(cards: Mapping[str, str], supports: Mapping[str, bytes]) -> str:
    parts = [[name, cards[name].encode()] for name in sorted(cards)], [[n, supports[n]] for n in sorted(supports)]
    return hashlib.sha256(msgspec.msgpack.encode(parts)).hexdigest()


def standing(controls: Iterable[Control]) -> dict[str, Allow]:
    """Return the entries that were not ended, by id, in the order of the log; expired ones are among them."""
    last: dict[str, Allow] = {}
    for control in controls:
        last.pop(control.id, None)
        if isinstance(control, Allow):
            last[control.id] = control
    return last


def json_schema() -> dict[str, Any]:
    """Return JSON Schema (2020-12) of control v1."""
    schema = msgspec.json.schema(Control)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["$id"] = "urn:siphonwatch:control:v1"
    return schema
