"""`python -m bench`: starts Apache Kafka, measures siphonwatch and its peers in turn, prints a table.

Exit code 0 when every part could be measured, 1 otherwise; slow is not failed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec
from kafka_apache import ApacheKafka

from bench import compile as compilation
from bench import data, drawn, feed, generic, nab, oracle, report, sharing, weblogs, worker
from bench.data import Traffic
from bench.machine import ChildError, Machine
from bench.report import Figure
from siphonwatch.streams.lab.broker.process import BrokerError
from siphonwatch.streams.lab.demo.processes import ProcessError

PEER_SECONDS, COLD_SECONDS = 150.0, 600.0
PARTS = ("worker", "peers", "edge", "replay", "shadow", "latency", "restore", "cold")


class Size(msgspec.Struct, frozen=True):
    """How much of everything."""

    accounts: int
    days: float
    copies: int
    runs: int
    peers: dict[str, int]
    """Records that each one reads: some seconds' worth."""
    seconds: float
    """Of the latency run."""
    restored: int
    """Accounts."""
    cold: tuple[int, int, int]
    """Accounts, how many of them stay in memory, and requests of each order."""
    raw: int
    """Raw records of the edge's part."""
    rate: float
    """Requests a second of the latency run where the throughput was not measured before it."""


FULL = Size(
    accounts=2500, days=3.0, copies=8, runs=3, peers={"faust": 50_000, "quix": 300_000, "aiokafka": 1_000_000},
    seconds=15.0, restored=1_000_000, cold=(1_000_000, 100_000, 300_000), raw=6000, rate=25_000.0,
)  # fmt: skip
QUICK = Size(
    accounts=20, days=0.5, copies=2, runs=1, peers={"faust": 2000, "quix": 2000, "aiokafka": 17_000},
    seconds=2.0, restored=20_000, cold=(30_000, 1000, 4000), raw=300, rate=2000.0,
)  # fmt: skip
PEER_NAMES = {
    "faust": ("plain Faust agent, JSON decoded", "stock transport and codec"),
    "quix": ("Quix Streams, JSON decoded and counted", "no state"),
    "aiokafka": ("aiokafka getmany alone", "nothing decoded"),
}


