"""Labels of a data set as one table: analysts' verdicts, by the rules of `models.learn.labels`, and files."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from siphonwatch.models.evaluate.data import Truth
from siphonwatch.models.learn.labels import ATTACK, HONEST, OUT, Label, Said, Span, labels
from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.contracts import alert, verdict
from siphonwatch.streams.lab.archive.layout import Kind
from siphonwatch.streams.lab.archive.reader import Archive
from siphonwatch.streams.lab.evaluate.labels import LabelsError, read_labels, read_words

VERDICTS = "verdicts"
NAMES = {ATTACK: "attack", HONEST: "honest", OUT: "out"}
VALUES = {name: value for value, name in NAMES.items()}
_S = {"unit": "s", "meaning": "seconds since 1970"}
SCHEMA = pa.schema(
    [
        pa.field("account", pa.string(), metadata={"meaning": "as telemetry names it"}),
        pa.field("since", pa.float64(), metadata=_S | {"meaning": "event time from which it holds"}),
        pa.field("until", pa.float64(), metadata=_S | {"meaning": "event time up to which it holds, inclusive"}),
        pa.field("label", pa.string(), metadata={"meaning": "attack, honest, or out: nothing is learnt from it"}),
        pa.field("weight", pa.float64(), metadata={"unit": "share", "meaning": "of the analysts who agree"}),
        pa.field("pattern", pa.string(), metadata={"meaning": "that it speaks of; empty for every one"}),
        pa.field("campaign", pa.string(), metadata={"meaning": "of the attack, where a file names it"}),
        pa.field("kind", pa.string(), metadata={"meaning": "of customer, or family of the attack"}),
        pa.field("case", pa.string()),
        pa.field("decision", pa.string()),
        pa.field("decided_at", pa.float64(), metadata=_S),
        pa.field("known_at", pa.float64(), metadata=_S | {"meaning": "when all of it was known"}),
        pa.field("by", pa.string()),
        pa.field("source", pa.string(), metadata={"meaning": "the topic of verdicts, or a file's name"}),
    ]
)


class Row(NamedTuple):
    """One label with what files alone say."""

    label: Label
    campaign: str = ""
    kind: str = ""


def from_verdicts(archive: Archive, as_of: float) -> list[Row]:
    """Return what the archive's verdicts said at a moment, of the accounts and times of their alerts."""
    said: list[Said] = []
    spans: list[Span] = []
    for value, known_at in _records(archive, "verdicts"):
        with suppress(verdict.NotAVerdict):
            said.append(verdict.said(verdict.decode(value), known_at))
    for value, known_at in _records(archive, "alerts"):
        with suppress(alert.NotAnAlert):
            spans.append(verdict.span(alert.decode(value), known_at))
    return [Row(label) for label in labels(said, spans, as_of)]


def from_file(path: Path, accounts: set[str], key: str, as_of: float) -> list[Row]:
    """Return the labels of a CSV as `evaluate` takes it: an attack from its onset on, an honest account at all times.

    It may say `decided_at`, `known_at` and `by` of each account; without, its labels count as known at all times.

    Parameters
    ----------
    accounts
        Those that the archive has; others' labels are left out.
    key
        That hashed their names; empty for none.
    as_of
        Leave out what was known later, seconds since 1970.

    Raises
    ------
    LabelsError
        As `siphonwatch.streams.lab.evaluate.labels.read_labels`, and where `as_of` is a moment and the file does not
        say when one of its labels was known.
    """
    truth, words = read_labels(path), read_words(path)
    identity = Identity(key) if key else None
    found = []
    for i, name in enumerate(truth.account):
        account = name if name in accounts or identity is None else identity.account(name)
        decided, known, by = words[name]
        if np.isnan(known) and as_of < np.inf:
            raise LabelsError(
                f"{path} does not say when the label of {name} was known, and --as-of asks for what was known then: "
                "add a column known_at, or leave --as-of out"
            )
        if account not in accounts or known > as_of:
            continue
        bad, onset = bool(truth.attack[i]), float(truth.onset[i])
        since = onset if bad and not np.isnan(onset) else -np.inf
        decided, known = (-np.inf if np.isnan(moment) else moment for moment in (decided, known))
        label = Label(account, since, np.inf, ATTACK if bad else HONEST, 1.0, "", "", "", decided, known, by, path.name)
        found.append(Row(label, truth.campaign[i], truth.archetype[i] or truth.family[i]))
    return found


def to_bytes(rows: Sequence[Row]) -> bytes:
    """Return labels as a Parquet file; the same labels give the same bytes."""
    ordered = sorted(rows)
    columns = {
        **{name: [getattr(row.label, name) for row in ordered] for name in SCHEMA.names if name in Label._fields},
        "label": [NAMES[row.label.value] for row in ordered],
        "campaign": [row.campaign for row in ordered],
        "kind": [row.kind for row in ordered],
    }
    sink = io.BytesIO()
    pq.write_table(pa.table({name: columns[name] for name in SCHEMA.names}, SCHEMA), sink)
    return sink.getvalue()


def from_table(table: pa.Table) -> list[Row]:
    """Return the labels of a table as `to_bytes` wrote it."""
    return [
        Row(
            Label(value=VALUES[row["label"]], **{name: row[name] for name in Label._fields if name != "value"}),
            row["campaign"], row["kind"],
        )
        for row in table.to_pylist()
    ]  # fmt: skip


def truth_of(rows: Sequence[Row], pattern: str = "") -> Truth:
    """Return labels of accounts alone, as `evaluate` has them: an attack on any label, from its first time on.

    Parameters
    ----------
    pattern
        Leave out what speaks of other patterns; empty for nothing.
    """
    chosen: dict[str, Row] = {}
    for row in rows:
        label = row.label
        if label.value == OUT or (pattern and label.pattern not in ("", pattern)):
            continue
        held = chosen.get(label.account)
        if held is None or (label.value, -label.since) > (held.label.value, -held.label.since):
            chosen[label.account] = row
    found = list(chosen.values())
    attack = np.array([row.label.value == ATTACK for row in found], np.bool_)
    onset = [row.label.since if bad else np.nan for row, bad in zip(found, attack.tolist(), strict=True)]
    return Truth(
        [row.label.account for row in found],
        attack,
        [row.kind for row in found],
        [row.campaign for row in found],
        [row.kind if bad else "" for row, bad in zip(found, attack.tolist(), strict=True)],
        np.full(len(found), np.nan),
        np.where(np.isinf(onset), np.nan, onset),
        np.full(len(found), -1, np.int64),
    )


def _records(archive: Archive, kind: Kind) -> list[tuple[bytes, float]]:
    """Records of one kind and when the broker had them, seconds since 1970."""
    found = []
    for table in archive.tables(kind, ["value", "arrived"]):
        for value, at in zip(table["value"].to_pylist(), table["arrived"].to_pylist(), strict=True):
            found.append((value.encode(), at.timestamp() if at else 0.0))
    return found
