"""`python -m bench.desk`: how fast the desk's index is made of its topics, and how fast it answers, at the size at
which the desk must still be quick. No broker: what reading from Kafka costs is not in these figures.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from alert_samples import START, findings

from siphonwatch.streams.common.settings import Settings
from siphonwatch.streams.contracts import verdict
from siphonwatch.streams.contracts.alert import encode, to_alert
from siphonwatch.streams.desk.index.cases import Record
from siphonwatch.streams.desk.index.intake import Batch, Intake
from siphonwatch.streams.desk.index.store import Index
from siphonwatch.streams.desk.looks import IndexedLooks
from siphonwatch.streams.desk.names import Names, Roster
from siphonwatch.streams.desk.views import Ask

BATCH = 10_000
NOW = START + 30 * 86_400.0
POPULAR, RARE = 0xAA, 0xBB
"""A client that a tenth of all accounts have, and one that a thousand have."""
RUNS = 9


def name(number: int) -> str:
    """An account as telemetry has it."""
    return f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}{number:016x}"


def requests(accounts: int, seed: int = 1) -> Iterator[bytes]:
    """Three requests an account, in the order of time: in two hours of two days."""
    draw = random.Random(seed)
    number = 0
    for part in range(3):
        order = list(range(accounts))
        draw.shuffle(order)
        for at, account in enumerate(order):
            number += 1
            client = POPULAR if account % 10 == 0 else RARE if account % 1000 == 1 else account % 5000 + 1000
            moment = START + (0, 3600, 86_400)[part] + 3600.0 * at / accounts
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
    from siphonwatch.streams.desk.case_page import newest

    decisions = ("true-positive", "false-positive", "benign-expected")
    cases = [case for (case,) in index.reader.execute("SELECT id FROM cases ORDER BY id LIMIT ?", (count,))]
    return [
        verdict.encode(verdict.judge(newest(index.reader, case)[1], decisions[at % 3], by="Ann", time=NOW + at))  # type: ignore[arg-type]
        for at, case in enumerate(cases)
    ]


def fill(intake: Intake, kind: str, values: Iterator[bytes]) -> tuple[int, float]:
    """Take a topic in; return how many records and how many seconds, without those of making them."""
    spent, at = 0.0, 0
    while part := [value for _, value in zip(range(BATCH), values, strict=False)]:
        records = [Record(at + i, NOW, value) for i, value in enumerate(part)]
        began = time.perf_counter()
        intake.take([Batch(kind, f"p.{kind}.v1", 0, "i", records)])
        spent += time.perf_counter() - began
        at += len(part)
    return at, spent


def timed(what: str, ask: Callable[[], Any]) -> None:
    """Print how long an answer takes: the first time and the median and the longest of the next ones."""
    took = []
    for _ in range(RUNS):
        began = time.perf_counter()
        ask()
        took.append(1000 * (time.perf_counter() - began))
    first, median, most = took[0], statistics.median(took[1:]), max(took[1:])
    print(f"{what:<58} {first:>8.1f} ms first, {median:>7.1f} ms median, {most:>7.1f} ms most")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="bench.desk")
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--accounts", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the index is made; it is left there")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="siphonwatch-desk-") as temporary:
        measure(given.cases, given.accounts, given.folder or Path(temporary))


def measure(cases: int, accounts: int, folder: Path) -> None:
    """Make an index of that size and ask it."""
    with Index(folder / "desk.sqlite", "p") as index:
        intake = Intake(index, Settings())
        for kind, values in (("alerts", alerts(cases, accounts)), ("telemetry", requests(accounts))):
            count, spent = fill(intake, kind, values)
            print(f"{kind}: {count:,} records in {spent:.1f} s, {count / spent:,.0f} a second", flush=True)
        count, spent = fill(intake, "verdicts", iter(judged(index, min(2000, cases))))
        print(f"verdicts: {count:,} records in {spent:.1f} s, all {cases:,} cases ranked anew")
        one = judged(index, 1)
        began = time.perf_counter()
        intake.take([Batch("verdicts", "p.verdicts.v1", 0, "i", [Record(count, NOW + 1e6, one[0])])])
        print(f"one more verdict: {time.perf_counter() - began:.2f} s, all cases ranked anew")
        print(f"{index.size() / 2**20:,.0f} MB of index")
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
