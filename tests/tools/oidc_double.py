"""An OpenID Connect provider on this machine: discovery, keys, and tokens for the code that it last gave out, checked
as RFC 7636 says. A test may spoil any part of what it answers.
"""

from __future__ import annotations

import base64
import hashlib
import time
from typing import Any

import jwt
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography.hazmat.primitives.asymmetric import rsa

CLIENT, SECRET = "desk-of-the-tests", "a secret of the tests"


class Provider:
    """A provider with one client and one person."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.issuer = ""
        self.asked: dict[str, str] = {}
        self.claims: dict[str, Any] = {}
        """In place of what the ID token would hold; None takes a claim out."""
        self.signed: str | None = None
        """In place of the ID token."""
        self.refused: list[str] = []
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._discovery)
        app.router.add_get("/keys", self._keys)
        app.router.add_post("/token", self._token)
        self.server = TestServer(app)

    async def __aenter__(self) -> Provider:
        await self.server.start_server()
        self.issuer = str(self.server.make_url("/")).rstrip("/")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.close()

    def consent(self, query: dict[str, str]) -> dict[str, str]:
        """What a browser comes back with after somebody logged in."""
        assert query["response_type"] == "code" and query["client_id"] == CLIENT and "openid" in query["scope"]
        self.asked = query
        return {"code": "the-code", "state": query["state"], "iss": self.issuer}

    async def _discovery(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "issuer": self.issuer, "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token", "jwks_uri": f"{self.issuer}/keys",
            }
        )  # fmt: skip

    async def _keys(self, _: web.Request) -> web.Response:
        key = jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key(), as_dict=True)
        return web.json_response({"keys": [{**key, "kid": "k1", "use": "sig", "alg": "RS256"}]})

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        digest = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        good = {
            "code": form["code"] == "the-code", "pkce": challenge == self.asked["code_challenge"],
            "secret": form["client_secret"] == SECRET, "redirect": form["redirect_uri"] == self.asked["redirect_uri"],
        }  # fmt: skip
        self.refused = [name for name, right in good.items() if not right]
        if self.refused:
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response({"token_type": "Bearer", "id_token": self.signed or self.id_token()})

    def id_token(self, **header: str) -> str:
        """Return the ID token of the person."""
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": CLIENT, "sub": "u-1", "iat": now, "exp": now + 300,
            "nonce": self.asked.get("nonce"), "email": "ana@example.org", "email_verified": True,
            "groups": ["staff", "deciders"], **self.claims,
        }  # fmt: skip
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(kept, self.key, "RS256", headers={"kid": "k1", **header})
