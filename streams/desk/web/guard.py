"""Stands before every handler: the right host, a person who may, a form that is theirs; and headers that let a browser
run, frame and keep nothing of what it is not meant to. Decides nothing about cases.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple
from urllib.parse import quote, urlsplit

import msgspec
import structlog
from aiohttp import web

from siphonwatch.streams.common.desk_access import LOOPBACK
from siphonwatch.streams.desk.index.store import IndexAway
from siphonwatch.streams.desk.names import NamesFailed
from siphonwatch.streams.desk.views import NotSent, Overtaken, Unknown
from siphonwatch.streams.desk.web.desk import Asked, Busy, Desk
from siphonwatch.streams.desk.web.people import Person, Role
from siphonwatch.streams.desk.web.render import page, problem

_log = structlog.get_logger(__name__)
Served = Callable[[web.Request], Awaitable[web.StreamResponse]]
Handler = Callable[[Asked], Awaitable[web.Response]]
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # `no-referrer` would take the origin from our own forms
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
HSTS = "max-age=31536000"
FORWARDED = frozenset({"forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip"})
"""Headers of proxies, which none of this machine's own browsers sends."""
MAX_FIELDS = 2000
"""Of a form: a bulk decision on a page of 500 cases has fewer."""


class Route(NamedTuple):
    """One route."""

    method: Literal["GET", "POST"]
    path: str
    role: Role | Literal[""]
    """What one needs; empty where nobody needs to be known."""
    handler: Handler
    kind: Literal["page", "api", "open"] = "page"
    """Whether people read the answer or programs; `open` for what shows nothing of anybody."""


class Refused(Exception):
    """A request that may not be made.

    Parameters
    ----------
    status
        Of the answer.
    reason
        For the metric and the log.
    text
        For the one who asked.
    person
        Who that is, where it is known.
    """

    def __init__(self, status: int, reason: str, text: str, person: Person | None = None) -> None:
        super().__init__(text)
        self.status, self.reason, self.text, self.person = status, reason, text, person


def guarded(desk: Desk, route: Route) -> Served:
    """Return the handler of a route behind its guard."""

    async def handle(request: web.Request) -> web.StreamResponse:
        started = time.perf_counter()
        asked: Asked | None = None
        try:
            host(desk, request)
            asked = enter(desk, request, route)
            if route.method == "POST":
                await posted(asked, route)
            response = await route.handler(asked)
            if asked.fresh and route.kind != "open" and not asked.person.program:
                desk.sessions.give(response, asked.session)
        except Refused as refusal:
            response = _refuse(desk, request, route, asked, refusal)
        except Unknown as error:
            response = fail(desk, route, asked, 404, "Not here", str(error).strip("'\"") or "There is no such thing.")
        except Overtaken as error:
            response = fail(desk, route, asked, 409, "Somebody decided meanwhile", str(error))
        except NamesFailed as error:
            _log.error("customers' names cannot be read", reason=str(error))
            response = fail(desk, route, asked, 503, "No names", "Customers' names cannot be read; the log says why.")
        except NotSent as error:
            response = fail(desk, route, asked, 503, "Not sent", str(error))
        except msgspec.DecodeError as error:
            response = fail(desk, route, asked, 400, "Not a question that can be answered", str(error))
        except ValueError as error:
            response = fail(desk, route, asked, 422, "This cannot be done", str(error))
        except IndexAway as error:
            _log.warning("a request to the desk found no index", path=route.path, error=str(error))
            text = "The database of the index does not answer. Try again in a moment."
            response = fail(desk, route, asked, 503, "No index", text)
        except Busy:
            response = fail(desk, route, asked, 503, "The index is busy", "Try again in a moment.")
        except web.HTTPRequestEntityTooLarge:
            response = fail(desk, route, asked, 413, "Too long", "This is longer than the desk takes.")
        desk.metrics.requests.labels(route.path, str(response.status)).inc()
        desk.metrics.seconds.labels(route.path).observe(time.perf_counter() - started)
        return response

    return handle


@web.middleware
async def headed(request: web.Request, handler: Served) -> web.StreamResponse:
    """Put the headers on every answer, of unknown paths and of our own failures too."""
    desk = request.app[DESK]
    try:
        response = await handler(request)
    except web.HTTPException as error:
        response = _plain(request, error.status, error.reason)
    except Exception:  # noqa: BLE001 - the one who asked gets an answer with headers, the log the reason
        _log.exception("a request to the desk failed", path=request.path[:200])
        response = _plain(request, 500, "This failed; the desk's log says why.")
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if desk.address.startswith("https:"):
        response.headers.setdefault("Strict-Transport-Security", HSTS)
    return response


