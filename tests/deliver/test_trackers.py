"""TheHive, IRIS and Jira keep one object a case, whatever dies or is repeated; their own clients read what we made."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from dfir_iris_client.alert import Alert as IrisAlerts
from dfir_iris_client.session import ClientSession
from jira import JIRA
from markdown_it import MarkdownIt
from sink_samples import grows_graver, life, told
from thehive4py import TheHiveApi
from thehive4py.errors import TheHiveError
from thehive4py.query.filters import Eq
from tool_doubles import Hive, Iris, JiraSite

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.sink_settings import Sink
from siphonwatch.streams.deliver.alert import AlertRecord
from siphonwatch.streams.deliver.make import check, make
from siphonwatch.streams.deliver.outcome import Outcome
from siphonwatch.streams.deliver.trackers.document import text_of
from siphonwatch.streams.deliver.trackers.jira import INDEX_SECONDS, Jira

KEY = "s3cret-key"
CLOSES = {"thehive": "Ignored", "iris": "Closed", "jira": "Done"}
KINDS = ("thehive", "iris", "jira-cloud", "jira-data-center")


class Desk:
    """A tool with a sink for it, both for any of `KINDS`."""

    def __init__(self, kind: str, **more: Any) -> None:
        self.kind, _, edition = kind.partition("-")
        self.tool: Any = {"thehive": Hive, "iris": Iris}.get(self.kind, lambda: JiraSite(edition == "cloud"))()
        self.more = dict(more)
        if edition:
            self.more |= {"project": "SEC", "edition": edition}
            self.more |= {"username": "bot@soc.example"} if edition == "cloud" else {}

    @property
    def settings(self) -> Settings:
        settings = Settings()
        settings.links.runbook = "https://wiki.example/runbook.md"
        settings.deliver.timeout = 5.0
        settings.sinks["desk"] = Sink(kind=self.kind, url=self.tool.url, token=KEY, **self.more)
        check(settings)
        return settings

    def sink(self) -> Any:
        """A receiver that knows of nothing, as after a start."""
        receiver = make(self.settings, "desk").receiver
        if isinstance(receiver, Jira):
            receiver._believed = 0.0
        return receiver

    async def tell(self, *alerts: AlertRecord, sink: Any = None) -> list[Outcome]:
        receiver = sink or self.sink()
        try:
            return [await receiver.deliver(alert) for alert in alerts]
        finally:
            await receiver.close()

    def objects(self) -> list[dict[str, Any]]:
        return list((self.tool.issues if self.kind == "jira" else self.tool.alerts).values())

    def comments(self) -> list[str]:
        """Texts of all comments."""
        if self.kind == "jira":
            return [text_of(one["body"]) for issue in self.objects() for one in issue["fields"]["comment"]["comments"]]
        return [one.get("message") or one["comment_text"] for some in self.tool.comments.values() for one in some]

    def texts(self) -> list[str]:
        """Title and description of each object."""
        if self.kind == "jira":
            return [text_of(one["fields"][name]) for one in self.objects() for name in ("summary", "description")]
        names = ("title", "description") if self.kind == "thehive" else ("alert_title", "alert_description")
        return [one[name] for one in self.objects() for name in names]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def whole(account: str = "org-7") -> list[AlertRecord]:
    return [told(finding) for finding in grows_graver(account)]


async def test_a_case_is_one_object_made_updated_and_commented_on_when_it_closes(kind: str) -> None:
    desk = Desk(kind)
    async with desk.tool:
        outcomes = await desk.tell(*whole())
        assert [outcome.verdict for outcome in outcomes] == ["delivered"] * 3
        assert len(desk.objects()) == 1 and len(desk.comments()) == 2
        assert "The case closed" in desk.comments()[-1] and "medium" in desk.texts()[1]
        (one,) = desk.objects()
        if desk.kind == "thehive":
            assert (one["severity"], one["status"], one["sourceRef"]) == (3, "New", whole()[0].case)
            assert one["observables"] == [{"dataType": "other", "data": "org-7", "tags": ["account"]}]
        elif desk.kind == "iris":
            assert (one["alert_severity_id"], one["alert_status_id"], one["alert_owner_id"]) == (5, 2, None)
        else:
            assert "severity-high" in one["fields"]["labels"] and "severity-medium" not in one["fields"]["labels"]
            assert one["fields"]["status"]["name"] == "To Do"


async def test_with_on_close_the_object_ends_with_its_case_unless_an_analyst_ended_it(kind: str) -> None:
    desk = Desk(kind, on_close=CLOSES[kind.partition("-")[0]])
    async with desk.tool:
        opened, _, closed = whole()
        await desk.tell(opened)
        (done,) = await desk.tell(closed)
        assert done.verdict == "delivered" and ("closed as" in done.detail or "transition" in done.detail)
        (again,) = await desk.tell(closed)
        assert again.verdict == "delivered" and "already" in again.detail
        assert len(desk.comments()) == 1


async def test_every_alert_twice_by_another_deliverer_each_time_makes_nothing_twice(kind: str) -> None:
    desk = Desk(kind)
    async with desk.tool:
        for alert in [one for one in whole() for _ in range(3)]:
            assert [outcome.verdict for outcome in await desk.tell(alert)] == ["delivered"]
        assert len(desk.objects()) == 1 and len(desk.comments()) == 2


async def test_killed_between_making_and_remembering_the_object_is_found_again(kind: str) -> None:
    desk = Desk(kind)
    async with desk.tool:
        creating = ("/api/v1/alert", "/alerts/add", "/issue")
        desk.tool.lose = lambda request: request.path.endswith(creating)
        (lost,) = await desk.tell(whole()[0])
        assert lost.verdict == "failed"
        desk.tool.lose = lambda request: False
        outcomes = await desk.tell(*whole())
        assert [outcome.verdict for outcome in outcomes] == ["delivered"] * 3
        assert len(desk.objects()) == 1 and len(desk.comments()) == 2


async def test_a_lost_answer_to_a_comment_leaves_one_comment(kind: str) -> None:
    desk = Desk(kind)
    async with desk.tool:
        opened, updated, _ = whole()
        await desk.tell(opened)
        desk.tool.lose = lambda request: (
            "comment" in request.path and request.method == "POST" and "list" not in request.path
        )
        sink = desk.sink()
        assert (await sink.deliver(updated)).verdict == "failed"
        desk.tool.lose = lambda request: False
        assert (await desk.tell(updated, sink=sink))[0].verdict == "delivered"
        assert len(desk.comments()) == 1


async def test_an_update_without_an_object_makes_it_and_a_closing_without_one_does_not(kind: str) -> None:
    desk = Desk(kind)
    async with desk.tool:
        _, updated, closed = whole()
        assert "none to close" in (await desk.tell(told(life("org-8")[-1])))[0].detail
        assert desk.objects() == []
        await desk.tell(updated, closed)
        assert len(desk.objects()) == 1 and len(desk.comments()) == 1


@pytest.mark.parametrize(
    ("answer", "verdict", "wait"),
    [
        (lambda: web.Response(status=401, text="who?"), "misconfigured", None),
        (lambda: web.Response(status=403), "misconfigured", None),
        (lambda: web.Response(status=404), "misconfigured", None),
        (lambda: web.Response(status=409), "failed", None),
        (lambda: web.Response(status=422, text="no"), "refused", None),
        (lambda: web.Response(status=429, headers={"Retry-After": "17"}), "failed", 17.0),
        (lambda: web.Response(status=503, headers={"Retry-After": "9"}), "failed", 9.0),
        (lambda: web.Response(status=500), "failed", None),
        (lambda: web.Response(status=302, headers={"Location": "/login"}), "misconfigured", None),
        (lambda: web.Response(text="<html>login</html>"), "misconfigured", None),
        (lambda: web.json_response({"odd": 1}), "misconfigured", None),
        (lambda: web.json_response([3]), "misconfigured", None),
        (lambda: web.json_response({"data": {"alerts": [{}]}, "issues": [{}]}), "misconfigured", None),
    ],
)  # fmt: skip
async def test_errors_have_the_outcomes_of_any_sink(
    kind: str, answer: Callable[[], web.Response], verdict: str, wait: float | None
) -> None:
    desk = Desk(kind)
    async with desk.tool:
        desk.tool.fault = lambda request: answer()
        (outcome,) = await desk.tell(whole()[0])
        assert (outcome.verdict, outcome.retry_after) == (verdict, wait), outcome
        assert KEY not in outcome.detail and desk.tool.url not in outcome.detail


async def test_a_tool_that_does_not_answer_is_tried_again_and_one_with_another_key_is_for_a_person(kind: str) -> None:
    desk = Desk(kind)
    async with desk.tool:
        settings = desk.settings
        settings.sinks["desk"].token = "other"
        receiver = make(settings, "desk").receiver
        assert (await receiver.deliver(whole()[0])).verdict == "misconfigured"
        await receiver.close()
        gone = desk.sink()
    assert (await desk.tell(whole()[0], sink=gone))[0].verdict == "failed"


HOSTILE = (
    "[x](http://evil.example) <script>alert(1)</script> {html}h1{html} @bob [~admin] !http://e.example/i.png! \r\n* `"
)


async def test_nothing_that_an_alert_says_becomes_markup_a_link_or_a_mention(kind: str) -> None:
    desk = Desk(kind)
    async with desk.tool:
        alert = told(
            life("org-7")[0], accounts=[HOSTILE, "org|-7"], counterfactual=HOSTILE, shared=[HOSTILE], pattern=HOSTILE
        )
        (outcome,) = await desk.tell(alert)
        assert outcome.verdict == "delivered", outcome
        for text in desk.texts():
            assert "http://evil" not in text and "\r" not in text
        title, body = desk.texts()
        assert "\n" not in title
        if kind == "jira-cloud":
            return  # `JiraSite` takes documents of texts without marks alone: no part of a text is more than text
        if kind == "jira-data-center":
            for found in ("[", "{html", "@bob", "!http", "<", "* "):
                assert found not in body.replace("{{", "").replace("\n* ", "\n"), found
            return
        shown = MarkdownIt("commonmark", {"html": True}).enable("table").render(body)
        tags = re.findall(r"<(/?[a-z0-9]+)[^>]*>", shown)
        assert {tag.strip("/") for tag in tags} <= {"p", "code", "ul", "li"}, shown
        assert "@" not in re.sub(r"(?<!\\)`[^`]*`", "", body), "a mention outside of code"


async def test_texts_of_any_length_fit(kind: str) -> None:
    desk = Desk(kind, body="{{ message * 1000 }}", title="{{ title * 100 }}")
    async with desk.tool:
        (outcome,) = await desk.tell(told(life("org-7")[0], accounts=["*&<" * 30 + str(i) for i in range(3000)]))
        assert outcome.verdict == "delivered", outcome
        assert len(desk.texts()[1]) <= 32_767


async def test_thehive_s_client_finds_and_judges_what_we_made_and_a_reference_is_taken_once() -> None:
    desk = Desk("thehive")
    async with desk.tool:
        await desk.tell(*whole()[:2])
        case = whole()[0].case

        def use() -> None:
            hive = TheHiveApi(desk.tool.url, apikey=KEY, max_retries=0)
            (alert,) = hive.alert.find(filters=Eq("sourceRef", case) & Eq("source", "siphonwatch"))
            assert alert["severity"] == 3 and alert["tags"][:2] == ["siphonwatch", "extraction"]
            assert [one["message"] for one in hive.alert.find_comments(alert["_id"])] == desk.comments()
            hive.alert.update(alert["_id"], {"status": "FalsePositive"})
            assert hive.alert.get(alert["_id"])["stage"] == "Closed"
            with pytest.raises(TheHiveError, match="CreateError"):
                hive.alert.create({
                    "type": "siphonwatch", "source": "siphonwatch", "sourceRef": case, "title": "t", "description": "d",
                })  # fmt: skip
            hive.session.close()

        await asyncio.to_thread(use)


async def test_in_thehive_comments_go_to_the_case_that_analysts_made_of_the_alert() -> None:
    desk = Desk("thehive", on_close="Ignored")
    async with desk.tool:
        opened, updated, closed = whole()
        await desk.tell(opened)
        (alert,) = desk.objects()
        alert |= {"status": "Imported", "stage": "Imported", "caseId": "~99"}
        await desk.tell(updated, closed)
        assert len(desk.tool.comments["~99"]) == 2 and alert["status"] == "Imported"


async def test_iris_s_client_reads_what_we_made_and_a_part_of_a_reference_is_no_match() -> None:
    desk = Desk("iris")
    async with desk.tool:
        opened, updated, _ = whole()
        await desk.tell(opened)
        desk.tool.alerts[2] = desk.tool.alerts[1] | {"alert_id": 2, "alert_source_ref": opened.case + "ff"}
        await desk.tell(updated)
        assert list(desk.tool.comments) == [1]

        def use() -> None:
            session = ClientSession(apikey=KEY, host=desk.tool.url, ssl_verify=False)
            found = IrisAlerts(session).filter_alerts(alert_source="siphonwatch").get_data()["alerts"]
            assert [one["alert_source_ref"] for one in found] == [opened.case, opened.case + "ff"]
            assert found[0]["severity"]["severity_name"] == "High"
            assert IrisAlerts(session).update_alert(1, {"alert_resolution_status_id": 1}).is_success()

        await asyncio.to_thread(use)


@pytest.mark.parametrize("edition", ["cloud", "data-center"])
async def test_jira_s_client_finds_what_we_made(edition: str) -> None:
    desk = Desk(f"jira-{edition}")
    async with desk.tool:
        await desk.tell(*whole()[:2])

        def use() -> None:
            login: dict[str, Any] = {"token_auth": KEY}
            if edition == "cloud":
                login = {"basic_auth": ("bot@soc.example", KEY), "options": {"rest_api_version": "3"}}
            site = JIRA(desk.tool.url, max_retries=0, **login)
            search = site.enhanced_search_issues if edition == "cloud" else site.search_issues
            wanted = f'project = "SEC" AND labels = "siphonwatch-{whole()[0].case}"'
            found = search(wanted, **({"use_post": True} if edition == "cloud" else {}))
            assert [issue.key for issue in found] == ["SEC-1"]
            assert found[0].fields.summary == "Model extraction by a sweep of prompts: org-7"
            assert len(site.comments("SEC-1")) == 1
            site.close()

        await asyncio.to_thread(use)


class Time:
    """Time that passes in pauses only, at the end of which Jira's index is up to date."""

    def __init__(self, site: JiraSite) -> None:
        self.now, self.pauses, self._site = 100.0, [], site  # type: ignore[var-annotated]

    def __call__(self) -> float:
        return self.now

    async def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        self._site.unindexed.clear()


