"""Names, numbers and addresses that are reserved for fiction and documentation, as consistent fake data brings them.

Text that holds source code or commands is left out: there they are examples more often than a disguise.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# Every pattern begins with what it cannot do without, or every alternative with its own character, which is what lets
# the search skip to the next of them. No match of one overlaps with one of another.
_SITE = re.compile(  # RFC 2606
    r"example\.(?:(?<=@example\.)(?:com|org|net|edu)\b"
    r"|(?:(?<=http://example\.)|(?<=https://example\.)|(?<=http://www\.example\.)|(?<=https://www\.example\.))"
    r"(?:com|org|net)\b)"
)
_PERSON = re.compile(
    r"J(?<!\wJ)(?:ohn|ane) [Dd]oe\b|j(?<!\wj)(?:ohn|ane) [Dd]oe\b"
    r"|M(?<!\wM)ax [Mm]ustermann\b|m(?<!\wm)ax [Mm]ustermann\b|E(?<!\wE)rika [Mm]ustermann\b"
    r"|e(?<!\we)rika [Mm]ustermann\b|\u5f20\u4e09(?=.{0,80}\u674e\u56db)"
)
_NUMBER = re.compile(
    r"\((?<![\d-]\()555\)?[ .-]\d{3}[ .-]\d{4}(?!\d)"  # kept for fiction (NANPA)
    r"|5(?<![\d-]5)55\)?[ .-]\d{3}[ .-]\d{4}(?!\d)|5(?<!\d5)55[ .-]01\d\d(?!\d)"
    r"|1(?<![\d.]1)(?:92\.0\.2|98\.51\.100)\.\d{1,3}(?![\d.])|2(?<![\d.]2)03\.0\.113\.\d{1,3}(?![\d.])"  # RFC 5737
)
NAME_SIGNS = ("example.", "n doe", "e doe", "mustermann")
NUMBER_SIGNS = ("555", "192.0.2.", "198.51.100.", "203.0.113.")
"""Of these in lower case one stands in every ASCII text that holds a reserved name or address, or number."""
COMMAND_SIGNS = ("wget", "curl", "ping", "ssh", "nginx", "localhost", "subnet", "api", "htm", "dns", "config")
"""The same of commands."""
_COMMAND = re.compile(r"\b(?:wget|curl|ping|ssh|nginx|localhost|subnet|api|html?|dns|config\w*)\b", re.IGNORECASE)


def _has_name(text: str) -> bool:
    """Whether one of the signs stands in a text without which no name or address does: plain searches cost little."""
    return (
        "example." in text
        or ((" Doe" in text or " doe" in text) and any(name in text for name in ("n Doe", "e Doe", "n doe", "e doe")))
        or "Mustermann" in text
        or "\u5f20\u4e09" in text
    )


def _has_number(text: str) -> bool:
    """The same of numbers."""
    return "555" in text or "192.0.2." in text or "198.51.100." in text or "203.0.113." in text


def count(text: str, code: Callable[[], bool], digits: bool = True, commands: bool = True) -> int:
    """Return how many spans of `text` are reserved ones.

    `code` says whether it holds source code. `digits` False says that it holds no digit, `commands` False that it
    holds none of `COMMAND_SIGNS`, which spares searches.

    Examples
    --------
    >>> count("Jane Doe (jane.doe@example.com, 555-0142) wrote to us", lambda: False)
    3
    >>> count("def ping(host='192.0.2.1'): return 555", lambda: True)
    0
    """
    numbers = digits and _has_number(text)
    if not (numbers or _has_name(text)):
        return 0
    found = sum(1 for _ in _SITE.finditer(text)) if "example." in text else 0
    if " Doe" in text or " doe" in text or "ustermann" in text or "\u5f20\u4e09" in text:
        found += sum(1 for _ in _PERSON.finditer(text))
    if numbers:
        found += sum(1 for _ in _NUMBER.finditer(text))
    return found if found and not (code() or (commands and _COMMAND.search(text))) else 0
