"""Masks entities in the syntaxes of common anonymisers; a masked text does not contain the values."""

from __future__ import annotations

import base64
import hashlib
import re

_NAMES = {
    "P": "PERSON",
    "O": "ORGANIZATION",
    "E": "EMAIL_ADDRESS",
    "N": "ID_NUMBER",
    "C": "LOCATION",
    "T": "PHONE_NUMBER",
}
_CHINESE = {"P": "某人", "O": "某公司", "E": "某邮箱", "N": "某编号", "C": "某地", "T": "某电话"}
SYNTAXES = ("typed", "indexed", "bracket", "mustache", "stars", "hash", "base64", "chinese", "fictional")
_FIRST = ("John", "Jane", "Maria", "Omar", "Yuki", "Ivan", "Nadia", "Peter")
_LAST = ("Doe", "Roe", "Weber", "Okafor", "Rossi", "Kim", "Lopez", "Novak")
_SPACES = re.compile(r"\s+")


class Mask:
    """Replaces entities in one syntax; the same value gives the same surrogate within one request.

    Examples
    --------
    >>> mask = Mask("indexed")
    >>> mask("P", "Ada Novak"), mask("P", "Wim Rossi"), mask("P", "Ada Novak")
    ('<PERSON_1>', '<PERSON_2>', '<PERSON_1>')
    """

    def __init__(self, syntax: str, salt: str = "") -> None:
        if syntax not in SYNTAXES:
            raise ValueError(f"unknown masking syntax {syntax!r}; one of {', '.join(SYNTAXES)}")
        self.syntax, self.salt = syntax, salt
        self._seen: dict[tuple[str, str], int] = {}
        self._counts: dict[str, int] = {}

    def renew(self) -> None:
        """Start the numbering again, for a new request."""
        self._seen.clear()
        self._counts.clear()

    def __call__(self, kind: str, value: str) -> str:
        """Return the replacement of `value` in the text."""
        syntax, name = self.syntax, _NAMES[kind]
        if syntax == "typed":
            return f"<{name}>"
        if syntax == "indexed":
            number = self._seen.get((kind, value))
            if number is None:
                number = self._seen[kind, value] = self._counts[kind] = self._counts.get(kind, 0) + 1
            return f"<{name}_{number}>"
        if syntax == "bracket":
            return "[REDACTED]" if kind in "NT" else f"[{name}]"
        if syntax == "mustache":
            return "{{" + name.lower() + "}}"
        if syntax == "stars":
            return "*" * min(12, len(value))
        if syntax == "chinese":
            return _CHINESE[kind]
        digest = hashlib.sha256(f"{self.salt}|{value}".encode()).digest()
        if syntax == "fictional":
            return _fictional(kind, digest)
        return digest[:8].hex() if syntax == "hash" else base64.b64encode(digest[:12]).decode()


def _fictional(kind: str, digest: bytes) -> str:
    """Return a realistic invented value, from a range reserved for examples where the kind has one."""
    first, last, number = _FIRST[digest[0] % 8], _LAST[digest[1] % 8], int.from_bytes(digest[2:4], "big")
    return {
        "P": f"{first} {last}",
        "O": f"{last} and {first}",
        "E": f"{first}.{last}@example.com".lower(),
        "N": str(10_000 + number),
        "C": f"{last} Falls",
        "T": f"555-01{number % 100:02d}",
    }[kind]


def canonical(text: str) -> str:
    """Case-fold and collapse whitespace, as a data-cleaning script does."""
    return _SPACES.sub(" ", text).casefold()
