"""What of records names an account that was erased, and the records without it. Keeps nothing."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from siphonwatch.models.evidence.cases import ERASED
from siphonwatch.streams.contracts import desk as noted
from siphonwatch.streams.contracts.alert import Alert, decode
from siphonwatch.streams.contracts.control import Allow
from siphonwatch.streams.contracts.verdict import Verdict


def mentions(text: str, account: str) -> bool:
    """Return whether a text has an account's id as a word of its own.

    Examples
    --------
    >>> mentions("asked acme-7, who said no", "acme-7"), mentions("asked acme-71", "acme-7")
    (True, False)
    """
    return account in text and _word(account).search(text) is not None


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
    raw = msgspec.json.encode(_replaced(msgspec.json.decode(value), accounts))
    return raw, decode(raw)


def of_note(record: noted.Desk, erased: Mapping[str, float]) -> noted.Desk:
    """Return a record of the desk without the accounts that were erased after it, and without a text that names one."""
    for account, until in erased.items():
        if record.time <= until:
            record = noted.blanked(record, account)
            if not isinstance(record, noted.Assign) and mentions(record.text, account):
                record = msgspec.structs.replace(record, text="")
    return record


def of_verdict(record: Verdict, erased: Mapping[str, float]) -> Verdict:
    """Return a verdict likewise."""
    if record.time <= erased.get(record.account, -1.0):
        return msgspec.structs.replace(record, account=ERASED, note="")
    if record.note and any(record.time <= until and mentions(record.note, one) for one, until in erased.items()):
        return msgspec.structs.replace(record, note="")
    return record


def of_allow(record: Allow, erased: Mapping[str, float]) -> Allow:
    """Return an allow entry likewise; it goes on for its other accounts."""
    accounts = [ERASED if record.time <= erased.get(one, -1.0) else one for one in record.accounts]
    named = any(record.time <= until and mentions(record.why, one) for one, until in erased.items())
    if accounts == record.accounts and not named:
        return record
    return msgspec.structs.replace(record, accounts=accounts, why="")


def _word(account: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-]){re.escape(account)}(?![\w-])")


def _replaced(value: Any, accounts: Collection[str]) -> Any:
    if isinstance(value, dict):
        return {name: _replaced(inner, accounts) for name, inner in value.items()}
    if isinstance(value, list):
        return [_replaced(inner, accounts) for inner in value]
    for account in accounts if isinstance(value, str) else ():
        if account in value:
            value = _word(account).sub(ERASED, value)
    return value
