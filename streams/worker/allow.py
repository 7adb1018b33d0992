"""The accounts that the operator lets do as they do: known crawlers, backups. They are scored like all others; nothing
here changes a score or a count."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from siphonwatch.streams.common.identity import Identity
from siphonwatch.streams.common.settings import Settings


class Allowed:
    """Knows the accounts of `[accounts] allow`, by name as gateways log them or by id as alerts show them.

    Parameters
    ----------
    names
        As the operator wrote them.
    identity
        Hashes them as the gateways do; None where there is no key, and ids alone are understood.

    Examples
    --------
    >>> allowed = Allowed(["partner-crawler"], Identity("a secret of the deployment"))
    >>> allowed.spares(["partner-crawler"]), allowed.spares(["partner-crawler", "another"]), allowed.spares([])
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

    def spares(self, accounts: Collection[str]) -> bool:
        """Whether a case is about allowed accounts alone, so that nobody needs to hear of it."""
        return bool(accounts) and self._ids.issuperset(accounts)
