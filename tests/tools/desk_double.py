"""A desk's index in memory: invented cases of every kind, decisions that stand, and text that means harm on demand. For
tests of pages, roles and forms; what an index finds is tested with the index.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import msgspec

from siphonwatch.models.detect import Signal as Reason
from siphonwatch.models.engine.patterns import patterns
from siphonwatch.models.evidence.cases import CaseBook
from siphonwatch.streams.contracts.alert import encode, to_alert
from siphonwatch.streams.contracts.wording import chance
from siphonwatch.streams.desk.views import (
    AccountPage,
    Act,
    Alike,
    Allowed,
    Ask,
    CampaignPage,
    CasePage,
    CaseRow,
    Event,
    Exposure,
    Found,
    Hour,
    Member,
    Near,
    Overtaken,
    Percentile,
    Queue,
    Reading,
    Share,
    Signal,
    SteppedOver,
    TopicReading,
    Unknown,
)

START = 1_767_571_200.0
HOUR = 3600.0
CAMPAIGNS = ("campaign", "cleaning", "harvest", "swarm")
HOSTILE = (
    "<script>document.title='owned'</script>", "\"><img src=x onerror=\"document.title='owned'\">",
    "';document.title='owned';'", "{{ 7 * 7 }}{% raw %}", "javascript:document.title='owned'",
    "a\r\nSet-Cookie: owned=1\r\n\r\n<b>", "\u202eevil\u2066", "=cmd|' /C calc'!A0", "&lt;b&gt;", "../../etc/passwd",
)  # fmt: skip
"""Text that would do something where it is not escaped."""
NAMES = ("Harbour Analytics", "Pelican Labs", "Northwind Tutors", "Cobalt Search", "Ibis Health", "Quarry & Sons")


def name_of(i: int) -> str:
    return f"{random.Random(i).getrandbits(128):032x}"


class Double:
    """`Looks` and `Acts` over a handful of invented cases.

    Parameters
    ----------
    hostile
        Put text that means harm into every field that takes text.
    """

    def __init__(self, hostile: bool = False) -> None:
        self._draw = random.Random(7)
        self._hostile = hostile
        self._next = 0
        self.acts: list[tuple[Act, str]] = []
        self.entries: list[Allowed] = []
        self.pages: dict[str, CasePage] = {}
        for i, pattern in enumerate([*patterns(), *patterns()[:4]]):
            page = self._page(i, pattern.pattern, pattern.title, list(pattern.atlas), list(pattern.owasp))
            self.pages[page.row.case] = page
        rows = [page.row for page in self.pages.values()]
        for case, page in self.pages.items():
            others = [row for row in rows if row.case != case]
            alike = [row for row in others if row.pattern == page.row.pattern] or others[:1]
            self.pages[case] = msgspec.structs.replace(
                page, related=[row for row in others if row.group == page.row.group],
                alike=[Alike(row=row, likeness=0.87, shared=[self.text("wrapper"), "pace"]) for row in alike[:3]],
                alike_unjudged=[
                    Alike(row=row, likeness=0.41, shared=[self.text(f"reason {at}") for at in range(6)])
                    for row in others[1:3]
                ],
            )  # fmt: skip
        self.entries.append(
            Allowed(
                id="a1b2c3d4e5f6", pattern="scraping", accounts=[rows[1].account], case="", until=START + 40 * 86_400.0,
                why=self.text("partner's crawler, contract 2026-4"), by=self.text("ana@example.org"), ended=False,
                hides=12,
            )
        )  # fmt: skip

    def text(self, plain: str) -> str:
        """The text, or the next hostile one."""
        if not self._hostile:
            return plain
        self._next += 1
        return HOSTILE[self._next % len(HOSTILE)] + f" {self._next}"

    def hours(self, account: int, days: int = 7) -> list[Hour]:
        draw = random.Random(account)
        found = []
        for k in range(24 * days):
            if k % 24 in (3, 4) or draw.random() < 0.25:
                continue
            n = int(20 + 180 * (1 + math.sin(k / 24 * math.tau)) * draw.random() * (1 + k / 40))
            refused = n // 3 if k > 24 * days - 12 else int(n * 0.02)
            found.append(
                Hour(time=START + k * HOUR, requests=n, refused=refused, input_tokens=n * 210, output_tokens=n * 640)
            )
        return found

    def exposure_of(self, hours: Sequence[Hour]) -> Exposure:
        n = sum(h.requests for h in hours)
        return Exposure(
            requests=n, input_tokens=sum(h.input_tokens for h in hours), contents=int(n * 0.93), contents_error=0.016,
            output_tokens=sum(h.output_tokens for h in hours), days=7, first=hours[0].time, last=hours[-1].time + HOUR,
            models={self.text("gpt-large"): n * 3 // 4, self.text("gpt-small"): n // 4},
        )  # fmt: skip

    def _page(self, i: int, pattern: str, title: str, atlas: list[str], owasp: list[str]) -> CasePage:
        several = pattern in CAMPAIGNS
        accounts = [name_of(100 * i + k) for k in range(24 if several else 1)]
        opened, log_e = START + (3 + i) * 5 * HOUR, 7.0 + 2.7 * self._draw.random() * (i + 1)
        hours = self.hours(i)
        requests = sum(h.requests for h in hours)
        reasons = [
            ("sweep_1d", 0.94, 0.35, "above", "share", "new content, asked once"),
            ("breadth", 0.73, 0.35, "above", "0..1", "how little the texts have in common"),
            ("single_turn_1d", 0.98, 0.5, "above", "share", "goes on with no conversation"),
            ("quick_1h", 0.69, 0.05, "above", "share", "sent at once"),
        ]
        odds = chance(math.exp(log_e)).removesuffix(" by chance")
        finding = CaseBook(1e-3, 86_400.0).record(
            accounts[0], pattern, opened, first_seen=START, log_e=log_e, score=0.7, level=0.4, requests_seen=requests,
            signals=[Reason(n, o, b, d, u, m, 0.4) for n, o, b, d, u, m in reasons], counterfactual="", samples=["r-1"],
        )  # fmt: skip
        alert = to_alert(finding)
        signals = [
            Signal(
                name=self.text(n), meaning=self.text(m), unit=self.text(u), observed=o, baseline=b, direction=d,  # type: ignore[arg-type]
                percentile=99.2 - 3 * k if i % 5 else None, cohort=self.text("paid plans") if i % 5 else "",
                typical=[0.02, 0.1, 0.2, 0.33, 0.6] if i % 5 else [],
            )
            for k, (n, o, b, d, u, m) in enumerate(reasons)
        ]  # fmt: skip
        row = CaseRow(
            case=alert.subject, pattern=pattern, title=self.text(title) if self._hostile else title, state="open",
            severity=("critical", "high", "medium", "low")[i % 4], account=accounts[0],
            name=self.text(NAMES[i % len(NAMES)]) if i % 3 or self._hostile else "", accounts=len(accounts),
            requests=requests, log_e=log_e, rank=round(0.97 - 0.055 * i, 3), opened=opened, updated=opened + 9 * HOUR,
            sequence=0, group=f"g{i // 2}" if i in (4, 5) else f"g-{i}",
            headline=self.text("94 % of its content asked once, at once, in no conversation"), changed=i % 3 == 0,
        )  # fmt: skip
        members = [
            Member(
                account=one, name=self.text(NAMES[k % len(NAMES)]) if k % 4 == 0 else "", requests=requests // (20 + k),
                share=1 / len(accounts), joined=START + k * HOUR, left=START + 90 * HOUR if k % 11 == 5 else None,
                follows=k % 7 == 3, alone=[],
            )
            for k, one in enumerate(accounts)
        ]  # fmt: skip
        return CasePage(
            row=row, budget=0.1,
            chance=self.text(f"a benign account shows so much at most {odds}"), signals=signals, hours=hours,
            atlas=atlas, owasp=owasp,
            sentence=self.text(
                f"Between 5 and 11 January 2026, {'24 accounts' if several else 'one account'} sent {requests:,} "
                "requests of which 94 % had content that was asked once and never again, in no conversation."
            ),
            observed=[
                self.text("94 % of the content of a day was asked once; the cohort's median is 20 %."),
                self.text("69 % of requests were sent within a second of the answer before."),
            ],
            inferred=[self.text("That is how training data for another model is collected: a list, asked once each.")],
            indicators=[(self.text("metadata removed"), True), (self.text("volume above plan"), False)],
            counterfactual=self.text("would be no evidence with sweep_1d at or below 0.35"),
            samples=[self.text("chatcmpl-8f3a91"), self.text("chatcmpl-8f3b02")],
            carried_by=[("key", name_of(9000 + i)[:16], 0.81), ("system", name_of(9500 + i)[:16], 0.93)],
            members=members if several else [],
            shared=[self.text("one client and one set of parameters"), self.text("one system prompt")] * several,
            history=[
                Event(time=opened, what="opened", log_e=log_e, requests=requests // 3),
                Event(time=opened + HOUR, what="note", by=self.text("ana@example.org"), text=self.text("asked sales")),
                Event(time=opened + 9 * HOUR, what="updated", log_e=log_e + 1, requests=requests),
            ],
            related=[], alike=[], exposure=self.exposure_of(hours),
            steps=[
                self.text("Read the sample requests: is it one template filled with a public data set?"),
                self.text("Ask whether it is a first bulk import of a new customer."),
            ],
            runbook=f"https://wiki.example/runbook.md#{pattern}" if not self._hostile else self.text("x"),
            alert=msgspec.Raw(encode(alert)), hidden_by=[], version=0,
        )  # fmt: skip

    def queue(self, ask: Ask, person: str = "") -> Queue:
        rows = [page.row for page in self.pages.values()]
        rows = [
            row
            for row in rows
            if (ask.state == "all" or row.state == ask.state)
            and (not ask.unjudged or row.verdict in ("", "withdrawn"))
            and (not ask.assignee or row.assignee == ask.assignee)
            and (not ask.pattern or row.pattern == ask.pattern)
            and (not ask.severity or row.severity == ask.severity)
            and (not ask.account or ask.account in self._accounts(row.case))
        ]
        by = {"rank": lambda r: -r.rank, "age": lambda r: r.opened, "changed": lambda r: -r.updated}[ask.order]
        rows.sort(key=by)
        start = int(ask.after or 0)
        end = start + ask.limit
        return Queue(rows[start:end], len(rows), str(end) if end < len(rows) else "")

    def _accounts(self, case: str) -> list[str]:
        page = self.pages[case]
        return [one.account for one in page.members] or [page.row.account]

    def case(self, case: str, person: str = "") -> CasePage:
        if case not in self.pages:
            raise Unknown(f"no case {case}")
        return self.pages[case]

    def account(self, account: str) -> AccountPage:
        cases = [page.row for case, page in self.pages.items() if account in self._accounts(case)]
        if not cases:
            raise Unknown(f"no account {account}")
        hours = self.hours(3)
        kinds = ("key", "user", "client", "wrapper", "system", "address", "payment", "model")
        return AccountPage(
            account=account, name=cases[0].name, cohort=self.text("paid plans"), first=hours[0].time,
            last=hours[-1].time, hours=hours, exposure=self.exposure_of(hours), cases=cases,
            shares=[
                Share(kind=k, value=self.text(name_of(i)[:16]), requests=900 - i, share=0.9 / (i + 1), accounts=1 + i)
                for i, k in enumerate(kinds)
            ],
            percentiles=[
                Percentile(name="sweep_1d", meaning=self.text("new"), unit="share", value=0.94, percentile=99.2),
                Percentile(name="rate_1h", meaning=self.text("rate"), unit="1/s", value=1250.0, percentile=71.0),
            ],
            near=[
                Near(pattern="extraction", log_e=9.3, bar=6.9, held=self.text("")),
                Near(pattern="scraping", log_e=2.1, bar=6.9, held=self.text("the budget asks for 9.4")),
            ],
            allowed=[one for one in self.entries if account in one.accounts],
        )  # fmt: skip

    def campaign(self, case: str) -> CampaignPage:
        page = self.case(case)
        if not page.members:
            raise Unknown(f"case {case} is of one account")
        prints = [
            Share(kind="client", value=self.text(name_of(1)[:16]), requests=20_000, share=1.0, accounts=26),
            Share(kind="system", value=self.text(name_of(2)[:16]), requests=18_000, share=0.8, accounts=24),
            Share(kind="payment", value=self.text(name_of(3)[:16]), requests=4_000, share=0.3, accounts=8),
        ]
        ties = [(m, f) for f in range(3) for m in range(len(page.members)) if self._draw.random() < (1, 0.8, 0.3)[f]]
        others = [page.row for page in self.pages.values() if page.members and page.row.case != case]
        return CampaignPage(row=page.row, members=page.members, fingerprints=prints, ties=ties, pools=others[:1])

    def find(
        self, text: str, kind: str = "", since: float | None = None, until: float | None = None, limit: int = 100
    ) -> Sequence[Found]:
        found = []
        for case, page in self.pages.items():
            if case.startswith(text) and kind in ("", "case"):
                found.append(self._found("case", case, page))
            found += [
                self._found("account", one, page)
                for one in self._accounts(case)
                if (one.startswith(text) or text.lower() in page.row.name.lower()) and kind in ("", "account")
            ]
        return found[:limit]

    def _found(self, kind: str, id: str, page: CasePage) -> Found:
        row = page.row
        return Found(
            kind=kind, id=id, name=row.name, by=self.text("id"), requests=row.requests, first=START, last=row.updated  # type: ignore[arg-type]
        )  # fmt: skip

    def exposure(self, accounts: Sequence[str], since: float | None = None, until: float | None = None) -> Exposure:
        return self.exposure_of(self.hours(3))

    def allowed(self) -> Sequence[Allowed]:
        return self.entries

    def covered(self, accounts: Sequence[str], pattern: str, case: str = "") -> Sequence[CaseRow]:
        if case:
            accounts, pattern = self._accounts(case), self.case(case).row.pattern
        rows = [page.row for page in self.pages.values() if page.row.pattern == pattern]
        return [row for row in rows if row.case == case or set(self._accounts(row.case)) <= set(accounts)]

    def behind(self) -> dict[str, int]:
        return {"siphonwatch.alerts.v1": 0, "siphonwatch.telemetry.v1": 1200}

    def reading(self) -> Reading:
        topics = [
            TopicReading(topic=topic, behind=behind, seconds=seconds, unreadable=unreadable, failed=failed)
            for topic, behind, seconds, unreadable, failed in (
                ("alerts", 0, 0.2, 0, 1), ("verdicts", 0, 0.2, 2, 0), ("telemetry", 1_200_000, 7300.0, 31, 0),
            )
        ]  # fmt: skip
        stepped = SteppedOver(
            topic="siphonwatch.alerts.v1", partition=3, offset=1048, sent=START + HOUR, bytes=40_961,
            why=self.text("OverflowError"),
        )  # fmt: skip
        trouble = self.text("cannot reach Kafka at kafka:9092: refused") if self._hostile else ""
        return Reading(trouble=trouble, topics=topics, stepped=[stepped])

    def act(self, act: Act, by: str) -> str:
        for case in act.cases:
            self.case(case)
        seen = {**act.versions, **({act.cases[0]: act.version} if act.version is not None else {})}
        if changed := [case for case, version in seen.items() if version != self.pages[case].version]:
            last = self.pages[changed[0]].history[-1]
            raise Overtaken(f"{last.by} decided {last.what} at 2026-01-06 10:00 ({last.text})")
        if act.kind == "verdict" and act.decision is None:
            raise ValueError("a verdict needs a decision")
        if act.kind == "allow-end" and act.entry not in [one.id for one in self.entries]:
            raise Unknown(f"no entry {act.entry}")
        self.acts.append((act, by))
        for case in act.cases:
            self._apply(case, act, by)
        if act.kind == "allow":
            self.entries.append(
                Allowed(
                    id=f"{len(self.entries):012x}", pattern=act.pattern, accounts=act.accounts, by=by, why=act.text,
                    case=(act.cases or [""])[0], until=act.until, ended=False, hides=0,
                )
            )  # fmt: skip
        if act.kind == "allow-end":
            self.entries = [
                msgspec.structs.replace(one, ended=True) if one.id == act.entry else one for one in self.entries
            ]
        return f"{act.kind}: {act.decision or act.assignee or act.text or 'done'}"

    def _apply(self, case: str, act: Act, by: str) -> None:
        page = self.pages[case]
        row = msgspec.structs.replace(page.row, version=page.version + 1)
        if act.kind == "verdict":
            row = msgspec.structs.replace(row, verdict=act.decision or "")
        elif act.kind == "undo":
            row = msgspec.structs.replace(row, verdict="withdrawn")
        elif act.kind == "assign":
            row = msgspec.structs.replace(row, assignee=act.assignee)
        elif act.kind == "snooze":
            row = msgspec.structs.replace(row, state="snoozed", snoozed_until=act.until)
        elif act.kind == "reopen":
            row = msgspec.structs.replace(row, state="open")
        event = Event(time=row.updated, what=act.kind, by=by, text=act.text)
        self.pages[case] = msgspec.structs.replace(
            page, row=row, history=[*page.history, event], version=page.version + 1
        )
