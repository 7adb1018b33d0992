"""One run of the demo: embedded broker, topics, worker, scenario and result. It ends every process that it starts."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import msgspec
from kafka.errors import TopicAlreadyExistsError

from siphonwatch.streams.common.settings import PREFIX, Settings, load
from siphonwatch.streams.common.tail import Tail, TailError
from siphonwatch.streams.contracts.alert import Alert, decode
from siphonwatch.streams.edge.producer import Outbox, connect
from siphonwatch.streams.lab.broker.embedded import EmbeddedBroker
from siphonwatch.streams.lab.broker.process import free_port
from siphonwatch.streams.lab.demo.interrupt import Interrupt
from siphonwatch.streams.lab.demo.patience import Patience, cpu_seconds
from siphonwatch.streams.lab.demo.play import Player
from siphonwatch.streams.lab.demo.processes import Counts, Process, ProcessError, Watch, Worker
from siphonwatch.streams.lab.demo.scorecard import Scorecard, compare
from siphonwatch.streams.lab.scenario import Scenario
from siphonwatch.streams.operate.topics import TopicsError, create
from siphonwatch.streams.operate.topics import connect as connect_admin

T = TypeVar("T")

TOPICS = {"litellm": "demo.litellm", "nginx": "demo.nginx"}
"""The gateways' own topics, by format."""
BROKER_SECONDS = 600.0
"""The broker takes a second, more on a slow machine; one that cannot start exits."""
DELIVERY_MS = 600_000
"""Longer than the client's default of two minutes, as a busy machine's broker may not get to a batch in that time."""

KEY = "the key of the demo, known to all"
"""Always the same, so that the demo's output is the same; a real key is secret."""


class Display(Protocol):
    """Receives the progress of a run."""

    def phase(self, text: str) -> None:
        """Report the step that begins."""

    def compiling(self, module: str) -> None:
        """Report the module that is compiled; called repeatedly."""

    def progress(self, produced: int, counts: Counts) -> None:
        """Report progress."""


class Outcome(NamedTuple):
    """The result of a run."""

    alerts: list[Alert]
    """Alerts that opened a case, by event time."""
    raw: list[bytes]
    """All alerts, as on the topic."""
    counts: Counts
    produced: int
    """Labels of the scenario's requests; of those sent, if it was interrupted."""
    seconds: float
    """From the first record sent to the last one scored."""
    scorecard: Scorecard
    settings: Settings
    """By which its topics are reached, for as long as its broker stays."""