async def test_an_issue_that_jira_s_index_does_not_know_yet_is_waited_for_and_not_made_again() -> None:
    desk = Desk("jira-cloud")
    async with desk.tool:
        desk.tool.index_lags = True
        opened, updated, _ = whole()

        def started(clock: Time) -> Jira:
            poster = desk.sink()._poster
            return Jira(desk.settings, "desk", poster, clock, clock.pause)

        time = Time(desk.tool)
        first = started(time)
        assert (await first.deliver(opened)).verdict == "delivered"
        assert time.pauses == [INDEX_SECONDS], "an issue of before the start may not be in the index"
        assert (await first.deliver(updated)).verdict == "delivered", "known without a search"
        await first.close()
        assert desk.tool.unindexed == {"SEC-1"}

        again = started(Time(desk.tool))
        assert (await again.deliver(updated)).detail == "updated" and len(desk.comments()) == 1
        desk.tool.lose = lambda request: request.path.endswith("/issue")
        other = told(life("org-9")[0])
        assert (await again.deliver(other)).verdict == "failed"
        desk.tool.lose = lambda request: False
        assert (await again.deliver(other)).detail == "was there already"
        await again.close()
        assert len(desk.objects()) == 2


async def test_an_issue_that_another_deliverer_just_made_is_waited_for_when_its_partition_moves() -> None:
    desk = Desk("jira-cloud")
    async with desk.tool:
        desk.tool.index_lags = True
        opened, updated, _ = whole()
        assert [one.verdict for one in await desk.tell(opened)] == ["delivered"]
        clock = Time(desk.tool)
        other = Jira(desk.settings, "desk", desk.sink()._poster, clock, clock.pause)
        clock.now += INDEX_SECONDS
        other.took()
        assert (await other.deliver(updated)).detail == "updated" and clock.pauses == [INDEX_SECONDS]
        await other.close()
        assert len(desk.objects()) == 1


async def test_jira_s_complaints_about_the_project_are_the_sink_s_fault_and_a_missing_transition_holds_nothing_up() -> (
    None
):
    desk = Desk("jira-cloud", issue_type="Incident", on_close="Resolved")
    async with desk.tool:
        assert (await desk.tell(whole()[0]))[0].verdict == "misconfigured"
        desk.more["issue_type"] = "Task"
        outcomes = await desk.tell(*whole())
        assert outcomes[-1].verdict == "delivered" and "there is no transition Resolved" in outcomes[-1].detail


async def test_an_issue_that_was_deleted_is_made_anew_by_what_comes_next() -> None:
    desk = Desk("jira-cloud")
    async with desk.tool:
        sink = desk.sink()
        await sink.deliver(whole()[0])
        desk.tool.issues.clear()
        assert (await desk.tell(whole()[1], sink=sink))[0].detail == "made SEC-1"


async def test_iris_without_the_wanted_status_says_which_there_are() -> None:
    desk = Desk("iris", on_close="Done")
    async with desk.tool:
        outcome = (await desk.tell(*whole()))[-1]
        assert (
            outcome.verdict == "misconfigured" and "IRIS has no status 'Done': there are unspecified" in outcome.detail
        )
