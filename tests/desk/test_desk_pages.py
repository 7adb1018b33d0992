"""The desk's pages over invented cases: what stands on each, how decisions are taken, and that two people at once are
told of each other.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import threading
from html import unescape
from html.parser import HTMLParser

import pytest
from desk_client import Clock, Visit, visit
from desk_double import START, Double

from siphonwatch.streams.desk.views import Act, NotSent

VOID = {"meta", "link", "input", "br", "img"}


class Checker(HTMLParser):
    """Every element that opens closes, in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag


def places(double: Double) -> list[str]:
    """Every page of the double's cases."""
    found = ["/", "/?state=all&order=age", "/allow", "/audit", "/keys", "/reading", "/search", "/search?q=a"]
    for case, page in double.pages.items():
        found += [f"/case/{case}", f"/case/{case}/dossier", f"/account/{page.row.account}", f"/allow?case={case}"]
        found += [f"/campaign/{case}"] if page.members else []
    return found


def test_every_page_is_well_formed() -> None:
    async def test(v: Visit) -> None:
        for place in places(v.double):
            answer, text = await v.get(place)
            assert answer.status == 200, (place, text[:500])
            assert Checker(text).open == [], place

    visit(test)


def test_the_queue_is_in_order_and_shows_cases_that_belong_together_beside_each_other() -> None:
    async def test(v: Visit) -> None:
        _, text = await v.get("/?limit=500")
        shown = re.findall(r'<a class="open" href="/case/(\w+)"', text)
        ranked = sorted(v.double.pages.values(), key=lambda page: -page.row.rank)
        assert shown == [page.row.case for page in ranked]
        assert text.count("2 cases that belong together") == 1
        _, text = await v.get("/?order=age&limit=500")
        oldest = min(v.double.pages.values(), key=lambda page: page.row.opened)
        assert re.findall(r'<a class="open" href="/case/(\w+)"', text)[0] == oldest.row.case

    visit(test)


@pytest.mark.parametrize(
    ("asked", "holds"),
    [
        ("severity=critical", lambda row: row.severity == "critical"),
        ("pattern=campaign", lambda row: row.pattern == "campaign"),
        ("mine=1", lambda row: row.assignee == "ana"),
        ("unjudged=1", lambda row: not row.verdict),
        ("state=snoozed", lambda row: row.state == "snoozed"),
    ],
)
def test_a_filter_is_a_link_that_shows_what_it_says(asked: str, holds: object) -> None:
    async def test(v: Visit) -> None:
        first, second, third = list(v.double.pages)[:3]
        await v.post("/decide", {"kind": "assign", "cases": first, "to": "me"})
        await v.post("/decide", {"kind": "verdict", "cases": second, "decision": "suspicious"})
        await v.post("/decide", {"kind": "snooze", "cases": third, "hours": "24"})
        _, text = await v.get("/?" + asked)
        shown = set(re.findall(r'<a class="open" href="/case/(\w+)"', text))
        state = "snoozed" if "state" in asked else "open"
        wanted = {c for c, p in v.double.pages.items() if holds(p.row) and p.row.state == state}  # type: ignore[operator]
        assert shown == wanted and wanted
        assert 'aria-current="true"' in text

    visit(test)


def test_pages_of_a_long_queue_follow_each_other() -> None:
    async def test(v: Visit) -> None:
        seen: list[str] = []
        place = "/?limit=4"
        while place:
            _, text = await v.get(place)
            seen += re.findall(r'<a class="open" href="/case/(\w+)"', text)
            found = re.search(r'href="([^"]+)" rel="next"', text)
            place = unescape(found[1]) if found else ""
        assert sorted(seen) == sorted(v.double.pages)

    visit(test)


def test_a_case_says_what_was_observed_apart_from_what_is_inferred() -> None:
    async def test(v: Visit) -> None:
        case, page = next((c, p) for c, p in v.double.pages.items() if p.members)
        text = unescape((await v.get(f"/case/{case}"))[1])
        observed, inferred = text.index("<h2>Observed"), text.index("<h2>Inferred")
        for line in page.observed:
            assert observed < text.index(line) < inferred
        for line in page.inferred:
            assert inferred < text.index(line)
        for part in (page.sentence, "by chance", *page.samples, *page.steps, *page.shared, "AML.T0024"):
            assert part in text, part
        assert f'href="/campaign/{case}"' in text and page.runbook in text

    visit(test)


