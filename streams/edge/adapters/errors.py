"""The HTTP status that the class of an error stands for, in the names that providers and their clients give it."""

from __future__ import annotations

import re

ERRORS = (
    ("ratelimit", 429), ("throttl", 429), ("toomany", 429), ("quota", 429), ("resourceexhausted", 429),
    ("overloaded", 529), ("notfound", 404), ("authentication", 401), ("unauthorized", 401), ("unauthenticated", 401),
    ("apikey", 401), ("permission", 403), ("forbidden", 403), ("accessdenied", 403), ("unprocessable", 422),
    ("toolarge", 413), ("conflict", 409), ("gatewaytimeout", 504), ("timeout", 504), ("timedout", 504),
    ("deadline", 504), ("cancel", 499), ("disconnect", 499), ("badgateway", 502), ("unavailable", 503),
    ("connect", 503), ("contentfilter", 400), ("contentpolicy", 400), ("contextlength", 400), ("contextwindow", 400),
    ("badrequest", 400), ("invalid", 400), ("validation", 400), ("unsupported", 400),
)  # fmt: skip
"""Part of an error's type, in lower case and letters alone -> the HTTP status it stands for; the first that fits."""

_NOT_LETTERS = re.compile(r"[^a-z]")


def error_status(failure: str) -> int:
    """Return the status of an error's class; 500 where it has none.

    Examples
    --------
    >>> error_status("openai.RateLimitError"), error_status("_OTHER")
    (429, 500)
    """
    letters = _NOT_LETTERS.sub("", failure[:256].lower())
    return next((status for part, status in ERRORS if part in letters), 500)
