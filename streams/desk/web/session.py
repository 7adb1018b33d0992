"""Sessions as signed cookies, and the tokens against forged requests that follow from them. Keeps nothing but which
sessions were ended.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jwt
import msgspec
from aiohttp import web

ALGORITHM = "HS256"
LOGIN_SECONDS = 600.0
"""Between leaving for the provider and coming back: time to find one's second factor."""
ENDED = 10_000
"""Sessions that were ended and have not run out: beyond, the oldest are forgotten."""


class Session(msgspec.Struct, frozen=True):
    """What a session's cookie says."""

    id: str
    name: str = ""
    role: str = ""


class Sessions:
    """Makes and reads the cookies of one desk.

    Parameters
    ----------
    secret
        Signs them.
    seconds
        How long one lasts.
    secure
        Whether browsers reach the desk by https only.
    clock
        Seconds since 1970.
    """

    def __init__(self, secret: str, seconds: float, secure: bool, clock: Callable[[], float]) -> None:
        self._secret = secret
        self._seconds = seconds
        self._secure = secure
        self._clock = clock
        self._ended: dict[str, float] = {}
        self._untold: dict[str, float] = {}
        self.shares = False
        """Whether other desks are told which sessions were ended."""
        self.cookie = "__Host-siphonwatch" if secure else "siphonwatch"
        """With `__Host-` browsers take it over https, from this host and for all of it alone."""
        self.login_cookie = f"{self.cookie}-login"

    def new(self, name: str = "", role: str = "") -> Session:
        """Return a new session, of somebody who logged in or of nobody in particular."""
        return Session(secrets.token_urlsafe(18), name, role)

    def read(self, request: web.Request) -> Session | None:
        """Return the session of a request, nothing where it has none, or one that ran out or was ended."""
        claims = self.opened(request.cookies.get(self.cookie, ""), "session")
        if claims is None or claims["jti"] in self._ended:
            return None
        return Session(claims["jti"], claims.get("name", ""), claims.get("role", ""))

    def give(self, response: web.StreamResponse, session: Session) -> None:
        """Put a session into a response."""
        claims = {"jti": session.id, "name": session.name, "role": session.role}
        self._set(response, self.cookie, self.signed(claims, "session", self._seconds), self._seconds)

    def end(self, response: web.StreamResponse, session: Session) -> None:
        """End a session, whoever has its cookie."""
        now = self._clock()
        self._ended = {one: until for one, until in self._ended.items() if until > now}
        while len(self._ended) >= ENDED:
            del self._ended[next(iter(self._ended))]
        self._ended[session.id] = now + self._seconds
        if self.shares:
            self._untold[session.id] = now + self._seconds
        self.drop(response, self.cookie)

    def untold(self) -> dict[str, float]:
        """Return the sessions that were ended here of which other desks were not told, and when each runs out."""
        return dict(self._untold)

    def learn(self, ended: Mapping[str, float], told: Mapping[str, float]) -> None:
        """Note which sessions were ended at any desk, and of which of ours the others were told."""
        self._ended |= ended
        for one in told:
            self._untold.pop(one, None)

    def leave(self, response: web.StreamResponse, claims: dict[str, str]) -> None:
        """Keep what a log-in under way must come back with."""
        self._set(response, self.login_cookie, self.signed(claims, "login", LOGIN_SECONDS), LOGIN_SECONDS)

    def back(self, request: web.Request) -> dict[str, Any] | None:
        """Return what was kept when the log-in began; nothing where none is under way."""
        return self.opened(request.cookies.get(self.login_cookie, ""), "login")

    def drop(self, response: web.StreamResponse, cookie: str) -> None:
        """Take a cookie back."""
        response.del_cookie(cookie, path="/", secure=self._secure, httponly=True, samesite="Lax")

    def csrf(self, session: Session, name: str) -> str:
        """Return the token that forms of this session and person must carry."""
        said = f"csrf|{session.id}|{name}".encode()
        return hmac.new(self._secret.encode(), said, hashlib.sha256).hexdigest()

    def genuine(self, session: Session | None, name: str, token: str) -> bool:
        """Return whether a form is of this session and person."""
        return session is not None and hmac.compare_digest(self.csrf(session, name).encode(), token.encode())

    def signed(self, claims: dict[str, str], use: Literal["session", "login"], seconds: float) -> str:
        """Return claims for one use, signed, until so many seconds from now."""
        return jwt.encode({**claims, "aud": use, "exp": int(self._clock() + seconds)}, self._secret, ALGORITHM)

    def opened(self, text: str, use: Literal["session", "login"]) -> dict[str, Any] | None:
        """Return claims of that use that we signed and that have not run out."""
        try:
            claims: dict[str, Any] = jwt.decode(
                text, self._secret, [ALGORITHM], audience=use,
                options={"require": ["exp", "aud"], "verify_exp": False},
            )  # fmt: skip
        except jwt.InvalidTokenError:
            return None
        return claims if claims["exp"] > self._clock() else None  # by our clock, not the library's

    def _set(self, response: web.StreamResponse, cookie: str, value: str, seconds: float) -> None:
        # Lax: the provider sends people back to us from another site.
        response.set_cookie(
            cookie, value, path="/", max_age=int(seconds), secure=self._secure, httponly=True, samesite="Lax"
        )
