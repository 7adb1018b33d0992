"""Logged features as columns, one a feature of this installation's tables. Reads and writes no file.

What this installation has no column for, as another release or another card wrote it, is kept in `value`, whole.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from siphonwatch.models.account.features import FEATURES, WIDTH
from siphonwatch.models.campaign import features as shared
from siphonwatch.models.engine.patterns import patterns
from siphonwatch.models.learn.version import table_id
from siphonwatch.streams.contracts.features import decode

OFFSET = "log_offset"
"""Where a row's own record stands in the topic of features; `partition` and `offset` are those of its request."""
_FACTS: tuple[tuple[str, pa.DataType, str, str], ...] = (
    ("over", pa.string(), "", "whose features these are: account, or campaign, of a fingerprint that accounts share"),
    ("partition", pa.int32(), "", "of telemetry, of the request; over campaigns, of sightings"),
    ("offset", pa.int64(), "", "of telemetry, of the request; over campaigns, of its record of sightings"),
    ("row", pa.int32(), "", "over campaigns, place in the record of sightings; else 0"),
    ("time", pa.float64(), "s", "event time, since 1970"),
    ("account", pa.string(), "keyed hash", "who pays for the request"),
    ("fingerprint", pa.string(), "", "over campaigns, which one; else empty"),
    ("version", pa.string(), "", "of the detectors that judged"),
    ("at", pa.list_(pa.string()), "", "alert: it raised one that was sent; hourly: an hour of the account had closed"),
    ("alerts", pa.list_(pa.string()), "", "ids of the alerts that it raised"),
    ("patterns", pa.list_(pa.string()), "", "of each of these alerts; none in records of before they were said"),
    ("incarnation", pa.string(), "", "of the topic of telemetry; over campaigns, of sightings"),
    ("table", pa.string(), "", "id of the tables of features"),
    ("log_partition", pa.int32(), "", "of the topic of features"),
    (OFFSET, pa.int64(), "", "of the topic of features"),
    ("arrived", pa.timestamp("ms", "UTC"), "ms", "when the broker had the record"),
    ("value", pa.string(), "", "the record, where something of it has no column here; else null"),
)


ACCOUNT, CAMPAIGN = "account", "campaign"
WIDTHS = {ACCOUNT: WIDTH, CAMPAIGN: shared.WIDTH}
"""Features of each table."""
SHARED = "campaign_"
"""Begins the names of the columns of a fingerprint's features, some of which an account has too."""
_FACTS_BEFORE = {"over": ACCOUNT, "row": 0, "fingerprint": "", "patterns": []}
"""What rows say that were archived before they said it."""


@cache
def schema() -> pa.Schema:
    """Return the columns, with units and meanings in the fields' metadata."""
    fields = [_field(*fact) for fact in _FACTS]
    fields += [_field(feature.name, pa.float32(), feature.unit, feature.meaning) for feature in FEATURES]
    fields += [_field(SHARED + one.name, pa.float32(), one.unit, one.meaning) for one in shared.FEATURES]
    for pattern in _patterns():
        fields.append(_field(f"score_{pattern}", pa.float32(), "", f"of {pattern}, in [0, 1]"))
    for pattern in _patterns():
        meaning = f"natural logarithm of the e-value of {pattern} after the request; null where there is none"
        fields.append(_field(f"log_e_{pattern}", pa.float32(), "", meaning))
    return pa.schema(fields)


def _field(name: str, type_: pa.DataType, unit: str, meaning: str) -> pa.Field:
    return pa.field(name, type_, metadata={"unit": unit, "meaning": meaning} if unit else {"meaning": meaning})


@cache
def _patterns() -> tuple[str, ...]:
    return tuple(detector.pattern for detector in patterns())


def parse(value: bytes) -> dict[str, Any]:
    """Return the facts of one record, with `features`, `(F,) float32`, and scores by pattern.

    Raises
    ------
    NoFeatures
        Where it is none.
    """
    logged = decode(value)
    vector: npt.NDArray[np.float32] | None = logged.vector
    if logged.table != table_id() or logged.vector.shape != (WIDTHS[logged.over],):
        vector = None  # another order, or other features
    whole = vector is not None and logged.scores.keys() <= set(_patterns()) >= logged.log_e.keys()
    return {
        "over": logged.over, "partition": logged.partition, "offset": logged.offset, "row": logged.row,
        "time": logged.time, "account": logged.account, "fingerprint": logged.fingerprint,
        "version": logged.version, "at": logged.at, "alerts": logged.alerts, "patterns": logged.patterns,
        "incarnation": logged.incarnation, "table": logged.table, "value": None if whole else value.decode(),
        "features": vector, "scores": logged.scores, "log_e": logged.log_e,
    }  # fmt: skip


def to_table(
    partition: int, rows: list[dict[str, Any]], offsets: npt.NDArray[np.int64], arrived: npt.NDArray[np.int64]
) -> pa.Table:
    """Return rows as a table, given the partition and the offsets of their own records."""
    n = len(rows)
    places = {
        "log_partition": pa.array(np.full(n, partition, np.int32)),
        OFFSET: pa.array(offsets),
        "arrived": pa.array(arrived, pa.int64()).cast(pa.timestamp("ms", "UTC")),
    }
    columns = [
        places[name] if name in places else pa.array([row[name] for row in rows], type_) for name, type_, *_ in _FACTS
    ]
    for over, width in WIDTHS.items():
        known = np.array([row["over"] == over and row["features"] is not None for row in rows], np.bool_)
        values = np.zeros((n, width), np.float32)
        for i in np.flatnonzero(known).tolist():
            values[i] = rows[i]["features"]
        columns += [pa.array(values[:, k], pa.float32(), mask=~known) for k in range(width)]
    for kind in ("scores", "log_e"):
        columns += [pa.array([row[kind].get(pattern) for row in rows], pa.float32()) for pattern in _patterns()]
    return pa.Table.from_arrays(columns, schema=schema())


def conform(table: pa.Table, names: list[str]) -> pa.Table:
    """Return columns of a table; those that another release did not write as it meant them, or as nulls."""
    found = [
        table.column(name)
        if name in table.column_names
        else pa.array([_FACTS_BEFORE.get(name)] * table.num_rows, schema().field(name).type)
        for name in names
    ]
    return pa.Table.from_arrays(found, schema=pa.schema([schema().field(name) for name in names]))
