"""To the provider and back again: the routes of somebody who is not known yet. Verifies nothing itself."""

from __future__ import annotations

from importlib.resources import files

from aiohttp import web

from siphonwatch.streams.desk.web.desk import Asked
from siphonwatch.streams.desk.web.forms import local
from siphonwatch.streams.desk.web.oidc import NotLoggedIn, Oidc
from siphonwatch.streams.desk.web.pages import query
from siphonwatch.streams.desk.web.render import page

TYPES = {"desk.css": "text/css", "desk.js": "text/javascript", "icon.svg": "image/svg+xml"}


async def begin(asked: Asked) -> web.Response:
    """Send somebody to the provider."""
    place = asked.request.query.get("onward", "/")
    place = place if local(place) else "/"
    door = asked.desk.door
    if not isinstance(door, Oidc):
        return web.Response(status=303, headers={"Location": place})
    try:
        where, kept = await door.begin(place)
    except NotLoggedIn as error:
        return failed(asked, str(error))
    response = web.Response(status=303, headers={"Location": where})
    asked.desk.sessions.leave(response, kept)
    return response


async def back(asked: Asked) -> web.Response:
    """Take somebody back from the provider."""
    door, sessions = asked.desk.door, asked.desk.sessions
    kept = sessions.back(asked.request)
    if not isinstance(door, Oidc) or kept is None:
        return failed(asked, "no log-in is under way in this browser, or it took too long: begin again")
    try:
        session = await door.end(query(asked.request), kept)
    except NotLoggedIn as error:
        response = failed(asked, str(error))
        sessions.drop(response, sessions.login_cookie)
        return response
    asked.desk.audit.take(session.name, session.role, asked.peer, "log-in", "done")
    place = kept["onward"] if local(kept["onward"]) else "/"
    response = web.Response(status=303, headers={"Location": place})
    sessions.give(response, session)  # a new one: whatever the browser had before is nobody's
    sessions.drop(response, sessions.login_cookie)
    return response


def failed(asked: Asked, why: str) -> web.Response:
    """Return a page that says why somebody is not logged in, and log it."""
    asked.desk.metrics.refused.labels("login").inc()
    asked.desk.audit.take("", "", asked.peer, "log-in", "refused", why)
    return page("problem.html.jinja", None, status=400, title="Not logged in", text=why)


async def static(asked: Asked) -> web.Response:
    """Give one of the few files that pages load."""
    name = asked.request.match_info["name"]
    if name not in TYPES:
        raise web.HTTPNotFound
    body = (files("siphonwatch.streams.desk.web") / "static" / name).read_bytes()
    response = web.Response(body=body, content_type=TYPES[name], charset="utf-8")
    response.headers["Cache-Control"] = "no-cache"
    return response
