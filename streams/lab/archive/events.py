"""Alerts, verdicts and logged features as columns: what each is looked up by; of the first two the whole record too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from msgspec import Meta

from siphonwatch.streams.contracts.alert import NotAnAlert
from siphonwatch.streams.contracts.telemetry import Malformed
from siphonwatch.streams.deliver.alert import read
from siphonwatch.streams.lab.archive import features
from siphonwatch.streams.lab.archive.layout import Kind
from siphonwatch.streams.lab.archive.telemetry import PLACES
from siphonwatch.streams.worker.orders import Orders


class _Verdict(msgspec.Struct, frozen=True):
    """What every version of a verdict has; the vocabulary of decisions may be newer than this archiver."""

    case: str
    decision: str
    time: Annotated[float, Meta(ge=0, le=2**34)]
    by: str
    alert: str = ""
    account: str = ""


_verdict = msgspec.json.Decoder(_Verdict)
_TIME = pa.field("time", pa.float64(), metadata={"unit": "s", "meaning": "event time, since 1970"})
ALERTS = pa.schema(
    [*(pa.field(*place) for place in PLACES), _TIME]
    + [pa.field(name, pa.string()) for name in ("id", "case", "kind", "pattern", "card", "severity")]
    + [pa.field("accounts", pa.list_(pa.string())), pa.field("e_value", pa.float64())]
    + [pa.field("requests_seen", pa.int64()), pa.field("value", pa.string(), metadata={"meaning": "the CloudEvent"})]
)
VERDICTS = pa.schema(
    [
        *(pa.field(*place) for place in PLACES),
        pa.field("time", pa.float64(), metadata={"unit": "s", "meaning": "when it was decided, since 1970"}),
        *(pa.field(name, pa.string()) for name in ("case", "alert", "account", "decision", "by")),
        pa.field("value", pa.string(), metadata={"meaning": "the verdict"}),
    ]
)
SCHEMAS: dict[Kind, pa.Schema] = {"alerts": ALERTS, "verdicts": VERDICTS, "features": features.schema()}


class Events(NamedTuple):
    """Records of one of these topics with their places."""

    rows: list[dict[str, Any]]
    """Columns of each, without its place."""
    offsets: npt.NDArray[np.int64]
    arrived: npt.NDArray[np.int64]

    def at(self, chosen: npt.NDArray[np.int64]) -> Events:
        """Return some of them."""
        return Events([self.rows[i] for i in chosen.tolist()], self.offsets[chosen], self.arrived[chosen])


def join(parts: Sequence[Events]) -> Events:
    """Return the records of several parts, in their order."""
    return Events(
        [row for part in parts for row in part.rows],
        np.concatenate([part.offsets for part in parts]),
        np.concatenate([part.arrived for part in parts]),
    )


def parse(kind: Kind, value: bytes) -> dict[str, Any]:
    """Return the columns of one record.

    Raises
    ------
    Malformed
        Where it is none of its topic.
    """
    try:
        if kind == "alerts":
            return _alert(value)
        if kind == "features":
            return features.parse(value)
        found = _verdict.decode(value)
    except (NotAnAlert, msgspec.DecodeError, UnicodeError, RecursionError):
        raise Malformed("schema", f"no record of {kind}") from None
    return {
        "time": found.time, "case": found.case, "alert": found.alert, "account": found.account,
        "decision": found.decision, "by": found.by, "value": value.decode(),
    }  # fmt: skip


def _alert(value: bytes) -> dict[str, Any]:
    alert = read(value, 0.0)
    own = alert.own
    if own.requests_seen >= 2**63:
        raise NotAnAlert("requests_seen is larger than its column takes")
    return {
        "time": alert.time, "id": alert.id, "case": own.case, "kind": alert.kind,
        "pattern": own.pattern, "card": own.card, "severity": alert.severity, "accounts": own.accounts,
        "e_value": own.e_value, "requests_seen": own.requests_seen, "value": value.decode(),
    }  # fmt: skip


def erased(rows: Sequence[dict[str, Any]], orders: Orders) -> npt.NDArray[np.bool_]:
    """Say which records are about an account that was erased, from before its order, `(n,)`.

    A verdict by its account, an alert by any of its accounts: as a rewriting of an archive takes them out.
    """
    until: dict[str, float] = {}
    for order in orders:
        if not order.dry_run:
            until[order.account] = max(until.get(order.account, 0.0), order.time)
    return np.array(
        [
            any(row["time"] <= until.get(name, -np.inf) for name in row.get("accounts") or [row.get("account", "")])
            for row in rows
        ],
        np.bool_,
    )


def to_table(kind: Kind, partition: int, events: Events) -> pa.Table:
    """Return records as a table."""
    if kind == "features":
        return features.to_table(partition, events.rows, events.offsets, events.arrived)
    schema = SCHEMAS[kind]
    places = {
        "partition": pa.array(np.full(len(events.rows), partition, np.int32)),
        "offset": pa.array(events.offsets),
        "arrived": pa.array(events.arrived, pa.int64()).cast(pa.timestamp("ms", "UTC")),
    }
    columns = [
        places[field.name]
        if field.name in places
        else pa.array([row[field.name] for row in events.rows], field.type, from_pandas=True)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