DESK = web.AppKey("desk", Desk)


def host(desk: Desk, request: web.Request) -> None:
    """Refuse names that are not ours: a page elsewhere may have its own name lead to this machine (DNS rebinding). And
    where nobody logs in, whoever comes by way of a proxy: that is not who started the desk.
    """
    if not desk.address and (sent := FORWARDED & {name.lower() for name in request.headers}):
        raise Refused(421, "proxy", f"A proxy is in front, which sent {', '.join(sorted(sent))}: set desk.login.")
    named = urlsplit(f"//{request.host}")
    if desk.address:
        right = request.host.lower() == urlsplit(desk.address).netloc.lower()
    else:
        right = named.hostname in LOOPBACK
    if not right:
        raise Refused(421, "host", "The desk has another address.")


def enter(desk: Desk, request: web.Request, route: Route) -> Asked:
    """Return a request with who makes it, who may.

    Raises
    ------
    Refused
        When it is nobody known, or somebody who may not.
    """
    session = desk.sessions.read(request)
    header = request.headers.get("Authorization", "")
    if route.kind == "api" and header:
        person = desk.tokens.person(header)
        if person is None:
            raise Refused(401, "token", "No program has this token.")
    else:
        person = desk.door.person(request)
    asked = Asked(desk, request, person or Person("", ""), session or desk.sessions.new(), session is None)
    if route.role == "":
        return asked
    if person is None:
        raise Refused(401, "unknown", "Log in first.")
    if not person.may(route.role):
        have = person.role or "none"
        raise Refused(403, "role", f"This needs the role “{route.role}”; {person.name} has {have}.", person)
    return asked


async def posted(asked: Asked, route: Route) -> None:
    """Read a form, and refuse one that is not of this desk, session and person. Programs with a token have none.

    Raises
    ------
    Refused
        For a form from elsewhere.
    """
    request, desk = asked.request, asked.desk
    if asked.person.program:
        return
    origin, site = request.headers.get("Origin"), request.headers.get("Sec-Fetch-Site")
    own = desk.address or f"{request.scheme}://{request.host}"
    if (origin is not None and origin.lower() != own.lower()) or site not in (None, "same-origin", "none"):
        raise Refused(403, "origin", "This form was sent from another site.")
    token = request.headers.get("X-CSRF-Token", "")
    if route.kind != "api":
        if request.content_type != "application/x-www-form-urlencoded":
            raise Refused(415, "form", "A form is sent as application/x-www-form-urlencoded.")
        fields = await request.post()
        if len(fields) > MAX_FIELDS:
            raise Refused(413, "form", "This form has too many fields.")
        for name, value in fields.items():
            if isinstance(value, str):
                asked.form.setdefault(name, []).append(value.strip())
        token = asked.one("csrf")
    session = None if asked.fresh else asked.session
    if not desk.sessions.genuine(session, asked.person.name, token):
        raise Refused(403, "csrf", "This form is of another session: open the page again and repeat it.")


def _refuse(desk: Desk, request: web.Request, route: Route, asked: Asked | None, refusal: Refused) -> web.Response:
    if refusal.status == 401 and route.kind == "page" and route.method == "GET" and desk.door.logs_in:
        response = web.Response(status=302, headers={"Location": f"/login?onward={quote(request.path_qs, safe='')}"})
        return response
    person = asked.person if asked else refusal.person
    desk.metrics.refused.labels(refusal.reason).inc()
    desk.audit.take(
        person.name if person else "", person.role if person else "", request.remote or "",
        f"{route.method} {route.path}", "refused", refusal.text,
    )  # fmt: skip
    titles = {401: "Who are you?", 403: "Not allowed", 421: "Another address"}
    response = fail(desk, route, None, refusal.status, titles.get(refusal.status, "Refused"), refusal.text)
    if refusal.status == 401:
        response.headers["WWW-Authenticate"] = 'Bearer realm="siphonwatch"'
    return response


def fail(desk: Desk, route: Route, asked: Asked | None, status: int, title: str, text: str) -> web.Response:
    """Return an answer that says what is wrong, to people as a page and to programs as RFC 9457 has it."""
    if route.kind == "api":
        return problem(status, title, text)
    return page("problem.html.jinja", asked, status=status, title=title, text=text)


def _plain(request: web.Request, status: int, text: str) -> web.Response:
    if request.path.startswith("/api/"):
        return problem(status, text, "")
    title = {404: "Not here", 405: "Not like this"}.get(status, "This failed")
    return page("problem.html.jinja", None, status=status, title=title, text=text)
