"""What can be asked of the desk, answered by the index: implements `siphonwatch.streams.desk.views.Looks`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from siphonwatch.streams.contracts import control
from siphonwatch.streams.contracts.control import Allow
from siphonwatch.streams.desk import account_page, exposure, search
from siphonwatch.streams.desk.campaign_page import campaign_page
from siphonwatch.streams.desk.case_page import case_page, newest, row_of
from siphonwatch.streams.desk.index.feed import Feed
from siphonwatch.streams.desk.index.store import Index
from siphonwatch.streams.desk.names import Roster
from siphonwatch.streams.desk.peers import Peers, load
from siphonwatch.streams.desk.queue import page
from siphonwatch.streams.desk.views import (
    AccountPage,
    Allowed,
    Ask,
    CampaignPage,
    CasePage,
    CaseRow,
    Exposure,
    Found,
    Queue,
    Reading,
    SteppedOver,
    TopicReading,
)

PEERS_SECONDS = 300.0
"""How old account-hours to compare with may get."""


class IndexedLooks:
    """Looks at an index; safe to share between threads.

    Parameters
    ----------
    index
        Open.
    roster
        Names of customers.
    feed
        That keeps the index near the topics' ends; None where nothing does.
    alpha
        `scoring.alpha` of the workers.
    clock
        Seconds since 1970.
    """

    def __init__(
        self,
        index: Index,
        roster: Roster,
        feed: Feed | None = None,
        alpha: float = 1e-3,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._index = index
        self._roster = roster
        self._feed = feed
        self._alpha = alpha
        self._clock = clock
        self._peers: tuple[float, Peers] | None = None

    def queue(self, ask: Ask, person: str = "") -> Queue:
        """Return a page of a list; raises ValueError where `ask.after` is of another list."""
        with self._index.read() as of:
            return page(of, ask, self._roster.names(), self._clock(), self._index.looked.of(person))

    def case(self, case: str, person: str = "") -> CasePage:
        """Open a case; the person has then looked at it."""
        now = self._clock()
        peers, looked = self._peers_of(), self._index.looked.of(person)
        with self._index.read() as of:
            found = case_page(of, case, self._roster.names(), peers, self._standing(), now, looked)
        if person:
            self._index.looked.note(person, case, now)
        return found

    def account(self, account: str) -> AccountPage:
        """Open an account by its whole id."""
        peers, now = self._peers_of(), self._clock()
        with self._index.read() as of:
            return account_page.account_page(
                of, account, self._roster.names(), peers, self.allowed(), self._alpha, now
            )  # fmt: skip

    def campaign(self, case: str) -> CampaignPage:
        """Open a campaign by its case."""
        with self._index.read() as of:
            return campaign_page(of, case, self._roster.names(), self._clock())

    def find(
        self,
        text: str,
        kind: str = "",
        since: float | None = None,
        until: float | None = None,
        limit: int = 100,
    ) -> Sequence[Found]:
        """Find by an id or its beginning, a name, or what accounts share."""
        with self._index.read() as of:
            return search.find(of, text, kind, since, until, limit, self._roster.names())

    def exposure(self, accounts: Sequence[str], since: float | None = None, until: float | None = None) -> Exposure:
        """Return how much accounts took together."""
        with self._index.read() as of:
            return exposure.exposure(of, accounts, since, until)

    def allowed(self) -> Sequence[Allowed]:
        """Return the allow entries, those that stand first."""
        with self._index.read() as of:
            return account_page.allowed(of)

    def covered(self, accounts: Sequence[str], pattern: str, case: str = "") -> Sequence[CaseRow]:
        """Return the cases that an allow entry would cover; with a case, of its pattern and accounts."""
        with self._index.read() as of:
            if case:
                own = newest(of, case)[1].own
                accounts, pattern = own.accounts[-control.MAX_ACCOUNTS :], own.pattern
            found = account_page.covered(of, pattern, accounts, case)
            return [row_of(of, one, self._roster.names(), self._clock()) for one in found]

    def behind(self) -> dict[str, int]:
        """Return how many records each topic has that the index has not."""
        return {} if self._feed is None else self._feed.behind()

    def reading(self) -> Reading:
        """Return how far the index has read the topics, and what it could not read."""
        with self._index.read() as of:
            skipped = {topic: (lost, failed) for topic, lost, failed in of.execute("SELECT * FROM skipped")}
            stepped = of.execute(
                'SELECT topic, partition, "offset", sent, bytes, why FROM stepped '
                'ORDER BY sent DESC, topic, "offset" DESC'
            ).fetchall()
        feed = self._feed
        if feed is None:
            return Reading(trouble="nothing reads the topics", topics=[], stepped=[])
        behind, ages = feed.behind(), feed.ages()
        topics = [
            TopicReading(
                topic=kind, behind=behind[kind], seconds=round(ages[kind], 3),
                unreadable=skipped.get(name, (0, 0))[0], failed=skipped.get(name, (0, 0))[1],
            )
            for name, kind in feed.kinds.items()
        ]  # fmt: skip
        fields = SteppedOver.__struct_fields__
        return Reading(
            trouble=feed.trouble, topics=topics,
            stepped=[SteppedOver(**dict(zip(fields, row, strict=True))) for row in stepped],
        )  # fmt: skip

    def _standing(self) -> list[Allow]:
        rows = self._index.reader.execute("SELECT value FROM allow WHERE ended = 0").fetchall()
        found = [control.decode(raw) for (raw,) in rows]
        return [entry for entry in found if isinstance(entry, Allow)]

    def _peers_of(self) -> Peers:
        now = self._clock()
        if self._peers is None or not 0 <= now - self._peers[0] < PEERS_SECONDS:
            with self._index.read() as of:
                self._peers = now, load(of)
        return self._peers[1]
