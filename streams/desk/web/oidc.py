"""Logging in by an OpenID Connect provider: authorisation code with PKCE, and an ID token that is verified. Sources:
OpenID Connect Core 1.0 section 3.1, RFC 7636, RFC 9207, RFC 9700.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import aiohttp
import jwt
import msgspec
from aiohttp import web

from siphonwatch.streams.common.desk_access import client_secret
from siphonwatch.streams.common.desk_settings import Desk
from siphonwatch.streams.desk.web.people import Person, named, role_of
from siphonwatch.streams.desk.web.session import Session, Sessions

ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Of ID tokens: signatures with a key pair. Never one that is signed with the client's secret, or not at all."""
SECONDS = 10.0
"""Of one call to the provider."""
FRESH_SECONDS = 3600.0
"""How long what the provider says of itself is kept."""
KEYS_SECONDS = 60.0
"""Between two looks at its keys for one that is not known: tokens with invented keys must not make us ask each time."""
LEEWAY_SECONDS = 60.0
MAX_BYTES = 1 << 20
"""Of an answer of the provider."""


class NotLoggedIn(Exception):
    """A log-in failed; the message says why, for the one who tried and for the log."""


class Provider(msgspec.Struct, frozen=True):
    """What the provider says of itself (OpenID Connect Discovery 1.0)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str


class Oidc:
    """The door of people who log in at a provider.

    Parameters
    ----------
    settings
        Issuer, client, claims and groups.
    sessions
        Where people are known from afterwards.
    clock
        Seconds since 1970.
    """

    logs_in = True

    def __init__(self, settings: Desk, sessions: Sessions, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._sessions = sessions
        self._clock = clock
        self._redirect = settings.address.rstrip("/") + "/login/back"
        self._provider: tuple[float, Provider] | None = None
        self._keys: tuple[float, dict[str, Any]] | None = None

    def person(self, request: web.Request) -> Person | None:
        """Return who logged in with this session."""
        session = self._sessions.read(request)
        if session is None or not session.name:
            return None
        return Person(session.name, session.role)  # type: ignore[arg-type]

    async def begin(self, onward: str) -> tuple[str, dict[str, str]]:
        """Return where to send somebody, and what to keep of it until they come back.

        Parameters
        ----------
        onward
            Where they wanted to go.
        """
        provider = await self._known()
        kept = {
            "state": secrets.token_urlsafe(24), "nonce": secrets.token_urlsafe(24),
            "verifier": secrets.token_urlsafe(48), "onward": onward,
        }  # fmt: skip
        digest = hashlib.sha256(kept["verifier"].encode()).digest()
        asked = {
            "response_type": "code", "client_id": self._settings.oidc_client, "redirect_uri": self._redirect,
            "scope": " ".join(self._settings.oidc_scopes), "state": kept["state"], "nonce": kept["nonce"],
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), "code_challenge_method": "S256",
        }  # fmt: skip
        joint = "&" if "?" in provider.authorization_endpoint else "?"
        return provider.authorization_endpoint + joint + urlencode(asked), kept

    async def end(self, query: dict[str, str], kept: dict[str, Any]) -> Session:
        """Return the session of somebody who came back.

        Raises
        ------
        NotLoggedIn
            When the provider refused, the answer is not to our question, or the ID token does not hold.
        """
        if not hmac.compare_digest(query.get("state", "").encode(), kept["state"].encode()):
            raise NotLoggedIn("the answer is to another log-in than the one that began in this browser: try again")
        provider = await self._known()
        if query.get("iss", provider.issuer) != provider.issuer:
            raise NotLoggedIn("the answer comes from another provider")
        if "error" in query:
            raise NotLoggedIn(f"the provider refused: {named(query['error'])}")
        token = await self._token(provider, query.get("code", ""), kept["verifier"])
        claims = await self._verified(provider, token)
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), kept["nonce"].encode()):
            raise NotLoggedIn("the ID token is of another log-in")
        return self._session(claims)

    def _session(self, claims: dict[str, Any]) -> Session:
        wanted = self._settings.person_claim
        name = claims.get(wanted)
        if not isinstance(name, str) or not named(name):
            raise NotLoggedIn(f"the ID token has no claim {wanted} (desk.person_claim)")
        if wanted == "email" and claims.get("email_verified") is False:
            raise NotLoggedIn("the provider says that the address of e-mail is not verified")
        said = claims.get(self._settings.groups_claim, [])
        groups = [one for one in said if isinstance(one, str)] if isinstance(said, list) else []
        return self._sessions.new(named(name), role_of(groups, self._settings))

    async def _token(self, provider: Provider, code: str, verifier: str) -> str:
        form = {
            "grant_type": "authorization_code", "code": code, "redirect_uri": self._redirect,
            "client_id": self._settings.oidc_client, "code_verifier": verifier,
        }  # fmt: skip
        if secret := client_secret(self._settings):
            form["client_secret"] = secret
        answer = await self._call("POST", provider.token_endpoint, form)
        if not isinstance(answer, dict) or not isinstance(token := answer.get("id_token"), str):
            raise NotLoggedIn("the provider's answer has no ID token: is the scope openid asked for?")
        return token

    async def _verified(self, provider: Provider, token: str) -> dict[str, Any]:
        client = self._settings.oidc_client
        try:
            key = await self._key(provider, str(jwt.get_unverified_header(token).get("kid", "")))
            claims: dict[str, Any] = jwt.decode(
                token, key, ALGORITHMS, audience=client, issuer=provider.issuer, leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iat", "iss", "aud", "sub", "nonce"]},
            )  # fmt: skip
        except jwt.PyJWTError as error:
            raise NotLoggedIn(f"the ID token does not hold: {error}") from None
        several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
        if claims.get("azp", None if several else client) != client:
            raise NotLoggedIn("the ID token is for another client")
        return claims

    async def _key(self, provider: Provider, kid: str) -> jwt.PyJWK:
        now = self._clock()
        if self._keys is None or now - self._keys[0] > FRESH_SECONDS:
            await self._fetch_keys(provider)
        elif kid and kid not in self._keys[1] and now - self._keys[0] > KEYS_SECONDS:
            await self._fetch_keys(provider)
        assert self._keys is not None  # noqa: S101 - fetched above
        keys = self._keys[1]
        if kid in keys:
            return keys[kid]  # type: ignore[no-any-return]
        if not kid and len(keys) == 1:
            return next(iter(keys.values()))  # type: ignore[no-any-return]
        raise NotLoggedIn("the provider has no such key")

    async def _fetch_keys(self, provider: Provider) -> None:
        try:
            found = jwt.PyJWKSet.from_dict(await self._call("GET", provider.jwks_uri))
        except (jwt.PyJWTError, AttributeError) as error:
            raise NotLoggedIn(f"the provider's keys cannot be read: {error}") from None
        signing = [key for key in found.keys if key.public_key_use in (None, "sig")]
        self._keys = (self._clock(), {str(key.key_id or ""): key for key in signing})

    async def _known(self) -> Provider:
        now = self._clock()
        if self._provider is None or now - self._provider[0] > FRESH_SECONDS:
            where = self._settings.oidc_issuer.rstrip("/") + "/.well-known/openid-configuration"
            try:
                found = msgspec.convert(await self._call("GET", where), Provider)
            except msgspec.ValidationError as error:
                raise NotLoggedIn(f"what the provider says of itself cannot be read: {error}") from None
            if found.issuer != self._settings.oidc_issuer:
                raise NotLoggedIn(f"the provider calls itself {named(found.issuer)}, not as desk.oidc_issuer says")
            self._provider = (now, found)
        return self._provider[1]

    async def _call(self, method: str, url: str, form: dict[str, str] | None = None) -> Any:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS), trust_env=True) as session,
                session.request(
                    method, url, data=form, allow_redirects=False, headers={"Accept": "application/json"}
                ) as answer,
            ):
                body = await answer.content.read(MAX_BYTES)
                while not answer.content.at_eof() and len(body) < MAX_BYTES:
                    body += await answer.content.read(MAX_BYTES)
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NotLoggedIn(f"the provider does not answer ({type(error).__name__})") from None
        if status != 200:
            raise NotLoggedIn(f"the provider answered with status {status}")
        try:
            return msgspec.json.decode(body)
        except msgspec.DecodeError:
            raise NotLoggedIn("the provider's answer is not JSON") from None
