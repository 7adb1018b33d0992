"""Keeps a book of cases up to what the topics of alerts and verdicts say, in a thread, and sends verdicts."""

from __future__ import annotations

import threading
from collections.abc import Callable

from kafka.errors import KafkaError

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.common.tail import Tail
from siphonwatch.streams.contracts.verdict import Verdict, encode
from siphonwatch.streams.deliver.feedback.book import CaseBook
from siphonwatch.streams.edge.producer import connect

SEND_SECONDS = 30.0


class NotSent(RuntimeError):
    """Kafka did not take a verdict; the message says why."""


class Topics:
    """The two topics; `read` runs in a thread of its own until `stop` is called.

    Parameters
    ----------
    settings
        Brokers and names of topics.
    book
        Kept up.
    """

    def __init__(self, settings: Settings, book: CaseBook) -> None:
        self._settings = settings
        self._book = book
        self._stop = threading.Event()
        self._producer = connect(settings, "siphonwatch-feedback")
        self.ready = False
        """Whether the book knows all that the topics held at the start."""

    def read(self, fail: Callable[[BaseException], None]) -> None:
        """Follow both topics; what ends it is given to `fail`."""
        try:
            with (
                Tail.connect(self._settings, self._settings.topic("alerts")) as alerts,
                Tail.connect(self._settings, self._settings.topic("verdicts")) as verdicts,
            ):
                for value in alerts.history():
                    self._book.alert(value)
                for value in verdicts.history():
                    self._book.verdict(value)
                self.ready = True
                new_alerts, new_verdicts = alerts.follow(), verdicts.follow()
                while not self._stop.is_set():
                    for value in next(new_alerts):
                        self._book.alert(value)
                    for value in next(new_verdicts):
                        self._book.verdict(value)
        except Exception as error:  # noqa: BLE001 - reported: the service ends with it
            fail(error)

    def send(self, verdict: Verdict) -> None:
        """Send a verdict and wait until the broker has it; blocks.

        Raises
        ------
        NotSent
            When it does not.
        """
        try:
            sent = self._producer.send(
                self._settings.topic("verdicts"), key=verdict.case.encode(), value=encode(verdict)
            )
            sent.get(timeout=SEND_SECONDS)
        except KafkaError as error:
            raise NotSent(f"{type(error).__name__}: {error}") from None

    def stop(self) -> None:
        """End the reading and close the producer."""
        self._stop.set()
        self._producer.close(5)
