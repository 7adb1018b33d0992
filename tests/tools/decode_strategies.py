"""Telemetry JSON as hypothesis strategies: everything the contract allows, in every spelling JSON has for it."""

from __future__ import annotations

import json
import string

from hypothesis import strategies as st

from siphonwatch.models.account import request as rq
from siphonwatch.models.common.vocabulary import CHUNKS, MASK_FAMILIES, REPLY_CHUNKS

SPACE = st.text(" \n\r\t", max_size=2)
HEX = st.text("0123456789abcdef", min_size=16, max_size=16) | st.just("")
BASE64 = string.ascii_letters + string.digits + "+/"
PROJECTION = st.text(BASE64, min_size=43, max_size=43).map(lambda s: s + "=") | st.just("")
MOST = {"chunks": CHUNKS, "reply_chunks": REPLY_CHUNKS}
COUNT = st.integers(0, 9) | st.integers(0, 2**31 - 1)
VISIBLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E)
LONGEST = {"client": 32, "provider": 32, "model": 64, "op": 16, "finish": 16, "lang": 8, "plan": 32, "country": 2}
COUNTS = {
    "status": st.integers(0, 999), "remaining": st.integers(-1, 2**31 - 1), "page": st.integers(-1, 2**31 - 1),
    "account_age": st.integers(-1, 2**31 - 1),
    "intents": st.integers(0, 31),
} | dict.fromkeys(("digits", "upper", "punctuation", "spaces", "wide"), st.integers(0, 1000))  # fmt: skip


def _plain(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


@st.composite
def _string(draw: st.DrawFn, value: str) -> str:
    """A JSON string of a value; some characters as escapes."""
    escape = draw(st.sampled_from(("none", "none", "all", "ascii")))
    if escape == "none":
        return _plain(value)
    if escape == "ascii":
        return json.dumps(value)
    units = value.encode("utf-16-be", "surrogatepass")
    return '"' + "".join(f"\\u{units[i]:02x}{units[i + 1]:02X}" for i in range(0, len(units), 2)) + '"'


@st.composite
def _real(draw: st.DrawFn, low: float, high: float) -> str:
    """A JSON number in [low, high], if need be outside of what the scanner reads by itself."""
    value = draw(st.floats(low, high) | st.integers(int(low), int(min(high, 2**34))))
    form = draw(st.sampled_from(("repr", "repr", "repr", "e", "fixed", "long", "whole")))
    if value == 0 and draw(st.booleans()) and low <= 0:
        return draw(st.sampled_from(("-0", "-0.0", "0", "0.0", "0e0", "-0.00")))
    if form == "whole":
        return str(int(value))
    if form == "e":
        return f"{value:.17e}"
    if form == "fixed":
        return f"{value:.6f}" if value < high - 1 else repr(value)
    if form == "long":
        return f"{value:.30f}" if value < high - 1 else repr(value)
    return repr(value)


JUNK_NUMBERS = st.sampled_from(
    ("-0", "1e5", "1E-7", "123456789012345678901234567890", "0.5", "-17", "999999999999999999")
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
).map(_plain)


@st.composite
def field(draw: st.DrawFn, name: str) -> str:
    """The JSON text of one valid value of a field."""
    if name == "id":
        return draw(_string(draw(st.text(VISIBLE, min_size=1, max_size=128) | st.text(min_size=1, max_size=20))))
    if name == "account":
        return draw(_string(draw(st.text(VISIBLE, min_size=1, max_size=64))))
    if name == "kind":
        return draw(_string(draw(st.sampled_from(("llm", "rest")))))
    if name == "time":
        return draw(_real(0.0, 2.0**34))
    if name == "duration":
        return draw(_real(0.0, 1e7))
    if name in ("temperature", "top_p"):
        return draw(st.just("null") | _real(-3.0, 3.0) | _real(0.0, 1e300))
    if name in ("stream", "structured", "canonical"):
        return draw(st.sampled_from(("true", "false")))
    if name == "v":
        return draw(st.sampled_from(("1", "2")))
    if name == "sealed":
        return draw(_string("".join(draw(st.lists(st.text(BASE64, min_size=32, max_size=32), max_size=9)))))
    if name == "item":
        return str(draw(st.integers(-1, 2**53)))
    if name == "masks":
        space = draw(SPACE)
        counts = draw(st.lists(COUNT, max_size=len(MASK_FAMILIES)))
        return "[" + space + f"{space},{space}".join(map(str, counts)) + space + "]"
    if name == "projection":
        return draw(_string(draw(PROJECTION)))
    if name in MOST:
        chunk = st.text(BASE64, min_size=8, max_size=8)
        return draw(_string("".join(draw(st.lists(chunk, max_size=MOST[name])))))
    if name in rq.HASHES:
        return draw(_string(draw(HEX)))
    if name in rq.LABELS:
        short = st.text(VISIBLE, max_size=LONGEST[name]) | st.text(max_size=LONGEST[name])
        return draw(_string(draw(short)))
    return str(draw(COUNTS.get(name, COUNT)))


REQUIRED = ("id", "time", "account")
OPTIONAL = ("v", "kind", "item", "masks", "projection", "sealed", *MOST, *rq.HASHES, *rq.LABELS, *rq.COUNTS, *rq.REALS)


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """One valid telemetry record: any order, white space, unknown fields, repeated fields, escapes."""
    names = [*REQUIRED, *draw(st.lists(st.sampled_from(OPTIONAL), max_size=12))]
    pairs = [
        (draw(_string(name)) if draw(st.integers(0, 9)) == 0 else _plain(name), draw(field(name))) for name in names
    ]
    for _ in range(draw(st.integers(0, 2))):
        unknown = draw(st.text(max_size=8) | st.sampled_from(("Time", "accounts", "i", "tim", "timee")))
        if unknown not in (*REQUIRED, *OPTIONAL):
            pairs.append((_plain(unknown), draw(JUNK | JUNK_NUMBERS)))
    pairs = draw(st.permutations(pairs))
    gap = [draw(SPACE) for _ in range(4)]
    body = f"{gap[0]},{gap[1]}".join(f"{key}{gap[2]}:{gap[3]}{value}" for key, value in pairs)
    return f"{gap[1]}{{{gap[0]}{body}{gap[3]}}}{gap[2]}".encode("utf-8", "surrogatepass")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A record with a few bytes changed, cut or doubled; or anything at all."""
    if draw(st.integers(0, 4)) == 0:
        return draw(st.binary(max_size=60))
    raw = bytearray(draw(records()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(raw) - 1, 0)))
        match draw(st.integers(0, 4)):
            case 0:
                raw[at : at + 1] = bytes([draw(st.sampled_from(b'"\\,:{}[]-.0e\x00\x1f \x7f\xff1tnA'))])
            case 1:
                del raw[at:]
            case 2:
                del raw[at : at + draw(st.integers(1, 4))]
            case 3:
                raw[at:at] = raw[at : at + draw(st.integers(1, 9))]
            case _:
                raw[at:at] = draw(st.binary(min_size=1, max_size=3))
    return bytes(raw)
