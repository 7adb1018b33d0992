"""`python -m bench.desk`: how fast the desk's index is made of its topics, and how fast it answers, at the size at
which the desk must still be quick. No broker: what reading from Kafka costs is not in these figures.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from alert_samples import START, findings
from postgres_node import Postgres

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts import verdict
from siphonwatch.streams.contracts.alert import encode, to_alert
from siphonwatch.streams.desk.case_page import newest
from siphonwatch.streams.desk.index.cases import Record
from siphonwatch.streams.desk.index.intake import Batch, Intake
from siphonwatch.streams.desk.index.sqlite import SqliteIndex
from siphonwatch.streams.desk.index.store import Index
from siphonwatch.streams.desk.looks import IndexedLooks
from siphonwatch.streams.desk.names import Names, Roster
from siphonwatch.streams.desk.views import Ask

BATCH = 10_000
NOW = START + 30 * 86_400.0
POPULAR, RARE = 0xAA, 0xBB
"""A client that a tenth of all accounts have, and one that a thousand have."""
RUNS = 9
SERVER: list[Postgres] = []
"""The one that was started for this, whose processor time counts too."""


def processor() -> float:
    """Processor time so far, a server's that we started with it."""
    return time.process_time() + of_server()


def of_server() -> float:
    """That of the server alone."""
    return sum(node.seconds() for node in SERVER)


def name(number: int) -> str:
    """An account as telemetry has it."""
    return f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}{number:016x}"


def requests(accounts: int, each: int, seed: int = 1) -> Iterator[bytes]:
    """So many requests an account, each in an hour of its own, in the order of time."""
    draw = random.Random(seed)
    number = 0
    for part in range(each):
        order = list(range(accounts))
        draw.shuffle(order)
        for at, account in enumerate(order):
            number += 1
            client = POPULAR if account % 10 == 0 else RARE if account % 1000 == 1 else account % 5000 + 1000
            moment = START + 43_200.0 * part + 3600.0 * at / accounts
            yield (
                b'{"id":"r%d","time":%.3f,"account":"%b","key":"%016x","headers":"%016x","client":"openai-python",'
                b'"model":"model-%d","tokens_in":200,"tokens_out":400,"said":"%016x","template":"%016x","system":"%016x",'
                b'"net":"%016x","country":"DE","asn":"%016x"}'
            ) % (
                number, moment, name(account).encode(), account + 1, client, account % 7, draw.getrandbits(64) | 1,
                draw.getrandbits(64) | 1, account % 20_000 + 1, account % 50_000 + 1, account % 300 + 1,
            )  # fmt: skip


def alerts(cases: int, accounts: int) -> Iterator[bytes]:
    """A case an account; one in fifty is of ten accounts."""
    patterns = ("extraction", "shift", "scraping", "rarity")
    made = {pattern: findings(1, pattern)[0] for pattern in patterns}
    for number in range(cases):
        one = made[patterns[number % 4]]
        own = [name(number * 7 % accounts)]
        if number % 50 == 0:
            own += [name((number * 7 + 13 * k) % accounts) for k in range(1, 10)]
        yield encode(
            to_alert(
                msgspec.structs.replace(
                    one, case=f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}", accounts=own, log_e=7.0 + number % 97 / 5,
                    time=START + number, opened=START + number, requests_seen=100 + number % 3000,
                )
            )
        )  # fmt: skip


def judged(index: Index, count: int) -> list[bytes]:
    """Verdicts on some of the cases."""
    decisions = ("true-positive", "false-positive", "benign-expected")
    cases = [case for (case,) in index.reader.execute("SELECT id FROM cases ORDER BY id LIMIT ?", (count,))]
    return [
        verdict.encode(verdict.judge(newest(index.reader, case)[1], decisions[at % 3], by="Ann", time=NOW + at))  # type: ignore[arg-type]
        for at, case in enumerate(cases)
    ]


def fill(index: Index, intake: Intake, kind: str, values: Iterator[bytes], seconds: float) -> bool:
    """Take a topic in from where the index is; return whether all of it is there after so many seconds of processor."""
    known = index.positions().get((f"p.{kind}.v1", 0))
    at = known.next if known else 0
    rest = itertools.islice(values, at, None)
    wall = busy = 0.0
    count = 0
    while busy < seconds and (part := list(itertools.islice(rest, BATCH))):
        records = [Record(at + i, NOW, value) for i, value in enumerate(part)]
        began, worked = time.perf_counter(), processor()
        intake.take([Batch(kind, f"p.{kind}.v1", 0, "i", records)])
        wall, busy = wall + time.perf_counter() - began, busy + processor() - worked
        at, count = at + len(part), count + len(part)
    if count:
        print(
            f"{kind}: {count:,} records up to {at:,}: {count / busy:,.0f} a second of processor, "
            f"{count / wall:,.0f} a second of clock", flush=True,
        )  # fmt: skip
    return next(rest, None) is None


