"""Settings of the desk: where it is opened, and who may do what there. Checks shapes only: what a way to log in needs
besides is checked where it is made, so that a worker can share the file without the desk's secrets.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Header = Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}$")]
TOKEN = r"^[a-z0-9][a-z0-9-]{0,31}:(read|decide|administer):[0-9a-f]{64}$"  # noqa: S105 - the form of one


class Desk(msgspec.Struct, forbid_unknown_fields=True):
    """`siphonwatch desk`: addresses, who logs in how, and what each may do."""

    index: str = ""
    """File of the index, made of the topics at any time; empty: in the user's cache."""
    database: str = ""
    """In place of that file, which is not used then: postgresql://USER@HOST:PORT/DATABASE, for several desks that share
    one index. The password is best where libpq finds it: PGPASSWORD, or a file that `?passfile=` names."""
    database_schema: Annotated[str, Meta(pattern=r"^[a-z_][a-z0-9_]{0,47}$")] = "siphonwatch_desk"
    """In it: what people did is there, and the index in another one, named after this and its version."""
    days: Annotated[int, Meta(ge=1, le=366)] = 14
    """Of requests that the index keeps in sums, by event time."""
    names: str = ""
    """Customers' names, shown beside accounts and sent nowhere: a CSV file with columns `account` (as gateways log it,
    or as alerts show it) and `name`; or, behind `!`, a command that prints one."""
    host: str = "127.0.0.1"
    """Anything but loopback needs `login`."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 6070
    status_host: str = "127.0.0.1"
    status_port: Annotated[int, Meta(ge=0, le=65535)] = 6071
    """Health and metrics, apart from the pages: who scrapes them need not log in, and sees no case."""
    address: str = ""
    """As people's browsers know it, such as https://desk.example; needed with `login`."""
    login: Literal["", "oidc", "proxy", "nobody"] = ""
    """Who says who asks: empty, on loopback, whoever is on this machine is you; an OpenID Connect provider; the headers
    of a proxy in front; nobody, where something else keeps others away, such as a container's port that is published on
    loopback: whoever reaches it may do everything."""
    oidc_issuer: str = ""
    """Such as https://login.example/realms/staff: its discovery document says the rest."""
    oidc_client: str = ""
    """Id of the client that the provider knows the desk by."""
    oidc_secret: str = ""
    """Of that client; empty for a public one, which has PKCE alone."""
    oidc_secret_file: str = ""
    """In place of `oidc_secret`: a file that holds it."""
    oidc_scopes: list[str] = msgspec.field(default_factory=lambda: ["openid", "profile", "email", "groups"])
    person_claim: str = "email"
    """Of the ID token: what people are called in decisions and in the log."""
    groups_claim: str = "groups"
    proxies: list[str] = []
    """Addresses or networks whose headers are believed, with login = "proxy"; everybody else is refused."""
    person_header: Header = "X-Forwarded-User"
    """The proxy must write it over what a client sends."""
    groups_header: Header = "X-Forwarded-Groups"
    """Groups, separated by commas; the proxy must write it over what a client sends."""
    read: list[str] = []
    """Groups whose people may look."""
    decide: list[str] = []
    """Groups whose people may decide as well."""
    administer: list[str] = []
    """Groups whose people may see who did what as well."""
    tokens: list[Annotated[str, Meta(pattern=TOKEN)]] = []
    """Programs that may use the HTTP API: name, role and SHA-256 of the token, as `siphonwatch desk --token NAME`
    prints them."""
    secret: str = ""
    """Signs sessions, 32 characters at least and the same at every desk of one address; empty for a new one at each
    start, which logs everybody out."""
    session_hours: Annotated[float, Meta(gt=0, le=720)] = 12.0
    """Until one logs in again; groups are read then."""
