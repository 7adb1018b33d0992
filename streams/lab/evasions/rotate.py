"""Another address and another client with each request, so that nothing of the network or software recurs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from siphonwatch.streams.lab.redteam.records import Client, Record
from siphonwatch.streams.lab.redteam.trick import Origin, Sent, Trick
from siphonwatch.streams.lab.scenario import clients


class Rotate(Trick):
    """Each request comes from an address of its own, by an SDK, an HTTP library or a browser that chance names.

    Costs nothing that is counted here: proxies are rented by the gigabyte, and prompts are small.
    """

    variants: ClassVar = {"rotate": {}}
    formats: ClassVar = frozenset(("litellm", "nginx"))

    def rewrite(self, record: Record, origin: Origin) -> Iterator[Sent]:
        """Set address and client; see `Trick.rewrite`."""
        r = self.random(origin.account, origin.number)
        record.address = clients.address(r)
        record.client = Client(*r.choice((clients.sdk, clients.bare, clients.browser))(r))
        yield Sent(record, origin)
