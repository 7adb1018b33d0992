"""Decisions from other tools become verdicts once: signed, on a known case, newer than what stands, and no echoes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry
from sink_samples import SECRET, life, prepare, records, send, told
from tool_doubles import Hive, Iris, JiraSite

from siphonwatch.streams.common.settings import Settings, SettingsError
from siphonwatch.streams.common.sink_settings import Sink
from siphonwatch.streams.common.tail import Tail
from siphonwatch.streams.contracts.alert import encode as encode_alert
from siphonwatch.streams.contracts.verdict import Verdict, decode, encode, judge
from siphonwatch.streams.deliver.feedback.book import CaseBook, Claim
from siphonwatch.streams.deliver.feedback.metrics import WEBHOOK, Metrics
from siphonwatch.streams.deliver.feedback.polls import claims
from siphonwatch.streams.deliver.feedback.service import Intake, Server, feedback, poll, pollable
from siphonwatch.streams.deliver.feedback.topics import NotSent
from siphonwatch.streams.deliver.make import make
from siphonwatch.streams.deliver.signature import keys, sign
from siphonwatch.streams.deliver.trackers import jira

NOW = 1_790_000_000.0
CASES = [life(f"org-{i}")[0] for i in range(3)]
CASE, OTHER = CASES[0].case, CASES[1].case


def book() -> CaseBook:
    known = CaseBook()
    for finding in CASES:
        known.alert(encode_alert(told(finding).event))
    return known


def claim(decision: str = "false-positive", at: float | None = NOW, **more: Any) -> Claim:
    return Claim(**({"case": CASE, "decision": decision, "by": "alice", "time": at} | more))


def test_a_decision_becomes_a_verdict_that_names_its_source_and_is_on_the_newest_alert() -> None:
    known = book()
    answer = known.weigh(claim(note="their crawler"), "thehive", NOW)
    assert answer.result == "taken" and answer.verdict is not None
    verdict = answer.verdict
    assert (verdict.by, verdict.decision, verdict.time, verdict.note) == (
        "alice (thehive)", "false-positive", NOW, "their crawler",
    )  # fmt: skip
    assert verdict.facts == judge(told(CASES[0]).event, "test", by="x", time=0.0).facts and verdict.alert == CASES[0].id
    assert decode(encode(verdict)) == verdict


def test_what_is_said_again_counts_once_also_after_a_restart_and_where_somebody_decided_otherwise_since() -> None:
    known = book()
    first = known.weigh(claim(), "thehive", NOW).verdict
    assert first is not None
    known.sent(first)
    assert known.weigh(claim(), "thehive", NOW + 60).result == "repeated"
    assert known.weigh(claim(), "iris", NOW + 60).result == "repeated", "an echo by another tool"
    later = judge(told(CASES[0]).event, "true-positive", by="bob", time=NOW + 100)
    for fresh in (known, book()):
        fresh.verdict(encode(first))
        fresh.verdict(encode(later))
        assert fresh.weigh(claim(), "thehive", NOW + 200).result == "repeated"
        assert fresh.weigh(claim(at=None), "thehive", NOW + 200).result == "repeated"
        assert fresh.weigh(claim("benign-expected"), "thehive", NOW + 200).result == "older"
        assert fresh.weigh(claim(at=NOW + 150), "thehive", NOW + 200).result == "taken", "decided anew"


def test_a_tool_whose_clock_is_ahead_does_not_overturn_who_decided_since() -> None:
    known = book()
    ahead = claim(at=NOW + 200)
    first = known.weigh(ahead, "thehive", NOW).verdict
    assert first is not None and first.time == NOW + 200
    known.sent(first)
    known.verdict(encode(judge(told(CASES[0]).event, "true-positive", by="bob", time=NOW + 50)))
    assert known.weigh(ahead, "thehive", NOW + 60).result == "repeated"


def test_a_duplicate_of_no_named_case_takes_nothing_from_one_that_names_it() -> None:
    known = book()
    known.verdict(encode(judge(told(CASES[0]).event, "duplicate", by="bob", time=NOW, of=OTHER)))
    assert known.weigh(claim("duplicate", at=NOW + 9), "thehive", NOW + 10).result == "repeated"
    other = known.weigh(claim("duplicate", at=NOW + 9, of=CASES[2].case), "thehive", NOW + 10)
    assert other.result == "taken"


@pytest.mark.parametrize("by", ["verdict", "closing"])
@pytest.mark.parametrize("late", [False, True])
def test_a_decision_after_an_erasure_does_not_write_the_name_again(by: str, late: bool) -> None:
    known = CaseBook() if late else book()
    if by == "verdict":
        blank = judge(told(CASES[0]).event, "true-positive", by="bob", time=NOW)
        known.verdict(encode(msgspec.structs.replace(blank, account="erased")))
    else:
        known.alert(encode_alert(told(life("org-0")[-1], accounts=["erased"]).event))
    if late:
        known.alert(encode_alert(told(CASES[0]).event))
    answer = known.weigh(claim(at=NOW + 9), "thehive", NOW + 10)
    assert answer.verdict is not None and answer.verdict.account == "erased"


def test_a_withdrawn_verdict_stands_in_nobody_s_way() -> None:
    known = book()
    known.verdict(encode(judge(told(CASES[0]).event, "true-positive", by="bob", time=NOW + 100)))
    gone = msgspec.structs.replace(judge(told(CASES[0]).event, "test", by="bob", time=NOW + 200), decision="withdrawn")
    known.verdict(encode(gone))
    assert known.weigh(claim(), "thehive", NOW).result == "taken"


@pytest.mark.parametrize(
    ("more", "result", "said"),
    [
        ({"case": "0" * 16}, "unknown", "no alert of case 0000000000000000"),
        ({"case": "x"}, "unusable", "16 hexadecimal digits"),
        ({"case": CASE + "\n"}, "unusable", "16 hexadecimal digits"),
        ({"decision": "guilty"}, "unusable", "decision is one of"),
        ({"decision": "withdrawn"}, "unusable", "decision is one of"),
        ({"time": NOW + 1000}, "unusable", "not in the future"),
        ({"time": -1.0}, "unusable", "not in the future"),
        ({"of": OTHER}, "unusable", "only a duplicate points to another case"),
        ({"decision": "duplicate", "of": CASE}, "unusable", "only a duplicate points to another case"),
        ({"decision": "duplicate", "of": "f" * 16}, "unknown", "no alert of case ffffffffffffffff"),
        ({"decision": "duplicate", "of": OTHER}, "taken", ""),
        ({"by": "\u202e<b>" + "x" * 500, "note": "y" * 9000}, "taken", ""),
        ({"by": " "}, "taken", ""),
    ],
)
def test_what_cannot_be_a_verdict_is_said_so(more: dict[str, Any], result: str, said: str) -> None:
    answer = book().weigh(claim(**more), "thehive", NOW)
    assert answer.result == result and said in answer.detail
    if answer.verdict is not None:
        assert decode(encode(answer.verdict)).by.endswith(" (thehive)") and "\u202e" not in answer.verdict.by


def test_a_test_alert_and_a_closing_are_no_case() -> None:
    known = CaseBook()
    known.alert(encode_alert(told(CASES[0], test=True).event))
    known.alert(encode_alert(told(life("org-9")[-1]).event))
    known.alert(b"junk")
    known.verdict(b"junk")
    assert len(known) == 0


class Post:
    """The receiver over HTTP, and what it sent."""

    def __init__(self) -> None:
        self.sent: list[Verdict] = []
        self.away = False
        self.known = True
        self.registry = CollectorRegistry()
        self.url = ""

    def send(self, verdict: Verdict) -> None:
        if self.away:
            raise NotSent("KafkaTimeoutError")
        self.sent.append(verdict)

    async def post(self, body: Any, id: str = "m1", at: float | None = None, secret: str = SECRET) -> tuple[int, Any]:
        raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
        stamp = int(time.time() if at is None else at)
        headers = {
            "webhook-id": id, "webhook-timestamp": str(stamp), "webhook-signature": sign(keys(secret), id, stamp, raw),
        }  # fmt: skip
        async with aiohttp.ClientSession() as session:
            async with session.post(f"{self.url}/v1/verdicts", data=raw, headers=headers) as answer:
                return answer.status, await answer.json()

    def count(self, result: str) -> float | None:
        labels = {"source": WEBHOOK, "result": result}
        return self.registry.get_sample_value("siphonwatch_feedback_decisions_total", labels)


@asynccontextmanager
async def receiver() -> AsyncIterator[Post]:
    settings = Settings()
    settings.feedback.port = 0
    settings.feedback.secret = SECRET
    post = Post()
    metrics = Metrics(post.registry)
    metrics.watch(WEBHOOK)
    server = Server(settings, Intake(book(), post.send, metrics), lambda: post.known, metrics, post.registry)
    await server.start()
    post.url = f"http://127.0.0.1:{server.port}"
    try:
        yield post
    finally:
        await server.stop()


GOOD = {"case": CASE, "decision": "true-positive", "by": "alice"}


async def test_a_signed_message_becomes_a_verdict_and_comes_twice_without_harm() -> None:
    async with receiver() as post:
        assert await post.post(GOOD) == (200, {"result": "taken", "detail": f"{CASE}: true-positive"})
        assert (await post.post(GOOD))[1]["result"] == "repeated"
        assert (await post.post(GOOD, id="m2"))[1]["result"] == "repeated"
        assert [verdict.by for verdict in post.sent] == ["alice (webhook)"]
        assert (post.count("taken"), post.count("repeated")) == (1, 2)


async def test_a_header_that_is_no_utf_8_is_forged_and_no_fault() -> None:
    async with receiver() as post:
        server, port = post.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(server, int(port))
        stamp = str(int(time.time())).encode()
        writer.write(
            b"POST /v1/verdicts HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nwebhook-id: \xff\r\nwebhook-timestamp: "
            + stamp + b"\r\nwebhook-signature: v1,QUFB\r\nConnection: close\r\n\r\n{}"
        )  # fmt: skip
        assert b" 401 " in (await reader.read()).splitlines()[0]
        writer.close()


async def test_what_is_not_signed_now_by_who_has_the_secret_is_refused() -> None:
    other = "whsec_" + "QUFB" * 8
    async with receiver() as post:
        for more in ({"secret": other}, {"at": time.time() - 400}, {"at": time.time() + 400}):
            status, said = await post.post(GOOD, **more)
            assert status == 401 and said["result"] == "forged"
        async with aiohttp.ClientSession() as session, session.post(f"{post.url}/v1/verdicts", json=GOOD) as answer:
            assert answer.status == 401
        assert post.sent == [] and post.count("forged") == 4


async def test_answers_say_what_is_wrong() -> None:
    async with receiver() as post:
        assert (await post.post(GOOD | {"case": "f" * 16}))[0] == 404
        assert (await post.post(GOOD | {"decision": "guilty"}))[0] == 400
        assert (await post.post(b"{"))[0] == 400
        assert (await post.post(GOOD | {"colour": 3}))[0] == 400
        assert (await post.post(b"[" * 30_000))[0] == 400
        post.known = False
        assert (await post.post(GOOD))[0] == 503
        async with aiohttp.ClientSession() as session:
            for path, status in (("/healthz", 200), ("/readyz", 503), ("/metrics", 200)):
                async with session.get(post.url + path) as answer:
                    assert answer.status == status
            async with session.post(f"{post.url}/v1/verdicts", data=b"x" * 100_000) as answer:
                assert answer.status == 413
        assert post.sent == []


async def test_while_kafka_is_away_the_sender_is_to_send_again_and_then_it_is_taken() -> None:
    async with receiver() as post:
        post.away = True
        status, said = await post.post(GOOD)
        assert (status, said["result"]) == (503, "unsent")
        post.away = False
        assert (await post.post(GOOD))[1]["result"] == "taken" and len(post.sent) == 1


async def polled(tool: Any, kind: str, decide: Callable[[], None], **more: Any) -> list[Claim]:
    """What a poll finds, of three cases that a sink put into a tool."""
    settings = Settings()
    async with tool:
        settings.sinks["desk"] = Sink(kind=kind, url=tool.url, token="s3cret-key", **more)
        sink: Any = make(settings, "desk").receiver
        if kind == "jira":
            sink._believed = 0.0
        for finding in CASES:
            assert (await sink.deliver(told(finding))).verdict == "delivered"
        before = await claims(sink, settings.sinks["desk"].decisions, time.time() - 60)
        assert before == [], "nothing was decided, and our own changes are none"
        decide()
        found = await claims(sink, settings.sinks["desk"].decisions, time.time() - 60)
        assert await claims(sink, settings.sinks["desk"].decisions, time.time() - 60) == found
        await sink.close()
        return found


async def test_thehive_s_decisions_on_alerts_and_cases_are_found_and_our_own_closing_is_none() -> None:
    hive = Hive()

    def decide() -> None:
        first, second, third = hive.alerts
        hive.judge(first, status="FalsePositive")
        hive.judge(second, by="siphonwatch@soc.example", status="Duplicate")
        hive.judge(third, status="Imported", caseId="~77")
        hive.cases["~77"] = {
            "_id": "~77", "status": "TruePositive", "_updatedAt": round(time.time() * 1000), "_updatedBy": "bob",
            "endDate": round(NOW * 1000),
        }  # fmt: skip

    found = await polled(hive, "thehive", decide, on_close="Duplicate")
    assert [(one.case, one.decision, one.by) for one in found] == [
        (CASES[0].case, "false-positive", "alice@soc.example"), (CASES[2].case, "true-positive", "bob"),
    ]  # fmt: skip
    assert found[1].time == NOW and found[0].time is not None


async def test_iris_s_resolutions_are_found_with_who_and_when() -> None:
    iris = Iris()
    found = await polled(
        iris, "iris", lambda: [iris.judge(2, alert_resolution_status_id=6), iris.judge(1, alert_status_id=6)] and None
    )
    assert [(one.case, one.decision, one.by) for one in found] == [(CASES[1].case, "benign-expected", "alice")]
    assert found[0].time is not None and abs(found[0].time - time.time()) < 300


@pytest.mark.parametrize("edition", ["cloud", "data-center"])
async def test_jira_s_resolutions_are_found_by_the_sink_s_words_and_our_own_transition_is_none(
    edition: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jira, "PAGE", 2)
    site = JiraSite(edition == "cloud")

    def decide() -> None:
        first, second, third = site.issues
        site.issues[first]["fields"]["labels"].insert(0, "siphonwatch-triage")
        site.resolve(first, "Won't Do", "carol")
        site.resolve(second, "Won't Do", "bot")
        site.resolve(third, "Done", "carol")

    more: dict[str, Any] = {"username": "bot@soc.example"} if edition == "cloud" else {}
    found = await polled(
        site, "jira", decide, edition=edition, project="SEC", on_close="Done",
        decisions={"Won't Do": "false-positive"}, **more,
    )  # fmt: skip
    assert [(one.case, one.decision, one.by) for one in found] == [(CASES[0].case, "false-positive", "Carol")]


def test_settings_that_leave_nothing_to_do_or_cannot_be_polled_are_refused() -> None:
    settings = Settings()
    with pytest.raises(SettingsError, match="nothing to listen to"):
        pollable(settings)
    settings.feedback.secret = "short"
    with pytest.raises(SettingsError, match=r"feedback.secret: .*whsec_"):
        pollable(settings)
    settings.feedback.secret = SECRET
    assert pollable(settings) == []
    settings.sinks["chat"] = Sink(kind="slack", url="https://a.example")
    assert pollable(settings) == []
    with pytest.raises(SettingsError, match=r"sinks.chat is of kind slack: only thehive, iris, jira"):
        pollable(settings, ["chat"])
    settings.sinks["hive"] = Sink(kind="thehive", url="https://a.example", token="k", decisions={"Other": "guilty"})
    with pytest.raises(SettingsError, match=r"sinks.hive: decisions: guilty: there are"):
        pollable(settings)
    closing: dict[str, Any] = {"kind": "thehive", "url": "https://a.example", "token": "k", "on_close": "Duplicate"}
    settings.sinks = {"hive": Sink(**closing)}
    with pytest.raises(SettingsError, match=r"sinks.hive: on_close: Duplicate means duplicate, which an analyst"):
        pollable(settings)
    settings.sinks = {"hive": Sink(**closing, decisions={"Duplicate": ""})}
    assert pollable(settings) == ["hive"]


async def test_a_tool_that_answers_oddly_or_not_is_asked_again_and_shown_as_failing() -> None:
    settings = Settings()
    settings.feedback.poll = 0.05
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.watch("hive")

    def failing() -> float:
        return registry.get_sample_value("siphonwatch_feedback_failing_seconds", {"source": "hive"}) or 0.0

    async with Hive() as hive:
        settings.sinks["hive"] = Sink(kind="thehive", url=hive.url, token="s3cret-key")
        answers = [
            lambda: web.Response(status=500),
            lambda: web.json_response([3]),
            lambda: web.json_response({"a": 1}),
        ]
        hive.fault = lambda request: answers[len(hive.calls) % 3]()
        intake = Intake(book(), lambda verdict: None, metrics)
        task = asyncio.create_task(poll(settings, "hive", intake, lambda: True, metrics))
        async with asyncio.timeout(300):
            while len(hive.calls) < 4 or not failing():  # noqa: ASYNC110 - of a server
                await asyncio.sleep(0.02)
            hive.fault = lambda request: None
            while failing():  # noqa: ASYNC110 - likewise
                await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.broker
async def test_from_a_tool_to_the_topic_once_also_after_a_restart(tansu: str, prefix: str) -> None:
    settings = Settings()
    settings.kafka.bootstrap, settings.topics.partitions = tansu, 2
    settings.topics.prefix = prefix
    settings.feedback.port, settings.feedback.poll = 0, 0.2
    await asyncio.to_thread(prepare, settings)
    await asyncio.to_thread(send, settings, records(CASES))

    def on_topic() -> list[Verdict]:
        with Tail.connect(settings, settings.topic("verdicts")) as tail:
            return [decode(value) for value in tail.history()]

    async with Hive() as hive:
        settings.sinks["hive"] = Sink(kind="thehive", url=hive.url, token="s3cret-key")
        sink = make(settings, "hive").receiver
        for finding in CASES:
            await sink.deliver(told(finding))
        await sink.close()
        for _ in range(2):
            stop = asyncio.Event()
            running = asyncio.create_task(feedback(settings, stop=stop))
            hive.judge(next(iter(hive.alerts)), status="FalsePositive")
            async with asyncio.timeout(300):
                while not await asyncio.to_thread(on_topic):  # noqa: ASYNC110 - a topic
                    await asyncio.sleep(0.2)
            await asyncio.sleep(1.0)
            stop.set()
            assert await running == 0
    (verdict,) = on_topic()
    assert (verdict.case, verdict.by) == (CASE, "alice@soc.example (hive)")
