"""One broker process: started on a free loopback port, waited for, and stopped by its process id.

It never touches a process it did not start.
"""

from __future__ import annotations

import ctypes
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

PR_SET_PDEATHSIG = 1


class BrokerError(RuntimeError):
    """A broker cannot be started or does not answer; the message says why and what to do."""


def free_port() -> int:
    """Return a loopback TCP port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _die_with_parent() -> None:
    """Ask Linux to terminate this child when the thread that started it ends, however that happens.

    Only the main thread's end is the process's: a broker started from another thread would end with that one.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Broker:
    """A broker process on loopback; a context manager.

    Parameters
    ----------
    log
        File that gets the broker's output, appended.
    port
        Client port; a free one by default. It is kept over `stop` and `start`.
    ready_seconds
        How long the broker may take to answer a metadata request.
    sleep
        Waits between two questions; what it raises ends the start.
    """

    name = "broker"

    def __init__(
        self,
        log: Path,
        port: int | None = None,
        ready_seconds: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.log = log
        self.port = port or free_port()
        self.ready_seconds = ready_seconds
        self._sleep = sleep
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """`host:port` for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id while the broker runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def command(self) -> Sequence[str]:
        """Return the command line; a subclass prepares files here."""
        raise NotImplementedError

    def start(self) -> Self:
        """Start the process and wait until it answers.

        Raises
        ------
        BrokerError
            When it runs already, something else listens on its port, it ends early, or it does not answer within
            `ready_seconds`; it is stopped then.
        """
        if self.pid is not None:
            raise BrokerError(f"{self.name} runs already as process {self.pid}: stop it first")
        if self._listening():
            # Its answers would be taken for those of the process that is started here.
            what = "another broker answers" if self._answers() else "something else listens"
            raise BrokerError(f"{what} on {self.bootstrap}: stop it, or choose another port")
        command = list(self.command())
        guarded = sys.platform == "linux" and threading.current_thread() is threading.main_thread()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - our own command line
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent if guarded else None,
            )
        try:
            self._wait_until(self._answers)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self, grace_seconds: float = 10.0) -> None:
        """Terminate the process, then kill it if it is still there after `grace_seconds`."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def kill(self) -> None:
        """End the process at once, as a power cut would."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _listening(self) -> bool:
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def _answers(self) -> bool:
        """Whether the broker serves a metadata request that names a node to talk to."""
        if not self._listening():
            return False
        from kafka.admin import KafkaAdminClient
        from kafka.errors import KafkaError

        try:
            admin = KafkaAdminClient(bootstrap_servers=self.bootstrap, bootstrap_timeout_ms=3000)
        except KafkaError:
            return False
        try:
            return bool(admin.describe_cluster()["brokers"])
        except KafkaError:
            return False
        finally:
            admin.close()

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self.ready_seconds
        while not condition():
            if self._process is not None and (code := self._process.poll()) is not None:
                raise BrokerError(
                    f"{self.name} ended with code {code} while starting; its log {self.log}: {self._tail()}"
                )
            if time.monotonic() > deadline:
                waited = f"{self.ready_seconds:.0f} s"
                raise BrokerError(f"{self.name} did not answer on {self.bootstrap} within {waited}; log: {self.log}")
            self._sleep(0.1)

    def _tail(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-5:]) or "empty"
