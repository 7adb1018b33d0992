"""The scenario itself: a population of benign and attacking accounts, merged into one log in event-time order.

Deterministic by seed: it reads no clock and no global randomness, and every pass over it gives the same records.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from siphonwatch.streams.lab.scenario import attacks, benign, calls, records, rest, rest_world
from siphonwatch.streams.lab.scenario.calls import Account, Call, Stream
from siphonwatch.streams.lab.scenario.masking import SYNTAXES
from siphonwatch.streams.lab.scenario.words import Lexicon, pick

EPOCH = 1_767_571_200.0
"""Default start: Monday 2026-01-05 00:00 UTC."""

Kind = Literal["llm", "rest", "all"]
Behaviour = Callable[[Account, Lexicon, int], "Stream | list[Stream]"]


class Event(NamedTuple):
    """One log record and its label."""

    time: float
    """Event time, seconds since 1970 UTC."""
    format: Literal["litellm", "nginx"]
    record: dict[str, Any]
    truth: str
    """Attack pattern that the request is part of; empty for benign ones, also those of an attacking account."""


class Label(NamedTuple):
    """The label of one account."""

    account: str
    kind: str
    """Benign archetype, or the attack's family."""
    pattern: str
    """`extraction`, `desensitisation`, `scraping`; empty for benign accounts."""
    campaign: str
    onset: float | None
    """Event time of its first attack request."""
    requests: int
    attack_requests: int
    format: Literal["litellm", "nginx"]


_LLM: tuple[tuple[str, Behaviour, float, tuple[int, int]], ...] = (
    ("chat", benign.chat, 0.42, (4, 90)),
    ("app", benign.app, 0.15, (20, 900)),
    ("etl", benign.etl, 0.05, (80, 1500)),
    ("evaluation", benign.evaluation, 0.04, (60, 600)),
    ("proxy", benign.proxy, 0.07, (20, 500)),
    ("coding", benign.coding, 0.09, (20, 300)),
    ("office", benign.office, 0.07, (24, 250)),
    ("ramp", benign.ramp, 0.03, (40, 500)),
    ("researcher", benign.researcher, 0.08, (8, 120)),
)
_REST: tuple[tuple[str, Callable[[Account, int], Stream], float, tuple[int, int]], ...] = (
    ("mobile", rest.mobile, 0.8, (4, 60)),
    ("sync", rest.sync, 0.12, (60, 800)),
    ("crawler", rest.crawler, 0.04, (100, 900)),
    ("monitor", rest.monitor, 0.04, (100, 600)),
)
_SITTINGS = 6
"""Runs in which one operator sends a prompt list: quotas and prices divide such a list into several runs."""
_HEAVY = 2.5
"""The first account of each archetype sends this multiple of the archetype's upper volume: a heavy benign user."""


class _Storm(NamedTuple):
    start: float
    end: float
    share: float
    status: int


