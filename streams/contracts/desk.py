"""The desk contract, version 1: what people note about cases and agree on, beside verdicts and allow entries.

A record's key is its `id`, which nothing else has, so that compaction keeps every record; it may be sent once more
with the same id, without what names an erased account, and then replaces the first one. What counts is the order of
`time`, then of `id`, and not that of the log. Texts and names stay on this topic: they reach no alert, metric or log.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from siphonwatch.models.evidence.cases import ERASED
from siphonwatch.streams.contracts.control import Account, Id, Person, Time

MAX_TEXT = 2000
MAX_ACCOUNTS = 1000
"""Of one split: as many as an alert names."""
MAX_BYTES = 256 * 1024
"""Of a record; a larger one is not looked at."""
Case = Annotated[str, Meta(pattern="^[0-9a-f]{16}$(?!\\n)")]
Text = Annotated[str, Meta(max_length=MAX_TEXT)]


class _Record(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """What every record says. Fields may be added with a default, none retyped."""

    id: Id
    case: Case
    account: Account
    """The case's first account, so that an account can be erased from the topic alone."""
    by: Person
    time: Time
    """When it was decided, seconds since 1970."""
    v: Literal[1] = 1


class Note(_Record, frozen=True, kw_only=True, tag="note"):
    """Free text for people, which may hold names."""

    text: Text


class Assign(_Record, frozen=True, kw_only=True, tag="assign"):
    """Who works on the case from now on."""

    to: Annotated[str, Meta(max_length=64)]
    """Empty: nobody."""


class Snooze(_Record, frozen=True, kw_only=True, tag="snooze"):
    """The case is not shown among the open ones for a time."""

    until: Time
    text: Text = ""


class Reopen(_Record, frozen=True, kw_only=True, tag="reopen"):
    """The case is shown among the open ones again: its snooze is over, or it was closed and is not settled."""

    text: Text = ""


class Merge(_Record, frozen=True, kw_only=True, tag="merge"):
    """The case is worked on together with another one."""

    of: Case
    text: Text = ""


class Split(_Record, frozen=True, kw_only=True, tag="split"):
    """Accounts do not belong to the case, or the case no longer to the one that it was merged into."""

    accounts: Annotated[list[Account], Meta(max_length=MAX_ACCOUNTS)] = []
    """Those that do not; none: it ends the merge."""
    text: Text = ""


Desk = Note | Assign | Snooze | Reopen | Merge | Split


class NotOfTheDesk(ValueError):
    """A record that is none of these; the message quotes no content."""


_decoder = msgspec.json.Decoder(Desk)
_encoder = msgspec.json.Encoder()


def encode(record: Desk) -> bytes:
    """Serialise one record as one line of JSON."""
    return _encoder.encode(record)


def decode(raw: bytes) -> Desk:
    """Parse and validate one record.

    Raises
    ------
    NotOfTheDesk
        When it is none of version 1, larger than `MAX_BYTES`, or a merge of a case with itself.
    """
    if len(raw) > MAX_BYTES:
        raise NotOfTheDesk(f"{len(raw):,} bytes, where {MAX_BYTES:,} are the most")
    try:
        record: Desk = _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        # What msgspec says of an unknown tag or value quotes it.
        raise NotOfTheDesk("an unknown value" if "Invalid" in str(error) else str(error)) from None
    if isinstance(record, Merge) and record.of == record.case:
        raise NotOfTheDesk("a case is not merged with itself")
    return record


def text_of(record: Desk) -> str:
    """Return what a person wrote in it."""
    return "" if isinstance(record, Assign) else record.text


def names(record: Desk, account: str) -> bool:
    """Whether it is about an account."""
    return record.account == account or (isinstance(record, Split) and account in record.accounts)


def blanked(record: Desk, account: str) -> Desk:
    """Return a record without an account that was erased, and without its text, under the same id.

    Examples
    --------
    >>> note = Note(id="0" * 12, case="c" * 16, account="acme", by="Ann", time=1.8e9, text="Acme wrote")
    >>> blank = blanked(note, "acme")
    >>> blank.id == note.id, blank.account, blank.text
    (True, 'erased', '')
    """
    if not names(record, account):
        return record
    changes: dict[str, Any] = {"account": ERASED if record.account == account else record.account}
    if not isinstance(record, Assign):
        changes["text"] = ""
    if isinstance(record, Split):
        changes["accounts"] = [ERASED if one == account else one for one in record.accounts]
    return msgspec.structs.replace(record, **changes)


def history(records: Iterable[Desk]) -> list[Desk]:
    """Return the records in the order that counts, the last one of each id.

    Parameters
    ----------
    records
        In the order of the log.
    """
    return sorted({record.id: record for record in records}.values(), key=lambda one: (one.time, one.id))


def json_schema() -> dict[str, Any]:
    """Return JSON Schema (2020-12) of desk v1."""
    schema = msgspec.json.schema(Desk)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["$id"] = "urn:siphonwatch:desk:v1"
    return schema
