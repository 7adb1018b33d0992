"""What the desk shows and takes, as plain data: pages, the command line and the HTTP API give out the same. Decides
nothing and reads nothing.

Times are seconds since 1970; event time unless a field says otherwise. Accounts, keys and clients are the keyed hashes
that telemetry has; `name` is the customer's name where the desk was given a list, else empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Protocol

import msgspec
from msgspec import Meta

from siphonwatch.models.learn.verdict_book import Decision

Kind = Literal["key", "user", "client", "wrapper", "system", "address", "payment", "model", "network", "country"]
"""What accounts may share, and be searched by."""
Order = Literal["rank", "age", "changed"]
State = Literal["open", "closed", "snoozed", "all"]


class CaseRow(msgspec.Struct, frozen=True, kw_only=True):
    """A case in a list."""

    case: str
    pattern: str
    title: str
    state: Literal["open", "closed", "snoozed"]
    severity: str
    account: str
    """The first of its accounts."""
    name: str = ""
    accounts: int
    requests: int
    log_e: float
    """Natural logarithm of the e-value."""
    rank: float
    opened: float
    updated: float
    sequence: int
    """Of its newest alert."""
    group: str
    """Cases that belong together have the same: merged ones, those of an account, a campaign and its members."""
    verdict: Decision | Literal["", "withdrawn"] = ""
    assignee: str = ""
    snoozed_until: float = 0.0
    headline: str
    """Why, in a few words."""
    changed: bool = False
    """Whether an alert or a decision came since the asking person looked."""
    version: int = 0
    """Of the decisions on it, as `CasePage.version`."""


class Queue(msgspec.Struct, frozen=True):
    """A page of a list of cases."""

    rows: list[CaseRow]
    total: int
    """Of all pages."""
    after: str = ""
    """Give it to `Ask.after` for the next page; empty on the last."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """Which cases, in which order."""

    order: Order = "rank"
    state: State = "open"
    unjudged: bool = False
    assignee: str = ""
    pattern: str = ""
    severity: str = ""
    account: str = ""
    since: float | None = None
    until: float | None = None
    limit: Annotated[int, Meta(ge=1, le=500)] = 50
    after: str = ""


class Hour(msgspec.Struct, frozen=True, kw_only=True):
    """What an account, or the accounts of a case, did in an hour that begins at `time`."""

    time: float
    requests: int
    refused: int
    """Answered with 401, 403, 407 or 429."""
    input_tokens: int
    output_tokens: int


class Exposure(msgspec.Struct, frozen=True, kw_only=True):
    """How much was taken."""

    requests: int
    input_tokens: int
    output_tokens: int
    contents: int
    """Distinct ones, about, of whole days (UTC) and at most as many as `requests`: the estimate of a sketch whose error
    `contents_error` says."""
    contents_error: float
    """Relative standard error of `contents`."""
    models: dict[str, int]
    """Requests by model, of whole days (UTC): together they may be more than `requests`, which are of whole hours."""
    days: int
    """Days (UTC) with a request."""
    first: float
    last: float


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """Something that an account's requests have, and how many others have it too."""

    kind: Kind
    value: str
    requests: int
    """Of this account with it."""
    share: float
    """Of this account's requests, in [0, 1]."""
    accounts: int
    """That have it, this one included: all up to 2,000, beyond that the most on one day, of which 10,000 stand for that
    or more."""


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """One reason for a score beside what others do."""

    name: str
    meaning: str
    unit: str
    observed: float
    baseline: float
    direction: Literal["above", "below"]
    percentile: float | None = None
    """Of `observed` among the account-hours of its cohort, in [0, 100]; nothing where features are not logged."""
    cohort: str = ""
    typical: list[float] = []
    """Quantiles 5, 25, 50, 75, 95 % of the cohort, for a small plot."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """An account of a case of several."""

    account: str
    name: str = ""
    requests: int
    share: float
    joined: float
    left: float | None = None
    """Its last request, where it fell silent more than a day before the others."""
    follows: bool = False
    """Whether it is one of those whose place the others took."""
    alone: list[str] = []
    """Open cases of its own."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a case: an alert, or what somebody decided."""

    time: float
    what: str
    """`opened`, `updated`, `closed`, or a decision's kind."""
    by: str = ""
    text: str = ""
    log_e: float | None = None
    requests: int | None = None


class Alike(msgspec.Struct, frozen=True, kw_only=True):
    """Another case that is like this one, and what was decided."""

    row: CaseRow
    likeness: float
    """In [0, 1]."""
    shared: list[str]
    """Why they are alike; what few cases have comes first."""


class CasePage(msgspec.Struct, frozen=True, kw_only=True):
    """A case opened."""

    row: CaseRow
    sentence: str
    """What was found, in one sentence that a lawyer can read: observed, never who the actor is."""
    observed: list[str]
    inferred: list[str]
    chance: str
    """How often a benign account would reach that evidence, in words."""
    budget: float
    signals: list[Signal]
    indicators: list[tuple[str, bool]]
    """Published indicators that are there, and whether each was scored."""
    atlas: list[str]
    owasp: list[str]
    counterfactual: str
    samples: list[str]
    """Requests to look up at the gateway."""
    carried_by: list[tuple[str, str, float]]
    """Kind, hash and share of who inside the account sends it."""
    hours: list[Hour]
    members: list[Member]
    shared: list[str]
    history: list[Event]
    related: list[CaseRow]
    alike: list[Alike]
    """Cases that somebody judged."""
    alike_unjudged: list[Alike] = []
    """Cases that nobody judged, without those of `related`."""
    exposure: Exposure
    steps: list[str]
    """What to do next, from the runbook."""
    runbook: str
    alert: msgspec.Raw
    """The newest alert that says something, as it stands on the topic."""
    hidden_by: list[str] = []
    """Allow entries that keep its alerts back."""
    version: int
    """Of the decisions on it; give it with the next one, so that two people at once are told of each other."""