class Scenario:
    """Labelled traffic of a few thousand accounts, in event-time order.

    Parameters
    ----------
    seed
        The same seed gives the same records, to the byte.
    accounts
        Approximate number of accounts; attacks grow with it, and every attack family is present at any size.
    days
        Event time spanned, in days.
    start
        Event time of the first possible request, seconds since 1970 UTC.
    kind
        `llm` or `rest` for one kind of API only; `rest` has more ways to use and to scrape the API than `all`.

    Raises
    ------
    ValueError
        With fewer than 20 accounts or less than half a day: too few for every attack family to be present.

    Examples
    --------
    >>> scenario = Scenario(seed=1, accounts=40, days=1.0)
    >>> first = next(iter(scenario))
    >>> first.time >= EPOCH, first.format in ("litellm", "nginx"), len(scenario) > 1000
    (True, True, True)
    """

    def __init__(
        self, seed: int = 42, accounts: int = 2500, days: float = 3.0, *, start: float = EPOCH, kind: Kind = "all"
    ) -> None:
        if accounts < 20 or days < 0.5:
            raise ValueError(f"a scenario needs at least 20 accounts and 0.5 days, not {accounts} and {days}")
        self.seed, self.accounts, self.days, self.start, self.kind = seed, accounts, days, start, kind
        self.end = start + days * calls.DAY
        self._lexicon = Lexicon(self._random("lexicon"))
        self._labels: list[Label] | None = None
        self._size = 0

    def __len__(self) -> int:
        """Records in all, retries included."""
        self.labels()
        return self._size

    def __iter__(self) -> Iterator[Event]:
        """Iterate over all records, by event time."""
        streams = self._compose()
        memory: dict[int, Call] = {}
        for t, index, failure, attempt in self._schedule(streams):
            stream = streams[index]
            account = stream.account
            call = memory[index] if attempt else stream.make(t)
            if failure:
                memory[index] = call
            write = records.litellm if account.format == "litellm" else records.nginx
            yield Event(
                t, account.format, write(account.r, t, account, call, failure=failure, attempt=attempt), stream.attack
            )

    def labels(self) -> list[Label]:
        """Return the label of every account that made a request, in order of first request."""
        if self._labels is None:
            streams = self._compose()
            counts: dict[str, list[Any]] = {}
            for t, index, _, _ in self._schedule(streams):
                stream = streams[index]
                entry = counts.setdefault(stream.account.name, [stream.account, 0, 0, None])
                entry[1] += 1
                if stream.attack:
                    entry[2] += 1
                    entry[3] = t if entry[3] is None else entry[3]
            self._labels = [
                Label(name, a.kind, a.pattern, a.campaign, onset, n, bad, a.format)
                for name, (a, n, bad, onset) in counts.items()
            ]
            self._size = sum(label.requests for label in self._labels)
        return self._labels

    def allowed(self) -> list[str]:
        """Return the names of the crawlers that the operator allows, sorted, for `[accounts] allow`."""
        return sorted(label.account for label in self.labels() if label.kind in rest_world.ALLOWED)

    # ------------------------------------------------------------- population
    def _random(self, name: str) -> random.Random:
        return random.Random(f"{self.seed}|{name}")  # noqa: S311 - reproducible, not secret

    def _account(self, kind: str, number: int, *, pattern: str = "", campaign: str = "", rest: bool = False) -> Account:
        r = self._random(f"{kind}|{number}")
        born = self.start + (r.random() * 0.5 * (self.end - self.start) if not pattern and r.random() < 0.2 else 0.0)
        name = f"{'shop' if rest else 'org'}-{r.getrandbits(40):010x}"
        shift = pick(r, (0, 0, 1, 1, 5, 8, 16)) * calls.HOUR
        return Account(name, kind, r, born, self.end, shift, pattern, campaign, "nginx" if rest else "litellm")

    def _compose(self) -> list[Stream]:
        """Create all streams: a behaviour has state, so each pass over the scenario needs new ones."""
        if self.kind == "rest":
            return self._rest()
        streams = self._attacks()
        left = self.accounts - len({id(s.account) for s in streams})
        population = self._random("population")
        for number in range(max(left, 0)):
            on_rest = self.kind == "all" and number % 5 == 4
            table: tuple[Any, ...] = _REST if on_rest else _LLM
            rank = number if self.kind == "llm" else number // 5 if on_rest else number - number // 5
            heavy = rank < len(table)
            row = table[rank] if heavy else population.choices(table, [row[2] for row in table])[0]
            kind, behave, _, (low, high) = row
            account = self._account(kind, number, rest=on_rest)
            n = round(high * _HEAVY) if heavy else round(low * (high / low) ** (account.r.random() ** 4))
            made = behave(account, n) if on_rest else behave(account, self._lexicon, n)
            streams += made if isinstance(made, list) else [made]
        return streams

    def _attacks(self) -> list[Stream]:
        lexicon, copies = self._lexicon, max(1, self.accounts // 1500)
        span = self.end - self.start
        streams: list[Stream] = []
        for copy in range(copies):
            for family, style, share, size, cover in _SINGLE:
                account = self._account(family, copy, pattern="extraction", campaign=f"{family}-{copy}")
                onset = self.start + (0.1 + 0.3 * account.r.random()) * span
                times = calls.runs(account, size, parts=_SITTINGS, pause=(0.5, 6.0), t0=onset)
                streams.append(attacks.sweep(account, lexicon, times, style=style))
                if share < 1:
                    streams.append(cover(account, lexicon, attacks.cover_size(size, share)))
            for number, syntax in enumerate(_SYNTAXES[copy % 2]):
                account = self._account(
                    "desensitised",
                    copy * 8 + number,
                    pattern="desensitisation",
                    campaign=f"desensitised-{syntax}-{copy}",
                )
                onset = self.start + (0.4 + 0.2 * account.r.random()) * span
                before = benign.app(account, lexicon, 0, times=calls.rhythm(account, 150, people=True, t1=onset))
                key = before.make(onset).channel.key
                times = calls.runs(account, 300, parts=_SITTINGS, pause=(0.5, 8.0), t0=onset)
                streams += [before, attacks.scrubbed(account, lexicon, times, syntax=syntax, key=key)]
            account = self._account("slow", copy, pattern="extraction", campaign=f"slow-{copy}")
            times = attacks.daily(account, (40, 70), self.start + 0.15 * span)
            streams += [attacks.sweep(account, lexicon, times, style="reasoning"), benign.chat(account, lexicon, 60)]
            for family, scrape, size, pause in _SCRAPES if self.kind == "all" else ():
                account = self._account(family, copy, pattern="scraping", campaign=f"{family}-{copy}", rest=True)
                onset = self.start + (0.1 + 0.5 * account.r.random()) * span
                streams.append(scrape(account, calls.runs(account, size, parts=2, pause=pause, t0=onset)))
                if family == "scrape-pages":
                    streams.append(rest.mobile(account, 40))
        members = [
            self._account("hydra", i, pattern="extraction", campaign="hydra-0")
            for i in range(max(6, self.accounts * 3 // 100))
        ]
        return streams + attacks.relay(members, lexicon, 26.0, self.start + 0.2 * span)

    def _rest(self) -> list[Stream]:
        """One campaign in about 22 accounts, one allowed crawler in 50, and benign clients."""
        streams: list[Stream] = []
        made = rest_world.campaigns(max(9, self.accounts // 22))
        for number, (way, pace, share) in enumerate(made):
            account = self._account(
                f"scrape-{way}", number, pattern="scraping", campaign=f"{way}-{pace}-{number}", rest=True
            )
            streams += rest_world.scraping(account, way, pace, share, (self.start, self.end))
        crawlers = max(1, self.accounts // 50)
        streams += [
            rest_world.allowed(self._account(rest_world.ALLOWED[number % 2], number, rest=True))
            for number in range(crawlers)
        ]
        population = self._random("population")
        kinds = [row[0] for row in rest_world.HONEST]
        for number in range(max(len(kinds), self.accounts - len(made) - crawlers)):
            burst = number < len(kinds)
            kind = kinds[number] if burst else population.choices(kinds, [row[2] for row in rest_world.HONEST])[0]
            streams.append(rest_world.honest(self._account(kind, number, rest=True), kind, burst=burst))
        return streams

    # --------------------------------------------------------------- schedule
    def _schedule(self, streams: list[Stream]) -> list[tuple[float, int, int, int]]:
        """All calls as (event time, stream, failed with status or 0, failures before), ascending."""
        r = self._random("storms")
        storms = sorted(
            _Storm(at, at + 300 + 1500 * r.random(), 0.1 + 0.3 * r.random(), pick(r, (429, 429, 503)))
            for at in (self.start + r.random() * (self.end - self.start) for _ in range(max(2, round(2 * self.days))))
        )
        out: list[tuple[float, int, int, int]] = []
        for index, stream in enumerate(streams):
            luck = random.Random(f"{self.seed}|luck|{index}")  # noqa: S311 - reproducible, not secret
            times = stream.times
            for position, t in enumerate(times):
                storm = next((s for s in storms if s.start <= t < s.end), None)
                chance = storm.share if storm else 0.004
                status = storm.status if storm else 429
                room = (times[position + 1] if position + 1 < len(times) else self.end) - 1e-4
                attempt = 0
                while luck.random() < chance and attempt < 4:
                    out.append((t, index, status, attempt))
                    attempt += 1
                    again = t + 2.0**attempt * (0.5 + luck.random())
                    if again >= room:
                        break
                    t = again
                else:
                    out.append((t, index, 0, attempt))
        out.sort()
        return out


_SINGLE: tuple[tuple[str, attacks.Style, float, int, attacks.Cover], ...] = (
    ("distil-100", "direct", 1.0, 700, benign.app),
    ("distil-100-sampling", "sampling", 1.0, 400, benign.app),
    ("distil-50", "reasoning", 0.5, 450, benign.app),
    ("distil-50-chat", "direct", 0.5, 350, benign.chat),
    ("distil-25", "rubric", 0.25, 250, benign.app),
    ("distil-25-reasoning", "reasoning", 0.25, 250, benign.app),
)
_SYNTAXES = (SYNTAXES[:3] + SYNTAXES[5:6], SYNTAXES[3:5] + SYNTAXES[6:])
_SCRAPES: tuple[tuple[str, Callable[[Account, list[float]], Stream], int, tuple[float, float]], ...] = (
    ("scrape-ids", rest.sequential, 700, (0.3, 3.0)),
    ("scrape-ids-slow", rest.sequential, 300, (60.0, 400.0)),
    ("scrape-pages", rest.pages, 500, (0.5, 5.0)),
    ("scrape-guess", rest.guessing, 500, (0.3, 4.0)),
)
