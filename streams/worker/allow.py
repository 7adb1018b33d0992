"""Accounts that raise no alert because the operator allows what they do: known crawlers, backups. They are scored like
all others; nothing here changes a score or a count."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings


class Allowed:
    """The accounts of `[accounts] allow`, by name as gateways log them or by id as alerts show them.

    Parameters
    ----------
    names
        As the operator wrote them.
    identity
        Hashes them as the gateways do; None where there is no key, and ids alone are understood.

    Examples
    --------
    >>> allowed = Allowed(["partner-crawler"], Identity("a secret of the deployment"))
    >>> allowed.covers(["partner-crawler"]), allowed.covers(["partner-crawler", "another"]), allowed.covers([])
    (True, False, False)
    """

    def __init__(self, names: Iterable[str], identity: Identity | None = None) -> None:
        self._ids = {name for name in names if name}
        if identity is not None:
            self._ids |= {identity.account(name) for name in self._ids}

    @classmethod
    def from_settings(cls, settings: Settings) -> Allowed:
        """Return what `[accounts] allow` says."""
        keyed = settings.accounts.allow and settings.identity.key
        return cls(settings.accounts.allow, Identity.from_settings(settings) if keyed else None)

    def covers(self, accounts: Collection[str]) -> bool:
        """Whether all accounts of a case are allowed, so that no alert is sent."""
        return bool(accounts) and self._ids.issuperset(accounts)
