"""What the desk refuses: people without the role, forms from elsewhere, other hosts, proxies nobody named; and text in
any field that would run, lead elsewhere or forge a header.
"""

from __future__ import annotations

import re
from html import unescape
from urllib.parse import quote

import msgspec
import pytest
from aiohttp import web
from desk_client import BEHIND_PROXY, Clock, Visit, as_role, make_desk, visit
from desk_double import Double
from test_desk_pages import Checker, places

from siphonwatch.streams.common.desk_access import check
from siphonwatch.streams.common.desk_settings import Desk as Settings
from siphonwatch.streams.common.settings import SettingsError
from siphonwatch.streams.desk.names import NamesFailed
from siphonwatch.streams.desk.web.forms import local
from siphonwatch.streams.desk.web.people import ROLES
from siphonwatch.streams.desk.web.routes import ROUTES, make_app
from siphonwatch.streams.desk.web.session import Sessions


def filled(path: str, double: Double) -> str:
    """A route's path with something that is there."""
    case = next(case for case, page in double.pages.items() if page.members)
    account = double.pages[case].row.account
    return path.replace("{case}", case).replace("{account}", account).replace("{name}", "desk.css")


def test_the_router_has_the_routes_of_the_table_and_no_other() -> None:
    router = make_app(make_desk(Double())).router
    found = {(route.method, route.resource.canonical) for route in router.routes() if route.resource}
    assert found == {(route.method, route.path) for route in ROUTES}
    assert len(found) == len(ROUTES)
    assert not any(isinstance(resource, web.StaticResource) for resource in router.resources())


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
@pytest.mark.parametrize("role", ["", *ROLES])
def test_every_route_refuses_whoever_has_not_its_role(route: object, role: str) -> None:
    async def test(v: Visit) -> None:
        may = route.role == "" or (role and ROLES.index(role) >= ROLES.index(route.role))  # type: ignore[attr-defined]
        path = filled(route.path, v.double)  # type: ignore[attr-defined]
        if route.method == "GET":  # type: ignore[attr-defined]
            answer, _ = await v.get(path, headers=as_role(role))
        else:
            token = await v.form("/", headers=as_role("decide"))  # of the same session and person: all but the role
            answer = await v.client.post(
                path, data={"csrf": token}, headers={**as_role(role), "X-CSRF-Token": token}, allow_redirects=False
            )
        assert (answer.status == 403) != bool(may), answer.status
        assert v.double.acts == []
        if not may:
            entry = v.desk.audit.newest()[0]
            assert (entry.outcome, entry.person, entry.role) == ("refused", "ben@example.org", role)
            assert v.desk.metrics.refused.labels("role")._value.get() == 1

    visit(test, proxy=True)


@pytest.mark.parametrize("route", [r for r in ROUTES if r.role], ids=lambda route: f"{route.method} {route.path}")
def test_every_route_but_logging_in_refuses_nobody_known(route: object) -> None:
    async def test(v: Visit) -> None:
        path = filled(route.path, v.double)  # type: ignore[attr-defined]
        answer = await v.client.request(route.method, path, allow_redirects=False)  # type: ignore[attr-defined]
        assert answer.status == 401 and v.double.acts == []
        # A name without the proxy, or two names, is nobody's either.
        double_named = [("X-Forwarded-User", "a"), ("X-Forwarded-User", "b"), ("X-Forwarded-Groups", "admins")]
        answer = await v.client.request(route.method, path, headers=double_named, allow_redirects=False)  # type: ignore[attr-defined]
        assert answer.status == 401

    visit(test, proxy=True)


def test_headers_of_an_address_that_is_no_proxy_are_not_believed() -> None:
    elsewhere = msgspec.structs.replace(BEHIND_PROXY, proxies=["192.0.2.7", "2001:db8::/64"])

    async def test(v: Visit) -> None:
        v.desk.door = type(v.desk.door)(elsewhere)  # type: ignore[call-arg]
        answer, text = await v.get("/", headers=as_role("administer"))
        assert answer.status == 401 and "ben@example.org" not in text

    visit(test, proxy=True)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"csrf": "0" * 64}, "csrf"),
        ({"csrf": ""}, "csrf"),
        ({"origin": "https://elsewhere.example"}, "origin"),
        ({"origin": "null"}, "origin"),
        ({"site": "cross-site"}, "origin"),
        ({"site": "same-site"}, "origin"),
        ({"name": "carla@example.org"}, "csrf"),
        ({"cookie": ""}, "csrf"),
        ({"type": "text/plain"}, "form"),
        ({"type": "multipart/form-data; boundary=x"}, "form"),
    ],
)
def test_a_form_from_elsewhere_changes_nothing(change: dict[str, str], reason: str) -> None:
    async def test(v: Visit) -> None:
        case = next(iter(v.double.pages))
        who = as_role("decide")
        token = await v.form("/", headers=who)
        headers = {**as_role("decide", change.get("name", "ben@example.org")), "Origin": change.get("origin", v.origin)}
        headers["Content-Type"] = change.get("type", "application/x-www-form-urlencoded")
        if "site" in change:
            headers["Sec-Fetch-Site"] = change["site"]
        if "cookie" in change:
            v.client.session.cookie_jar.clear()
        body = f"csrf={change.get('csrf', token)}&kind=note&cases={case}&text=x"
        answer = await v.client.post("/decide", data=body, headers=headers, allow_redirects=False)
        assert answer.status in (403, 415)
        assert v.double.acts == []
        assert v.desk.metrics.refused.labels(reason)._value.get() == 1

    visit(test, proxy=True)