class Bench:
    """One run of all parts; figures gather in `figures`, what could not be measured in `failures`."""

    def __init__(self, size: Size, machine: Machine, bootstrap: str, folder: Path) -> None:
        self._size = size
        self._machine = machine
        self._bootstrap = bootstrap
        self._folder = folder
        self._name = f"bench-{uuid.uuid4().hex[:8]}"
        self._traffic = Traffic([], [], [])
        self._rate = 0.0
        self.figures: list[Figure] = []
        self.failures: list[str] = []

    def run(self, parts: list[str]) -> None:
        """Measure these parts."""
        say("preparing telemetry (sketched once, kept in .cache/bench)")
        size = self._size
        self._traffic = data.traffic(size.accounts, size.days, size.copies)
        say(f"{len(self._traffic.values):,} requests of {len(set(self._traffic.keys)):,} accounts")
        for part in parts:
            measure: Callable[[], None] = getattr(self, part)
            try:
                measure()
            except (ChildError, ProcessError, BrokerError) as error:
                self.failures.append(f"{part}: {error}")
                say(f"{part} failed: {error}")

    def worker(self) -> None:
        """End to end: Apache Kafka in, all windows and detectors on, checkpoints, alerts out."""
        runs = []
        for number in range(self._size.runs):
            settings = feed.settings_for(self._bootstrap, f"{self._name}-worker-{number}")
            runs.append(worker.throughput(settings, self._traffic, self._machine, self._folder))
            say(f"worker, run {number + 1}: {runs[-1].rate:,.0f} requests/s")
        rates = [run.rate for run in runs]
        note = f"from ready to the last batch done, a checkpoint every {worker.CHECKPOINT_SECONDS:g} s"
        self._add("worker, Kafka to alerts, one core", "requests/s", rates, note, "100,000")
        self._rate = self.figures[-1].median or 0.0
        self._add("  processor in use", "cores", [run.busy for run in runs])
        for stage in runs[0].stages:
            how = {"transport": "the rest: fetch, unpack, Faust, event loop", "thaw": "idle accounts come back"}
            self._add(f"  time in {stage}", "%", [100 * run.stages[stage] for run in runs], how.get(stage, ""))
        sizes = [run.bytes_per_account for run in runs if run.bytes_per_account]
        if sizes:
            self._add("  memory of rows and index", "bytes/account", sizes, "with room to grow", "2,048")

    def peers(self) -> None:
        """Others on the same telemetry, the same core."""
        settings = feed.settings_for(self._bootstrap, f"{self._name}-peers")
        feed.create_topics(settings)
        feed.preload(settings, self._traffic)
        topic = settings.topic("telemetry")
        for name, wanted in self._size.peers.items():
            count = min(wanted, len(self._traffic.values))
            title, note = PEER_NAMES[name]
            try:
                rates = [
                    self._machine.child("bench.peers", name, self._bootstrap, topic, str(count), seconds=PEER_SECONDS)[
                        "rate"
                    ]
                    for _ in range(self._size.runs)
                ]
            except ChildError as error:
                if "No module named" not in str(error):
                    self.failures.append(str(error))
                self._add(title, "records/s", [], str(error).splitlines()[-1][-80:])
                continue
            self._add(title, "records/s", rates, f"{note}; {count:,} records")
            say(f"{title}: {rates[-1]:,.0f} records/s")
        feed.delete_topics(settings)

    def edge(self) -> None:
        """Raw records of a gateway's log to telemetry, and what it takes a gateway that does it itself."""
        sizes = [str(size) for size in (self._size.accounts, self._size.raw, self._size.runs)]
        found = self._machine.child("bench.edge", *sizes, all_cores=True)
        note = f"{found['records']:,} of a scenario's, {found['bytes']:,.0f} bytes each; per second of processor time"
        self._add("raw LiteLLM records to telemetry, a core", "records/s", found["core"], note, "10,000")
        note = f"{found['cores']} processes, wall clock"
        self._add("  of a file, as replay and produce do", "records/s", found["file"], note)
        self._add("  of a topic, as workers do, without Kafka", "records/s", found["topic"], note)
        self._add("  what that takes the worker's own process", "us/record", found["parent"], "processor time")
        note = "payload to telemetry handed to the client: hook, queue, sketch; processor time"
        self._add("gateway's callback", "ms/request", found["gateway"], note, "0.2")
        say(f"raw records: {found['core'][-1]:,.0f} records/s a core")

    def replay(self) -> None:
        """Telemetry from a file through the same scorer."""
        path = self._folder / "telemetry.ndjson"
        path.write_bytes(b"\n".join(self._traffic.values) + b"\n")
        rates = [self._machine.child("bench.offline", str(path))["rate"] for _ in range(self._size.runs)]
        self._add("replay of telemetry, one core", "requests/s", rates, "file to findings", "300,000")
        say(f"replay: {rates[-1]:,.0f} requests/s")
        path.unlink()

    def shadow(self) -> None:
        """What a challenger of as many cards adds to the scorer's time."""
        path = self._folder / "telemetry.ndjson"
        path.write_bytes(b"\n".join(self._traffic.values) + b"\n")
        found = self._machine.child("bench.shadow", str(path))
        note = f"median of 3 pairs, {found['requests']:,.0f} decoded requests, processor time"
        self._add("shadow of all account cards, beside the scorer", "%", [100 * found["share"]], note, "35")
        self._add("  the same", "us/request", [found["microseconds"]])
        say(f"shadow: {found['share']:.0%} of the scorer's time")
        path.unlink()

    def latency(self) -> None:
        """From the record of a request to the alert that rests on it, at half of the measured rate."""
        rate = self._rate / 2 or self._size.rate
        settings = feed.settings_for(self._bootstrap, f"{self._name}-latency")
        found = worker.latencies(settings, self._traffic, rate, self._size.seconds, self._machine, self._folder)
        note = f"{len(found):,} openings and updates at {rate:,.0f} requests/s; producer's stamp to the broker's append"
        if not found:
            raise ProcessError(f"no alert in {self._size.seconds:g} s at {rate:,.0f} requests/s: latency has no figure")
        for share in (0.5, 0.99):
            aim = "2" if share == 0.99 else ""
            self._add(f"record to alert, p{share:.0%}"[:-1], "s", [report.quantile(found, share)], note, aim)
        say(f"record to alert: p99 {report.quantile(found, 0.99):.2f} s")

    def restore(self) -> None:
        """A worker's first minute with many accounts."""
        settings = feed.settings_for(self._bootstrap, f"{self._name}-restore")
        feed.create_topics(settings)
        config = worker.write_config(settings, self._folder)
        base = data.base(self._size.accounts, self._size.days, 42)
        accounts = str(self._size.restored)
        self._machine.child("bench.restore", "write", str(config), accounts, str(base))
        runs = [
            self._machine.child("bench.restore", "read", str(config), accounts) for _ in range(min(self._size.runs, 2))
        ]
        note = "state topic to a partition that is ready, one core"
        self._add(f"restore of {self._size.restored:,} accounts", "s", [run["seconds"] for run in runs], note, "30")
        self._add("  row", "bytes/account", [runs[0]["row"]], "fixed size", "2,048")
        self._add("  rows and index", "bytes/account", [run["table"] for run in runs], "arrays as allocated")
        self._add("  resident memory", "bytes/account", [run["resident"] for run in runs], "growth of the process")
        say(f"restore: {runs[-1]['seconds']:.1f} s")
        feed.delete_topics(settings)

    def cold(self) -> None:
        """Requests of accounts that left memory, beside those of accounts in memory."""
        settings = feed.settings_for(self._bootstrap, f"{self._name}-cold")
        feed.create_topics(settings)
        config = worker.write_config(settings, self._folder)
        base = data.base(self._size.accounts, self._size.days, 42)
        sizes = [str(size) for size in self._size.cold]
        runs = [
            self._machine.child("bench.cold", str(config), *sizes, str(base), seconds=COLD_SECONDS)
            for _ in range(min(self._size.runs, 2))
        ]
        accounts, hot, _ = self._size.cold
        note = f"{accounts:,} accounts, {hot:,} of them in memory; per second of processor time"
        self._add("accounts in memory, decoded and scored", "requests/s", [run["hot"] for run in runs], note)
        self._add("  new ones, for which others leave", "requests/s", [run["new"] for run in runs])
        for order in ("in order", "at random"):
            how = "as they left" if order == "in order" else ""
            self._add(f"  each had left memory, {order}", "requests/s", [run[order] for run in runs], how, "50,000")
        self._add("  resident memory", "MB", [run["resident"] / 1e6 for run in runs], "growth of the process")
        say(f"cold accounts: {runs[-1]['at random']:,.0f} requests/s")
        feed.delete_topics(settings)

    def _add(self, name: str, unit: str, runs: list[float], note: str = "", aim: str = "") -> None:
        self.figures.append(Figure(name, unit, runs, note, aim))


