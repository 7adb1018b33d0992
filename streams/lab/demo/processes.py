"""The demo's own processes: started with their output in a file, watched, and stopped by their process id.

It never touches a process it did not start.
"""

from __future__ import annotations

import ctypes
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from siphonwatch.streams.lab.broker.process import PR_SET_PDEATHSIG
from siphonwatch.streams.worker.metrics import INGEST, TELEMETRY

TAIL_LINES = 15
HTTP_SECONDS = 60.0
"""A worker answers between two batches, so an answer may be late."""
WATCH_SECONDS = 0.1
SESSION_SECONDS = 6.0
"""Kafka's minimum. Tansu makes the first member of a group wait for half of it: 10 s with the default."""
COMPILING = re.compile(r"\bcompiling\b.*\bmodule=(\S+)")
COUNTED = tuple(f"siphonwatch_{name}_total" for name in ("requests", "skipped_requests", "dead_letters", "alerts"))
"""Metrics that are read: serving and parsing all of them took a tenth of the worker's CPU time, and of the demo's."""


class ProcessError(RuntimeError):
    """A process ended unexpectedly; the message has the end of its log."""


def _die_with_parent() -> None:
    """Ask Linux to terminate this child when the demo ends, also when it is killed."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Process:
    """A Python process of ours; a context manager that ends it.

    Parameters
    ----------
    name
        What messages call it.
    arguments
        After the interpreter's name.
    log
        File for its output.
    environment
        All of it.
    """

    def __init__(self, name: str, arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = log
        with log.open("wb") as output:
            # A session of its own: Ctrl-C on the terminal reaches the demo, which then stops it gracefully.
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                [sys.executable, *arguments],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def running(self) -> bool:
        """Whether it has not ended; False only after success.

        Raises
        ------
        ProcessError
            When it ended with a failure.
        """
        code = self._process.poll()
        if code:
            raise ProcessError(self.failure(f"ended with {_how(code)}"))
        return code is None

    def terminate(self) -> None:
        """Ask it to end."""
        self._process.terminate()

    def stop(self, seconds: float) -> None:
        """Ask it to end, and wait for that.

        Raises
        ------
        ProcessError
            When it does not in that time, or not with success.
        """
        self.terminate()
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ProcessError(self.failure(f"did not stop within {seconds:.0f} s")) from None
        if code:
            raise ProcessError(self.failure(f"ended with {_how(code)} on SIGTERM"))

    def compiling(self) -> str:
        """Return the module that it last logged as being compiled; empty if none."""
        found = COMPILING.findall(self.log.read_text(errors="replace"))
        return str(found[-1]) if found else ""

    def failure(self, what: str) -> str:
        """Return a message with the end of the log."""
        lines = self.log.read_text(errors="replace").strip().splitlines()[-TAIL_LINES:]
        return "\n  ".join([f"{self.name} {what}; its last words:", *(lines or ["(none)"])])


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"


class Counts(NamedTuple):
    """A worker's counts so far."""

    requests: int
    """Scored."""
    rejected: int
    """Sent to the dead-letter topic, or passed over as applied before."""
    alerts: int
    """Cases opened."""

    @property
    def done(self) -> int:
        """Records that are done."""
        return self.requests + self.rejected


def counted(samples: Iterable[Sample]) -> Counts:
    """Return a worker's counts from its metrics.

    A request is counted once, where it is scored: what is ingested comes there yet, and a sighting was there before.
    """
    totals = dict.fromkeys(("requests", "skipped_requests", "dead_letters", "alerts"), 0.0)
    for sample in samples:
        name = sample.name.removeprefix("siphonwatch_").removesuffix("_total")
        stream = sample.labels.get("stream", TELEMETRY)
        wanted = stream == TELEMETRY or (stream == INGEST and name == "dead_letters")
        if name in totals and wanted and sample.labels.get("outcome", "opened") == "opened":
            totals[name] += sample.value
    return Counts(
        int(totals["requests"]), int(totals["skipped_requests"] + totals["dead_letters"]), int(totals["alerts"])
    )


class Worker(Process):
    """A `siphonwatch worker`.

    Parameters
    ----------
    log, environment
        As of any process.
    port
        Where it tells its health; `environment` says the same to it.
    """

    def __init__(self, log: Path, environment: Mapping[str, str], port: int) -> None:
        command = ["-c", "from siphonwatch.streams.cli import main; main()", "worker"]
        command += [f"--session-timeout={SESSION_SECONDS}"]
        super().__init__("the worker", command, log, environment)
        self._url = f"http://127.0.0.1:{port}"

    def ready(self) -> bool:
        """Whether it has partitions and has restored them.

        Raises
        ------
        ProcessError
            When it ended.
        """
        if not self.running():
            raise ProcessError(self.failure("ended unexpectedly"))
        return self._get("/readyz") is not None

    def counts(self) -> Counts | None:
        """Return its counts; None if it does not answer, for example as it is busy.

        Raises
        ------
        ProcessError
            When it ended.
        """
        samples = self.metrics(COUNTED)
        return None if samples is None else counted(samples)

    def metrics(self, names: Sequence[str] = ()) -> list[Sample] | None:
        """Return the samples of its metrics of these names, or of all; None and errors as `counts`."""
        if not self.running():
            raise ProcessError(self.failure("ended unexpectedly"))
        query = urllib.parse.urlencode([("name[]", name) for name in names])
        if (text := self._get(f"/metrics?{query}")) is None:
            return None
        return [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def _get(self, path: str) -> str | None:
        try:
            with urllib.request.urlopen(self._url + path, timeout=HTTP_SECONDS) as answer:  # noqa: S310 - loopback
                text: str = answer.read().decode()
                return text
        except (urllib.error.URLError, OSError):
            return None


class Watch:
    """Polls a worker's progress in a thread of its own, one request at a time, so that a caller never waits
    for a slow answer. A context manager; the thread ends with the process at the latest.

    Parameters
    ----------
    ask
        Gives the counts, or None where there is no answer now.
    """

    def __init__(self, ask: Callable[[], Counts | None]) -> None:
        self._ask = ask
        self._answer: Counts | None = None
        self._error: ProcessError | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def counts(self) -> Counts | None:
        """Return the last answer.

        Raises
        ------
        ProcessError
            When the worker ended.
        """
        if self._error is not None:
            raise self._error
        return self._answer

    def _run(self) -> None:
        pause = 0.0
        while not self._ended.wait(pause):
            began = time.monotonic()
            try:
                self._answer = self._ask() or self._answer
            except ProcessError as error:
                self._error = error
                return
            # As long as an answer takes, so that at most half of the worker's time goes into answers.
            pause = max(WATCH_SECONDS, time.monotonic() - began)
