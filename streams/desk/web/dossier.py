"""A case as one file to keep or to print: it loads nothing, runs nothing, and holds the alert with its hash, so that
who reads it later can check it.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

import msgspec
from aiohttp import web

from siphonwatch.streams.desk.views import CasePage
from siphonwatch.streams.desk.web.desk import Asked
from siphonwatch.streams.desk.web.guard import POLICY
from siphonwatch.streams.desk.web.pages import alert_id
from siphonwatch.streams.desk.web.render import environment


async def dossier(asked: Asked) -> web.Response:
    """Give a case as one file; `?save` has the browser keep it."""
    found = await asked.desk.ask(asked.desk.looks.case, asked.request.match_info["case"], asked.person.name)
    style = stylesheet()
    digest = "'sha256-" + base64.b64encode(hashlib.sha256(style.encode()).digest()).decode() + "'"
    response = web.Response(
        text=written(found, asked.person.name, asked.desk.clock(), style, digest), content_type="text/html",
        charset="utf-8",
    )  # fmt: skip
    response.headers["Content-Security-Policy"] = POLICY.replace("style-src 'self'", f"style-src {digest}")
    if "save" in asked.request.query:
        name = "".join(c for c in found.row.case if c.isascii() and c.isalnum())[:64] or "case"
        response.headers["Content-Disposition"] = f'attachment; filename="siphonwatch-{name}.html"'
    return response


def stylesheet() -> str:
    """Return the desk's style sheet, which a dossier carries inside."""
    return (files("siphonwatch.streams.desk.web") / "static" / "desk.css").read_text()


def written(found: CasePage, by: str, now: float, style: str, digest: str) -> str:
    """Return the file.

    Parameters
    ----------
    found
        The case.
    by
        Who made it.
    now
        When, seconds since 1970.
    style, digest
        The style sheet, and its hash as a policy names it.
    """
    alert = bytes(found.alert)
    return environment().get_template("dossier.html.jinja").render(
        case=found, row=found.row, by=by, now=now, style=style, digest=digest, alert=alert_id(found),
        sha256=hashlib.sha256(alert).hexdigest(), raw=alert.decode(errors="replace"),
        facts=hashlib.sha256(msgspec.json.encode(found, order="sorted")).hexdigest(),
    )  # fmt: skip
