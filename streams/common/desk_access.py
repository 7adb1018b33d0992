"""Whether the settings of the desk leave it open to whoever reaches it, or to nobody; what else follows from them."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from siphonwatch.streams.common.desk_settings import Desk
from siphonwatch.streams.common.settings import SettingsError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
SECRET_CHARACTERS = 32
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def check(settings: Desk) -> None:
    """Hold settings against each other.

    Raises
    ------
    SettingsError
        Where the desk would be open to whoever reaches it, or nobody could use it; the message names the remedy.
    """
    if settings.secret and len(settings.secret) < SECRET_CHARACTERS:
        raise SettingsError("desk.secret is too short: give 32 characters, such as `openssl rand -hex 32`")
    try:
        networks(settings.proxies)
    except ValueError as error:
        raise SettingsError(f"desk.proxies: {error}; give addresses or networks such as 10.1.2.0/24") from None
    if not settings.login:
        if settings.host not in LOOPBACK:
            raise SettingsError(
                f"desk.host is {settings.host} and desk.login is not set: whoever reaches it could decide. Set "
                "desk.login to oidc or proxy, or desk.host to 127.0.0.1"
            )
        return
    place = urlsplit(settings.address)
    if place.scheme not in ("http", "https") or not place.hostname or place.path.strip("/") or place.query:
        raise SettingsError(f"desk.address is {settings.address!r}: give what browsers open, as https://desk.example")
    if place.scheme == "http" and place.hostname not in LOOPBACK:
        raise SettingsError(f"desk.address is {settings.address}: over http whoever is on the way can decide")
    if settings.login == "nobody":
        if place.hostname not in LOOPBACK:
            raise SettingsError(
                f"desk.login is nobody and desk.address {settings.address}: without a log-in it is opened on this "
                "machine alone, as http://127.0.0.1:6070"
            )
        return
    if not (settings.read or settings.decide or settings.administer):
        raise SettingsError("nobody may use the desk: name groups in desk.read, desk.decide and desk.administer")
    if settings.login == "proxy" and not settings.proxies:
        raise SettingsError("desk.login is proxy: name the proxy's addresses in desk.proxies, or nobody is believed")
    if settings.login == "oidc":
        issuer = urlsplit(settings.oidc_issuer)
        if not settings.oidc_client or not issuer.hostname:
            raise SettingsError("desk.login is oidc: set desk.oidc_issuer and desk.oidc_client")
        if issuer.scheme != "https" and issuer.hostname not in LOOPBACK:
            raise SettingsError(f"desk.oidc_issuer is {settings.oidc_issuer}: an issuer is reached over https")
        if settings.oidc_secret and settings.oidc_secret_file:
            raise SettingsError("desk.oidc_secret and desk.oidc_secret_file are both set: leave one out")
        client_secret(settings)


def client_secret(settings: Desk) -> str:
    """Return the secret of the provider's client, from its file where one is named; empty for none.

    Raises
    ------
    SettingsError
        When the file cannot be read or is empty.
    """
    if not settings.oidc_secret_file:
        return settings.oidc_secret
    try:
        found = Path(settings.oidc_secret_file).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"desk.oidc_secret_file cannot be read: {error}") from None
    if not found:
        raise SettingsError(f"desk.oidc_secret_file {settings.oidc_secret_file} is empty")
    return found


def networks(names: Sequence[str]) -> list[Network]:
    """Return addresses and networks as networks.

    Raises
    ------
    ValueError
        For what is neither.
    """
    return [ipaddress.ip_network(name) for name in names]


def within(address: str | None, known: Sequence[Network]) -> bool:
    """Return whether an address is in one of the networks."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        found = found.ipv4_mapped or found
    return any(found in network for network in known)
