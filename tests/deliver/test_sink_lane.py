"""A lane tells each alert once and in order, never passes one that fails, and loses nothing wherever it is killed."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from aiokafka.errors import CommitFailedError
from aiokafka.structs import OffsetAndTimestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from sink_fakes import DELIVERED, NOW, TP, Bench, Killed, Log, Scripted, capture
from sink_samples import life, records, told

from siphonwatch.streams.common.sink_settings import Sink
from siphonwatch.streams.deliver import lane
from siphonwatch.streams.deliver.alert import AlertRecord
from siphonwatch.streams.deliver.outcome import Outcome
from siphonwatch.streams.deliver.recent import REMEMBERED, Recent
from siphonwatch.streams.deliver.wanted import Filter

FAILED = Outcome("failed", "status 503")


def values(count: int, steps: int = 1) -> list[bytes]:
    return [value for i in range(count) for _, value in records(life(f"org-{i}", steps))]


def ids(count: int, steps: int = 1) -> list[str]:
    return [finding.id for i in range(count) for finding in life(f"org-{i}", steps)]


async def test_alerts_are_delivered_in_order_and_committed_one_by_one() -> None:
    bench = Bench(Log(values(10, 3)), Scripted())
    await bench.run()
    assert bench.receiver.delivered == ids(10, 3)
    assert bench.consumer.commits == list(range(31)), "first where it begins, then after each delivery"
    assert bench.count("delivered") == 30


async def test_an_alert_that_fails_holds_the_next_ones_back_until_it_is_taken_and_waits_longer_each_time() -> None:
    bench = Bench(Log(values(3)), Scripted(lambda alert, n: FAILED if "-0" in alert.id and n < 9 else DELIVERED))
    first = ids(3)[0]
    bench.receiver.script = lambda alert, n: FAILED if alert.id == first and n < 9 else DELIVERED
    seen: list[float] = []
    await bench.run(lambda: bool(seen.append(bench.lane.failing_since or 0.0)) or bench.log.committed == 3)
    assert bench.receiver.attempts == [first] * 9 + ids(3)[1:]
    assert bench.clock.pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    assert (bench.count("failed"), bench.count("delivered")) == (8, 3)
    assert NOW in seen and bench.lane.failing_since is None


async def test_a_wait_is_as_long_as_the_receiver_asks() -> None:
    bench = Bench(Log(values(1)), Scripted(lambda _, n: Outcome("failed", "", 17.0) if n < 3 else DELIVERED))
    await bench.run()
    assert bench.clock.pauses == [17.0, 17.0]


async def test_a_misconfigured_sink_waits_long_and_loses_nothing() -> None:
    bench = Bench(Log(values(2)), Scripted(lambda _, n: Outcome("misconfigured", "401") if n < 4 else DELIVERED))
    await bench.run()
    assert bench.receiver.delivered == ids(2)
    assert bench.clock.pauses == [300.0] * 6


async def test_a_refused_alert_is_given_up_counted_and_logged_and_the_next_goes_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    captured = capture(monkeypatch, lane)
    first = ids(2)[0]
    bench = Bench(
        Log(values(2)), Scripted(lambda a, _: Outcome("refused", "status 422: no") if a.id == first else DELIVERED)
    )
    await bench.run()
    assert bench.receiver.delivered == ids(2)[1:]
    assert (bench.count("refused"), bench.log.committed) == (1, 2)
    logged = str(captured.entries)
    assert "refused" in logged and first in logged and "status 422: no" in logged


async def test_what_is_no_alert_is_counted_and_passed_over() -> None:
    junk = [b"junk", None, b"{}", values(1)[0][:-1], b"\xff" * 100]
    bench = Bench(Log([*junk, *values(1)]), Scripted())
    await bench.run()
    assert bench.receiver.delivered == ids(1)
    assert bench.count("unreadable") == len(junk)


async def test_filtered_alerts_are_counted_and_committed_without_an_attempt() -> None:
    wanted = Filter(patterns=["relay"], severities=["high", "critical"], kinds=["opened"])
    alerts = [
        *records(life("a", 3, pattern="campaign", log_e=30.0)),
        *records(life("b", 1, pattern="campaign", log_e=7.0)),
        *records(life("c", 1, pattern="scraping", log_e=30.0)),
    ]
    bench = Bench(Log([value for _, value in alerts]), Scripted(), wanted=wanted)
    await bench.run()
    assert bench.receiver.delivered == [life("a", 1, pattern="campaign")[0].id]
    assert (bench.count("filtered"), bench.count("delivered")) == (4, 1)


async def test_an_alert_that_stands_twice_is_delivered_once_also_by_the_next_process() -> None:
    log = Log([*values(3, 2), *values(3, 2)[2:4]])
    await Bench(log, first := Scripted()).run(lambda: len(first.delivered) == 6)
    log.records += Log(values(3, 2), first=log.end).records
    again = Bench(log, Scripted())
    await again.run()
    assert first.delivered == ids(3, 2) and again.receiver.attempts == []
    assert again.count("repeated") in (6, 7, 8), "some of the first copies may have been seen by the first process"


async def test_a_refused_alert_that_stands_twice_is_tried_once() -> None:
    bench = Bench(Log([*values(1), *values(1)]), Scripted(lambda *_: Outcome("refused", "")))
    await bench.run()
    assert len(bench.receiver.attempts) == 1 and bench.count("repeated") == 1


async def test_a_new_sink_begins_with_what_was_sent_lately_and_commits_that_before_any_alert_comes() -> None:
    log = Log(values(5), sent=NOW - 7200)
    log.records += Log(values(9)[5:], sent=NOW - 1800, first=5).records
    bench = Bench(log, Scripted(), Sink(kind="slack", since="1h"))
    await bench.run()
    assert bench.receiver.delivered == ids(9)[5:]
    assert bench.consumer.commits[0] == 5

    quiet = Log(values(5), sent=NOW - 7200)
    await Bench(quiet, Scripted(), Sink(kind="slack", since="1h")).run()
    assert quiet.committed == 5
    quiet.records += Log(values(6)[5:], sent=NOW - 7000, first=5).records
    later = Bench(quiet, Scripted(), Sink(kind="slack", since="0s"))
    await later.run()
    assert later.receiver.delivered == ids(6)[5:], "what came after its first start is never too old"


async def test_a_new_sink_passes_old_alerts_over_also_where_the_broker_gives_too_low_an_offset() -> None:
    log = Log(values(5), sent=NOW - 7200)
    log.records += Log(values(7)[5:], sent=NOW - 60, first=5).records
    bench = Bench(log, Scripted(), Sink(kind="slack", since="1h"))

    async def too_low(_: object) -> dict[object, object]:
        return {TP: OffsetAndTimestamp(1, 0)}

    bench.consumer.offsets_for_times = too_low  # type: ignore[method-assign, assignment]
    await bench.run()
    assert bench.receiver.delivered == ids(7)[5:] and bench.log.committed == 7


async def test_alerts_that_left_the_topic_undelivered_are_told_as_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    captured = capture(monkeypatch, lane)
    log = Log(values(3), first=40)
    log.committed = 10
    bench = Bench(log, Scripted())
    await bench.run()
    assert bench.receiver.delivered == ids(3)
    logged = str(captured.entries)
    assert "alerts left the topic before they could be delivered" in logged and "'lost': 30" in logged
    assert bench.count("expired") == 30


async def test_a_topic_made_anew_is_begun_as_by_a_new_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    captured = capture(monkeypatch, lane)
    log = Log(values(3))
    log.committed = 7000
    bench = Bench(log, Scripted(), Sink(kind="slack", since="1h"))
    await bench.run()
    assert bench.receiver.delivered == ids(3)
    assert "made anew" in str(captured.entries)


@pytest.mark.parametrize("told", [0, 4])
async def test_a_topic_made_anew_while_it_is_read_costs_and_repeats_no_alert(
    monkeypatch: pytest.MonkeyPatch, told: int
) -> None:
    captured = capture(monkeypatch, lane)
    log = Log(values(told), sent=NOW - 60, first=0 if told else 4)
    bench = Bench(log, Scripted())

    def done() -> bool:
        if bench.lane._settled and log.committed == 4:  # made anew, with one alert that was told before and one new
            log.records, log.first = Log(values(5)[3:], sent=NOW).records, 0
        return log.committed == 2

    await bench.run(done)
    assert bench.receiver.delivered == (ids(5) if told else ids(5)[3:])
    assert bench.count("repeated") == (1 if told else 0) and bench.lane.lag == 0
    assert "the topic went back" in str(captured.entries)


@pytest.mark.parametrize("count", [2, 9], ids=["shorter", "longer"])
@pytest.mark.parametrize("running", [True, False], ids=["while it is read", "while it is not"])
async def test_a_topic_with_another_id_is_delivered_from_its_start_without_what_was_told_before(
    monkeypatch: pytest.MonkeyPatch, count: int, running: bool
) -> None:
    captured = capture(monkeypatch, lane)
    log = Log(values(4))
    log.incarnation = "old"
    bench = Bench(log, Scripted())

    def remade() -> None:
        log.records, log.incarnation = Log(values(4 + count)[3:]).records, "new"

    if running:
        seen: list[bool] = []

        def done() -> bool:
            if log.committed == 4 and log.incarnation == "old" and bench.lane.ready:
                remade()
                bench.clock.now += 60.0
                seen.append(True)
            return bool(seen) and log.said == "new" and log.committed == log.end

        await bench.run(done)
        assert bench.receiver.delivered == ids(4 + count)
        assert bench.count("repeated") == 1
    else:
        await bench.run()
        remade()
        bench = Bench(log, Scripted(), Sink(kind="slack", since="1h"))
        await bench.run(lambda: log.said == "new" and log.committed == log.end)
        assert bench.receiver.delivered == ids(4 + count)[3:], "what the old topic held is not known any more"
    assert "the topic was made anew" in str(captured.entries)
    labels = {"stream": "alerts", "topic": "alerts", "partition": "0", "sink": "ops"}
    assert bench.registry.get_sample_value("siphonwatch_recreated_topics_total", labels) == 1


async def test_a_commit_that_fails_is_made_up_for_by_the_next() -> None:
    bench = Bench(Log(values(4)), Scripted())

    def sometimes() -> None:
        if len(bench.receiver.delivered) in (1, 2):
            raise CommitFailedError("rebalancing")

    bench.consumer.on_commit = sometimes
    await bench.run()
    assert bench.receiver.delivered == ids(4) and bench.log.committed == 4


async def test_a_stop_while_waiting_to_repeat_is_at_once_and_leaves_the_alert_to_the_next_process() -> None:
    bench = Bench(Log(values(2)), Scripted(lambda alert, _: DELIVERED if alert.id == ids(2)[0] else FAILED))

    async def forever(_: float) -> None:
        await asyncio.sleep(3600)

    bench.lane._pause = forever
    began = asyncio.get_running_loop().time()
    await bench.run(lambda: bench.count("failed") == 1)
    assert asyncio.get_running_loop().time() - began < 1.0
    assert bench.log.committed == 1
    await (after := Bench(bench.log, Scripted())).run()
    assert after.receiver.delivered == ids(2)[1:]


async def test_a_stop_lets_the_attempt_under_way_finish_and_commits_it() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Scripted):
        async def deliver(self, told: AlertRecord) -> Outcome:
            begun.set()
            await go_on.wait()
            return await super().deliver(told)

    bench = Bench(Log(values(3)), Slow())
    task = asyncio.create_task(bench.lane.run())
    await begun.wait()
    finishing = asyncio.create_task(bench.lane.finish(task, 5.0))
    await asyncio.sleep(0.05)
    go_on.set()
    await finishing
    assert bench.receiver.delivered == ids(3)[:1] and bench.log.committed == 1


async def test_what_was_told_is_shown_again_to_a_receiver_that_keeps_open_cases() -> None:
    log = Log(values(3, 2), sent=NOW - 600)
    log.committed = 4

    class Keeping(Scripted):
        reach = 3600.0

    bench = Bench(log, Keeping(), wanted=Filter(kinds=["opened"]))
    await bench.run()
    assert bench.receiver.delivered == ids(3, 2)[4::2]
    assert bench.receiver.noted == [(ids(3)[0], NOW - 600), (ids(3)[1], NOW - 600), (ids(3)[2], NOW)]


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_killed_anywhere_and_started_again_it_loses_nothing_and_repeats_only_what_was_under_way(
    data: st.DataObject,
) -> None:
    """Any log in which workers repeated alerts, any kills around attempts and commits, failures in between."""
    order = data.draw(st.lists(st.integers(0, 11), max_size=40), label="log")
    sent = values(12)
    log = Log([sent[i] for i in order])
    expected = [ids(12)[i] for i in dict.fromkeys(order)]
    kills = data.draw(
        st.lists(st.tuples(st.sampled_from(["before", "after", "commit"]), st.integers(1, 8)), max_size=6)
    )
    delivered: list[str] = []

    def life_of(kill: tuple[str, int] | None) -> bool:
        """Whether the process reached the log's end."""
        left = [kill[1] if kill else -1]

        def die(where: str) -> None:
            if kill and kill[0] == where:
                left[0] -= 1
                if not left[0]:
                    raise Killed

        def script(alert: AlertRecord, attempt: int) -> Outcome:
            die("before")
            if attempt % 3 == 1 and len(alert.id) % 2:
                return FAILED
            delivered.append(alert.id)
            die("after")
            return DELIVERED

        bench = Bench(log, Scripted(script))
        bench.consumer.on_commit = lambda: die("commit")
        bench.lane.finish = _no_finish  # type: ignore[method-assign]
        try:
            asyncio.run(bench.run())
        except Killed:
            return False
        return True

    for kill in kills:
        if life_of(kill):
            break
    assert life_of(None)
    assert list(dict.fromkeys(delivered)) == expected, "nothing lost, first deliveries in order"
    repeated = Counter(delivered)
    assert sum(repeated.values()) - len(expected) <= len(kills)


