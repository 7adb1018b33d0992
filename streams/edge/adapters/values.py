"""Reads single values out of logs whose types nobody guarantees: numbers as text, times in four units, dashes for
nothing. Never raises on a value of the wrong type, and never returns one that the telemetry contract refuses."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import msgspec

COUNT_MAX = 2**31 - 1
TIME_MIN = 946_684_800.0
"""The year 2000, in seconds since 1970; no log of a gateway is older."""
TIME_MAX = float(2**34)
DURATION_MAX = 1e7
ABSENT = frozenset(("", "-", "null", "None", "undefined"))
"""How gateways write "no value" where a value is expected."""

MAX_NUMERAL = 32
"""Characters; no number that a log means is longer, and parsing longer ones takes quadratic time."""

_NAME = re.compile(r"[A-Za-z0-9@~][A-Za-z0-9._:/@+-]*\Z")
_decoder = msgspec.json.Decoder()
_MONTHS = {name: i for i, name in enumerate("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)}
_WITH_ZONE = re.compile(
    r"(?P<moment>\d{4}-.*[\d.]) (?:(?P<offset>[+-]\d\d:?\d\d)(?: [A-Z]{2,5})?|UTC|GMT|Z)\Z", re.ASCII
)
"""A zone behind a blank, as Go and Ruby print it."""
_COMMON_TIME = re.compile(r"(\d{1,2})/([A-Z][a-z]{2})/(\d{4}):(\d{2}):(\d{2}):(\d{2}) ([+-])(\d{2})(\d{2})\Z", re.ASCII)


class NotJson(ValueError):
    """The bytes are no JSON, however leniently read; the message holds nothing of them."""


def load_json(raw: bytes | str) -> Any:
    """Parse JSON: strictly and fast first, then as lenient loggers write it.

    A lone surrogate (a client that cuts an emoji in half), a byte that is not UTF-8, NaN and numbers beyond a double
    must not let a request escape: the first two become `?` or U+FFFD, the others null.

    Raises
    ------
    NotJson
        When it is still not JSON, or nested too deeply.
    """
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return _decoder.decode(relax(raw))


def relax(raw: bytes | str) -> bytes:
    """Rewrite lenient JSON as strict JSON.

    Raises
    ------
    NotJson
        When it is not JSON even leniently, or nested too deeply.
    """
    text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw
    try:
        try:
            tree = _loads(text)
        except json.JSONDecodeError as error:
            if (mended := _mended(text)) == text:
                raise
            try:
                tree = _loads(mended)
            except json.JSONDecodeError:
                raise error from None
        strict = json.dumps(tree, ensure_ascii=False).encode("utf-8", "replace")
        _decoder.decode(strict)
    except RecursionError:
        raise NotJson("nested too deeply") from None
    except msgspec.DecodeError:
        raise NotJson("a number out of range") from None
    except ValueError as error:
        where = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise NotJson(f"not JSON{where}") from None
    return strict


def _loads(text: str) -> Any:
    return json.loads(text, strict=False, parse_constant=lambda _: None, parse_float=_finite, parse_int=_integer)


_TOKEN = re.compile(r'"((?:[^"\\]++|\\.)*+)"|([^"]++)|"', re.DOTALL)
"""A string, what stands between strings, or a quote that is never closed."""
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9A-Fa-f]{4})|((?:\\x[0-9A-Fa-f]{2})++)|\\(?s:.)')
_QUOTE = re.compile(r'\\(?s:.)|"')
_BARE = re.compile(r":[ \t]*+([^:,{}\[\]\n]*+(?:[,:][^:,{}\[\]\n]*+)*?)[ \t]*+(?=,\s*+\Z|[}\]])")
"""A value without quotes, up to the next key or closing bracket; NGINX joins those of several upstreams by commas."""


_LAST_COMMA = re.compile(r",(?=\s*+[}\]])")


def _mended(text: str) -> str:
    """JSON as NGINX writes it without `escape=json`: \\xHH in strings, numbers that are empty, a dash or several."""
    return _TOKEN.sub(_mend, text)


def _mend(token: re.Match[str]) -> str:
    words, between = token.groups()
    if words is not None:
        return token.group() if "\\" not in words else '"' + _ESCAPE.sub(_mend_escape, words) + '"'
    return _BARE.sub(_mend_bare, _LAST_COMMA.sub("", between)) if between else token.group()


def _mend_escape(escape: re.Match[str]) -> str:
    octets = escape.group(1)
    if octets:
        return json.dumps(bytes.fromhex(octets.replace("\\x", "")).decode("utf-8", "replace"))[1:-1]
    found = escape.group()
    return found if found[1] in '"\\/bfnrtu' and len(found) in (2, 6) and found != "\\u" else "\\" + found


def _mend_bare(value: re.Match[str]) -> str:
    bare = value.group(1).strip()
    if bare in ("", "-"):
        return ":null"
    try:
        json.loads(bare)
    except ValueError:
        return ":" + json.dumps(bare)
    return value.group()


MAX_FLAT = 65_536
"""Characters read of a line that is no JSON; headers of a request, escaped, are not longer."""

_KEY = r'"[A-Za-z_@][\w.@-]{0,63}"\s{0,4}:'
_FLAT = re.compile(
    rf'(?P<key>{_KEY})\s{{0,4}}(?:"(?P<words>.{{0,16384}}?)"(?=\s{{0,4}}(?:,\s{{0,4}}(?:{_KEY}|\Z)|\}}\s{{0,4}}\Z))'
    r"|(?P<bare>[-\w.]{0,64}))",
    re.DOTALL,
)


def flat_fields(text: str) -> dict[str, str]:
    """Return the fields of one flat object that is no JSON: cut off, or with quotes that nobody escaped.

    The first field of a name counts: what a client writes into one field cannot replace those in front of it.

    Examples
    --------
    >>> flat_fields('{"a":"1","agent":"say "hi"","b":2,"c":"3')
    {'a': '1', 'agent': 'say "hi"', 'b': '2', 'c': ''}
    """
    found: dict[str, str] = {}
    for match in itertools.islice(_FLAT.finditer(text[:MAX_FLAT]), 256):
        key, words, bare = match.group("key", "words", "bare")
        found.setdefault(key.partition('"')[2].partition('"')[0], unescaped(words or bare or ""))
    return found


def unescaped(words: str) -> str:
    """Return text with the escapes of JSON, and NGINX's \\xHH, taken out."""
    if "\\" not in words:
        return words
    try:
        quoted = _QUOTE.sub(lambda found: '\\"' if found.group() == '"' else found.group(), words)
        return str(json.loads('"' + _ESCAPE.sub(_mend_escape, quoted) + '"', strict=False))
    except ValueError:
        return words


