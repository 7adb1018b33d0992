"""Apache Kafka for tests and benchmarks: jars by Maven, one KRaft node on loopback that can be restarted on its data.
Never a production broker.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from siphonwatch.streams.lab.broker.process import Broker, BrokerError, free_port

ROOT = Path(__file__).resolve().parents[2]
POM = Path(__file__).resolve().parent / "kafka" / "pom.xml"
CACHE = ROOT / ".cache"
REMEDY = "apt-get install default-jre-headless maven"
CLUSTER = "c2lwaG9ud2F0Y2gtdGVzdA"
"""Any 16 bytes in unpadded base64: the id of a cluster of one."""

PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=2
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=2
group.initial.rebalance.delay.ms=0
log.cleaner.dedupe.buffer.size=16777216
log.cleaner.backoff.ms=500
"""


def version() -> str:
    """Return the version of Apache Kafka that the pom pins."""
    found = re.search(r"<artifactId>kafka_2\.13</artifactId>\s*<version>([^<]+)</version>", POM.read_text())
    if found is None:
        raise BrokerError(f"{POM} names no version of kafka_2.13")
    return found[1]


def missing() -> str:
    """Return why Apache Kafka cannot run here and how to get it, or nothing when it can."""
    absent = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    return f"no {' and no '.join(absent)}: {REMEDY}" if absent else ""


def jars(cache: Path = CACHE) -> Path:
    """Return the folder with Kafka's jars, copied there by Maven the first time.

    Raises
    ------
    BrokerError
        When Java or Maven is missing or Maven fails.
    """
    if reason := missing():
        raise BrokerError(f"Apache Kafka cannot run: {reason}")
    folder = cache / f"kafka-{version()}"
    jar = folder / f"kafka_2.13-{version()}.jar"
    if jar.is_file():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several processes of one test run want them at once
        if not jar.is_file():
            fresh = folder.with_suffix(".part")
            shutil.rmtree(fresh, ignore_errors=True)
            command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"]
            command += ["-DincludeScope=runtime", f"-DoutputDirectory={fresh}"]
            _run(command, "Maven could not fetch Apache Kafka")
            shutil.rmtree(folder, ignore_errors=True)
            fresh.rename(folder)
    return folder


def _run(command: Sequence[str], what: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BrokerError(f"{what} (code {done.returncode}): {(done.stdout + done.stderr).strip()[-2000:]}")


class ApacheKafka(Broker):
    """One Apache Kafka node; `stop` and `start` keep data and port.

    Parameters
    ----------
    folder
        Where its data, settings and log live.
    port
        Client port; a free one by default.
    heap
        Java heap, as `-Xmx` takes it.
    optimised
        Whether Java compiles what is hot as well as it can, which takes it half a minute of a core.
    """

    name = "Apache Kafka"

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        heap: str = "512m",
        ready_seconds: float = 90.0,
        *,
        optimised: bool = False,
    ) -> None:
        super().__init__(folder / "kafka.log", port, ready_seconds)
        self.folder = folder
        self.java = ["java", f"-Xmx{heap}", "-XX:+UseSerialGC"] + ["-XX:TieredStopAtLevel=1"] * (not optimised)
        self._controller = free_port()

    def command(self) -> Sequence[str]:
        """Write the settings, format the storage once, and return the command line.

        Raises
        ------
        BrokerError
            When the jars cannot be had or the storage cannot be formatted.
        """
        lib = jars()
        data, settings = self.folder / "data", self.folder / "server.properties"
        java = [*self.java, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{lib}/*"]
        self.folder.mkdir(parents=True, exist_ok=True)
        settings.write_text(PROPERTIES.format(port=self.port, controller=self._controller, data=data))
        if not (data / "meta.properties").is_file():
            tool = [*java, "kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c", str(settings)]
            _run(tool, "Apache Kafka could not format its storage")
        return [*java, "kafka.Kafka", str(settings)]
