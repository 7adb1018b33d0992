"""Every route of the desk with the role that it needs, and the application made of them."""

from __future__ import annotations

from aiohttp import web

from siphonwatch.streams.desk.web import api, dossier, forms, login, openapi, pages
from siphonwatch.streams.desk.web.desk import Desk
from siphonwatch.streams.desk.web.guard import DESK, Route, guarded, headed

MAX_BYTES = 1 << 18
"""Of a form or a call."""
ROUTES = (
    Route("GET", "/", "read", pages.queue),
    Route("GET", "/case/{case}", "read", pages.case),
    Route("GET", "/case/{case}/dossier", "read", dossier.dossier),
    Route("GET", "/campaign/{case}", "read", pages.campaign),
    Route("GET", "/account/{account}", "read", pages.account),
    Route("GET", "/search", "read", pages.search),
    Route("GET", "/allow", "read", pages.allowed),
    Route("GET", "/reading", "read", pages.reading),
    Route("GET", "/keys", "read", pages.keys),
    Route("GET", "/audit", "administer", pages.audit),
    Route("POST", "/decide", "decide", forms.decide),
    Route("POST", "/allow", "decide", forms.allow),
    Route("POST", "/allow/end", "decide", forms.allow_end),
    Route("POST", "/logout", "read", forms.log_out),
    Route("GET", "/login", "", login.begin, "open"),
    Route("GET", "/login/back", "", login.back, "open"),
    Route("GET", "/static/{name}", "", login.static, "open"),
    *(Route(call.method, api.PREFIX + call.path, call.role, api.handler(call), "api") for call in api.CALLS),
    Route("GET", api.PREFIX + "/openapi.json", "read", openapi.description, "api"),
)


def make_app(desk: Desk) -> web.Application:
    """Return the application of a desk."""
    app = web.Application(middlewares=[headed], client_max_size=MAX_BYTES)
    app[DESK] = desk
    for route in ROUTES:
        app.router.add_route(route.method, route.path, guarded(desk, route))

    async def close(_: web.Application) -> None:
        desk.close()

    app.on_cleanup.append(close)
    return app