def _finite(numeral: str) -> float | None:
    number = float(numeral)
    return number if math.isfinite(number) else None


def _integer(numeral: str) -> int | None:
    return int(numeral) if len(numeral) <= MAX_NUMERAL else None


def number(value: Any) -> float | None:
    """Return a finite float from a number or its text, None for anything else."""
    if value is None:
        return None
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        if len(value) > MAX_NUMERAL:
            return None
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, int):
        return float(value) if abs(value) < 2**63 else None
    return value if isinstance(value, float) and math.isfinite(value) else None


def count(value: Any, absent: int = 0) -> int:
    """Return a whole number in 0..2**31-1 from a number or its text; `absent` for anything else."""
    if value is None:
        return absent
    if type(value) is int:
        return absent if value < 0 else value if value <= COUNT_MAX else COUNT_MAX
    found = number(value)
    return absent if found is None or found < 0 else int(min(found, COUNT_MAX))


def text(value: Any) -> str:
    """Return a string or a number's text; '' for a dash, an empty value or anything else."""
    if type(value) is str:
        return "" if value in ABSENT else value
    if value is None:
        return ""
    if isinstance(value, str):
        return "" if value in ABSENT else value
    if isinstance(value, bool):
        return ""
    return str(value) if isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**128) else ""


def name(value: Any, limit: int) -> str:
    """Return a technical name cut to `limit` characters; `other` for text that is no name.

    Names stand in the clear in telemetry. Whatever a client can put its own words into must look like a name.
    """
    found = text(value)
    if not found:
        return ""
    return _named(found[:limit])


@lru_cache(4096)
def _named(found: str) -> str:
    return found if _NAME.match(found) else "other"