def test_a_verdict_is_taken_and_can_be_taken_back() -> None:
    async def test(v: Visit) -> None:
        case = next(iter(v.double.pages))
        fields = {"kind": "verdict", "cases": case, "decision": "false-positive", "text": "an import", "version": "0"}
        answer, _ = await v.post("/decide", fields, f"/case/{case}")
        assert (answer.status, answer.headers["Location"]) == (303, f"/case/{case}")
        act, by = v.double.acts[-1]
        assert (by, act.kind, act.cases, act.decision, act.text) == (
            "ana", "verdict", [case], "false-positive", "an import",
        )  # fmt: skip
        _, text = await v.get(f"/case/{case}")
        assert "verdict: false-positive" in text and "Take “false alarm” back" in text
        _, again = await v.get(f"/case/{case}")
        assert "verdict: false-positive" not in again  # what was done is said once
        await v.post("/decide", {"kind": "undo", "cases": case}, f"/case/{case}")
        assert v.double.acts[-1][0].kind == "undo"

    visit(test)


def test_whoever_was_overtaken_reads_by_whom_and_finds_the_form_as_they_left_it() -> None:
    async def test(v: Visit) -> None:
        case = next(iter(v.double.pages))
        await v.post("/decide", {"kind": "note", "cases": case, "text": "I am on it", "version": "0"})
        fields = {"kind": "verdict", "cases": case, "decision": "true-positive", "text": "my words", "version": "0"}
        answer, text = await v.post("/decide", fields, f"/case/{case}")
        assert answer.status == 409
        assert "ana decided note" in text and "I am on it" in text
        assert ">my words</textarea>" in text
        assert re.search(r'value="true-positive" checked', text)
        assert text.count('name="version" value="1"') >= 2  # sent again, it is about what is there now
        assert not [act for act, _ in v.double.acts if act.kind == "verdict"]

    visit(test)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"kind": "verdict"}, "choose a verdict"),
        ({"kind": "note"}, "write a note"),
        ({"kind": "merge"}, "into which case"),
        ({"kind": "split"}, "choose the accounts"),
        ({"kind": "snooze"}, "until when"),
        ({"kind": "snooze", "until": "2020-01-01T00:00"}, "in the past"),
        ({"kind": "snooze", "until": "soon"}, "2026-01-31"),
    ],
)
def test_a_form_that_is_not_complete_says_what_is_missing(fields: dict[str, str], says: str) -> None:
    async def test(v: Visit) -> None:
        case = next(iter(v.double.pages))
        answer, text = await v.post("/decide", {**fields, "cases": case}, f"/case/{case}")
        assert answer.status == 422 and says in text
        assert v.double.acts == []

    visit(test)


def test_several_cases_are_decided_at_once() -> None:
    async def test(v: Visit) -> None:
        cases = list(v.double.pages)[:3]
        fields = [("kind", "verdict"), ("decision", "benign-expected"), ("text", "a class"), ("back", "/?state=all")]
        answer, _ = await v.post("/decide", [*fields, *(("cases", case) for case in cases)], "/")
        assert (answer.status, answer.headers["Location"]) == (303, "/?state=all")
        assert v.double.acts[-1][0].cases == cases
        answer, text = await v.post("/decide", [("kind", "split"), *(("cases", case) for case in cases)], "/")
        assert answer.status == 422 and "on several cases at once" in text

    visit(test)


def test_several_cases_of_which_somebody_decided_on_one_meanwhile_are_left_as_they_are() -> None:
    async def test(v: Visit) -> None:
        first, second, third = list(v.double.pages)[:3]
        _, text = await v.get("/")
        sent = re.findall(r'name="versions" value="(\w+:\d+)"', text)
        assert f"{first}:0" in sent and len(sent) == text.count('name="cases"')
        await v.post("/decide", {"kind": "verdict", "decision": "true-positive", "cases": second})
        bulk = [("kind", "verdict"), ("decision", "test"), *(("versions", one) for one in sent)]
        answer, text = await v.post("/decide", [*bulk, ("cases", first), ("cases", second)])
        assert answer.status == 409 and "ana decided verdict" in text and len(v.double.acts) == 1
        answer, _ = await v.post("/decide", [*bulk, ("cases", second)])
        assert answer.status == 409
        answer, _ = await v.post("/decide", [*bulk, ("cases", first), ("cases", third)])
        assert answer.status == 303 and v.double.acts[-1][0].versions == {first: 0, third: 0}
        _, text = await v.get("/?state=all")
        assert f'value="{second}:1"' in text and f">{second}</bdi>" in text, "ids are shown whole"

    visit(test)


