"""Names the settings whose value a client may choose for itself, and says when they may be trusted."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from siphonwatch.streams.common.settings import Settings

REMOTE_USER = (
    "a client chooses it wherever NGINX checks no password: trust it only where auth_basic covers every location"
)
HEADER = "a client chooses its headers: trust one only where the gateway writes over it, or checks it on every request"
END_USER = (
    "a customer's own request names it, so each new name is a new account: trust it only where the gateway writes it "
    "from a token that it has checked"
)
SERVICE = "it is the gateway, so all its customers are one account"
END_USERS = frozenset(("gen_ai.user", "enduser.id", "enduser.pseudo.id", "user.id", "llm.user", "end_user"))

CLIENT_WRITTEN = ("requester_metadata", "requester_custom_headers", "spend_logs_metadata", "request.headers", "http_")
"""Parts of a path below which there is what a client sends."""


def warnings(settings: Settings) -> Iterator[str]:
    """Yield a warning about each such setting."""
    accounts = settings.accounts
    for field in accounts.nginx:
        if field == "remote_user":
            yield f"accounts.nginx names remote_user: {REMOTE_USER}"
        elif field.startswith("http_") or "-" in field:
            if field.lower().replace("-", "_").removeprefix("http_") == "x_forwarded_for":
                continue  # read behind the operator's proxies
            yield f"accounts.nginx names {field}: {HEADER}"
    for format_, fields in (("otlp", accounts.otlp), ("litellm", accounts.litellm)):
        for field in fields:
            if field in END_USERS:
                yield f"accounts.{format_} names {field}: {END_USER}"
            elif field == "service.name":
                yield f"accounts.{format_} names service.name: {SERVICE}"
    for kind in msgspec.structs.fields(settings.who):
        for path in getattr(settings.who, kind.name):
            if any(part in path for part in CLIENT_WRITTEN):
                yield f"who.{kind.name} names {path}: {HEADER}"
