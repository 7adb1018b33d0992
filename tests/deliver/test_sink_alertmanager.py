"""A real Alertmanager shows a case while it is open, under its newest severity, and resolves it when it closes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace
from oncall_tools import require_tool
from service_process import Deliverer, get, until
from sink_samples import grows_graver, life, of_severity, prepare, records, send, told

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.sink_settings import Sink
from siphonwatch.streams.contracts.alert import rfc3339
from siphonwatch.streams.deliver.alert import AlertRecord
from siphonwatch.streams.deliver.alertmanager import Alertmanager
from siphonwatch.streams.deliver.make import make
from siphonwatch.streams.deliver.outcome import Outcome, judge
from siphonwatch.streams.deliver.post import Judge, Message, Poster
from siphonwatch.streams.deliver.receivers import AlertmanagerReceiver
from siphonwatch.streams.lab.broker.process import free_port

ROUTES = """
route: {receiver: hook, group_by: [alertname, case], group_wait: 1s, group_interval: 1s, repeat_interval: 1h}
receivers: [{name: hook, webhook_configs: [{url: "http://127.0.0.1:%d/", send_resolved: true}]}]
"""


class Manager:
    """An Alertmanager on loopback that knows what it is told, and nothing after a restart."""

    def __init__(self, path: str, folder: Path) -> None:
        self.port = free_port()
        self.hook = free_port()
        self._folder = folder
        (folder / "alertmanager.yml").write_text(ROUTES % self.hook)
        self._command = [
            path, f"--config.file={folder / 'alertmanager.yml'}", f"--storage.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}", "--cluster.listen-address=",
        ]  # fmt: skip
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with (self._folder / "alertmanager.log").open("ab") as out:
            self._process = subprocess.Popen(self._command, stdout=out, stderr=out)
        end = time.monotonic() + 300
        while get(f"{self.url}/-/ready")[0] != 200:
            assert time.monotonic() < end, (self._folder / "alertmanager.log").read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(300)

    def firing(self) -> dict[str, str]:
        """Severity of each case that fires."""
        found = json.loads(get(f"{self.url}/api/v2/alerts")[1])
        return {alert["labels"]["case"]: alert["labels"]["severity"] for alert in found}


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    one = Manager(require_tool("prometheus-alertmanager"), tmp_path)
    try:
        yield one
    finally:
        one.stop()


def shifted(alert: AlertRecord, by: float) -> AlertRecord:
    """The same alert at another time."""
    data, after = alert.event.data, round(by * 1000)
    info = replace(data.finding_info, created_time=data.finding_info.created_time + after)
    event = replace(alert.event, data=replace(data, time=data.time + after, finding_info=info))
    return replace(alert, event=event, sent=alert.sent + by)


def sink(manager: Manager) -> Settings:
    settings = Settings()
    settings.sinks = {"oncall": Sink(kind="alertmanager", url=manager.url)}
    return settings


async def test_a_case_fires_until_it_closes_under_the_severity_it_has_now(manager: Manager) -> None:
    receiver = make(sink(manager), "oncall").receiver
    opened, updated, closed = (told(finding) for finding in life("org-7"))
    by = time.time() - opened.opened - 60
    opened, updated, closed = (shifted(alert, by) for alert in (opened, updated, closed))
    graver = of_severity(updated, "Critical")
    other = shifted(told(life("org-8")[0]), by)
    try:
        for alert, firing in [
            (opened, {opened.case: "medium"}),
            (other, {opened.case: "medium", other.case: "medium"}),
            (updated, {opened.case: "medium", other.case: "medium"}),
            (graver, {opened.case: "critical", other.case: "medium"}),
            (of_severity(closed, "Critical"), {other.case: "medium"}),
        ]:
            outcome = await receiver.deliver(alert)
            receiver.note(0, alert, time.time())
            assert outcome == Outcome("delivered", "status 200")
            await until(lambda firing=firing: manager.firing() == firing, 300, lambda: str(manager.firing()))  # type: ignore[misc]
    finally:
        await receiver.close()


async def test_a_case_whose_event_time_is_ahead_of_the_clock_opens_and_closes(manager: Manager) -> None:
    receiver = make(sink(manager), "oncall").receiver
    opened, _, closed = (told(finding) for finding in life("org-7"))
    by = time.time() - opened.opened + 500
    try:
        assert (await receiver.deliver(shifted(opened, by))).verdict == "delivered"
        await until(lambda: opened.case in manager.firing(), 300)
        assert (await receiver.deliver(shifted(closed, by))).verdict == "delivered"
        await until(lambda: manager.firing() == {}, 300)
    finally:
        await receiver.close()


async def test_an_alertmanager_that_forgot_is_told_of_open_cases_again(manager: Manager) -> None:
    formatter = make(sink(manager), "oncall").receiver
    assert isinstance(formatter, AlertmanagerReceiver)
    receiver = AlertmanagerReceiver("oncall", formatter._manager, Poster(5.0, True), every=0.3)
    lives = [[told(finding) for finding in life(f"org-{i}")] for i in range(3)]
    by = time.time() - lives[0][0].opened - 60
    ready = False
    keeping = asyncio.create_task(receiver.keep(lambda: ready))
    try:
        for opened, _, _ in lives:
            await receiver.deliver(shifted(opened, by))
            receiver.note(0, shifted(opened, by), time.time())
        receiver.note(0, shifted(lives[2][2], by), time.time())
        assert len(manager.firing()) == 3
        await asyncio.to_thread(manager.stop)
        await asyncio.to_thread(manager.start)
        await asyncio.sleep(1.0)
        assert manager.firing() == {}, "it keeps alerts in memory, and nothing is told again before all is known"
        ready = True
        await until(lambda: manager.firing() == {alert.case: "medium" for alert, _, _ in lives[:2]}, 300)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await receiver.close()
        await formatter.close()


async def test_a_case_that_closes_while_open_ones_are_told_again_is_not_told_as_open_after_its_end() -> None:
    said: list[tuple[str, bool]] = []
    began, go, rounds = asyncio.Event(), asyncio.Event(), 0

    class Slow(Poster):
        async def post(self, message: Message, judged: Judge = lambda status, _: judge(status)) -> Outcome:
            began.set()
            await go.wait()
            now = rfc3339(time.time())
            said.extend((one["labels"]["case"], one["endsAt"] > now) for one in json.loads(message.body))
            return Outcome("delivered", "")

    kind = Alertmanager(Sink(kind="alertmanager", url="http://127.0.0.1"), "runbook.md", 86_400.0)
    receiver = AlertmanagerReceiver("oncall", kind, Slow(5.0, True), every=0.01)
    opened, _, closed = (told(finding) for finding in life("org-7"))
    receiver.note(0, opened, time.time())

    def count() -> bool:
        nonlocal rounds
        rounds += 1
        return True

    keeping = asyncio.create_task(receiver.keep(count))
    try:
        await began.wait()  # telling again is under way
        delivering = asyncio.create_task(receiver.deliver(closed))
        await asyncio.sleep(0)
        go.set()
        await delivering
        receiver.note(0, closed, time.time())
        enough = rounds + 5
        await until(lambda: rounds >= enough)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await receiver.close()
    assert said == [(opened.case, True), (opened.case, False)]


def test_the_end_of_an_erased_account_s_case_takes_its_name_out_of_what_the_sink_keeps() -> None:
    kind = Alertmanager(Sink(kind="alertmanager", url="http://127.0.0.1"), "runbook.md", 86_400.0)
    opened, _, closed = life("org-7")
    now = time.time()
    kind.note(0, told(opened), now)
    (again,) = kind.again(now)
    assert b"org-7" in again.body
    kind.note(0, told(replace(closed, accounts=["erased"])), now)
    assert kind.again(now) == []
    assert "org-7" not in repr(vars(kind))


async def test_people_hear_of_a_case_and_its_end_once_and_of_no_severity_it_never_had(manager: Manager) -> None:
    seen: list[tuple[str, str]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        alerts = json.loads(await reader.readexactly(length))["alerts"]
        seen.extend((alert["labels"]["severity"], alert["status"]) for alert in alerts)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", manager.hook)
    receiver = make(sink(manager), "oncall").receiver
    opened, updated, closed = (told(finding) for finding in life("org-7"))
    by = time.time() - opened.opened - 60
    graver = of_severity(updated, "High")
    try:
        for alert, heard in [
            (opened, {("medium", "firing")}),
            (updated, {("medium", "firing")}),
            (graver, {("medium", "firing"), ("medium", "resolved"), ("high", "firing")}),
            (closed, {("medium", "firing"), ("medium", "resolved"), ("high", "firing"), ("high", "resolved")}),
        ]:
            alert = shifted(alert if alert is not closed else of_severity(closed, "High"), by)
            await receiver.deliver(alert)
            receiver.note(0, alert, time.time())
            await until(lambda heard=heard: set(seen) >= heard, 300, lambda: str(seen))  # type: ignore[misc]
            await asyncio.sleep(1.5)
            assert set(seen) == heard
    finally:
        await receiver.close()
        server.close()
        await server.wait_closed()


@pytest.mark.broker
async def test_a_deliverer_that_was_restarted_still_knows_which_severity_it_told_of(
    manager: Manager, tansu: str, prefix: str, tmp_path: Path
) -> None:
    settings = Settings()
    settings.kafka.bootstrap, settings.topics.partitions = tansu, 2
    settings.kafka.group = settings.topics.prefix = prefix
    await asyncio.to_thread(prepare, settings)
    medium, high, closed = grows_graver("org-7")
    steps = [([medium], {medium.case: "medium"}), ([high], {medium.case: "high"}), ([closed], {})]
    for findings, firing in steps:
        await asyncio.to_thread(send, settings, records(findings))
        with Deliverer(settings, tmp_path, oncall={"kind": "alertmanager", "url": manager.url}) as deliverer:
            await until(lambda firing=firing: manager.firing() == firing, 300, deliverer.log.read_text)  # type: ignore[misc]
            await deliverer.stop()