class Near(msgspec.Struct, frozen=True, kw_only=True):
    """How far an account is from a case of a pattern."""

    pattern: str
    log_e: float
    bar: float
    """Logarithm of the e-value that opens a case."""
    held: str = ""
    """Why no case is open though the evidence is there."""


class Percentile(msgspec.Struct, frozen=True, kw_only=True):
    """A feature of an account beside its cohort."""

    name: str
    meaning: str
    unit: str
    value: float
    percentile: float


class Allowed(msgspec.Struct, frozen=True, kw_only=True):
    """An allow entry."""

    id: str
    pattern: str
    accounts: list[str]
    case: str
    until: float
    why: str
    by: str
    ended: bool
    hides: int
    """Alerts of the last seven days that it covers."""


class AccountPage(msgspec.Struct, frozen=True, kw_only=True):
    """An account opened."""

    account: str
    name: str = ""
    cohort: str = ""
    first: float
    last: float
    hours: list[Hour]
    """Of the last seven days of its event time, oldest first, one an hour that had a request."""
    shares: list[Share]
    percentiles: list[Percentile]
    near: list[Near]
    cases: list[CaseRow]
    allowed: list[Allowed]
    exposure: Exposure


class CampaignPage(msgspec.Struct, frozen=True, kw_only=True):
    """A campaign opened: who is in it, what ties them together, and the pool that came after."""

    row: CaseRow
    members: list[Member]
    fingerprints: list[Share]
    """What members share; `share` is of the members, `accounts` of all accounts that have it."""
    ties: list[tuple[int, int]]
    """Which member has which fingerprint, by their places in the lists."""
    pools: list[CaseRow]
    """Cases that it follows, or that follow it."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of a search."""

    kind: Literal["account", "case"]
    id: str
    name: str = ""
    by: str
    """What matched."""
    requests: int
    first: float
    last: float


class TopicReading(msgspec.Struct, frozen=True, kw_only=True):
    """How far the index has read one kind of topic."""

    topic: str
    """What it is for: `alerts`, `telemetry` and so on."""
    behind: int
    """Records that the index has not, as far as brokers said."""
    seconds: float
    """For how long the index may have lacked something of it: near 0 while it keeps up."""
    unreadable: int
    """Records that hold nothing of use, such as what is no JSON."""
    failed: int
    """Records that the index could not take in, and stepped over."""


class SteppedOver(msgspec.Struct, frozen=True, kw_only=True):
    """A record that the index could not take in. It still stands on its topic."""

    topic: str
    """Its name."""
    partition: int
    offset: int
    sent: float
    """By the record's stamp."""
    bytes: int
    why: str
    """The kind of error; the desk's log has its trace."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How far the index has read the topics, and what it could not read."""

    trouble: str
    """Why nothing is read at the moment; empty where something is."""
    topics: list[TopicReading]
    stepped: list[SteppedOver]
    """The newest, newest first."""


class Overtaken(ValueError):
    """Somebody decided on the case since it was opened; the message says who, what and when."""


class Unknown(LookupError):
    """No such case, account or entry."""


class NotSent(ValueError):
    """The broker did not take the decision; the message says why. Nothing is decided, and it can be tried again."""


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One decision of one person on one or several cases."""

    kind: Literal["verdict", "undo", "note", "assign", "snooze", "reopen", "merge", "split", "allow", "allow-end"]
    cases: list[str] = []
    decision: Decision | None = None
    text: Annotated[str, Meta(max_length=2000)] = ""
    """The reason of a verdict or an allow entry, or the note."""
    assignee: str = ""
    until: float = 0.0
    """Of a snooze or an allow entry."""
    of: str = ""
    """The case that a duplicate is one of, or that others are merged into."""
    accounts: list[str] = []
    """Of an allow entry that is not about a case, or those that a split takes out."""
    pattern: str = ""
    """Of an allow entry; a case has its own, and another one is refused."""
    entry: str = ""
    """The allow entry to end."""
    version: int | None = None
    """Of the decisions on the one case, as its page said; without it nobody is asked."""
    versions: dict[str, int] = {}
    """The same by case, of several; nothing is decided on any where somebody decided on one of them."""


class Looks(Protocol):
    """What can be asked of the desk. Raises `Unknown` where the thing asked for is not there."""

    def queue(self, ask: Ask, person: str = "") -> Queue: ...
    def case(self, case: str, person: str = "") -> CasePage:
        """Open a case; the person has then looked at it."""

    def account(self, account: str) -> AccountPage: ...
    def campaign(self, case: str) -> CampaignPage: ...
    def find(
        self,
        text: str,
        kind: str = "",
        since: float | None = None,
        until: float | None = None,
        limit: int = 100,
    ) -> Sequence[Found]:
        """Find by an id or its beginning, a name, or what accounts share."""  # fmt: skip

    def exposure(self, accounts: Sequence[str], since: float | None = None, until: float | None = None) -> Exposure: ...
    def allowed(self) -> Sequence[Allowed]: ...
    def covered(self, accounts: Sequence[str], pattern: str, case: str = "") -> Sequence[CaseRow]:
        """Return the cases that an allow entry would cover; with a case, of its pattern and accounts."""

    def behind(self) -> dict[str, int]:
        """Return how many records each topic has that the index has not."""

    def reading(self) -> Reading:
        """Return how far the index has read the topics, and what it could not read."""


class Acts(Protocol):
    """What can be decided at the desk."""

    def act(self, act: Act, by: str) -> str:
        """Decide; return one line of what was done.

        Raises `Overtaken`, `Unknown`, `NotSent`, or ValueError with what is wrong.
        """