_OWNED = re.compile(
    r"(?:.*/)?(?:"
    r"arn:[a-z-]+:[a-z-]+:[a-z0-9-]*:\d*:(?:(?:foundation-model|inference-profile)/)?|"  # Amazon: the customer's number
    r"projects/[^/]+/locations/[^/]+/(?:publishers/[^/]+/)?(?:models/)?|"  # Google: the project
    r"accounts/(?!fireworks/)[^/]+/|"  # Fireworks: the customer
    r"https?://[^/]+/(?:openai/)?(?:deployments/)?"  # an endpoint of the customer's own
    r")(?P<rest>.*)\Z"
)


def model_name(value: Any) -> str:
    """Return a model's name without the owner that some carry: fine-tuned models (`ft:base:organisation:...`), and
    resource names of clouds.

    Examples
    --------
    >>> model_name("ft:gpt-4o-mini:acme::1"), model_name("arn:aws:bedrock:us-east-1:123:inference-profile/us.nova")
    ('ft:gpt-4o-mini', 'us.nova')
    """
    found = text(value).strip()
    owned = found.startswith(("ft:", "arn:", "projects/", "accounts/")) or "/" in found or "ft:" in found
    return name(_unowned(found[:512]) if owned else found, 64)


@lru_cache(4096)
def _unowned(found: str) -> str:
    match = _OWNED.match(unquote(found) if "%" in found else found)
    if match:
        found = match["rest"] or "other"
    front, tuned, behind = found.rpartition("ft:")
    if tuned and (not front or front.endswith("/")):
        found = f"{front}ft:{behind.partition(':')[0]}"
    return found


def seconds(value: Any) -> float | None:
    """Return a duration in seconds within the contract's range; None when it is no number or negative."""
    found = number(value)
    return None if found is None or found < 0 else min(found, DURATION_MAX)


def span(start: float, end: float | None) -> float:
    """Return the seconds between two times, to the microsecond that a double of this epoch can tell; 0 if unknown."""
    return min(round(end - start, 6), DURATION_MAX) if end is not None and end > start else 0.0


def timestamp(value: Any) -> float | None:
    """Return seconds since 1970 UTC from seconds, milli-, micro- or nanoseconds, ISO 8601 or the common log's time.

    The unit is told by magnitude: seconds until the year 5138. A time without a zone is UTC. What lies before the year
    2000 is no time: zero is how many a producer writes that it does not know it.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = value.strip()
        if len(value) > 64:
            return None
        if "/" in value:
            return _common_time(value)
        if "-" in value[1:] or ":" in value or "T" in value:
            return _iso_time(value)
    found = number(value)
    if found is None:
        return None
    for above, unit in ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3)):
        if found >= above:
            found /= unit
            break
    return found if TIME_MIN <= found <= TIME_MAX else None


def _iso_time(value: str) -> float | None:
    match = _WITH_ZONE.match(value)
    if match is not None:
        value = match["moment"] + (match["offset"] or "Z")
    try:
        moment = parsedate_to_datetime(value) if value[:1].isalpha() else datetime.fromisoformat(value)
        return _since_epoch(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _common_time(value: str) -> float | None:
    match = _COMMON_TIME.match(value)
    if match is None:
        return None
    day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = match.groups()
    try:
        offset = timedelta(hours=int(zone_hours), minutes=int(zone_minutes))
        zone = timezone(-offset if sign == "-" else offset)
        moment = datetime(int(year), _MONTHS[month], int(day), int(hour), int(minute), int(second), tzinfo=zone)
        return _since_epoch(moment)
    except (ValueError, KeyError, OverflowError):
        return None


def _since_epoch(moment: datetime) -> float | None:
    found = moment.timestamp()
    return found if TIME_MIN <= found <= TIME_MAX else None


def at(tree: Any, path: str) -> Any:
    """Return the value at a dotted path, None where it is absent; a key that itself holds dots wins."""
    while isinstance(tree, dict):
        if path in tree:
            return tree[path]
        head, dot, path = path.partition(".")
        if not dot:
            return None
        tree = tree.get(head)
    return None


def first(tree: Any, paths: Sequence[str]) -> str:
    """Return the first present value among dotted paths as text, '' when none is."""
    for path in paths:
        found = text(at(tree, path))
        if found:
            return found
    return ""


def mapping(value: Any) -> Mapping[str, Any]:
    """Return the object itself, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def sequence(value: Any) -> Sequence[Any]:
    """Return the array itself, or an empty one for anything else."""
    return value if isinstance(value, list) else ()