def worker_environment(bootstrap: str, port: int) -> dict[str, str]:
    """Return the environment of the demo's worker, with the demo's settings only."""
    own = {
        "KAFKA_BOOTSTRAP": bootstrap,
        "KAFKA_GROUP": "siphonwatch-demo",
        "TOPICS_PREFIX": "demo-siphonwatch",
        "TOPICS_PARTITIONS": "2",
        "IDENTITY_KEY": KEY,
        "IDENTITY_PLAIN_IDS": "true",
        "INGEST_TOPICS": msgspec.json.encode({topic: name for name, topic in TOPICS.items()}).decode(),
        "STATE_CHECKPOINT_INTERVAL": "5",
        "WEB_PORT": str(port),
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return others | {PREFIX + name: value for name, value in own.items()}


def run(
    scenario: Scenario,
    folder: Path,
    speed: float,
    display: Display,
    interrupt: Interrupt,
    stay: contextlib.ExitStack | None = None,
) -> Outcome:
    """Run the demo with its logs in `folder`; if interrupted while it plays, it returns what was found until then.

    Parameters
    ----------
    stay
        Keeps the broker until it is closed; without it the broker ends with the run.

    Raises
    ------
    BrokerError, TopicsError, ProcessError, Stalled, TailError, KafkaError
        When a part of it fails; nothing is left running.
    KeyboardInterrupt
        When `interrupt` was asked for an end before anything was played, or a second time.
    """
    with contextlib.ExitStack() as stack:
        display.phase("starting the embedded broker and the worker")
        embedded = EmbeddedBroker(folder / "broker.log", ready_seconds=BROKER_SECONDS, sleep=interrupt.sleep)
        broker = (stay or stack).enter_context(embedded)
        environment = worker_environment(broker.bootstrap, free_port())
        settings = load(environment).settings
        _insist(lambda: _create_topics(settings), Patience(lambda: cpu_seconds([broker.pid or 0])), interrupt)
        worker = stack.enter_context(Worker(folder / "worker.log", environment, settings.web.port))

        def patience() -> Patience:
            return Patience(lambda: cpu_seconds([worker.pid, broker.pid or worker.pid]))

        def started() -> bool:
            display.compiling(worker.compiling())
            return worker.ready()

        labels = scenario.labels()
        display.phase("loading, or on a first run compiling, what the worker runs")
        _until(started, "is not ready", worker, patience(), interrupt)
        display.phase(f"playing {len(scenario):,} requests of {len(labels):,} accounts over {scenario.days:g} days")
        producer = connect(settings, "siphonwatch-demo", delivery_timeout_ms=DELIVERY_MS)
        stack.callback(producer.close, 5)
        outboxes = {name: Outbox(producer, topic) for name, topic in TOPICS.items()}
        watch = stack.enter_context(Watch(worker.counts))
        player = Player(
            scenario, outboxes, speed, watch.counts, patience(), display.progress, sleep=interrupt.sleep
        )  # fmt: skip
        began = time.monotonic()
        try:
            player.run()
        except KeyboardInterrupt:
            interrupt.forget()
            display.phase("interrupted; reading what was found so far")
            labels = player.truth.so_far(labels)
        seconds = time.monotonic() - began
        if player.counts.done >= len(scenario):
            display.phase("all is scored; stopping the worker after a last checkpoint")
            worker.terminate()
            _until(lambda: not worker.running(), "does not stop", worker, patience(), interrupt)
        raw = _insist(lambda: _history(settings), patience(), interrupt)
    alerts = _openings(raw)
    card = compare(labels, player.truth.requests, alerts)
    return Outcome(alerts, raw, player.counts, player.produced, seconds, card, settings)


def _create_topics(settings: Settings) -> None:
    with connect_admin(settings.kafka) as admin:
        create(settings, admin)
        # A gateway's topic of one partition keeps each account's records in order, as a key would in production.
        shape = {"num_partitions": 1, "replication_factor": 1}
        with contextlib.suppress(TopicAlreadyExistsError):  # out of a try whose answer came too late
            admin.create_topics(dict.fromkeys(settings.ingest.topics, shape), wait_for_metadata=True)


def _history(settings: Settings) -> list[bytes]:
    with Tail.connect(settings, settings.topic("alerts")) as tail:
        return list(tail.history())


def _insist(action: Callable[[], T], patience: Patience, interrupt: Interrupt) -> T:
    """Call the broker; repeat the call if the answer came too late for the client, as on a busy machine."""
    while True:
        interrupt.check()
        try:
            return action()
        except (TopicsError, TailError):
            if patience.over():
                raise
        interrupt.sleep(0.5)


def _until(done: Callable[[], bool], what: str, process: Process, patience: Patience, interrupt: Interrupt) -> None:
    while not done():
        if patience.over():
            raise ProcessError(process.failure(f"{what}, and has used almost no CPU for {patience.waited():.0f} s"))
        interrupt.sleep(0.1)


def _openings(raw: list[bytes]) -> list[Alert]:
    """Return each alert that opened a case once, by event time: the topic may have an alert twice, under one id."""
    alerts = {alert.id: alert for alert in map(decode, raw)}
    opened = [alert for alert in alerts.values() if alert.kind == "opened"]
    return sorted(opened, key=lambda alert: (alert.time, alert.id))
