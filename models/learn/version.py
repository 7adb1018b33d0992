"""A version of the detectors: the whole set of cards that judges, learned supports as arrays, and where both come from.

It is data alone, as files by name; whoever stores or sends it does so elsewhere. Its id stands for what it computes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

import msgspec
import numpy.typing as npt

from siphonwatch.models.account.features import FEATURES as ACCOUNT
from siphonwatch.models.campaign.features import FEATURES as CAMPAIGN
from siphonwatch.models.common.tensors import TensorsError, read_tensors, write_tensors
from siphonwatch.models.detect import Card, CardError, Detector
from siphonwatch.models.detect.card import read_card
from siphonwatch.models.detect.detector import ARITHMETIC, FeatureLike
from siphonwatch.models.detect.registry import arranged, cards, installed_supports, texts
from siphonwatch.models.detect.support import Support, SupportError

SHIPPED = "shipped"
"""Name of the version that the installed cards are."""
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
"""Of a version or an alias: it is part of a file's name."""
ID = re.compile(r"[0-9a-f]{12}\Z")
INFO, SUMS, CARD, MLMODEL = "version.json", "SHA256SUMS", "MODEL_CARD.md", "MLmodel"
CARDS, SUPPORTS = "cards/", "supports/"
_PATH = re.compile(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*\Z")
"""A file's name below the version's directory: no part of it leads out, and none is hidden."""
TENSORS = ".safetensors"
MAX_SUPPORTS = 520 * 1024
"""Bytes of a version's arrays in all: in a control record they take 4/3 of that, beside cards of some 25 KB."""
TABLES: dict[str, Sequence[FeatureLike]] = {"account": ACCOUNT, "campaign": CAMPAIGN}


class VersionError(ValueError):
    """A version cannot be used; the message names it, what is wrong and the remedy."""


class Info(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a version comes from; `version.json` without the id."""

    name: str
    parent: str = ""
    """Id of the version it was made from."""
    made_by: str = ""
    """The command."""
    created: float = 0.0
    """Seconds since 1970."""
    data: str = ""
    """Sha256 of the account-hours and labels it was fitted on."""
    release: str = ""
    """Of the code that made it."""
    lock: str = ""
    """Sha256 over the names and versions of the packages it was made with."""
    metrics: dict[str, float | str] = {}
    """What was measured of it, by name."""


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    """`version.json`."""

    id: str
    features: str
    patterns: dict[str, str]
    """Pattern to the id of its card."""
    info: Info
    v: int = 1


class Version(NamedTuple):
    """A version; `make_version` and `read_version` make one that can be used."""

    info: Info
    texts: dict[str, bytes]
    """The cards as TOML, by pattern, the most trusted first."""
    supports: dict[str, dict[str, npt.NDArray[Any]]]
    """Arrays of each learned support, by its name."""
    features: str
    """Id of the tables of features that its cards read."""
    extra: dict[str, bytes]
    """Model card, plots and what else belongs to it, by file name: it changes nothing that is computed."""

    @property
    def cards(self) -> tuple[Card, ...]:
        """Its cards, in the order in which they judge."""
        return tuple(read_card(text, pattern) for pattern, text in self.texts.items())

    @property
    def id(self) -> str:
        """12 hexadecimal digits that stand for its cards, its supports and the features they read."""
        return _id_of(
            tuple(self.texts.values()),
            tuple((name, write_tensors(arrays)) for name, arrays in sorted(self.supports.items())),
            self.features,
        )

    @property
    def name(self) -> str:
        """Its name, for people; two versions may have the same."""
        return self.info.name

    def detectors(self, over: Literal["account", "campaign"] = "account") -> tuple[Detector, ...]:
        """Return the detectors of accounts, or those of campaigns, in the order of the columns of scores."""
        learned = {name: Support(name, arrays, ACCOUNT) for name, arrays in self.supports.items()}
        return tuple(Detector(card, TABLES[over], learned) for card in self.cards if card.over == over)

    def files(self) -> dict[str, bytes]:
        """Return its directory as contents by file name, with `SHA256SUMS` over all others."""
        stored = _Stored(
            id=self.id,
            features=self.features,
            patterns={d.pattern: d.id for over in TABLES for d in self.detectors(over)},  # type: ignore[arg-type]
            info=self.info,
        )
        files = {f"{CARDS}{pattern}.toml": text for pattern, text in self.texts.items()}
        files |= {f"{SUPPORTS}{name}{TENSORS}": write_tensors(arrays) for name, arrays in self.supports.items()}
        files |= self.extra
        files[INFO] = msgspec.json.format(msgspec.json.encode(stored), indent=2) + b"\n"
        files[MLMODEL] = _mlmodel(stored)
        files.setdefault(CARD, _model_card(stored, self.cards))
        lines = [f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)]
        return {**files, SUMS: "".join(lines).encode()}


@cache
def _id_of(cards: tuple[bytes, ...], supports: tuple[tuple[str, bytes], ...], features: str) -> str:
    digest = hashlib.sha256()
    read = (msgspec.json.encode(read_card(text, "")) for text in cards)
    for part in (
        *sorted(read),
        *(part for name, data in supports for part in (name.encode(), data)),
        features.encode(),
    ):
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.hexdigest()[:12]


@cache
def table_id() -> str:
    """Return 12 hexadecimal digits that stand for the tables of features: names, units and order of the columns."""
    told = [(over, [(f.name, f.unit) for f in table]) for over, table in TABLES.items()]
    return hashlib.sha256(msgspec.json.encode([ARITHMETIC, told])).hexdigest()[:12]


def make_version(
    info: Info,
    chosen: Mapping[str, str | bytes],
    supports: Mapping[str, Mapping[str, npt.NDArray[Any]]] | None = None,
    extra: Mapping[str, bytes] | None = None,
    features: str = "",
) -> Version:
    """Return a version that can be used.

    Parameters
    ----------
    info
        Where it comes from.
    chosen
        The cards' TOML by pattern: the whole set that is to judge.
    supports
        Arrays of each learned support, by name.
    extra
        Further files by name.
    features
        Id of the tables its cards read; those of now by default.

    Raises
    ------
    VersionError
        Where a card or array cannot be used here, or a name cannot be a file's.

    Examples
    --------
    >>> ours = shipped()
    >>> ours.name, ours.id == make_version(Info(name="copy"), ours.texts, ours.supports).id
    ('shipped', True)
    """
    named = f"version {info.name}"
    features = features or table_id()
    if not NAME.match(info.name):
        raise VersionError(f"a version cannot be named {info.name!r}: use lower-case letters, digits, `.`, `_` and `-`")
    if features != table_id():
        raise VersionError(
            f"{named} reads features of table {features}, this release has {table_id()}: train it anew with it"
        )
    own = {pattern: text.encode() if isinstance(text, str) else bytes(text) for pattern, text in chosen.items()}
    try:
        read = {pattern: read_card(text, pattern) for pattern, text in own.items()}
        ordered = arranged([(card, f"{CARDS}{pattern}.toml") for pattern, card in read.items()])
    except CardError as error:
        raise VersionError(f"{named}: {error}") from None
    if misnamed := sorted(pattern for pattern, card in read.items() if card.pattern != pattern):
        raise VersionError(f"{named}: cards {', '.join(misnamed)} are of another pattern than their file's name says")
    known = {card.pattern for card in cards()}
    if strange := sorted(set(read) - known):
        raise VersionError(
            f"{named} has cards of patterns that are not installed ({', '.join(strange)}): add a pattern by a package "
            "of cards first, in workers and sinks alike"
        )
    if missing := sorted({"account", "campaign"} - {card.over for card in ordered}):
        raise VersionError(
            f"{named} has no card over {' and none over '.join(missing)}: give the whole set that judges"
        )
    kept = {name: dict(arrays) for name, arrays in sorted((supports or {}).items())}
    ours = {INFO, SUMS, MLMODEL}
    for name in extra or {}:
        if not _PATH.match(name) or name in ours or name.startswith(CARDS) or name.endswith(TENSORS):
            raise VersionError(f"{named} cannot have a file {name!r}")
    if idle := sorted(set(kept) - {name for card in ordered for name in card.learned}):
        raise VersionError(f"{named} has learned supports that no card names ({', '.join(idle)}): remove them")
    version = Version(info, {card.pattern: own[card.pattern] for card in ordered}, kept, features, dict(extra or {}))
    try:
        if (size := sum(len(write_tensors(arrays)) for arrays in kept.values())) > MAX_SUPPORTS:
            raise VersionError(
                f"{named}: its learned supports have {size:,} bytes, where {MAX_SUPPORTS:,} fit into a control record: "
                "fit a smaller model (fewer trees, fewer leaves)"
            )
        for over in TABLES:
            version.detectors(over)  # type: ignore[arg-type]
    except (CardError, TensorsError, SupportError) as error:
        raise VersionError(f"{named}: {error}") from None
    return version


@cache
def shipped() -> Version:
    """Return the version that the installed cards are."""
    own = {read_card(text, name).pattern: text for name, text in texts().items()}
    supports = {name: read_tensors(data) for name, data in installed_supports().items()}
    return make_version(Info(name=SHIPPED), own, supports)


def check_sums(files: Mapping[str, bytes]) -> None:
    """Check the contents of a version's directory against its `SHA256SUMS`; nothing else of it is read.

    Raises
    ------
    VersionError
        Where a file is missing, is not listed or has another hash.
    """
    if SUMS not in files:
        raise VersionError(f"it has no {SUMS}: what its files should be is not known, so none is read")
    listed: dict[str, str] = {}
    for line in files[SUMS].decode("ascii", "replace").splitlines():
        digest, _, name = line.partition("  ")
        if not re.fullmatch(r"[0-9a-f]{64}", digest) or not _PATH.match(name) or name in listed:
            raise VersionError(f"{SUMS} has a line that is not `SHA256  NAME`, or a name twice")
        listed[name] = digest
    if strange := sorted(set(files) - set(listed) - {SUMS}):
        raise VersionError(f"{', '.join(strange)} is not in {SUMS}: remove it, or make the version anew")
    if missing := sorted(set(listed) - set(files)):
        raise VersionError(f"{', '.join(missing)} is in {SUMS} and not there: copy the version anew")
    for name, digest in listed.items():
        if (found := hashlib.sha256(files[name]).hexdigest()) != digest:
            raise VersionError(
                f"{name} has sha256 {found[:12]}..., {SUMS} says {digest[:12]}...: it was changed; copy it anew"
            )


def read_version(files: Mapping[str, bytes]) -> Version:
    """Return a version from the contents of its directory, by file name; hashes are checked before anything is parsed.

    Raises
    ------
    VersionError
        Where a hash is wrong, something cannot be read, or the id is not what its content gives.
    """
    check_sums(files)
    try:
        stored = msgspec.json.decode(files[INFO], type=_Stored)
    except KeyError:
        raise VersionError(f"it has no {INFO}") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        raise VersionError(f"{INFO}: {error}") from None
    cards = {
        name.removeprefix(CARDS).removesuffix(".toml"): data for name, data in files.items() if name.startswith(CARDS)
    }
    supports = {}
    for name, data in files.items():
        if name.startswith(SUPPORTS) and name.endswith(TENSORS):
            try:
                supports[name.removeprefix(SUPPORTS).removesuffix(TENSORS)] = read_tensors(data)
            except TensorsError as error:
                raise VersionError(f"{name}: {error}") from None
    extra = {
        name: data
        for name, data in files.items()
        if not name.startswith(CARDS) and not name.endswith(TENSORS) and name not in (INFO, SUMS, MLMODEL)
    }
    version = make_version(stored.info, cards, supports, extra, stored.features)
    if version.id != stored.id:
        raise VersionError(f"{INFO} says {stored.id}, its cards and arrays give {version.id}: make the version anew")
    return version


def _mlmodel(stored: _Stored) -> bytes:
    """The file by which MLflow knows a model: a loader of ours, and the directory as its data."""
    lines = [
        "flavors:",
        "  python_function:",
        "    data: .",
        "    loader_module: siphonwatch.streams.lab.registry.pyfunc",
        "  siphonwatch:",
        f"    features: {stored.features!r}",
        f"    release: {stored.info.release!r}",
        f"    version: {stored.id!r}",
        f"model_uuid: {hashlib.sha256(stored.id.encode()).hexdigest()[:32]}",
    ]
    return ("\n".join(lines) + "\n").encode()


def _model_card(stored: _Stored, cards: Sequence[Card]) -> bytes:
    """A model card for a version that has none of its own: what it is, and what each card was fitted on."""
    info = stored.info
    lines = [f"# {info.name} ({stored.id})", "", f"Made by `{info.made_by}`." if info.made_by else "Cards by hand.", ""]
    lines += [f"- Parent: {info.parent or 'none'}", f"- Data: {info.data or 'none'}", f"- Features: {stored.features}"]
    lines += [f"- {name}: {value}" for name, value in info.metrics.items()]
    for card in cards:
        lines += [
            "",
            f"## {card.title} (`{card.pattern}`, card {stored.patterns[card.pattern]})",
            "",
            card.about.strip(),
        ]
        lines += ["", f"Fitted on {card.fitted.on} by {card.fitted.by}."]
    return ("\n".join(lines) + "\n").encode()