def timed(what: str, ask: Callable[[], Any]) -> None:
    """Print how long an answer takes: the first time and the median and the longest of the next ones; and how much
    processor time, in the mean, which says more where other programs run."""
    took = []
    server, own = of_server(), time.process_time()
    for _ in range(RUNS):
        began = time.perf_counter()
        ask()
        took.append(1000 * (time.perf_counter() - began))
    worked = time.process_time() - own + of_server() - server
    first, median, most = took[0], statistics.median(took[1:]), max(took[1:])
    print(
        f"{what:<58} {first:>8.1f} ms first, {median:>7.1f} ms median, {most:>7.1f} ms most; "
        f"{1000 * worked / RUNS:>6.1f} ms of processor", flush=True,
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.desk")
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--requests", type=int, default=1, help="of each account")
    parser.add_argument("--folder", type=Path, help="where the index is made, or gone on with; it is left there")
    parser.add_argument("--database", default="", help="a URL of PostgreSQL, or `own` to start one: the index is there")
    parser.add_argument("--seconds", type=float, default=math.inf, help="of processor for one topic, then go on later")
    given = parser.parse_args(arguments)
    with contextlib.ExitStack() as stack:
        index = stack.enter_context(opened(stack, given.database, given.folder))
        intake = Intake(index, Settings())
        for kind, values in (
            ("alerts", alerts(given.cases, given.accounts)), ("telemetry", requests(given.accounts, given.requests)),
        ):  # fmt: skip
            if not fill(index, intake, kind, values, given.seconds):
                print("not all yet: run it again with the same folder")
                return
        judge(index, intake, min(2000, given.cases))
        print(f"{index.size() / 2**20:,.0f} MB of index")
        ask(index, given.accounts)


def opened(stack: contextlib.ExitStack, database: str, folder: Path | None) -> Index:
    """The index to measure."""
    if not database:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="siphonwatch-desk-")))
        return SqliteIndex(place / "desk.sqlite", "p")
    from siphonwatch.streams.desk.index.postgres import PostgresIndex

    if database == "own":
        node = stack.enter_context(Postgres(fsync=True))
        SERVER.append(node)
        database = node.url()
    return PostgresIndex(database, "p", "bench")


def judge(index: Index, intake: Intake, count: int) -> None:
    """Judge cases, then one more."""
    known = index.positions().get(("p.verdicts.v1", 0))
    at = known.next if known else 0
    for values in ([] if at else judged(index, count), judged(index, 1)):
        began, worked = time.perf_counter(), processor()
        intake.take(
            [Batch("verdicts", "p.verdicts.v1", 0, "i", [Record(at + i, NOW, v) for i, v in enumerate(values)])]
        )
        at += len(values)
        print(
            f"{len(values):,} verdicts and all cases ranked anew: {processor() - worked:.2f} s of processor, "
            f"{time.perf_counter() - began:.2f} s of clock"
        )


def ask(index: Index, accounts: int) -> None:
    """Ask what people ask."""
    names = Roster("")
    names._names = Names({name(number): f"customer {number}" for number in range(accounts)})
    looks = IndexedLooks(index, names, clock=lambda: NOW)
    timed("first page of the queue, by rank", lambda: looks.queue(Ask(), "Ann"))
    timed("first page, by age", lambda: looks.queue(Ask(order="age")))
    timed("first page, what changed", lambda: looks.queue(Ask(order="changed")))
    timed("first page, unjudged, one pattern, by rank", lambda: looks.queue(Ask(unjudged=True, pattern="shift")))
    timed("first page, all states", lambda: looks.queue(Ask(state="all")))
    timed("first page, of an account", lambda: looks.queue(Ask(account=name(7))))
    middle = looks.queue(Ask(limit=500))
    for _ in range(20):
        middle = looks.queue(Ask(limit=500, after=middle.after)) if middle.after else middle
    timed("page 22 of 500", lambda: looks.queue(Ask(limit=500, after=middle.after)))
    case = looks.queue(Ask()).rows[0].case
    big = index.reader.execute("SELECT id FROM cases WHERE accounts > 1 LIMIT 1").fetchone()[0]
    timed("a case opened", lambda: looks.case(case, "Ann"))
    timed("a case of ten accounts opened", lambda: looks.case(big))
    timed("its campaign", lambda: looks.campaign(big))
    timed("an account opened", lambda: looks.account(name(7)))
    timed("an account opened whose client 100,000 others have", lambda: looks.account(name(70)))
    timed("search: beginning of an account", lambda: looks.find(name(7)[:6]))
    timed("search: a case", lambda: looks.find(case[:8]))
    timed("search: a customer's name", lambda: looks.find("customer 77777"))
    timed("search: a client that a thousandth has", lambda: looks.find(f"{RARE:016x}"))
    timed("search: a client that a tenth has", lambda: looks.find(f"{POPULAR:016x}", "client"))


if __name__ == "__main__":
    main()
