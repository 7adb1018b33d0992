"""Logging in at an OpenID Connect provider: the code and its verifier, the ID token in every way that it can be wrong,
and what a person may do afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import jwt
import pytest
from aiohttp import CookieJar
from aiohttp.test_utils import TestClient, TestServer
from desk_client import Visit, make_desk
from desk_double import Double
from oidc_double import CLIENT, SECRET, Provider

from siphonwatch.streams.common.desk_settings import Desk as Settings
from siphonwatch.streams.desk.web.oidc import Oidc
from siphonwatch.streams.desk.web.routes import make_app


def at_the_desk(test: Callable[[Visit, Provider], Awaitable[None]]) -> None:
    """Run a test against a desk that people log in to."""

    async def run() -> None:
        async with Provider() as provider:
            desk = make_desk(Double(), clock=time.time)
            async with TestClient(TestServer(make_app(desk)), cookie_jar=CookieJar(unsafe=True)) as client:
                visit = Visit(client, desk, desk.looks)  # type: ignore[arg-type]
                settings = Settings(
                    login="oidc", address=visit.origin, oidc_issuer=provider.issuer, oidc_client=CLIENT,
                    oidc_secret=SECRET, read=["staff"], decide=["deciders"],
                )  # fmt: skip
                desk.address, desk.door = visit.origin, Oidc(settings, desk.sessions, time.time)
                await test(visit, provider)

    asyncio.run(run())


async def begin(v: Visit, place: str = "/audit") -> dict[str, str]:
    """What the provider is asked when somebody goes there."""
    answer, _ = await v.get(place)
    assert answer.status == 302 and answer.headers["Location"].startswith("/login?onward=")
    answer, _ = await v.get(answer.headers["Location"])
    assert answer.status == 303
    return dict(parse_qsl(urlsplit(answer.headers["Location"]).query))


async def come_back(v: Visit, query: dict[str, str]) -> tuple[int, str, str]:
    answer = await v.client.get("/login/back", params=query, allow_redirects=False)
    return answer.status, answer.headers.get("Location", ""), await answer.text()


def test_somebody_logs_in_and_comes_to_where_they_wanted_to_go() -> None:
    async def test(v: Visit, provider: Provider) -> None:
        query = await begin(v, "/case/0123?decide=suspicious")
        assert query["code_challenge_method"] == "S256" and query["redirect_uri"] == f"{v.origin}/login/back"
        status, onward, _ = await come_back(v, provider.consent(query))
        assert (status, onward) == (303, "/case/0123?decide=suspicious")
        answer, text = await v.get("/")
        assert answer.status == 200 and "ana@example.org" in text and "Log out" in text
        case = next(iter(v.double.pages))
        answer, _ = await v.post("/decide", {"kind": "note", "cases": case, "text": "x"})
        assert answer.status == 303 and v.double.acts[-1][1] == "ana@example.org"
        assert (await v.get("/audit"))[0].status == 403
        await v.post("/logout", {})
        assert (await v.get("/"))[0].status == 302

    at_the_desk(test)


def test_the_answer_to_another_log_in_is_refused() -> None:
    async def test(v: Visit, provider: Provider) -> None:
        back = provider.consent(await begin(v))
        for spoiled in ({"state": "other"}, {"iss": "https://elsewhere.example"}, {"error": "access_denied"}):
            assert (await come_back(v, {**back, **spoiled}))[0] == 400
            back = provider.consent(await begin(v))
        assert (await come_back(v, {**back, "code": "another"}))[0] == 400 and provider.refused == ["code"]
        v.client.session.cookie_jar.clear()
        assert (await come_back(v, back))[0] == 400  # somebody else's browser
        assert (await v.get("/"))[0].status == 302
        assert v.desk.audit.newest()[0].what == "log-in"

    at_the_desk(test)


def test_the_code_is_of_no_use_without_the_verifier() -> None:
    async def test(v: Visit, provider: Provider) -> None:
        back = provider.consent(await begin(v))
        provider.asked["code_challenge"] = "of-another-browser"
        assert (await come_back(v, back))[0] == 400 and provider.refused == ["pkce"]

    at_the_desk(test)


@pytest.mark.parametrize(
    ("claims", "says"),
    [
        ({"aud": "another-client"}, "Audience"),
        ({"aud": [CLIENT, "another"], "azp": "another"}, "another client"),
        ({"aud": [CLIENT, "another"]}, "another client"),
        ({"iss": "https://elsewhere.example"}, "issuer"),
        ({"exp": 1_000_000_000}, "expired"),
        ({"exp": None}, "exp"),
        ({"nonce": "another"}, "another log-in"),
        ({"nonce": None}, "nonce"),
        ({"sub": None}, "sub"),
        ({"iat": 4_000_000_000, "exp": 4_000_000_300}, "iat"),
        ({"email": None}, "no claim email"),
        ({"email": ["a"]}, "no claim email"),
        ({"email_verified": False}, "not verified"),
    ],
)
def test_an_id_token_that_does_not_hold_logs_nobody_in(claims: dict[str, Any], says: str) -> None:
    async def test(v: Visit, provider: Provider) -> None:
        provider.claims = claims
        status, _, text = await come_back(v, provider.consent(await begin(v)))
        assert status == 400 and says in text, text
        assert (await v.get("/"))[0].status == 302

    at_the_desk(test)


@pytest.mark.parametrize("forged", ["none", "hs256", "other-key", "unknown-key", "garbage"])
def test_an_id_token_that_the_provider_did_not_sign_logs_nobody_in(forged: str) -> None:
    async def test(v: Visit, provider: Provider) -> None:
        back = provider.consent(await begin(v))
        claims = jwt.decode(provider.id_token(), options={"verify_signature": False})
        other = Provider()
        provider.signed = {
            "none": jwt.encode(claims, None, "none", headers={"kid": "k1"}),
            "hs256": jwt.encode(claims, "x" * 32, "HS256", headers={"kid": "k1"}),
            "other-key": jwt.encode(claims, other.key, "RS256", headers={"kid": "k1"}),
            "unknown-key": jwt.encode(claims, other.key, "RS256", headers={"kid": "k9"}),
            "garbage": "a.b.c",
        }[forged]
        assert (await come_back(v, back))[0] == 400
        assert (await v.get("/"))[0].status == 302

    at_the_desk(test)


@pytest.mark.parametrize(("groups", "status"), [(["strangers"], 403), ([], 403), ("staff", 403), (["staff"], 200)])
def test_groups_decide_what_somebody_may_do(groups: object, status: int) -> None:
    async def test(v: Visit, provider: Provider) -> None:
        provider.claims = {"groups": groups}
        assert (await come_back(v, provider.consent(await begin(v))))[0] == 303
        assert (await v.get("/"))[0].status == status

    at_the_desk(test)


def test_a_provider_that_is_away_is_said_to_be() -> None:
    async def test(v: Visit, provider: Provider) -> None:
        await provider.server.close()
        answer, text = await v.get("/login")
        assert answer.status == 400 and "provider does not answer" in text

    at_the_desk(test)
