"""What of records names an account that was erased, and the records without it. Keeps nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from siphonwatch.models.evidence.cases import ERASED
from siphonwatch.streams.contracts.alert import Alert, decode


def gone(alert: Alert, erased: Mapping[str, float]) -> set[str]:
    """Return the accounts of an alert that were erased after it, given until when each was."""
    time = alert.data.time / 1000
    return {account for account in alert.own.accounts if time <= erased.get(account, -1.0)}


def without(value: bytes, alert: Alert, accounts: Collection[str]) -> tuple[bytes, Alert] | None:
    """Return an alert that no longer names some accounts, and None where it then names nobody.

    Parameters
    ----------
    value, alert
        The record, and what it holds.
    accounts
        Those that were erased.
    """
    if all(account in accounts or account == ERASED for account in alert.own.accounts):
        return None
    if not accounts:
        return value, alert
    event = _replaced(msgspec.json.decode(value), accounts)
    message = event["data"]["message"]
    for account in accounts:
        message = message.replace(account, ERASED)
    event["data"]["message"] = message
    raw = msgspec.json.encode(event)
    return raw, decode(raw)


def _replaced(value: Any, accounts: Collection[str]) -> Any:
    if isinstance(value, dict):
        return {name: _replaced(inner, accounts) for name, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, accounts) for inner in value]
    return ERASED if isinstance(value, str) and value in accounts else value
