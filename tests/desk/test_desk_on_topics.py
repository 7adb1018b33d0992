"""The desk over real topics: what it shows of them, what it writes to them, and that it reads back what it wrote."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from alert_samples import fill, findings, send
from desk_samples import dump

from siphonwatch.models.evidence.cases import Finding
from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.tail import Tail
from siphonwatch.streams.contracts import control, desk, verdict
from siphonwatch.streams.desk.opening import OpenDesk
from siphonwatch.streams.desk.views import Act, Ask, Overtaken, Unknown
from siphonwatch.streams.operate.topics import connect

LATER = time.time() + 86_400.0


@pytest.fixture
def opened(settings: Settings, tmp_path: Path) -> Iterator[OpenDesk]:
    """A desk that reads when it is asked."""
    settings.identity.key = "a secret of the tests only"
    with OpenDesk(settings, tmp_path / "desk.sqlite") as found:
        yield found


def closed(found: Finding) -> Finding:
    return msgspec.structs.replace(found, kind="close", sequence=found.sequence + 1, time=found.time + 86_400.0)


def history(settings: Settings, name: str) -> list[bytes]:
    with Tail.connect(settings, settings.topic(name)) as tail:
        return list(tail.history())


@pytest.mark.broker
def test_cases_are_listed_decided_and_read_back(settings: Settings, opened: OpenDesk) -> None:
    found = findings(5)
    values = fill(settings, [*found, closed(found[4])], junk=b'{"no": "alert"}')
    assert opened.feed.catch_up() == 7
    looks, acts = opened.looks, opened.acts
    queue = looks.queue(Ask())
    assert {row.case for row in queue.rows} == {one.case for one in found[:4]} and queue.total == 4
    assert looks.queue(Ask(state="closed")).rows[0].case == found[4].case
    page = looks.case(found[0].case, "Ann")
    assert bytes(page.alert) == values[0] and page.version == 0
    assert page.row.headline == "sweep_1d 0.94 (above 0.35); breadth 0.73 (above 0.35)"
    assert "account org-extraction-0" in page.sentence and "1 in 1,000" in page.sentence

    case = found[0].case
    assert acts.act(Act(kind="verdict", cases=[case], decision="true-positive", text="seen", version=0), "Ann") == (
        f"{case}: true-positive"
    )
    with pytest.raises(Overtaken, match=r"Ann decided on case .* meanwhile \(true-positive"):
        acts.act(Act(kind="note", cases=[case], text="x", version=0), "Bob")
    assert acts.act(Act(kind="note", cases=[case], text="x", version=1), "Bob").endswith("noted")
    acts.act(Act(kind="assign", cases=[found[1].case, found[2].case], assignee="Bob"), "Ann")
    acts.act(Act(kind="snooze", cases=[found[3].case], until=LATER), "Ann")
    acts.act(Act(kind="reopen", cases=[found[4].case], text="not settled"), "Ann")
    acts.act(Act(kind="merge", cases=[found[2].case], of=found[1].case), "Ann")
    rows = {row.case: row for row in looks.queue(Ask(state="all"), "Ann").rows}
    assert rows[case].verdict == "true-positive" and rows[case].changed
    assert (rows[found[1].case].assignee, rows[found[3].case].state) == ("Bob", "snoozed")
    assert rows[found[4].case].state == "open", "it was closed, and somebody opened it again"
    assert rows[found[2].case].group == rows[found[1].case].group == min(found[1].case, found[2].case)
    assert {row.case for row in looks.queue(Ask(assignee="Bob")).rows} == {found[1].case, found[2].case}
    assert case not in {row.case for row in looks.queue(Ask(unjudged=True)).rows}
    told = [(event.what, event.by, event.text) for event in looks.case(case, "Ann").history]
    assert told == [("opened", "", ""), ("true-positive", "Ann", "seen"), ("note", "Bob", "x")]
    assert not looks.queue(Ask(account="org-extraction-0"), "Ann").rows[0].changed, "Ann has looked"

    acts.act(Act(kind="undo", cases=[case]), "Ann")
    assert looks.case(case).row.verdict == "withdrawn"
    acts.act(Act(kind="split", cases=[found[2].case]), "Ann")
    assert looks.case(found[2].case).row.group == found[2].case
    said = acts.act(Act(kind="allow", cases=[case], until=LATER, text="a test set"), "Ann")
    (entry,) = looks.allowed()
    assert entry.id in said and (entry.case, entry.by, entry.why, entry.hides) == (case, "Ann", "a test set", 1)
    assert looks.case(case).hidden_by == [entry.id]
    acts.act(Act(kind="allow-end", entry=entry.id), "Ann")
    assert looks.allowed()[0].ended and looks.case(case).hidden_by == []

    verdicts = [verdict.decode(value) for value in history(settings, "verdicts")]
    assert [(one.case, one.decision, one.note) for one in verdicts] == [
        (case, "true-positive", "seen"), (case, "withdrawn", ""),
    ]  # fmt: skip
    kinds = [type(desk.decode(value)) for value in history(settings, "desk")]
    assert kinds == [desk.Note, desk.Assign, desk.Assign, desk.Snooze, desk.Reopen, desk.Merge, desk.Split]
    assert [type(control.decode(value)) for value in history(settings, "control")] == [control.Allow, control.AllowEnd]


@pytest.mark.broker
@pytest.mark.parametrize(
    ("act", "said"),
    [
        (Act(kind="verdict", cases=["0" * 16], decision="test"), "no alert"),
        (Act(kind="note"), "name a case"),
        (Act(kind="allow", accounts=["x"], pattern="shift", until=1.0, text="t"), "in the future"),
        (Act(kind="allow", accounts=["x"], until=LATER, text="t"), "accounts and a pattern"),
        (Act(kind="allow", accounts=["x"], pattern="shift", until=LATER), "say why"),
        (Act(kind="allow-end", entry="0" * 12), "no allow entry"),
    ],
)
def test_what_cannot_be_decided_is_said_and_nothing_is_written(
    settings: Settings, opened: OpenDesk, act: Act, said: str
) -> None:
    fill(settings, findings(1))
    opened.feed.catch_up()
    with pytest.raises((ValueError, Unknown), match=said):
        opened.acts.act(act, "Ann")
    assert [history(settings, name) for name in ("verdicts", "desk", "control")] == [[], [], []]


@pytest.mark.broker
def test_a_thread_keeps_the_index_near_and_another_desk_s_too_and_a_decision_waits_for_it(
    settings: Settings, opened: OpenDesk, tmp_path: Path
) -> None:
    found = findings(2)
    fill(settings, found[:1])
    opened.start()
    end = time.monotonic() + 60
    while opened.looks.queue(Ask()).total < 1 and time.monotonic() < end:
        time.sleep(0.05)
    send(settings, found[1:])
    while opened.looks.queue(Ask()).total < 2 and time.monotonic() < end:
        time.sleep(0.05)
    assert opened.looks.queue(Ask()).total == 2
    opened.acts.act(Act(kind="verdict", cases=[found[1].case], decision="false-positive"), "Ann")
    assert opened.looks.case(found[1].case).row.verdict == "false-positive"
    assert set(opened.looks.behind().values()) == {0} and opened.feed.trouble == opened.feed.waits == ""

    case = found[0].case
    with OpenDesk(settings, tmp_path / "another.sqlite") as other:
        other.feed.catch_up()
        assert dump(other.index) == dump(opened.index), "two desks of the same topics have the same"
        version = other.looks.case(case).version
        opened.acts.act(Act(kind="verdict", cases=[case], decision="true-positive", version=version), "Ann")
        with pytest.raises(Overtaken, match=r"Ann decided on case .* meanwhile \(true-positive"):
            other.acts.act(Act(kind="assign", cases=[case], assignee="Bob", version=version), "Bob")
        assert other.looks.case(case).row.verdict == "true-positive"
        other.acts.act(Act(kind="assign", cases=[case], assignee="Bob", version=version + 1), "Bob")
        while opened.looks.case(case).row.assignee != "Bob" and time.monotonic() < end:
            time.sleep(0.05)
        assert opened.looks.case(case) == other.looks.case(case) and dump(other.index) == dump(opened.index)


@pytest.mark.broker
def test_a_topic_that_was_made_anew_is_read_from_its_beginning(settings: Settings, opened: OpenDesk) -> None:
    """Both ways: while the index reads, and while nobody does."""
    topic = settings.topic("alerts")
    for generation, pattern in enumerate(("shift", "scraping", "rarity")):
        found = findings(3 + generation, pattern)
        if generation:
            with connect(settings.kafka) as admin:
                admin.delete_topics([topic])
                while topic in admin.list_topics():
                    time.sleep(0.1)
                admin.create_topics({topic: {"num_partitions": 2, "replication_factor": 1}}, wait_for_metadata=True)
            send(settings, found)
        else:
            fill(settings, found)
        if generation == 2:
            opened.feed.close()
        end = time.monotonic() + 600
        while True:
            opened.feed.catch_up()
            rows = opened.looks.queue(Ask()).rows
            if {row.case for row in rows} == {one.case for one in found}:
                break
            assert time.monotonic() < end, rows
            time.sleep(1.0)
        assert {row.pattern for row in rows} == {pattern}
