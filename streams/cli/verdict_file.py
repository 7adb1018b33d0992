"""Reads a file of verdicts, as a spreadsheet or a case tool writes it. Every line that cannot be used is named; sends
nothing.
"""

from __future__ import annotations

import csv
from typing import IO, NamedTuple

from siphonwatch.models.learn.verdict_book import DECISIONS, Decision
from siphonwatch.streams.deliver.text import clean, clip

COLUMNS = ("case", "decision", "note", "by", "of")
REQUIRED = COLUMNS[:2]
DELIMITERS = ",;\t"
"""Of CSV; of CSV where the comma is the decimal mark; of what is pasted from a spreadsheet."""
SHORT_FORMS: dict[str, Decision] = {
    "tp": "true-positive", "fp": "false-positive", "be": "benign-expected", "benign": "benign-expected",
    "insufficientdata": "insufficient", "dup": "duplicate",
}  # fmt: skip
"""What analysts and case tools also write."""
SHOWN = 20
"""Errors that are printed; the rest is counted."""
VALUE = 60
"""Characters of a value that an error quotes."""


class Row(NamedTuple):
    """One verdict of the file, its case as it was written."""

    line: int
    """Where it ends, the first line being 1."""
    case: str
    decision: Decision
    note: str
    by: str
    of: str = ""
    """Of a duplicate: the case that it is one of, as it was written."""


class FileErrors(ValueError):
    """Lines that cannot be used; the message names each with its value."""

    def __init__(self, name: str, errors: list[str]) -> None:
        shown = errors[:SHOWN]
        if len(errors) > SHOWN:
            shown.append(f"and {len(errors) - SHOWN:,} more")
        super().__init__("\n  ".join([f"{name} cannot be used; nothing was sent:", *shown]))


def decision_of(text: str) -> Decision | None:
    """Return the decision that a text names, None where it names none: case, spaces and marks do not count.

    Examples
    --------
    >>> decision_of("TP"), decision_of("False positive"), decision_of("BenignExpected"), decision_of("maybe")
    ('true-positive', 'false-positive', 'benign-expected', None)
    """
    letters = "".join(character for character in text.lower() if character.isalnum())
    return SHORT_FORMS.get(letters) or next((one for one in DECISIONS if one.replace("-", "") == letters), None)


def read(file: IO[str], note: str, by: str) -> list[Row]:
    """Return the rows of a file; `note` and `by` are the values where a row has none.

    The first line names the columns: `case` and `decision`, `note`, `by` and `of` if you like, in any order and case;
    other columns are left out. Commas, semicolons and tabs separate them.

    Raises
    ------
    FileErrors
        When a line cannot be used, or there is none.
    """
    try:
        header = file.readline()
        delimiter = max(DELIMITERS, key=header.count)
        names = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
        if missing := [name for name in REQUIRED if name not in names]:
            found = ", ".join(_quoted(name) for name in names) or "nothing"
            raise FileErrors(
                file.name, [f"line 1 names no column {' and no '.join(missing)}, but {found}: {', '.join(COLUMNS)}"]
            )
        return _rows(file, csv.DictReader(file, names, delimiter=delimiter, strict=True), note, by)
    except UnicodeDecodeError as error:
        raise FileErrors(file.name, [f"it is no text in UTF-8: {error}"]) from None


def _rows(file: IO[str], lines: csv.DictReader[str], note: str, by: str) -> list[Row]:
    rows: list[Row] = []
    errors: list[str] = []
    try:
        for fields in lines:
            line = lines.line_num + 1
            case, said, own_note, own_by, of = (str(fields.get(name) or "").strip() for name in COLUMNS)
            decision = decision_of(said)
            if not case:
                errors.append(f"line {line}: no case")
            if decision is None:
                errors.append(f"line {line}: {_quoted(said)} is no decision: {', '.join(DECISIONS)}, or TP, FP, BE")
            elif case:
                rows.append(Row(line, case, decision, own_note or note, own_by or by, of))
    except csv.Error as error:
        errors.append(f"line {lines.reader.line_num + 1}: {error}")
    if not errors and not rows:
        errors.append("it holds no verdict below the names of its columns")
    if errors:
        raise FileErrors(file.name, errors)
    return rows


def _quoted(value: str) -> str:
    return repr(clip(clean(value), VALUE))