def test_the_same_form_from_the_desk_itself_is_taken() -> None:
    async def test(v: Visit) -> None:
        case = next(iter(v.double.pages))
        headers = {**as_role("decide"), "Sec-Fetch-Site": "same-origin"}
        answer, _ = await v.post("/decide", {"kind": "note", "cases": case, "text": "x"}, "/", headers=headers)
        assert answer.status == 303 and v.double.acts[-1][1] == "ben@example.org"

    visit(test, proxy=True)


def test_another_name_that_leads_to_this_machine_is_refused() -> None:
    async def test(v: Visit) -> None:
        for host in ("attacker.example", "127.0.0.1.attacker.example", "desk.example:80", "localhost.example", ""):
            answer, _ = await v.get("/", headers={"Host": host})
            assert answer.status in (400, 421), host
        assert (await v.get("/", headers={"Host": "localhost:1"}))[0].status == 200
        v.desk.address = "https://desk.example"
        assert (await v.get("/", headers={"Host": "localhost"}))[0].status == 421
        answer, _ = await v.get("/", headers={"Host": "desk.example"})
        assert answer.status == 200 and "max-age" in answer.headers["Strict-Transport-Security"]

    visit(test)


@pytest.mark.parametrize("header", ["Forwarded", "x-forwarded-for", "X-FORWARDED-HOST", "X-Real-IP"])
def test_without_a_login_nobody_comes_by_way_of_a_proxy(header: str) -> None:
    async def test(v: Visit) -> None:
        for place in ("/", "/api/v1/cases"):
            answer, text = await v.get(place, headers={header: "203.0.113.9"})
            assert answer.status == 421 and "set desk.login" in text
        v.desk.address = v.origin  # as with desk.login
        assert (await v.get("/", headers={header: "203.0.113.9"}))[0].status == 200

    visit(test)


def test_names_that_cannot_be_read_are_a_503_that_shows_no_path() -> None:
    double = Double()

    def broken(*_: object) -> None:
        raise NamesFailed("cannot read names from /etc/secret.csv")

    double.queue = broken  # type: ignore[method-assign, assignment]

    async def test(v: Visit) -> None:
        answer, text = await v.get("/")
        assert answer.status == 503 and "names cannot be read" in unescape(text) and "secret" not in text

    visit(test, double=double)


def test_every_answer_has_the_headers_that_keep_a_browser_from_running_framing_or_keeping_it() -> None:
    async def test(v: Visit) -> None:
        places_of = ["/", "/nothing", "/static/desk.js", "/static/../desk.py", "/case/none", "/login/back", "/?order=x"]
        places_of += [f"/case/{next(iter(v.double.pages))}/dossier"]
        for place in places_of:
            answer, _ = await v.get(place)
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["Cache-Control"] == ("no-cache" if place == "/static/desk.js" else "no-store")
        v.client.session.cookie_jar.clear()
        answer, _ = await v.get("/")
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Lax" in cookie

    visit(test)


def test_a_failure_of_the_index_shows_none_of_its_insides() -> None:
    double = Double()

    def broken(*_: object) -> None:
        raise RuntimeError("secret path")

    double.queue = broken  # type: ignore[method-assign, assignment]

    async def test(v: Visit) -> None:
        answer, text = await v.get("/")
        assert answer.status == 500 and "secret path" not in text and answer.headers["Cache-Control"] == "no-store"

    visit(test, double=double)


def test_hostile_text_in_every_field_stays_text() -> None:
    async def test(v: Visit) -> None:
        literal = 0
        for place in places(v.double):
            answer, text = await v.get(place)
            assert answer.status == 200, (place, text[:300])
            assert "owned" not in answer.headers.get("Set-Cookie", "")
            checker = Checker(text)
            assert checker.open == [], place
            scripts = [attrs for tag, attrs in checker.seen if tag == "script"]
            assert all(attrs.get("src") == "/static/desk.js" for attrs in scripts), place
            for tag, attrs in checker.seen:
                assert tag not in ("img", "iframe", "object", "base", "b!"), place
                assert not [name for name in attrs if name.startswith("on") or name == "style"], (place, tag, attrs)
                for name in ("href", "action", "src"):
                    link = attrs.get(name)
                    assert link is None or re.match(r"/(?![/\\])|#|https://wiki\.example|\?", link), (place, link)
            assert "\u202e" not in text.split("<pre>")[0]
            literal += text.count("{{ 7 * 7 }}{% raw %}")
        assert literal > 0, "no template has run what stands in a field"

    visit(test, double=Double(hostile=True))


