"""Reads labels: which accounts attack, how, from when, and by which requests. It guesses nothing that is absent."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from collections.abc import Container, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from siphonwatch.models.account.request import NAME_BYTES
from siphonwatch.models.evaluate.data import Truth
from siphonwatch.streams.common.identity import Identity

REQUIRED = ("account", "extracting")
OPTIONAL = (
    "campaign", "archetype", "family", "desensitised", "attack_share", "onset", "n_requests", "n_attack_requests",
)  # fmt: skip
YES, NO = ("1", "true", "yes"), ("0", "false", "no")
GZIP = b"\x1f\x8b"


class LabelsError(ValueError):
    """A labels file is missing something or says something impossible; the message names the file and the line."""


def read_labels(path: Path) -> Truth:
    """Read `account,campaign,archetype,family,extracting,desensitised,attack_share,onset,n_requests,n_attack_requests`.

    Only `account` and `extracting` must be there. Without a family the campaign's name without its numbers is taken.

    Raises
    ------
    LabelsError
        When it cannot be read, a column is missing, a value is not what it should be, an account is named twice, or
        there is not at least one attack account and one benign one.
    """
    rows = list(_rows(path, REQUIRED))
    names: dict[str, int] = {}
    for line, row in rows:
        name = (row["account"] or "").strip()
        if not name:
            raise LabelsError(f"{path} line {line}: no account; every row needs one")
        kept = name.encode()[:NAME_BYTES].decode("ascii", "replace")
        if kept in names:
            raise LabelsError(f"{path} line {line}: account {name} is on line {names[kept]} too; keep one of them")
        names[kept] = line
    attack = np.array([_flag(path, line, row, "extracting") == 1 for line, row in rows], np.bool_)
    for kind, present in (("attack", attack.any()), ("benign", not attack.all())):
        if not present:
            value = 1 if kind == "attack" else 0
            raise LabelsError(f"{path}: no {kind} account (extracting {value}); metrics need at least one of each kind")
    campaign = [(row.get("campaign") or "").strip() for _, row in rows]
    family = [(row.get("family") or "").strip() or _family(name) for (_, row), name in zip(rows, campaign, strict=True)]
    return Truth(
        account=list(names),
        attack=attack,
        archetype=[(row.get("archetype") or "").strip() for _, row in rows],
        campaign=campaign,
        family=[name if bad else "" for name, bad in zip(family, attack.tolist(), strict=True)],
        share=np.array([_share(path, line, row) for line, row in rows]),
        onset=np.array([_moment(path, line, row) for line, row in rows]),
        desensitised=np.array([_flag(path, line, row, "desensitised") for line, row in rows], np.int64),
    )


def read_words(path: Path) -> dict[str, tuple[float, float, str]]:
    """Read when each account's label was decided and known, seconds since 1970, and who decided.

    From the columns `decided_at`, `known_at` and `by`. NaN, and no name, where the file does not say; what was decided
    and not said to be known later was known at once.

    Raises
    ------
    LabelsError
        As `read_labels`.
    """
    found = {}
    for line, row in _rows(path, REQUIRED):
        decided, known = (_moment(path, line, row, column) for column in ("decided_at", "known_at"))
        name = (row["account"] or "").strip().encode()[:NAME_BYTES].decode("ascii", "replace")
        found[name] = (decided, decided if np.isnan(known) else known, (row.get("by") or "").strip())
    return found


def named_as_in(log: Container[str], truth: Truth, key: str) -> Truth:
    """The labels with each account under the name that the log has: telemetry has hashes, made with `identity.key`."""
    identity = Identity(key) if key else None
    hashes = {name: identity.account(name) for name in truth.account if name not in log} if identity else {}
    return truth._replace(account=[hashed if (hashed := hashes.get(n, n)) in log else n for n in truth.account])


def read_attack_requests(path: Path) -> set[bytes]:
    """Return the ids in a CSV with the column `id`, as the scorer keeps them.

    Raises
    ------
    LabelsError
        When it cannot be read, has no such column or no row.
    """
    ids = {(row["id"] or "").encode()[:NAME_BYTES] for _, row in _rows(path, ("id",))} - {b""}
    if not ids:
        raise LabelsError(f"{path}: no request id in it; leave it out where attack requests are not known")
    return ids


def _rows(path: Path, required: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str | None]]]:
    """Each row with the line it ends on."""
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if data[:2] == GZIP else data).decode("utf-8-sig")
    except OSError as error:
        raise LabelsError(f"cannot read {path}: {error.strerror or error}") from None
    except (EOFError, zlib.error, UnicodeDecodeError) as error:
        raise LabelsError(f"cannot read {path}: {error}; it should be CSV in UTF-8, plain or gzip") from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = [name for name in required if name not in (reader.fieldnames or ())]
    if missing:
        found = ", ".join(reader.fieldnames or ()) or "nothing"
        raise LabelsError(f"{path}: no column {' and no column '.join(missing)}; its first line has {found}")
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise LabelsError(f"{path} line {reader.line_num}: {error}") from None


def _flag(path: Path, line: int, row: dict[str, str | None], column: str) -> int:
    text = (row.get(column) or "").strip().lower()
    if text in YES:
        return 1
    if text in NO:
        return 0
    if not text and column not in REQUIRED:
        return -1
    raise LabelsError(f"{path} line {line}: {column} is {text!r}; write 1 or 0")


def _number(path: Path, line: int, row: dict[str, str | None], column: str) -> float:
    text = (row.get(column) or "").strip()
    if not text:
        return np.nan
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise LabelsError(f"{path} line {line}: {column} is {text!r}; write a number or leave it empty")
    return value


def _share(path: Path, line: int, row: dict[str, str | None]) -> float:
    """Attack requests over requests, from whichever columns have it."""
    share = _number(path, line, row, "attack_share")
    total, attack = (_number(path, line, row, name) for name in ("n_requests", "n_attack_requests"))
    if np.isnan(share) and total > 0:
        share = attack / total
    if share < 0 or share > 1:
        raise LabelsError(f"{path} line {line}: the attack share is {share:g}; it is a share from 0 to 1")
    return share


def _moment(path: Path, line: int, row: dict[str, str | None], column: str = "onset") -> float:
    """Epoch seconds, from those or an RFC 3339 time; NaN where the row does not say."""
    text = (row.get(column) or "").strip()
    try:
        when = datetime.fromisoformat(text.replace("Z", "+00:00")) if re.search(r"\d-\d\d-", text) else None
    except ValueError:
        raise LabelsError(
            f"{path} line {line}: {column} is {text!r}; write epoch seconds or an RFC 3339 time"
        ) from None
    if when is None:
        return _number(path, line, row, column)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _family(campaign: str) -> str:
    """The campaign's name without the parts that only count: `A-10-codealpaca` and `A-25-codealpaca` are one family."""
    return "-".join(part for part in campaign.split("-") if not part.isdigit())
