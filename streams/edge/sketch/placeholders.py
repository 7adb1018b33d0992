"""Placeholders between delimiters: <PERSON>, [NAME_3], {{email}}, __NAME__ and their look-alikes.

Brackets mean other things in code and markup, so a span counts only when its body names a kind of identity.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable
from functools import lru_cache

from siphonwatch.models.common.vocabulary import BRACKET, INDEXED, MUSTACHE, TYPED
from siphonwatch.streams.edge.sketch.characters import OPENING

ENTITIES = frozenset(
    """PERSON PERSONS PEOPLE PER NAME NAMES FIRSTNAME LASTNAME SURNAME FULLNAME MIDDLENAME EMAIL EMAILS MAIL PHONE
    PHONENUMBER TELEPHONE MOBILE FAX ADDRESS ADDR STREET CITY STATE ZIP ZIPCODE POSTCODE COUNTY COUNTRY LOCATION LOC GPE
    PLACE ORG ORGANIZATION ORGANISATION COMPANY COMPANYNAME EMPLOYER BUSINESS INSTITUTION SCHOOL UNIVERSITY HOSPITAL
    AGENCY DATE DOB BIRTHDATE BIRTHDAY TIME AGE SSN PASSPORT LICENSE LICENCE IBAN CREDITCARD CARD BANK ACCOUNT
    ACCOUNTNUMBER IP IPADDRESS IPV4 IPV6 MAC URL LINK USER USERNAME USERID CUSTOMER CLIENT PATIENT DOCTOR EMPLOYEE
    NRP NORP FAC MISC ENTITY PII PHI REDACTED REDACTION MASKED MASK ANON ANONYMIZED ANONYMISED ANONYMOUS HIDDEN REMOVED
    WITHHELD CONFIDENTIAL SENSITIVE PRIVATE SECRET PASSWORD PASSWD CREDENTIAL APIKEY BRAND PRODUCT VENDOR PROVIDER
    SUPPLIER PROJECT HANDLE DOMAIN HOSTNAME CRYPTO GENDER NATIONALITY RELIGION PROFESSION JOB JOBTITLE VEHICLE ID
    PRESIDIO SURROGATE DEIDENTIFIED NUMBER""".split()
)
"""Parts of a body that name a kind of identity, as Presidio, spaCy, i2b2 and data-loss-prevention products do."""

PERSONAL = frozenset(
    """PERSON EMAIL PHONE COMPANY ORGANIZATION ORGANISATION REDACTED REDACTION MASKED ANONYMIZED ANONYMISED SSN
    USERNAME PATIENT CUSTOMER PII LOCATION CITY FIRSTNAME LASTNAME SURNAME FULLNAME NAME REMOVED WITHHELD""".split()
)
"""Of these, the ones that count in lower and title case too."""

REMOVED = re.compile("REDACT|ANONYMI[SZ]ED|MASKED|WITHHELD")
"""In upper case these mean masking even inside a word or a link, where other bodies would be code."""

FILL_IN = frozenset("YOUR MY INSERT ENTER ADD EXAMPLE SAMPLE SEE THE OF".split())
"""A body with one of these is a form to fill in or prose, not a masked identity."""

_CLOSE = ">\uff1e\u3009\u300b\u00bb\u203a\u27e9\u27e7_%@#|]\uff3d\u3011\u3015\u300d\u300f)}$\uff5d\uff09"
_PARTNER = dict(zip(OPENING, _CLOSE, strict=True))
_BRACKETS = "[\uff3b\u3010\u3014\u300c\u300e(\uff08"
_CURLY = "{$\uff5b"
_DELIMITED = re.compile(
    rf"([{re.escape(OPENING)}][{re.escape(OPENING)}]{{0,2}})\s?([A-Za-z][A-Za-z0-9]*(?:[ _.-][A-Za-z0-9]+){{0,5}})\s?"
    rf"([{re.escape(_CLOSE)}]{{1,3}})"
)
_INDEX = re.compile(r"[ _.-]?\d{1,4}\Z|[ _-][A-Z]\Z")
_PART = re.compile(r"[ _.-]")
_BARE = re.compile(
    r"(?<![\w<\[{(%@#$./-])(?:([A-Z]{2,14}(?:_[A-Z]{2,14}){0,3})_?\d{1,4}|REDACTED|ANONYMI[SZ]ED)(?![\w>\]})%@#$/=(])"
)
KNOWN_CHARS = 64
"""Bodies up to this length are remembered with their family: no placeholder is longer."""
_JOINED = re.compile(r"_(?<=[A-Z]_)[A-Z\d]")
"""Stands in every bare placeholder of several parts; others are not counted."""
BARE_SIGNS = ("redacted", "anonymi", *(f"{letter}_" for letter in string.ascii_lowercase))
"""Of these in lower case one stands in every text that holds a bare placeholder that counts."""
CODE = re.compile(
    # every alternative begins with its own character, which is what lets the search skip to the next of them
    r"```|</[a-z]|/>|d(?<!\wd)ef |i(?<!\wi)mport |r(?<!\wr)eturn |=>|\);|\{%|#include|f(?<!\wf)unction\b|v(?<!\wv)ar "
    r"|c(?<!\wc)onst |l(?<!\wl)et [a-z]+ =|\.format\(|print[f(]|f(?<!\wf)[\"']|S(?<!\wS)ELECT |p(?<!\wp)ublic "
    r"|c(?<!\wc)lass [A-Z]\w*[:({ ]|==|&&|\$\(|e(?<!\we)cho |e(?<!\we)xport [A-Z]"
)
"""Text that holds source code or markup: there, only upper-case placeholders count."""
CODE_SIGNS = (
    "```", "</", "/>", "def ", "import ", "return ", "=>", ");", "{%", "#include", "function", "var ", "const ", "let ",
    ".format(", "printf", "print(", "f\"", "f'", "select ", "public ", "class ", "==", "&&", "$(", "echo ", "export ",
)  # fmt: skip
"""Of these in lower case one stands in every text that `CODE` finds something in."""


def find(text: str, counts: list[int], spans: set[str], openers: bool, code: Callable[[], bool]) -> None:
    """Add the placeholders of `text` to `counts` (by family) and `spans`.

    `code` says whether the text holds source code. `openers` False says that no bracket opens a word, which spares the
    search for them.
    """
    if openers:
        for match in _DELIMITED.finditer(text):
            opener, body, closer = match.groups()
            if _PARTNER[opener[-1]] != closer[0] or not _alone(text, match, opener):
                continue
            family = (_known if len(body) <= KNOWN_CHARS else _family)(opener, body)
            if family < 0:
                continue
            if not body.isupper() and code():
                continue
            counts[family] += 1
            depth = len(opener) - len(opener.rstrip(opener[-1]))
            spans.add(text[match.end(1) - depth : match.start(3) + min(depth, len(closer))])
    for match in _BARE.finditer(text) if _has_bare(text) else ():
        kind = match[1]
        if kind is None:
            counts[BRACKET] += 1
        elif "_" in match[0] and not ENTITIES.isdisjoint(kind.split("_")):
            counts[INDEXED] += 1
            spans.add(match[0])


@lru_cache(1024)
def _known(opener: str, body: str) -> int:
    """`_family`, remembered: what is masked in one text is masked alike in the next."""
    return _family(opener, body)


def _has_bare(text: str) -> bool:
    """Whether bare placeholders that count can stand in a text."""
    return ("_" in text and _JOINED.search(text) is not None) or "REDACTED" in text or "ANONYMI" in text


def _alone(text: str, match: re.Match[str], opener: str) -> bool:
    """Whether the opener is not glued to a word, as in `List<Person>`, `row[NAME]` or a link's `](name)`."""
    before = text[match.start() - 1] if match.start() else " "
    symbol = opener[-1]
    if symbol in "_%@#|":
        if len(opener) != len(match[3]) or (symbol in "_|" and len(opener) < 2) or not match[2].isupper():
            return False
    if not (before.isascii() and (before.isalnum() or before in "]_\\")):
        return True
    return symbol in _BRACKETS and REMOVED.match(match[2]) is not None


def _family(opener: str, body: str) -> int:
    """The family a body between delimiters belongs to, -1 where it names no identity."""
    index = _INDEX.search(body)
    stem = body[: index.start()] if index else body
    upper = stem.isupper()
    parts = _PART.split(stem.upper())
    if not FILL_IN.isdisjoint(parts):
        return -1
    if upper:
        if ENTITIES.isdisjoint(parts):
            return -1
        if opener == "(" and PERSONAL.isdisjoint(parts):
            return -1
    elif PERSONAL.isdisjoint(parts) or len(parts) > 3 or (opener == "(" and "REDACTED" not in parts):
        return -1
    if index:
        return INDEXED
    if opener[-1] in _BRACKETS:
        return BRACKET
    return MUSTACHE if opener[-1] in _CURLY else TYPED