def test_cases_are_merged_into_one_of_those_that_were_chosen() -> None:
    async def test(v: Visit) -> None:
        cases = list(v.double.pages)[:3]
        fields = [("kind", "merge"), ("of", cases[1]), *(("cases", case) for case in cases)]
        assert (await v.post("/decide", fields))[0].status == 303
        act = v.double.acts[-1][0]
        assert (act.cases, act.of) == ([cases[0], cases[2]], cases[1])

    visit(test)


def test_accounts_are_split_off_and_cases_merged() -> None:
    async def test(v: Visit) -> None:
        case, page = next((c, p) for c, p in v.double.pages.items() if p.members)
        taken = [one.account for one in page.members[:2]]
        fields = [("kind", "split"), ("cases", case), *(("accounts", one) for one in taken)]
        assert (await v.post("/decide", fields, f"/case/{case}"))[0].status == 303
        assert v.double.acts[-1][0].accounts == taken
        other = next(one for one in v.double.pages if one != case)
        assert (await v.post("/decide", {"kind": "merge", "cases": case, "of": other}))[0].status == 303
        assert v.double.acts[-1][0].of == other

    visit(test)


def test_an_allow_entry_shows_what_it_would_have_hidden_before_it_is_made() -> None:
    async def test(v: Visit) -> None:
        page = next(iter(v.double.pages.values()))
        fields = {
            "account": page.row.account, "pattern": page.row.pattern, "why": "a partner", "until": "2026-03-01T00:00",
        }  # fmt: skip
        answer, text = await v.post("/allow", {**fields, "step": "preview"})
        assert answer.status == 200 and "would have hidden alerts of 1 case" in text
        assert f'href="/case/{page.row.case}"' in text and v.double.acts == []
        answer, _ = await v.post("/allow", {**fields, "step": "add"})
        act, _ = v.double.acts[-1]
        assert answer.status == 303 and (act.accounts, act.pattern, act.text) == (
            [page.row.account], page.row.pattern, "a partner",
        )  # fmt: skip
        answer, _ = await v.post("/allow/end", {"entry": "a1b2c3d4e5f6"})
        assert answer.status == 303 and v.double.acts[-1][0].entry == "a1b2c3d4e5f6"
        answer, text = await v.post("/allow", {**fields, "why": "", "step": "add"})
        assert answer.status == 422 and "needs an account or a case" in text and page.row.account in text

    visit(test)


def test_an_allow_entry_about_a_case_is_of_its_pattern_and_shows_what_it_alone_covers() -> None:
    async def test(v: Visit) -> None:
        case, page = next((c, p) for c, p in v.double.pages.items() if p.members)
        _, text = await v.get(f"/allow?case={case}&pattern=scraping")
        fields = [attrs for tag, attrs in Checker(text).seen if attrs.get("name") == "pattern"]
        assert [one["value"] for one in fields] == [page.row.pattern], "it cannot be chosen"
        assert f"({page.row.pattern}), and others" in text
        _, text = await v.get(f"/allow?account={page.members[0].account}&pattern={page.row.pattern}")
        assert "would have hidden alerts of 0 cases" in text, "its other accounts are not in the entry"
        everybody = ",".join(one.account for one in page.members)
        _, text = await v.get(f"/allow?account={everybody}&pattern={page.row.pattern}")
        assert "would have hidden alerts of 1 case" in text and f'href="/case/{case}"' in text

    visit(test)


def test_the_dossier_is_one_file_that_loads_nothing_and_holds_the_alert_with_its_hash() -> None:
    async def test(v: Visit) -> None:
        case, page = next((c, p) for c, p in v.double.pages.items() if p.members)
        answer, text = await v.get(f"/case/{case}/dossier?save")
        assert answer.headers["Content-Disposition"] == f'attachment; filename="siphonwatch-{case}.html"'
        seen = Checker(text).seen
        assert not {tag for tag, _ in seen} & {"script", "link", "img", "iframe", "form", "input", "button"}
        assert not [attrs for _, attrs in seen if "src" in attrs or "style" in attrs]
        digest = hashlib.sha256(bytes(page.alert)).hexdigest()
        assert digest in text and f"siphonwatch explain {case}-0 --exact" in text
        raw = unescape(text.split("<pre><bdi>")[1].split("</bdi></pre>")[0])
        assert hashlib.sha256(raw.encode()).hexdigest() == digest
        assert json.loads(raw)["subject"] == case

    visit(test)


