"""Cases as CSV that a spreadsheet opens without running any of it."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable
from typing import IO

from siphonwatch.streams.contracts.alert import rfc3339
from siphonwatch.streams.contracts.wording import chance
from siphonwatch.streams.deliver.export.case import Case
from siphonwatch.streams.deliver.text import accounts, clean, signals

COLUMNS = (
    "case", "pattern", "title", "severity", "state", "verdict", "opened", "first_seen", "last_evidence", "requests",
    "e_value", "chance", "rank", "account_count", "accounts", "signals", "techniques", "sample_requests", "alert",
)  # fmt: skip
ACCOUNTS = 100
SIGNALS = 6
FORMULA = "=+-\u2212@|%"
"""What spreadsheets take for the beginning of a formula, or of a command (OWASP, "CSV Injection"), of any width."""


def write(cases: Iterable[Case], file: IO[str]) -> int:
    """Write a header and a line a case, RFC 4180 with every cell in quotes; return how many cases."""
    writer = csv.writer(file, quoting=csv.QUOTE_ALL)
    writer.writerow(COLUMNS)
    count = 0
    for case in cases:
        writer.writerow([cell(text) for text in _row(case)])
        count += 1
    return count


def cell(text: str) -> str:
    """Return text that a spreadsheet shows and never evaluates: an apostrophe stands before what could be a formula.

    Examples
    --------
    >>> cell("=1+1"), cell("  @SUM(A1)"), cell("org-7")
    ("'=1+1", "'  @SUM(A1)", 'org-7')
    """
    text = clean(text)
    begins = next((one for one in text if not _unseen(one)), "")
    return "'" + text if begins and unicodedata.normalize("NFKC", begins) in FORMULA else text


def _unseen(character: str) -> bool:
    """Whether a spreadsheet may pass a character over: spaces, format characters and quotes."""
    return character in "'\"" or character.isspace() or unicodedata.category(character) in ("Cf", "Mn")


def _row(case: Case) -> list[str]:
    alert, own = case.newest, case.newest.own
    return [
        alert.case, own.pattern, alert.title, alert.severity, "closed" if case.closed else "open", case.decision,
        rfc3339(alert.opened), own.first_seen, rfc3339(alert.time), str(own.requests_seen), f"{own.e_value:.6g}",
        chance(own.e_value), f"{own.rank:.3f}", str(len(own.accounts)), " ".join(accounts(alert, ACCOUNTS)),
        "; ".join(signals(alert, SIGNALS)), " ".join(own.atlas), " ".join(own.sample_requests), alert.id,
    ]  # fmt: skip
