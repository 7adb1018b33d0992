"""Templates to answers: what stands in them is escaped, and words figures as people read them. Knows no route."""

from __future__ import annotations

import math
import time
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from siphonwatch.streams.contracts.wording import chance
from siphonwatch.streams.deliver.text import clean, clip
from siphonwatch.streams.desk.web import plots

if TYPE_CHECKING:
    from siphonwatch.streams.desk.web.desk import Asked

LOG_MAX = 700.0
"""Beyond this an e-value no longer fits a double."""
NOTHING = "\N{EN DASH}"
SEVERITIES = ("critical", "high", "medium", "low")
DECISION_WORDS = {
    "true-positive": "confirmed",
    "false-positive": "false alarm",
    "benign-expected": "known and fine",
    "suspicious": "suspicious",
    "insufficient": "cannot be told",
    "duplicate": "duplicate",
    "test": "test",
    "withdrawn": "",
}
"""Verdicts as people say them; the first three teach the order of cases."""


def page(template: str, asked: Asked | None, *, status: int = 200, **values: Any) -> web.Response:
    """Return a page for somebody; for nobody in particular without `asked`."""
    said = asked.desk.said(asked.session) if asked else ""
    text = environment().get_template(template).render(
        person=asked.person if asked else None, csrf=asked.csrf if asked else "", said=said,
        logs_in=bool(asked and asked.desk.door.logs_in), **values,
    )  # fmt: skip
    return web.Response(text=text, status=status, content_type="text/html", charset="utf-8")


def onward(place: str) -> web.Response:
    """Return an answer after a form that leads on to a page of ours."""
    return web.Response(status=303, headers={"Location": place})


def answer(value: Any, status: int = 200) -> web.Response:
    """Return a struct as JSON."""
    return web.Response(body=msgspec.json.encode(value), status=status, content_type="application/json")


def problem(status: int, title: str, text: str) -> web.Response:
    """Return what went wrong as problem details (RFC 9457)."""
    body = {"type": "about:blank", "title": title, "status": status, "detail": text}
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/problem+json")


@cache
def environment() -> Environment:
    """Return the templates; an undefined name is an error, and every value is escaped."""
    made = Environment(
        loader=PackageLoader("siphonwatch.streams.desk.web"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters.update(
        when=when, count=count, share=share, odds=odds, shown=shown, short=short, path=path,
        verdict=verdict, figure=figure, amount=amount, span=span,
    )  # fmt: skip
    made.globals.update(plots=plots, severities=SEVERITIES, decisions=DECISION_WORDS)
    return made


def path(text: object) -> str:
    """Return a name as one part of a path."""
    return quote(str(text), safe="")


def shown(text: object, limit: int = 300) -> str:
    """Return text that came from elsewhere: one line, no marks that turn the reading direction, not too long."""
    return clip(clean(str(text)), limit)


def short(text: object) -> str:
    """Return an id: of a case or an entry the whole, of an account the beginning, enough to tell it from others."""
    return clip(clean(str(text)), 16)


def when(seconds: float | None) -> Markup:
    """Return a time (UTC) as people read it, with the exact one for machines."""
    if seconds is None or not seconds:
        return escape(NOTHING)
    moment = _utc(seconds)
    exact = time.strftime("%Y-%m-%dT%H:%M:%SZ", moment)
    return Markup('<time datetime="{}">{}</time>').format(exact, time.strftime("%Y-%m-%d %H:%M", moment))


def _utc(seconds: float) -> time.struct_time:
    return time.gmtime(min(max(seconds, 0.0), 253_402_300_799.0))


def count(value: float) -> str:
    """Return a number with thousands separated."""
    return f"{value:,.0f}" if math.isfinite(value) else NOTHING


def span(seconds: float) -> str:
    """Return a length of time in its largest unit.

    Examples
    --------
    >>> span(7300.0), span(40.0)
    ('2 h', '40 s')
    """
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.0f} s"


def amount(value: float) -> str:
    """Return a large number in few characters.

    Examples
    --------
    >>> amount(950), amount(12_340), amount(5_600_000)
    ('950', '12.3k', '5.6M')
    """
    for least, size, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= least:
            return f"{value / size:.3g}{unit}"
    return count(value)


def share(value: float) -> str:
    """Return a share in percent."""
    return f"{100 * value:.0f} %" if not 0 < value < 0.01 else f"{100 * value:.1g} %"


def figure(value: float) -> str:
    """Return a value of a feature."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def odds(log_e: float) -> str:
    """Return evidence as the chance, at most, of a benign account to reach it."""
    return chance(math.exp(min(log_e, LOG_MAX))) if math.isfinite(log_e) else NOTHING


def verdict(decision: str) -> str:
    """Return a verdict as people say it."""
    return DECISION_WORDS.get(decision, decision)