def test_a_search_that_finds_one_thing_opens_it() -> None:
    async def test(v: Visit) -> None:
        case, page = next(iter(v.double.pages.items()))
        answer, _ = await v.get(f"/search?q={case}")
        assert (answer.status, answer.headers["Location"]) == (303, f"/case/{case}")
        answer, _ = await v.get(f"/search?q={page.row.account}")
        assert (answer.status, answer.headers["Location"]) == (303, f"/account/{page.row.account}")
        answer, text = await v.get("/search?q=nothing-like-that")
        assert answer.status == 200 and "Nothing is found" in text
        answer, text = await v.get("/search?q=a&since=yesterday")
        assert answer.status == 200 and "2026-01-31" in text
        assert (await v.get("/search?q=a&kind=rumour"))[0].status == 422

    visit(test)


@pytest.mark.parametrize("place", ["/case/0123456789abcdef", "/account/nobody", "/campaign/0123", "/nothing"])
def test_what_is_not_there_is_said_so(place: str) -> None:
    async def test(v: Visit) -> None:
        answer, text = await v.get(place)
        assert answer.status == 404 and "<h1>Not here</h1>" in text

    visit(test)


def test_a_queue_that_cannot_be_is_refused_and_an_unknown_field_ignored() -> None:
    async def test(v: Visit) -> None:
        assert (await v.get("/?order=mood"))[0].status == 400
        assert (await v.get("/?limit=100000"))[0].status == 400
        assert (await v.get("/?utm_source=mail"))[0].status == 200

    visit(test)


def test_who_did_what_is_listed_for_administrators() -> None:
    clock = Clock()
    clock.now = START + 86_400.0

    async def test(v: Visit) -> None:
        case = next(iter(v.double.pages))
        await v.post("/decide", {"kind": "note", "cases": case, "text": "seen", "version": "0"})
        await v.post("/decide", {"kind": "note", "cases": case, "text": "late", "version": "0"})
        _, text = await v.get("/audit")
        assert "overtaken" in text and "2026-01-06 00:00" in text
        kept = v.desk.audit.newest()
        assert [entry.outcome for entry in kept] == ["overtaken", "done"]
        assert all(entry.person == "ana" and entry.cases == [case] for entry in kept)

    visit(test, clock=clock)


def test_a_decision_that_takes_longer_than_a_question_may_is_waited_for_and_keeps_no_page(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("siphonwatch.streams.desk.web.desk.SECONDS", 2.0)
    double = Double()
    free, act = threading.Event(), double.act

    def slow(asked: Act, by: str) -> str:
        assert free.wait(60)
        return act(asked, by)

    double.act = slow  # type: ignore[method-assign]

    async def test(v: Visit) -> None:
        case = next(iter(v.double.pages))
        fields = {"kind": "note", "cases": case, "text": "slow"}
        waiting = [asyncio.create_task(v.post("/decide", fields, f"/case/{case}")) for _ in range(6)]
        done, _ = await asyncio.wait(waiting, timeout=3.0)
        assert not done, "it is not known yet what came of them"
        assert (await v.get("/"))[0].status == 200, "pages wait for no decision"
        free.set()
        assert {answer.status for answer, _ in await asyncio.gather(*waiting)} == {303}
        assert [entry.outcome for entry in v.desk.audit.newest()] == ["done"] * 6 and len(v.double.acts) == 6

    visit(test, double=double)


@pytest.mark.parametrize("error", [NotSent("the broker did not take it"), RuntimeError("the disk is full")])
def test_a_decision_that_failed_is_logged_too(error: Exception) -> None:
    double = Double()

    def broken(*_: object) -> str:
        raise error

    double.act = broken  # type: ignore[method-assign]

    async def test(v: Visit) -> None:
        case = next(iter(v.double.pages))
        answer, _ = await v.post("/decide", {"kind": "note", "cases": case, "text": "x"})
        assert answer.status == (503 if isinstance(error, NotSent) else 500)
        (entry,) = v.desk.audit.newest()
        assert (entry.person, entry.outcome, entry.cases) == ("ana", "failed", [case])

    visit(test, double=double)
