"""Which address is the client's where proxies stand in front, and what name an address has as an account."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from functools import lru_cache

PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.0/8", "169.254.0.0/16", "::1/128", "fc00::/7",
           "fe80::/10")  # fmt: skip
"""Networks that no client on the internet comes from: loopback, link-local, RFC 1918 and RFC 4193."""

IPV6_PREFIX = 64
"""Bits of an IPv6 address that one customer cannot change: the smallest block that is routed to a site (RFC 6177)."""

MAX_HOPS = 32
"""Addresses read of one X-Forwarded-For list, from its end."""

MAX_CHARS = 64
"""An address with brackets, zone and port is shorter."""

CACHED = 1 << 14

IP = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse(value: str) -> IP | None:
    """Return the address in `host`, `host:port` or `[host]:port`; None for what is no address.

    Examples
    --------
    >>> parse("192.0.2.7:443"), parse("[2001:db8::1]:80"), parse("::ffff:192.0.2.7"), parse("api.example")
    (IPv4Address('192.0.2.7'), IPv6Address('2001:db8::1'), IPv4Address('192.0.2.7'), None)
    """
    return _parsed(value) if len(value) <= 2 * MAX_CHARS else None  # what is kept is bounded


def without_port(value: str) -> str:
    """Return an address as a log or a header names it, without port and brackets.

    Examples
    --------
    >>> without_port("[2001:db8::1]:443"), without_port(" 192.0.2.1:80"), without_port("2001:db8::1")
    ('2001:db8::1', '192.0.2.1', '2001:db8::1')
    """
    found = value.strip()
    if found.startswith("["):
        return found[1:].partition("]")[0]
    return found.partition(":")[0] if found.count(":") == 1 else found


@lru_cache(CACHED)
def _parsed(value: str) -> IP | None:
    if len(value.strip()) > MAX_CHARS:
        return None
    try:
        host = ipaddress.ip_address(without_port(value).partition("%")[0])
    except ValueError:
        return None
    return host.ipv4_mapped or host if isinstance(host, ipaddress.IPv6Address) else host


class Addresses:
    """The operator's proxies, and how many bits of an IPv6 address name a customer.

    Parameters
    ----------
    trusted
        Networks of the proxies whose X-Forwarded-For is believed.
    ipv6_prefix
        Bits of an IPv6 address that make an account.

    Raises
    ------
    ValueError
        Where a network is none; the message names it.

    Examples
    --------
    >>> addresses = Addresses()
    >>> addresses.client("10.0.0.5", "1.2.3.4, 203.0.113.9, 10.0.0.3"), addresses.client("203.0.113.9", "1.2.3.4")
    ('203.0.113.9', '203.0.113.9')
    >>> addresses.account("2001:db8:1:2::7"), addresses.account("203.0.113.9:51234"), addresses.account("acme")
    ('2001:db8:1:2::/64', '203.0.113.9', 'acme')
    """

    def __init__(self, trusted: Sequence[str] = PRIVATE, ipv6_prefix: int = IPV6_PREFIX) -> None:
        self._trusted = [ipaddress.ip_network(network, strict=False) for network in trusted]
        self._prefix = ipv6_prefix
        self._cached_account = lru_cache(CACHED)(self._account)
        self._is_trusted = lru_cache(CACHED)(self._within)

    def account(self, name: str) -> str:
        """Return the name of an account that may be an address: without port, IPv6 as its network, others unchanged."""
        return self._cached_account(name) if len(name) <= MAX_CHARS else name

    def client(self, peer: str, forwarded: str) -> str:
        """Return the client's address: the nearest hop that no trusted proxy is.

        Parameters
        ----------
        peer
            Who connected; '' where the log does not say, then the last proxy is taken to be trusted.
        forwarded
            X-Forwarded-For. A client may begin it as it likes; each trusted proxy adds whom it heard at the end.
        """
        client = peer
        if not forwarded:
            host = parse(peer)
            return peer if host is None else str(host)
        if peer and ((host := parse(peer)) is None or not self._is_trusted(host)):
            return peer if host is None else str(host)
        for hop in reversed(forwarded.rsplit(",", MAX_HOPS)[-MAX_HOPS:] if forwarded else []):
            if (host := parse(hop)) is None:
                break
            client = str(host)
            if not self._is_trusted(host):
                break
        return client

    def _within(self, host: IP) -> bool:
        return any(host in network for network in self._trusted)

    def _account(self, name: str) -> str:
        host = parse(name)
        if host is None:
            return name
        if host.version == 4:
            return str(host)
        return str(ipaddress.ip_network((host, self._prefix), strict=False))


def is_forwarded(value: str) -> bool:
    """Tell whether a log's field is X-Forwarded-For: its last hop, which a proxy wrote, is an address."""
    return parse(value.rpartition(",")[2]) is not None