def say(text: str) -> None:
    """Tell what goes on, beside the table."""
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Run what the command line says."""
    others = {
        module.__name__.rpartition(".")[2]: module.main
        for module in (compilation, drawn, generic, nab, oracle, sharing, weblogs)
    }
    if len(sys.argv) > 1 and sys.argv[1] in others:
        return others[sys.argv[1]](sys.argv[2:])
    parser = argparse.ArgumentParser(
        prog="bench",
        description=__doc__,
        epilog="others: `bench generic`, `nab`, `sharing` and `weblogs` run estimators and stages over public data, "
        "`bench oracle` says what features know of attackers, `bench drawn` draws compositions to fit on, "
        "`bench compile` tells a cold start's costs",
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works; figures mean nothing")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure here too")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), help="these parts alone")
    parser.add_argument("--runs", type=int, help="of each throughput; the median is shown")
    parser.add_argument("--bootstrap", help="use this Kafka, host:port, instead of starting one")
    chosen = parser.parse_args()
    size = QUICK if chosen.quick else FULL
    if chosen.runs:
        size = msgspec.structs.replace(size, runs=max(1, chosen.runs))
    machine = Machine()
    machine.step_aside()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="siphonwatch-bench-")))
        bootstrap = chosen.bootstrap
        if not bootstrap:
            say("starting Apache Kafka")
            try:
                node = ApacheKafka(folder / "kafka", heap="1g", optimised=True)
                bootstrap = stack.enter_context(node).bootstrap
            except BrokerError as error:
                say(f"bench: {error}")
                return 1
        bench = Bench(size, machine, bootstrap, folder)
        bench.run([part for part in PARTS if part in chosen.only])
    report.show(bench.figures, machine.describe())
    if chosen.json:
        chosen.json.write_bytes(report.to_json(bench.figures, machine.describe()))
    for failure in bench.failures:
        say(f"not measured: {failure}")
    return 1 if bench.failures else 0


if __name__ == "__main__":
    sys.exit(main())