async def _no_finish(task: asyncio.Task[None], within: float) -> None:
    """A killed process finishes nothing."""
    task.cancel()
    await asyncio.wait([task])


@given(st.lists(st.integers(0, 30), max_size=200), st.integers(1, 20))
def test_it_remembers_the_newest_ids_and_no_more_than_its_limit(order: list[int], limit: int) -> None:
    recent = Recent(limit)
    for i in order:
        recent.add(str(i))
    newest = list(dict.fromkeys(reversed(order)))[:limit]
    assert [i for i in range(31) if str(i) in recent] == sorted(newest)


async def test_what_is_read_again_at_the_start_is_bounded() -> None:
    log = Log([values(1)[0]] * 10 + values(1)[:1])
    log.records = [log.records[0]._replace(offset=i) for i in range(REMEMBERED + 500)]
    log.committed = log.end
    bench = Bench(log, Scripted())
    positions: list[int] = []
    seek = bench.consumer.seek
    bench.consumer.seek = lambda tp, offset: (positions.append(offset), seek(tp, offset))[1]  # type: ignore[method-assign]
    bench.consumer._most = 10_000
    await bench.run()
    assert positions == [500]


async def test_the_last_words_of_a_lane_name_what_it_told(monkeypatch: pytest.MonkeyPatch) -> None:
    captured = capture(monkeypatch, lane)
    alert = told(life("org-secret")[0])
    await Bench(Log([alert.value]), Scripted()).run()
    logged = str(captured.entries)
    assert alert.id in logged and "org-secret" not in logged