def test_hostile_text_that_people_send_stays_text_and_forges_no_header() -> None:
    async def test(v: Visit) -> None:
        case = next(iter(v.double.pages))
        evil = "<script>x</script>\r\nSet-Cookie: owned=1"
        fields = {"kind": "note", "cases": case, "text": evil, "back": "//elsewhere.example/\r\nX: y"}
        answer, _ = await v.post("/decide", fields)
        assert answer.headers["Location"] == f"/case/{case}"
        answer, text = await v.get(f"/case/{case}")
        assert "<script>x" not in text and "owned" not in answer.headers.get("Set-Cookie", "")
        answer, text = await v.get("/search?q=" + quote('"><script>alert(1)</script>'))
        assert "<script>alert" not in text and "<script>alert(1)</script>" in unescape(text)
        for place in ("//elsewhere.example", "/\\elsewhere.example", "https://elsewhere.example", "/\r\nX: y"):
            answer, _ = await v.get("/login?onward=" + quote(place, safe=""))
            assert answer.headers["Location"] == "/"

    visit(test)


@pytest.mark.parametrize("place", ["//a", "/\\a", "\\/a", "https://a", "javascript:x", "", "/a\nb", "/\ta", "a"])
def test_only_paths_of_the_desk_lead_onward(place: str) -> None:
    assert not local(place)
    assert local("/case/1?x=1&y=//a") and local("/")


def test_a_form_that_is_too_long_or_has_too_many_fields_is_refused() -> None:
    async def test(v: Visit) -> None:
        case = next(iter(v.double.pages))
        answer, _ = await v.post("/decide", {"kind": "note", "cases": case, "text": "x" * 3000})
        assert answer.status == 422
        answer, _ = await v.post("/decide", {"kind": "note", "cases": case, "text": "x" * 300_000})
        assert answer.status == 413
        answer, _ = await v.post("/decide", [("kind", "note"), *(("cases", str(i)) for i in range(3000))])
        assert answer.status == 413 and v.double.acts == []

    visit(test)


def test_a_session_runs_out_and_one_that_was_ended_is_nobodys() -> None:
    clock = Clock()
    sessions = Sessions("k" * 32, 60.0, True, clock)
    response = web.Response()
    mine = sessions.new("ana", "read")
    sessions.give(response, mine)
    cookie = response.cookies[sessions.cookie]
    assert cookie["secure"] and cookie["httponly"] and cookie["samesite"] == "Lax" and cookie.key.startswith("__Host-")
    assert sessions.opened(cookie.value, "session") is not None
    assert sessions.opened(cookie.value, "login") is None
    assert Sessions("l" * 32, 60.0, True, clock).opened(cookie.value, "session") is None
    clock.now += 61
    assert sessions.opened(cookie.value, "session") is None


def test_logging_out_ends_the_session_wherever_its_cookie_is() -> None:
    async def test(v: Visit) -> None:
        who = as_role("read")
        await v.get("/", headers=who)
        kept = next(iter(v.client.session.cookie_jar)).value
        answer, _ = await v.post("/logout", {}, "/", headers=who)
        assert answer.status == 200
        token_page = await v.client.get("/", headers={**who, "Cookie": f"siphonwatch={kept}"})
        assert "siphonwatch=" in token_page.headers["Set-Cookie"]  # a new one: the old is nobody's

    visit(test, proxy=True)


GOOD = Settings(
    host="203.0.113.7", login="oidc", address="https://desk.example", oidc_issuer="https://id.example",
    oidc_client="desk", read=["a"],
)  # fmt: skip


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"login": ""}, "whoever reaches it could decide"),
        ({"address": ""}, "desk.address"),
        ({"address": "http://desk.example"}, "over http"),
        ({"address": "https://desk.example/path"}, "desk.address"),
        ({"read": []}, "nobody may use the desk"),
        ({"oidc_client": ""}, "desk.oidc_client"),
        ({"oidc_issuer": "http://id.example"}, "over https"),
        ({"oidc_secret": "a", "oidc_secret_file": "b"}, "leave one out"),
        ({"oidc_secret_file": "/nowhere/at/all"}, "cannot be read"),
        ({"secret": "short"}, "32 characters"),
        ({"login": "nobody"}, "on this machine alone"),
        ({"login": "proxy"}, "desk.proxies"),
        ({"login": "proxy", "proxies": ["10.0.0.300"]}, "10.0.0.300"),
    ],
)
def test_settings_that_would_leave_the_desk_open_or_useless_are_refused(change: dict[str, object], says: str) -> None:
    check(GOOD)
    check(Settings())
    with pytest.raises(SettingsError, match=re.escape(says)):
        check(msgspec.structs.replace(GOOD, **change))
