"""What the requests behind a fingerprint have in common, to compare fingerprints and in words. Decides nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from siphonwatch.models.account.drawn import DRAWN_TEMPERATURE
from siphonwatch.models.account.request import DRAWN_SYSTEM, Record

CLIENT, ASKED, INSIDE = range(3)
"""Kinds of fingerprints: in the order of `siphonwatch.models.campaign.edges.edges_of`, then the one of end users inside
one account (`siphonwatch.models.campaign.inside`)."""
COMMON = 0.5
"""Share of the requests from which their commonest template is the fingerprint's wrapper."""
MOST_TOKENS = 10_000_000
"""Beyond, `max_tokens` is no number that anybody set."""


def parts_of(q: Record, share: float) -> dict[str, int]:
    """Return what a request pins, by name; `share` is that of its fingerprint's commonest template."""
    given = [float(value) for value in (q["temperature"], q["top_p"]) if not math.isnan(float(value))]
    pinned = (*given, int(q["max_tokens"]))
    if q["rest"]:
        read = {"client": int(q["agent"]) ^ int(q["headers"]), "route": int(q["route"])}
        return {name: value for name, value in read.items() if value}
    parts = {
        "client": int(q["agent"]) ^ int(q["headers"]),
        "system": int(q["system"]),
        "model": int(q["model"]),
        "parameters": hash(pinned) if any(pinned) else 0,
        "wrapper": int(q["template"]) if share >= COMMON else 0,
    }
    return {name: value for name, value in parts.items() if value}


def alike(one: Mapping[str, int], other: Mapping[str, int]) -> int:
    """Return how many parts two fingerprints have in common."""
    return sum(other.get(name) == value for name, value in one.items())


def in_words(q: Record, kind: int, share: float) -> list[str]:
    """Return what all requests of a fingerprint of a `kind` share, as people say it.

    `share` is that of its commonest template.

    Examples
    --------
    >>> from siphonwatch.models.account.request import blank
    >>> q = blank()[0]
    >>> q["agent"], q["headers"], q["temperature"], q["max_tokens"], q["stream"] = 7, 0, 0.7, 256, 1
    >>> in_words(q, CLIENT, 0.9)
    ['user agent', 'temperature 0.7', 'max_tokens 256', 'streaming', 'one template (90 %)']
    """
    if q["rest"]:
        place = "one range of identifiers" if q["item"] >= 0 else "one depth of a listing"
        client = ["user agent"] * bool(q["agent"]) + ["names and order of headers"] * bool(q["headers"])
        return ["one route", *([place] if kind == ASKED else client)]
    words = ["one account, whose end users they are"] * (kind == INSIDE)
    if kind == CLIENT:
        words += ["user agent"] * bool(q["agent"]) + ["names and order of headers"] * bool(q["headers"])
    else:
        words += ["model"] * bool(q["model"]) + ["folded text"] * bool(q["canonical"])
    words += ["a system prompt drawn anew" if q["system"] == DRAWN_SYSTEM else "system prompt"] * bool(q["system"])
    if q["temperature"] == np.float32(DRAWN_TEMPERATURE):
        return [*words, "parameters drawn anew"]
    words += [f"{name} {q[name]:.3g}" for name in ("temperature", "top_p") if not math.isnan(float(q[name]))]
    if 0 < q["max_tokens"] < MOST_TOKENS:
        words.append(f"max_tokens {q['max_tokens']}")
    words += [name for name, given in (("tools", q["tools"]), ("streaming", q["stream"])) if given]
    return [*words, f"one template ({share:.0%})".replace("%", " %")] if share >= COMMON else words
